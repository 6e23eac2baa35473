import { expect } from 'chai'
import {
  FLAGS_AT,
  HEAD_BYTES,
  KIND_NOTHING,
  KIND_TOMBSTONE,
  StoredRecord,
  type NewRecord,
} from '../../src/core/codec.ts'
import { decideAccept, decidePrepare, decideStore } from '../../src/core/store.ts'
import { record, version } from '../support/node-calls.ts'

const GRACE_MS = 86_400_000
const SECOND = 1000

/** What a node holds after this was written over `held`. */
function kept(next: NewRecord, held: Buffer | null = null): Buffer {
  const decision = decideStore(held, held ? Infinity : 0, next, 1, GRACE_MS)
  if (decision.kind !== 'keep') throw new Error(decision.kind)
  return decision.bytes
}

function prepared(held: Buffer | null, ballot: Buffer): Buffer {
  const decision = decidePrepare(held, ballot)
  if (!decision.ok || !decision.bytes) throw new Error('refused')
  return decision.bytes
}

const store = (held: Buffer | null, next: NewRecord) => decideStore(held, Infinity, next, 1, GRACE_MS)

describe('compare and store', () => {
  it('keeps head, what it replaced and value in the order of the format', () => {
    const first = kept(record(version({ ms: 5, counter: 6, coordinator: 7 }), 'one'))
    const second = kept(record(9, 'two'), first)
    expect(first.subarray(0, 17)).to.deep.equal(
      record(version({ ms: 5, counter: 6, coordinator: 7 })).head.subarray(0, 17),
    )
    expect(first.subarray(17, 25)).to.deep.equal(Buffer.alloc(8))
    expect(second.subarray(17, 25)).to.deep.equal(first.subarray(5, 13))
    expect(second.subarray(HEAD_BYTES).toString()).to.equal('two')
  })

  it('is decided by each part of the version, as unsigned numbers', () => {
    const older = [
      { ms: 1, counter: 0xffff, coordinator: 0xffffffff },
      { ms: 2, counter: 0, coordinator: 0xffffffff },
      { ms: 2, counter: 1, coordinator: 0x7fffffff },
      { ms: 2, counter: 1, coordinator: 0x80000000 },
      { ms: 0x7fffffffffff, counter: 0 },
      { ms: 0x800000000000, counter: 0 },
    ]
    for (let i = 1; i < older.length; i++) {
      const [a, b] = [record(version(older[i - 1]!)), record(version(older[i]!))]
      expect(store(kept(a), b).kind).to.equal('keep')
      expect(store(kept(b), a).kind).to.equal('stale')
    }
  })

  it('tells an older write the version that is held, and what that one replaced', () => {
    const held = kept(record(9), kept(record(5)))
    expect(store(held, record(8))).to.deep.equal({ kind: 'stale', held: held.subarray(5, 25) })
  })

  it('takes the same record again as applied, and any other of its version as stale', () => {
    const held = kept(record(5, 'a', { expiresAtMs: 77 }), kept(record(3)))
    expect(store(held, record(5, 'a', { expiresAtMs: 77 })).kind).to.equal('unchanged')
    expect(store(held, record(5, 'b', { expiresAtMs: 77 })).kind).to.equal('stale')
    expect(store(held, record(5, 'a', { expiresAtMs: 78 })).kind).to.equal('stale')
    expect(store(held, record(5, 'a', { expiresAtMs: 77, kind: KIND_TOMBSTONE })).kind).to.equal('stale')
    expect(store(prepared(held, version({ ms: 9 })), record(5, 'a', { expiresAtMs: 77 })).kind).to.equal(
      'unchanged',
    )
  })

  for (const [what, bytes] of [
    ['an empty string', Buffer.alloc(0)],
    ['any text', Buffer.from('hello')],
    ['a head of another format', Buffer.concat([Buffer.from('ff524402', 'hex'), Buffer.alloc(40, 0xff)])],
    ['a head that is cut off', record(99).head.subarray(0, 30)],
    ['a promise that is cut off', prepared(kept(record(99)), version({ ms: 100 })).subarray(0, 42)],
  ] as const) {
    it(`takes ${what} for a value at version 0, which any write replaces`, () => {
      const next = kept(record(1, 'v'), bytes)
      expect(next).to.deep.equal(kept(record(1, 'v')))
    })
  }

  it('keeps what replaced nothing for its own life, and else what was there for up to the grace', () => {
    const life = (heldLifeMs: number, ownMs: number) => {
      const decision = decideStore(
        heldLifeMs > 0 ? kept(record(1)) : null,
        heldLifeMs,
        record(2),
        ownMs,
        GRACE_MS,
      )
      return decision.kind === 'keep' ? decision.lifeMs : decision.kind
    }
    expect(life(0, 60 * SECOND)).to.equal(60 * SECOND)
    expect(life(Infinity, 60 * SECOND)).to.equal(GRACE_MS)
    expect(life(90 * SECOND, 60 * SECOND)).to.equal(90 * SECOND)
    expect(life(30 * SECOND, 60 * SECOND)).to.equal(60 * SECOND)
    expect(life(2 * GRACE_MS, 60 * SECOND)).to.equal(GRACE_MS)
    expect(life(Infinity, 2 * GRACE_MS)).to.equal(2 * GRACE_MS)
  })

  it('writes to no buffer that it was given, and keeps none of them', () => {
    const held = kept(record(1, 'old'))
    const next = record(2, 'new')
    const before = [held, next.head, next.value].map((bytes) => bytes.toString('hex'))
    const bytes = kept(next, held)
    expect([held, next.head, next.value].map((b) => b.toString('hex'))).to.deep.equal(before)
    next.value.fill(0)
    next.head.fill(0)
    held.fill(0)
    expect(bytes.subarray(HEAD_BYTES).toString()).to.equal('new')
  })
})

describe('a promise', () => {
  it('hides neither the record nor its value, and is told with what was there', () => {
    const held = kept(record(5, 'value'))
    const decision = decidePrepare(held, version({ ms: 7 }))
    expect(decision).to.include({ ok: true, record: held })
    const now = new StoredRecord(prepared(held, version({ ms: 7 })))
    expect(now.value.toString()).to.equal('value')
    expect(now.version).to.deep.equal(version({ ms: 5 }))
    expect(now.promise).to.deep.equal(version({ ms: 7 }))
  })

  it('stands where nothing was, as a record that holds nothing', () => {
    const now = new StoredRecord(prepared(null, version({ ms: 7 })))
    expect(now.kind).to.equal(KIND_NOTHING)
    expect(now.isLive(0)).to.equal(false)
    expect(now.promise).to.deep.equal(version({ ms: 7 }))
  })

  it('leaves a value that somebody else stored readable', () => {
    const now = new StoredRecord(prepared(Buffer.from('plain'), version({ ms: 7 })))
    expect(now.isLive(0)).to.equal(true)
    expect(now.value.toString()).to.equal('plain')
    expect(now.version).to.deep.equal(Buffer.alloc(12))
  })

  it('refuses writes below it, and goes with a write above it', () => {
    const held = prepared(kept(record(5)), version({ ms: 7 }))
    expect(store(held, record(6))).to.deep.equal({
      kind: 'stale',
      held: Buffer.concat([version({ ms: 7 }), Buffer.alloc(8)]),
    })
    const above = kept(record(8), held)
    expect(above[FLAGS_AT]).to.equal(0)
    expect(new StoredRecord(above).replaced).to.deep.equal(version({ ms: 5 }).subarray(0, 8))
    expect(store(held, record(7)).kind).to.equal('keep') // the promised version itself may be written
  })

  it('gives way to a newer ballot only, and to none as old as the record', () => {
    const held = prepared(kept(record(5)), version({ ms: 7 }))
    expect(decidePrepare(held, version({ ms: 6 }))).to.deep.equal({ ok: false, newest: version({ ms: 7 }) })
    expect(prepared(held, version({ ms: 7 }))).to.deep.equal(held)
    expect(new StoredRecord(prepared(held, version({ ms: 8 }))).promise).to.deep.equal(version({ ms: 8 }))
    expect(decidePrepare(kept(record(5)), version({ ms: 5 }))).to.deep.equal({
      ok: false,
      newest: version({ ms: 5 }),
    })
  })
})

describe('accept', () => {
  it('stores where the promise still stands, once or twice', () => {
    const held = prepared(kept(record(5)), version({ ms: 7 }))
    const decision = decideAccept(held, record(7, 'chosen'))
    expect(decision).to.deep.equal({
      ok: true,
      bytes: kept(record(7, 'chosen'), kept(record(5))),
      record: null,
    })
    const again = decideAccept((decision as { bytes: Buffer }).bytes, record(7, 'chosen'))
    expect(again).to.deep.equal({ ok: true, bytes: null, record: null })
  })

  it('is refused where the promise has gone or went to another', () => {
    expect(decideAccept(null, record(7))).to.deep.equal({ ok: false, newest: Buffer.alloc(12) })
    expect(decideAccept(Buffer.from('plain'), record(7))).to.deep.equal({
      ok: false,
      newest: Buffer.alloc(12),
    })
    expect(decideAccept(kept(record(9)), record(7))).to.deep.equal({ ok: false, newest: version({ ms: 9 }) })
    const other = prepared(null, version({ ms: 8 }))
    expect(decideAccept(other, record(7))).to.deep.equal({ ok: false, newest: version({ ms: 8 }) })
    expect(decideAccept(other, record(9))).to.deep.equal({ ok: false, newest: version({ ms: 8 }) })
  })
})
