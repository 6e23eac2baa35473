/**
 * What servers and commands may ask of the coordinator, and nothing else of it.
 *
 * Hot calls (read, write) take a completion object and allocate one operation; promises are made by whoever wants them
 * (promises.ts).
 */
import type { NodeReport } from '../nodes/node.ts'
import type { PeekedRecord, RecordHead } from '../core/codec.ts'
import type { ConsistencyLevel } from '../core/consistency.ts'
import type { RondoError } from '../core/errors.ts'
import type { Completeness } from '../core/events.ts'
import type { Part } from '../core/part.ts'
import type { Explanation } from './explain.ts'
import type { KeyPage } from './listing/listing.ts'
import type { ReadDone } from './read/read.ts'
import type { ModifyAll, ModifyAllSlowly, TransactDone } from './transact/transact.ts'
import type { Modify, UpdateDone } from './update/update.ts'
import type { WriteDone } from './write/write.ts'

export type { Asker } from './asker.ts'
export type { Explanation, ReplicaView } from './explain.ts'
export type { KeyPage } from './listing/listing.ts'
export type { ReadDone } from './read/read.ts'
export type { AllModified, ModifyAll, ModifyAllSlowly, TransactDone } from './transact/transact.ts'
export type { Modified, Modify, UpdateDone } from './update/update.ts'
export type { WriteDone } from './write/write.ts'

/** A node as this coordinator sees it. */
export interface NodeState {
  readonly id: string
  readonly node: { readonly address: string; readonly ready: boolean }
  readonly health: { readonly state: string }
  readonly completeness: Completeness
  readonly behind: boolean
  readonly unwritable: string | null
  readonly lastError: string | null
  readonly report: NodeReport | null
  readonly weight: number
  readonly zone: string | undefined
}

export interface KeyStore {
  /** How many home replicas a key has. */
  readonly replicas: number
  /** So much is under way that whoever can wait should. */
  readonly crowded: boolean
  readonly nodes: readonly NodeState[]
  /** At least one node can be used. */
  readonly ready: boolean
  /** At least one node takes some kind of writes. */
  readonly takesWrites: boolean

  /** How far a node's clock is from cluster time, and how well that is known; null = not known. */
  clockOf(node: NodeState): { readonly offMs: number; readonly errorMs: number } | null

  /** Cluster time, milliseconds since 1970. */
  nowMs(): number
  /** Null, or why this key cannot be used. */
  checkKey(key: Buffer): RondoError | null
  /** Null, or why a value of so many bytes cannot be stored. */
  checkValue(bytes: number): RondoError | null

  /** Reads the key's record. The key has passed checkKey, as in all of the following. */
  read(key: Buffer, done: ReadDone, level?: ConsistencyLevel): void
  /** Reads the key's record without its value, but for the part of it that is asked for. */
  peek(key: Buffer, part: Part, done: ReadDone<PeekedRecord>, level?: ConsistencyLevel): void
  /** @param expiresAtMs cluster time, 0 = never */
  write(key: Buffer, value: Buffer, expiresAtMs: number, done: WriteDone, level?: ConsistencyLevel): void
  remove(key: Buffer, done: WriteDone, level?: ConsistencyLevel): void
  /** Reads, modifies and writes one key atomically. */
  update(key: Buffer, modify: Modify, done: UpdateDone, level?: ConsistencyLevel): void
  /** The same for several keys; they must share a replica set. Each is named once. */
  transact(keys: readonly Buffer[], modify: ModifyAll, done: TransactDone, level?: ConsistencyLevel): void
  /** The same, where to modify takes long. */
  transactSlowly(
    keys: readonly Buffer[],
    modify: ModifyAllSlowly,
    done: TransactDone,
    level?: ConsistencyLevel,
  ): void
  sharesReplicaSet(keys: readonly Buffer[]): boolean

  /** Whether a user sees a value in this record now. */
  isLive<R extends RecordHead>(record: R | null): record is R
  /** When a live record expires, cluster time; 0 = never. */
  expiresAtMs(key: Buffer, record: RecordHead): Promise<number>
  /** A page of all keys. The cursor of the one before, '0' begins. */
  list(request: { match: Buffer | null; cursor: string; count: number }): Promise<KeyPage>
  /** How many keys there are: a walk over all of them. */
  countKeys(): Promise<number>
  /** One of the keys, not each as often as the others; null = there is none. */
  randomKey(): Promise<Buffer | null>
  /** Where the key lives, and what each replica holds. */
  explain(key: Buffer): Promise<Explanation>
}
