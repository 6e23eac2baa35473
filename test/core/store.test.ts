import { expect } from 'chai'
import { VERSION_ZERO, type Version } from '../../src/core/clock.ts'
import {
  FLAGS_AT,
  HEAD_BYTES,
  KIND_NOTHING,
  KIND_TOMBSTONE,
  lastingCopy,
  StoredRecord,
  type NewRecord,
} from '../../src/core/codec.ts'
import { EXPIRY_MARGIN_MS, FAR_END_MS } from '../../src/core/lifetime.ts'
import { decideAccept, decidePrepare, decideStore } from '../../src/core/store.ts'
import { record, version } from '../support/node-calls.ts'

const GRACE_MS = 86_400_000
const SECOND = 1000

/** What a node holds after this was written over `held`, to be kept for ever. */
function kept(next: NewRecord, held: Buffer | null = null): Buffer {
  const decision = decideStore(held, held ? Infinity : 0, next, FAR_END_MS, GRACE_MS)
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
      { ms: 0x7fffffff, counter: 0 },
      { ms: 0x80000000, counter: 0 },
      { ms: 0x7fffffffffff, counter: 0 },
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
    ['a version that nothing could replace', kept(record(version({ ms: 2 ** 47 })))],
    ['a promise that nothing could keep', prepared(kept(record(99)), version({ ms: 2 ** 47 }))],
    ['a promise that is cut off', prepared(kept(record(99)), version({ ms: 100 })).subarray(0, 42)],
  ] as const) {
    it(`takes ${what} for a value at version 0, which any write replaces`, () => {
      const next = kept(record(1, 'v'), bytes)
      expect(next).to.deep.equal(kept(record(1, 'v')))
    })
  }

  it('marks what it keeps for about the grace as lasting, where its own life is shorter, and nothing else', () => {
    const isLasting = (heldLifeMs: number, ownMs: number, next = record(2)) => {
      const held = heldLifeMs > 0 ? kept(record(1)) : null
      const decision = decideStore(held, heldLifeMs, next, ownMs, GRACE_MS)
      return decision.kind === 'keep' && new StoredRecord(decision.bytes).isLasting
    }
    expect(isLasting(Infinity, 60 * SECOND)).to.equal(true)
    expect(isLasting(GRACE_MS - EXPIRY_MARGIN_MS, 60 * SECOND)).to.equal(true)
    expect(isLasting(GRACE_MS - EXPIRY_MARGIN_MS - 1, 60 * SECOND)).to.equal(false)
    expect(isLasting(0, 60 * SECOND)).to.equal(false)
    expect(isLasting(Infinity, FAR_END_MS)).to.equal(false)
    expect(isLasting(0, 60 * SECOND, lastingCopy(record(2)))).to.equal(true) // whoever sent it knows
  })

  it('makes the life of the same record longer where more is asked, and never shorter', () => {
    const held = prepared(kept(record(5, 'a'), kept(record(3))), version({ ms: 9 }))
    const again = (heldLifeMs: number, ownMs: number, next = record(5, 'a')) =>
      decideStore(held, heldLifeMs, next, ownMs, GRACE_MS)
    expect(again(60 * SECOND, 90 * SECOND)).to.deep.equal({ kind: 'keep', bytes: held, lifeMs: 90 * SECOND })
    expect(again(90 * SECOND, 60 * SECOND)).to.deep.equal({ kind: 'unchanged', lifeMs: 90 * SECOND })
    expect(again(Infinity, 60 * SECOND)).to.deep.equal({ kind: 'unchanged', lifeMs: Infinity })
  })

  it('takes over that the same record is lasting, and forgets it no more', () => {
    const held = prepared(kept(record(5, 'a'), kept(record(3))), version({ ms: 9 }))
    const again = (bytes: Buffer, next: NewRecord) =>
      decideStore(bytes, 90 * SECOND, next, 60 * SECOND, GRACE_MS)
    const before = held.toString('hex')
    const marked = again(held, lastingCopy(record(5, 'a')))
    if (marked.kind !== 'keep') throw new Error(marked.kind)
    expect(held.toString('hex')).to.equal(before)
    const now = new StoredRecord(marked.bytes)
    expect(now.isLasting).to.equal(true)
    expect(marked.lifeMs).to.equal(90 * SECOND)
    expect(now.promise).to.deep.equal(version({ ms: 9 }))
    expect(now.replaced).to.deep.equal(version({ ms: 3 }).subarray(0, 8))
    expect(again(marked.bytes, record(5, 'a'))).to.deep.equal({ kind: 'unchanged', lifeMs: 90 * SECOND })
    expect(again(marked.bytes, lastingCopy(record(5, 'a'))).kind).to.equal('unchanged')
    expect(new StoredRecord(prepared(marked.bytes, version({ ms: 10 }))).isLasting).to.equal(true)
    expect(new StoredRecord(kept(record(11), marked.bytes)).isLasting).to.equal(false)
  })

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

  it('on a condition is stale unless exactly that version is held, and tells what is', () => {
    const held = kept(record(5, 'held'), kept(record(3)))
    const storeIf = (bytes: Buffer | null, onlyIf: Version, next = record(9)) =>
      decideStore(bytes, bytes ? Infinity : 0, next, 1, GRACE_MS, onlyIf)
    const stale = { kind: 'stale', held: held.subarray(5, 25) }
    const unversioned = { kind: 'stale', held: Buffer.alloc(20) }
    expect(storeIf(held, version({ ms: 5 })).kind).to.equal('keep')
    expect(storeIf(held, version({ ms: 3 }))).to.deep.equal(stale)
    expect(storeIf(held, version({ ms: 5, coordinator: 2 }))).to.deep.equal(stale)
    expect(storeIf(held, VERSION_ZERO)).to.deep.equal(stale)
    expect(storeIf(held, version({ ms: 5 }), record(4))).to.deep.equal(stale)
    expect(storeIf(held, version({ ms: 4 }), record(5, 'held'))).to.deep.equal(stale) // though it is here already
    for (const bytes of [null, Buffer.from('plain'), held.subarray(0, 30)]) {
      expect(storeIf(bytes, VERSION_ZERO).kind).to.equal('keep')
      expect(storeIf(bytes, version({ ms: 5 }))).to.deep.equal(unversioned)
    }
  })

  it('on a condition asks for the version of the record, and heeds a promise on it', () => {
    const held = prepared(kept(record(5)), version({ ms: 7 }))
    const storeIf = (onlyIf: Version, at: number) =>
      decideStore(held, Infinity, record(at), 1, GRACE_MS, onlyIf).kind
    expect(storeIf(version({ ms: 5 }), 6)).to.equal('stale')
    expect(storeIf(version({ ms: 7 }), 8)).to.equal('stale')
    expect(storeIf(version({ ms: 5 }), 8)).to.equal('keep')
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
    expect(store(held, record(6))).to.deep.equal({ kind: 'stale', held: version({ ms: 7 }) })
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
  const accept = (held: Buffer | null, next: NewRecord, heldLifeMs = Infinity, ownMs = 1) =>
    decideAccept(held, heldLifeMs, next, ownMs, GRACE_MS)
  const stale = (held: Buffer) => ({ kind: 'stale', held })

  it('stores where the promise still stands, once or twice', () => {
    const held = prepared(kept(record(5)), version({ ms: 7 }))
    const decision = accept(held, record(7, 'chosen'))
    expect(decision).to.deep.equal({
      kind: 'keep',
      bytes: kept(lastingCopy(record(7, 'chosen')), kept(record(5))),
      lifeMs: GRACE_MS,
    })
    const { bytes } = decision as { bytes: Buffer }
    expect(accept(bytes, record(7, 'chosen'), GRACE_MS)).to.deep.equal({
      kind: 'unchanged',
      lifeMs: GRACE_MS,
    })
    expect(accept(bytes, record(7, 'chosen'), 2, 3)).to.deep.equal({ kind: 'keep', bytes, lifeMs: 3 })
  })

  it('is stale where the promise has gone or went to another, and tells what is held or promised', () => {
    expect(accept(null, record(7), 0)).to.deep.equal(stale(Buffer.alloc(20)))
    expect(accept(Buffer.from('plain'), record(7))).to.deep.equal(stale(Buffer.alloc(20)))
    const newer = kept(record(9), kept(record(5)))
    expect(accept(newer, record(7))).to.deep.equal(stale(newer.subarray(5, 25)))
    const other = prepared(newer, version({ ms: 12 }))
    expect(accept(other, record(11))).to.deep.equal(stale(version({ ms: 12 })))
    expect(accept(other, record(13))).to.deep.equal(stale(version({ ms: 12 })))
  })

  it('takes a promise that is cut off for none', () => {
    const cut = prepared(kept(record(5)), version({ ms: 7 })).subarray(0, 42)
    expect(accept(cut, record(7))).to.deep.equal(stale(Buffer.alloc(20)))
  })

  it('replaces nothing where only a promise was', () => {
    const decision = accept(prepared(null, version({ ms: 7 })), record(7, 'v'))
    expect(decision.kind === 'keep' && decision.bytes).to.deep.equal(kept(record(7, 'v')))
  })

  it('keeps a record for its own life, and what it replaces for up to the grace', () => {
    const held = prepared(kept(record(5)), version({ ms: 7 }))
    const life = (heldLifeMs: number, ownMs: number) => {
      const decision = accept(held, record(7), heldLifeMs, ownMs)
      return decision.kind === 'keep' ? decision.lifeMs : decision.kind
    }
    expect(life(Infinity, 60 * SECOND)).to.equal(GRACE_MS)
    expect(life(90 * SECOND, 60 * SECOND)).to.equal(90 * SECOND)
    expect(life(30 * SECOND, 60 * SECOND)).to.equal(60 * SECOND)
    expect(life(2 * GRACE_MS, 60 * SECOND)).to.equal(GRACE_MS)
    expect(life(30 * SECOND, 2 * GRACE_MS)).to.equal(2 * GRACE_MS)
    expect(life(30 * SECOND, Infinity)).to.equal(Infinity)
  })
})
