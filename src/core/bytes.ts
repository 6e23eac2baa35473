/** Looking through bytes. */

const NEAR_BYTES = 8

/**
 * Where a byte is, from `from` on, or -1. For what is mostly near, as the end of a length: to look at a few bytes here is
 * quicker than to call out for it.
 */
export function indexOfNear(bytes: Buffer, byte: number, from: number): number {
  const near = Math.min(from + NEAR_BYTES, bytes.length)
  for (let i = from; i < near; i++) if (bytes[i] === byte) return i
  return bytes.indexOf(byte, near)
}
