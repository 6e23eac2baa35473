/** How Redis reads the arguments of a command. */
import { placesIn } from '../core/part.ts'
import { CommandError, NOT_INTEGER } from './step.ts'

/** A signed number of 64 bits; a bigint only where a number might not hold it. */
export type Integer = number | bigint

export const INT64_MIN = -(2n ** 63n)
export const INT64_MAX = 2n ** 63n - 1n

const MINUS = 0x2d
const ZERO = 0x30
const NINE = 0x39
/** So many digits always fit a number. */
const SAFE_DIGITS = 15
const MAX_DIGITS = 19

/** What Redis takes for an integer: no spaces, no plus, no leading zeros, 64 bits. Otherwise null. */
export function parseInteger(bytes: Buffer): Integer | null {
  const negative = bytes[0] === MINUS
  const start = negative ? 1 : 0
  const digits = bytes.length - start
  if (digits === 0 || digits > MAX_DIGITS) return null
  if (bytes[start] === ZERO) return bytes.length === 1 ? 0 : null
  let magnitude = 0
  for (let i = start; i < bytes.length; i++) {
    const byte = bytes[i]!
    if (byte < ZERO || byte > NINE) return null
    magnitude = magnitude * 10 + (byte - ZERO)
  }
  if (digits <= SAFE_DIGITS) return negative ? -magnitude : magnitude
  const exact = BigInt(bytes.toString('latin1'))
  return isInt64(exact) ? exact : null
}

export function isInt64(value: bigint): boolean {
  return value >= INT64_MIN && value <= INT64_MAX
}

/** @throws CommandError, by default NOT_INTEGER */
export function integerArgument(bytes: Buffer, error = NOT_INTEGER): Integer {
  const value = parseInteger(bytes)
  if (value === null) throw new CommandError(error)
  return value
}

/** No option's name is this long: of a longer argument no more is looked at. */
const MAX_WORD_BYTES = 64
/** Of an argument that stands in an error. */
const MAX_SHOWN_BYTES = 128

/** An option's name in capitals. Redis reads it as a C string, so it ends at a NUL. */
export function word(bytes: Buffer): string {
  return cString(bytes.subarray(0, MAX_WORD_BYTES)).toString('latin1').toUpperCase()
}

/** What an error may show of an argument. */
export function shown(bytes: Buffer): string {
  return cString(bytes.subarray(0, MAX_SHOWN_BYTES)).toString()
}

/** Up to the first NUL. */
export function cString(bytes: Buffer): Buffer {
  const nul = bytes.indexOf(0)
  return nul === -1 ? bytes : bytes.subarray(0, nul)
}

/**
 * Redis's inclusive range over `length` places, negative places counted from the end. null = empty.
 *
 * Number() rounds what is beyond 2^53, but that lies outside of every value and is cut off.
 */
export function inclusiveRange(
  start: Integer,
  end: Integer,
  length: number,
): readonly [number, number] | null {
  return placesIn({ from: Number(start), to: Number(end) }, length)
}

/**
 * Both counted from the end, and the wrong way round: always empty. Redis looks at this before it cuts a range to the
 * value; of "abc", -100 to -50 is cut to its first byte.
 */
export function isBackward(start: Integer, end: Integer): boolean {
  return start < 0 && end < 0 && start > end
}
