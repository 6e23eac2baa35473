/**
 * Collections that another program stored directly on the nodes, over real servers: reads leave them as they are, and the
 * first write makes them Rondo's own. Beside them stands a Redis that gets the same commands.
 */
import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { promisify } from 'node:util'
import { expect } from 'chai'
import type { Redis } from 'ioredis'
import { StoredRecord } from '../../src/core/codec.ts'
import { VERSION_ZERO, compareVersions } from '../../src/core/clock.ts'
import { MAX_FOREIGN_BYTES, MAX_FOREIGN_ELEMENTS } from '../../src/nodes/redis/foreign.ts'
import { type RedisServer, startRedis } from '../../scripts/redis-server.ts'
import { RawResp } from '../support/raw-resp.ts'
import { RondoUnderTest, until } from '../support/rondo-under-test.ts'

const run = promisify(execFile)

type Command = readonly (string | Buffer)[]

const BINARY = Buffer.from([0, 13, 10, 255, 34, 92, 128])
/** KEY and OTHER stand for names that share their nodes. */
const KEY = 'KEY'
const OTHER = 'OTHER'

const TYPES: Readonly<Record<string, { readonly made: readonly Command[]; readonly all: Command }>> = {
  hash: { made: [['HSET', KEY, 'f', '1', BINARY, BINARY, '', '']], all: ['HGETALL', KEY] },
  set: { made: [['SADD', KEY, 'a', BINARY, '']], all: ['SMEMBERS', KEY] },
  'set of integers': { made: [['SADD', KEY, '1', '-70000', '5000000000']], all: ['SMEMBERS', KEY] },
  'sorted set': {
    made: [['ZADD', KEY, '-inf', 'low', '1.5', BINARY, '1.5', 'a', 'inf', 'high']],
    all: ['ZRANGE', KEY, '0', '-1', 'WITHSCORES'],
  },
  list: { made: [['RPUSH', KEY, 'x', BINARY, '', '12345', 'y']], all: ['LRANGE', KEY, '0', '-1'] },
  stream: {
    made: [
      ['XADD', KEY, '1-1', 'field', BINARY],
      ['XADD', KEY, '2-1', 'field', 'b'],
      ['XGROUP', 'CREATE', KEY, 'group', '0'],
      ['XREADGROUP', 'GROUP', 'group', 'me', 'COUNT', '1', 'STREAMS', KEY, '>'],
    ],
    all: ['XRANGE', KEY, '-', '+'],
  },
}

const READS: Readonly<Record<string, readonly Command[]>> = {
  hash: [
    ['HGET', KEY, 'f'],
    ['HLEN', KEY],
    ['OBJECT', 'ENCODING', KEY],
    ['HMGET', KEY, BINARY, 'absent'],
    ['HSTRLEN', KEY, BINARY],
    ['HEXISTS', KEY, ''],
  ],
  set: [
    ['SCARD', KEY],
    ['SISMEMBER', KEY, BINARY],
    ['SINTER', KEY, OTHER],
  ],
  'sorted set': [
    ['ZCARD', KEY],
    ['ZSCORE', KEY, BINARY],
    ['ZRANK', KEY, 'high'],
    ['ZRANGEBYSCORE', KEY, '-inf', '2'],
  ],
  list: [
    ['LLEN', KEY],
    ['LINDEX', KEY, '-1'],
    ['LPOS', KEY, ''],
  ],
  stream: [
    ['XLEN', KEY],
    ['XPENDING', KEY, 'group'],
    ['XREAD', 'STREAMS', KEY, '1-1'],
  ],
}
const READS_OF_ANY: readonly Command[] = [
  ['TYPE', KEY],
  ['EXISTS', KEY],
  ['GET', KEY],
  ['STRLEN', KEY],
  ['MGET', KEY, OTHER],
]

const WRITES: Readonly<Record<string, readonly Command[]>> = {
  hash: [
    ['HSET', KEY, 'g', BINARY],
    ['HINCRBY', KEY, 'f', '5'],
    ['HDEL', KEY, BINARY],
    ['HDEL', KEY, 'f', BINARY, ''],
    ['EVAL', "return redis.call('HSET', KEYS[1], 'x', 'y')", '1', KEY],
  ],
  set: [
    ['SADD', KEY, 'b'],
    ['SREM', KEY, BINARY],
    ['SMOVE', KEY, OTHER, 'a'],
    ['SUNIONSTORE', OTHER, KEY],
  ],
  'set of integers': [['SADD', KEY, 'text']],
  'sorted set': [
    ['ZADD', KEY, '7', 'b'],
    ['ZINCRBY', KEY, '1', 'a'],
    ['ZPOPMIN', KEY],
  ],
  list: [
    ['LPUSH', KEY, BINARY],
    ['RPOP', KEY],
    ['BLPOP', KEY, '1'],
    ['LMOVE', KEY, OTHER, 'LEFT', 'RIGHT'],
  ],
  stream: [
    ['XADD', KEY, '3-1', 'field', 'c'],
    ['XACK', KEY, 'group', '1-1'],
    ['XDEL', KEY, '1-1'],
  ],
}
const WRITES_OF_ANY: readonly Command[] = [
  ['SET', KEY, 'v'],
  ['SET', KEY, 'v', 'KEEPTTL'],
  ['MSET', KEY, 'v', OTHER, 'w'],
  ['DEL', KEY],
  ['UNLINK', KEY],
  ['EXPIRE', KEY, '500'],
  ['RENAME', KEY, OTHER],
  ['COPY', KEY, OTHER],
]
/** Nothing changes. */
const REFUSED: readonly Command[] = [
  ['SET', KEY, 'v', 'NX'],
  ['APPEND', KEY, 'v'],
  ['INCR', KEY],
  ['GETDEL', KEY],
  ['SET', KEY, 'v', 'GET'],
  ['EVAL', "return redis.call('TYPE', KEYS[1]).ok", '1', KEY],
]

describe('collections that another program stored', () => {
  let servers: RedisServer[]
  let reference: RedisServer
  let redis: RawResp
  let under: RondoUnderTest
  let rondo: RawResp
  let natives: Redis[]
  let number = 0

  before(async () => {
    servers = await Promise.all([startRedis(), startRedis(), startRedis()])
    reference = await startRedis()
    redis = await RawResp.open(reference.port)
  })
  after(async () => {
    redis.close()
    await Promise.all([...servers, reference].map((server) => server.stop()))
  })

  async function start(level: string): Promise<void> {
    await Promise.all(servers.map((server) => server.restart({ wipe: true })))
    under = await RondoUnderTest.start(servers, {
      READ_CONSISTENCY: level === 'all' ? 'quorum' : level,
      WRITE_CONSISTENCY: level,
    })
    rondo = await RawResp.open(under.respPort)
    natives = servers.map((server) => under.client(server))
  }
  async function stop(): Promise<void> {
    rondo.close()
    await under.stop()
  }

  /** With its name, and that of another key beside it. */
  function named(command: Command, key: string): Command {
    return command.map((arg) => (arg === KEY ? key : arg === OTHER ? `${key}:other` : arg))
  }
  /** @param at where they are put by another program */
  async function given(type: string, at: readonly Redis[], ttlMs: number): Promise<string> {
    const key = `{${type} ${number++}}`
    const commands = TYPES[type]!.made.map((command) => named(command, key))
    if (ttlMs > 0) commands.push(['PEXPIRE', key, String(ttlMs)])
    for (const [name, ...args] of commands) {
      await Promise.all(at.map((client) => client.call(String(name), ...args)))
      await redis.ask(String(name), ...args)
    }
    return key
  }
  const holders = (level: string, key: string) => {
    if (level !== 'one') return natives
    return [natives[servers.indexOf(under.serversOf(key)[0]!)]!]
  }
  /** At the first of its nodes, or at all. */
  async function givenFor(level: string, type: string, ttlMs = 0): Promise<string> {
    const key = await given(type, [], ttlMs)
    for (const client of holders(level, key)) {
      for (const command of TYPES[type]!.made) {
        const [name, ...args] = named(command, key)
        await client.call(String(name), ...args)
      }
      if (ttlMs > 0) await client.pexpire(key, ttlMs)
    }
    return key
  }
  async function same(command: Command, key: string): Promise<void> {
    const [name, ...args] = named(command, key)
    const [ours, theirs] = [await rondo.ask(String(name), ...args), await redis.ask(String(name), ...args)]
    // Redis has an order of its own for each process.
    const inOrder = (reply: string) =>
      /^(SMEMBERS|SINTER)$/.test(String(name)) ? [...reply].sort().join('') : reply
    expect(inOrder(ours), `${command.join(' ')} of ${key}`).to.equal(inOrder(theirs))
  }
  async function endsAlike(key: string): Promise<void> {
    const [ours, theirs] = [await rondo.ask('PTTL', key), await redis.ask('PTTL', key)].map((reply) =>
      Number(reply.slice(1)),
    )
    if (theirs! < 0) expect(ours, `PTTL of ${key}`).to.equal(theirs)
    else expect(ours, `PTTL of ${key}`).to.be.closeTo(theirs!, 5000)
  }
  /** The same to clients, whatever it is by now. */
  async function alike(key: string): Promise<void> {
    for (const name of [key, `${key}:other`]) {
      await same(['TYPE', KEY], name)
      const type = (await redis.ask('TYPE', name)).trim().slice(1)
      const all = { hash: 'hash', set: 'set', zset: 'sorted set', list: 'list', stream: 'stream' }[type]
      if (all) await same(TYPES[all]!.all, name)
      else await same(['GET', KEY], name)
      await endsAlike(name)
    }
  }
  /** Every node holds a record of Rondo. */
  async function isOurs(key: string): Promise<void> {
    await until(`${key} is a record everywhere`, async () => {
      const held = await Promise.all(natives.map((client) => client.getBuffer(key).catch(() => null)))
      return held.every(
        (bytes) => bytes && compareVersions(new StoredRecord(bytes).version, VERSION_ZERO) > 0,
      )
    })
  }

  /** As large as they may be, in each form, and a little larger. */
  async function filled(client: Redis, key: string, elements: number, bytes: number): Promise<void> {
    const texts = Array.from({ length: elements }, (_, i) => `${i}:${'x'.repeat(bytes)}`)
    await Promise.all([
      client.hset(`${key}:hash`, ...texts.flatMap((text, i) => [String(i), text])),
      client.sadd(`${key}:set`, ...texts),
      client.zadd(`${key}:zset`, ...texts.flatMap((text, i) => [String(i), text])),
      client.rpush(`${key}:list`, ...texts),
    ])
  }
  const SIZES = [
    ['hash', ['HLEN'], ['HSET', 'new', 'v'], ['HGET', '7']],
    ['set', ['SCARD'], ['SADD', 'new'], ['SISMEMBER', 'absent']],
    ['zset', ['ZCARD'], ['ZADD', '1', 'new'], ['ZSCORE', 'absent']],
    ['list', ['LLEN'], ['RPUSH', 'new'], ['LINDEX', '7']],
  ] as const

  describe('of any size', () => {
    before(() => start('quorum'))
    after(stop)

    it('are read up to the bound, and refused in words above it', async () => {
      const key = '{sizes}'
      for (const client of natives) await filled(client, key, MAX_FOREIGN_ELEMENTS / 2, 20)
      for (const [type, [count, ...more], [change, ...args], [look, ...field]] of SIZES) {
        const name = `${key}:${type}`
        expect(await rondo.ask(count, name, ...more)).to.equal(`:${MAX_FOREIGN_ELEMENTS / 2}\r\n`)
        expect(await rondo.ask(look, name, ...field)).to.not.match(/^-/)
        expect(await natives[0]!.type(name)).to.equal(type)
        expect(await rondo.ask(change, name, ...args)).to.not.match(/^-/)
        expect(await rondo.ask(count, name)).to.equal(`:${MAX_FOREIGN_ELEMENTS / 2 + 1}\r\n`)
        await isOurs(name)
      }
      for (const [elements, bytes] of [
        [MAX_FOREIGN_ELEMENTS + 1, 1],
        [20, MAX_FOREIGN_BYTES / 10],
      ] as const) {
        const larger = `{sizes}${elements}`
        for (const client of natives) await filled(client, larger, elements, bytes)
        for (const [type, [count], [change, ...args]] of SIZES) {
          const name = `${larger}:${type}`
          const refusal =
            /^-WRONGTYPE The key holds a collection of another program with more than 16384 elements, 1048576 bytes or MAX_VALUE_BYTES\. Move it in with DUMP and RESTORE, or delete it on the node.\r\n$/
          expect(await rondo.ask(count, name)).to.match(refusal)
          expect(await rondo.ask(change, name, ...args)).to.match(refusal)
          // What asks for no more than its type.
          expect(await rondo.ask('TYPE', name)).to.equal(`+${type}\r\n`)
          expect(await rondo.ask('EXISTS', name)).to.equal(':1\r\n')
          expect(await natives[0]!.type(name)).to.equal(type)
          expect(await rondo.ask('SET', name, 'v')).to.equal('+OK\r\n')
          expect(await rondo.ask('GET', name)).to.equal('$1\r\nv\r\n')
          await isOurs(name)
        }
      }
    }).timeout(30_000)
  })

  describe('beside everything else', () => {
    before(() => start('one'))
    after(stop)

    const listed = async (...more: string[]) => {
      const found: string[] = []
      let cursor = '0'
      do {
        const page = await rondo.ask('SCAN', cursor, 'COUNT', '1000', ...more)
        const [next, ...keys] = [...page.matchAll(/\$\d+\r\n(.*)\r\n/g)].map((match) => match[1]!)
        cursor = next!
        found.push(...keys)
      } while (cursor !== '0')
      return found.sort()
    }

    it('are listed by their type', async () => {
      const keys: string[] = []
      for (const type of ['hash', 'set', 'sorted set', 'list', 'stream'])
        keys.push(await givenFor('one', type))
      expect(await listed()).to.deep.equal([...keys].sort())
      for (const [i, type] of ['hash', 'set', 'zset', 'list', 'stream'].entries()) {
        expect(await listed('TYPE', type)).to.deep.equal([keys[i]])
      }
      expect(await listed('TYPE', 'string')).to.deep.equal([])
    })

    it('take part in transactions, which WATCH stops if they change', async () => {
      const key = await givenFor('one', 'hash')
      for (const command of [['MULTI'], ['HINCRBY', KEY, 'f', '1'], ['HGET', KEY, 'f'], ['EXEC']])
        await same(command, key)
      await alike(key)
      await isOurs(key)
      const other = await givenFor('one', 'list', 1_000_000)
      for (const command of [['WATCH', KEY], ['MULTI'], ['RPUSH', KEY, 'z'], ['EXEC']])
        await same(command, other)
      await alike(other)
      const third = await givenFor('one', 'set')
      await rondo.ask('WATCH', third)
      const client = await RawResp.open(under.respPort)
      expect(await client.ask('SADD', third, 'between')).to.equal(':1\r\n')
      client.close()
      await rondo.ask('MULTI')
      await rondo.ask('SADD', third, 'late')
      expect(await rondo.ask('EXEC')).to.equal('*-1\r\n')
    })

    it('are of the database that their name tells', async () => {
      const name = '__rondo:db1:{of one}'
      const at = natives[servers.indexOf(under.serversOf(name)[0]!)]!
      await at.hset(name, 'f', 'v')
      await rondo.ask('SELECT', '1')
      expect(await rondo.ask('HGET', '{of one}', 'f')).to.equal('$1\r\nv\r\n')
      expect(await rondo.ask('HSET', '{of one}', 'g', 'w')).to.equal(':1\r\n')
      expect(await rondo.ask('HLEN', '{of one}')).to.equal(':2\r\n')
      await rondo.ask('SELECT', '0')
      await isOurs(name)
    })

    it('stay through a repair round, and are counted where nobody looks for them', async () => {
      const key = await given('hash', [], 0)
      const [home, next] = under.serversOf(key).map((server) => natives[servers.indexOf(server)]!)
      await home!.hset(key, 'f', 'v')
      await next!.hset(key, 'f', 'other')
      const round = async () => {
        const answer = await fetch(`${under.url}/repair`)
        return (
          (await answer.json()) as {
            lastRound: { startedAt: string; misplaced: Record<string, number> } | null
          }
        ).lastRound
      }
      const before = await round()
      await fetch(`${under.url}/repair`, {
        method: 'POST',
        headers: { 'Content-Type': 'application/json' },
        body: '{}',
      })
      await until('a round is over', async () => (await round())?.startedAt !== before?.startedAt)
      const { misplaced } = (await round())!
      expect(Object.values(misplaced).reduce((sum, count) => sum + count)).to.equal(1)
      expect(await home!.hget(key, 'f')).to.equal('v')
      expect(await next!.hget(key, 'f')).to.equal('other')
      expect(await natives.at(servers.indexOf(under.serversOf(key)[2]!))!.exists(key)).to.equal(0)
    })

    it('give way to what Rondo stores, where nobody looks for them', async () => {
      const key = await given('hash', [], 0)
      const [, ...others] = under.serversOf(key).map((server) => natives[servers.indexOf(server)]!)
      for (const client of others) await client.rpush(key, 'x')
      expect(await rondo.ask('SET', key, 'v')).to.equal('+OK\r\n')
      await isOurs(key)
    })

    it('become records by the line of OPERATING.md', async () => {
      const keys: string[] = []
      for (const ttlMs of [0, 1_000_000]) {
        for (const type of Object.keys(TYPES)) keys.push(await givenFor('one', type, ttlMs))
      }
      const operating = readFileSync(new URL('../../docs/OPERATING.md', import.meta.url), 'utf8')
      const [, line] = /```sh\n\s+(redis-cli -p 6390 --scan .*)\n/.exec(operating)!
      const { stdout } = await run('bash', ['-c', line!.replaceAll('-p 6390', `-p ${under.respPort}`)])
      expect(stdout).to.equal('')
      for (const key of keys) {
        await alike(key)
        await isOurs(key)
      }
    })

    it('are deleted by a job, whatever their size', async () => {
      const name = '{of a job}'
      const at = natives[servers.indexOf(under.serversOf(name)[0]!)]!
      await at.hset(`${name}:hash`, 'f', 'v')
      await at.rpush(`${name}:large`, ...Array<string>(MAX_FOREIGN_ELEMENTS + 1).fill('x'))
      await rondo.ask('SET', `${name}:string`, 'v')
      const made = await fetch(`${under.url}/api/v1/delete-jobs`, {
        method: 'POST',
        headers: { 'Content-Type': 'application/json' },
        body: JSON.stringify({ prefix: name }),
      })
      const { id } = (await made.json()) as { id: string }
      type JobView = { state: string; deleted: number; kept: number }
      let job: JobView
      await until('the job is done', async () => {
        const answer = await fetch(`${under.url}/api/v1/delete-jobs/${id}`)
        job = (await answer.json()) as JobView
        return job.state === 'done'
      })
      expect(job!).to.include({ deleted: 3, kept: 0 })
      for (const key of [`${name}:hash`, `${name}:large`]) {
        expect(await rondo.ask('EXISTS', key)).to.equal(':0\r\n')
      }
    })

    it('are gone after FLUSHALL, whatever their size', async () => {
      const key = await givenFor('one', 'hash')
      await filled(natives[0]!, '{flushed}', MAX_FOREIGN_ELEMENTS + 1, 1)
      expect(await rondo.ask('FLUSHALL')).to.equal('+OK\r\n')
      expect(await rondo.ask('EXISTS', key)).to.equal(':0\r\n')
      expect(await rondo.ask('HGETALL', '{flushed}:hash')).to.equal('*0\r\n')
      await until('the nodes are empty', async () => {
        const left = await Promise.all(natives.map((client) => client.keys('*')))
        return left.flat().every((name) => name.startsWith('__rondo:'))
      })
      // As with strings: who writes to the nodes afterwards has written before it.
      await natives[0]!.hset('{flushed}:later', 'f', 'v')
      expect(await rondo.ask('HLEN', '{flushed}:later')).to.equal(':0\r\n')
      expect(await rondo.ask('HSET', '{flushed}:later', 'g', 'w')).to.equal(':1\r\n')
      expect(await rondo.ask('HLEN', '{flushed}:later')).to.equal(':1\r\n')
    })
  })

  for (const level of ['one', 'quorum', 'all']) {
    describe(`at ${level}`, () => {
      before(() => start(level))
      after(stop)

      for (const ttlMs of [0, 1_000_000]) {
        it(`are read in place ${ttlMs > 0 ? 'with' : 'without'} a TTL`, async () => {
          for (const type of Object.keys(TYPES)) {
            const key = await givenFor(level, type, ttlMs)
            const [client] = holders(level, key)
            const before = await client!.dumpBuffer(key)
            for (const command of [...READS_OF_ANY, ...(READS[type] ?? []), TYPES[type]!.all])
              await same(command, key)
            await endsAlike(key)
            expect(await client!.dumpBuffer(key), type).to.deep.equal(before)
            expect((await client!.pttl(key)) > 0, `the end of ${key} there`).to.equal(ttlMs > 0)
          }
        })

        it(`become Rondo's by a write ${ttlMs > 0 ? 'with' : 'without'} a TTL`, async () => {
          for (const type of Object.keys(TYPES)) {
            for (const command of [...(WRITES[type] ?? []), ...WRITES_OF_ANY]) {
              const key = await givenFor(level, type, ttlMs)
              await same(command, key)
              await alike(key)
              const isRead = ['COPY', 'SUNIONSTORE'].includes(String(command[0]))
              await isOurs(isRead ? `${key}:other` : key)
            }
          }
        }).timeout(60_000)
      }

      it('stay what they are when a command changes nothing', async () => {
        for (const type of Object.keys(TYPES)) {
          for (const command of REFUSED) {
            const key = await givenFor(level, type, 1_000_000)
            await same(command, key)
            await alike(key)
          }
        }
      })
    })
  }
})
