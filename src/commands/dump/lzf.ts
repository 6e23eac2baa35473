/** Decompresses what Redis has compressed (LZF). */
import type { Sliced } from '../../core/work.ts'

const LITERALS = 0x20
const LONG_LENGTH = 7
/** Added to the length of a copy. */
const LEAST_COPY = 2
/** Three bytes are at most a copy of 264. */
export const MOST_EXPANDED = 88

/** Between two yields; most of the time goes into copies byte by byte. */
const SLICE_BYTES = 32 * 1024
const UNITS_A_SLICE = 48

/**
 * @param length of the result, which the caller has found not too large
 * @returns null if it is not what LZF writes, or has another length
 */
export function* decompress(bytes: Buffer, length: number): Sliced<Buffer | null> {
  const result = Buffer.alloc(length)
  let [at, to, yieldAt] = [0, 0, SLICE_BYTES]
  while (at < bytes.length) {
    if (to >= yieldAt) {
      yieldAt += SLICE_BYTES
      yield UNITS_A_SLICE
    }
    const control = bytes[at++]!
    if (control < LITERALS) {
      const count = control + 1
      if (at + count > bytes.length || to + count > length) return null
      to += bytes.copy(result, to, at, at + count)
      at += count
      continue
    }
    let count = control >> 5
    if (count === LONG_LENGTH) {
      if (at >= bytes.length) return null
      count += bytes[at++]!
    }
    if (at >= bytes.length) return null
    count += LEAST_COPY
    let from = to - ((control & 0x1f) << 8) - bytes[at++]! - 1
    if (from < 0 || to + count > length) return null
    // It may overlap what is copied: byte by byte.
    for (; count > 0; count--) result[to++] = result[from++]!
  }
  return to === length ? result : null
}
