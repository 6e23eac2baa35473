/**
 * BITFIELD and BITFIELD_RO: a value as an array of integers of any width up to 64 bits, at any bit.
 *
 *   BITFIELD key  GET u4 0  OVERFLOW SAT  INCRBY i8 #2 100
 *                 │    │                          └ the third one of this width: bit 16
 *                 │    └ unsigned, 4 bits: at most 63, because a reply holds a signed 64-bit integer
 *                 └ subcommands run in order; the replies come in one array
 *
 * One that only reads asks the nodes for the bytes that it needs. One that writes first makes the value long enough for
 * its farthest subcommand, as Redis does, even if that then fails. It stores the value if that made it longer, or if any
 * subcommand changed it, even if a later one changed it back: WATCH then finds a change, as in Redis. Only of a value that
 * failing subcommands have made longer does Redis tell neither WATCH nor its replicas; here that is a change as well.
 */
import { byteRange } from '../../core/part.ts'
import { cString, integerArgument, parseInteger, word } from '../arguments.ts'
import type { Reply } from '../reply.ts'
import {
  change,
  CommandError,
  defaultEnd,
  inPlaceOf,
  lookAtStringHead,
  lookAtPart,
  SYNTAX_ERROR,
  tooLong,
  type Step,
  type StepLimits,
} from '../step.ts'
import { BAD_OFFSET, BIT_OFFSETS } from './bits.ts'

type Overflow = 'WRAP' | 'SAT' | 'FAIL'

/** An integer within a value. */
interface Field {
  readonly signed: boolean
  readonly bits: number
  /** Bit of the value at which it begins. */
  readonly offset: number
}

interface Operation extends Field {
  readonly kind: 'GET' | 'SET' | 'INCRBY'
  readonly operand: bigint
  readonly overflow: Overflow
}

const BAD_TYPE =
  'ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.'
const EMPTY = Buffer.alloc(0)
const MAX_TYPE_BYTES = 64

export function bitfield(args: readonly Buffer[], nowMs: number, limits: StepLimits): Step {
  const operations = operationsOf(args)
  const writes = operations.filter(({ kind }) => kind !== 'GET')
  if (writes.length === 0) return reading(args[1]!, operations)
  const size = Math.max(...writes.map(lastByte)) + 1
  if (size > limits.maxValueBytes) throw new CommandError(`ERR ${tooLong(size, limits)}`)
  const newEndMs = defaultEnd(limits, nowMs)
  return change(
    args[1]!,
    (held) => {
      const before = held?.value ?? EMPTY
      const value = Buffer.alloc(Math.max(before.length, size))
      before.copy(value)
      const done = operations.map((operation) => carryOut(operation, value))
      const reply = done.map((one) => one.reply)
      const isChanged = value.length > before.length || done.some((one) => one.isChanged)
      return isChanged ? { reply, next: [inPlaceOf(held, value, newEndMs)] } : { reply }
    },
    size,
  )
}

export function bitfieldRo(args: readonly Buffer[]): Step {
  const operations = operationsOf(args)
  if (operations.some(({ kind }) => kind !== 'GET')) {
    throw new CommandError('ERR BITFIELD_RO only supports the GET subcommand')
  }
  return reading(args[1]!, operations)
}

function reading(key: Buffer, operations: readonly Operation[]): Step {
  if (operations.length === 0) return lookAtStringHead(key, () => [])
  const from = Math.min(...operations.map(({ offset }) => Math.floor(offset / 8)))
  const to = Math.max(...operations.map(lastByte))
  return lookAtPart(key, byteRange(from, to), (seen) => {
    const part = seen?.part ?? EMPTY
    return operations.map((field) => fieldIn(part, { ...field, offset: field.offset - from * 8 }))
  })
}

function lastByte({ offset, bits }: Field): number {
  return Math.floor((offset + bits - 1) / 8)
}

// ---- arguments

/** @throws CommandError */
function operationsOf(args: readonly Buffer[]): Operation[] {
  const operations: Operation[] = []
  let overflow: Overflow = 'WRAP'
  for (let at = 2; at < args.length;) {
    const kind = word(args[at]!)
    const left = args.length - at - 1
    if (kind === 'OVERFLOW' && left >= 1) {
      overflow = overflowOf(args[at + 1]!)
      at += 2
    } else if (kind === 'GET' && left >= 2) {
      operations.push({ kind, ...fieldOf(args[at + 1]!, args[at + 2]!), operand: 0n, overflow })
      at += 3
    } else if ((kind === 'SET' || kind === 'INCRBY') && left >= 3) {
      const field = fieldOf(args[at + 1]!, args[at + 2]!)
      operations.push({ kind, ...field, operand: BigInt(integerArgument(args[at + 3]!)), overflow })
      at += 4
    } else throw new CommandError(SYNTAX_ERROR)
  }
  return operations
}

function overflowOf(argument: Buffer): Overflow {
  const name = word(argument)
  if (name === 'WRAP' || name === 'SAT' || name === 'FAIL') return name
  throw new CommandError('ERR Invalid OVERFLOW type specified')
}

function fieldOf(type: Buffer, offset: Buffer): Field {
  const text = cString(type.subarray(0, MAX_TYPE_BYTES))
  const sign = text.subarray(0, 1).toString('latin1')
  const bits = parseInteger(text.subarray(1))
  const most = sign === 'i' ? 64 : sign === 'u' ? 63 : 0
  if (bits === null || bits < 1 || bits > most) throw new CommandError(BAD_TYPE)
  return { signed: sign === 'i', bits: Number(bits), offset: fieldOffset(offset, Number(bits)) }
}

/** In bits; `#3` = after three fields of this width. */
function fieldOffset(argument: Buffer, bits: number): number {
  const counted = argument[0] === 0x23
  const place = Number(integerArgument(counted ? argument.subarray(1) : argument, BAD_OFFSET))
  const offset = counted ? place * bits : place
  if (offset < 0 || offset >= BIT_OFFSETS) throw new CommandError(BAD_OFFSET)
  return offset
}

// ---- integers

/** Changes `value`, which is long enough, if the operation writes. */
function carryOut(operation: Operation, value: Buffer): { reply: Reply; isChanged: boolean } {
  const { kind, operand, overflow } = operation
  const before = fieldIn(value, operation)
  if (kind === 'GET') return { reply: before, isChanged: false }
  const [base, by] = kind === 'SET' ? [operand, 0n] : [before, operand]
  const direction = overflowing(operation, base, by)
  if (direction !== 0 && overflow === 'FAIL') return { reply: null, isChanged: false }
  const after = direction === 0 ? base + by : limited(operation, base + by, direction)
  putField(value, operation, after)
  return { reply: kind === 'SET' ? before : after, isChanged: after !== before }
}

/**
 * 1 = the sum is too large for the field, -1 = too small, 0 = it fits. The sums wrap around at 64 bits, as they do in
 * Redis: of a signed field that is SET to a number far too small, it finds that it is too large.
 */
function overflowing({ signed, bits }: Field, base: bigint, by: bigint): -1 | 0 | 1 {
  if (!signed) {
    const value = BigInt.asUintN(64, base)
    const max = (1n << BigInt(bits)) - 1n
    if (value > max || (by > 0n && by > max - value)) return 1
    return by < 0n && by < -value ? -1 : 0
  }
  const max = (1n << BigInt(bits - 1)) - 1n
  const min = -max - 1n
  const upTo = BigInt.asIntN(64, max - base)
  const downTo = BigInt.asIntN(64, min - base)
  if (base > max || (bits !== 64 && by > upTo) || (base >= 0n && by > 0n && by > upTo)) return 1
  return base < min || (bits !== 64 && by < downTo) || (base < 0n && by < 0n && by < downTo) ? -1 : 0
}

/** What is stored in place of a sum that does not fit. */
function limited({ signed, bits, overflow }: Operation, sum: bigint, direction: -1 | 1): bigint {
  if (overflow === 'WRAP') return signed ? BigInt.asIntN(bits, sum) : BigInt.asUintN(bits, sum)
  const max = (1n << BigInt(signed ? bits - 1 : bits)) - 1n
  if (direction > 0) return max
  return signed ? -max - 1n : 0n
}

/** Bits beyond the end of the bytes are zeros. */
function fieldIn(bytes: Buffer, field: Field): bigint {
  const { signed, bits, offset } = field
  const last = lastByte(field)
  let all = 0n
  for (let i = Math.floor(offset / 8); i <= last; i++) all = (all << 8n) | BigInt(bytes[i] ?? 0)
  const shifted = all >> BigInt(last * 8 + 8 - offset - bits)
  return signed ? BigInt.asIntN(bits, shifted) : BigInt.asUintN(bits, shifted)
}

function putField(bytes: Buffer, field: Field, integer: bigint): void {
  const { bits, offset } = field
  const last = lastByte(field)
  const behind = BigInt(last * 8 + 8 - offset - bits)
  let rest = BigInt.asUintN(bits, integer) << behind
  let mask = ((1n << BigInt(bits)) - 1n) << behind
  for (let i = last; mask > 0n; i--) {
    bytes[i] = (bytes[i]! & ~Number(mask & 0xffn)) | Number(rest & 0xffn)
    rest >>= 8n
    mask >>= 8n
  }
}
