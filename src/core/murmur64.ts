/**
 * MurmurHash64A, as Redis computes it for HyperLogLog (Austin Appleby's MurmurHash2, 64 bits, little-endian). In halves of 32
 * bits, because a bigint would cost twenty times as much.
 */

/** Both halves as signed 32-bit integers, which need no allocation. */
export interface Hash64 {
  readonly high: number
  readonly low: number
}

const M_HIGH = 0xc6a4a793
const M_LOW = 0x5bd1e995
const M_LOW_UPPER = M_LOW >>> 16
const M_LOW_LOWER = M_LOW & 0xffff

export function murmur64(bytes: Uint8Array, seed: number): Hash64 {
  const { length } = bytes
  const hash = new Halves(0, length)
  hash.multiply()
  hash.low ^= seed
  const k = new Halves(0, 0)
  const whole = length & ~7
  for (let at = 0; at < whole; at += 8) {
    k.low = wordAt(bytes, at)
    k.high = wordAt(bytes, at + 4)
    k.multiply()
    k.mix()
    k.multiply()
    hash.xor(k)
    hash.multiply()
  }
  const left = length - whole
  if (left > 0) {
    // Beyond the end there are zeros.
    k.low = wordAt(bytes, whole)
    k.high = left > 4 ? wordAt(bytes, whole + 4) : 0
    hash.xor(k)
    hash.multiply()
  }
  hash.mix()
  hash.multiply()
  hash.mix()
  return hash
}

function wordAt(bytes: Uint8Array, at: number): number {
  return bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)
}

class Halves implements Hash64 {
  high: number
  low: number

  constructor(high: number, low: number) {
    this.high = high
    this.low = low
  }

  /** By the constant M, modulo 2^64. */
  multiply(): void {
    const { high, low } = this
    const upper = low >>> 16
    const lower = low & 0xffff
    // The upper half of low × M_LOW, from four products of 16 bits each.
    const middle = upper * M_LOW_LOWER + ((lower * M_LOW_LOWER) >>> 16)
    const other = lower * M_LOW_UPPER + (middle & 0xffff)
    const carried = upper * M_LOW_UPPER + (middle >>> 16) + (other >>> 16)
    this.high = (carried + Math.imul(high, M_LOW) + Math.imul(low, M_HIGH)) | 0
    this.low = Math.imul(low, M_LOW)
  }

  /** x ^= x >> 47 */
  mix(): void {
    this.low ^= this.high >>> 15
  }

  xor(other: Hash64): void {
    this.high ^= other.high
    this.low ^= other.low
  }
}
