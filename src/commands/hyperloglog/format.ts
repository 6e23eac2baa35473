/**
 * A HyperLogLog as Redis stores it, byte for byte: a string that starts with HYLL and holds 16,384 registers of 6 bits.
 *
 *   0   4  HYLL
 *   4   1  encoding: 0 dense, 1 sparse
 *   5   3  unused
 *   8   8  the count when it was last computed, little-endian; the highest bit set = no longer valid
 *   16     dense:  12,288 bytes; register 0 is in the lowest six bits, register 1 in the next, …
 *          sparse: runs of equal registers
 *
 *            00xxxxxx            1 to 64 registers that are 0            ZERO
 *            01xxxxxx xxxxxxxx   1 to 16,384 registers that are 0        XZERO
 *            1vvvvvxx            1 to 4 registers of the value 1 to 32   VAL
 *
 * A sparse one becomes dense when a register exceeds 32, or when it would take more than 3,000 bytes
 * (hll-sparse-max-bytes). Changes of the sparse form split and join runs exactly as Redis does, so that the same elements
 * in the same order give the same bytes. A value may come from anywhere: whatever is not such a string is refused, and runs
 * that do not add up to 16,384 registers are corrupt.
 */

export const REGISTERS = 16384

const HEAD_BYTES = 16
const ENCODING_AT = 4
const COUNT_AT = 8
const LAST_COUNT_BYTE_AT = 15
const INVALID = 0x80
const MAGIC = Buffer.from('HYLL')
const DENSE = 0
const SPARSE = 1
const DENSE_BYTES = HEAD_BYTES + (REGISTERS * 6) / 8
const MAX_SPARSE_BYTES = 3000

const MAX_ZERO_RUN = 64
const MAX_VALUE_RUN = 4
const MAX_SPARSE_VALUE = 32
/** Runs that are looked at for runs to join, from the one before a change on. */
const RUNS_TO_JOIN = 5

export function isHyperloglog(value: Buffer): boolean {
  if (value.length < HEAD_BYTES || !value.subarray(0, MAGIC.length).equals(MAGIC)) return false
  const encoding = value[ENCODING_AT]!
  return encoding === SPARSE || (encoding === DENSE && value.length === DENSE_BYTES)
}

export function isDense(value: Buffer): boolean {
  return value[ENCODING_AT] === DENSE
}

/** The count that is stored with it; null = it has changed since. */
export function storedCount(value: Buffer): bigint | null {
  return (value[LAST_COUNT_BYTE_AT]! & INVALID) === 0 ? value.readBigUInt64LE(COUNT_AT) : null
}

/** Raises registers to those of the value. @returns false = the value is corrupt */
export function mergeRegisters(registers: Uint8Array, value: Buffer): boolean {
  if (isDense(value)) {
    for (let i = 0; i < REGISTERS; i++) registers[i] = Math.max(registers[i]!, denseAt(value, i))
    return true
  }
  let register = 0
  for (let at = HEAD_BYTES; at < value.length; at += runBytes(value[at]!)) {
    const end = register + runLength(value, at)
    if (end > REGISTERS) return false
    const held = runValue(value[at]!)
    if (held > 0) for (let i = register; i < end; i++) registers[i] = Math.max(registers[i]!, held)
    register = end
  }
  return register === REGISTERS
}

function denseAt(bytes: Uint8Array, register: number): number {
  const bit = register * 6
  const at = HEAD_BYTES + (bit >>> 3)
  return ((bytes[at]! | ((bytes[at + 1] ?? 0) << 8)) >>> (bit & 7)) & 63
}

/** Keeps the bits around it. */
function putDense(bytes: Uint8Array, register: number, held: number): void {
  const bit = register * 6
  const at = HEAD_BYTES + (bit >>> 3)
  const shift = bit & 7
  bytes[at] = (bytes[at]! & ~(63 << shift)) | (held << shift)
  if (shift > 2) bytes[at + 1] = (bytes[at + 1]! & ~(63 >>> (8 - shift))) | (held >>> (8 - shift))
}

// ---- runs

function isValueRun(first: number): boolean {
  return (first & 0x80) !== 0
}

function isLongZeroRun(first: number): boolean {
  return (first & 0xc0) === 0x40
}

function runBytes(first: number): 1 | 2 {
  return isLongZeroRun(first) ? 2 : 1
}

function runLength(bytes: Uint8Array, at: number): number {
  const first = bytes[at]!
  if (isValueRun(first)) return (first & 3) + 1
  return (isLongZeroRun(first) ? ((first & 0x3f) << 8) | (bytes[at + 1] ?? 0) : first & 0x3f) + 1
}

/** Of its registers; 0 for runs of zeros. */
function runValue(first: number): number {
  return isValueRun(first) ? ((first >>> 2) & 0x1f) + 1 : 0
}

function valueRun(held: number, length: number): number {
  return 0x80 | ((held - 1) << 2) | (length - 1)
}

function zeroRun(length: number): number[] {
  const rest = length - 1
  return length > MAX_ZERO_RUN ? [0x40 | (rest >>> 8), rest & 0xff] : [rest]
}

/** A run of the same value as before; none for no registers. */
function part(held: number, length: number): number[] {
  if (length === 0) return []
  return held === 0 ? zeroRun(length) : [valueRun(held, length)]
}

// ---- changes

/** The run that holds a register, and its neighbours. */
interface Run {
  readonly at: number
  readonly before: number
  readonly firstRegister: number
  readonly length: number
}

/** A value while it is changed, with room for what is added. */
export class Hyperloglog {
  private bytes: Buffer
  private length: number

  /** @param value passes isHyperloglog; it is copied. null = a new one, sparse, all registers 0 */
  constructor(value: Buffer | null) {
    const start = value ?? Buffer.concat([MAGIC, Buffer.alloc(HEAD_BYTES - MAGIC.length), XZERO_ALL])
    this.bytes = Buffer.alloc(Math.max(start.length, MAX_SPARSE_BYTES))
    this.length = start.length
    start.copy(this.bytes)
    if (!value) this.bytes[ENCODING_AT] = SPARSE
  }

  /** The bytes to store. */
  get value(): Buffer {
    return this.bytes.subarray(0, this.length)
  }

  /** The count that is stored with it is no longer valid. */
  forgetCount(): void {
    this.bytes[LAST_COUNT_BYTE_AT]! |= INVALID
  }

  /** Raises a register. @returns whether it was lower; null = the value is corrupt */
  raise(register: number, to: number): boolean | null {
    if (isDense(this.bytes)) return this.raiseDense(register, to)
    if (to > MAX_SPARSE_VALUE) return this.raiseAsDense(register, to)
    const run = this.runOf(register)
    if (!run) return null
    const held = runValue(this.bytes[run.at]!)
    if (held >= to) return false
    const offset = register - run.firstRegister
    const runs = [...part(held, offset), valueRun(to, 1), ...part(held, run.length - offset - 1)]
    const grows = runs.length - runBytes(this.bytes[run.at]!)
    if (grows > 0 && this.length + grows > MAX_SPARSE_BYTES) return this.raiseAsDense(register, to)
    this.replaceRun(run.at, runs, grows)
    this.joinRuns(run.before)
    this.forgetCount()
    return true
  }

  /** @returns false = the value is corrupt */
  makeDense(): boolean {
    if (isDense(this.bytes)) return true
    const registers = new Uint8Array(REGISTERS)
    if (!mergeRegisters(registers, this.value)) return false
    const dense = Buffer.alloc(DENSE_BYTES)
    this.bytes.copy(dense, 0, 0, HEAD_BYTES)
    dense[ENCODING_AT] = DENSE
    registers.forEach((held, register) => {
      if (held > 0) putDense(dense, register, held)
    })
    this.bytes = dense
    this.length = DENSE_BYTES
    return true
  }

  private raiseAsDense(register: number, to: number): boolean | null {
    return this.makeDense() ? this.raiseDense(register, to) : null
  }

  private raiseDense(register: number, to: number): boolean {
    if (denseAt(this.bytes, register) >= to) return false
    putDense(this.bytes, register, to)
    return true
  }

  private runOf(register: number): Run | null {
    const { bytes, length: end } = this
    let firstRegister = 0
    let before = HEAD_BYTES
    for (let at = HEAD_BYTES; at < end; at += runBytes(bytes[at]!)) {
      const length = runLength(bytes, at)
      if (register < firstRegister + length) return { at, before, firstRegister, length }
      firstRegister += length
      before = at
    }
    return null
  }

  private replaceRun(at: number, runs: readonly number[], grows: number): void {
    const next = at + runs.length - grows
    this.bytes.copyWithin(next + grows, next, this.length)
    this.bytes.set(runs, at)
    this.length += grows
  }

  /** Joins neighbouring runs of the same value, as far as a run may be long. */
  private joinRuns(from: number): void {
    const { bytes } = this
    let at = from
    for (let left = RUNS_TO_JOIN; left > 0 && at < this.length; left--) {
      const first = bytes[at]!
      const next = at + 1 < this.length ? bytes[at + 1]! : 0
      const length = runLength(bytes, at) + (isValueRun(next) ? runLength(bytes, at + 1) : Infinity)
      if (isValueRun(first) && runValue(first) === runValue(next) && length <= MAX_VALUE_RUN) {
        bytes[at + 1] = valueRun(runValue(first), length)
        bytes.copyWithin(at, at + 1, this.length)
        this.length--
      } else at += runBytes(first)
    }
  }
}

const XZERO_ALL = Buffer.from(zeroRun(REGISTERS))
