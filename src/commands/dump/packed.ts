/**
 * The forms in which Redis keeps small collections in one piece, and dumps them as they are: listpack (since 7.0), ziplist
 * (before), and intset.
 */
import type { Sliced } from '../../core/work.ts'
import { BadData, Input } from './input.ts'

const NO_BUDGET = { left: 0 }
const END = 0xff

/** Calls `found` for each text. @throws BadData, and what `found` throws */
export type SlicedTexts = (bytes: Buffer, found: (text: Buffer) => void) => Sliced<void>

/** Texts that are read between two yields. */
const TEXTS_A_PIECE = 256
const UNITS_A_PIECE = 32

function textOf(integer: bigint | number): Buffer {
  return Buffer.from(String(integer))
}

// ---- listpack: bytes (4), entries (2), entries with their lengths behind them, FF

const UNKNOWN_COUNT = 0xffff

export const listpackTexts: SlicedTexts = function* (bytes, found) {
  const input = new Input(bytes, NO_BUDGET)
  if (input.take(4).readUInt32LE() !== bytes.length) throw new BadData()
  const count = input.take(2).readUInt16LE()
  let seen = 0
  for (; input.peek() !== END; seen++) {
    const { text, length } = listpackEntry(input)
    input.take(bytesToGoBack(length))
    found(text)
    if (seen % TEXTS_A_PIECE === 0) yield UNITS_A_PIECE
  }
  input.byte()
  if (!input.isAtEnd || (count !== UNKNOWN_COUNT && count !== seen)) throw new BadData()
}

/** @returns with the number of its bytes */
function listpackEntry(input: Input): { text: Buffer; length: number } {
  const first = input.byte()
  if (first < 0x80) return { text: textOf(first), length: 1 }
  if (first < 0xc0) return stringEntry(input, 1, first & 0x3f)
  if (first < 0xe0) {
    const value = ((first & 0x1f) << 8) | input.byte()
    return { text: textOf(value < 0x1000 ? value : value - 0x2000), length: 2 }
  }
  if (first < 0xf0) return stringEntry(input, 2, ((first & 0x0f) << 8) | input.byte())
  if (first === 0xf0) return stringEntry(input, 5, input.take(4).readUInt32LE())
  if (first > 0xf4) throw new BadData()
  const bytes = LISTPACK_INTEGERS[first - 0xf1]!
  return { text: textOf(input.integer(bytes)), length: 1 + bytes }
}

const LISTPACK_INTEGERS = [2, 3, 4, 8]

function stringEntry(input: Input, headBytes: number, length: number): { text: Buffer; length: number } {
  return { text: input.take(length), length: headBytes + length }
}

/** Behind an entry of this length, so that it can be read backwards. */
function bytesToGoBack(length: number): number {
  if (length <= 127) return 1
  if (length < 16_383) return 2
  if (length < 2_097_151) return 3
  return length < 268_435_455 ? 4 : 5
}

// ---- ziplist: bytes (4), place of the last entry (4), entries (2), entries with the length of the one before, FF

const LONG_BEFORE = 0xfe

export const ziplistTexts: SlicedTexts = function* (bytes, found) {
  const input = new Input(bytes, NO_BUDGET)
  if (input.take(4).readUInt32LE() !== bytes.length) throw new BadData()
  input.take(4)
  const count = input.take(2).readUInt16LE()
  let seen = 0
  for (; input.peek() !== END; seen++) {
    if (input.byte() === LONG_BEFORE) input.take(4)
    found(ziplistEntry(input))
    if (seen % TEXTS_A_PIECE === 0) yield UNITS_A_PIECE
  }
  input.byte()
  if (!input.isAtEnd || (count !== UNKNOWN_COUNT && count !== seen)) throw new BadData()
}

const ZIPLIST_INTEGERS = new Map([
  [0xc0, 2],
  [0xd0, 4],
  [0xe0, 8],
  [0xf0, 3],
  [0xfe, 1],
])

function ziplistEntry(input: Input): Buffer {
  const first = input.byte()
  if (first < 0x40) return input.take(first)
  if (first < 0x80) return input.take(((first & 0x3f) << 8) | input.byte())
  if (first === 0x80) return input.take(input.take(4).readUInt32BE())
  const bytes = ZIPLIST_INTEGERS.get(first)
  if (bytes !== undefined) return textOf(input.integer(bytes))
  if (first >= 0xf1 && first <= 0xfd) return textOf((first & 0x0f) - 1)
  throw new BadData()
}

// ---- intset: bytes of an integer (4), integers (4), the integers

export const intsetTexts: SlicedTexts = function* (bytes, found) {
  const input = new Input(bytes, NO_BUDGET)
  const integerBytes = input.take(4).readUInt32LE()
  const count = input.take(4).readUInt32LE()
  if (![2, 4, 8].includes(integerBytes) || bytes.length !== 8 + count * integerBytes) throw new BadData()
  for (let left = count; left > 0; left--) {
    found(textOf(input.integer(integerBytes)))
    if (left % TEXTS_A_PIECE === 0) yield UNITS_A_PIECE
  }
}
