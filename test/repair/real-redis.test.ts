import { expect } from 'chai'
import type { Redis } from 'ioredis'
import { KIND_TOMBSTONE, StoredRecord, type NewRecord } from '../../src/core/codec.ts'
import { EXPIRY_MARGIN_MS, FAR_END_MS } from '../../src/core/lifetime.ts'
import { record } from '../support/node-calls.ts'
import { startRedisCluster, type RedisServer } from '../../scripts/redis-server.ts'
import { RondoUnderTest, until } from '../support/rondo-under-test.ts'

interface Progress {
  state: string
  copied: number
  checkedKeys: number
  evicting: string[]
  lastRound: (Record<string, unknown> & { result: string; why: string[] }) | null
}

describe('anti-entropy on real Redis', function () {
  this.timeout(30_000) // a slow machine takes its time to fill a node
  let servers: RedisServer[]
  let under: RondoUnderTest
  let clients: Map<RedisServer, Redis>

  beforeEach(async () => {
    servers = await startRedisCluster(4)
  })
  afterEach(async () => {
    await under?.stop()
    await Promise.all(servers.map((server) => server.stop()))
  })
  const start = async (env: Record<string, string> = {}) => {
    under = await RondoUnderTest.start(servers, env)
    clients = new Map(servers.map((server) => [server, under.client(server)]))
  }

  const plant = async (server: RedisServer, key: string, { head, value }: NewRecord, lifeMs = FAR_END_MS) =>
    void (await clients.get(server)!.set(key, Buffer.concat([head, value]), 'PX', lifeMs))
  const held = async (server: RedisServer, key: string): Promise<string> => {
    const bytes = await clients.get(server)!.getBuffer(key)
    if (!bytes) return '(absent)'
    const found = new StoredRecord(bytes)
    return found.kind === KIND_TOMBSTONE ? '(deleted)' : found.value.toString()
  }
  const holdings = (key: string) => Promise.all(under.serversOf(key).map((server) => held(server, key)))
  const ago = (ms: number) => Date.now() - ms
  const tombstone = (ageMs: number) => record(ago(ageMs), '', { kind: KIND_TOMBSTONE })

  const ask = async (method: 'GET' | 'POST'): Promise<Progress> => {
    const sent = method === 'POST' ? { body: '{}', headers: { 'Content-Type': 'application/json' } } : {}
    const answer = await fetch(`${under.url}/repair`, { method, ...sent })
    expect(answer.status).to.equal(method === 'POST' ? 202 : 200)
    return (await answer.json()) as Progress
  }
  const round = async () => {
    const begun = await ask('POST')
    let told = begun
    await until('the round ends', async () => (told = await ask('GET')).state === 'idle')
    return told.lastRound!
  }

  it('replicas that differ in every way are equal after one round, no life is longer, and a second round copies nothing', async () => {
    await start()
    const [a, b, c, fallback] = under.serversOf('{k}') as [RedisServer, RedisServer, RedisServer, RedisServer]
    await plant(
      a,
      '{k}missing',
      record(ago(5000), 'v', { expiresAtMs: ago(-30_000) }),
      30_000 + EXPIRY_MARGIN_MS,
    )
    for (const server of [a, b]) await plant(server, '{k}older', record(ago(9000), 'old'))
    await plant(c, '{k}older', record(ago(5000), 'new'))
    await plant(a, '{k}deleted', record(ago(9000), 'old'), 20_000)
    await plant(b, '{k}deleted', tombstone(5000), 50_000)
    await plant(a, '{k}expired', record(ago(9000), 'old'), 20_000)
    await plant(c, '{k}expired', record(ago(8000), 'short', { expiresAtMs: ago(1000) }), 40_000)
    await plant(fallback, '{k}away', record(ago(5000), 'v'))
    await plant(b, '{k}purged', tombstone(5000), 50_000)
    await clients.get(a)!.set('{k}raw', 'of a stranger')
    await clients.get(a)!.lpush('{k}list', 'of a stranger')

    expect(await round()).to.include({
      result: 'complete',
      copied: 2 + 2 + 1 + 1 + 3,
      movedHome: 1,
      rangesDiffering: 1,
    })
    expect(await holdings('{k}missing')).to.deep.equal(['v', 'v', 'v', '(absent)'])
    expect(await holdings('{k}older')).to.deep.equal(['new', 'new', 'new', '(absent)'])
    expect(await holdings('{k}deleted')).to.deep.equal(['(deleted)', '(deleted)', '(absent)', '(absent)'])
    expect(await holdings('{k}expired')).to.deep.equal(['short', '(absent)', 'short', '(absent)'])
    expect(await holdings('{k}away')).to.deep.equal(['v', 'v', 'v', '(absent)'])
    expect(await holdings('{k}purged')).to.deep.equal(['(absent)', '(deleted)', '(absent)', '(absent)'])
    expect(await clients.get(b)!.exists('{k}raw', '{k}list')).to.equal(0)
    const life = async (server: RedisServer, key: string) => clients.get(server)!.pttl(key)
    expect(await life(b, '{k}missing')).to.be.within(80_000, 30_000 + EXPIRY_MARGIN_MS)
    expect(await life(a, '{k}deleted')).to.be.within(40_000, 55_000)
    // As long as at its source, which knows what it replaced.
    expect(await life(a, '{k}expired')).to.be.within(30_000, 40_000)

    expect(await round()).to.include({ result: 'complete', copied: 0, movedHome: 0, rangesDiffering: 0 })
    const metrics = await (await fetch(`${under.url}/metrics`)).text()
    expect(metrics).to.match(/^rondo_repair_rounds_total\{result="complete"\} 2$/m)
    expect(metrics).to.match(/^rondo_repair_copied_records_total 9$/m)
    expect(under.log.filter((line) => line.includes('repair round complete'))).to.have.length(2)
  })

  it('a node that evicts is reported, not refilled, and corrected where it is wrong', async () => {
    await start()
    const [a, b, c] = under.serversOf('{k}') as [RedisServer, RedisServer, RedisServer]
    const client = clients.get(a)!
    await client.config('SET', 'maxmemory-policy', 'volatile-lru')
    await client.config('SET', 'maxmemory', '3mb')
    for (let i = 0; i < 40; i++) await client.set(`bulk:${i}`, Buffer.alloc(100_000), 'PX', 60_000)
    await client.config('SET', 'maxmemory', '0')
    await until('a ping tells', () => (under.member(a).report?.evictedKeys ?? 0) > 0)
    const newer = record(ago(5000), 'new')
    await plant(a, '{k}older', record(ago(9000), 'old'))
    for (const key of ['{k}lacking', '{k}older']) for (const server of [b, c]) await plant(server, key, newer)
    expect(await round()).to.deep.include({ result: 'complete', copied: 1, evicting: [under.member(a).id] })
    expect((await holdings('{k}lacking')).slice(0, 3)).to.deep.equal(['(absent)', 'new', 'new'])
    expect((await holdings('{k}older')).slice(0, 3)).to.deep.equal(['new', 'new', 'new'])
  })

  it('a node flushed in the middle takes no part; once it is filled again, the next round is complete', async () => {
    await start({ REPAIR_KEYS_PER_SECOND: '1000' })
    const keys = Array.from({ length: 300 }, (_, i) => `key:${i}`)
    for (const key of keys) {
      const planted = record(ago(5000), key)
      for (const server of under.serversOf(key).slice(0, 3)) await plant(server, key, planted)
    }
    await ask('POST')
    await until('it is under way', async () => (await ask('GET')).checkedKeys > 100)
    const victim = servers[2]!
    const flushedAtMs = performance.now()
    await clients.get(victim)!.flushall()
    let told = await ask('GET')
    await until('the round ends', async () => (told = await ask('GET')).state === 'idle')
    expect(told.lastRound).to.include({ result: 'partial', copied: 0 })
    expect(told.lastRound!.why.join()).to.include(under.member(victim).id)
    await under.event('node-completeness', ({ to }) => to === 'clean', flushedAtMs)
    const last = await round()
    expect(last, JSON.stringify(last)).to.include({ result: 'complete', copied: 0 })
    for (const key of keys) expect((await holdings(key)).slice(0, 3), key).to.deep.equal([key, key, key])
  })
})
