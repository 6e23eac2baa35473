import { expect } from 'chai'
import { KIND_TOMBSTONE, lastingCopy, StoredRecord, type NewRecord } from '../../src/core/codec.ts'
import { FAR_END_MS } from '../../src/core/lifetime.ts'
import { decideStore } from '../../src/core/store.ts'
import { newestOf, sureHolders } from '../../src/core/votes.ts'
import { record } from '../support/node-calls.ts'

const GRACE_MS = 86_400_000

/** As a node holds it that replaced the record of this time, 0 = none. */
function copy(next: NewRecord, replacedMs = 0): StoredRecord {
  const over = replacedMs > 0 ? decideStore(null, 0, record(replacedMs), FAR_END_MS, GRACE_MS) : null
  const held = over?.kind === 'keep' ? over.bytes : null
  const decision = decideStore(held, held ? 90_000 : 0, next, 60_000, GRACE_MS)
  if (decision.kind !== 'keep') throw new Error(decision.kind)
  return new StoredRecord(decision.bytes)
}

const value = record(5, 'v')
const tombstone = record(5, '', { kind: KIND_TOMBSTONE })

describe('the newest of what replicas hold', () => {
  it('is that of the latest version, and nothing where nobody holds anything', () => {
    const [older, newer] = [copy(record(3)), copy(record(7))]
    expect(newestOf([older, null, newer, older])).to.equal(newer)
    expect(newestOf([null, null])).to.equal(null)
    expect(newestOf([])).to.equal(null)
  })
})

describe('who surely holds the newest record for as long as it is needed', () => {
  const sure = (votes: Record<string, StoredRecord | null>) => {
    const map = new Map(Object.entries(votes))
    return sureHolders(map, newestOf(map.values()), (holders) => holders.length >= 2, GRACE_MS).join('')
  }

  it('all that hold it, where it has no end, whatever they replaced', () => {
    expect(sure({ a: copy(value), b: copy(value, 3), c: copy(record(4)) })).to.equal('ab')
    expect(sure({ a: null, b: null, c: null })).to.equal('abc')
    expect(sure({ a: null, b: new StoredRecord(Buffer.from('plain')) })).to.equal('ab')
  })

  it('of a delete, all that hold it, where a majority replaced the same', () => {
    expect(sure({ a: copy(tombstone, 3), b: copy(tombstone, 3), c: null })).to.equal('ab')
    expect(sure({ a: copy(tombstone), b: copy(tombstone), c: copy(record(4)) })).to.equal('ab')
  })

  it('of a delete, only lasting copies, where they replaced different things or are too few to tell', () => {
    expect(sure({ a: copy(tombstone), b: copy(tombstone, 3) })).to.equal('')
    expect(sure({ a: copy(tombstone, 2), b: copy(tombstone, 3), c: copy(tombstone, 3) })).to.equal('')
    expect(sure({ a: copy(lastingCopy(tombstone)), b: copy(tombstone, 3) })).to.equal('a')
    expect(sure({ a: copy(tombstone, 3), b: copy(record(4)) })).to.equal('')
  })

  it('lasting copies, whatever they replaced, and beside them those that agree', () => {
    const lasting = lastingCopy(tombstone)
    expect(sure({ a: copy(lasting), b: copy(lasting, 3) })).to.equal('ab')
    expect(sure({ a: copy(lasting), b: copy(tombstone, 3), c: copy(tombstone, 3) })).to.equal('abc')
  })

  it('of a value that expires before the grace is over, as of a delete; of one that outlives it, all', () => {
    const soon = record(5, 'v', { expiresAtMs: 1000 })
    const late = record(5, 'v', { expiresAtMs: GRACE_MS + 5 })
    expect(sure({ a: copy(soon), b: copy(soon, 3) })).to.equal('')
    expect(sure({ a: copy(late), b: copy(late, 3) })).to.equal('ab')
  })
})
