/** Evaluates what several replicas hold of one key. */
import { compareVersions, VERSION_ZERO } from './clock.ts'
import type { RecordHead } from './codec.ts'
import { livesMayDiffer } from './lifetime.ts'

/** Null if no replica holds anything. */
export function newestOf<R extends RecordHead>(held: Iterable<R | null>): R | null {
  let newest: R | null = null
  for (const record of held) {
    if (record && (!newest || compareVersions(record.version, newest.version) > 0)) newest = record
  }
  return newest
}

/**
 * Whether so many hold the newest record that every majority includes one of them, and none has promised a newer one.
 *
 * @param evicts by voter: it may have evicted the record
 * @param sufficient N − Q + 1
 * @param nowMs cluster time: a deleted or expired record and none are the same
 */
export function agreesOn(
  held: readonly (RecordHead | null)[],
  evicts: readonly boolean[],
  sufficient: number,
  nowMs: number,
): boolean {
  const newest = newestOf(held)
  const version = newest?.version ?? VERSION_ZERO
  const isNothing = (record: RecordHead | null) => !record?.isLive(nowMs)
  const holders = held.filter((record, i) => {
    if (record === null && evicts[i]) return true
    return record && compareVersions(record.version, version) === 0
      ? true
      : isNothing(record) && isNothing(newest)
  })
  const isFree = held.every((record) => !record?.promise || compareVersions(record.promise, version) <= 0)
  return holders.length >= sufficient && isFree
}

/**
 * The voters that hold the newest record and certainly keep it as long as needed (lifetime.ts): all that hold it, if it
 * has no end or they replaced the same version. Otherwise its writer may have died before it had lengthened the shorter
 * ones, and only lasting copies are certain.
 *
 * @param isMajority whether these are enough to be certain that no record of another life was acknowledged
 */
export function sureHolders<T>(
  votes: ReadonlyMap<T, RecordHead | null>,
  newest: RecordHead | null,
  isMajority: (holders: readonly T[]) => boolean,
  graceMs: number,
): T[] {
  const version = newest?.version ?? VERSION_ZERO
  const holders = [...votes].filter(
    ([, record]) => compareVersions(record?.version ?? VERSION_ZERO, version) === 0,
  )
  if (newest && livesMayDiffer(newest, graceMs)) {
    const rest = holders.filter(([, record]) => !record!.isLasting)
    const isAlike = rest.every(([, record]) => record!.replaced.equals(rest[0]![1]!.replaced))
    if (!isAlike || !isMajority(rest.map(([voter]) => voter)))
      return holders.flatMap(([voter, record]) => (record!.isLasting ? [voter] : []))
  }
  return holders.map(([voter]) => voter)
}
