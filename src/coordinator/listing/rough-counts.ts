/**
 * What DBSIZE and INFO tell between two counts of many keys: the latest count, and what the nodes have gained or lost since,
 * as the pings tell. A count alone would be as old as the last question.
 */
import type { KeyCounts } from './walks.ts'

export interface Counted {
  readonly counts: KeyCounts
  /** How many keys the nodes held then, of any kind, each counted once. */
  readonly stored: number
  /** What was flushed since is not in `counts`, but may still be in `stored`: the nodes give memory back little by little. */
  readonly isFlushed: boolean
}

/** After a flush: what the nodes gave back does not count as lost. */
export function givenBack(counted: Counted, stored: number): Counted {
  return counted.isFlushed && stored < counted.stored ? { ...counted, stored } : counted
}

/** @param database null = all */
export function flushed({ counts, stored }: Counted, database: number | null): Counted {
  const left = [...counts].filter(([other]) => database !== null && other !== database)
  return { counts: new Map(left), stored, isFlushed: true }
}

/** @param stored how many keys the nodes hold now */
export function estimated({ counts, stored: then }: Counted, stored: number): KeyCounts {
  const gained = stored - then
  let sum = 0
  for (const count of counts.values()) sum += count
  if (sum === 0) return new Map(gained > 0 ? [[0, gained]] : [])
  const factor = Math.max(0, sum + gained) / sum
  return new Map([...counts].map(([database, count]) => [database, Math.round(count * factor)] as const))
}
