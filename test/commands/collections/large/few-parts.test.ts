/** What a command costs depends on what it looks at, and not on how large the collection is: parts and bytes are counted. */
import { expect } from 'chai'
import { inOneGo } from '../../../../src/core/work.ts'
import {
  pairEntry,
  plainEntry,
  NewEntries,
  scoredEntry,
} from '../../../../src/commands/collections/entries.ts'
import { split } from '../../../../src/commands/collections/large/split.ts'
import { inParts } from '../../../../src/commands/run/forms.ts'
import { STEPS } from '../../../../src/commands/specs.ts'
import { RespError } from '../../../../src/commands/reply.ts'
import type { Held, Step, StepOf } from '../../../../src/commands/step.ts'
import { KIND_HASH, KIND_LIST, KIND_SET, KIND_SORTED_SET } from '../../../../src/core/codec.ts'
import { PartsInMap } from '../../../support/large.ts'
import { bytesOf } from '../compare.ts'

const ENTRIES = 100_000
const GENERATION = Buffer.from('0123456789abcdef', 'hex')
const name = (i: number) => Buffer.from(`entry ${String(i).padStart(7, '0')}`)

/** By kind; `~` is a space. */
const COMMANDS: Readonly<Record<number, readonly string[]>> = {
  [KIND_HASH]: [
    'hset k new v',
    'hset k entry~0050000 v',
    'hset k entry~0050000 v new v',
    'hsetnx k new v',
    'hsetnx k entry~0000001 v',
    'hmset k entry~0000007 other',
    'hget k entry~0099999',
    'hget k nosuch',
    'hmget k entry~0000000 nosuch',
    'hdel k entry~0000100 nosuch',
    'hexists k entry~0000001',
    'hstrlen k entry~0000001',
    'hincrby k count 5',
    'hincrbyfloat k count 0.5',
    'hrandfield k',
    'hrandfield k 2 WITHVALUES',
    'hrandfield k -2',
    'hscan k 0',
    'hscan k 0 MATCH *1 COUNT 20',
  ],
  [KIND_SET]: [
    'sadd k new',
    'sadd k entry~0000001',
    'srem k entry~0050000',
    'srem k nosuch',
    'sismember k entry~0050000',
    'smismember k entry~0050000 nosuch',
    'spop k',
    'spop k 2',
    'srandmember k',
    'srandmember k -2',
    'sscan k 0',
    'smove k other entry~0000005',
    'smove k other nosuch',
    'smove k k entry~0000005',
  ],
  [KIND_SORTED_SET]: [
    'zadd k 12345.5 new',
    'zadd k 1 entry~0050000',
    'zadd k XX CH 1 entry~0050000',
    'zadd k NX 1 entry~0050000',
    'zadd k INCR 7 entry~0050000',
    'zincrby k 9 entry~0099999',
    'zrem k entry~0000000',
    'zscore k entry~0050000',
    'zmscore k entry~0050000 nosuch',
    'zrank k entry~0050000',
    'zrevrank k entry~0050000 WITHSCORE',
    'zrank k nosuch',
    'zrange k 50000 50010',
    'zrange k 10 20 REV WITHSCORES',
    'zrange k 5000 5010 BYSCORE',
    'zrevrange k 0 2',
    'zrangebyscore k (5000 +inf LIMIT 5 10',
    'zrevrangebyscore k 5000 -inf LIMIT 0 10 WITHSCORES',
    'zcount k 5000 90000',
    'zcount k -inf +inf',
    'zpopmin k',
    'zpopmax k 3',
    'zremrangebyrank k 0 2',
    'zremrangebyscore k 500 502',
    'zrandmember k',
    'zrandmember k 2 WITHSCORES',
    'zscan k 0 COUNT 5',
    'zmpop 1 k MIN COUNT 2',
    'geopos k entry~0000001',
    'geodist k entry~0000001 entry~0000002',
    'zrangestore other k 50000 50010',
  ],
  [KIND_LIST]: [
    'lpush k a b',
    'rpush k a b',
    'lpushx k a',
    'rpushx k a',
    'lpop k',
    'rpop k',
    'lpop k 5',
    'rpop k 5',
    'lrange k 50000 50010',
    'lrange k -3 -1',
    'lindex k 50000',
    'lindex k -1',
    'lset k 50000 v',
    'lset k -1 v',
    'ltrim k 5 -1',
    'ltrim k 0 -5',
    'ltrim k 40000 60000',
    'lmove k other LEFT RIGHT',
    'lmove k k LEFT RIGHT',
    'rpoplpush k other',
    'rpoplpush k k',
    'lmpop 1 k LEFT COUNT 3',
  ],
}
/** All members have the same score. */
const BY_MEMBER = [
  'zrangebylex k [entry~005 + LIMIT 0 10',
  'zrevrangebylex k + - LIMIT 3 10',
  'zlexcount k [entry~002 [entry~008',
  'zremrangebylex k [entry~0050000 [entry~0050002',
  'zrange k - + BYLEX LIMIT 0 3',
  'zrank k entry~0050000',
]

function held(kind: number, isAlike = false): { one: Held; parts: Map<number, Buffer> } {
  const next = new NewEntries()
  for (let i = 0; i < ENTRIES; i++) {
    const key = name(i)
    if (kind === KIND_HASH) next.add(pairEntry(key, Buffer.from(`value ${i}`)))
    else next.add(kind === KIND_SORTED_SET ? scoredEntry(isAlike ? 0 : i, key) : plainEntry(key))
  }
  const { root, parts } = split(kind, next.value(), GENERATION)
  return { one: { kind, value: root, expiresAtMs: 0 }, parts }
}

function stepOf(line: string): Step {
  const args = bytesOf(line.split(' ').map((word) => word.replace('~', ' ')))
  const limits = { maxValueBytes: 1e6, defaultTtlMs: 0, database: 0, databases: 16, random: () => 0.4 }
  return STEPS[line.split(' ')[0]!]!.make(args, 0, limits)
}

describe('with 100,000 entries', function () {
  this.timeout(60_000)
  const cases = [
    ...Object.entries(COMMANDS).map(([kind, lines]) => ({ kind: Number(kind), lines, isAlike: false })),
    { kind: KIND_SORTED_SET, lines: BY_MEMBER, isAlike: true },
  ]
  for (const { kind, lines, isAlike } of cases) {
    it(`commands on kind ${kind}${isAlike ? ' with equal scores' : ''} read and write a few parts`, () => {
      const { one, parts } = held(kind, isAlike)
      expect(parts.size).to.be.greaterThan(200)
      expect(one.value.length).to.be.lessThan(40_000)
      for (const line of lines) {
        const step = stepOf(line)
        const read = new PartsInMap(one.value, parts)
        const known = step.keys.map((key) => (key.toString() === 'k' ? { ...one, parts: read } : null))
        const { reply, next } = read.while(() => (step as StepOf<'value', Held>).apply(known, 0))
        expect(reply, line).not.to.be.instanceOf(RespError)
        expect(read.read, `parts that ${line} reads`).to.be.at.most(6)
        expect(read.rounds.length, `rounds of ${line}`).to.be.at.most(3)
        for (const changed of next ?? []) {
          if (!changed) continue
          const written = [...(changed.changedParts?.values() ?? [])].filter((part) => part !== null)
          expect(written.length, `parts that ${line} writes`).to.be.at.most(5)
          const bytes = written.reduce((sum, part) => sum + part.length, changed.value.length)
          expect(bytes, `bytes that ${line} writes`).to.be.at.most(80_000)
        }
      }
    })
  }
})

describe('limits of collections', () => {
  const apply = (line: readonly Buffer[], held: Held) => {
    const limits = { maxValueBytes: 1e9, defaultTtlMs: 0, database: 0, databases: 16, random: Math.random }
    const step = STEPS[String(line[0])]!.make(line, 0, limits) as StepOf<'value', Held>
    const { parts } = held
    return parts instanceof PartsInMap ? parts.while(() => step.apply([held], 0)) : step.apply([held], 0)
  }
  const large = (kind: number, flat: NewEntries): Held => {
    const { root, parts } = split(kind, flat.value(), GENERATION)
    return { kind, value: root, expiresAtMs: 0, parts: new PartsInMap(root, parts) }
  }

  it('refuse what is beyond 32 MiB, and nothing else', () => {
    const next = new NewEntries()
    const megabyte = Buffer.alloc(1024 * 1024 - 100)
    for (let i = 0; i < 31; i++) next.add(pairEntry(name(i), megabyte))
    const held = large(KIND_HASH, next)
    const set = (bytes: number) => apply([...bytesOf(['hset', 'k', 'new']), Buffer.alloc(bytes)], held)
    expect(set(1024 * 1024).reply).to.equal(1)
    const { reply, next: stored } = set(1024 * 1024 + 3000)
    expect(stored).to.equal(undefined)
    expect((reply as RespError).text).to.match(
      /^ERR The hash would have \d+ bytes; at most 33554432 are allowed/,
    )
  })

  it('refuse what would need too long a root', () => {
    const next = new NewEntries()
    const alike = 'x'.repeat(2000)
    for (let i = 0; i < 2000; i++)
      next.add(scoredEntry(0, Buffer.from(`${alike}${String(i).padStart(5, '0')}`)))
    const made = inOneGo(inParts(KIND_SORTED_SET, next.value(), GENERATION))
    expect('reply' in made && (made.reply as RespError).text).to.match(
      /^ERR The collection would have too many long/,
    )
  })

  it('keep what is damaged from being changed, and from ending the process', () => {
    const next = new NewEntries()
    for (let i = 0; i < 2000; i++) next.add(pairEntry(name(i), name(i)))
    const { root, parts } = split(KIND_HASH, next.value(), GENERATION)
    for (const part of parts.values()) part.fill(0xff, 30)
    for (const line of [
      ['hget', 'k', 'f'],
      ['hset', 'k', 'f', 'v'],
      ['hscan', 'k', '0'],
      ['hgetall', 'k'],
      ['hrandfield', 'k'],
    ]) {
      const held = { kind: KIND_HASH, value: root, expiresAtMs: 0, parts: new PartsInMap(root, parts) }
      const { reply, next: stored } = apply(bytesOf(line), held)
      expect((reply as RespError).text, line[0]).to.equal('ERR the stored collection is damaged')
      expect(stored).to.equal(undefined)
    }
  })
})
