import { expect } from 'chai'
import type { Redis } from 'ioredis'
import { encodeMarker } from '../../src/cluster/marker.ts'
import { StoredRecord } from '../../src/core/codec.ts'
import { MARKER_KEY, SYNCED_AT_KEY } from '../../src/core/keys.ts'
import { FAR_END_MS } from '../../src/core/lifetime.ts'
import { decodeSyncedAt } from '../../src/core/synced-at.ts'
import { record } from '../support/node-calls.ts'
import { startRedisCluster, type RedisServer } from '../../scripts/redis-server.ts'
import { RondoUnderTest, until } from '../support/rondo-under-test.ts'

const DAY_MS = 86_400_000

describe('a Redis that comes back after the grace', function () {
  this.timeout(30_000) // a slow machine takes its time to fill a node
  let servers: RedisServer[]
  let under: RondoUnderTest
  let clients: Map<RedisServer, Redis>

  beforeEach(async () => {
    servers = await startRedisCluster(4)
    under = await RondoUnderTest.start(servers)
    clients = new Map(servers.map((server) => [server, under.client(server)]))
  })
  afterEach(async () => {
    await under?.stop()
    await Promise.all(servers.map((server) => server.stop()))
  })

  const plant = (server: RedisServer, key: string, ageMs: number, value: string) => {
    const { head } = record(Date.now() - ageMs, value)
    return clients.get(server)!.set(key, Buffer.concat([head, Buffer.from(value)]), 'PX', FAR_END_MS)
  }
  const held = async (server: RedisServer, key: string) => {
    const bytes = await clients.get(server)!.getBuffer(key)
    return bytes ? new StoredRecord(bytes).value.toString() : '(absent)'
  }
  const synced = async (server: RedisServer) =>
    decodeSyncedAt(await clients.get(server)!.getBuffer(SYNCED_AT_KEY))
  const round = async () => {
    const headers = { 'Content-Type': 'application/json' }
    await fetch(`${under.url}/repair`, { method: 'POST', body: '{}', headers })
    await until('all are stamped', async () => {
      return (await Promise.all(servers.map(synced))).every((syncedAt) => syncedAt?.assumed === false)
    })
  }

  it('loses what may have been deleted, is filled, and shows when it was last compared', async () => {
    const [a, b, c] = under.serversOf('{k}') as [RedisServer, RedisServer, RedisServer]
    for (let i = 0; i < 600; i++) await plant(a, `{k}${i}`, 3 * DAY_MS, 'deleted long ago')
    for (const server of [a, b, c]) await plant(server, '{k}lives', 3 * DAY_MS, 'v')
    await clients.get(a)!.set('{k}raw', 'of a stranger')
    // What the round would bring to the others was deleted there: they are stamped as if they had been compared.
    for (const server of servers.filter((each) => each !== a)) {
      const { marker } = under.member(server)
      await under.member(server).node.stamp(encodeMarker(marker!), { atMs: Date.now(), assumed: false })
    }
    const sinceMs = performance.now()
    await clients.get(a)!.set(SYNCED_AT_KEY, String(Date.now() - 2 * DAY_MS))
    await under.event('node-completeness', ({ to }) => to === 'stale', sinceMs)
    await under.event('node-completeness', ({ to }) => to === 'clean', sinceMs)
    expect(await held(a, '{k}7')).to.equal('(absent)')
    expect(await held(a, '{k}lives')).to.equal('v')
    expect(await clients.get(a)!.get('{k}raw')).to.equal('of a stranger')
    expect((await under.get('{k}7')).result).to.equal('(absent)')
    expect(under.log.filter((line) => line.includes(': 601 records'))).to.have.length(1)
    expect(await under.status(a)).to.include({ completeness: 'clean' })
    expect((await under.status(a)).syncedAgoSeconds).to.be.within(0, 20)
    const metrics = await (await fetch(`${under.url}/metrics`)).text()
    expect(metrics).to.match(/^rondo_node_synced_age_seconds\{node="redis-1"\} \d/m)
  })

  it('is kept when all were away, which is told, and the next round stamps them', async () => {
    const [a] = under.serversOf('{k}') as [RedisServer]
    await plant(a, '{k}only', 3 * DAY_MS, 'v')
    const sinceMs = performance.now()
    for (const server of servers) {
      await clients.get(server)!.set(SYNCED_AT_KEY, String(Date.now() - 2 * DAY_MS))
    }
    for (const server of servers) {
      const { id } = under.member(server)
      await under.event('node-completeness', ({ node, to }) => node === id && to === 'clean', sinceMs)
    }
    expect(under.log.filter((line) => line.includes('may come back'))).to.have.length(4)
    await round()
    for (const server of under.serversOf('{k}').slice(0, 3)) {
      expect(await held(server, '{k}only')).to.equal('v')
    }
  })

  it('is not told from others where nobody compares', async () => {
    await under.stop()
    under = await RondoUnderTest.start(servers, { REPAIR_INTERVAL_SECONDS: '0' })
    clients = new Map(servers.map((server) => [server, under.client(server)]))
    const server = servers[0]!
    await clients.get(server)!.set(SYNCED_AT_KEY, String(Date.now() - 2 * DAY_MS))
    await until('a ping tells', async () => Number((await under.status(server)).syncedAgoSeconds) > 86_400)
    expect(await under.status(server)).to.include({ completeness: 'clean' })
  })

  it('a full node can be stamped and marked, so that being full does not make it stale', async () => {
    const server = servers[0]!
    const client = clients.get(server)!
    const { node, marker } = under.member(server)
    await client.set('bulk', Buffer.alloc(1_000_000))
    await client.config('SET', 'maxmemory', '1')
    const bytes = encodeMarker(marker!)
    expect(await node.stamp(bytes, { atMs: Date.now() + 5000, assumed: false })).to.equal(true)
    expect(await synced(server)).to.include({ assumed: false })
    expect(await node.swapMarker(bytes, encodeMarker({ ...marker!, state: 'filling' }))).to.equal(true)
    expect((await client.getBuffer(MARKER_KEY))!.toString()).to.include('filling')
  })
})
