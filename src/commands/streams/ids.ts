/**
 * The ids of the entries of a stream: milliseconds and a counter, 64 bits each, as texts `1526919030474-0`, and as 16 bytes,
 * big-endian, whose order is that of the ids.
 */
import { cString, parseInteger, type Integer } from '../arguments.ts'
import { CommandError } from '../step.ts'

/** 16 bytes. Never changed: it may be a view of a stored value. */
export type StreamId = Buffer

export const ID_BYTES = 16
const HALF_BYTES = 8
const MAX_UINT64 = 2n ** 64n - 1n
/** A half with fewer high bits is an exact number. */
const SAFE_HIGH = 2 ** 21
const HIGH_STEP = 2 ** 32

export const LEAST_ID: StreamId = Buffer.alloc(ID_BYTES)
export const GREATEST_ID: StreamId = Buffer.alloc(ID_BYTES, 0xff)

/** Longer texts are no ids, whatever they are. */
const MAX_TEXT_BYTES = 127
const INVALID = 'ERR Invalid stream ID specified as stream command argument'

/** A change of what stands at this id: other bytes, or nothing. */
export interface Edit {
  readonly id: StreamId
  readonly item: Buffer | null
}

export function streamId(ms: Integer, counter: Integer): StreamId {
  const id = Buffer.allocUnsafe(ID_BYTES)
  writeUint64(id, 0, ms)
  writeUint64(id, HALF_BYTES, counter)
  return id
}

export function idText(bytes: Buffer, at = 0): string {
  return `${readUint64(bytes, at)}-${readUint64(bytes, at + HALF_BYTES)}`
}

export function msOf(id: StreamId): Integer {
  return readUint64(id, 0)
}

export function counterOf(id: StreamId): Integer {
  return readUint64(id, HALF_BYTES)
}

/** < 0: the one at this place is before the id. */
export function compareIdAt(bytes: Buffer, at: number, id: StreamId): number {
  return -id.compare(bytes, at, at + ID_BYTES)
}

export function isZero(id: StreamId): boolean {
  return id.equals(LEAST_ID)
}

/** The id behind it; null = there is none. */
export function nextId(id: StreamId): StreamId | null {
  const next = Buffer.from(id)
  for (let at = ID_BYTES - 1; at >= 0; at--) {
    if (next[at] !== 0xff) {
      next[at]!++
      return next
    }
    next[at] = 0
  }
  return null
}

/** The id before it; null = there is none. */
export function previousId(id: StreamId): StreamId | null {
  const previous = Buffer.from(id)
  for (let at = ID_BYTES - 1; at >= 0; at--) {
    if (previous[at] !== 0) {
      previous[at]!--
      return previous
    }
    previous[at] = 0xff
  }
  return null
}

// ---- arguments

/** An id of which the counter may be left to the stream (`5-*`). */
export interface PartialId {
  readonly id: StreamId
  readonly hasCounter: boolean
}

/** `-` and `+` are none. @throws CommandError */
export function idArgument(text: Buffer, missingCounter: Integer = 0): StreamId {
  return partialIdIn(text, missingCounter, false)?.id ?? invalid()
}

/** The same; null = it is none. */
export function idIn(text: Buffer): StreamId | null {
  return partialIdIn(text, 0, false)?.id ?? null
}

/** As XADD takes it. @throws CommandError */
export function newIdArgument(text: Buffer): PartialId {
  return partialIdIn(text, 0, true) ?? invalid()
}

/** The same, or `-` for the least and `+` for the greatest id. @throws CommandError */
export function anyIdArgument(text: Buffer, missingCounter: Integer = 0): StreamId {
  const given = cString(text).toString('latin1')
  if (given === '-' && text.length <= MAX_TEXT_BYTES) return LEAST_ID
  if (given === '+' && text.length <= MAX_TEXT_BYTES) return GREATEST_ID
  return idArgument(text, missingCounter)
}

/** Where an interval begins; behind `(` it is without the id. @throws CommandError */
export function startArgument(text: Buffer): StreamId {
  if (!isExclusive(text)) return anyIdArgument(text)
  const start = nextId(idArgument(text.subarray(1)))
  if (!start) throw new CommandError('ERR invalid start ID for the interval')
  return start
}

/** Where an interval ends. @throws CommandError */
export function endArgument(text: Buffer): StreamId {
  if (!isExclusive(text)) return anyIdArgument(text, MAX_UINT64)
  const end = previousId(idArgument(text.subarray(1), MAX_UINT64))
  if (!end) throw new CommandError('ERR invalid end ID for the interval')
  return end
}

function isExclusive(text: Buffer): boolean {
  return text.length > 1 && text[0] === 0x28
}

function invalid(): never {
  throw new CommandError(INVALID)
}

function partialIdIn(text: Buffer, missingCounter: Integer, mayBePartial: boolean): PartialId | null {
  if (text.length > MAX_TEXT_BYTES) return null
  const given = cString(text)
  const dash = given.indexOf(0x2d)
  const ms = uint64In(dash === -1 ? given : given.subarray(0, dash))
  if (ms === null) return null
  if (dash === -1) return { id: streamId(ms, missingCounter), hasCounter: true }
  const rest = given.subarray(dash + 1)
  if (mayBePartial && rest.length === 1 && rest[0] === 0x2a) return { id: streamId(ms, 0), hasCounter: false }
  const counter = uint64In(rest)
  return counter === null ? null : { id: streamId(ms, counter), hasCounter: true }
}

/** As Redis reads it: what is not written plainly is left to strtoull of its C library. */
const C_NUMBER = /^[ \t\n\v\f\r]*([+-]?)(\d+)$/

function uint64In(text: Buffer): Integer | null {
  const plain = parseInteger(text)
  if (plain !== null) return plain < 0 ? null : plain
  const found = C_NUMBER.exec(text.toString('latin1'))
  if (!found) return null
  const value = BigInt(found[2]!)
  if (value > MAX_UINT64) return null
  return found[1] === '-' ? BigInt.asUintN(64, -value) : value
}

// ---- numbers of 64 bits

/** A bigint only if a number could not hold it exactly. */
export function readUint64(bytes: Buffer, at: number): Integer {
  const high = bytes.readUInt32BE(at)
  return high < SAFE_HIGH ? high * HIGH_STEP + bytes.readUInt32BE(at + 4) : bytes.readBigUInt64BE(at)
}

export function writeUint64(target: Buffer, at: number, value: Integer): void {
  if (typeof value === 'bigint') {
    target.writeBigUInt64BE(BigInt.asUintN(64, value), at)
    return
  }
  target.writeUInt32BE(Math.floor(value / HIGH_STEP), at)
  target.writeUInt32BE(value % HIGH_STEP, at + 4)
}
