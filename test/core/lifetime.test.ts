import { expect } from 'chai'
import fc from 'fast-check'
import { KIND_NOTHING, KIND_TOMBSTONE, KIND_VALUE, StoredRecord } from '../../src/core/codec.ts'
import {
  EXPIRY_MARGIN_MS,
  FAR_END_MS,
  isLastingLife,
  keptMs,
  livesMayDiffer,
  ownLifeMs,
} from '../../src/core/lifetime.ts'
import { record } from '../support/node-calls.ts'

const NOW = 1_700_000_000_000
const GRACE = 86_400_000

describe('how long a node keeps a key', () => {
  it('a value with an expiry: until then and a fifth more, 2 s at least and a minute at most', () => {
    expect(ownLifeMs(KIND_VALUE, NOW + 5000, NOW)).to.equal(7000)
    expect(ownLifeMs(KIND_VALUE, NOW + 100_000, NOW)).to.equal(120_000)
    expect(ownLifeMs(KIND_VALUE, NOW + 3_600_000, NOW)).to.equal(3_660_000)
    expect(ownLifeMs(KIND_VALUE, NOW + 0.5, NOW)).to.equal(2001)
  })

  it('a value without one: a hundred years, but with an end, so that a node may evict it', () => {
    expect(ownLifeMs(KIND_VALUE, 0, NOW)).to.equal(FAR_END_MS)
    expect(FAR_END_MS).to.be.above(99 * 365 * 86_400_000)
    expect(NOW + FAR_END_MS).to.be.below(2 ** 48)
  })

  it('a delete: a minute, by itself', () => {
    expect(ownLifeMs(KIND_TOMBSTONE, 0, NOW)).to.equal(EXPIRY_MARGIN_MS)
  })

  it('what has expired long ago: the shortest time there is, never none', () => {
    expect(ownLifeMs(KIND_VALUE, NOW - 60_000, NOW)).to.equal(1)
    expect(ownLifeMs(KIND_VALUE, 1, NOW)).to.equal(1)
  })

  const table: [string, number, number, number][] = [
    ['nothing was replaced', 60_000, 0, 60_000],
    ['what was replaced ends sooner', 60_000, 50_000, 60_000],
    ['what was replaced ends later', 60_000, 90_000, 90_000],
    ['what was replaced ends after the grace', 60_000, FAR_END_MS, GRACE],
    ['what was replaced has no end', 60_000, Infinity, GRACE],
    ['the record itself lives longer', FAR_END_MS, Infinity, FAR_END_MS],
  ]
  for (const [what, own, replaced, kept] of table) {
    it(`where ${what}: ${kept} ms`, () => expect(keptMs(own, replaced, GRACE)).to.equal(kept))
  }

  it('always until what it replaced is gone everywhere, or the grace is over; always as long as its own', () => {
    const ms = fc.integer({ min: 0, max: 1e12 })
    fc.assert(
      fc.property(ms, fc.oneof(ms, fc.constant(Infinity)), ms, (own, replaced, grace) => {
        const kept = keptMs(own, replaced, grace)
        expect(kept).to.be.at.least(own)
        expect(kept >= replaced || kept >= grace).to.equal(true)
        expect(kept).to.be.at.most(Math.max(own, grace))
      }),
    )
  })
})

describe('whether the copies of a record may be kept for different times', () => {
  const stored = (options: { kind?: number; expiresAtMs?: number }, at: number | Buffer = NOW) =>
    new StoredRecord(record(at, '', options).head)

  it('those of a delete, and of a value that expires before the grace is over', () => {
    expect(livesMayDiffer(stored({ kind: KIND_TOMBSTONE }), GRACE)).to.equal(true)
    expect(livesMayDiffer(stored({ expiresAtMs: NOW + 1 }), GRACE)).to.equal(true)
    expect(livesMayDiffer(stored({ expiresAtMs: NOW + GRACE - EXPIRY_MARGIN_MS - 1 }), GRACE)).to.equal(true)
  })

  it('not those of a value that is kept for the grace by itself, and not nothing', () => {
    expect(livesMayDiffer(stored({}), GRACE)).to.equal(false)
    expect(livesMayDiffer(stored({ expiresAtMs: NOW + GRACE - EXPIRY_MARGIN_MS }), GRACE)).to.equal(false)
    expect(livesMayDiffer(stored({ kind: KIND_NOTHING }, Buffer.alloc(12)), GRACE)).to.equal(false)
    expect(livesMayDiffer(new StoredRecord(Buffer.from('plain')), GRACE)).to.equal(false)
  })

  it('a copy that is kept for the grace, less a minute, is kept long enough whatever the others do', () => {
    expect(isLastingLife(GRACE - EXPIRY_MARGIN_MS, GRACE)).to.equal(true)
    expect(isLastingLife(GRACE - EXPIRY_MARGIN_MS - 1, GRACE)).to.equal(false)
  })
})
