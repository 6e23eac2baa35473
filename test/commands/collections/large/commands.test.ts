/**
 * Commands on large collections answer and leave what they do on flat ones; with few parts, however many there are; and what
 * is told of a scan is all that is there while it lasts.
 */
import { expect } from 'chai'
import fc from 'fast-check'
import { comparable, bytesOf, itemsIn } from '../compare.ts'
import {
  commandsOf,
  GEO_COMMANDS,
  HASH_COMMANDS,
  LIST_COMMANDS,
  SET_COMMANDS,
  SORTED_SET_COMMANDS,
  type Arguments,
  type RandomCommand,
} from '../stream.ts'
import { StepExecutor } from '../../../servers/resp/steps-executor.ts'
import { SMALLEST, withSizes } from '../../../support/large.ts'

const TYPES = {
  hash: HASH_COMMANDS,
  set: SET_COMMANDS,
  list: LIST_COMMANDS,
  positions: GEO_COMMANDS,
  'sorted set': SORTED_SET_COMMANDS,
}
/** Parts have several entries: they are joined, and in the end flat again. */
const MIDDLE = { largeFrom: 300, partBytes: 80 }
type Type = keyof typeof TYPES
const KEYS = ['{t}a', '{t}b']
const names = ['a', 'b', 'c', 'd', 'e', '', '1', '2', '-7', '\xff\0', 'A', 'long'.repeat(80)].concat(
  Array.from({ length: 30 }, (_, i) => `member ${i * i}`),
)

/** What a key holds at first. */
function filled(type: Type, key: string, which = names): RandomCommand {
  const i = (name: string) => names.indexOf(name)
  if (type === 'hash') return ['hset', key, ...which.flatMap((name) => [name, `${i(name)}`])]
  if (type === 'set') return ['sadd', key, ...which]
  if (type === 'list') return ['rpush', key, ...which]
  const placed = (name: string) => [`${13 + i(name) / 50}`, `${38 - i(name) / 50}`, name]
  if (type === 'positions') return ['geoadd', key, ...which.flatMap(placed)]
  return ['zadd', key, ...which.flatMap((name) => [`${(i(name) * 7) % 5}`, name])]
}

function read(type: Type, key: string): RandomCommand {
  if (type === 'hash') return ['hgetall', key]
  if (type === 'set') return ['smembers', key]
  return type === 'list' ? ['lrange', key, '0', '-1'] : ['zrange', key, '0', '-1', 'WITHSCORES']
}

/** A few commands that clear much, or add much, less and more often than others. */
const WEIGHTS = {
  hset: 5,
  sadd: 12,
  zadd: 8,
  zincrby: 3,
  geoadd: 4,
  lpush: 3,
  rpush: 3,
  linsert: 2,
  lset: 3,
  hdel: 3,
}
const CLEARING = ['spop', 'sinterstore', 'sdiffstore', 'zinterstore', 'zdiffstore']

function commandsOn(type: Type): fc.Arbitrary<RandomCommand> {
  const table: Record<string, Arguments> = { ...TYPES[type] }
  for (const name of CLEARING) delete table[name]
  const named = fc.constantFrom(...names)
  const others = { ttl: fc.constantFrom(['{t}a'], ['{t}b']) }
  const more: fc.Arbitrary<RandomCommand> = fc.oneof(
    fc.tuple(named, fc.constantFrom(...KEYS)).map(([name, key]): RandomCommand => filled(type, key, [name])),
    fc.tuple(fc.nat(40), fc.nat(6)).map(([at, length]): RandomCommand => narrowed(type, at, at + length)),
  )
  return fc.oneof(
    { weight: 3, arbitrary: commandsOf(table, { others, weights: WEIGHTS }) },
    { weight: 1, arbitrary: more },
  )
}

/** Something about the middle. */
function narrowed(type: Type, from: number, to: number): RandomCommand {
  const some = names.slice(from, to + 1)
  if (type === 'hash') return ['hmget', '{t}a', ...some, 'x']
  if (type === 'set') return ['srem', '{t}b', ...some, 'x']
  if (type === 'list') return ['lrange', '{t}a', String(from), String(to)]
  return from % 2
    ? ['zrem', '{t}b', ...some, 'x']
    : ['zrevrange', '{t}a', String(from), String(to), 'WITHSCORES']
}

describe('commands on large collections', function () {
  this.timeout(60_000)
  for (const type of Object.keys(TYPES) as Type[]) {
    it(`answer as on a flat ${type}, and leave the same`, () => {
      let parts = 0
      const property = fc.property(
        fc.array(commandsOn(type), { minLength: 1, maxLength: 50, size: 'max' }),
        fc.constantFrom(SMALLEST, MIDDLE),
        (stream, small) => {
          const [flat, large] = [new StepExecutor(3, 1024 * 1024), new StepExecutor(3, 1024 * 1024)]
          const all = [
            ...KEYS.map((key) => filled(type, key)),
            ...stream,
            ...KEYS.map((key) => read(type, key)),
          ]
          for (const command of all) {
            const expected = comparable(command, flat.run(bytesOf(command), 1))
            const reply = withSizes(small, () => large.run(bytesOf(command), 1))
            expect(comparable(command, reply), command.join(' ')).to.equal(expected)
          }
          parts += large.partsOfChanged
        },
      )
      fc.assert(property, { numRuns: 20 })
      expect(parts).to.be.greaterThan(100)
    })
  }

  it('choose each entry once, and take what they reply, until the rest is flat again', () => {
    withSizes(MIDDLE, () => {
      const executor = new StepExecutor(2, 1024 * 1024)
      const ask = (...words: string[]) => executor.run(bytesOf(words), 1)
      const short = names.filter((name) => name.length < 20)
      executor.run(bytesOf(filled('set', 'set', short)), 1)
      const left = new Set(short.map((name) => `$${name.length}\r\n${name}\r\n`))
      for (const count of [1, 5, 7, 20, 3, 100]) {
        const some = itemsIn(ask('srandmember', 'set', String(count))).map((item) => item.toString('latin1'))
        expect(new Set(some).size).to.equal(some.length).and.to.equal(Math.min(count, left.size))
        expect([...left]).to.include.members(some)
        const taken = itemsIn(ask('spop', 'set', String(count))).map((item) => item.toString('latin1'))
        expect(new Set(taken).size).to.equal(Math.min(count, left.size))
        for (const one of taken) expect(left.delete(one)).to.equal(true)
        expect(String(ask('scard', 'set'))).to.equal(`:${left.size}\r\n`)
      }
      expect(String(ask('exists', 'set'))).to.equal(':0\r\n')
    })
  })

  it('leave fewer parts when most of it is gone', () => {
    withSizes({ largeFrom: 16, partBytes: 80 }, () => {
      for (const type of ['set', 'list', 'sorted set'] as const) {
        const executor = new StepExecutor(2, 1024 * 1024)
        const run = (...words: string[]) => executor.run(bytesOf(words), 1)
        const all = Array.from({ length: 100 }, (_, i) => `m${i}`)
        if (type === 'sorted set') run('zadd', 'k', ...all.flatMap((one) => [one.slice(1), one]))
        else run(type === 'set' ? 'sadd' : 'rpush', 'k', ...all)
        const [left, gone] = [all.filter((_, i) => i % 10 === 0), all.filter((_, i) => i % 10 > 0)]
        for (const one of gone) {
          if (type === 'list') run('lrem', 'k', '1', one)
          else run(type === 'set' ? 'srem' : 'zrem', 'k', one)
        }
        const found = itemsIn(run(...read(type, 'k').slice(0, 4))).map(
          (item) => String(item).split('\r\n')[1],
        )
        if (type === 'set') expect(found).to.have.members(left)
        else expect(found).to.deep.equal(left)
        executor.partsOfChanged = 0
        if (type === 'list') run('lset', 'k', '0', 'x')
        else if (type === 'set') run('sadd', 'k', 'x')
        else run('zadd', 'k', '0', 'x')
        // Four bytes each, and a score of eight; a sorted set has all of them twice.
        const bytes = 11 * (type === 'sorted set' ? 2 * (4 + 8) : 4)
        expect(executor.partsOfChanged, type).to.be.at.most(Math.ceil(bytes / 20))
      }
    })
  })

  for (const [scan, type] of [
    ['hscan', 'hash'],
    ['sscan', 'set'],
    ['zscan', 'sorted set'],
  ] as const) {
    it(`tell ${scan} of everything that is there while it lasts`, () => {
      const change = fc.tuple(fc.constantFrom('add', 'remove', 'clear and add'), fc.nat(200))
      const property = fc.property(
        fc.array(change, { maxLength: 40 }),
        fc.integer({ min: 1, max: 12 }),
        (changes, count) =>
          withSizes(SMALLEST, () => {
            const executor = new StepExecutor(2, 1024 * 1024)
            const run = (...words: string[]) => executor.run(bytesOf(words), 1)
            executor.run(bytesOf(filled(type, 'k')), 1)
            const told = new Set<string>()
            const next = changes.values()
            let pages = 0
            for (let cursor = '0'; pages === 0 || cursor !== '0'; pages++) {
              const [at, items] = itemsIn(run(scan, 'k', cursor, 'COUNT', String(count)))
              cursor = at!.toString().split('\r\n')[1]!
              const texts = itemsIn(items!).map((item) => item.toString('latin1').split('\r\n')[1]!)
              for (const [i, text] of texts.entries()) if (type === 'set' || i % 2 === 0) told.add(text)
              expect(texts.length).to.be.at.most(200)
              applyChange(run, type, next.next().value)
              if (pages > 500) throw new Error('it does not end')
            }
            expect([...told]).to.include.members(names)
            if (changes.length === 0)
              expect(pages).to.be.within(names.length / count / 2, names.length / count + 25)
          }),
      )
      fc.assert(property, { numRuns: 10 })
    })
  }
})

/** What was there at first stays. */
function applyChange(
  run: (...words: string[]) => Buffer,
  type: Type,
  change: [string, number] | undefined,
): void {
  if (!change) return
  const [what, n] = change
  const others = Array.from({ length: 1 + (n % 9) }, (_, i) => `other ${n + i}`)
  if (what === 'add') {
    if (type === 'hash') run('hset', 'k', ...others.flatMap((one) => [one, 'v'.repeat(n % 50)]))
    else if (type === 'set') run('sadd', 'k', ...others)
    else run('zadd', 'k', ...others.flatMap((one) => [String(n % 7), one]))
    return
  }
  const words = what === 'remove' ? others : Array.from({ length: 220 }, (_, i) => `other ${i}`)
  run(type === 'hash' ? 'hdel' : type === 'set' ? 'srem' : 'zrem', 'k', ...words)
  // Flat meanwhile, and large again with another generation.
  if (what === 'clear and add') withSizes({ largeFrom: 1e6 }, () => run('rename', 'k', 'm'))
  if (what === 'clear and add') run('rename', 'm', 'k')
}
