/** The parts of a stored record that can be read without the whole value. */

/** A byte range of a value, inclusive; negative indexes count from its end, -1 is the last byte. */
export interface ByteRange {
  readonly from: number
  readonly to: number
}

/** head: existence, version and expiry. length: also the length. A range: also these bytes. */
export type Part = 'head' | 'length' | ByteRange

/** What a read needs of a record. */
export type Need = 'value' | Part

/** Larger than any value; the scripts count exactly up to here. */
const FAR = 2 ** 40

/** Both may be any numbers. */
export function byteRange(from: number, to: number): ByteRange {
  const near = (place: number) => Math.min(Math.max(place, -FAR), FAR)
  return { from: near(from), to: near(to) }
}

/** Resolves a range for a value of this length, like Redis; null = empty. */
export function placesIn({ from, to }: ByteRange, length: number): readonly [number, number] | null {
  const first = Math.max(from < 0 ? length + from : from, 0)
  const last = Math.min(Math.max(to < 0 ? length + to : to, 0), length - 1)
  return first > last ? null : [first, last]
}

/** The maximum size of a part; Infinity if it depends on the value's length. */
export function partBytes(part: Part): number {
  if (typeof part === 'string') return 0
  const { from, to } = part
  return from < 0 === to < 0 ? Math.max(to - from + 1, 0) : Infinity
}

/** The bytes of a range. */
export function cut(value: Buffer, range: ByteRange): Buffer {
  const places = placesIn(range, value.length)
  return places ? value.subarray(places[0], places[1] + 1) : value.subarray(0, 0)
}
