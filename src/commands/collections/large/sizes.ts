/**
 * How large collections are cut. Tests make these smaller, so that collections of a few entries have many parts.
 *
 * A change rewrites the root and a part or two, and each part costs the root about 22 bytes. Small parts make a long root:
 * of 2.5 MB of entries, 400 parts of 8 KiB have a root of as many bytes. So larger collections have larger parts.
 */
export const sizes = {
  /** Above so many bytes a collection is cut into parts. Below a quarter of it, it is put together again. */
  largeFrom: 16 * 1024,
  /** A part with more bytes of entries is split. */
  partBytes: 8 * 1024,
}

/** Above partBytes × this, parts are larger. */
const PARTS_OF_FULL_SIZE = 800
/** Below this share of the most bytes, a part is joined with a neighbour. */
const SMALL_SHARE = 1 / 4
/** Two are joined only if the next few entries do not split them again. */
const JOINED_SHARE = 3 / 4

/** Of a root: it is read by every command, and rewritten by every change. */
export const MAX_ROOT_BYTES = 128 * 1024

/** The most bytes of entries in a part of a collection of so many. */
export function mostPartBytes(collectionBytes: number): number {
  return Math.max(sizes.partBytes, Math.ceil(collectionBytes / PARTS_OF_FULL_SIZE))
}

export function isSmall(bytes: number, most: number): boolean {
  return bytes < most * SMALL_SHARE
}

/** What is cut into equal pieces has some room in each. */
export function roomyBytes(most: number): number {
  return most * JOINED_SHARE
}

/** Whether so many bytes of a large collection are stored flat again. */
export function becomesFlat(bytes: number): boolean {
  return bytes < sizes.largeFrom / 4
}
