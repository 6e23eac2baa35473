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

  it('gives every element of a list once, in order, and forgets none that was confirmed', () => {
    const pushed: Short[] = [
      ['push', 1, 1, 2, { value: 10 }],
      ['push', 2, 3, 4, { value: 11 }],
    ]
    const all: Short = ['elements', 0, 5, 6, { result: '10,11' }]
    expect(verdict(...pushed, all, ['pop', 10, 7, 8], ['pop', 11, 9, 10], ['pop', null, 11, 12])).to.equal(
      'linearizable',
    )
    expect(verdict(...pushed, ['pop', 10, 5, 6], ['pop', 10, 7, 8]), 'popped twice').to.equal('violated')
    expect(verdict(...pushed, ['pop', 11, 5, 6]), 'out of order').to.equal('violated')
    expect(verdict(...pushed, ['elements', 0, 5, 6, { result: '10' }]), 'lost').to.equal('violated')
    expect(verdict(['push', 1, 1, Infinity, { value: 10 }], ['pop', null, 2, 3]), 'unknown').to.equal(
      'linearizable',
    )
  })

  it('keeps the fields of a hash apart', () => {
    const set: Short[] = [
      ['set-field', 1, 1, 2, { value: 3 }],
      ['set-field', 1, 3, 4, { value: 4 }],
    ]
    expect(verdict(...set, ['fields', 0, 5, 6, { result: 'a=3 b=4' }])).to.equal('linearizable')
    expect(verdict(...set, ['fields', 0, 5, 6, { result: 'b=4' }])).to.equal('violated')
    expect(
      verdict(...set, ['drop-field', 1, 5, 6, { value: 6 }], ['drop-field', 1, 7, 8, { value: 9 }]),
    ).to.equal('violated')
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
