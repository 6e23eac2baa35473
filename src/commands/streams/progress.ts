/** How far a group has come, as Redis reckons it: the number of entries that it has read, and its lag. */
import { UNKNOWN_READ, type Group } from './groups.ts'
import { isZero, type StreamId } from './ids.ts'
import type { Stream } from './stored.ts'

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
function hasDeletedFrom({ length, maxDeletedId, firstId }: Stream, id: StreamId): boolean {
  if (length === 0 || isZero(maxDeletedId) || firstId.compare(maxDeletedId) > 0) return false
  return id.compare(maxDeletedId) <= 0
}

/** How many entries were added up to this one. */
export function readUpTo(stream: Stream, id: StreamId): bigint {
  const { added, length, lastId, firstId, maxDeletedId } = stream
  if (added === 0n) return 0n
  if (length === 0 && id.compare(lastId) <= 0) return added
  const last = id.compare(lastId)
  if (last === 0) return added
  if (last > 0) return UNKNOWN_READ
  if (isZero(maxDeletedId) || maxDeletedId.compare(firstId) < 0) {
    const first = id.compare(firstId)
    if (first < 0) return added - BigInt(length)
    if (first === 0) return added - BigInt(length) + 1n
  }
  return UNKNOWN_READ
}
