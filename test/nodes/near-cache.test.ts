// The near cache by itself, in virtual time: when a record is kept, and when it is not answered with any more.
import { expect } from 'chai'
import { KIND_VALUE, newRecord } from '../../src/core/codec.ts'
import { MARKER_KEY } from '../../src/core/keys.ts'
import { NearCache, type NearNode } from '../../src/nodes/near/near-cache.ts'
import { HotReads } from '../../src/nodes/near/hot-reads.ts'
import type { Fence } from '../../src/nodes/node.ts'
import { VirtualTime } from '../support/virtual-time.ts'

const BOUND_MS = 900
const FENCE: Fence = { marker: Buffer.from('m1'), runId: 'r', clean: true, epoch: 4 }
const OTHER: Fence = { ...FENCE, marker: Buffer.from('m2'), epoch: 5 }
const KEY = Buffer.from('hot')

function recordOf(text: string): Buffer {
  const { head, value } = newRecord(
    KIND_VALUE,
    { stamp: (target, at) => void target.fill(7, at, at + 12) },
    0,
    Buffer.from(text),
  )
  return Buffer.concat([head, value])
}

describe('the near cache', () => {
  let time: VirtualTime
  let cache: NearCache
  let near: NearNode

  beforeEach(() => {
    time = new VirtualTime()
    cache = new NearCache({ maxBytes: 1024 * 1024, maxStalenessMs: BOUND_MS, clock: time })
    near = cache.of('n1')
    near.under(FENCE)
    near.trackingBegan()
    near.proven(time.monotonicMs())
  })

  /** As the driver does it for a read at `one`. */
  const read = (key = KEY) => ({ found: near.find(key), ask: near.ask(key) })

  function keep(text: string, key = KEY): void {
    const ask = read(key).ask ?? read(key).ask ?? read(key).ask // counts may be halved in between
    ask!.answered(recordOf(text), FENCE)
  }

  const holds = (key = KEY) => near.find(key) !== null

  it('keeps a key from its second read on', () => {
    expect(read().ask).to.equal(null)
    const { ask } = read()
    ask!.answered(recordOf('v'), FENCE)
    expect(near.find(KEY)!.record.equals(recordOf('v'))).to.equal(true)
    expect(cache).to.include({ hits: 1, misses: 2, size: 1 })
  })

  it('keeps bytes of its own, not a slice of what else arrived', () => {
    const chunk = Buffer.concat([Buffer.from('before'), recordOf('v'), Buffer.from('after')])
    read()
    read().ask!.answered(chunk.subarray(6, -5), FENCE)
    chunk.fill(0)
    expect(near.find(KEY)!.record.equals(recordOf('v'))).to.equal(true)
    expect(near.find(KEY)!.record.buffer.byteLength).to.equal(KEY.length + recordOf('v').length + 2)
  })

  for (const [what, happens] of [
    ['the node says that the key has changed', () => near.invalidated([KEY])],
    ['this process writes the key', () => near.changed(KEY)],
    ['the node was flushed', () => near.invalidated(null)],
    ['the marker of the node was written', () => near.invalidated([MARKER_KEY])],
    ['the node answers under another marker', () => near.under(OTHER)],
    ['the tracking connection is lost', () => near.trackingEnded('tracking')],
  ] as const) {
    it(`does not keep the reply of a read that was under way when ${what}`, () => {
      read()
      const { ask } = read()
      happens()
      ask!.answered(recordOf('old'), FENCE)
      near.trackingBegan()
      near.proven(time.monotonicMs())
      expect(holds()).to.equal(false)
    })

    it(`does not answer any more when ${what}`, () => {
      keep('old')
      expect(holds()).to.equal(true)
      happens()
      near.trackingBegan()
      near.proven(time.monotonicMs())
      expect(holds()).to.equal(false)
    })
  }

  it('keeps what was asked again after an invalidation', () => {
    read()
    const { ask: first } = read()
    near.invalidated([KEY])
    const { ask: second } = read()
    first!.answered(recordOf('old'), FENCE)
    expect(holds()).to.equal(false)
    second!.answered(recordOf('new'), FENCE)
    expect(near.find(KEY)!.record.equals(recordOf('new'))).to.equal(true)
  })

  it('answers for as long as the bound says after the last proof, and again after the next one', async () => {
    keep('v')
    await time.advance(BOUND_MS)
    expect(holds()).to.equal(true)
    await time.advance(1)
    expect(holds()).to.equal(false)
    near.proven(time.monotonicMs() - BOUND_MS / 3)
    expect(holds()).to.equal(true)
  })

  it('looks for nothing, and keeps nothing, before the node sends its invalidations', () => {
    const untracked = cache.of('n2')
    untracked.under(FENCE)
    for (let i = 0; i < 3; i++) {
      expect(untracked.find(KEY)).to.equal(null)
      expect(untracked.ask(KEY)).to.equal(null)
    }
  })

  it('has the epoch of its marker while that is clean, and otherwise none', () => {
    expect(near.epoch).to.equal(4)
    near.under({ ...OTHER, clean: false })
    expect(near.epoch).to.equal(-1)
    near.under(OTHER)
    expect(near.epoch).to.equal(5)
    near.ended()
    expect(near.epoch).to.equal(-1)
  })

  it('does not keep a reply under a marker that is not the one of now', () => {
    read()
    const { ask } = read()
    ask!.answered(recordOf('v'), OTHER)
    expect(holds()).to.equal(false)
  })

  it('does not keep values that Rondo did not write: only their node knows when they expire', () => {
    read()
    read().ask!.answered(Buffer.from('foreign'), FENCE)
    expect(holds()).to.equal(false)
  })

  it('forgets a read that was lost, and asks again', () => {
    read()
    read().ask!.lost()
    const { ask } = read()
    ask!.answered(recordOf('v'), FENCE)
    expect(holds()).to.equal(true)
  })

  it('answers for the node that holds the key, and no other one', () => {
    const other = cache.of('n2')
    other.under(FENCE)
    other.trackingBegan()
    other.proven(time.monotonicMs())
    keep('v')
    expect(other.find(KEY)).to.equal(null)
    other.invalidated([KEY])
    expect(holds()).to.equal(true)
  })

  it('holds no more bytes than it may, and none that takes too large a share', () => {
    const text = 'x'.repeat(8000)
    for (let i = 0; i < 300; i++) keep(text, Buffer.from(`key:${i}`))
    expect(cache.bytes).to.be.within(1024 * 1024 - 9000, 1024 * 1024)
    expect(holds(Buffer.from('key:299'))).to.equal(true)
    expect(holds(Buffer.from('key:0'))).to.equal(false)
    keep('x'.repeat(1024 * 16), Buffer.from('large'))
    expect(holds(Buffer.from('large'))).to.equal(false)
  })
})

describe('hot reads', () => {
  it('are counted by key, from the second read on, and forgotten when others were read since', () => {
    const reads = new HotReads()
    expect(reads.note(KEY)).to.equal(false)
    expect(reads.note(KEY)).to.equal(true)
    const other = new HotReads()
    other.note(KEY)
    for (let i = 0; i < 131_072; i++) other.note(Buffer.from(`other:${i % 1000}`))
    expect(other.note(KEY)).to.equal(false)
  })

  it('take few of the keys that are read once for hot ones', () => {
    const reads = new HotReads()
    let wrong = 0
    for (let i = 0; i < 20_000; i++) if (reads.note(Buffer.from(`once:${i}`))) wrong++
    expect(wrong).to.be.below(1000)
  })
})
