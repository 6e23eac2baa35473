import { expect } from 'chai'
import { checkLinearizable, type HistoryEntry } from './linearizable.ts'

type Short = [
  kind: HistoryEntry['kind'],
  value: number | null,
  start: number,
  end: number,
  more?: Partial<HistoryEntry>,
]

function verdict(...entries: Short[]) {
  return checkLinearizable(
    entries.map(([kind, value, start, end, more]) => ({
      kind,
      value: value ?? 0,
      expected: null,
      start,
      end,
      known: end !== Infinity,
      result: value,
      expiresAtMs: 0,
      startMs: start,
      endMs: end,
      ...more,
    })),
    0,
  )
}

describe('linearizability check', () => {
  it('accepts what happened one after the other', () => {
    expect(
      verdict(['write', 1, 1, 2], ['read', 1, 3, 4], ['delete', null, 5, 6], ['read', null, 7, 8]),
    ).to.equal('linearizable')
  })

  it('adds amounts, and knows the sums that were told', () => {
    const add = (value: number, result: number, start: number, end: number): Short => {
      return ['add', value, start, end, { result }]
    }
    expect(verdict(add(9, 9, 1, 2), add(-3, 6, 3, 4), ['read', 6, 5, 6])).to.equal('linearizable')
    expect(verdict(add(9, 6, 1, 5), add(-3, -3, 2, 4))).to.equal('linearizable')
    expect(verdict(add(9, 9, 1, 2), add(-3, -3, 3, 4))).to.equal('violated')
    expect(verdict(add(9, 9, 1, 2), ['add', -3, 3, Infinity], ['read', 6, 5, 6])).to.equal('linearizable')
  })

  it('accepts either order of what overlaps', () => {
    expect(verdict(['write', 1, 1, 10], ['write', 2, 2, 9], ['read', 1, 11, 12])).to.equal('linearizable')
    expect(verdict(['write', 1, 1, 10], ['write', 2, 2, 9], ['read', 2, 11, 12])).to.equal('linearizable')
  })

  it('finds a stale read, and one that goes backwards', () => {
    expect(verdict(['write', 1, 1, 2], ['write', 2, 3, 4], ['read', 1, 5, 6])).to.equal('violated')
    expect(verdict(['write', 1, 1, 2], ['write', 2, 3, 20], ['read', 2, 4, 5], ['read', 1, 6, 7])).to.equal(
      'violated',
    )
  })

  it('lets an unknown write happen late, or never, but once', () => {
    expect(verdict(['write', 1, 1, Infinity], ['read', null, 3, 4], ['read', 1, 5, 6])).to.equal(
      'linearizable',
    )
    expect(verdict(['write', 1, 1, Infinity], ['read', null, 3, 4])).to.equal('linearizable')
    expect(
      verdict(['write', 1, 1, Infinity], ['read', 1, 3, 4], ['delete', null, 5, 6], ['read', 1, 7, 8]),
    ).to.equal('violated')
  })

  it('finds two that both were the first', () => {
    expect(verdict(['nx', 1, 1, 5, { result: 1 }], ['nx', 2, 2, 6, { result: 1 }])).to.equal('violated')
    expect(verdict(['nx', 1, 1, 5, { result: 1 }], ['nx', 2, 2, 6, { result: 0 }])).to.equal('linearizable')
  })

  it('finds an increment that was counted twice, or lost', () => {
    expect(verdict(['incr', 1, 1, 2], ['incr', 3, 3, 4])).to.equal('violated')
    expect(verdict(['incr', 1, 1, 2], ['incr', 1, 3, 4])).to.equal('violated')
  })

  it('knows when a value has expired', () => {
    const expiring = { expiresAtMs: 10 }
    expect(verdict(['write', 1, 1, 2, expiring], ['read', 1, 8, 9], ['read', null, 11, 12])).to.equal(
      'linearizable',
    )
    expect(verdict(['write', 1, 1, 2, expiring], ['read', null, 8, 9])).to.equal('violated')
    expect(verdict(['write', 1, 1, 2, expiring], ['read', 1, 11, 12])).to.equal('violated')
  })
})
