/** A length or a number as RDB files have it. @param length up to 64 bits, without sign */
export function lengthBytes(length: number | bigint): Buffer {
  if (length < 0x40) return Buffer.from([Number(length)])
  if (length < 0x4000) return Buffer.from([0x40 | (Number(length) >> 8), Number(length) & 0xff])
  if (length <= 0xffffffff) {
    const bytes = Buffer.from([0x80, 0, 0, 0, 0])
    bytes.writeUInt32BE(Number(length), 1)
    return bytes
  }
  const bytes = Buffer.alloc(9)
  bytes[0] = 0x81
  bytes.writeBigUInt64BE(BigInt(length), 1)
  return bytes
}
