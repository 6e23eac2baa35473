/**
 * HalfSipHash-2-4 (Aumasson and Bernstein, 2012): 32 bits of a hash with a key. The place of a field in a large hash depends
 * on it, and the key is the collection's generation, which no client knows: nobody can choose fields that all go to one part.
 * Part of the format (root.ts): final.
 */
export class FieldHash {
  private readonly k0: number
  private readonly k1: number

  /** @param key eight bytes */
  constructor(key: Buffer) {
    this.k0 = key.readInt32LE(0)
    this.k1 = key.readInt32LE(4)
  }

  /** From 0 up to 2^32 - 1. */
  of(bytes: Buffer): number {
    const { k0, k1 } = this
    const state = { v0: k0, v1: k1, v2: 0x6c796765 ^ k0, v3: 0x74656462 ^ k1 }
    const { length } = bytes
    const whole = length & ~3
    for (let at = 0; at < whole; at += 4) {
      compress(state, bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24))
    }
    let last = length << 24
    for (let at = whole; at < length; at++) last |= bytes[at]! << (8 * (at - whole))
    compress(state, last)
    state.v2 ^= 0xff
    for (let round = 0; round < 4; round++) mix(state)
    return (state.v1 ^ state.v3) >>> 0
  }
}

interface State {
  v0: number
  v1: number
  v2: number
  v3: number
}

function compress(state: State, word: number): void {
  state.v3 ^= word
  mix(state)
  mix(state)
  state.v0 ^= word
}

function mix(state: State): void {
  let { v0, v1, v2, v3 } = state
  v0 = (v0 + v1) | 0
  v1 = rotated(v1, 5) ^ v0
  v0 = rotated(v0, 16)
  v2 = (v2 + v3) | 0
  v3 = rotated(v3, 8) ^ v2
  v0 = (v0 + v3) | 0
  v3 = rotated(v3, 7) ^ v0
  v2 = (v2 + v1) | 0
  v1 = rotated(v1, 13) ^ v2
  v2 = rotated(v2, 16)
  state.v0 = v0
  state.v1 = v1
  state.v2 = v2
  state.v3 = v3
}

function rotated(word: number, by: number): number {
  return (word << by) | (word >>> (32 - by))
}
