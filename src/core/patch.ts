/**
 * Where a value differs from the one that it replaces, if both have the same length. A node that holds the former one can be
 * sent this instead of the whole: large values cost it mostly their bytes. What is stored is the same.
 */
import type { Version } from './clock.ts'

export interface Edit {
  /** In the value. */
  readonly at: number
  readonly bytes: Buffer
}

export interface Patch {
  /** The version of the record whose value it changes. */
  readonly base: Version
  readonly edits: readonly Edit[]
}

/** Each costs a node about as much as a hundred bytes. */
const MOST_EDITS = 8
/** Bytes are compared one by one as far as they differ: those of a large value that is another one would take long. */
const MOST_EDIT_BYTES = 64 * 1024
/** Equal bytes between two edits that are fewer than this belong to them. */
const GAP_BYTES = 64
const BLOCK_BYTES = 256

/** Null: their lengths differ, or too much of them does. */
export function editsBetween(before: Buffer, after: Buffer): Edit[] | null {
  const { length } = after
  if (before.length !== length) return null
  const edits: Edit[] = []
  const most = Math.min(length >>> 1, MOST_EDIT_BYTES)
  let bytes = 0
  for (let at = firstDifference(before, after, 0); at < length;) {
    const end = endOfEdit(before, after, at, at + most - bytes)
    bytes += end - at
    if (edits.length === MOST_EDITS || bytes > most) return null
    edits.push({ at, bytes: after.subarray(at, end) })
    at = firstDifference(before, after, end)
  }
  return edits
}

function firstDifference(before: Buffer, after: Buffer, from: number): number {
  const { length } = after
  let at = from
  for (;;) {
    const end = Math.min(at + BLOCK_BYTES, length)
    if (at === length) return length
    if (after.compare(before, at, end, at, end) !== 0) break
    at = end
  }
  while (before[at] === after[at]) at++
  return at
}

/** @param limit it need not look further, once the edit ends behind this */
function endOfEdit(before: Buffer, after: Buffer, from: number, limit: number): number {
  let end = from + 1
  for (let at = end; at < after.length && at - end < GAP_BYTES && end <= limit; at++)
    if (before[at] !== after[at]) end = at + 1
  return end
}
