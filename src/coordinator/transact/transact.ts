/**
 * Changing several keys together: what MULTI, MSETNX, RENAME and the like are made of. The keys must share a replica set:
 * then one script on one node can store all of them or none (nodes/redis/store-all.lua). As with an update (update.ts), what is
 * replicated is the result, never the command.
 *
 * At `one`: the first healthy home replica decides (transact-one.ts). At `quorum` and `all`: two rounds
 * (transact-quorum.ts).
 */
import type { Member } from '../../cluster/member.ts'
import type { StoredRecord } from '../../core/codec.ts'
import { RondoError } from '../../core/errors.ts'
import type { CoordinatorContext, Failing } from '../context.ts'
import type { Change } from '../update/read-modify-write.ts'
import type { Modify, UpdateDone } from '../update/update.ts'

/** What a transaction makes of its keys. */
export type AllModified =
  /** By key; undefined = left as it is. What was read of all keys was there together when these were stored. */
  | { readonly kind: 'write'; readonly records: readonly (Change | undefined)[] }
  /** Nothing is to be changed; what was read was there together. */
  | { readonly kind: 'keep' }
  /** Nothing is to be changed, and what was read need not have been there together. */
  | { readonly kind: 'refuse'; readonly error: RondoError }

/**
 * Pure; may be called several times, once for each attempt.
 *
 * @param current by key: what is stored now, a tombstone or an expired record too; null = nothing
 */
export type ModifyAll = (current: readonly (StoredRecord | null)[]) => AllModified

/**
 * The same for what takes long: it may tell the outcome later, when others have had their turn, and then exactly once. By
 * then the transaction may have ended.
 */
export type ModifyAllSlowly = (
  current: readonly (StoredRecord | null)[],
  then: (modified: AllModified) => void,
) => void

export interface TransactDone extends Failing {
  /** @param before what was there, by key @param after what is there now */
  transacted(before: readonly (StoredRecord | null)[], after: readonly (StoredRecord | null)[]): void
}

/** A key and the nodes for it, home replicas first, then fallback replicas. */
export interface PlacedKey {
  readonly key: Buffer
  readonly preference: readonly Member[]
}

/** Whether all have the same home replicas in the same order. Their fallback replicas may differ. */
export function shareReplicaSet({ replicas }: CoordinatorContext, keys: readonly PlacedKey[]): boolean {
  const [first, ...others] = keys
  return others.every(({ preference }) => {
    for (let i = 0; i < replicas; i++) if (preference[i] !== first!.preference[i]) return false
    return true
  })
}

export function crossReplicaSet(): RondoError {
  const sentence =
    'The keys do not share a replica set, so they cannot be changed together. Keys with the same {hash tag} always do.'
  return new RondoError('CROSS_REPLICA_SET', sentence, { outcome: 'not-applied' })
}

/** A transaction on one key is an update: it may go together with others. */
export function modifyOne(modify: ModifyAll): Modify {
  return (current) => {
    const modified = modify([current])
    if (modified.kind !== 'write') return modified
    const [record] = modified.records
    return record ? { kind: 'write', record } : { kind: 'keep' }
  }
}

export function transactedOne(done: TransactDone): UpdateDone {
  return {
    ...(done.asker && { asker: done.asker }),
    updated: (before, after) => done.transacted([before], [after]),
    failed: (error) => done.failed(error),
  }
}

/** By key what is to be written; all undefined where nothing is. */
export function changesOf(
  modified: AllModified,
  keys: readonly PlacedKey[],
): readonly (Change | undefined)[] {
  return modified.kind === 'write' ? modified.records : keys.map(() => undefined)
}
