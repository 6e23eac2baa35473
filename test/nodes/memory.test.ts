import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect } from 'chai'
import fc from 'fast-check'
import { KIND_TOMBSTONE } from '../../src/core/codec.ts'
import { MARKER_KEY, TOPOLOGY_KEY, WRITABLE_KEY } from '../../src/core/keys.ts'
import { EXPIRY_MARGIN_MS } from '../../src/core/lifetime.ts'
import { FolderOnDisk } from '../../src/nodes/memory/disk/disk.ts'
import { KeyOrder } from '../../src/nodes/memory/key-order.ts'
import { MemoryNode } from '../../src/nodes/memory/memory-node.ts'
import { ENTRY_OVERHEAD_BYTES } from '../../src/nodes/memory/memory-storage.ts'
import { openDiskNode } from '../support/disk-nodes.ts'
import { accept, get, prepare, record, store, storeAll, version } from '../support/node-calls.ts'
import { memoryNodeUnderTest } from '../support/nodes-under-test.ts'
import { realClock, realTimers } from '../support/real-time.ts'
import { VirtualTime } from '../support/virtual-time.ts'
import {
  describeNodeContract,
  GRACE_MS,
  HeardListener,
  MARKER,
  MAX_HINTS,
} from '../../src/library/node-contract/contract.ts'

const MIB = 1024 * 1024

describeNodeContract(
  'the memory node',
  {
    create: () =>
      Promise.resolve(
        memoryNodeUnderTest(
          new MemoryNode({
            id: 'm',
            maxBytes: 64 * MIB,
            graceMs: GRACE_MS,
            maxHints: MAX_HINTS,
            clock: realClock,
            timers: realTimers,
          }),
        ),
      ),
  },
  { describe, it, beforeEach, afterEach },
)

describe('with DATA_DIR', () => {
  let folder: string
  before(async () => void (folder = await mkdtemp(join(tmpdir(), 'rondo-nodes-'))))
  after(() => rm(folder, { recursive: true }))

  let nodes = 0
  describeNodeContract(
    'the memory node',
    {
      durable: true,
      create: async () => {
        const path = join(folder, String(++nodes))
        await mkdir(path)
        const { node } = await openDiskNode(
          new FolderOnDisk(path),
          { fsync: 'no' },
          { maxBytes: 64 * MIB, graceMs: GRACE_MS, maxHints: MAX_HINTS },
        )
        return memoryNodeUnderTest(node)
      },
    },
    { describe, it, beforeEach, afterEach },
  )
})

describe('the memory node on virtual time', () => {
  const ENTRY_BYTES = ENTRY_OVERHEAD_BYTES + 'k0'.length + 31 + 100
  const valueOf = (i: number) => record(1, Buffer.alloc(100, i))
  let time: VirtualTime
  let node: MemoryNode

  beforeEach(async () => {
    time = new VirtualTime()
    node = new MemoryNode({
      id: 'm',
      maxBytes: 10 * ENTRY_BYTES,
      graceMs: GRACE_MS,
      clock: time,
      timers: time,
      runId: 'r',
    })
    await node.swapMarker(null, MARKER)
    await node.open({ marker: MARKER, runId: 'r', clean: true, epoch: 1 })
  })

  async function now<T>(call: Promise<T>): Promise<T> {
    await time.settle()
    return call
  }
  const put = (key: string, next = valueOf(0), lifeMs?: number) => now(store(node, key, next, lifeMs))
  const read = async (key: string) => (await now(get(node, key))).kind
  const fill = async (n: number) => {
    for (let i = 0; i < n; i++) await put(`k${i}`, valueOf(i))
  }
  /** Which of k0 … are there. */
  const present = (n: number) =>
    Array.from({ length: n }, (_, i) => i).filter((i) => node.storage.lifeMs(Buffer.from(`k${i}`)) !== -2)

  it('answers at the end of the turn and not before', async () => {
    const answers: string[] = []
    void get(node, 'k').then(({ kind }) => answers.push(kind))
    await Promise.resolve()
    await new Promise((resolve) => setImmediate(resolve))
    expect(answers).to.deep.equal([])
    await time.settle()
    expect(answers).to.deep.equal(['absent'])
  })

  it('forgets a key when its life is over, to the millisecond, from the first moment of the clock on', async () => {
    expect(time.monotonicMs()).to.equal(0)
    await put('k', record(1, '', { kind: KIND_TOMBSTONE }), EXPIRY_MARGIN_MS)
    await time.advance(EXPIRY_MARGIN_MS)
    expect(await read('k')).to.equal('found')
    await time.advance(1)
    expect(await read('k')).to.equal('absent')
    expect(await node.lifeMs(Buffer.from('k'))).to.equal(-2)
    expect((await node.probe()).evictedKeys).to.equal(0)
  })

  it('sets no timer', async () => {
    await put('k', record(1), 5)
    expect(await read('k')).to.equal('found')
    expect(await node.lifeMs(Buffer.from('k'))).to.equal(5)
    expect(time.pendingTimers).to.equal(0)
    await time.advance(2)
    expect(await node.lifeMs(Buffer.from('k'))).to.equal(3)
  })

  it('lets what came after an expired key be a new key', async () => {
    await put('k', record(9, 'old'), 5)
    await time.advance(6)
    expect(await put('k', record(3, 'new'))).to.include({ kind: 'applied' })
    const { entries } = await node.scan('0', Buffer.from('k'), 100)
    expect(entries).to.have.lengthOf(1)
  })

  it('keeps to its bound by forgetting what was used least recently, and counts that', async () => {
    await fill(10)
    await read('k0')
    await put('k1', record(2, Buffer.alloc(100)))
    await put('n1', valueOf(1))
    await put('n2', valueOf(1))
    expect(present(10)).to.deep.equal([0, 1, 4, 5, 6, 7, 8, 9])
    const report = await node.probe()
    expect(report.evictedKeys).to.equal(2)
    expect(report.memoryLimitBytes).to.equal(10 * ENTRY_BYTES)
    expect(report.memoryUsedBytes).to.be.within(10 * ENTRY_BYTES, 12 * ENTRY_BYTES) // the marker comes on top
  })

  it('keeps to its limit on the number of keys in the same way', async () => {
    const small = new MemoryNode({
      ...{ id: 'm', maxBytes: 64 * MIB, maxEntries: 4, graceMs: GRACE_MS },
      ...{ clock: time, timers: time, runId: 'r' },
    })
    await small.swapMarker(null, MARKER)
    await small.open({ marker: MARKER, runId: 'r', clean: true, epoch: 1 })
    for (let i = 0; i < 4; i++) await now(store(small, `k${i}`, valueOf(i)))
    await now(get(small, 'k0'))
    await now(store(small, 'n', valueOf(9)))
    const there = ['k0', 'k1', 'k2', 'k3', 'n'].filter((key) => small.storage.lifeMs(Buffer.from(key)) !== -2)
    expect(there).to.deep.equal(['k0', 'k2', 'k3', 'n'])
    expect((await small.probe()).evictedKeys).to.equal(1)
    expect(small.storage.get(MARKER_KEY)).to.deep.equal(MARKER)
    const many = Array.from({ length: 5 }, (_, i) => ({
      ...{ key: Buffer.from(`a${i}`), record: record(1), lifeMs: GRACE_MS, onlyIf: version({ ms: 0 }) },
    }))
    many.forEach((one) => one.onlyIf.fill(0))
    expect(await now(storeAll(small, many))).to.have.nested.property('failure.reason', 'out-of-memory')
  })

  it('is not disturbed in its order of use by listing and by asking for a life', async () => {
    await fill(10)
    await node.scan('0', null, 100)
    await node.lifeMs(Buffer.from('k0'))
    await put('n1', valueOf(1))
    expect(present(10)).to.not.include(0)
  })

  it('never forgets its marker, its register or any other key of its own', async () => {
    await node.prepareRegister(version({ ms: 1 }))
    await node.tryWrite()
    for (let i = 0; i < 100; i++) await put(`k${i}`, valueOf(i))
    for (const key of [MARKER_KEY, TOPOLOGY_KEY, WRITABLE_KEY])
      expect(node.storage.get(key)).to.not.equal(null)
    expect(await read('k99')).to.equal('found')
    await time.advance(1001)
    expect(node.storage.get(WRITABLE_KEY)).to.equal(null)
  })

  it('refuses a value larger than all its memory, and keeps what was there', async () => {
    const listener = new HeardListener()
    node.listener = listener
    await fill(5)
    const result = await put('k1', record(2, Buffer.alloc(10 * ENTRY_BYTES)))
    expect(result).to.deep.include({ kind: 'failed' })
    expect(result.kind === 'failed' && result.failure).to.include({
      kind: 'refused',
      reason: 'out-of-memory',
    })
    expect(present(5)).to.deep.equal([0, 1, 2, 3, 4])
    expect(listener.heard).to.deep.equal([]) // it takes every other write: nothing is wrong with the node
  })

  it('refuses a promise for which there is no room, and keeps what was there', async () => {
    const room = 10 * ENTRY_BYTES - ENTRY_OVERHEAD_BYTES - 'k'.length - 31
    expect((await put('k', record(1, Buffer.alloc(room)))).kind).to.equal('applied')
    const result = await now(prepare(node, 'k', version({ ms: 5 })))
    expect(result.kind === 'failed' && result.failure).to.include({
      kind: 'refused',
      reason: 'out-of-memory',
    })
    expect(node.storage.get(Buffer.from('k'))).to.have.lengthOf(31 + room)
    expect((await put('k', record(3))).kind).to.equal('applied')
  })

  it('forgets a promise alone when its grace is over, and what was accepted there when its own life is', async () => {
    await now(prepare(node, 'k', version({ ms: 5 })))
    await now(prepare(node, 'l', version({ ms: 5 })))
    await time.advance(GRACE_MS / 2)
    await now(accept(node, 'l', record(5, 'v'), 1000))
    await time.advance(1000)
    expect(await read('l')).to.equal('found')
    await time.advance(1)
    expect(await read('l')).to.equal('absent')
    await time.advance(GRACE_MS / 2 - 1001)
    expect(await read('k')).to.equal('found')
    await time.advance(1)
    expect(await read('k')).to.equal('absent')
    expect(await read('l')).to.equal('absent')
    expect((await now(accept(node, 'k', record(5)))).kind).to.equal('stale')
  })

  it('does not count an expired key that makes room as evicted', async () => {
    for (let i = 0; i < 10; i++) await put(`k${i}`, valueOf(i), 5)
    await time.advance(6)
    await put('n1', record(1, Buffer.alloc(8 * ENTRY_BYTES)))
    expect((await node.probe()).evictedKeys).to.equal(0)
    await put('n2', record(1, Buffer.alloc(8 * ENTRY_BYTES)))
    expect((await node.probe()).evictedKeys).to.equal(1)
  })

  it('takes the memory of expired keys back, without anybody reading them', async () => {
    await put('k0', valueOf(0))
    for (let i = 1; i < 9; i++) await put(`k${i}`, valueOf(i), 5)
    await time.advance(6)
    for (let i = 0; i < 20; i++) await put('k0', record(i + 2, Buffer.alloc(100)))
    expect(node.storage.usedBytes).to.be.below(3 * ENTRY_BYTES)
    expect(present(9)).to.deep.equal([0])
    expect((await node.probe()).evictedKeys).to.equal(0)
  })

  it('lists a key once, however often it was written, and ends though keys are added faster than it lists', async () => {
    await fill(5)
    for (let i = 2; i < 10; i++) await put('k2', record(i))
    const seen: string[] = []
    let cursor = '0'
    let added = 0
    do {
      const page = await node.scan(cursor, Buffer.from('k*'), 2)
      seen.push(...page.entries.map(({ key }) => key.toString()))
      cursor = page.cursor
      for (let i = 0; i < 5 && added < 1000; i++)
        node.storage.set(Buffer.from(`x${added++}`), Buffer.alloc(0), Infinity)
    } while (cursor !== '0' && added < 1000)
    expect(seen.sort()).to.deep.equal(['k0', 'k1', 'k2', 'k3', 'k4'].slice(-seen.length))
    expect(added).to.be.below(100)
  })

  it('has lost everything after a wipe, and is another process', async () => {
    const listener = new HeardListener()
    node.listener = listener
    await fill(3)
    const overtaken = get(node, 'k0')
    node.wipe()
    expect(await overtaken).to.deep.include({ kind: 'failed' })
    expect(listener.heard).to.deep.equal(['broken: closed'])
    const report = await node.probe()
    expect(report).to.include({ runId: 'r-1', marker: null, evictedKeys: 0, memoryUsedBytes: 0 })
    expect(node.ready).to.equal(false)
  })
})

describe('the order of keys', () => {
  it('is that of a sorted list, also after most keys have gone', () => {
    const step = fc.oneof(
      { arbitrary: fc.record({ add: fc.integer({ min: 1, max: 100 }) }), weight: 1 },
      { arbitrary: fc.record({ remove: fc.double({ min: 0, max: 1, noNaN: true }) }), weight: 2 },
    )
    fc.assert(
      fc.property(fc.array(step, { maxLength: 12 }), fc.integer({ min: 1, max: 50 }), (steps, count) => {
        const order = new KeyOrder()
        let model: { name: string; number: number }[] = []
        for (const step of steps) {
          if ('add' in step) {
            for (let i = 0; i < step.add; i++)
              model.push({ name: `${model.length}`, number: order.append(`${model.length}`) })
          } else {
            const gone = model.filter((_, i) => (i * 0.618) % 1 < step.remove)
            for (const { number } of gone) order.remove(number)
            model = model.filter((key) => !gone.includes(key))
          }
        }
        const names: string[] = []
        let cursor = Infinity
        do {
          const page = order.below(cursor, count)
          names.push(...page.names)
          cursor = page.next
        } while (cursor !== 0)
        expect(names).to.deep.equal(model.map(({ name }) => name).reverse())
      }),
    )
  })
})
