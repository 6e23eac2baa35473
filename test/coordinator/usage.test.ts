import { expect } from 'chai'
import { BigKeys } from '../../src/coordinator/usage/big-keys.ts'
import { HotKeys } from '../../src/coordinator/usage/hot-keys.ts'
import { KIND_HASH, KIND_TOMBSTONE, KIND_VALUE, newRecord, StoredRecord } from '../../src/core/codec.ts'
import { tokenOf } from '../../src/core/token.ts'
import { seeded, seeds } from '../support/random.ts'

const KEEP = 8

describe('hot keys', () => {
  let nowMs: number
  let looksAtClock: number
  let hot: HotKeys
  const random = seeded(seeds(1)[0]!)
  beforeEach(() => {
    nowMs = 1000
    looksAtClock = 0
    const monotonicMs = () => {
      looksAtClock++
      return nowMs
    }
    hot = new HotKeys({ keep: KEEP, random: () => random.next(), monotonicMs })
  })
  /** One operation in ten is a read of `hot`, one in twenty a write of `warm`. */
  const run = (perSecond: number, seconds: number) => {
    for (let i = 0; i < perSecond * seconds; i++) {
      const dice = random.below(20)
      if (dice < 2) hot.note(Buffer.from('hot'), false)
      else if (dice === 2) hot.note(Buffer.from('warm'), true)
      else hot.note(Buffer.from(`k${random.below(100_000)}`), false)
      nowMs += 1000 / perSecond
    }
  }

  for (const perSecond of [100, 3000, 200_000]) {
    it(`are told with their rates, at ${perSecond} operations a second`, () => {
      run(perSecond, perSecond < 1000 ? 60 : perSecond < 10_000 ? 20 : 4)
      const report = hot.report()
      expect(report.perSecond).to.be.within(0.8 * perSecond, 1.2 * perSecond)
      const [first, second] = report.hot
      expect(first!.key.toString()).to.equal('hot')
      expect(first!.share).to.be.within(0.08, 0.12)
      expect(first!.perSecond).to.be.within(0.07 * perSecond, 0.13 * perSecond)
      expect(first!.writesPerSecond).to.equal(0)
      expect(second!.key.toString()).to.equal('warm')
      expect(second!.share).to.be.within(0.035, 0.065)
      expect(second!.writesPerSecond).to.be.closeTo(second!.perSecond, 0.01 * perSecond)
    })
  }

  it('cost the same for however many operations: about 2000 of them a second are looked at', () => {
    run(200_000, 1)
    looksAtClock = 0
    run(400_000, 1)
    // One look at the clock for 64 of them.
    expect(looksAtClock).to.be.within(10, 80)
  })

  it('of yesterday are gone', () => {
    run(1000, 10)
    nowMs += 86_400_000
    expect(hot.report()).to.deep.equal({ perSecond: 0, hot: [] })
  })

  it('cool down by half in a minute', () => {
    run(1000, 60)
    const [before] = hot.report().hot
    for (let i = 0; i < 60_000; i++) {
      hot.note(Buffer.from(`k${random.below(100_000)}`), false)
      nowMs++
    }
    const after = hot.report().hot.find(({ key }) => key.toString() === 'hot')
    expect(after!.share / before!.share).to.be.within(0.2, 0.45)
  })

  it('are none before the first operation', () => {
    expect(hot.report()).to.deep.equal({ perSecond: 0, hot: [] })
  })
})

describe('big keys', () => {
  let nowMs: number
  let big: BigKeys
  beforeEach(() => {
    nowMs = 0
    big = new BigKeys({ keep: KEEP, monotonicMs: () => nowMs })
  })
  const written = (name: string, kind: number, bytes: number, expiresAtMs = 0) => {
    const key = Buffer.from(name)
    big.written(key, tokenOf(key), kind, bytes, expiresAtMs)
  }
  const listed = (type: 'string' | 'hash', clusterMs = 0) =>
    big.report(clusterMs)[type].map(({ key, bytes }) => [key.toString(), bytes])
  const recordOf = (kind: number, bytes: number) => {
    const { head, value } = newRecord(
      kind,
      { stamp: (target, at) => target.fill(1, at, at + 12) },
      0,
      Buffer.alloc(bytes),
    )
    return new StoredRecord(Buffer.concat([head, value]))
  }

  it('are the largest that were written or read, by type', () => {
    for (let i = 0; i < 1000; i++) written(`k${i}`, KIND_VALUE, 1025 + ((i * 7919) % 1000))
    written('h', KIND_HASH, 5000)
    expect(listed('string').map(([, bytes]) => bytes)).to.deep.equal(
      Array.from({ length: KEEP }, (_, i) => 2024 - i),
    )
    expect(listed('hash')).to.deep.equal([['h', 5000]])
    big.found(Buffer.from('read'), recordOf(KIND_VALUE, 9000))
    big.found(Buffer.from('small'), recordOf(KIND_VALUE, 100))
    expect(listed('string')[0]).to.deep.equal(['read', 9000])
    expect(listed('string')).to.have.length(KEEP)
  })

  it('are forgotten when they are deleted, made small, given another type, or expire', () => {
    for (const name of ['deleted', 'tombstone', 'small', 'retyped', 'expires', 'stays']) {
      written(name, KIND_VALUE, 3000, name === 'expires' ? 500 : 0)
    }
    written('deleted', KIND_VALUE, 0)
    written('tombstone', KIND_TOMBSTONE, 0)
    written('small', KIND_VALUE, 10)
    written('retyped', KIND_HASH, 2000)
    expect(listed('string', 499)).to.deep.equal([
      ['expires', 3000],
      ['stays', 3000],
    ])
    expect(listed('string', 500)).to.deep.equal([['stays', 3000]])
    expect(listed('hash')).to.deep.equal([['retyped', 2000]])
  })

  it('are forgotten when nobody has read or written them for an hour', () => {
    for (const name of ['read', 'left']) written(name, KIND_VALUE, 3000)
    nowMs += 1_800_000
    big.found(Buffer.from('read'), recordOf(KIND_VALUE, 3000))
    nowMs += 1_800_000
    expect(listed('string')).to.deep.equal([['read', 3000]])
    expect(big.report(0).string[0]!.ageMs).to.equal(1_800_000)
  })

  for (const seed of seeds(3)) {
    it(`have the size that was written last, and are the largest of what has stayed (seed ${seed})`, () => {
      const random = seeded(seed)
      const sizes = new Map<string, number>()
      for (let i = 0; i < 20_000; i++) {
        const name = `k${random.below(500)}`
        const bytes = random.chance(0.2) ? 0 : random.below(5000)
        written(name, KIND_VALUE, bytes)
        sizes.set(name, bytes)
      }
      const shown = listed('string')
      for (const [name, bytes] of shown) expect(bytes).to.equal(sizes.get(name as string))
      for (const [name, bytes] of sizes) if (bytes < 4900) sizes.set(name, 0)
      // Now nothing that is left was pushed out by what has gone since.
      for (const [name, bytes] of sizes) written(name, KIND_VALUE, bytes)
      const largest = [...sizes.values()].sort((a, b) => b - a).filter((bytes) => bytes > 0)
      expect(listed('string').map(([, bytes]) => bytes)).to.deep.equal(largest.slice(0, KEEP))
    })
  }
})
