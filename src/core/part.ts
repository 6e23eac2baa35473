/** What is to be known of a stored value that is not fetched whole. */

/** Bytes of a value, first and last included; negative ones are counted from its end, -1 being the last. */
export interface ByteRange {
  readonly from: number
  readonly to: number
}

/** head: whether there is one, its version and expiry. length: beside that, how many bytes. A range: beside that, these. */
export type Part = 'head' | 'length' | ByteRange

/** What whoever reads a record looks at. */
export type Need = 'value' | Part

/** Further from either end than any value reaches; a node's script counts exactly up to here. */
const FAR = 2 ** 40

/** Both may be any numbers. */
export function byteRange(from: number, to: number): ByteRange {
  const near = (place: number) => Math.min(Math.max(place, -FAR), FAR)
  return { from: near(from), to: near(to) }
}

/** The first and last place that a range means in a value of this length, as Redis has it; null = none. */
export function placesIn({ from, to }: ByteRange, length: number): readonly [number, number] | null {
  const first = Math.max(from < 0 ? length + from : from, 0)
  const last = Math.min(Math.max(to < 0 ? length + to : to, 0), length - 1)
  return first > last ? null : [first, last]
}

/** The most that a part may have; Infinity where only the value's length tells. */
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
