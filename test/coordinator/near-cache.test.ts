// The near cache over real Redis, in one of two coordinators: what reads at `one` of it may be, while the other one writes.
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import type { Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'
import { expect } from 'chai'
import { Redis } from 'ioredis'
import type { NearCache } from '../../src/nodes/near/near-cache.ts'
import { startRedis, startRedisCluster, type RedisServer } from '../../scripts/redis-server.ts'
import { CachingClient } from '../support/caching-client.ts'
import { FAIR, FaultProxy, WEATHER } from '../support/fault-proxy.ts'
import { command, RawResp } from '../support/raw-resp.ts'
import { startRondo, type RunningRondo } from '../support/rondo.ts'

const BOUND_MS = 200
/** In all, over four kinds of faults. */
const FAULTED_MS = 1600

/** Of a node: what this test reaches into, to break the tracking connection alone. */
interface TrackerInside {
  options: { address: object }
  connection: { socket: Socket } | null
}

describe('the near cache', function () {
  this.timeout(20_000)
  let servers: RedisServer[]
  let near: RunningRondo
  let other: RunningRondo
  let cache: NearCache
  let nearClient: Redis
  let otherClient: Redis

  const respPort = (running: RunningRondo) => running.rondo.respServer.port

  async function until(isSo: () => boolean): Promise<void> {
    while (!isSo()) await delay(5)
  }

  beforeEach(async () => {
    servers = await startRedisCluster(3)
    const REDIS_URLS = servers.map(({ port }, i) => `n${i + 1}=127.0.0.1:${port}`).join(',')
    const env = { REDIS_URLS, PING_INTERVAL_SECONDS: '1', ALLOW_DANGEROUS_COMMANDS: 'true', HOT_KEYS: '0' }
    const bound = { NEAR_CACHE_MAX_BYTES: '1MiB', NEAR_CACHE_MAX_STALENESS_MS: String(BOUND_MS) }
    near = await startRondo({ ...env, ...bound })
    other = await startRondo({ ...env, WRITE_CONSISTENCY: 'all' })
    cache = (near.rondo as unknown as { members: { near: NearCache } }).members.near
    nearClient = new Redis(respPort(near), '127.0.0.1')
    otherClient = new Redis(respPort(other), '127.0.0.1')
    await until(() => cache.tracked === 3)
  })

  afterEach(async () => {
    nearClient.disconnect()
    otherClient.disconnect()
    await Promise.all([near.stop(), other.stop()])
    await Promise.all(servers.map((server) => server.stop()))
  })

  /** Reads until it is answered from the near cache, and returns that. */
  async function heated(key: string): Promise<string | null> {
    for (;;) {
      const { hits } = cache
      const value = await nearClient.get(key)
      if (cache.hits > hits) return value
    }
  }

  /** Proxies for the tracking connections alone. */
  async function trackThroughProxies(): Promise<FaultProxy[]> {
    const proxies = await Promise.all(servers.map(({ port }) => FaultProxy.start(port)))
    for (const [i, { node }] of near.rondo.cluster.members.entries()) {
      const { tracker } = node as unknown as { tracker: TrackerInside }
      tracker.options.address = { host: '127.0.0.1', port: proxies[i]!.port, tls: false }
      tracker.connection!.socket.destroy()
    }
    await until(() => cache.tracked < 3)
    await until(() => cache.tracked === 3)
    return proxies
  }

  it('answers reads at one without asking a node, and is brought up to date by it', async () => {
    await otherClient.set('k', 'old')
    expect(await heated('k')).to.equal('old')
    await otherClient.set('k', 'new')
    const { hits } = cache
    await until(() => cache.table.findStored(Buffer.from('k')) === null)
    expect(await nearClient.get('k')).to.equal('new')
    expect(await heated('k')).to.equal('new')
    expect(cache.hits).to.be.above(hits)
    await otherClient.del('k')
    await until(() => cache.table.findStored(Buffer.from('k')) === null)
    expect(await nearClient.get('k')).to.equal(null)
  })

  it('is not looked into by reads of clients that track keys', async () => {
    await otherClient.set('k', 'v')
    await heated('k')
    const client = await CachingClient.open(respPort(near))
    const { hits } = cache
    expect(await client.ask('GET', 'k')).to.equal('$1\r\nv\r\n')
    expect(cache.hits).to.equal(hits)
    client.close()
  })

  it('says over HTTP that an answer came from it, and which node it is of', async () => {
    await nearClient.set('k', 'v')
    const url = `http://127.0.0.1:${near.ports.socket}/api/v1/keys/k`
    let headers: Headers
    do {
      // The node's message about the write may come late, and takes the copy with it.
      await heated('k')
      headers = (await fetch(url)).headers
    } while (!headers.has('Cache-Status'))
    expect(headers.get('Cache-Status')).to.equal('rondo; hit')
    expect(headers.get('Age')).to.match(/^\d$/)
    expect(headers.get('Rondo-Served-By')).to.match(/^n\d$/)
    for (const level of ['quorum', 'all']) {
      const asked = await fetch(`${url}?consistency=${level}`)
      expect(asked.headers.get('Cache-Status')).to.equal(null)
    }
  })

  it('is not asked by reads at quorum and all, whatever it holds', async () => {
    await otherClient.set('k', 'old')
    await heated('k')
    const proxies = await trackThroughProxies()
    await heated('k')
    for (const proxy of proxies) await proxy.set(WEATHER.partition)
    await otherClient.set('k', 'new')
    const url = `http://127.0.0.1:${near.ports.socket}/api/v1/keys/k`
    for (const level of ['quorum', 'all']) {
      const { value } = (await (await fetch(`${url}?consistency=${level}`)).json()) as { value: string }
      expect(value).to.equal('new')
    }
    for (const proxy of proxies) proxy.close()
  })

  it('lets a client read its own writes through one coordinator, also in a pipeline', async () => {
    const client = await RawResp.open(respPort(near))
    for (let i = 0; i < 50; i++) {
      await nearClient.set('k', 'before')
      expect(await heated('k')).to.equal('before')
      const get = command('GET', 'k')
      const sent = [get, command('SET', 'k', String(i)), get, get, command('INCR', 'k'), get, get]
      client.send(Buffer.concat(sent))
      const [, ...replies] = await client.replies(7)
      const text = (n: number) => `$${String(n).length}\r\n${n}\r\n`
      const expected = ['+OK\r\n', text(i), text(i), `:${i + 1}\r\n`, text(i + 1), text(i + 1)]
      expect(replies.map((reply) => reply.trim())).to.deep.equal(expected.map((reply) => reply.trim()))
    }
    client.socket.destroy()
  })

  it('answers as a node does, whatever the connection is in the middle of, and counts it', async () => {
    const client = await RawResp.open(respPort(near))
    const get = command('GET', 'k')
    const ask = async (...commands: Buffer[]) => {
      client.send(Buffer.concat(commands))
      return (await client.replies(commands.length)).map((reply) => reply.trim())
    }
    const value = (text: string) => `$${text.length}\r\n${text}`
    await nearClient.set('k', 'v')
    await heated('k')

    // More than one run of hits, between commands that are answered in other ways.
    const mixed = Array.from({ length: 200 }, (_, i) => [command('ECHO', String(i)), get, get]).flat()
    const echoed = Array.from({ length: 200 }, (_, i) => [value(String(i)), value('v'), value('v')]).flat()
    expect(await ask(...mixed)).to.deep.equal(echoed)
    const counted = async () => {
      const text = await (await fetch(`http://127.0.0.1:${near.ports.socket}/metrics`)).text()
      const of = (pattern: RegExp) => Number(pattern.exec(text)?.[1])
      return [
        of(/^rondo_cache_hits_total\{protocol="resp",method="get"\} (\d+)/m),
        of(/^rondo_resp_command_duration_seconds_count\{command="get"\} (\d+)/m),
      ]
    }
    // The node's message about the write may come late, and takes the copy with it.
    for (let hits = -1; cache.hits !== hits + 300;) {
      await heated('k')
      const before = await counted()
      hits = cache.hits
      await ask(...Array.from({ length: 300 }, () => get))
      expect(await counted()).to.deep.equal(before.map((count) => count + 300))
    }

    await heated('k')
    // One after the other: behind a command that is not answered yet, a GET takes the usual way.
    expect(await ask(command('MULTI'))).to.deep.equal(['+OK'])
    expect(await ask(get)).to.deep.equal(['+QUEUED'])
    expect(await ask(command('EXEC'))).to.deep.equal([`*1\r\n${value('v')}`])
    await heated('k')
    client.send(command('CLIENT', 'REPLY', 'SKIP'))
    for (let i = 0; i < 3; i++) await nearClient.ping() // it has been read, as far as one can tell
    client.send(Buffer.concat([get, command('PING')]))
    expect((await client.replies(1))[0]!.trim()).to.equal('+PONG')

    // The same name in another database is another key, whichever of them is kept.
    expect(await ask(command('SELECT', '1'), get, command('SET', 'k', 'other'))).to.deep.equal([
      ...['+OK', '$-1', '+OK'],
    ])
    for (const held = cache.hits; cache.hits === held;) expect(await ask(get)).to.deep.equal([value('other')])
    expect(await ask(get, command('SELECT', '0'), get)).to.deep.equal([value('other'), '+OK', value('v')])
    const name = command('GET', '__rondo:db1:k')
    expect((await ask(name))[0]).to.match(/^-ERR/)
    client.socket.destroy()
  })

  it('serves nothing older than the bound, while another coordinator writes and tracking breaks', async () => {
    const proxies = await trackThroughProxies()
    const keys = Array.from({ length: 20 }, (_, i) => `k${i}`)
    /** By key: what was acknowledged, and when. */
    const acked = new Map(keys.map((key): [string, { n: number; atMs: number }[]] => [key, []]))
    let isOver = false
    let n = 0
    const write = async () => {
      while (!isOver) {
        const key = keys[n % keys.length]!
        const mine = ++n
        await otherClient.set(key, String(mine))
        acked.get(key)!.push({ n: mine, atMs: performance.now() })
        await delay(2)
      }
    }
    const old: string[] = []
    let [reads, lagged] = [0, 0]
    const readAll = async () => {
      while (!isOver) {
        const beganAt = performance.now()
        const values = await Promise.all(keys.map((key) => nearClient.get(key)))
        for (const [i, value] of values.entries()) {
          reads++
          const known = acked.get(keys[i]!)!
          const must = known.findLast(({ atMs }) => atMs < beganAt - BOUND_MS)?.n ?? 0
          const latest = known.findLast(({ atMs }) => atMs < beganAt)?.n ?? 0
          if (Number(value) < must) old.push(`${keys[i]} was ${value}, and ${must} long before`)
          if (Number(value) < latest) lagged++
        }
        await delay(1)
      }
    }
    const spoil = async () => {
      const weathers = [WEATHER.partition, WEATHER.cut, WEATHER.blackhole, WEATHER['lose-replies']]
      for (const weather of weathers) {
        await Promise.all(proxies.map((proxy) => proxy.set(weather)))
        await delay(FAULTED_MS / weathers.length - 200)
        await Promise.all(proxies.map((proxy) => proxy.set(FAIR)))
        await until(() => cache.tracked === 3)
        await delay(200)
      }
      isOver = true
    }
    await Promise.all([write(), readAll(), spoil()])
    for (const proxy of proxies) proxy.close()
    expect(old).to.deep.equal([])
    // Otherwise the test has seen nothing.
    expect(lagged).to.be.above(10)
    expect(cache.hits).to.be.above(reads / 20)
    expect(cache.drops.tracking).to.be.above(3)
  })

  it('serves nothing old while a member joins, and answers from the copies of the new placement', async () => {
    const fourth = await startRedis()
    const keys = Array.from({ length: 30 }, (_, i) => `k${i}`)
    for (const key of keys) {
      await otherClient.set(key, '0')
      await heated(key)
    }
    const { epoch } = near.rondo.cluster.placement
    const joined = await fetch(`http://127.0.0.1:${other.ports.socket}/members/join`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ url: `redis://127.0.0.1:${fourth.port}`, id: 'n4' }),
    })
    expect(joined.status, await joined.text()).to.equal(202)
    const isOver = (running: RunningRondo) =>
      running.rondo.cluster.members.length === 4 && !running.rondo.cluster.placement.isJoint
    let n = 0
    while (near.rondo.cluster.placement.epoch === epoch || !isOver(near) || !isOver(other)) {
      n++
      for (const key of keys) {
        // Until the new member serves, not all replicas can confirm.
        while ((await otherClient.set(key, String(n)).catch(() => null)) === null) await delay(5)
      }
      await delay(BOUND_MS)
      for (const key of keys) expect(Number(await nearClient.get(key)), key).to.equal(n)
    }
    for (const key of keys) expect(await heated(key)).to.equal(String(n))
    await fourth.stop()
  })

  it('forgets everything with FLUSHALL, here and elsewhere', async () => {
    await nearClient.set('a', '1')
    await heated('a')
    await nearClient.flushall()
    expect(await nearClient.get('a')).to.equal(null)
    await nearClient.set('a', '2')
    await heated('a')
    await otherClient.flushall()
    const drops = cache.drops.marker
    await until(
      () =>
        cache.drops.marker > drops || cache.tracked < 3 || cache.table.findStored(Buffer.from('a')) === null,
    )
    await delay(BOUND_MS)
    expect(await nearClient.get('a')).to.equal(null)
  })

  it('forgets what a node held that was restarted without its data, and tracks it again', async () => {
    await nearClient.set('k', 'v')
    await heated('k')
    const place = near.rondo.cluster.placement.replicaSetOf(Buffer.from('k')).homes[0]!.id
    const { tracking, 'data-path': dataPath } = { ...cache.drops }
    await servers[Number(place.slice(1)) - 1]!.restart({ wipe: true })
    await until(() => cache.drops.tracking + cache.drops['data-path'] > tracking + dataPath)
    await until(() => cache.tracked === 3)
    const isClean = ({ rondo }: RunningRondo) =>
      rondo.cluster.members.every(({ completeness }) => completeness === 'clean')
    await until(() => isClean(near) && isClean(other))
    expect(await nearClient.get('k')).to.equal('v')
    await otherClient.set('k', 'later')
    await delay(BOUND_MS)
    expect(await heated('k')).to.equal('later')
  })

  it('ends a value with its TTL, and what a node evicts or loses is asked for again', async () => {
    await nearClient.set('short', 'v', 'PX', 200)
    await heated('short')
    await delay(220)
    expect(await nearClient.get('short')).to.equal(null)

    await nearClient.set('k', 'v')
    await heated('k')
    for (const { port } of servers) {
      const direct = new Redis(port, '127.0.0.1')
      await direct.del('k')
      direct.disconnect()
    }
    await until(() => cache.table.findStored(Buffer.from('k')) === null)
    expect(await nearClient.get('k')).to.equal(null)
  })

  it('is what docs/NEAR-CACHE.md shows', async () => {
    const page = readFileSync(new URL('../../docs/NEAR-CACHE.md', import.meta.url), 'utf8')
    const blocks = [...page.matchAll(/^```console\n([^]*?)^```$/gm)].map(([, block]) => block!)
    const shown = blocks.flatMap((block) => block.split(/^\$ /m).slice(1))
    expect(shown).to.have.lengthOf(8)
    const client = await RawResp.open(respPort(near))
    for (const one of shown) {
      const at = one.indexOf('\n')
      const [command, printed] = [one.slice(0, at), one.slice(at + 1)]
      const [, args] = /^redis-cli -p 6390 (.+)$/.exec(command) ?? []
      if (args !== undefined) {
        const { invalidations } = cache
        client.send(`${args}\r\n`)
        const [reply] = await client.replies(1)
        const [first, text] = reply!.split('\r\n')
        expect(`${first!.startsWith('$') ? `"${text}"` : first!.slice(1)}\n`, command).to.equal(printed)
        // What a person at a terminal is too slow to see.
        if (args.startsWith('SET')) await until(() => cache.invalidations >= invalidations + 3)
        continue
      }
      const here = command.replaceAll('localhost:8080', `localhost:${near.ports.socket}`)
      const { stdout } = await promisify(execFile)('sh', [
        '-c',
        here.replace(/^curl /, 'curl --noproxy "*" '),
      ])
      const alike = (text: string) => text.replaceAll('\r', '').replaceAll(/\b(redis-|n)\d\b/g, 'redis-N')
      expect(alike(stdout), command).to.equal(alike(printed))
    }
    client.socket.destroy()
  })

  it('tells in the log when a node refuses to be tracked, and reads go on without it', async () => {
    const [{ port }] = servers as [RedisServer]
    const admin = new Redis(port, '127.0.0.1')
    await admin.acl('SETUSER', 'default', '-client|tracking')
    const tracker = (near.rondo.cluster.members[0]!.node as unknown as { tracker: TrackerInside }).tracker
    const { socket } = tracker.connection!
    const closed = once(socket, 'close')
    socket.destroy()
    await closed
    await until(() => near.logText().includes('keeps nothing of node n1'))
    expect(cache.tracked).to.equal(2)
    await nearClient.set('k', 'v')
    expect(await nearClient.get('k')).to.equal('v')
    await admin.acl('SETUSER', 'default', '+client|tracking')
    await until(() => near.logText().includes('keeps values of node n1 again'))
    admin.disconnect()
  })
})
