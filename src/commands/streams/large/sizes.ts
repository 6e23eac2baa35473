/** How large streams are cut (collections/large/sizes.ts). */
import { mostPartBytes, sizes } from '../../collections/large/sizes.ts'
import type { IndexSizes } from './changed-index.ts'

/** Reading one entry reads its part, but adding one does not: so parts are larger than those of other collections. */
export function entrySizes(bytes: number): IndexSizes {
  return { part: Math.max(2 * sizes.partBytes, mostPartBytes(bytes)), latest: sizes.partBytes }
}

/** All groups together may have so many of these in the root. */
const LATEST_OF_GROUPS = 4

/** @param latestOfOthers what the other groups have in the root */
export function pendingSizes(bytes: number, latestOfOthers = 0): IndexSizes {
  const hasRoom = latestOfOthers <= (LATEST_OF_GROUPS - 1) * sizes.partBytes
  return { part: mostPartBytes(bytes), latest: hasRoom ? sizes.partBytes : 0 }
}
