/**
 * Parses and validates replies on the data path. Each function takes the bytes of a reply and returns its content, or
 * null if it is invalid: the whole reply is checked before any caller is answered.
 */
import { VERSION_BYTES } from '../../core/clock.ts'
import { REPLACED_BYTES } from '../../core/codec.ts'
import type { StoreAllWrite } from '../node.ts'

const PLUS = 0x2b
const MINUS = 0x2d
const ZERO = 0x30
const NINE = 0x39
const APPLIED_MARK = 0x41 // A
const LONGER_MARK = 0x4c // L
const STALE_MARK = 0x53 // S
const PROMISED_MARK = 0x50 // P
const OTHER_TYPE_MARK = 0x57 // W
const TOO_LATE_MARK = 0x54 // T
const OTHER_EPOCH_MARK = 0x45 // E
const LEFT_ALONE_MARK = 0x4d // M
const LIFE_BYTES = 6
const HELD_BYTES = VERSION_BYTES + REPLACED_BYTES
/** 2^53 has sixteen digits. */
const MAX_DIGITS = 15

/** The part of a store that is needed to parse its outcome. */
interface Asked {
  readonly lifeMs: number
}

/** The outcome of each of several stores. */
export type StoreOutcome =
  | { readonly kind: 'applied'; readonly keptMs: number | null }
  | { readonly kind: 'stale'; readonly held: Buffer }
  | { readonly kind: 'other-type' }

const APPLIED: StoreOutcome = { kind: 'applied', keptMs: null }
const OTHER_TYPE = { kind: 'other-type' } as const

/** One digit. */
export function isDigit(bytes: Buffer, digit: 0 | 1): boolean {
  return bytes.length === 1 && bytes[0] === ZERO + digit
}

export function isTooLate(bytes: Buffer): boolean {
  return bytes.length === 1 && bytes[0] === TOO_LATE_MARK
}

/** Of store.lua, accept.lua and store-all.lua: the node has another epoch, and nothing was done. */
export function isOtherEpoch(bytes: Buffer): boolean {
  return bytes.length === 1 && bytes[0] === OTHER_EPOCH_MARK
}

/** An outcome for each record (format in store.lua). */
export function storeOutcomes(bytes: Buffer, asked: readonly Asked[]): readonly StoreOutcome[] | null {
  const outcomes: StoreOutcome[] = []
  let at = 0
  for (const { lifeMs } of asked) {
    const from = at + 1
    switch (bytes[at]) {
      case APPLIED_MARK:
        at = from
        outcomes.push(APPLIED)
        break
      case OTHER_TYPE_MARK:
        at = from
        outcomes.push(OTHER_TYPE)
        break
      case LONGER_MARK:
        at = from + LIFE_BYTES
        if (at > bytes.length || bytes.readUIntBE(from, LIFE_BYTES) < lifeMs) return null
        outcomes.push({ kind: 'applied', keptMs: bytes.readUIntBE(from, LIFE_BYTES) })
        break
      case STALE_MARK:
      case PROMISED_MARK:
        at = from + (bytes[at] === STALE_MARK ? HELD_BYTES : VERSION_BYTES)
        if (at > bytes.length) return null
        outcomes.push({ kind: 'stale', held: bytes.subarray(from, at) })
        break
      default:
        return null
    }
  }
  return at === bytes.length ? outcomes : null
}

/** Milliseconds, in digits. */
export function lifeOf(bytes: Buffer): number | null {
  if (bytes.length === 0 || bytes.length > MAX_DIGITS) return null
  let ms = 0
  for (const byte of bytes) {
    if (byte < ZERO || byte > NINE) return null
    ms = ms * 10 + byte - ZERO
  }
  return ms
}

/** What is held instead: a version, or a version and its replaced field. */
export function isHeld(bytes: Buffer): boolean {
  return bytes.length === VERSION_BYTES || bytes.length === HELD_BYTES
}

export type StoreAllOutcome =
  | { readonly ok: true; readonly keptMs: readonly number[] }
  | { readonly ok: false; readonly held: readonly (Buffer | null)[] }

/** For each key (format in store-all.lua). */
export function storeAllOutcome(bytes: Buffer, asked: readonly StoreAllWrite[]): StoreAllOutcome | null {
  const rest = bytes.subarray(1)
  if (bytes[0] === PLUS) {
    const keptMs = rest
      .toString('latin1')
      .split(' ')
      .map((life) => lifeOf(Buffer.from(life, 'latin1')))
    const fits = keptMs.every((ms, i): ms is number => {
      const { record = null, lifeMs = 0 } = asked[i] ?? {}
      return ms !== null && (record ? ms >= lifeMs : ms === 0)
    })
    return keptMs.length === asked.length && fits ? { ok: true, keptMs } : null
  }
  const held = bytes[0] === MINUS ? refusals(rest) : null
  return held?.length === asked.length ? { ok: false, held } : null
}

/** One for each key: a length byte, and so many bytes. */
function refusals(bytes: Buffer): (Buffer | null)[] | null {
  const held: (Buffer | null)[] = []
  for (let at = 0; at < bytes.length;) {
    const end = at + 1 + bytes[at]!
    const refusal = bytes.subarray(at + 1, end)
    if (end > bytes.length || (refusal.length > 0 && !isHeld(refusal))) return null
    held.push(refusal.length === 0 ? null : refusal)
    at = end
  }
  return held
}

export type PrepareOutcome =
  | { readonly kind: 'promised'; readonly record: Buffer | null }
  | { readonly kind: 'refused'; readonly newest: Buffer }
  | { readonly kind: 'other-type' }
  /** Nothing was done with this key. */
  | { readonly kind: 'left-alone' }

const LEFT_ALONE: PrepareOutcome = { kind: 'left-alone' }

/** For one key (format in prepare.lua), on either path. */
export function prepareOutcome(bytes: Buffer): PrepareOutcome | null {
  if (bytes[0] === PLUS) return { kind: 'promised', record: bytes.subarray(1) }
  if (bytes[0] === MINUS) {
    return bytes.length === 1 + VERSION_BYTES ? { kind: 'refused', newest: bytes.subarray(1) } : null
  }
  if (bytes.length !== 1) return null
  switch (bytes[0]) {
    case ZERO:
      return { kind: 'promised', record: null }
    case OTHER_TYPE_MARK:
      return OTHER_TYPE
    case LEFT_ALONE_MARK:
      return LEFT_ALONE
    default:
      return null
  }
}
