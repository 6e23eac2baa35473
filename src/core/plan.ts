/**
 * Who is asked, and in which order: a pure function from the preference list and what is known of its nodes.
 *
 *   preference list   A   B   C  |  D   E        N = 3: A, B, C are the home replicas, whatever their health
 *   B is down         A  (B)  C     D            a write goes to A, C and the fallback replica D; a read asks A, then C
 *   A may be behind   B   C   A                  A still takes every write, and is asked last
 *
 * A node that may lack writes (it was away, or is being filled) never answers a read alone while another node that may
 * hold the record can be asked: then all that can be reached are compared, and the newest record wins.
 */

/** What planning knows of a node. Kept up to date on every change of health, so that a request only reads it. */
export interface Candidate {
  /** READ_FIRST … READ_NEVER, below. */
  readonly readRank: number
  /** Takes values now. */
  readonly takesValues: boolean
  /** Takes deletes now: a full node still does. */
  readonly takesDeletes: boolean
}

export const READ_FIRST = 0
/** Suspect: it missed something, but may well be there. */
export const READ_LATER = 1
/** Reachable, but may lack writes: its answer has to be compared. */
export const READ_COMPARED = 2
export const READ_NEVER = 3

export interface ReadPlan<T> {
  /** Asked one after the other: each one's answer is good by itself. */
  readonly inTurn: readonly T[]
  /** If none of those answers: all asked at once, newest wins. Home replicas, then fallback replicas. */
  readonly compared: readonly T[]
  /** How many of `compared`, from its start, are home replicas: only these can say "not found". */
  readonly comparedHomes: number
}

export function planRead<T extends Candidate>(preference: readonly T[], replicas: number): ReadPlan<T> {
  const homes = preference.slice(0, replicas)
  const first = homes.filter((node) => node.readRank === READ_FIRST)
  const later = homes.filter((node) => node.readRank === READ_LATER)
  const compared = homes.filter((node) => node.readRank === READ_COMPARED)
  const fallbacks = preference.slice(replicas).filter((node) => node.readRank !== READ_NEVER)
  return {
    inTurn: [...first, ...later],
    compared: [...compared, ...fallbacks],
    comparedHomes: compared.length,
  }
}

export interface WritePlan<T> {
  /** All get the record in the same turn. In this order they are waited for: the first that holds it answers. */
  readonly targets: readonly T[]
  /** How many of `targets`, from its start, are home replicas. */
  readonly homes: number
  /** Home replicas that miss this write. */
  readonly missing: readonly T[]
  /** Further fallback replicas, in order, for when a target fails. */
  readonly spare: readonly T[]
}

/** Who takes the copies of home replicas that are away: further nodes that take writes, in order. */
export function fallbacksFor<T extends Candidate>(
  preference: readonly T[],
  replicas: number,
  isDelete: boolean,
): T[] {
  return preference.slice(replicas).filter((node) => takes(node, isDelete))
}

/** Who takes this write, of the home replicas. */
export function takes(node: Candidate, isDelete: boolean): boolean {
  return isDelete ? node.takesDeletes : node.takesValues
}

export function planWrite<T extends Candidate>(
  preference: readonly T[],
  replicas: number,
  isDelete: boolean,
): WritePlan<T> {
  const homes = preference.slice(0, replicas)
  // In the order of reads: whoever acknowledges is then asked first, so that a client reads its own writes.
  const taking = homes.filter((node) => takes(node, isDelete)).sort((a, b) => a.readRank - b.readRank)
  const missing = homes.filter((node) => !takes(node, isDelete))
  const fallbacks = fallbacksFor(preference, replicas, isDelete)
  return {
    targets: [...taking, ...fallbacks.slice(0, missing.length)],
    homes: taking.length,
    missing,
    spare: fallbacks.slice(missing.length),
  }
}
