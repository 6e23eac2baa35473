/**
 * Decides which nodes to ask, and in which order: a pure function of the replica set and the state of its nodes.
 *
 *   preference list   A   B   C  |  D   E        N = 3: A, B, C are the home replicas, whatever their health
 *   B is down         A  (B)  C     D            a write goes to A, C and the fallback replica D; a read asks A, then C
 *   A may be behind   B   C   A                  A still takes every write, and is asked last
 *
 * A node that may lack writes (it was unreachable, or is being filled) never answers a read alone while another node
 * that may hold the record can be asked: then all reachable ones are compared, and the newest record wins.
 */

import type { ReplicaSet } from './replica-set.ts'

/** Whom a plan chooses from. */
export type Candidates<T> = Pick<ReplicaSet<T>, 'homes' | 'voters' | 'fallbacks'>

/** The state of a node, as far as plans need it. Updated on every change, so that requests only read it. */
export interface Candidate {
  /** READ_FIRST … READ_NEVER, below. */
  readonly readRank: number
  /** Accepts values now. */
  readonly takesValues: boolean
  /** Accepts deletes now: a full node still does. */
  readonly takesDeletes: boolean
}

export const READ_FIRST = 0
/** Suspect: some calls failed, but it may be available. */
export const READ_LATER = 1
/** Reachable, but may lack writes: its answer must be compared with others. */
export const READ_COMPARED = 2
export const READ_NEVER = 3

export interface ReadPlan<T> {
  /** Asked one after the other: each one's answer suffices by itself. */
  readonly inTurn: readonly T[]
  /** If none of those answers: all asked at once, newest wins. Voting home replicas, then all others. */
  readonly compared: readonly T[]
  /** The first so many of `compared` are voting home replicas: only these can answer "not found". */
  readonly comparedHomes: number
}

export function planRead<T extends Candidate>({ homes, voters, fallbacks }: Candidates<T>): ReadPlan<T> {
  // The others are still being filled, or miss what is acknowledged later.
  const voting = homes.slice(0, voters)
  const first = voting.filter((node) => node.readRank === READ_FIRST)
  const later = voting.filter((node) => node.readRank === READ_LATER)
  const compared = voting.filter((node) => node.readRank === READ_COMPARED)
  const others = [...homes.slice(voters), ...fallbacks].filter((node) => node.readRank !== READ_NEVER)
  return { inTurn: [...first, ...later], compared: [...compared, ...others], comparedHomes: compared.length }
}

export interface WritePlan<T> {
  /** All get the record in the same turn. In this order of waiting, the first that holds it answers. */
  readonly targets: readonly T[]
  /** The first so many of `targets` are home replicas. */
  readonly homes: number
  /** Home replicas that miss this write. */
  readonly missing: readonly T[]
  /** Further fallback replicas, in order, for when a target fails. */
  readonly spare: readonly T[]
}

/** The nodes that take the copies of unavailable home replicas: further nodes that accept writes, in order. */
export function fallbacksFor<T extends Candidate>({ fallbacks }: Candidates<T>, isDelete: boolean): T[] {
  return fallbacks.filter((node) => takes(node, isDelete))
}

/** Who takes this write, of the home replicas. */
export function takes(node: Candidate, isDelete: boolean): boolean {
  return isDelete ? node.takesDeletes : node.takesValues
}

export function planWrite<T extends Candidate>(set: Candidates<T>, isDelete: boolean): WritePlan<T> {
  const { homes, voters } = set
  // In read order: the replica that acks is then asked first, so that a client reads its own writes.
  const inReadOrder = (some: readonly T[]) =>
    some.filter((node) => takes(node, isDelete)).sort((a, b) => a.readRank - b.readRank)
  const taking = [...inReadOrder(homes.slice(0, voters)), ...inReadOrder(homes.slice(voters))]
  const missing = homes.filter((node) => !takes(node, isDelete))
  const fallbacks = fallbacksFor(set, isDelete)
  return {
    targets: [...taking, ...fallbacks.slice(0, missing.length)],
    homes: taking.length,
    missing,
    spare: fallbacks.slice(missing.length),
  }
}
