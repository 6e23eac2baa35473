import { expect } from 'chai'
import fc from 'fast-check'
import { KIND_TOMBSTONE, KIND_VALUE } from '../../src/core/codec.ts'
import { EXPIRY_MARGIN_MS, FAR_END_MS, keptMs, ownLifeMs } from '../../src/core/lifetime.ts'

const NOW = 1_700_000_000_000
const GRACE = 86_400_000

describe('how long a node keeps a key', () => {
  it('a value with an expiry: until then and a minute more', () => {
    expect(ownLifeMs(KIND_VALUE, NOW + 5000, NOW)).to.equal(65_000)
    expect(ownLifeMs(KIND_VALUE, NOW + 0.5, NOW)).to.equal(60_001)
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
