/**
 * Single-key operations as pure functions from the current record to the next one. The result is replicated, never the
 * operation.
 */
import { KIND_TOMBSTONE, KIND_VALUE, type StoredRecord } from '../core/codec.ts'
import { RondoError } from '../core/errors.ts'
import type { Modified, Modify } from '../coordinator/api.ts'

const INT64_MIN = -(2n ** 63n)
const INT64_MAX = 2n ** 63n - 1n
const EMPTY = Buffer.alloc(0)

const write = (value: Buffer, expiresAtMs: number): Modified => ({
  kind: 'write',
  record: { kind: KIND_VALUE, value, expiresAtMs },
})
const TOMBSTONE: Modified = { kind: 'write', record: { kind: KIND_TOMBSTONE, value: EMPTY, expiresAtMs: 0 } }
const KEEP: Modified = { kind: 'keep' }

/** @param nowMs cluster time, called once per attempt */
export function live(current: StoredRecord | null, nowMs: number): StoredRecord | null {
  return current?.isLive(nowMs) ? current : null
}

/**
 * Adds to a 64-bit integer; a missing key counts as 0. Keeps the expiry. Redis's INCRBY.
 * Refuses with NOT_INTEGER.
 */
export function increment(by: bigint, nowMs: () => number): Modify {
  return (current) => {
    const held = live(current, nowMs())
    const before = held ? parseInteger(held.value) : 0n
    if (before === null) return refuse('NOT_INTEGER', 'value is not an integer or out of range')
    const after = before + by
    if (after < INT64_MIN || after > INT64_MAX) {
      return refuse('NOT_INTEGER', 'increment or decrement would overflow')
    }
    return write(Buffer.from(String(after)), held?.expiresAtMs ?? 0)
  }
}

/** Adds bytes at the end; a missing key counts as empty. Keeps the expiry. Redis's APPEND. */
export function append(bytes: Buffer, maxValueBytes: number, nowMs: () => number): Modify {
  return (current) => {
    const held = live(current, nowMs())
    const length = (held?.value.length ?? 0) + bytes.length
    if (length > maxValueBytes) {
      return refuse(
        'VALUE_TOO_LARGE',
        `The value would have ${length} bytes; at most ${maxValueBytes} are allowed.`,
      )
    }
    return write(held ? Buffer.concat([held.value, bytes]) : bytes, held?.expiresAtMs ?? 0)
  }
}

/** Deletes the value, if there is one. Redis's GETDEL. */
export function take(nowMs: () => number): Modify {
  return (current) => (live(current, nowMs()) ? TOMBSTONE : KEEP)
}

/** Changes the expiry time of a live value, 0 = never. Redis's EXPIREAT and PERSIST. */
export function expireAt(expiresAtMs: number, nowMs: () => number): Modify {
  return (current) => {
    const held = live(current, nowMs())
    if (!held || held.expiresAtMs === expiresAtMs) return KEEP
    return write(held.value, expiresAtMs)
  }
}

function refuse(code: 'NOT_INTEGER' | 'VALUE_TOO_LARGE', sentence: string): Modified {
  return { kind: 'refuse', error: new RondoError(code, sentence, { outcome: 'not-applied' }) }
}

/** What Redis takes for an integer: no spaces, no plus, no leading zeros, 64 bits. */
function parseInteger(value: Buffer): bigint | null {
  if (value.length > 20) return null
  const text = value.toString('latin1')
  if (!/^(0|-?[1-9]\d*)$/.test(text)) return null
  const parsed = BigInt(text)
  return parsed < INT64_MIN || parsed > INT64_MAX ? null : parsed
}
