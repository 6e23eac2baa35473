/**
 * Reads bytes that anybody may have made: whatever is not there, or not possible, is a BadData. Nothing is allocated before
 * it is known that it is there.
 */
import { inOneGo, type Sliced } from '../../core/work.ts'
import { decompress, MOST_EXPANDED } from './lzf.ts'

/** It is not a value that Redis has written, or not of a kind that is read here. */
export class BadData extends Error {}

/** It is more than can be stored; the message is a sentence. */
export class TooMuchData extends Error {}

const INTEGERS = [1, 2, 4] as const
const COMPRESSED = 3
/** A length of 64 bits follows. */
const LONG_LENGTH = 0x81

export class Input {
  private at = 0
  private readonly bytes: Buffer
  private readonly budget: { left: number }

  /** @param budget how many bytes may be decompressed, all together */
  constructor(bytes: Buffer, budget: { left: number }) {
    this.bytes = bytes
    this.budget = budget
  }

  get isAtEnd(): boolean {
    return this.at === this.bytes.length
  }

  take(count: number): Buffer {
    if (count > this.bytes.length - this.at) throw new BadData()
    this.at += count
    return this.bytes.subarray(this.at - count, this.at)
  }

  byte(): number {
    return this.take(1)[0]!
  }

  /** Looks at the next byte. */
  peek(): number {
    if (this.isAtEnd) throw new BadData()
    return this.bytes[this.at]!
  }

  /** A signed integer, little-endian. */
  integer(byteCount: number): bigint | number {
    const bytes = this.take(byteCount)
    return byteCount === 8 ? bytes.readBigInt64LE() : bytes.readIntLE(0, byteCount)
  }

  // ---- as in RDB files

  /** A length, or the number of elements. */
  length(): number {
    const found = this.lengthOrForm()
    if (found.form !== null) throw new BadData()
    return found.length
  }

  /** The same, all 64 bits of it. */
  length64(): bigint {
    const form = this.peek()
    if (form !== LONG_LENGTH) return BigInt(this.length())
    this.byte()
    return this.take(8).readBigUInt64BE()
  }

  /** A text; integers are written as such, and long ones compressed. */
  text(): Buffer {
    return this.plainText() ?? inOneGo(this.compressedText())
  }

  /** The same, for one that may be as long as the longest value. */
  *longText(): Sliced<Buffer> {
    return this.plainText() ?? (yield* this.compressedText())
  }

  /** @returns null if it is compressed: compressedText() reads the rest */
  plainText(): Buffer | null {
    const { length, form } = this.lengthOrForm()
    if (form === null) return this.take(length)
    if (form === COMPRESSED) return null
    const bytes = INTEGERS[form]
    if (bytes === undefined) throw new BadData()
    return Buffer.from(String(this.integer(bytes)))
  }

  *compressedText(): Sliced<Buffer> {
    const compressedBytes = this.length()
    const bytes = this.length()
    const compressed = this.take(compressedBytes)
    // What could not be so long is not made room for.
    if (bytes > compressedBytes * MOST_EXPANDED) throw new BadData()
    if (bytes > this.budget.left)
      throw new TooMuchData(`The payload holds ${bytes} bytes in compressed form: too many.`)
    this.budget.left -= bytes
    const text = yield* decompress(compressed, bytes)
    if (!text) throw new BadData()
    return text
  }

  private lengthOrForm(): { length: number; form: null } | { length: 0; form: number } {
    const first = this.byte()
    const rest = first & 0x3f
    if (first < 0x40) return { length: rest, form: null }
    if (first < 0x80) return { length: (rest << 8) | this.byte(), form: null }
    if (first === 0x80) return { length: this.take(4).readUInt32BE(), form: null }
    if (first === LONG_LENGTH) return { length: Number(this.take(8).readBigUInt64BE()), form: null }
    if (first < 0xc0) throw new BadData()
    return { length: 0, form: rest }
  }
}
