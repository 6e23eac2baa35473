/** How far a group has come, as Redis reckons it: the number of entries that it has read, and its lag. */
import { UNKNOWN_READ, type Group } from './groups.ts'
import { isZero, type StreamId } from './ids.ts'
import type { Stream } from './stream.ts'

/** How many entries have not been delivered yet; null = it cannot be told. @throws DamagedCollection */
export function lagOf(stream: Stream, { lastId, read }: Group): bigint | null {
  if (stream.added === 0n) return 0n
  if (read !== UNKNOWN_READ && !hasDeletedFrom(stream, lastId)) return BigInt.asIntN(64, stream.added - read)
  const estimate = readUpTo(stream, lastId)
  return estimate === UNKNOWN_READ ? null : BigInt.asIntN(64, stream.added - estimate)
}

/** What a group has read that is delivered an entry. @throws DamagedCollection */
export function readAfter(stream: Stream, id: StreamId, read: bigint): bigint {
  if (read !== UNKNOWN_READ && !hasDeletedFrom(stream, id)) return read + 1n
  return stream.added === 0n ? read : readUpTo(stream, id)
}

/** Whether XDEL has deleted something from here on, behind the first entry. */
function hasDeletedFrom(stream: Stream, id: StreamId): boolean {
  const { length, maxDeletedId } = stream
  if (length === 0 || isZero(maxDeletedId) || id.compare(maxDeletedId) > 0) return false
  return stream.firstId.compare(maxDeletedId) <= 0
}

/** How many entries were added up to this one. */
export function readUpTo(stream: Stream, id: StreamId): bigint {
  const { added, length, lastId, maxDeletedId } = stream
  if (added === 0n) return 0n
  if (length === 0 && id.compare(lastId) <= 0) return added
  const last = id.compare(lastId)
  if (last === 0) return added
  if (last > 0) return UNKNOWN_READ
  // Of a stream in parts, it may have to be read.
  const { firstId } = stream
  if (isZero(maxDeletedId) || maxDeletedId.compare(firstId) < 0) {
    const first = id.compare(firstId)
    if (first < 0) return added - BigInt(length)
    if (first === 0) return added - BigInt(length) + 1n
  }
  return UNKNOWN_READ
}
