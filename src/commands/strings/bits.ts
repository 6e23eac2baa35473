/** Commands on bits, starting with the highest bit of the first byte: GETBIT, SETBIT, BITCOUNT, BITPOS. */
import { byteRange, placesIn } from '../../core/part.ts'
import {
  inclusiveRange,
  integerArgument,
  isBackward,
  parseInteger,
  word,
  type Integer,
} from '../arguments.ts'
import { RespError, type Reply } from '../reply.ts'
import {
  change,
  CommandError,
  defaultEnd,
  look,
  lookAtStringHead,
  lookAtPart,
  NOT_INTEGER,
  inPlaceOf,
  SYNTAX_ERROR,
  tooLong,
  type SeenPart,
  type Step,
  type StepLimits,
} from '../step.ts'

export const BAD_OFFSET = 'ERR bit offset is not an integer or out of range'
const BAD_BIT = 'ERR bit is not an integer or out of range'
const EMPTY = Buffer.alloc(0)
/** Redis's limit with the default proto-max-bulk-len. */
export const BIT_OFFSETS = 2 ** 32

const BITS_OF_BYTE = Uint8Array.from({ length: 256 }, (_, byte) => {
  let bits = 0
  for (let rest = byte; rest > 0; rest >>= 1) bits += rest & 1
  return bits
})

export function getbit(args: readonly Buffer[]): Step {
  const offset = bitOffset(args[2]!)
  const byte = Math.floor(offset / 8)
  return lookAtPart(args[1]!, { from: byte, to: byte }, (seen) => (seen ? bitAt(seen.part, offset % 8) : 0))
}

export function setbit(args: readonly Buffer[], nowMs: number, limits: StepLimits): Step {
  const offset = bitOffset(args[2]!)
  const bit = integerArgument(args[3]!, BAD_BIT)
  if (bit !== 0 && bit !== 1) throw new CommandError(BAD_BIT)
  const byte = Math.floor(offset / 8)
  if (byte >= limits.maxValueBytes) throw new CommandError(`ERR ${tooLong(byte + 1, limits)}`)
  const mask = 0x80 >> (offset % 8)
  const newEndMs = defaultEnd(limits, nowMs)
  return change(
    args[1]!,
    (held) => {
      const before = held?.value ?? EMPTY
      const old = bitAt(before, offset)
      if (byte < before.length && old === bit) return { reply: old }
      const value = Buffer.alloc(Math.max(before.length, byte + 1))
      before.copy(value)
      if (bit === 1) value[byte]! |= mask
      else value[byte]! &= ~mask
      return { reply: old, next: [inPlaceOf(held, value, newEndMs)] }
    },
    byte + 1,
  )
}

export function bitcount(args: readonly Buffer[]): Step {
  const key = args[1]!
  if (args.length === 2) return lookAtBits(key, WHOLE, (bits) => countBits(bits))
  if (args.length !== 4 && args.length !== 5) return refusedIfThere(key, 0, SYNTAX_ERROR)
  const start = parseInteger(args[2]!)
  const end = parseInteger(args[3]!)
  if (start === null || end === null) return refusedIfThere(key, 0, NOT_INTEGER)
  if (isBackward(start, end)) return lookAtStringHead(key, () => 0)
  const unit = bitsOfUnit(args[4])
  if (unit === null) return refusedIfThere(key, 0, SYNTAX_ERROR)
  return lookAtBits(key, { start, end, unit }, (bits) => countBits(bits))
}

export function bitpos(args: readonly Buffer[]): Step {
  const bit = integerArgument(args[2]!)
  if (bit !== 0 && bit !== 1) throw new CommandError('ERR The bit argument must be 1 or 0.')
  const key = args[1]!
  const missing = bit === 1 ? -1 : 0
  if (args.length > 6) return refusedIfThere(key, missing, SYNTAX_ERROR)
  const start = args[3] === undefined ? 0 : parseInteger(args[3])
  if (start === null) return refusedIfThere(key, missing, NOT_INTEGER)
  const unit = bitsOfUnit(args[5])
  if (unit === null) return refusedIfThere(key, missing, SYNTAX_ERROR)
  const end = args[4] === undefined ? -1 : parseInteger(args[4])
  if (end === null) return refusedIfThere(key, missing, NOT_INTEGER)
  const range = args[3] === undefined ? WHOLE : { start, end, unit }
  return lookAtBits(key, range, (bits, seen) => {
    if (!seen) return missing
    if (!bits) return -1
    const found = findBit(bits, bit)
    // Without a given end, zeros follow the value.
    return found === -1 && bit === 0 && args[4] === undefined ? seen.length * 8 : found
  })
}

/** As in the command: bits or bytes (8 bits); negative ones count from the end. */
interface BitRange {
  readonly start: Integer
  readonly end: Integer
  readonly unit: 1 | 8
}

const WHOLE: BitRange = { start: 0, end: -1, unit: 8 }

/** Bits of a value from `first` to `last`; `bytes` starts with byte number `at` of the value. */
interface Bits {
  readonly bytes: Buffer
  readonly at: number
  readonly first: number
  readonly last: number
}

/** @param answer bits null = none in the range; seen null = the key does not exist */
function lookAtBits(
  key: Buffer,
  range: BitRange,
  answer: (bits: Bits | null, seen: SeenPart | null) => Reply,
): Step {
  const { start, end, unit } = range
  const byteOf = (place: Integer) => Math.floor((Number(place) * unit) / 8)
  const bytes = byteRange(byteOf(start), byteOf(end))
  const answerOn = (seen: SeenPart | null) => {
    const places = seen && inclusiveRange(start, end, (seen.length * 8) / unit)
    if (!places) return answer(null, seen)
    const at = placesIn(bytes, seen.length)![0]
    const [first, last] = [places[0] * unit, places[1] * unit + unit - 1]
    return answer({ bytes: seen.part, at, first, last }, seen)
  }
  if (range !== WHOLE) return lookAtPart(key, bytes, answerOn)
  return look(key, (held) => answerOn(held && { ...held, length: held.value.length, part: held.value }))
}

/** Redis replies for a missing key before it checks the other arguments. */
function refusedIfThere(key: Buffer, missing: number, text: string): Step {
  return lookAtStringHead(key, (seen) => (seen ? new RespError(text) : missing))
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

function bitAt(value: Buffer, offset: number): 0 | 1 {
  const byte = value[Math.floor(offset / 8)] ?? 0
  return (byte & (0x80 >> (offset % 8))) === 0 ? 0 : 1
}

/** Counts whole bytes separately, because they are by far the most. */
function countBits(bits: Bits | null): number {
  if (!bits) return 0
  const { bytes, at, first, last } = bits
  const from = Math.floor(first / 8)
  const to = Math.floor(last / 8)
  let count = BITS_OF_BYTE[bytes[from - at]! & within(from, first, last)]!
  if (from === to) return count
  for (let i = from + 1 - at; i < to - at; i++) count += BITS_OF_BYTE[bytes[i]!]!
  return count + BITS_OF_BYTE[bytes[to - at]! & within(to, first, last)]!
}

function findBit({ bytes, at, first, last }: Bits, bit: 0 | 1): number {
  const skipped = bit === 1 ? 0 : 0xff
  for (let byte = Math.floor(first / 8); byte <= Math.floor(last / 8); byte++) {
    const held = bytes[byte - at]!
    if (held === skipped) continue
    const wanted = (bit === 1 ? held : ~held) & within(byte, first, last)
    if (wanted !== 0) return byte * 8 + Math.clz32(wanted) - 24
  }
  return -1
}

/** The bits of a byte between first and last. */
function within(byte: number, first: number, last: number): number {
  const from = Math.max(first - byte * 8, 0)
  const to = Math.min(last - byte * 8, 7)
  return (0xff >> from) & (0xff << (7 - to)) & 0xff
}
