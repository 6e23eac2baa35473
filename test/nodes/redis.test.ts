import { expect } from 'chai'
import { KIND_TOMBSTONE, StoredRecord } from '../../src/core/codec.ts'
import { MARKER_KEY } from '../../src/core/keys.ts'
import { get, record, store } from '../support/node-calls.ts'
import { redisNodeUnderTest } from '../support/nodes-under-test.ts'
import { realTimers } from '../support/real-time.ts'
import { startRedis, type RedisServer } from '../support/redis-server.ts'
import { describeNodeContract, FENCE, GRACE_MS, HeardListener, MARKER } from './node.contract.ts'

let redis: RedisServer

before(async () => {
  redis = await startRedis()
})
after(() => redis.stop())

describeNodeContract('the redis node', { create: () => redisNodeUnderTest(redis, { graceMs: GRACE_MS }) })

describe('the redis node, where only a redis can go wrong', () => {
  const endOfTurn = () => new Promise<void>((resolve) => realTimers.endOfTurn(resolve))
  let under: Awaited<ReturnType<typeof redisNodeUnderTest>>
  let listener: HeardListener

  async function opened(options: Parameters<typeof redisNodeUnderTest>[1]) {
    under = await redisNodeUnderTest(redis, options)
    listener = new HeardListener()
    under.node.listener = listener
    await under.node.probe()
    await under.server.setRaw(MARKER_KEY, MARKER)
    await under.node.open(FENCE)
  }

  beforeEach(() => opened({ graceMs: GRACE_MS }))
  afterEach(async () => {
    if (redis.pid !== undefined) redis.resume()
    await under.client.config('SET', 'maxmemory', '0')
    await under.client.config('SET', 'lua-time-limit', '5000')
    await under.close()
  })

  it('ends calls in flight as unknown when it is shut', async () => {
    await redis.pause()
    const calls = [get(under.node, 'k'), store(under.node, 'k', record(5))]
    await endOfTurn()
    under.node.shut('test')
    for (const result of await Promise.all(calls)) {
      expect(result.kind === 'failed' && result.failure).to.include({ kind: 'unknown', reason: 'closed' })
    }
    expect(listener.heard).to.deep.equal([])
  })

  it('ends calls as unknown, tells the listener, and is no longer ready when no answer comes in time', async () => {
    await under.close()
    await opened({ graceMs: GRACE_MS, nodeTimeoutMs: 50 })
    await redis.pause()
    const result = await store(under.node, 'k', record(5))
    expect(result.kind === 'failed' && result.failure).to.include({ kind: 'unknown', reason: 'timeout' })
    expect(under.node.ready).to.equal(false)
    expect(listener.heard).to.deep.equal(['broken: timeout'])
  })

  it('stores although the server has forgotten the script', async () => {
    await under.client.script('FLUSH')
    const results = await Promise.all([
      store(under.node, 'k', record(5, 'v')),
      store(under.node, 'k', record(4)),
    ])
    expect(results.map(({ kind }) => kind)).to.deep.equal(['applied', 'stale'])
    await under.client.script('FLUSH')
    expect((await under.node.prepareRegister(record(1).head.subarray(5, 17))).ok).to.equal(true)
  })

  it('reads and deletes on a full server, and is told that it takes no more', async () => {
    await store(under.node, 'k', record(5, 'v'))
    await under.client.config('SET', 'maxmemory', '1')
    const full = await store(under.node, 'other', record(5))
    expect(full.kind === 'failed' && full.failure).to.include({ kind: 'refused', reason: 'out-of-memory' })
    expect(listener.heard).to.deep.equal(['unwritable: out-of-memory'])
    const found = await get(under.node, 'k')
    expect(found.kind === 'found' && new StoredRecord(found.bytes).value.toString()).to.equal('v')
    expect((await store(under.node, 'k', record(6, '', { kind: KIND_TOMBSTONE }), 60_000)).kind).to.equal(
      'applied',
    )
    expect(await under.node.tryWrite().catch((error: Error) => error.message)).to.match(/^OOM/)
  })

  it('keeps a full server from refusing a delete without losing what the tombstone replaces', async () => {
    await store(under.node, 'k', record(5, 'v'))
    await under.client.config('SET', 'maxmemory', '1')
    await store(under.node, 'k', record(6, '', { kind: KIND_TOMBSTONE }), 60_000)
    await under.client.config('SET', 'maxmemory', '0')
    const held = new StoredRecord((await under.server.getRaw(Buffer.from('k')))!)
    expect(held.kind).to.equal(KIND_TOMBSTONE)
    expect(held.replaced).to.deep.equal(record(5).head.subarray(5, 13))
    expect(await under.server.ttl(Buffer.from('k'))).to.be.above(GRACE_MS - 3000)
  })
})
