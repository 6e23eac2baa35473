/** Parses arguments as Redis does. */
import { placesIn } from '../core/part.ts'
import { CommandError, NOT_INTEGER } from './step.ts'

/** A signed 64-bit integer; a bigint only if a number could not hold it exactly. */
export type Integer = number | bigint

export const INT64_MIN = -(2n ** 63n)
export const INT64_MAX = 2n ** 63n - 1n

const MINUS = 0x2d
const ZERO = 0x30
const NINE = 0x39
/** This many digits always fit a number. */
const SAFE_DIGITS = 15
const MAX_DIGITS = 19

/** Parses what Redis accepts as an integer: no spaces, no plus, no leading zeros, 64 bits. Otherwise null. */
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

/** Longer than any option name; the rest of a longer argument is ignored. */
const MAX_WORD_BYTES = 64
/** Of an argument that is quoted in an error. */
const MAX_SHOWN_BYTES = 128

/** An option name in capitals. Redis reads it as a C string, so it ends at a NUL. */
export function word(bytes: Buffer): string {
  return cString(bytes.subarray(0, MAX_WORD_BYTES)).toString('latin1').toUpperCase()
}

/** The part of an argument that an error shows. */
export function shown(bytes: Buffer): string {
  return cString(bytes.subarray(0, MAX_SHOWN_BYTES)).toString()
}

/** Up to the first NUL. */
export function cString(bytes: Buffer): Buffer {
  const nul = bytes.indexOf(0)
  return nul === -1 ? bytes : bytes.subarray(0, nul)
}

/**
 * Redis's inclusive range over `length` positions; negative ones count from the end. null = empty.
 *
 * Number() rounds above 2^53, but such positions are outside every value and are clamped.
 */
export function inclusiveRange(
  start: Integer,
  end: Integer,
  length: number,
): readonly [number, number] | null {
  return placesIn({ from: Number(start), to: Number(end) }, length)
}

/**
 * Both negative, and in the wrong order: always empty. Redis checks this before it clamps a range to the value; in "abc",
 * -100 to -50 is clamped to the first byte.
 */
export function isBackward(start: Integer, end: Integer): boolean {
  return start < 0 && end < 0 && start > end
}
