// Every method of the stock @upstash/redis whose command Rondo has: in each of the client's ways to send it, it gives what it
// gives over a real Redis.
import { randomBytes } from 'node:crypto'
import { Redis, type Requester } from '@upstash/redis'
import { expect } from 'chai'
import { createClient } from 'redis-6'
import { type RedisServer, startRedis } from '../../../scripts/redis-server.ts'
import { COMMANDS } from '../../../src/servers/resp/table.ts'
import { KEY_LINES, NEEDS_CONNECTION } from '../../support/key-lines.ts'
import { type RunningRondo, startRondo } from '../../support/rondo.ts'

const TOKEN = randomBytes(16).toString('hex')
const PALERMO = { longitude: 13.361389, latitude: 38.115556, member: 'Palermo' }
const CATANIA = { longitude: 15.087269, latitude: 37.502669, member: 'Catania' }
const NEAR_PALERMO = [
  { type: 'FROMMEMBER', member: 'Palermo' },
  { type: 'BYRADIUS', radius: 300, radiusType: 'KM' },
  'ASC',
]
/** Seconds since 1970, and milliseconds. */
const LATER = 4_000_000_000
const LATER_MS = LATER * 1000

type Call = readonly [method: string, ...args: unknown[]]

/** In order: a later one finds what the earlier ones have stored. All keys share a replica set, so that all fit in one MULTI. */
const CALLS: readonly Call[] = [
  ['set', '{u}s', 'é€😀'],
  ['get', '{u}s'],
  ['set', '{u}s', { a: [1, 'two', null] }, { xx: true, get: true }],
  ['get', '{u}s'],
  ['set', '{u}s', 'x', { nx: true }],
  ['set', '{u}s', 'hello', { exat: LATER }],
  ['set', '{u}s', 'hello', { keepTtl: true }],
  ['exec', ['EXPIRETIME', '{u}s']],
  ['getset', '{u}s', 'world'],
  ['setex', '{u}x', 100, 'v'],
  ['psetex', '{u}x', 100_000, 'v'],
  ['setnx', '{u}x', 'w'],
  ['getex', '{u}x', { persist: true }],
  ['append', '{u}s', '!'],
  ['strlen', '{u}s'],
  ['getrange', '{u}s', 1, 3],
  ['setrange', '{u}s', 1, 'OR'],
  ['mset', { '{u}a': 1, '{u}b': 'OK', '{u}c': '' }],
  ['msetnx', { '{u}a': 2, '{u}new': 'x' }],
  ['mget', '{u}a', '{u}none', '{u}b', '{u}c'],
  ['getdel', '{u}c'],
  ['incr', '{u}n'],
  ['incrby', '{u}n', 41],
  ['decr', '{u}n'],
  ['decrby', '{u}n', 2],
  ['incrbyfloat', '{u}n', 0.5],
  ['setbit', '{u}bits', 7, 1],
  ['getbit', '{u}bits', 7],
  ['bitcount', '{u}bits', 0, -1],
  ['bitpos', '{u}bits', 1],
  ['bitop', 'not', '{u}bits2', '{u}bits'],
  ['bitfield', '{u}bits'],
  ['pfadd', '{u}hll', 'a', 'b', 'c'],
  ['pfadd', '{u}hll2', 'c', 'd'],
  ['pfmerge', '{u}hll3', '{u}hll', '{u}hll2'],
  ['pfcount', '{u}hll', '{u}hll2'],
  ['expire', '{u}a', 100],
  ['ttl', '{u}a'],
  ['pexpire', '{u}a', 100_000],
  ['expireat', '{u}a', LATER],
  ['pexpireat', '{u}a', LATER_MS],
  ['pttl', '{u}none'],
  ['persist', '{u}a'],
  ['type', '{u}a'],
  ['exists', '{u}a', '{u}none', '{u}b'],
  ['touch', '{u}a', '{u}b'],
  ['copy', '{u}a', '{u}copy'],
  ['copy', '{u}a', '{u}copy', { replace: true }],
  ['rename', '{u}copy', '{u}renamed'],
  ['renamenx', '{u}renamed', '{u}b'],
  ['del', '{u}renamed', '{u}none'],
  ['hset', '{u}h', { one: 1, two: 'zwei', three: { deep: true } }],
  ['hmset', '{u}h', { four: 'IV' }],
  ['hsetnx', '{u}h', 'one', 'x'],
  ['hget', '{u}h', 'two'],
  ['hmget', '{u}h', 'one', 'none'],
  ['hgetall', '{u}h'],
  ['hgetall', '{u}none'],
  ['hexists', '{u}h', 'one'],
  ['hlen', '{u}h'],
  ['hkeys', '{u}h'],
  ['hvals', '{u}h'],
  ['hstrlen', '{u}h', 'two'],
  ['hincrby', '{u}h', 'one', 4],
  ['hincrbyfloat', '{u}h', 'one', 0.5],
  ['hscan', '{u}h', 0, { match: 't*', count: 100 }],
  ['hrandfield', '{u}h', 10],
  ['hrandfield', '{u}h', 10, true],
  ['hdel', '{u}h', 'one', 'none'],
  ['rpush', '{u}l', 'a', 'b', 'c', { d: 1 }],
  ['lpush', '{u}l', 'z'],
  ['rpushx', '{u}none', 'x'],
  ['lpushx', '{u}l', 'y'],
  ['llen', '{u}l'],
  ['lindex', '{u}l', -1],
  ['lpos', '{u}l', 'b', { rank: 1, count: 2 }],
  ['linsert', '{u}l', 'before', 'b', 'aa'],
  ['lset', '{u}l', 0, 'first'],
  ['lrem', '{u}l', 1, 'aa'],
  ['lrange', '{u}l', 0, -1],
  ['lmove', '{u}l', '{u}l2', 'left', 'right'],
  ['lmpop', 2, ['{u}none', '{u}l'], 'LEFT', 2],
  ['ltrim', '{u}l', 0, 1],
  ['lpop', '{u}l'],
  ['rpop', '{u}l', 2],
  ['sadd', '{u}set', 'a', 'b', 3, { x: 1 }],
  ['sadd', '{u}set2', 'b', 3, 'z'],
  ['scard', '{u}set'],
  ['sismember', '{u}set', 3],
  ['smismember', '{u}set', ['a', 'none']],
  ['smembers', '{u}set'],
  ['sinter', '{u}set', '{u}set2'],
  ['sintercard', ['{u}set', '{u}set2'], { limit: 1 }],
  ['sunion', '{u}set', '{u}set2'],
  ['sdiff', '{u}set', '{u}set2'],
  ['sinterstore', '{u}set3', '{u}set', '{u}set2'],
  ['sunionstore', '{u}set3', '{u}set', '{u}set2'],
  ['sdiffstore', '{u}set3', '{u}set', '{u}set2'],
  ['smove', '{u}set', '{u}set2', 'a'],
  ['sscan', '{u}set2', 0, { count: 100 }],
  ['srandmember', '{u}set2', 10],
  ['srem', '{u}set2', 'z', 'none'],
  ['spop', '{u}set2', 10],
  [
    'zadd',
    '{u}z',
    { score: 1, member: 'one' },
    { score: 2.5, member: 'two' },
    { score: 3, member: { c: 3 } },
  ],
  ['zadd', '{u}z', { gt: true, ch: true }, { score: 4, member: 'one' }],
  ['zadd', '{u}z2', { score: 10, member: 'one' }, { score: 20, member: 'other' }],
  ['zincrby', '{u}z', 0.25, 'two'],
  ['zscore', '{u}z', 'two'],
  ['zscore', '{u}z', 'none'],
  ['zmscore', '{u}z', ['one', 'none']],
  ['zcard', '{u}z'],
  ['zcount', '{u}z', '-inf', '(4'],
  ['zlexcount', '{u}z', '-', '+'],
  ['zrank', '{u}z', 'one'],
  ['zrevrank', '{u}z', 'one'],
  ['zrange', '{u}z', 0, -1, { withScores: true }],
  ['zrange', '{u}z', '(5', 0, { byScore: true, rev: true, offset: 0, count: 2 }],
  ['zrange', '{u}z', '[a', '[p', { byLex: true }],
  ['zunion', 2, ['{u}z', '{u}z2'], { weights: [1, 2], aggregate: 'max', withScores: true }],
  ['zunionstore', '{u}z3', 2, ['{u}z', '{u}z2'], { aggregate: 'min' }],
  ['zinterstore', '{u}z3', 2, ['{u}z', '{u}z2'], { weights: [2, 3] }],
  ['zdiffstore', '{u}z3', 2, '{u}z', '{u}z2'],
  ['zscan', '{u}z', 0, { match: 't*' }],
  ['zpopmax', '{u}z', 1],
  ['zpopmin', '{u}z', 1],
  ['zrem', '{u}z', 'none', 'one'],
  ['zremrangebyscore', '{u}z2', 15, '+inf'],
  ['zremrangebyrank', '{u}z2', 0, 0],
  ['zremrangebylex', '{u}z3', '[a', '[zz'],
  ['geoadd', '{u}g', PALERMO, CATANIA],
  ['geopos', '{u}g', 'Palermo', 'nowhere'],
  ['geodist', '{u}g', 'Palermo', 'Catania', 'KM'],
  ['geohash', '{u}g', 'Palermo', 'Catania'],
  ['geosearch', '{u}g', ...NEAR_PALERMO],
  [
    'geosearch',
    '{u}g',
    ...NEAR_PALERMO,
    { withCoord: true, withDist: true, withHash: true, count: { limit: 2 } },
  ],
  ['geosearchstore', '{u}g2', '{u}g', ...NEAR_PALERMO, { storeDist: true }],
  ['exec', ['OBJECT', 'ENCODING', '{u}a']],
  ['exec', ['GEORADIUS_RO', '{u}g', 15, 37, 200, 'km']],
  ['publish', 'news', 'x'],
  ['eval', 'return {KEYS[1], ARGV[1]}', ['{u}a'], ['x']],
  ['evalsha', 'd006f1a90249474274c76f5be725b8f5804a346b', ['{u}a'], ['x']],
  ['echo', 'héllo'],
  ['ping'],
  ['unlink', '{u}s', '{u}x'],
  ['xadd', '{u}q', '1-1', { item: 'apples', n: 2 }],
  ['xadd', '{u}q', '2-1', { item: 'pears' }, { trim: { type: 'MAXLEN', threshold: 5, comparison: '=' } }],
  ['xadd', '{u}q', '3-1', { item: 'figs' }],
  ['xlen', '{u}q'],
  ['xrange', '{u}q', '-', '+', 2],
  ['xrevrange', '{u}q', '+', '-'],
  ['xread', '{u}q', '1-1', { count: 1 }],
  ['xread', ['{u}q', '{u}q2'], ['0', '0']],
  ['xgroup', '{u}q', { type: 'CREATE', group: 'g', id: '0' }],
  ['xreadgroup', 'g', 'c', '{u}q', '>', { count: 2 }],
  ['xclaim', '{u}q', 'g', 'd', 0, '2-1'],
  ['xautoclaim', '{u}q', 'g', 'c', 0, '0'],
  ['xack', '{u}q', 'g', ['1-1', '2-1']],
  ['xpending', '{u}q', 'g', '-', '+', 5],
  ['xinfo', '{u}q', { type: 'GROUPS' }],
  ['xdel', '{u}q', ['1-1']],
  ['xtrim', '{u}q', { strategy: 'MAXLEN', threshold: 1, exactness: '=' }],
]

/** Not inside MULTI, or they see what other tests have stored. */
const ALONE: readonly Call[] = [
  ['flushdb'],
  ['set', '{u}a', 1],
  ['dbsize'],
  ['keys', '{u}*'],
  ['scan', 0, { match: '{u}*', count: 100, type: 'string' }],
  ['randomkey'],
  ['flushall'],
  ['dbsize'],
]

/** Whatever differs between two servers, or two moments. */
const UNLIKE: readonly string[] = ['time']

/** They ask for a stream of events, which is not offered: docs/DIALECTS.md. */
const STREAMS: readonly string[] = ['subscribe', 'psubscribe']

const BITFIELD: [string, ...string[]] = [
  'BITFIELD',
  '{u}bits',
  'SET',
  'u4',
  '0',
  '5',
  'INCRBY',
  'i5',
  '100',
  '1',
]

/** Sets and hashes have no order. */
const UNORDERED =
  /^(smembers|sinter|sunion|sdiff|srandmember|spop|sscan|hscan|hkeys|hvals|hrandfield|keys|scan|geosearch)$/

type NodeRedis = ReturnType<typeof createClient>
type Chain = Record<string, (...args: unknown[]) => Promise<unknown>>

/** The stock client over a real Redis. */
function requesterOver(redis: NodeRedis): Requester {
  const run = async ([name, ...args]: readonly unknown[]) => {
    const texts = args.map((arg) => (typeof arg === 'string' ? arg : JSON.stringify(arg)))
    return { result: await redis.sendCommand([String(name), ...texts]) }
  }
  return {
    request: async ({ path, body }: { path?: string[]; body?: unknown }) => {
      if (!path) return run(body as unknown[])
      const results: unknown[] = []
      for (const command of body as unknown[][]) results.push(await run(command))
      return results as never
    },
  } as Requester
}

function call(client: unknown, [method, ...args]: Call): Promise<unknown> {
  const chain = client as Chain
  if (method !== 'bitfield') return chain[method]!(...args)
  const fields = (chain.bitfield as unknown as (key: unknown) => Chain)(args[0])
  return (fields.set!('u4', 0, 5) as unknown as Chain).incrby!('i5', 100, 1)
}

const comparable = ([method]: Call, result: unknown): unknown =>
  UNORDERED.test(method) ? sorted(result) : result

function sorted(result: unknown): unknown {
  if (!Array.isArray(result)) return result
  return result.map(sorted).sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1))
}

describe('every command of @upstash/redis', () => {
  let running: RunningRondo
  let server: RedisServer
  let redis: NodeRedis
  let expected: unknown[]
  before(async () => {
    server = await startRedis()
    redis = createClient({ url: `redis://127.0.0.1:${server.port}`, RESP: 2 })
    await redis.connect()
    const reference = new Redis(requesterOver(redis))
    expected = []
    for (const one of CALLS) expected.push(comparable(one, await runOf(reference, one)))
    running = await startRondo({ COMPAT_APIS: 'upstash', DATA_TOKEN: TOKEN })
  })
  after(async () => {
    redis.destroy()
    await Promise.all([running.stop(), server.stop()])
  })

  const runOf = (client: Redis, one: Call): Promise<unknown> => {
    const started = call(client, one)
    return one[0] === 'bitfield' ? (started as unknown as Chain).exec!() : started
  }
  const clientOf = (options: object = {}) => {
    const url = `http://127.0.0.1:${running.ports.socket}/upstash`
    return new Redis({ url, token: TOKEN, enableTelemetry: false, retry: false, ...options } as never)
  }
  const fresh = async (options: object = {}) => {
    const client = clientOf(options)
    await client.flushall()
    return client
  }
  it('is in the table of this test, if Rondo has it', () => {
    const client = clientOf() as unknown as Record<string, unknown>
    const tried = new Set([...CALLS, ...ALONE].map(([method]) => method).concat(UNLIKE, STREAMS, 'multi'))
    const missed = COMMANDS.map(({ name }) => name).filter(
      (name) => typeof client[name] === 'function' && !tried.has(name),
    )
    expect(missed).to.deep.equal([])
  })

  for (const [how, options] of [
    ['one by one', { enableAutoPipelining: false }],
    ['in automatic pipelines, as plain texts', { enableAutoPipelining: true, responseEncoding: false }],
  ] as const) {
    it(`gives what it gives over Redis, ${how}`, async () => {
      const client = await fresh(options)
      for (const [i, one] of CALLS.entries()) {
        // The client cannot pipeline the parts of a bitfield by itself.
        if (options.enableAutoPipelining && one[0] === 'bitfield') await client.exec(BITFIELD)
        else {
          const result = comparable(one, await runOf(client, one))
          expect(result, JSON.stringify(one)).to.deep.equal(expected[i])
        }
      }
    })
  }

  for (const kind of ['pipeline', 'multi'] as const) {
    it(`gives what it gives over Redis, in one ${kind}()`, async () => {
      const client = await fresh()
      const inChain = CALLS.filter(([method]) => method !== 'exec')
      const chain = client[kind]()
      for (const one of inChain) {
        const started = call(chain, one)
        if (one[0] === 'bitfield') void (started as unknown as Chain).exec!()
      }
      const results = await chain.exec()
      const isInChain = CALLS.map(([method]) => method !== 'exec')
      const wanted = expected.filter((_, i) => isInChain[i])
      for (const [i, one] of inChain.entries()) {
        expect(comparable(one, results[i]), JSON.stringify(one)).to.deep.equal(wanted[i])
      }
    })
  }

  it('gives what it gives over Redis for commands that it has no method for, by exec()', async () => {
    const client = await fresh()
    const reference = new Redis(requesterOver(redis))
    const methods = client as unknown as Record<string, unknown>
    const others = Object.entries(KEY_LINES).filter(
      ([name]) => typeof methods[name] !== 'function' && !NEEDS_CONNECTION.test(name),
    )
    expect(others.length).to.be.greaterThan(10)
    const said = (error: Error) => error.message.replace(/, command was.*|^Command .* failed: /s, '')
    for (const [name, lines] of others) {
      const plant = /^(z|geo)/.test(name)
        ? ['ZADD', '1', 'f']
        : /^(rpop|sort)/.test(name)
          ? ['RPUSH', '5']
          : ['SET', '5']
      for (const line of lines) {
        const [theirs, ours] = await Promise.all(
          [reference, client].map(async (one) => {
            const run = (...args: string[]) => one.exec(args as [string, ...string[]])
            await run('DEL', '{t}k', '{t}other', '{t}new', '{t}nosuch')
            for (const key of ['{t}k', '{t}other']) await run(plant[0]!, key, ...plant.slice(1))
            return run(...line.split(' ')).catch(said)
          }),
        )
        expect(ours, line).to.deep.equal(theirs)
      }
    }
  })

  it('gives what it gives over Redis where it is about all keys', async () => {
    const reference = new Redis(requesterOver(redis))
    const client = clientOf()
    for (const one of ALONE) {
      expect(comparable(one, await call(client, one)), JSON.stringify(one)).to.deep.equal(
        comparable(one, await call(reference, one)),
      )
    }
    expect(await client.time()).to.have.length(2)
  })
})
