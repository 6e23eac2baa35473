/**
 * Strings behind their lengths, as the values of collections and streams hold them: one byte up to 253; FE and two bytes; or
 * FF and four, big-endian.
 */
const TWO_BYTES = 0xfe
const FOUR_BYTES = 0xff

/** What is stored is not a collection of this shape. */
export class DamagedCollection extends Error {}

/** With its length. */
export function stringBytes({ length }: { readonly length: number }): number {
  return length + (length < TWO_BYTES ? 1 : length <= 0xffff ? 3 : 5)
}

/** @returns where it ends */
export function writeString(target: Buffer, at: number, text: Buffer): number {
  const from = writeLength(target, at, text.length)
  text.copy(target, from)
  return from + text.length
}

/** @returns where the string begins */
export function writeLength(target: Buffer, at: number, length: number): number {
  if (length < TWO_BYTES) {
    target[at] = length
    return at + 1
  }
  if (length <= 0xffff) {
    target[at] = TWO_BYTES
    return target.writeUInt16BE(length, at + 1)
  }
  target[at] = FOUR_BYTES
  return target.writeUInt32BE(length, at + 1)
}

export function stringAt(bytes: Buffer, at: number): Buffer {
  const from = bodyOf(bytes, at)
  return bytes.subarray(from, from + lengthAt(bytes, at))
}

/** Where its first byte stands. */
export function bodyOf(bytes: Buffer, at: number): number {
  const first = bytes[at]!
  return first < TWO_BYTES ? at + 1 : first === TWO_BYTES ? at + 3 : at + 5
}

export function lengthAt(bytes: Buffer, at: number): number {
  const first = bytes[at]!
  if (first < TWO_BYTES) return first
  return first === TWO_BYTES ? bytes.readUInt16BE(at + 1) : bytes.readUInt32BE(at + 1)
}

/** Of a string that is all there. */
export function endOf(bytes: Buffer, at: number): number {
  const first = bytes[at]!
  return first < TWO_BYTES ? at + 1 + first : bodyOf(bytes, at) + lengthAt(bytes, at)
}

/** @param limit where the last string ends at the latest @throws DamagedCollection if it is not all there */
export function endOfString(bytes: Buffer, at: number, limit = bytes.length): number {
  const length = bytes[at]!
  // Nearly all of them are short. Behind the bytes there is no number, and no comparison holds.
  if (length < TWO_BYTES && at + 1 + length <= limit) return at + 1 + length
  // At most five bytes tell of the length.
  if (at >= limit || bodyOf(bytes, at) > limit) throw new DamagedCollection()
  const end = endOf(bytes, at)
  if (end > limit) throw new DamagedCollection()
  return end
}
