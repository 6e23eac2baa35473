/**
 * Which keys a command has looked up for its client, and whether they held something: the hits and misses of the metrics, and
 * of INFO, counted as Redis counts them. A step that only reads looks up all of its keys; one that writes says which
 * (`lookedUp` of step.ts), because most look at what they replace without telling it.
 */
import type { Caller, Lookups } from '../model.ts'
import type { Step } from '../step.ts'

export type { Lookups } from '../model.ts'

export const NO_LOOKUPS: Lookups = { hits: 0, misses: 0 }
/** Of one key. */
export const HIT: Lookups = { hits: 1, misses: 0 }
export const MISS: Lookups = { hits: 0, misses: 1 }

/** @param held in the order of the step's keys; null = nothing */
export function lookupsOf({ lookedUp, writes, keys }: Step, held: readonly (object | null)[]): Lookups {
  if (lookedUp === undefined && writes) return NO_LOOKUPS
  const count = lookedUp?.length ?? keys.length
  let hits = 0
  for (let i = 0; i < count; i++) if (held[lookedUp?.[i] ?? i]) hits++
  return { hits, misses: count - hits }
}

/** @param command lower case */
export function countLookups(caller: Caller, command: string, found: Lookups): void {
  if (found.hits + found.misses > 0) caller.lookedUp(command, found)
}
