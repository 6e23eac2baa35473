/** Searching in bytes. */

const NEAR_BYTES = 8

/**
 * Buffer.indexOf for a byte that is usually near, like the end of a length: checking a few bytes here is faster than the
 * native call.
 */
export function indexOfNear(bytes: Buffer, byte: number, from: number): number {
  const near = Math.min(from + NEAR_BYTES, bytes.length)
  for (let i = from; i < near; i++) if (bytes[i] === byte) return i
  return bytes.indexOf(byte, near)
}
