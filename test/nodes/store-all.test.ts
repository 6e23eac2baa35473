/**
 * Storing several keys at once, on both drivers: all or nothing. differential.test.ts compares the drivers where no example
 * was thought of.
 */
import { expect } from 'chai'
import { VERSION_ZERO, type Version } from '../../src/core/clock.ts'
import {
  KIND_NOTHING,
  KIND_TOMBSTONE,
  kindOf,
  lastingCopy,
  StoredRecord,
  versionOf,
  type NewRecord,
} from '../../src/core/codec.ts'
import { MARKER_KEY } from '../../src/core/keys.ts'
import { EXPIRY_MARGIN_MS, FAR_END_MS, ownLifeMs } from '../../src/core/lifetime.ts'
import { MemoryNode } from '../../src/nodes/memory/memory-node.ts'
import type { Fence, Node, StoreAllMode, StoreAllWrite } from '../../src/nodes/node.ts'
import { get, prepare, record, store, storeAll, version, type StoreAllResult } from '../support/node-calls.ts'
import {
  fenceOf,
  memoryNodeUnderTest,
  redisNodeUnderTest,
  type NodeUnderTest,
  type RawServer,
} from '../support/nodes-under-test.ts'
import { realClock, realTimers } from '../support/real-time.ts'
import { startRedis, type RedisServer } from '../../scripts/redis-server.ts'
import { GRACE_MS, HeardListener, MARKER } from '../../src/library/node-contract/contract.ts'

const A = Buffer.from('{t}a')
const B = Buffer.from('{t}b')
const C = Buffer.from('{t}c')
const SECOND = 1000
const TOLERANCE_MS = 3 * SECOND
const MAX_BYTES = 1024 * 1024

interface Driver {
  readonly name: string
  create(): Promise<NodeUnderTest>
}

let redis: RedisServer
const drivers: readonly Driver[] = [
  {
    name: 'a memory node',
    create: () =>
      Promise.resolve(
        memoryNodeUnderTest(
          new MemoryNode({
            id: 'm',
            maxBytes: MAX_BYTES,
            graceMs: GRACE_MS,
            clock: realClock,
            timers: realTimers,
          }),
        ),
      ),
  },
  { name: 'a Redis node', create: () => redisNodeUnderTest(redis, { graceMs: GRACE_MS }) },
]

const tombstone = (ms: number) => record(ms, '', { kind: KIND_TOMBSTONE })
/** Stored only over this version; null = only checked. */
const over = (
  key: Buffer,
  held: number | Version,
  next: NewRecord | null,
  lifeMs = next ? ownLifeMs(kindOf(next), 0, 0) : 0,
): StoreAllWrite => {
  const onlyIf = typeof held === 'number' ? version({ ms: held }) : held
  return { key, record: next, lifeMs, onlyIf }
}
/** Stored only where it is promised to its own version. */
const promised = (key: Buffer, next: NewRecord, lifeMs = FAR_END_MS): StoreAllWrite => {
  return { key, record: next, lifeMs, onlyIf: versionOf(next) }
}

describe('storing several keys at once', function () {
  this.timeout(20_000)
  before(async () => {
    redis = await startRedis()
  })
  after(() => redis.stop())

  for (const driver of drivers) {
    describe(`on ${driver.name}`, () => {
      let under: NodeUnderTest
      let node: Node
      let server: RawServer
      let fence: Fence
      let listener: HeardListener

      beforeEach(async () => {
        under = await driver.create()
        ;({ node, server } = under)
        listener = new HeardListener()
        node.listener = listener
        await server.setRaw(MARKER_KEY, MARKER)
        fence = await fenceOf(node, MARKER)
        await node.open(fence)
      })
      afterEach(() => under.close())

      async function value(key: Buffer): Promise<string> {
        const found = await get(node, key)
        if (found.kind !== 'found') return found.kind
        const stored = new StoredRecord(found.bytes)
        return stored.kind === KIND_TOMBSTONE
          ? 'deleted'
          : stored.kind === KIND_NOTHING
            ? 'nothing'
            : stored.value.toString()
      }
      const values = () => Promise.all([A, B, C].map(value))
      const raw = () => Promise.all([A, B, C].map((key) => server.getRaw(key)))
      const staleBy = (...held: (Buffer | null)[]) => ({ kind: 'stale', held, fence })
      const heldOf = async (key: Buffer) => (await server.getRaw(key))!.subarray(5, 25)

      /** Nothing whatever was changed, lives included. */
      async function changesNothing(
        writes: readonly StoreAllWrite[],
        mode?: StoreAllMode,
      ): Promise<StoreAllResult> {
        const before = await raw()
        const lives = await Promise.all([A, B, C].map((key) => server.ttl(key)))
        const result = await storeAll(node, writes, mode)
        expect(await raw()).to.deep.equal(before)
        for (const [i, key] of [A, B, C].entries()) {
          expect(await server.ttl(key)).to.be.closeTo(lives[i]!, TOLERANCE_MS)
        }
        return result
      }

      it('stores all where each holds what is asked for, and tells how long each is kept', async () => {
        await store(node, A, record(3, 'a'))
        const lives = [FAR_END_MS, 500 * SECOND]
        const result = await storeAll(node, [
          over(A, 3, record(7, 'a7')),
          over(B, VERSION_ZERO, record(7, 'b7'), lives[1]),
          over(C, VERSION_ZERO, null),
        ])
        // The first is the life that its predecessor has left, and some of that has passed.
        const keptMs = (result as { keptMs?: number[] }).keptMs ?? []
        expect(result).to.deep.equal({ kind: 'applied', fence, keptMs })
        expect(keptMs.slice(1)).to.deep.equal([lives[1], 0])
        expect(keptMs[0]).to.be.closeTo(FAR_END_MS, TOLERANCE_MS)
        expect(await values()).to.deep.equal(['a7', 'b7', 'absent'])
        const [a, b] = (await raw()).map((bytes) => bytes && new StoredRecord(bytes))
        expect(a!.replaced).to.deep.equal(version({ ms: 3 }).subarray(0, 8))
        expect(b!.replaced).to.deep.equal(Buffer.alloc(8))
        expect(await server.ttl(B)).to.be.closeTo(500 * SECOND, TOLERANCE_MS)
      })

      it('stores none where one of them holds something else, and tells which', async () => {
        await store(node, A, record(3, 'a'))
        await store(node, B, record(5, 'b'))
        const writes = [over(A, 3, record(7)), over(B, 4, record(7)), over(C, VERSION_ZERO, record(7))]
        expect(await changesNothing(writes)).to.deep.equal(staleBy(null, await heldOf(B), null))
        expect(await changesNothing([...writes].reverse())).to.deep.equal(
          staleBy(null, await heldOf(B), null),
        )
        const missing = await changesNothing([over(A, 3, record(7)), over(C, 4, record(7))])
        expect(missing).to.deep.equal(staleBy(null, Buffer.alloc(20)))
      })

      it('stores none where one that is only checked has changed', async () => {
        await store(node, A, record(3, 'a'))
        await store(node, B, record(5, 'b'))
        const result = await changesNothing([over(A, 3, record(7)), over(B, 4, null)])
        expect(result).to.deep.equal(staleBy(null, await heldOf(B)))
        expect((await changesNothing([over(A, 3, null), over(B, 5, null)])).kind).to.equal('applied')
      })

      it('stores a change of a few bytes as the whole, and nothing where what is beside it has changed', async () => {
        const [base, next] = [record(3, 'v'.repeat(500)), record(7, `${'v'.repeat(100)}w${'v'.repeat(399)}`)]
        const patch = { base: version({ ms: 3 }), edits: [{ at: 100, bytes: Buffer.from('w') }] }
        await store(node, A, base, FAR_END_MS)
        await store(node, B, record(5, 'b'))
        const change = over(A, 3, { ...next, patch }, FAR_END_MS)
        const refused = staleBy(null, await heldOf(B))
        expect(await changesNothing([change, over(B, 4, null)])).to.deep.equal(refused)
        const missing = staleBy(null, Buffer.alloc(20))
        expect(await changesNothing([change, over(C, 4, null)])).to.deep.equal(missing)
        expect((await storeAll(node, [change, over(B, 5, null)])).kind).to.equal('applied')
        const stored = new StoredRecord((await server.getRaw(A))!)
        expect(stored.content).to.deep.equal(next.value)
        expect(stored.version).to.deep.equal(version({ ms: 7 }))
        expect(stored.replaced).to.deep.equal(version({ ms: 3 }).subarray(0, 8))
        expect(await server.ttl(A)).to.be.closeTo(FAR_END_MS, TOLERANCE_MS)
      })

      it('stores none where one of them is promised to something newer', async () => {
        await prepare(node, B, version({ ms: 9 }))
        const result = await changesNothing([
          over(A, VERSION_ZERO, record(7)),
          over(B, VERSION_ZERO, record(7)),
        ])
        expect(result).to.deep.equal(staleBy(null, version({ ms: 9 })))
      })

      it('takes what somebody else stored for nothing of ours', async () => {
        await server.setRaw(A, Buffer.from('plain'), 500 * SECOND)
        const result = await storeAll(node, [
          over(A, VERSION_ZERO, record(7, 'a')),
          over(B, VERSION_ZERO, record(7, 'b')),
        ])
        expect(result.kind).to.equal('applied')
        expect(await values()).to.deep.equal(['a', 'b', 'absent'])
      })

      it('stores all where every promise stands', async () => {
        await store(node, A, record(3, 'a'))
        for (const key of [A, B, C]) await prepare(node, key, version({ ms: 7 }))
        const writes = [
          promised(A, record(7, 'a7')),
          promised(B, tombstone(7), EXPIRY_MARGIN_MS),
          over(C, 7, null),
        ]
        const result = await storeAll(node, writes, 'if-promised')
        expect(result.kind).to.equal('applied')
        expect(await values()).to.deep.equal(['a7', 'deleted', 'nothing'])
        expect(new StoredRecord((await server.getRaw(C))!).promise).to.deep.equal(version({ ms: 7 }))
      })

      it('stores none where one of the promises does not stand any more', async () => {
        await store(node, B, record(3, 'b'))
        for (const key of [A, B, C]) await prepare(node, key, version({ ms: 7 }))
        await prepare(node, B, version({ ms: 8 }))
        const writes = [promised(A, record(7)), promised(B, record(7)), promised(C, record(7))]
        expect(await changesNothing(writes, 'if-promised')).to.deep.equal(
          staleBy(null, version({ ms: 8 }), null),
        )
        const checked = [promised(A, record(7)), over(B, 7, null)]
        expect(await changesNothing(checked, 'if-promised')).to.deep.equal(staleBy(null, version({ ms: 8 })))
        await store(node, B, record(9, 'newer'))
        expect(await changesNothing(writes, 'if-promised')).to.deep.equal(
          staleBy(null, await heldOf(B), null),
        )
        expect(await changesNothing(checked, 'if-promised')).to.deep.equal(staleBy(null, await heldOf(B)))
      })

      it('stores the rest where one of the very records has arrived already by another way', async () => {
        for (const key of [A, B]) await prepare(node, key, version({ ms: 7 }))
        await store(node, A, record(7, 'a7'))
        const writes = [promised(A, record(7, 'a7')), promised(B, record(7, 'b7'))]
        expect((await storeAll(node, writes, 'if-promised')).kind).to.equal('applied')
        expect((await storeAll(node, writes, 'if-promised')).kind).to.equal('applied') // and once more
        expect(await values()).to.deep.equal(['a7', 'b7', 'absent'])
      })

      it('gives each key its own life, by what it replaces', async () => {
        await store(node, A, record(3), 1000 * SECOND)
        await store(node, B, record(3))
        await storeAll(node, [
          over(A, 3, tombstone(7), EXPIRY_MARGIN_MS),
          over(B, 3, record(7), 100 * SECOND),
          over(C, VERSION_ZERO, record(7), 100 * SECOND),
        ])
        const lives = await Promise.all([A, B, C].map((key) => server.ttl(key)))
        for (const [i, expected] of [1000 * SECOND, GRACE_MS, 100 * SECOND].entries()) {
          expect(lives[i]).to.be.closeTo(expected, TOLERANCE_MS)
        }
        const lasting = (await raw()).map((bytes) => new StoredRecord(bytes!).isLasting)
        expect(lasting).to.deep.equal([false, true, false])
      })

      it('keeps what is here already longer where more is asked', async () => {
        for (const key of [A, B]) await prepare(node, key, version({ ms: 7 }))
        const next = tombstone(7)
        await storeAll(
          node,
          [promised(A, next, EXPIRY_MARGIN_MS), promised(B, next, EXPIRY_MARGIN_MS)],
          'if-promised',
        )
        const longer = [promised(A, lastingCopy(next), 500 * SECOND), promised(B, next, SECOND)]
        const result = await storeAll(node, longer, 'if-promised')
        expect(result).to.include({ kind: 'applied' })
        expect(await server.ttl(A)).to.be.closeTo(500 * SECOND, TOLERANCE_MS)
        expect(await server.ttl(B)).to.be.closeTo(EXPIRY_MARGIN_MS, TOLERANCE_MS)
        expect((await raw()).map((bytes) => bytes && new StoredRecord(bytes).isLasting)).to.deep.equal([
          true,
          false,
          null,
        ])
      })

      it('holds hundreds of keys, with values of any bytes', async () => {
        const bytes = Buffer.from(Array.from({ length: 256 }, (_, i) => i))
        const keys = Array.from({ length: 300 }, (_, i) => Buffer.from(`{t}${i}`))
        const writes = keys.map((key) => over(key, VERSION_ZERO, record(7, bytes)))
        expect((await storeAll(node, writes)).kind).to.equal('applied')
        const found = await get(node, keys[299]!)
        expect(new StoredRecord((found as { bytes: Buffer }).bytes).value.equals(bytes)).to.equal(true)
        const stale = await storeAll(
          node,
          writes.map((write) => ({ ...write, record: record(8) })),
        )
        expect(stale.kind === 'stale' && stale.held.filter((held) => held?.length === 20).length).to.equal(
          300,
        )
      })

      it('counts for nothing under a foreign marker', async () => {
        await server.setRaw(MARKER_KEY, Buffer.from('another'))
        const result = await storeAll(node, [over(A, VERSION_ZERO, record(7))])
        expect(result).to.deep.include({ kind: 'failed' })
        expect((result as { failure: { kind: string } }).failure.kind).to.equal('unknown')
        expect(listener.heard).to.deep.equal(['foreign marker'])
      })

      it('is not sent where the node is not connected', async () => {
        node.shut('test')
        const result = await storeAll(node, [over(A, VERSION_ZERO, record(7))])
        expect((result as { failure: { kind: string } }).failure.kind).to.equal('not-sent')
      })
    })
  }

  describe('on a full node', () => {
    const refused = (result: StoreAllResult) =>
      result.kind === 'failed' ? result.failure.reason : result.kind

    it('stores none of the values on a Redis, wherever a delete stands among them, and still deletes', async () => {
      const under = await redisNodeUnderTest(redis, { graceMs: GRACE_MS })
      const { node, server, client } = under
      try {
        await server.setRaw(MARKER_KEY, MARKER)
        await node.open(await fenceOf(node, MARKER))
        for (const key of [A, B, C]) await store(node, key, record(3, 'before'))
        await client.config('SET', 'maxmemory', '1')
        const values = [over(A, 3, record(7)), over(B, 3, tombstone(7)), over(C, 3, record(7))]
        for (const writes of [values, [values[1]!, values[0]!], [values[0]!, values[1]!]]) {
          expect(refused(await storeAll(node, writes))).to.equal('out-of-memory')
          const held = await Promise.all(
            [A, B, C].map(async (key) => new StoredRecord((await server.getRaw(key))!)),
          )
          expect(held.map((one) => one.value.toString())).to.deep.equal(['before', 'before', 'before'])
        }
        expect(refused(await storeAll(node, [over(A, 3, null), over(B, 3, null)]))).to.equal('applied')
        const deletes = [over(A, 3, tombstone(7)), over(B, 3, tombstone(7)), over(C, 3, null)]
        expect(refused(await storeAll(node, deletes))).to.equal('applied')
        expect(new StoredRecord((await server.getRaw(B))!).kind).to.equal(KIND_TOMBSTONE)
      } finally {
        await client.config('SET', 'maxmemory', '0')
        await under.close()
      }
    })

    it('stores all on a Redis that becomes full by it', async () => {
      const under = await redisNodeUnderTest(redis, { graceMs: GRACE_MS })
      const { node, server, client } = under
      try {
        await server.setRaw(MARKER_KEY, MARKER)
        await node.open(await fenceOf(node, MARKER))
        await node.probe()
        const used = Number(/used_memory:(\d+)/.exec(await client.info('memory'))![1])
        await client.config('SET', 'maxmemory', String(used + 1024 * 1024))
        const large = Buffer.alloc(900 * 1024, 'x')
        const writes = [A, B, C].map((key) => over(key, VERSION_ZERO, record(7, large)))
        const result = refused(await storeAll(node, writes))
        const held = await Promise.all([A, B, C].map((key) => server.getRaw(key)))
        const stored = held.filter((bytes) => bytes !== null).length
        // Its arguments alone may make it full before the script begins: then nothing is stored.
        expect([result, stored]).to.deep.equal(result === 'applied' ? ['applied', 3] : ['out-of-memory', 0])
        expect(
          refused(await storeAll(node, [over(Buffer.from('{t}more'), VERSION_ZERO, record(7, large))])),
        ).to.equal('out-of-memory')
      } finally {
        await client.config('SET', 'maxmemory', '0')
        await under.close()
      }
    })

    it('stores none on a memory node that cannot hold all of them', async () => {
      const under = await drivers[0]!.create()
      const { node, server } = under
      await server.setRaw(MARKER_KEY, MARKER)
      await node.open(await fenceOf(node, MARKER))
      const half = Buffer.alloc(MAX_BYTES / 2)
      const writes = [A, B].map((key) => over(key, VERSION_ZERO, record(7, half)))
      expect(refused(await storeAll(node, writes))).to.equal('out-of-memory')
      expect(await server.getRaw(A)).to.equal(null)
      await under.close()
    })
  })

  it('replaces a key of another type where none of Rondo must be held', async () => {
    const under = await redisNodeUnderTest(redis, { graceMs: GRACE_MS })
    const { node, server } = under
    await server.setRaw(MARKER_KEY, MARKER)
    await node.open(await fenceOf(node, MARKER))
    await server.setOtherType!(B)
    const [onA, onB] = [over(A, VERSION_ZERO, record(7)), over(B, VERSION_ZERO, record(7))]
    expect((await storeAll(node, [onA, over(B, version({ ms: 5 }), record(7))])).kind).to.equal('stale')
    expect(await server.getRaw(A)).to.equal(null)
    expect((await storeAll(node, [onA, onB])).kind).to.equal('applied')
    expect(await server.getRaw(B)).to.deep.equal(await server.getRaw(A))
    await under.close()
  })

  it('works although the server has forgotten the script', async () => {
    const under = await redisNodeUnderTest(redis, { graceMs: GRACE_MS })
    await under.server.setRaw(MARKER_KEY, MARKER)
    await under.node.open(await fenceOf(under.node, MARKER))
    await under.client.script('FLUSH')
    const writes = [over(A, VERSION_ZERO, record(7)), over(B, VERSION_ZERO, record(7))]
    expect((await storeAll(under.node, writes)).kind).to.equal('applied')
    await under.close()
  })
})
