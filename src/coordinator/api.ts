/**
 * The part of the coordinator that servers and commands may use.
 *
 * Hot calls (read, write) take a completion object and allocate one operation. promises.ts, which belongs to the port,
 * has the same calls as promises.
 */
import type { ChangeQueue } from '../cluster/queue.ts'
import type { NodeReport } from '../nodes/node.ts'
import type { Version } from '../core/clock.ts'
import type { PeekedRecord, RecordHead } from '../core/codec.ts'
import type { ConsistencyLevel } from '../core/consistency.ts'
import type { RondoError } from '../core/errors.ts'
import type { Completeness } from '../core/events.ts'
import type { Part } from '../core/part.ts'
import type { Channels } from './channels/api.ts'
import type { Collections } from './collections/api.ts'
import type { ClusterView } from './cluster-view.ts'
import type { Failing } from './context.ts'
import type { Explanation } from './explain.ts'
import type { KeyPage, ListRequest } from './listing/listing.ts'
import type { IsWanted, KeyCounts, RoughCounts } from './listing/walks.ts'
import type { NearReads } from './read/near-reads.ts'
import type { ReadDone } from './read/read.ts'
import type { Tracking } from './tracking/api.ts'
import type { ModifyAll, ModifyAllSlowly, TransactDone } from './transact/transact.ts'
import type { Modify, UpdateDone } from './update/update.ts'
import type { KeyUsage } from './usage/usage.ts'
import type { Waiters } from './waiting/api.ts'
import type { WriteDone } from './write/write.ts'

export type {
  ChannelKind,
  Channels,
  Errand,
  Message,
  Subscriber,
  SubscriptionCounts,
  SubscriptionKind,
} from './channels/api.ts'
export type { ClusterView, MemberView } from './cluster-view.ts'
export type { LeftPart, Collections } from './collections/api.ts'
export type { ServedBy } from './context.ts'
export type { ClientCall, Requester } from './requester.ts'
export type { Explanation, ReplicaView } from './explain.ts'
export type { KeyPage, ListRequest } from './listing/listing.ts'
export type { IsWanted, KeyCounts, RoughCounts } from './listing/walks.ts'
export type { ReadDone } from './read/read.ts'
export type { KeyTracker, Tracking, TrackingCounts } from './tracking/api.ts'
export type { AllModified, ModifyAll, ModifyAllSlowly, NewPart, TransactDone } from './transact/transact.ts'
export type { Modified, Modify, UpdateDone } from './update/update.ts'
export { VALUE_TYPES } from './usage/big-keys.ts'
export type { KeyUsage } from './usage/usage.ts'
export type { Attempt, Handed, Turn, Wait, Waiters, Waiting } from './waiting/api.ts'
export type { WriteDone } from './write/write.ts'
export type { Change } from './update/read-modify-write.ts'

/** A node as this coordinator sees it. */
export interface NodeState {
  readonly id: string
  readonly node: { readonly address: string; readonly ready: boolean }
  readonly health: { readonly state: string }
  readonly completeness: Completeness
  readonly behind: boolean
  readonly misplacedKeys: number | null
  readonly unwritable: string | null
  readonly lastError: string | null
  readonly report: NodeReport | null
  readonly weight: number
  readonly zone: string | undefined
}

export interface TaggingDone extends Failing {
  tagging(tags: Buffer): void
}

export interface KeyStore {
  /** How many home replicas a key has. */
  readonly replicas: number
  /** The load is so high that clients that can wait should. */
  readonly crowded: boolean
  /** Sorted by id. */
  readonly nodes: readonly NodeState[]
  /** Of the placement: grows with every change of the nodes. */
  readonly epoch: number
  /** At least one node can be used. */
  readonly ready: boolean
  /** At least one node accepts some kind of writes. */
  readonly takesWrites: boolean

  /** A node's clock skew against cluster time, and the error of that measurement; null = not measured. */
  clockOf(node: NodeState): { readonly offMs: number; readonly errorMs: number } | null

  /** Publish and subscribe. */
  readonly channels: Channels
  /** Clients that wait until a key holds something. */
  readonly waiters: Waiters
  /** Telling clients which keys change. */
  readonly tracking: Tracking
  /** Parts of large collections that are not needed any more. */
  readonly collections: Collections
  /** The hottest and the largest keys; null = not watched. */
  readonly usage: KeyUsage | null
  /** Reads at `one` of what is kept in this process, for servers that look there first; null or absent = nothing is kept. */
  readonly near?: Pick<NearReads, 'begin' | 'find'> | null

  /** Cluster time, milliseconds since 1970. */
  nowMs(): number
  /** Null, or the reason why clients cannot use a key of this name. */
  checkKey(key: Buffer): RondoError | null
  /** Null, or the reason why a value of so many bytes cannot be stored. */
  checkValue(bytes: number): RondoError | null

  /**
   * Reads the key's record. Here and in all calls below, the key is the stored name (core/keys.ts) of one that has passed
   * checkKey.
   */
  read(key: Buffer, done: ReadDone, level?: ConsistencyLevel): void
  /** Reads the head of the key's record, and only the requested part of its value. */
  peek(key: Buffer, part: Part, done: ReadDone<PeekedRecord>, level?: ConsistencyLevel): void
  /** @param expiresAtMs cluster time, 0 = never @param tags made by tagging() */
  write(
    key: Buffer,
    value: Buffer,
    expiresAtMs: number,
    done: WriteDone,
    level?: ConsistencyLevel,
    tags?: Buffer,
  ): void
  /** Null, or the reason why a value cannot have all these tags. */
  checkTags(names: readonly Buffer[]): RondoError | null
  /**
   * What a value has to be stored with, to be gone as soon as one of its tags is invalidated: that is, as soon as the key of a
   * tag is deleted. What was computed before an invalidation, and is stored with tags that were made before it, is gone.
   *
   * @param keys of the tags (core/tags.ts), MOST_TAGS at most
   * @param expiresAtMs of the value
   */
  tagging(keys: readonly Buffer[], expiresAtMs: number, done: TaggingDone, level?: ConsistencyLevel): void
  /** @param before delete only what is older than this version; `done` gets the version of what is held then */
  remove(key: Buffer, done: WriteDone, level?: ConsistencyLevel, before?: Version): void
  /** Later than all that were written before, here or at another coordinator; all that are made here from now on are later. */
  newVersion(): Version
  /**
   * Reads, modifies and writes one key atomically.
   *
   * @param leastBytes the least length of the new value, if it is known before
   */
  update(key: Buffer, modify: Modify, done: UpdateDone, level?: ConsistencyLevel, leastBytes?: number): void
  /** The same for several different keys, which must share a replica set. */
  transact(keys: readonly Buffer[], modify: ModifyAll, done: TransactDone, level?: ConsistencyLevel): void
  /** The same for a slow modify(). */
  transactSlowly(
    keys: readonly Buffer[],
    modify: ModifyAllSlowly,
    done: TransactDone,
    level?: ConsistencyLevel,
  ): void
  sharesReplicaSet(keys: readonly Buffer[]): boolean

  /** Whether this record holds a value that clients can see now. */
  isLive<R extends RecordHead>(record: R | null): record is R
  /**
   * When a live record expires, cluster time; 0 = never. Null = Rondo did not write the value, and it is gone meanwhile.
   *
   * @throws RondoError if it has to be asked for, and a node that may hold the value cannot tell
   */
  expiresAtMs(key: Buffer, record: RecordHead): Promise<number | null>
  /** A page of all keys. Pass the cursor of the previous page; '0' starts. */
  list(request: ListRequest): Promise<KeyPage>
  /**
   * The number of keys of each database; those without keys are omitted. Lists all keys.
   *
   * @param isWanted false: the caller does not wait any more, and the call may fail
   */
  countKeys(isWanted?: IsWanted): Promise<KeyCounts>
  /**
   * The same, for clients that poll: exact as long as the nodes hold at most so many keys. For more it is the count of the
   * latest run, and costs nothing.
   */
  roughCounts(exactUpTo: number, isWanted?: IsWanted): Promise<RoughCounts>
  /**
   * Deletes all keys of a database, or of all (null), by one change of the topology: what was written before it began is gone
   * when it ends, and what is written afterwards stays.
   *
   * @returns false if the members cannot agree on it now: delete the keys one by one
   * @throws RondoError OUTCOME_UNKNOWN
   */
  flush(database: number | null): Promise<boolean>
  /** Whether all keys were deleted at once (`flush`), this one too, after this version was made. */
  isFlushed(key: Buffer, version: Version): boolean
  /** All keys of a database, or of all (null), were deleted: the latest count is no longer true. */
  onFlushed(database: number | null): void
  /** A random key of a database, not uniformly distributed; null = there are no keys. */
  randomKey(database: number, isWanted?: IsWanted): Promise<Buffer | null>
  /** The cluster as its members have agreed on it. */
  clusterView(): ClusterView
  /** Where the key is placed, and what each replica holds. */
  explain(key: Buffer): Promise<Explanation>
}

/** Changes of the cluster's members. */
export type MemberChanges = Pick<
  ChangeQueue,
  'request' | 'replace' | 'move' | 'cancel' | 'withdraw' | 'recover'
>
export type { ChangeRequest, Joining } from '../cluster/changes.ts'
export type { Begun } from '../cluster/queue.ts'
