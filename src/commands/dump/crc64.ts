/** The checksum at the end of a DUMP: CRC-64 as Redis computes it (reflected, polynomial ad93d23594c935a9). */
const POLYNOMIAL = 0x95ac9329ac4bc9b5n
export const CRC64_BYTES = 8

/** By byte, the upper and the lower half: numbers of 64 bits would be slow. */
const UPPER = new Uint32Array(256)
const LOWER = new Uint32Array(256)
for (let byte = 0; byte < 256; byte++) {
  let crc = BigInt(byte)
  for (let bit = 0; bit < 8; bit++) crc = (crc & 1n) === 1n ? (crc >> 1n) ^ POLYNOMIAL : crc >> 1n
  UPPER[byte] = Number(crc >> 32n)
  LOWER[byte] = Number(crc & 0xffffffffn)
}

export class Crc64 {
  private upper = 0
  private lower = 0

  add(bytes: Buffer): this {
    let { upper, lower } = this
    for (const byte of bytes) {
      const place = (lower ^ byte) & 0xff
      lower = ((lower >>> 8) | (upper << 24)) ^ LOWER[place]!
      upper = (upper >>> 8) ^ UPPER[place]!
    }
    this.upper = upper
    this.lower = lower
    return this
  }

  /** Little-endian. */
  bytes(): Buffer {
    const bytes = Buffer.allocUnsafe(CRC64_BYTES)
    bytes.writeUInt32LE(this.lower >>> 0, 0)
    bytes.writeUInt32LE(this.upper >>> 0, 4)
    return bytes
  }
}
