/**
 * A node's decision about a write: the logic of nodes/redis/store.lua, prepare.lua and accept.lua, byte for byte, for
 * nodes without Lua. Change both together; test/nodes/differential.test.ts compares them.
 *
 * Pure decisions: the caller must apply one before asking about the same key again. Buffers passed in are not modified,
 * and bytes to be stored are always new ones.
 */
import { VERSION_BYTES, VERSION_ZERO, compareVersions, type Version } from './clock.ts'
import {
  EXPIRY_AT,
  FLAGS_AT,
  HEAD_BYTES,
  HEAD_WITH_PROMISE_BYTES,
  KIND_MASK,
  KIND_NOTHING,
  KIND_VALUE,
  LASTING_FLAG,
  MOVING_FLAGS,
  PROMISE_BYTES,
  PROMISE_FLAG,
  REPLACED_AT,
  REPLACED_BYTES,
  StoredRecord,
  VERSION_AT,
  newRecord,
  versionOf,
  type NewRecord,
} from './codec.ts'
import { isLastingLife, keepsItsEnd, keptMs } from './lifetime.ts'

export type StoreDecision =
  | { readonly kind: 'keep'; readonly bytes: Buffer; readonly lifeMs: number }
  /** This very record is stored already, for at least as long as requested: applied. */
  | { readonly kind: 'unchanged'; readonly lifeMs: number }
  /** @see StoreCall.onStale */
  | { readonly kind: 'stale'; readonly held: Buffer }

export type PrepareDecision =
  | {
      readonly ok: true
      /** The bytes to store. */
      readonly bytes: Buffer
      /** The previous record. */
      readonly record: Buffer | null
    }
  | { readonly ok: false; readonly newest: Buffer }

const ZERO_VERSION = { stamp: (target: Buffer, at: number) => void target.fill(0, at, at + VERSION_BYTES) }

/**
 * Compare and store: stores a record unless something newer is held or promised.
 *
 * @param held the key's bytes, null = none
 * @param heldLifeMs their remaining life: Infinity without an end, 0 if there are none
 * @param ownMs the life required by the new record's own expiry
 * @param onlyIf the version that must be held; VERSION_ZERO = nothing, or a value that Rondo did not write
 * @param floor what has no later version is nothing (core/floors.ts)
 */
export function decideStore(
  held: Buffer | null,
  heldLifeMs: number,
  record: NewRecord,
  ownMs: number,
  graceMs: number,
  onlyIf?: Version,
  floor: Version = VERSION_ZERO,
): StoreDecision {
  const here = held && new StoredRecord(held)
  const version = versionOf(record)
  if (onlyIf && !isHeld(here, onlyIf, floor)) return staleOf(here)
  if (here?.versioned) {
    const order = compareVersions(here.version, version)
    if (order === 0 && isSame(here, record)) return sameAgain(here, heldLifeMs, record, ownMs)
    if (order >= 0) return staleOf(here)
    if (here.promise && compareVersions(here.promise, version) > 0) {
      return { kind: 'stale', held: Buffer.from(here.promise) }
    }
  }
  return kept(record, here, heldLifeMs, ownMs, graceMs)
}

/** Whether exactly this version is held; VERSION_ZERO = nothing, or what counts as nothing. */
export function isHeld(here: StoredRecord | null, version: Version, floor: Version): boolean {
  const held = here?.version ?? VERSION_ZERO
  if (compareVersions(held, version) === 0) return true
  return compareVersions(version, VERSION_ZERO) === 0 && compareVersions(held, floor) <= 0
}

/**
 * First round of a two-round write: from now on every write below the ballot is refused. The promise is stored in the
 * record, whose life does not change.
 */
export function decidePrepare(held: Buffer | null, ballot: Version): PrepareDecision {
  const here = held && new StoredRecord(held)
  if (!here?.versioned) {
    const { head } = newRecord(held ? KIND_VALUE : KIND_NOTHING, ZERO_VERSION, 0)
    return { ok: true, bytes: withPromise(head, ballot, held), record: held }
  }
  if (here.promise && compareVersions(here.promise, ballot) > 0) return refused(here.promise)
  if (compareVersions(here.version, ballot) >= 0) return refused(here.version)
  return { ok: true, bytes: withPromise(here.bytes, ballot, here.content), record: held }
}

/**
 * Second round: stores the record if the promise to its version still stands.
 *
 * @param heldLifeMs remaining life of the key: Infinity without an end
 * @param ownMs the life required by the new record's own expiry; Infinity = without an end
 */
export function decideAccept(
  held: Buffer | null,
  heldLifeMs: number,
  record: NewRecord,
  ownMs: number,
  graceMs: number,
): StoreDecision {
  const here = held && new StoredRecord(held)
  const ballot = versionOf(record)
  if (!here?.versioned) return staleOf(null)
  if (here.promise) {
    if (compareVersions(here.promise, ballot) !== 0) {
      return { kind: 'stale', held: Buffer.from(here.promise) }
    }
    return kept(record, here, heldLifeMs, ownMs, graceMs)
  }
  // No promise: a newer write has replaced it, or this very record.
  return compareVersions(here.version, ballot) === 0
    ? sameAgain(here, heldLifeMs, record, ownMs)
    : staleOf(here)
}

function kept(
  record: NewRecord,
  here: StoredRecord | null,
  heldLifeMs: number,
  ownMs: number,
  graceMs: number,
): StoreDecision {
  // A key with only a promise replaces nothing that could come back.
  const lifeMs =
    here && keepsItsEnd(here, ownMs)
      ? heldLifeMs
      : keptMs(ownMs, here?.kind === KIND_NOTHING ? 0 : heldLifeMs, graceMs)
  const bytes = merged(record, here)
  if (ownMs < graceMs && isLastingLife(lifeMs, graceMs)) bytes[FLAGS_AT]! |= LASTING_FLAG
  return { kind: 'keep', bytes, lifeMs }
}

/** Extends the life if a longer one is requested; never shortens it. */
function sameAgain(here: StoredRecord, heldLifeMs: number, record: NewRecord, ownMs: number): StoreDecision {
  const lifeMs = Math.max(heldLifeMs, ownMs)
  const becomesLasting = (record.head[FLAGS_AT]! & LASTING_FLAG) !== 0 && !here.isLasting
  const isEndless = ownMs === Infinity // the register
  if (isEndless || (lifeMs === heldLifeMs && !becomesLasting)) return { kind: 'unchanged', lifeMs }
  const bytes = Buffer.from(here.bytes)
  if (becomesLasting) bytes[FLAGS_AT]! |= LASTING_FLAG
  return { kind: 'keep', bytes, lifeMs }
}

/** What is held instead: version and replaced field; zeros if Rondo did not write it. */
export function staleOf(here: StoredRecord | null): StoreDecision & { readonly kind: 'stale' } {
  return {
    kind: 'stale',
    held: here ? Buffer.concat([here.version, here.replaced]) : Buffer.alloc(VERSION_BYTES + REPLACED_BYTES),
  }
}

/** Whether kind, expiry and value are the same, regardless of replaced field, promise and lasting flag. */
function isSame(here: StoredRecord, record: NewRecord): boolean {
  return (
    ((here.bytes[FLAGS_AT]! ^ record.head[FLAGS_AT]!) & KIND_MASK) === 0 &&
    here.bytes.compare(record.head, EXPIRY_AT, HEAD_BYTES, EXPIRY_AT, HEAD_BYTES) === 0 &&
    here.content.equals(record.value)
  )
}

/** The record's bytes, with milliseconds and counter of the version that it replaces here. */
function merged({ head, value }: NewRecord, here: StoredRecord | null): Buffer {
  const bytes = Buffer.allocUnsafeSlow(HEAD_BYTES + value.length)
  head.copy(bytes, 0, 0, HEAD_BYTES)
  if (here?.versioned) here.bytes.copy(bytes, REPLACED_AT, VERSION_AT, VERSION_AT + REPLACED_BYTES)
  else bytes.fill(0, REPLACED_AT, REPLACED_AT + REPLACED_BYTES)
  value.copy(bytes, HEAD_BYTES)
  return bytes
}

/** A promise without the record that held it. */
export function promiseAlone(promise: Version): Buffer {
  return withPromise(newRecord(KIND_NOTHING, ZERO_VERSION, 0).head, promise, null)
}

function withPromise(head: Buffer, ballot: Version, value: Buffer | null): Buffer {
  const bytes = Buffer.allocUnsafeSlow(HEAD_WITH_PROMISE_BYTES + (value?.length ?? 0))
  head.copy(bytes, 0, 0, HEAD_BYTES)
  bytes[FLAGS_AT] = (head[FLAGS_AT]! & MOVING_FLAGS) | PROMISE_FLAG
  bytes.set(ballot.subarray(0, PROMISE_BYTES), HEAD_BYTES)
  value?.copy(bytes, HEAD_WITH_PROMISE_BYTES)
  return bytes
}

/** A copy, so that the receiver neither retains nor modifies the stored bytes. */
function refused(newest: Version): PrepareDecision {
  return { ok: false, newest: Buffer.from(newest) }
}
