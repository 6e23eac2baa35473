/**
 * Where a command is wrong in several ways, it is told what a real Redis tells: of the type of its keys, or of its options.
 * Every command of the table, on keys of every type, with words that are no options and with too many.
 */
import { expect } from 'chai'
import { startRedis, type RedisServer } from '../../scripts/redis-server.ts'
import { STEPS } from '../../src/commands/specs.ts'
import type { CommandSpec } from '../../src/commands/step.ts'
import { StepExecutor } from '../servers/resp/steps-executor.ts'
import { Oracle } from '../servers/resp/steps-oracle.ts'

const KEYS = ['{t}a', '{t}b']
const FILLINGS: Readonly<Record<string, (key: string) => string[]>> = {
  nothing: (key) => ['DEL', key],
  'a string': (key) => ['SET', key, 'text'],
  'a number': (key) => ['SET', key, '1'],
  'a hash': (key) => ['HSET', key, 'x', '1'],
  'a list': (key) => ['RPUSH', key, 'x'],
  'a set': (key) => ['SADD', key, 'x'],
  'a sorted set': (key) => ['ZADD', key, '1', 'x'],
  'a stream': (key) => ['XADD', key, '1-1', 'x', '1'],
}

const bytesOf = (words: readonly string[]) => words.map((word) => Buffer.from(word))
const errorIn = (reply: Buffer) => (reply[0] === 0x2d ? reply.toString().trimEnd() : 'no error')

/** With as few arguments as it takes, and more. */
function wrongLines(name: string, { arity, firstKey, keyCountAt, targetAt }: CommandSpec): string[][] {
  const least = Math.abs(arity)
  return ['x', '1'].flatMap((word) =>
    [0, 1, 2].map((more) =>
      Array.from({ length: arity < 0 ? least + more : least }, (_, i) => {
        if (i === 0) return name
        if (i === keyCountAt) return '1'
        if (i === firstKey || i === targetAt) return KEYS[0]!
        return firstKey > 0 && i === firstKey + 1 && keyCountAt === undefined && word === 'x'
          ? KEYS[1]!
          : word
      }),
    ),
  )
}

describe('a command that is wrong in several ways', function () {
  this.timeout(30_000)
  let redis: RedisServer
  let oracle: Oracle
  before(async () => {
    redis = await startRedis()
    oracle = await Oracle.open(redis.port, 2)
  })
  after(async () => {
    oracle.close()
    await redis.stop()
  })

  for (const [name, spec] of Object.entries(STEPS)) {
    it(`${name.toUpperCase()} is told what a real Redis tells`, async () => {
      for (const [held, filling] of Object.entries(FILLINGS)) {
        for (const line of wrongLines(name, spec)) {
          const executor = new StepExecutor(2, 1024 * 1024)
          const before = KEYS.map((key) => bytesOf(filling(key)))
          for (const one of before) executor.run(one, Date.now())
          const theirs = (await oracle.ask([bytesOf(['FLUSHALL']), ...before, bytesOf(line)])).at(-1)!
          const expected = errorIn(theirs)
          // Of a newer Redis, or with an option of one.
          if (/^-ERR (?:unknown command|wrong number of arguments)/.test(expected)) continue
          expect(errorIn(executor.run(bytesOf(line), Date.now())), `${line.join(' ')} on ${held}`).to.equal(
            expected,
          )
        }
      }
    })
  }
})
