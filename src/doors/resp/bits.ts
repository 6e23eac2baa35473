/** Values as bits, the highest of the first byte first: GETBIT, SETBIT, BITCOUNT, BITPOS. */
import { inclusiveRange, integerArgument, isBackward, parseInteger, word, type Integer } from './arguments.ts'
import { RespError, type Reply } from './reply.ts'
import {
  change,
  CommandError,
  defaultEnd,
  look,
  NOT_INTEGER,
  inPlaceOf,
  SYNTAX_ERROR,
  tooLong,
  type Held,
  type Step,
  type StepLimits,
} from './step.ts'

const BAD_OFFSET = 'ERR bit offset is not an integer or out of range'
const BAD_BIT = 'ERR bit is not an integer or out of range'
const EMPTY = Buffer.alloc(0)
/** Redis's, where proto-max-bulk-len is what it is by default. */
const BIT_OFFSETS = 2 ** 32

const BITS_OF_BYTE = Uint8Array.from({ length: 256 }, (_, byte) => {
  let bits = 0
  for (let rest = byte; rest > 0; rest >>= 1) bits += rest & 1
  return bits
})

export function getbit(args: readonly Buffer[]): Step {
  const offset = bitOffset(args[2]!)
  return look(args[1]!, (held) => (held ? bitAt(held.value, offset) : 0))
}

export function setbit(args: readonly Buffer[], nowMs: number, limits: StepLimits): Step {
  const offset = bitOffset(args[2]!)
  const bit = integerArgument(args[3]!, BAD_BIT)
  if (bit !== 0 && bit !== 1) throw new CommandError(BAD_BIT)
  const byte = Math.floor(offset / 8)
  if (byte >= limits.maxValueBytes) throw new CommandError(tooLong(byte + 1, limits))
  const mask = 0x80 >> (offset % 8)
  const newEndMs = defaultEnd(limits, nowMs)
  return change(args[1]!, (held) => {
    const before = held?.value ?? EMPTY
    const old = bitAt(before, offset)
    if (byte < before.length && old === bit) return { reply: old }
    const value = Buffer.alloc(Math.max(before.length, byte + 1))
    before.copy(value)
    if (bit === 1) value[byte]! |= mask
    else value[byte]! &= ~mask
    return { reply: old, next: [inPlaceOf(held, value, newEndMs)] }
  })
}

export function bitcount(args: readonly Buffer[]): Step {
  return look(args[1]!, (held) => {
    // Redis answers for a missing key before it looks at the other arguments.
    if (!held) return 0
    if (args.length === 2) return countBits(held.value, 0, held.value.length * 8 - 1)
    if (args.length !== 4 && args.length !== 5) return new RespError(SYNTAX_ERROR)
    const start = parseInteger(args[2]!)
    const end = parseInteger(args[3]!)
    if (start === null || end === null) return new RespError(NOT_INTEGER)
    if (isBackward(start, end)) return 0
    const unit = bitsOfUnit(args[4])
    if (unit === null) return new RespError(SYNTAX_ERROR)
    const range = bitRange(held, start, end, unit)
    return range ? countBits(held.value, range[0], range[1]) : 0
  })
}

export function bitpos(args: readonly Buffer[]): Step {
  const bit = integerArgument(args[2]!)
  if (bit !== 0 && bit !== 1) throw new CommandError('ERR The bit argument must be 1 or 0.')
  return look(args[1]!, (held) => {
    if (!held) return bit === 1 ? -1 : 0
    return firstBit(held, bit, args)
  })
}

function firstBit(held: Held, bit: 0 | 1, args: readonly Buffer[]): Reply {
  if (args.length > 6) return new RespError(SYNTAX_ERROR)
  const start = args[3] === undefined ? 0 : parseInteger(args[3])
  if (start === null) return new RespError(NOT_INTEGER)
  const unit = bitsOfUnit(args[5])
  if (unit === null) return new RespError(SYNTAX_ERROR)
  const end = args[4] === undefined ? -1 : parseInteger(args[4])
  if (end === null) return new RespError(NOT_INTEGER)
  const range = bitRange(held, start, end, unit)
  if (!range) return -1
  const found = findBit(held.value, bit, range[0], range[1])
  // After a value without a given end, zeros are thought to follow.
  return found === -1 && bit === 0 && args[4] === undefined ? held.value.length * 8 : found
}

/** @throws CommandError */
function bitOffset(argument: Buffer): number {
  const offset = integerArgument(argument, BAD_OFFSET)
  if (offset < 0 || offset >= BIT_OFFSETS) throw new CommandError(BAD_OFFSET)
  return Number(offset)
}

/** BYTE (the default) or BIT; null = neither. */
function bitsOfUnit(argument: Buffer | undefined): 1 | 8 | null {
  if (argument === undefined) return 8
  const name = word(argument)
  if (name === 'BIT') return 1
  return name === 'BYTE' ? 8 : null
}

/** First and last bit. */
function bitRange({ value }: Held, start: Integer, end: Integer, unit: 1 | 8): [number, number] | null {
  const range = inclusiveRange(start, end, (value.length * 8) / unit)
  return range && [range[0] * unit, range[1] * unit + unit - 1]
}

function bitAt(value: Buffer, offset: number): 0 | 1 {
  const byte = value[Math.floor(offset / 8)] ?? 0
  return (byte & (0x80 >> (offset % 8))) === 0 ? 0 : 1
}

function countBits(value: Buffer, first: number, last: number): number {
  const from = Math.floor(first / 8)
  const to = Math.floor(last / 8)
  if (from === to) return BITS_OF_BYTE[value[from]! & within(from, first, last)]!
  let count = BITS_OF_BYTE[value[from]! & within(from, first, last)]!
  for (let byte = from + 1; byte < to; byte++) count += BITS_OF_BYTE[value[byte]!]!
  return count + BITS_OF_BYTE[value[to]! & within(to, first, last)]!
}

function findBit(value: Buffer, bit: 0 | 1, first: number, last: number): number {
  const skipped = bit === 1 ? 0 : 0xff
  for (let byte = Math.floor(first / 8); byte <= Math.floor(last / 8); byte++) {
    if (value[byte] === skipped) continue
    const wanted = (bit === 1 ? value[byte]! : ~value[byte]!) & within(byte, first, last)
    if (wanted !== 0) return byte * 8 + Math.clz32(wanted) - 24
  }
  return -1
}

/** The bits of a byte that lie between first and last. */
function within(byte: number, first: number, last: number): number {
  const from = Math.max(first - byte * 8, 0)
  const to = Math.min(last - byte * 8, 7)
  return (0xff >> from) & (0xff << (7 - to)) & 0xff
}
