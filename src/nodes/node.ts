/**
 * The storage contract. Two drivers keep it, the Redis one (redis.ts) and the in-process one (memory.ts), and one suite
 * (test/nodes/node.contract.ts) holds both to it.
 *
 * Two paths:
 *
 * - The data path takes completion objects and calls exactly one method of each exactly once, never before the call
 *   that started it has returned. Calls made in one turn of the event loop travel as one batch, and a batch ends by
 *   asking for the node's marker. If the marker is not the expected one, nothing in the batch counts: a read is no
 *   answer and a write is unknown. Nothing is ever sent twice.
 * - The control path (probe, marker, listing) returns promises; it is for seconds, not for requests.
 *
 * A node does not judge its own health or completeness: it reports (NodeListener), and the cluster room decides.
 */
import type { Version } from '../core/clock.ts'
import type { NewRecord, PeekedRecord } from '../core/codec.ts'
import type { Part } from '../core/part.ts'
import type { SyncedAt } from '../core/synced-at.ts'
import type { NodeLoad } from './load.ts'

/** What a node can say about a call that brought no answer. */
export interface NodeFailure {
  /** not-sent and refused: certainly without effect. unknown: may have been applied, or may still be. */
  readonly kind: 'not-sent' | 'refused' | 'unknown'
  readonly reason: FailureReason
  /** What the node or the socket said, for people. */
  readonly message: string
}

export type FailureReason =
  | 'not-connected'
  | 'too-much-in-flight'
  | 'closed'
  | 'timeout'
  | 'marker'
  | 'wrong-type'
  /** It came after the time until which it was to be done. */
  | 'too-late'
  | 'error'
  | UnwritableReason

/** Answers that come from a node that is reachable, but does not take writes. */
export type UnwritableReason =
  'out-of-memory' | 'read-only' | 'loading' | 'misconf' | 'busy' | 'no-permission'

/** The marker a batch was sent under. */
export interface Fence {
  /** The marker's exact bytes, as they must be in the node. */
  readonly marker: Buffer
  /** The run of the node's process that the marker names: a connection to another run is refused. */
  readonly runId: string
  /** Whether a node with this marker holds all that was acknowledged: only then do its votes and acks count. */
  readonly clean: boolean
}

export interface GetCall {
  /** @param bytes the stored record, null = nothing stored. The bytes are the receiver's to keep. */
  onRecord(node: Node, bytes: Buffer | null, fence: Fence): void
  onFailure(node: Node, failure: NodeFailure): void
}

export interface PeekCall {
  /** @param record what was asked for of it, null = nothing stored */
  onPeeked(node: Node, record: PeekedRecord | null, fence: Fence): void
  onFailure(node: Node, failure: NodeFailure): void
}

export interface StoreCall {
  /** @param keptMs how long the node keeps it: as long as was asked, or longer */
  onApplied(node: Node, fence: Fence, keptMs: number): void
  /**
   * @param held version (12 bytes) and replaced field (8 bytes) of the record that the node holds instead; the version
   *   alone where that is only promised
   */
  onStale(node: Node, held: Buffer, fence: Fence): void
  onFailure(node: Node, failure: NodeFailure): void
}

/** What must be true at the node for a store to be carried out. */
export interface StoreCondition {
  /** Stale unless the node holds exactly this version (VERSION_ZERO: nothing, or nothing of ours). */
  readonly onlyIf?: Version
  /** Refused as too late when the node's own clock is past this (milliseconds since 1970). */
  readonly untilMs?: number
}

export interface HintCall {
  onApplied(node: Node, fence: Fence): void
  onFailure(node: Node, failure: NodeFailure): void
}

export interface PrepareCall {
  /**
   * @param bytes the record as it was before the promise, or its first HEAD_WITH_PROMISE_BYTES where only the head was
   *   asked for; null = nothing stored
   */
  onPromised(node: Node, bytes: Buffer | null, fence: Fence): void
  /** @param newest the promise or the record, at least as new, that the node holds: its version, 12 bytes */
  onRefused(node: Node, newest: Buffer, fence: Fence): void
  onFailure(node: Node, failure: NodeFailure): void
}

/** One key of several that are changed together. */
export interface StoreAllWrite {
  readonly key: Buffer
  /** Null = the key is only checked. */
  readonly record: NewRecord | null
  /** What the record's own expiry asks the key to be kept. */
  readonly lifeMs: number
  /** The version that must be held (VERSION_ZERO: nothing, or nothing of ours), or promised: then it is the record's own. */
  readonly onlyIf: Version
}

export interface StoreAllCall {
  /** @param keptMs how long the node keeps each of the keys: as long as was asked, or longer; 0 = it was only checked */
  onApplied(node: Node, fence: Fence, keptMs: readonly number[]): void
  /**
   * Nothing was changed.
   *
   * @param held for each key null where its condition was met, otherwise as StoreCall.onStale has it
   */
  onStale(node: Node, held: readonly (Buffer | null)[], fence: Fence): void
  onFailure(node: Node, failure: NodeFailure): void
}

/** What a change of several keys asks of each of them: to hold a version, or to be promised to one. */
export type StoreAllMode = 'if-held' | 'if-promised'

/** What a probe finds. */
export interface NodeReport {
  /** Changes whenever the node's process restarts. */
  readonly runId: string
  /** The node's own clock, milliseconds since 1970, read at the middle of the round trip below. */
  readonly timeMs: number
  readonly sentAtMonotonicMs: number
  readonly receivedAtMonotonicMs: number
  /** Bytes of MARKER_KEY, null = none. */
  readonly marker: Buffer | null
  /** Bytes of TOPOLOGY_KEY, null = none. */
  readonly topology: Buffer | null
  /** Null = none. */
  readonly syncedAt: SyncedAt | null
  /** Every acknowledged write is on disk (`appendfsync always`): a restart loses nothing. */
  readonly durable: boolean
  readonly software: string
  readonly memoryUsedBytes: number
  /** 0 = no limit. */
  readonly memoryLimitBytes: number
  readonly evictionPolicy: string
  readonly evictedKeys: number
  /** How many hints the node keeps for each of the peers that were asked about; those without any are left out. */
  readonly hints: ReadonlyMap<string, number>
}

/** The most hints that a node keeps for one other node. Of what that one misses then, only anti-entropy tells. */
export const MAX_HINTS = 1_000_000

/** A note that a node missed a version of a key. */
export interface Hint {
  readonly key: Buffer
  readonly version: Buffer
}

export interface HintPage {
  /** '0' = this was the last page. */
  readonly cursor: string
  readonly hints: readonly Hint[]
}

export interface ScanPage {
  /** The node's own cursor; '0' = this was the last page. */
  readonly cursor: string
  readonly entries: readonly ScanEntry[]
}

export interface ScanEntry {
  readonly key: Buffer
  /** The first HEAD_WITH_PROMISE_BYTES of the stored record. */
  readonly head: Buffer
}

/** The answer to a round of the register (prepare or accept). */
export type RegisterAnswer =
  { readonly ok: true; readonly record: Buffer | null } | { readonly ok: false; readonly newest: Buffer }

export interface NodeListener {
  /** The data path broke, and what was in flight is unknown. */
  onBroken(node: Node, failure: NodeFailure): void
  /** A batch found another marker than expected. */
  onForeignMarker(node: Node): void
  /** The node answered a data call with an error that says something about its state. */
  onUnwritable(node: Node, reason: UnwritableReason): void
}

export interface Node {
  readonly id: string
  /** host:port, or a name where there is none. Never holds secrets. */
  readonly address: string
  listener: NodeListener | null

  /** True while the data path takes calls. */
  readonly ready: boolean
  /** What it is busy with; no call is refused for it here. */
  readonly load: NodeLoad
  /** @param expectedBytes what the reply is expected to take: counts in the load until it has come */
  get(key: Buffer, call: GetCall, expectedBytes?: number): void
  /** Tells of a record what is asked for, without fetching its value (nodes/redis/peeks.ts). */
  peek(key: Buffer, part: Part, call: PeekCall, expectedBytes?: number): void
  /**
   * Compare and store: kept only where nothing as new is held (nodes/redis/store.lua). The very record that is held already is
   * kept longer where more is asked.
   *
   * @param lifeMs what the record's own expiry asks the key to be kept: FAR_END_MS for a value without, as for no other
   */
  store(key: Buffer, record: NewRecord, lifeMs: number, call: StoreCall, condition?: StoreCondition): void
  /** First round of a two-round write: the node promises to refuse older writes (nodes/redis/prepare.lua). */
  prepare(key: Buffer, ballot: Buffer, call: PrepareCall, expectedBytes?: number): void
  /** Second round: stored where the promise to this version still stands (nodes/redis/accept.lua). */
  accept(key: Buffer, record: NewRecord, lifeMs: number, call: StoreCall): void
  /** Stores several keys, or where one of them does not meet its condition none of them (nodes/redis/store-all.lua). */
  storeAll(writes: readonly StoreAllWrite[], mode: StoreAllMode, call: StoreAllCall): void

  /**
   * Notes here that `target` missed this version of the key; refused where MAX_HINTS are kept for the target already.
   */
  hint(target: string, key: Buffer, version: Buffer, call: HintCall): void

  /**
   * Connects the control path where it is not; throws when the node does not answer as it should.
   *
   * @param peers ids of the nodes for which it may keep hints
   */
  probe(peers?: readonly string[]): Promise<NodeReport>
  /** The commands that Rondo needs and that the node does not allow it. Changes nothing there. */
  forbidden(): Promise<readonly string[]>
  /** Opens the data path under this marker, or changes what is expected on one that is open to the same run. */
  open(fence: Fence): Promise<void>
  /** Closes the data path; calls in flight end as unknown. */
  shut(reason: string): void
  /** One small real write, under the write rules of the node. Throws where it is refused. */
  tryWrite(): Promise<void>
  /** Writes the marker if the bytes there are still the expected ones (null = none). */
  swapMarker(expected: Buffer | null, next: Buffer): Promise<boolean>
  /** Moves synced_at forward. False, and nothing is done, under another marker. */
  stamp(marker: Buffer, syncedAt: SyncedAt): Promise<boolean>
  /**
   * Removes those of the keys that hold a record of Rondo's older than this (cluster time).
   *
   * @returns how many it removed; null, and nothing is done, under another marker
   */
  dropOlder(marker: Buffer, keys: readonly Buffer[], beforeMs: number): Promise<number | null>
  /** True while nobody else holds the lease of this name here. It saves work; nothing relies on it. */
  lease(name: string, owner: string, forMs: number): Promise<boolean>
  hints(target: string, cursor: string, count: number): Promise<HintPage>
  /** Only if the hint still is of this version. */
  dropHint(target: string, key: Buffer, version: Buffer): Promise<void>
  /** Removes a copy that no longer belongs here, only if it still is of this version, and under this marker. */
  dropCopy(marker: Buffer, key: Buffer, version: Buffer): Promise<void>
  /** First round on the topology register: promises to refuse ballots below this one. */
  prepareRegister(ballot: Buffer): Promise<RegisterAnswer>
  /** Second round: stores the record if its version still is the promise. */
  acceptRegister(record: NewRecord): Promise<RegisterAnswer>
  /** One page of the stored string keys. @param match Redis glob, null = all @param count how many to look at */
  scan(cursor: string, match: Buffer | null, count: number): Promise<ScanPage>
  /** Milliseconds the key has left to live in the node: -1 without end, -2 absent. */
  lifeMs(key: Buffer): Promise<number>
  close(): Promise<void>
}
