/**
 * A node's decision about a change of several keys: the logic of nodes/redis/store-all.lua, for nodes without Lua. Each
 * key is decided as in store.ts; if one of them is refused, all are.
 */
import { compareVersions, type Version } from './clock.ts'
import { StoredRecord, type NewRecord } from './codec.ts'
import { decideAccept, decideStore, isHeld, staleOf, type StoreDecision } from './store.ts'

/** One of the keys: the condition, the change, and the stored bytes. */
export interface KeyToDecide {
  /** Null = only checked. */
  readonly record: NewRecord | null
  readonly lifeMs: number
  readonly onlyIf: Version
  /** What has no later version is nothing (core/floors.ts). */
  readonly floor: Version
  /** The key's bytes, null = none. */
  readonly held: Buffer | null
  /** Their remaining life: Infinity without an end, 0 if there are none. */
  readonly heldLifeMs: number
}

type Refusal = StoreDecision & { readonly kind: 'stale' }

export type StoreAllDecision =
  /** By key; null = only checked. */
  | { readonly kind: 'apply'; readonly decisions: readonly (Exclude<StoreDecision, Refusal> | null)[] }
  /** By key; null = its condition is met. */
  | { readonly kind: 'stale'; readonly held: readonly (Buffer | null)[] }

export function decideStoreAll(
  keys: readonly KeyToDecide[],
  mode: 'if-held' | 'if-promised',
  graceMs: number,
): StoreAllDecision {
  const apply: (Exclude<StoreDecision, Refusal> | null)[] = []
  const held: (Buffer | null)[] = []
  for (const key of keys) {
    const decision = decide(key, mode, graceMs)
    const refused = decision?.kind === 'stale'
    apply.push(refused ? null : decision)
    held.push(refused ? decision.held : null)
  }
  return held.some((other) => other !== null) ? { kind: 'stale', held } : { kind: 'apply', decisions: apply }
}

function decide(key: KeyToDecide, mode: 'if-held' | 'if-promised', graceMs: number): StoreDecision | null {
  const { record, lifeMs, onlyIf, floor, held, heldLifeMs } = key
  if (record && mode === 'if-held') {
    return decideStore(held, heldLifeMs, record, lifeMs, graceMs, onlyIf, floor)
  }
  if (record) return decideAccept(held, heldLifeMs, record, lifeMs, graceMs)
  const here = held && new StoredRecord(held)
  if (mode === 'if-held') {
    return isHeld(here, onlyIf, floor) ? null : staleOf(here)
  }
  if (!here?.promise) return staleOf(here)
  return compareVersions(here.promise, onlyIf) === 0
    ? null
    : { kind: 'stale', held: Buffer.from(here.promise) }
}
