/** Faults of real servers: four redis-server processes, one coordinator, and what users of it must never see. */
import { expect } from 'chai'
import { isVersioned, KIND_TOMBSTONE, StoredRecord } from '../../src/core/codec.ts'
import { MARKER_KEY } from '../../src/core/keys.ts'
import { MAX_FOREIGN_ELEMENTS } from '../../src/nodes/redis/foreign.ts'
import { startRedis, startRedisCluster, type RedisServer } from '../../scripts/redis-server.ts'
import { PING_INTERVAL_MS, REQUEST_TIMEOUT_MS, RondoUnderTest, until } from '../support/rondo-under-test.ts'
import { SteadyLoad } from '../support/steady-load.ts'

/** RONDO_FIGURES=1 shows what was measured. */
const figure = (text: string) => {
  if (process.env.RONDO_FIGURES === '1') console.log(`      ${text}`)
}

describe('with real servers that fail', function () {
  this.timeout(20_000)
  let servers: RedisServer[] = []
  let under: RondoUnderTest | null = null

  async function start(
    args: readonly string[] = [],
    env: Record<string, string> = {},
  ): Promise<RondoUnderTest> {
    servers = await startRedisCluster(4, { args })
    under = await RondoUnderTest.start(servers, env)
    return under
  }
  afterEach(async () => {
    for (const server of servers) if (server.pid !== undefined) server.resume()
    await under?.stop()
    await Promise.all(servers.map((server) => server.stop()))
    servers = []
    under = null
  })

  const isDown = (id: string) => (event: { node: string; to: string }) =>
    event.node === id && event.to === 'down'
  const fills = (id: string) => (event: { node: string; to: string }) =>
    event.node === id && event.to === 'filling'
  const rawRecord = async (rondo: RondoUnderTest, server: RedisServer, key: string) => {
    const client = rondo.client(server)
    const bytes = await client.getBuffer(key)
    client.disconnect()
    return bytes && new StoredRecord(bytes)
  }

  it('a killed node: no request fails for long, none waits for it, and it is used again when it is back', async () => {
    const rondo = await start()
    const victim = servers[1]!
    const load = new SteadyLoad(rondo)
    await until('there is load', () => load.done.length > 2000)

    const killedAtMs = performance.now()
    await victim.kill()
    const downAtMs = await rondo.event('node-state', isDown('redis-2'), killedAtMs)
    const seen = load.done.length
    await until('there is more load', () => load.done.length > seen + 2000)
    const backAtMs = performance.now()
    const failedWhileAway = load.failed
    await victim.restart()
    const answersAtMs = performance.now()
    await rondo.used(victim, 2 * PING_INTERVAL_MS)
    const usedAtMs = performance.now()
    const [key] = rondo.keysAt(victim, 0, 1, 'back:')
    expect((await rondo.put(key!, 'v')).result).to.equal('ok')
    await until('the node takes writes', async () => (await rawRecord(rondo, victim, key!)) !== null)
    const tookWriteAtMs = performance.now()
    const seenAgain = load.done.length
    await until('there is more load', () => load.done.length > seenAgain + 2000)
    await load.stop()

    figure(`killed → known to be down: ${(downAtMs - killedAtMs).toFixed(0)} ms`)
    figure(`while it was there: ${load.latencies(0, killedAtMs)}`)
    figure(`until detected:     ${load.latencies(killedAtMs - 20, downAtMs)}`)
    figure(`while it was away:  ${load.latencies(downAtMs, backAtMs)}`)
    figure(
      `answers → in use ${(usedAtMs - answersAtMs).toFixed(0)} ms; ${load.failed.length} requests failed`,
    )
    load.expectNothingWrong()
    load.expectInTime()
    expect(tookWriteAtMs - answersAtMs).to.be.below(2 * PING_INTERVAL_MS)
    for (const { startedAtMs, error } of failedWhileAway) {
      expect(startedAtMs, String(error)).to.be.below(killedAtMs + REQUEST_TIMEOUT_MS)
    }
    const afterDetection = load.failed.filter(({ startedAtMs }) => startedAtMs > downAtMs)
    expect(afterDetection.map(({ error }) => error!.message)).to.deep.equal([])
    await rondo.event('node-completeness', fills('redis-2'), killedAtMs)
  })

  it('a paused node: no request takes longer than its deadline, and what it does when it wakes harms nobody', async () => {
    const rondo = await start()
    const victim = servers[2]!
    const load = new SteadyLoad(rondo)
    await until('there is load', () => load.done.length > 1000)
    const pausedAtMs = performance.now()
    await victim.pause()
    const downAtMs = await rondo.event('node-state', isDown('redis-3'), pausedAtMs)
    const seen = load.done.length
    await until('there is more load', () => load.done.length > seen + 1000)
    victim.resume()
    const resumedAtMs = performance.now()
    await rondo.used(victim, 2 * PING_INTERVAL_MS)
    const usedAtMs = performance.now()
    const seenAgain = load.done.length
    await until('there is more load', () => load.done.length > seenAgain + 1000)
    await load.stop()
    figure(`paused → known to be down: ${(downAtMs - pausedAtMs).toFixed(0)} ms`)
    figure(`until detected:     ${load.latencies(pausedAtMs - 20, downAtMs)}`)
    figure(`while it was away:  ${load.latencies(downAtMs, resumedAtMs)}`)
    figure(`awake → in use ${(usedAtMs - resumedAtMs).toFixed(0)} ms; ${load.failed.length} requests failed`)
    load.expectNothingWrong()
    load.expectInTime()
    expect(load.failed.map(({ error }) => error!.message)).to.deep.equal([])
    // It has lost nothing, only missed some: a valid member that is asked last until it has caught up.
    await rondo.event('node-behind', ({ node }) => node === 'redis-3', pausedAtMs)
    expect(await rondo.status(victim)).to.include({ completeness: 'clean' })
    const filled = rondo.events.filter(
      ({ event }) => event.kind === 'node-completeness' && event.to === 'filling',
    )
    expect(filled).to.deep.equal([])
  })

  it('a node may be absent at the start, and is taken in when it comes', async () => {
    servers = await startRedisCluster(4)
    const late = servers[0]!
    await late.kill()
    const startedAtMs = performance.now()
    under = await RondoUnderTest.start(servers)
    figure(`start with one node absent: ${(performance.now() - startedAtMs).toFixed(0)} ms`)
    const [key] = under.keysAt(late, 0, 1)
    expect((await under.put(key!, 'v')).result).to.equal('ok')
    expect((await under.get(key!)).result).to.equal('v')
    expect(await under.status(late)).to.include({ isHealthy: false, state: 'down' })
    const backAtMs = performance.now()
    await late.restart()
    await under.used(late, 2 * PING_INTERVAL_MS)
    expect(await under.status(late)).to.include({ isHealthy: true })
    await under.event('node-completeness', fills('redis-1'), backAtMs)
    expect((await under.put(key!, 'w')).result).to.equal('ok')
    await until('it takes writes', async () => (await rawRecord(under!, late, key!)) !== null)
  })

  it('an absent node does not keep a lone coordinator from starting, nor do all', async () => {
    servers = await startRedisCluster(4)
    for (const server of servers) await server.kill()
    under = await RondoUnderTest.start(servers)
    expect(await under.get('k')).to.include({ result: 'UNAVAILABLE' })
    expect((await under.put('k', 'v')).error!.details.outcome).to.equal('not-applied')
    await Promise.all(servers.map((server) => server.restart()))
    for (const server of servers) await under.used(server)
    expect((await under.put('k', 'v')).result).to.equal('ok')
    expect((await under.get('k')).result).to.equal('v')
  })

  for (const [what, args, wipe] of [
    ['with the old data from its disk', ['--appendonly', 'yes'], false],
    ['with nothing', [], true],
  ] as const) {
    it(`a node that comes back ${what} serves nothing stale and nothing deleted`, async () => {
      const rondo = await start(args)
      const victim = servers[0]!
      const keys = [0, 1, 2].flatMap((place) => rondo.keysAt(victim, place, 8))
      const [overwritten, deleted, untouched, fresh] = [0, 1, 2, 3].map((rest) =>
        keys.filter((_, i) => i % 4 === rest),
      ) as [string[], string[], string[], string[]]
      for (const key of [...overwritten, ...deleted, ...untouched]) await rondo.put(key, 'v1')
      await rondo.rondo.coordinator.drain(1000)
      await victim.kill('SIGTERM')
      await rondo.event('node-state', isDown('redis-1'), 0)
      for (const key of [...overwritten, ...fresh]) expect((await rondo.put(key, 'v2')).result).to.equal('ok')
      for (const key of deleted) expect((await rondo.del(key)).result).to.equal('ok')
      await victim.restart({ wipe })
      await rondo.used(victim)
      for (const key of [...overwritten, ...fresh]) expect((await rondo.get(key)).result).to.equal('v2')
      for (const key of deleted) expect((await rondo.get(key)).result).to.equal('(deleted)')
      for (const key of untouched) expect((await rondo.get(key)).result).to.equal('v1')
      expect(await rondo.list()).to.deep.equal([...overwritten, ...fresh, ...untouched].sort())

      // Of many keys' replicas the returned node alone is left, and the fallback replica that took its copies.
      const fallback = rondo.serversOf(deleted[0]!)[3]!
      const others = servers.filter((server) => server !== victim && server !== fallback)
      await Promise.all(others.map((server) => server.kill()))
      await until('two nodes are gone', () => {
        return rondo.members.filter((member) => member.health.state === 'down').length === 2
      })
      const held = keys.filter((key) => rondo.serversOf(key)[3] === fallback && !untouched.includes(key))
      expect(held.some((key) => deleted.includes(key)) && held.some((key) => fresh.includes(key))).to.equal(
        true,
      )
      for (const key of held) {
        expect((await rondo.get(key)).result, key).to.equal(deleted.includes(key) ? '(deleted)' : 'v2')
      }
      for (const key of held) {
        if (deleted.includes(key)) expect(await rondo.list()).not.to.include(key)
        else expect(await rondo.list()).to.include(key)
      }
    })
  }

  it('a node that was flushed on a live connection is noticed by the next batch, and shown as filling', async () => {
    const rondo = await start([], { PING_INTERVAL_SECONDS: '60' }) // no ping comes in between
    const victim = servers[3]!
    const [key] = rondo.keysAt(victim, 0, 1)
    await rondo.put(key!, 'v')
    await until('all replicas hold it', async () => {
      const held = await Promise.all(
        rondo
          .serversOf(key!)
          .slice(0, 3)
          .map((server) => rawRecord(rondo, server, key!)),
      )
      return held.every((record) => record !== null)
    })
    await rondo.client(victim).flushall()
    const flushedAtMs = performance.now()
    expect((await rondo.get(key!)).result).to.equal('v')
    const noticedAtMs = await rondo.event('marker-mismatch', ({ node }) => node === 'redis-4', flushedAtMs)
    figure(`flushed → noticed: ${(noticedAtMs - flushedAtMs).toFixed(1)} ms`)
    await rondo.event('node-completeness', fills('redis-4'), flushedAtMs)
    expect(await rondo.status(victim)).to.include({ completeness: 'filling', state: 'up' })
    expect((await rondo.get(key!)).result).to.equal('v')
    expect((await rondo.put(key!, 'w')).result).to.equal('ok')
    await until('it takes writes', async () => (await rawRecord(rondo, victim, key!)) !== null)
  })

  it('a write that met a flushed node counts for nothing there, and is kept by the others', async () => {
    const rondo = await start([], { PING_INTERVAL_SECONDS: '60' })
    const victim = servers[3]!
    const [key] = rondo.keysAt(victim, 0, 1)
    await rondo.put(key!, 'v')
    await rondo.client(victim).flushall()
    expect((await rondo.put(key!, 'w')).result).to.equal('ok')
    const others = rondo.serversOf(key!).slice(1, 3)
    for (const server of others)
      expect((await rawRecord(rondo, server, key!))!.value.toString()).to.equal('w')
    expect((await rondo.get(key!)).result).to.equal('w')
  })

  it("another cluster's server on a node's port is refused, and not a byte is written to it", async () => {
    const rondo = await start()
    const victim = servers[0]!
    const [key] = rondo.keysAt(victim, 0, 1)
    await rondo.put(key!, 'v')
    const foreign = await startRedis()
    const marker = { cluster: 'theirs', id: 'redis-1', run_id: 'x', token: 't', state: 'clean', epoch: 1 }
    const before = rondo.client(foreign)
    await before.set(MARKER_KEY, JSON.stringify(marker))
    await before.set(key!, 'their value')
    await before.save()
    await victim.kill()
    await foreign.kill()
    const swapped = await startRedis({ port: victim.port, dir: foreign.dir })
    try {
      await rondo.event('node-completeness', ({ node, to }) => node === 'redis-1' && to === 'refused')
      for (let i = 0; i < 200; i++) await rondo.put(`${key}:${i}`, 'v')
      expect((await rondo.get(key!)).result).to.equal('v')
      expect(await rondo.list()).to.have.length(201)
      const status = await rondo.status(victim)
      expect(status).to.include({ isHealthy: false, completeness: 'refused' })
      expect(status.error).to.match(/^refused: it belongs to cluster theirs, as node .*: correct its address/)
      const plain = rondo.client(swapped)
      expect((await plain.keys('*')).sort()).to.deep.equal([MARKER_KEY.toString(), key!].sort())
      expect(await plain.get(key!)).to.equal('their value')
      expect(await plain.get(MARKER_KEY)).to.equal(JSON.stringify(marker))
      expect(await plain.info('persistence')).to.match(/rdb_changes_since_last_save:0\r/)
      expect(await plain.info('commandstats')).not.to.match(/cmdstat_(set|evalsha|eval|del):/)
    } finally {
      await swapped.stop()
      await foreign.stop()
    }
  })

  it('a full node: writes go to a fallback replica, deletes still work, and it is used again when it has room', async () => {
    const rondo = await start()
    const victim = servers[1]!
    const [key, other] = rondo.keysAt(victim, 0, 2)
    await rondo.put(key!, 'v1')
    const plain = rondo.client(victim)
    await plain.config('SET', 'maxmemory', '1')
    for (let i = 0; i < 3; i++) expect((await rondo.put(other!, `w${i}`)).result).to.equal('ok')
    const homes = rondo.serversOf(other!)
    await rondo.rondo.coordinator.drain(1000)
    for (const server of homes.slice(1)) {
      expect((await rawRecord(rondo, server, other!))!.value.toString()).to.equal('w2')
    }
    expect(await rawRecord(rondo, victim, other!)).to.equal(null)
    expect((await rondo.get(other!)).result).to.equal('w2')
    expect(await rondo.status(victim)).to.include({ state: 'up', unwritable: 'out-of-memory' })

    expect((await rondo.del(key!)).result).to.equal('ok')
    await rondo.rondo.coordinator.drain(1000)
    expect((await rawRecord(rondo, victim, key!))!.kind).to.equal(KIND_TOMBSTONE)
    expect((await rondo.get(key!)).result).to.equal('(deleted)')

    await plain.config('SET', 'maxmemory', '0')
    const freedAtMs = performance.now()
    await rondo.used(victim, 2 * PING_INTERVAL_MS)
    figure(`memory freed → in use: ${(performance.now() - freedAtMs).toFixed(0)} ms`)
    expect((await rondo.put(other!, 'w9')).result).to.equal('ok')
    await rondo.rondo.coordinator.drain(1000)
    expect((await rawRecord(rondo, victim, other!))!.value.toString()).to.equal('w9')
    expect((await rondo.status(victim)).unwritable).to.equal(null)
  })

  it('a node that has become a read-only replica takes no writes until it is a master again', async () => {
    const rondo = await start()
    const victim = servers[1]!
    const [key, other] = rondo.keysAt(victim, 0, 2)
    await rondo.put(key!, 'v1')
    const plain = rondo.client(victim)
    await plain.replicaof('127.0.0.1', 1) // nobody is there: it keeps what it has
    for (const value of ['w1', 'w2']) expect((await rondo.put(other!, value)).result).to.equal('ok')
    await rondo.del(key!)
    expect(await rondo.status(victim)).to.include({ state: 'up', unwritable: 'read-only' })
    expect((await rondo.get(other!)).result).to.equal('w2')
    expect((await rondo.get(key!)).result).to.equal('(deleted)')
    await plain.replicaof('NO', 'ONE')
    await rondo.used(victim, 2 * PING_INTERVAL_MS)
    expect((await rondo.get(key!)).result).to.equal('(deleted)')
    expect((await rondo.put(key!, 'v3')).result).to.equal('ok')
  })

  it('a node that was made a replica, and would take writes, is not written to until it is a master again', async () => {
    const rondo = await start()
    const victim = servers[1]!
    const [key] = rondo.keysAt(victim, 0, 1)
    await rondo.put(key!, 'v1')
    await rondo.rondo.coordinator.drain(1000)
    const plain = rondo.client(victim)
    await plain.config('SET', 'replica-read-only', 'no')
    await plain.replicaof('127.0.0.1', 1) // nobody is there: it keeps what it has
    await until(
      'it is known to be a replica',
      async () => (await rondo.status(victim)).unwritable === 'read-only',
      2 * PING_INTERVAL_MS,
    )
    expect((await rondo.put(key!, 'v2')).result).to.equal('ok')
    await rondo.rondo.coordinator.drain(1000)
    expect((await rawRecord(rondo, victim, key!))!.value.toString()).to.equal('v1')
    expect((await rondo.get(key!)).result).to.equal('v2')
    expect(await rondo.status(victim)).to.include({ state: 'up', unwritable: 'read-only' })
    await plain.replicaof('NO', 'ONE')
    await rondo.used(victim, 2 * PING_INTERVAL_MS)
    await until(
      'it has what it missed',
      async () => (await rawRecord(rondo, victim, key!))!.value.toString() === 'v2',
    )
  })

  it('a key that somebody made a list too large to be read is an error for that key alone, until it is written', async () => {
    const rondo = await start()
    const [key, other] = rondo.keysAt(servers[0]!, 0, 2)
    const elements = Array<string>(MAX_FOREIGN_ELEMENTS + 1).fill('x')
    const homes = rondo.serversOf(key!).slice(0, 3)
    for (const server of homes) await rondo.client(server).lpush(key!, ...elements)
    await rondo.put(other!, 'v')
    expect((await rondo.get(key!)).result).to.equal('WRONG_TYPE')
    expect((await rondo.get(other!)).result).to.equal('v')
    expect((await rondo.list()).sort()).to.deep.equal([key, other].sort())
    expect(await rondo.status(servers[0]!)).to.include({ isHealthy: true, mayBeBehind: false })
    expect(await rondo.client(servers[0]!).llen(key!)).to.equal(elements.length)
    expect((await rondo.put(key!, 'v2')).result).to.equal('ok')
    expect((await rondo.get(key!)).result).to.equal('v2')
    await rondo.rondo.coordinator.drain(1000)
    for (const server of homes) {
      expect((await rawRecord(rondo, server, key!))!.value.toString()).to.equal('v2')
    }
  })

  it('servers that forget their scripts in the middle of everything lose nothing', async () => {
    const rondo = await start()
    const load = new SteadyLoad(rondo)
    const plain = servers.map((server) => rondo.client(server))
    for (let i = 1; i <= 8; i++) {
      await until('there is load', () => load.done.length > i * 500)
      await Promise.all(plain.map((client) => client.script('FLUSH')))
    }
    await load.stop()
    load.expectNothingWrong()
    expect(load.failed.map(({ error }) => error!.message)).to.deep.equal([])
    expect(rondo.members.map((member) => member.health.state)).to.deep.equal(Array(4).fill('up'))
    expect(rondo.members.map((member) => member.behind)).to.deep.equal(Array(4).fill(false))
  })

  it('existing data is read as it is, with its TTL, and upgraded by the first write', async () => {
    servers = await startRedisCluster(4)
    under = await RondoUnderTest.start(servers)
    const rondo = under
    const clients = servers.map((server) => rondo.client(server))
    const homes = rondo.serversOf('old').slice(0, 3)
    for (const server of homes) {
      const client = clients[servers.indexOf(server)]!
      await client.set('old', 'héllo', 'PX', 100_500)
      await client.set('other', 'x')
    }
    for (const client of clients) await client.set('for ever', 'y')
    const json = async (key: string) =>
      (await (await fetch(`${rondo.url}/api/v1/keys/${key}`)).json()) as Record<string, unknown>
    expect(await json('old')).to.deep.equal({
      key: 'old',
      value: 'héllo',
      ttl: 101,
      version: '0'.repeat(24),
    })
    expect(await json('for%20ever')).to.include({ value: 'y', ttl: 0 })
    expect(await rondo.list()).to.include.members(['old', 'for ever'])

    expect((await rondo.put('old', 'new')).result).to.equal('ok')
    await rondo.rondo.coordinator.drain(1000)
    for (const server of homes) {
      const bytes = (await clients[servers.indexOf(server)]!.getBuffer('old'))!
      expect(isVersioned(bytes)).to.equal(true)
      expect(bytes.subarray(31).toString()).to.equal('new')
    }
    expect((await rondo.get('old')).result).to.equal('new')
    expect((await rondo.del('for ever')).result).to.equal('ok')
    expect((await rondo.get('for ever')).result).to.equal('(deleted)')
  })

  it('a wrong password is shown as an error, and the password nowhere', async () => {
    servers = await startRedisCluster(4)
    const locked = servers[0]!
    const password = 'hunter2-not-the-right-one'
    const rondo = await RondoUnderTest.start(servers, {
      REDIS_URLS: servers
        .map(
          (server, i) => `redis-${i + 1}=redis://${i === 0 ? `:${password}@` : ''}127.0.0.1:${server.port}`,
        )
        .join(','),
    })
    under = rondo
    const plain = rondo.client(locked)
    expect((await rondo.status(locked)).error).to.match(/AUTH|password/) // it has none at all yet
    await plain.config('SET', 'requirepass', 'the right one')
    await until('the error is shown', async () =>
      String((await rondo.status(locked)).error).includes('WRONGPASS'),
    )
    expect(await rondo.status(locked)).to.include({ isHealthy: false })
    const [key] = rondo.keysAt(locked, 0, 1)
    expect((await rondo.put(key!, 'v')).result).to.equal('ok')
    await plain.config('SET', 'requirepass', password)
    await until('it is healthy', async () => (await rondo.status(locked)).isHealthy === true)
    expect(await rondo.status(locked)).to.include({ error: null })
    const status = await (await fetch(`${rondo.url}/status`)).text()
    const metrics = await (await fetch(`${rondo.url}/metrics`)).text()
    expect([status, metrics, ...rondo.log].filter((text) => text.includes('hunter2'))).to.deep.equal([])
  })

  it('a server that takes no more connections is shown with its own words', async function () {
    this.timeout(40_000)
    servers = await startRedisCluster(4)
    const crowded = servers[0]!
    const rondo = await RondoUnderTest.start(servers)
    under = rondo
    const plain = rondo.client(crowded)
    await plain.config('SET', 'maxclients', '1')
    await plain.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes')
    await until(
      'the error is shown',
      async () => String((await rondo.status(crowded)).error).includes('max number of clients'),
      30_000,
    )
    const [key] = rondo.keysAt(crowded, 0, 1)
    expect((await rondo.put(key!, 'v')).result).to.equal('ok')
    await plain.config('SET', 'maxclients', '1000')
    await rondo.used(crowded)
    expect((await rondo.get(key!)).result).to.equal('v')
  })
})
