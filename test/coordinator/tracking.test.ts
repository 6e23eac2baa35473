// CLIENT TRACKING over two coordinators and the same real Redis: whatever changes a key, whoever keeps it is told.
import { expect } from 'chai'
import { setTimeout as delay } from 'node:timers/promises'
import { type RedisServer, startRedisCluster } from '../../scripts/redis-server.ts'
import { STEPS } from '../../src/commands/specs.ts'
import { CachingClient } from '../support/caching-client.ts'
import { KEYS, LINES, MORE, STATES } from '../support/change-lines.ts'
import { FAIR, FaultProxy, WEATHER } from '../support/fault-proxy.ts'
import { seeded } from '../support/random.ts'
import { command, RawResp } from '../support/raw-resp.ts'
import { RondoUnderTest, until } from '../support/rondo-under-test.ts'

const BOUND_MS = 1000
const ENV = {
  ALLOW_DANGEROUS_COMMANDS: 'true',
  NEAR_CACHE_MAX_STALENESS_MS: String(BOUND_MS),
  TRACKING_MAX_KEYS: '2000',
  REPAIR_INTERVAL_SECONDS: '0',
}

/** In one of these each command changes something. */
/** With an entry that is pending, and one that is not. */
const A_STREAM = [
  ...['XADD {t}b 1-1 f 1', 'XADD {t}a 1-1 f 1', 'XADD {t}a 2-1 f 1'],
  ...['XGROUP CREATE {t}a g 0', 'XREADGROUP GROUP g d COUNT 1 STREAMS {t}a >'],
]
const SOME_STATES = [
  ...['absent, both', 'absent', 'a number that expires', 'text', 'a HyperLogLog'],
  ...['a hash that expires', 'a set', 'a sorted set', 'a list', 'a stream'],
]

describe('client tracking over two coordinators', function () {
  this.timeout(40_000)
  let servers: RedisServer[]
  /** Between the one whose clients keep values and its nodes; the other one reaches them directly. */
  let proxies: FaultProxy[]
  let ours: RondoUnderTest
  let other: RondoUnderTest
  let client: CachingClient
  let writer: RawResp

  before(async () => {
    servers = await startRedisCluster(3)
    proxies = await Promise.all(servers.map(({ port }) => FaultProxy.start(port)))
    const urls = (ports: readonly { port: number }[]) =>
      ports.map(({ port }, i) => `redis-${i + 1}=redis://127.0.0.1:${port}`).join(',')
    ours = await RondoUnderTest.start(servers, { ...ENV, REDIS_URLS: urls(proxies) })
    other = await RondoUnderTest.start(servers, { ...ENV, REDIS_URLS: urls(servers) })
  })
  after(async () => {
    await Promise.all([ours.stop(), other.stop()])
    for (const proxy of proxies) proxy.close()
    await Promise.all(servers.map((server) => server.stop()))
  })
  beforeEach(async () => {
    client = await CachingClient.open(ours.respPort)
    writer = await RawResp.open(other.respPort)
  })
  afterEach(() => {
    client.close()
    writer.close()
  })

  const counts = () => ours.rondo.coordinator.tracking.counts
  const isUsed = async () => {
    for (const server of servers) {
      await until(
        'all nodes are up',
        () => ours.member(server).health.state === 'up' && ours.member(server).node.ready,
      )
    }
    await until('all nodes tell', () => counts().nodes === 3)
    await until('nothing is behind', () => ours.members.every(({ behind }) => !behind))
  }
  const write = async (...args: string[]) => expect(await writer.ask(...args)).not.to.match(/^-/)
  /** Reads it until it stays: late messages about earlier writes take it away again. */
  const keep = async (key: string, reader = client, reads = 'GET') => {
    for (;;) {
      await reader.read(reads, key)
      await delay(5)
      await reader.ask('PING')
      if (reader.keeps(key)) break
    }
    reader.told.length = 0
  }

  it('tells of what each writing command changes, whatever the key held before', async () => {
    const plain = await RawResp.open(ours.respPort)
    const changing = new Set<string>()
    const ask = async (connection: RawResp, lines: readonly string[]) => {
      connection.send(Buffer.concat(lines.map((line) => command(...line.split(' ')))))
      return connection.replies(lines.length)
    }
    const more = ['SUNIONSTORE {t}a {t}a {t}b']
    const all = Object.entries({
      ...LINES,
      sunionstore: more,
      more: MORE.filter((line) => !line.startsWith('FLUSH')),
    })
      .filter(([name]) => !STEPS[name] || STEPS[name].flags.includes('write'))
      .flatMap(([name, lines]) => lines.map((line) => ({ name, line })))
    for (const state of SOME_STATES) {
      const before = state === 'a stream' ? A_STREAM : STATES[state]!
      const cases = all.filter(({ name }) => !changing.has(name))
      // Each on keys of its own.
      const own = (line: string, i: number) => line.replaceAll('{t}', `{${state[0]}${i}}`)
      const keys = cases.flatMap((_, i) => KEYS.map((key) => own(key, i)))
      const held = async () =>
        ask(
          plain,
          keys.flatMap((key) => [`DUMP ${key}`, `PEXPIRETIME ${key}`]),
        )
      await ask(
        writer,
        cases.flatMap((_, i) => ['DEL {t}a {t}b {t}new', ...before].map((line) => own(line, i))),
      )
      await delay(50)
      const first = await held()
      await client.readAll('DUMP', keys)
      await ask(
        writer,
        cases.flatMap(({ line }, i) => own(line, i).split(';')),
      )
      const next = await held()
      for (const [i, key] of keys.entries()) {
        if (first[2 * i] === next[2 * i] && first[2 * i + 1] === next[2 * i + 1]) continue
        const { name, line } = cases[Math.floor(i / KEYS.length)]!
        changing.add(name)
        await client.drops(key).catch((error: unknown) => expect.fail(`${line}, ${state}: ${String(error)}`))
      }
      // What does not change is kept, as a rule: otherwise all this says little.
      if (changing.size < cases.length) expect(client.kept.size, state).to.be.above(10)
      client.kept.clear()
    }
    plain.close()
    const writing = Object.keys(LINES).filter((name) => STEPS[name]!.flags.includes('write'))
    expect(writing.filter((name) => !changing.has(name))).to.deep.equal([])
  })

  it('tells of the end of a value by cluster time, long before the node removes it', async () => {
    await write('SET', 'ends', 'v', 'PX', '400')
    await keep('ends')
    const fromMs = performance.now()
    await client.isTold('ends')
    expect(performance.now() - fromMs).to.be.below(700)
    expect(await client.read('GET', 'ends')).to.equal('_\r\n')
    // One that is read by its head.
    await write('SET', 'ends', 'v', 'PX', '300')
    await client.ask('STRLEN', 'ends')
    await client.isTold('ends')
    // In a transaction.
    await write('SET', 'ends', 'v', 'PX', '300')
    await client.ask('MULTI')
    await client.ask('GET', 'ends')
    await client.ask('EXEC')
    await client.isTold('ends')
  })

  it('tells of values whose tag was invalidated, and of those that a job deletes', async () => {
    for (const reads of ['GET', 'STRLEN']) {
      await write('SET', 'tagged', 'v')
      await write('RONDO', 'TAG', 'tagged', 'news', 'team')
      await delay(50)
      await client.ask(reads, 'tagged')
      client.told.length = 0
      await write('RONDO', 'INVALIDATE', 'news')
      await client.isTold('tagged')
      expect(await client.ask('EXISTS', 'tagged')).to.equal(':0\r\n')
    }
    await write('MSET', 'job:1', 'v', 'job:2', 'v')
    await keep('job:1')
    await keep('job:2')
    const started = await fetch(`${other.url}/api/v1/delete-jobs`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ prefix: 'job:' }),
    })
    expect(started.status).to.be.within(200, 202)
    await until('both are told', async () => {
      await client.ask('PING')
      return !client.keeps('job:1') && !client.keeps('job:2')
    })
  })

  it('tells of a flush at another coordinator', async () => {
    await write('SET', 'k', 'v')
    await keep('k')
    await write('FLUSHALL')
    await client.isTold(null, 5000)
    expect(await client.read('GET', 'k')).to.equal('_\r\n')
  })

  it('tells of all that it has read of a node that is gone, and of one that is back', async () => {
    const [first] = ours.keysAt(servers[0]!, 0, 1, 'gone:')
    await write('SET', first!, 'v')
    await keep(first!)
    await proxies[0]!.set(WEATHER.cut)
    await client.isTold(first!)
    await until('it is down', () => ours.member(servers[0]!).health.state === 'down')
    await keep(first!)
    await proxies[0]!.set(FAIR)
    await client.isTold(first!, 8000)
    await isUsed()
  })

  it('tells within the bound when a node is silent', async () => {
    await isUsed()
    const [first] = ours.keysAt(servers[1]!, 0, 1, 'silent:')
    await write('SET', first!, 'v')
    await keep(first!)
    const fromMs = performance.now()
    await proxies[1]!.set(WEATHER.blackhole)
    // Nobody writes: it is told because nothing is known of the node any more.
    await client.isTold(first!)
    expect(performance.now() - fromMs).to.be.below(2.5 * BOUND_MS)
    await proxies[1]!.set(FAIR)
    await isUsed()
  })

  it('heals what was read from a replica that lags', async () => {
    await isUsed()
    const key = ours.keysAt(servers[0]!, 0, 1, 'lag:')[0]!
    await write('SET', key, 'old')
    const second = ours.serversOf(key)[1]!
    await until('it is everywhere', async () =>
      (await Promise.all(servers.map((server) => ours.client(server).getBuffer(key)))).every((held) =>
        held?.includes('old'),
      ),
    )
    await keep(key)
    // The first replica gets it, and the others only later: they hold still while the write is on its way.
    const behind = servers.filter((server) => server !== servers[0])
    await Promise.all(behind.map((server) => server.pause()))
    const isWritten = writer.ask('SET', key, 'new')
    expect(await isWritten).to.equal('+OK\r\n')
    await client.isTold(key)
    await proxies[0]!.set(WEATHER.cut)
    second.resume()
    // Whatever it answers now, and keeps, it does not keep the old one for good.
    await client.read('GET', key)
    for (const server of behind) server.resume()
    await until(
      'it has the new one',
      async () => (await client.read('GET', key)) === '$3\r\nnew\r\n' || (await client.ask('PING'), false),
    )
    await proxies[0]!.set(FAIR)
    await isUsed()
  })

  it('NOLOOP: does not tell of its own writes, and tells of those of others behind them', async () => {
    for (const options of [['NOLOOP'], ['NOLOOP', 'BCAST', 'PREFIX', 'loop:']]) {
      const key = `loop:${options.length}`
      const own = await CachingClient.open(ours.respPort, ...options)
      await client.ask('GET', key)
      for (let i = 0; i < 5; i++) {
        await own.ask('GET', key)
        await own.ask('SET', key, `own${i}`)
        await own.ask('GET', key)
      }
      await client.isTold(key)
      await delay(100)
      await own.ask('PING')
      expect(own.told).to.deep.equal([])
      await write('SET', key, 'theirs')
      await own.isTold(key)
      expect(await own.ask('GET', key)).to.equal('$6\r\ntheirs\r\n')
      own.close()
    }
  })

  it('BCAST: tells of all keys with a prefix, in any database, by whoever writes them', async () => {
    const all = await CachingClient.open(ours.respPort, 'BCAST', 'PREFIX', 'u:', 'PREFIX', 'p:')
    await write('SET', 'other', '1')
    await write('SELECT', '2')
    await write('SET', 'u:1', '1')
    await all.isTold('u:1')
    await write('SELECT', '0')
    await write('SET', 'p:1', '1')
    await write('SET', 'last', '1')
    await all.isTold('p:1')
    await write('SET', 'p:2', '1')
    await all.isTold('p:2')
    expect(all.told).not.to.include('other')
    all.close()
  })

  it('remembers so many keys at most, and tells of the oldest when there are more', async () => {
    await until('only this one tracks', () => counts().trackers === 1)
    await client.readAll(
      'GET',
      Array.from({ length: 2010 }, (_, i) => `many:${i}`),
    )
    await client.ask('PING')
    expect(client.told).to.deep.equal(Array.from({ length: 10 }, (_, i) => `many:${i}`))
    expect(counts().items).to.equal(2000)
    expect(await client.ask('MGET', ...Array.from({ length: 1001 }, (_, i) => `m${i}`))).to.match(/^\*1001/)
    await client.isTold(null)
  })

  it('forgets everything, and asks the nodes nothing more, when the last one is gone', async () => {
    await until('only this one tracks', () => counts().trackers === 1)
    client.close()
    await until('nobody tracks', () => counts().trackers === 0)
    expect(counts()).to.include({ keys: 0, items: 0, nodes: 0 })
    client = await CachingClient.open(ours.respPort)
    expect(counts()).to.include({ trackers: 1, nodes: 3 })
  })

  const seed = Number(process.env.TRACKING_SEED ?? Date.now() % 1_000_000)
  it(`keeps nothing that differs, when all is quiet (TRACKING_SEED=${seed})`, async () => {
    await isUsed()
    const chance = seeded(seed)
    const random = () => chance.next()
    const pick = <T>(of: readonly T[]) => of[Math.floor(random() * of.length)]!
    const keys = Array.from({ length: 12 }, (_, i) => `model:${i}`)
    const readers = [
      client,
      await CachingClient.open(ours.respPort),
      await CachingClient.open(other.respPort),
    ]
    const writers = [writer, await RawResp.open(ours.respPort), await RawResp.open(other.respPort)]
    let value = 0
    const work = async (one: RawResp) => {
      for (let i = 0; i < 150; i++) {
        const key = pick(keys)
        const line = pick([
          ['SET', key, String(value++)],
          ['SET', key, String(value++), 'PX', String(20 + Math.floor(random() * 200))],
          ['DEL', key],
          ['INCR', key],
          ['GETDEL', key],
          ['MSET', key, String(value++), pick(keys), String(value++)],
          ['APPEND', key, '1'],
          ['PEXPIRE', key, '50'],
        ])
        await one.ask(...line)
        if (random() < 0.1) await delay(2)
      }
    }
    const look = async (reader: CachingClient) => {
      for (let i = 0; i < 400; i++)
        await (random() < 0.9 ? reader.read('GET', pick(keys)) : reader.ask('PING'))
    }
    await Promise.all([...writers.map(work), ...readers.map(look)])
    const differ = async () => {
      const now: string[] = []
      for (const key of keys) now.push(await writers[1]!.ask('GET', key))
      const all: string[] = []
      for (const reader of readers) {
        await reader.ask('PING')
        for (const [i, key] of keys.entries()) {
          const kept = reader.kept.get(`GET ${key}`)
          if (kept !== undefined && kept.replace('_', '$-1') !== now[i])
            all.push(`${key}: ${kept} / ${now[i]}`)
        }
      }
      return all
    }
    await until('nothing kept differs', async () => (await differ()).length === 0, 3000).catch(async () =>
      expect.fail((await differ()).join()),
    )
    for (const one of [...readers.slice(1), ...writers.slice(1)]) one.close()
  })
})
