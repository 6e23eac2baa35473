/**
 * Transactions: change several keys together (MULTI, MSETNX, RENAME and the like). The keys must share a replica set,
 * so that one script on one node can store all of them or none (nodes/redis/store-all.lua). As with an update
 * (update.ts), the result is replicated, never the command.
 *
 * At `one`: the first healthy home replica decides (transact-one.ts). At `quorum` and `all`: two rounds
 * (transact-quorum.ts).
 */
import type { StoredRecord } from '../../core/codec.ts'
import { RondoError } from '../../core/errors.ts'
import { askedBy, placedNow, type CoordinatorContext, type Failing, type Replicas } from '../context.ts'
import type { Change } from '../update/read-modify-write.ts'
import type { Modify, UpdateDone } from '../update/update.ts'

/** What modify() returns for the keys of a transaction. */
export type AllModified =
  /** By key; undefined = unchanged. All records that were read were there together when these were stored. */
  | {
      readonly kind: 'write'
      readonly records: readonly (Change | undefined)[]
      /** At `one` alone: what must be held wherever these are decided. */
      readonly parts?: readonly NewPart[]
    }
  /** No change; what was read was there together. */
  | { readonly kind: 'keep' }
  /** No change, and what was read need not have been there together. */
  | { readonly kind: 'refuse'; readonly error: RondoError }

/**
 * Pure; called once for each attempt.
 *
 * @param current by key: the stored record, possibly a tombstone or expired; null = nothing
 */
export type ModifyAll = (current: readonly (StoredRecord | null)[]) => AllModified

/**
 * The same for a slow modify(): it may return its result later, exactly once, after yielding to other work. By then the
 * transaction may have ended.
 */
export type ModifyAllSlowly = (
  current: readonly (StoredRecord | null)[],
  then: (modified: AllModified) => void,
) => void

export interface TransactDone extends Failing {
  /** An update of its key has just been put off (Modified) for this one, which comes before all others that wait. */
  readonly isPutOff?: boolean
  /** @param before the previous records, by key @param after the current ones */
  transacted(before: readonly (StoredRecord | null)[], after: readonly (StoredRecord | null)[]): void
}

/** A part of a large collection (core/part-keys.ts), which nothing names yet: a record of its own, on the same replicas. */
export interface NewPart {
  readonly key: Buffer
  readonly value: Buffer
}

export interface PlacedKey {
  readonly key: Buffer
  readonly replicas: Replicas
}

/** The keys as they are placed now. */
export function placedKeysNow(context: CoordinatorContext, keys: readonly PlacedKey[]): readonly PlacedKey[] {
  if (context.cluster.placement.epoch === keys[0]!.replicas.epoch) return keys
  return keys.map(({ key, replicas }) => ({ key, replicas: placedNow(context, key, replicas) }))
}

/** Whether all keys have the same home replicas in the same order and parts. Their fallback replicas may differ. */
export function shareReplicaSet(keys: readonly PlacedKey[]): boolean {
  const [first, ...others] = keys
  return others.every(({ replicas }) => replicas.isLike(first!.replicas))
}

/** A transaction on one key is an update, and can run together with others. */
export function modifyOne(modify: ModifyAll): Modify {
  return (current) => {
    const modified = modify([current])
    if (modified.kind !== 'write') return modified
    if (modified.parts) throw new Error('parts are stored by a transaction')
    const [record] = modified.records
    return record ? { kind: 'write', record } : { kind: 'keep' }
  }
}

export function transactedOne(done: TransactDone): UpdateDone {
  return {
    ...askedBy(done),
    updated: (before, after) => done.transacted([before], [after]),
    failed: (error) => done.failed(error),
  }
}

/** The changes by key; all undefined if there are none. */
export function changesOf(
  modified: AllModified,
  keys: readonly PlacedKey[],
): readonly (Change | undefined)[] {
  return modified.kind === 'write' ? modified.records : keys.map(() => undefined)
}
