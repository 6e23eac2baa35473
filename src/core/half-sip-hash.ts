/**
 * HalfSipHash-2-4 (Aumasson and Bernstein, 2012): 32 bits of a hash with a key. Whoever does not know the key cannot choose
 * bytes that collide, as everybody can for Murmur.
 */
export class HalfSipHash {
  private readonly k0: number
  private readonly k1: number

  /** @param key eight bytes */
  constructor(key: Buffer) {
    this.k0 = key.readInt32LE(0)
    this.k1 = key.readInt32LE(4)
  }

  /** From 0 up to 2^32 - 1. In one function, and without objects: a change of members asks it for every key. */
  of(bytes: Buffer): number {
    let v0 = this.k0
    let v1 = this.k1
    let v2 = 0x6c796765 ^ v0
    let v3 = 0x74656462 ^ v1
    const { length } = bytes
    const whole = length & ~3
    for (let at = 0; ; at += 4) {
      const isEnd = at > whole
      let word = at === whole ? length << 24 : 0
      if (at < whole) {
        word = bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)
      } else for (let i = whole; i < length; i++) word |= bytes[i]! << (8 * (i - whole))
      if (isEnd) v2 ^= 0xff
      else v3 ^= word
      for (let round = isEnd ? 4 : 2; round > 0; round--) {
        v0 = (v0 + v1) | 0
        v1 = ((v1 << 5) | (v1 >>> 27)) ^ v0
        v0 = (v0 << 16) | (v0 >>> 16)
        v2 = (v2 + v3) | 0
        v3 = ((v3 << 8) | (v3 >>> 24)) ^ v2
        v0 = (v0 + v3) | 0
        v3 = ((v3 << 7) | (v3 >>> 25)) ^ v0
        v2 = (v2 + v1) | 0
        v1 = ((v1 << 13) | (v1 >>> 19)) ^ v2
        v2 = (v2 << 16) | (v2 >>> 16)
      }
      if (isEnd) return (v1 ^ v3) >>> 0
      v0 ^= word
    }
  }
}
