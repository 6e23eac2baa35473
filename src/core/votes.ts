/** What several replicas hold of one key, and what follows from it. */
import { compareVersions, VERSION_ZERO } from './clock.ts'
import type { RecordHead } from './codec.ts'
import { livesMayDiffer } from './lifetime.ts'

/** Null where nobody holds anything. */
export function newestOf<R extends RecordHead>(held: Iterable<R | null>): R | null {
  let newest: R | null = null
  for (const record of held) {
    if (record && (!newest || compareVersions(record.version, newest.version) > 0)) newest = record
  }
  return newest
}

/**
 * Which of the replicas that voted hold the newest record and surely keep it as long as it is needed (lifetime.ts): all
 * that hold it, where it has no end or they replaced the same. Otherwise whoever wrote it may have died before it had
 * lengthened the short ones, and only lasting copies are sure.
 *
 * @param majority how many are asked for
 */
export function sureHolders<T>(
  votes: ReadonlyMap<T, RecordHead | null>,
  newest: RecordHead | null,
  majority: number,
  graceMs: number,
): T[] {
  const version = newest?.version ?? VERSION_ZERO
  const holders = [...votes].filter(
    ([, record]) => compareVersions(record?.version ?? VERSION_ZERO, version) === 0,
  )
  if (newest && livesMayDiffer(newest, graceMs)) {
    const [first, ...others] = holders.flatMap(([, record]) => (record!.isLasting ? [] : [record!.replaced]))
    const alike = others.length + 1 >= majority && others.every((replaced) => replaced.equals(first!))
    if (!alike) return holders.flatMap(([voter, record]) => (record!.isLasting ? [voter] : []))
  }
  return holders.map(([voter]) => voter)
}
