/**
 * The storage contract. Two drivers implement it, for Redis (redis/redis-node.ts) and in process
 * (memory/memory-node.ts), and programs that embed Rondo may bring their own; one suite
 * (library/node-contract/contract.ts) tests all.
 *
 * Two paths:
 *
 * - The data path takes completion objects and calls exactly one method of each exactly once, never before the call
 *   that started it has returned. Calls made in one turn of the event loop are sent as one batch, and a batch ends by
 *   reading the node's marker. If that is not the expected one, nor one of the same node that differs in its epoch alone,
 *   nothing in the batch counts: reads fail, and the outcome of writes is unknown. Nothing is ever sent twice.
 * - The control path (probe, marker, listing) returns promises; it is for calls that take seconds, not for requests.
 *
 * A node does not judge its own health or completeness: it reports (NodeListener), and the cluster layer decides.
 */
import type { Version } from '../core/clock.ts'
import type { NewRecord, PeekedRecord } from '../core/codec.ts'
import type { Floors } from '../core/floors.ts'
import type { Part } from '../core/part.ts'
import type { Epochs } from '../core/replica-set.ts'
import type { SyncedAt } from '../core/synced-at.ts'
import type { NodeLoad } from './load.ts'

/** Why a call failed. */
export interface NodeFailure {
  /** not-sent and refused: certainly without effect. unknown: may have been applied, or may still be. */
  readonly kind: 'not-sent' | 'refused' | 'unknown'
  readonly reason: FailureReason
  /** The error of the node or the socket, human-readable. */
  readonly message: string
}

export type FailureReason =
  | 'not-connected'
  | 'too-much-in-flight'
  | 'closed'
  | 'timeout'
  | 'marker'
  | 'wrong-type'
  /** The stored value is larger than MAX_VALUE_BYTES. */
  | 'too-long'
  /** It arrived after its time limit. */
  | 'too-late'
  /** The node has another epoch than the call asks for. */
  | 'other-epoch'
  | 'error'
  | UnwritableReason

/** Why a reachable node accepts no writes. */
export type UnwritableReason =
  'out-of-memory' | 'read-only' | 'loading' | 'misconf' | 'busy' | 'no-permission'

/** The marker under which a batch is sent. */
export interface Fence {
  /** The exact bytes that the node must hold as its marker. */
  readonly marker: Buffer
  /** The run id in the marker: connections to another run are refused. */
  readonly runId: string
  /** Of a server that Sentinels watch: connections are refused unless it is a primary with this replication id. */
  readonly replid?: string
  /** Whether a node with this marker holds all acknowledged writes: only then do its votes and acks count. */
  readonly clean: boolean
  /** The epoch that the marker names (core/topology.ts). */
  readonly epoch: number
  /** Of that epoch: the node answers as if it held nothing below them. Absent = there are none. */
  readonly floors?: Floors | null
}

export interface GetCall {
  /** @param bytes the stored record, null = nothing stored. The receiver may keep the bytes. */
  onRecord(node: Node, bytes: Buffer | null, fence: Fence): void
  onFailure(node: Node, failure: NodeFailure): void
}

export interface PeekCall {
  /** @param record the requested parts, null = nothing stored */
  onPeeked(node: Node, record: PeekedRecord | null, fence: Fence): void
  onFailure(node: Node, failure: NodeFailure): void
}

export interface StartsCall {
  /** @param starts by key: null = nothing is stored, or an empty string, or another type */
  onStarts(node: Node, starts: readonly (Buffer | null)[], fence: Fence): void
  onFailure(node: Node, failure: NodeFailure): void
}

export interface LivesCall {
  /** @param livesMs by key: milliseconds that it is still kept: -1 without end, -2 absent */
  onLives(node: Node, livesMs: readonly number[], fence: Fence): void
  onFailure(node: Node, failure: NodeFailure): void
}

export interface StoreCall {
  /** @param keptMs how long the node keeps it: as long as requested, or longer */
  onApplied(node: Node, fence: Fence, keptMs: number): void
  /**
   * @param held version (12 bytes) and replaced field (8 bytes) of the record that the node holds instead; the version
   *   alone where that is only promised
   */
  onStale(node: Node, held: Buffer, fence: Fence): void
  onFailure(node: Node, failure: NodeFailure): void
}

/** Conditions of a store, checked by the node. */
export interface StoreCondition {
  /**
   * Stale unless the node holds exactly this version (VERSION_ZERO: nothing, a value that Rondo did not write, or what is
   * below its floor).
   */
  readonly onlyIf?: Version
  /** Refused as too late if the node's own clock is past this (milliseconds since 1970). */
  readonly untilMs?: number
  /** Refused unless the node's marker names one of these epochs. */
  readonly epochs?: Epochs
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

/** One of several keys that are changed together. */
export interface StoreAllWrite {
  readonly key: Buffer
  /** Null = the key is only checked. */
  readonly record: NewRecord | null
  /** How long to keep the key for the record's own expiry. */
  readonly lifeMs: number
  /** The version that must be held (VERSION_ZERO as in StoreCondition), or promised: then the record's own. */
  readonly onlyIf: Version
}

export interface StoreAllCall {
  /** @param keptMs how long the node keeps each key: as long as requested, or longer; 0 = it was only checked */
  onApplied(node: Node, fence: Fence, keptMs: readonly number[]): void
  /**
   * Nothing was changed.
   *
   * @param held by key: null if its condition was met, otherwise as in StoreCall.onStale
   */
  onStale(node: Node, held: readonly (Buffer | null)[], fence: Fence): void
  onFailure(node: Node, failure: NodeFailure): void
}

/** The condition for each of several keys: it holds a version, or a promise to it. */
export type StoreAllMode = 'if-held' | 'if-promised'

/** Where the primary is that Sentinels watch. */
export interface Located {
  /** host:port to which connections are made; null = it was not found yet. */
  readonly address: string | null
  /** Where the Sentinels say that it is now: host:port. @throws NodeCallFailed */
  ask(): Promise<string>
  /** Connections are made there from now on. */
  moveTo(address: string): void
}

/** What a node of this process has on its disk. */
export interface NodeFiles {
  /** Of the log since the last snapshot. */
  readonly logBytes: number
  readonly snapshotBytes: number
  /** Number of snapshots since the start, and when the last one was taken (milliseconds since 1970); null = none yet. */
  readonly snapshots: number
  readonly snapshotAtMs: number | null
  /** How long the disk took for the last sync of the log; null = there was none. */
  readonly lastSyncMs: number | null
  /** Number of times that it could not be written. */
  readonly failures: number
}

/** The result of a probe. */
export interface NodeReport {
  /** Changes whenever the node's process restarts. */
  readonly runId: string
  /** Changes whenever the server is promoted, and when it becomes a replica. */
  readonly replid: string
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
  /** Its last restart lost nothing: every acknowledged write is on disk (`appendfsync always`). */
  readonly durable: boolean
  readonly software: string
  /** It copies another server, and takes no writes of its own. */
  readonly isReplica: boolean
  readonly memoryUsedBytes: number
  /** 0 = no limit. */
  readonly memoryLimitBytes: number
  readonly evictionPolicy: string
  readonly evictedKeys: number
  /** Of all kinds: values, deletes that are remembered, and internal ones. */
  readonly keys: number
  /** Number of hints that the node keeps for each requested peer; peers without hints are omitted. */
  readonly hints: ReadonlyMap<string, number>
  /** Absent for nodes whose files are not kept by this process. */
  readonly files?: NodeFiles
}

/** Limit of hints that a node keeps for one other node. Only anti-entropy finds misses beyond it. */
export const MAX_HINTS = 1_000_000

/** A note that a coordinator has left on a node. */
export interface CheckedIn {
  readonly id: string
  /** By the node's clock. */
  readonly agoMs: number
  readonly text: string
}

/** How long a node keeps such a note, and how many. */
export const CHECKED_IN_MS = 600_000
export const MAX_CHECKED_IN = 256
/** Longer ones are not read. */
export const MAX_NOTE_BYTES = 8192

/** What somebody who subscribes is told. */
export interface Announcements {
  /** From now on announcements arrive. */
  subscribed(): void
  /** There was one, or several. */
  announced(): void
  /** Once, and nothing follows: it is forbidden, or the connection was lost. */
  ended(why: string): void
}

export interface Subscription {
  /** Nothing follows, not `ended` either. */
  close(): void
}

/** What is heard of keys that change on a node, whoever changes them. Nothing is called before `changes` has returned. */
export interface ChangeEvents {
  /** From now on all changes are told. */
  opened(): void
  /**
   * These were written or deleted, or the node removed them; by the names that they have there, perhaps several times.
   * In the order of the changes, and after the answers to what was read before them, or earlier.
   *
   * @param keys null = all
   */
  changed(keys: readonly Buffer[] | null): void
  /** Once, and nothing follows. What has changed shortly before is perhaps not told: within the time for which a node may be silent. */
  ended(why: string): void
}

/** What arrives over a Messenger. Nothing is called before `messenger` has returned. */
export interface MessengerEvents {
  /** From now on calls are accepted. */
  opened(): void
  /** Once for each topic or prefix that this one listens to and that matches, one after the other. */
  message(topic: Buffer, bytes: Buffer): void
  /** Once, and nothing follows. Calls in flight have failed before, in order. */
  ended(why: string): void
}

export interface PublishCall {
  /** @param copies how often it was handed to somebody: once for each topic and prefix that matches */
  onPublished(copies: number): void
  onFailure(failure: NodeFailure): void
}

/** A connection over which a node passes messages on: at most once, and in order. Calls are carried out in order. */
export interface Messenger {
  /**
   * @param done called once, unless it is closed: null, or why the node refuses it. What is published after that is heard;
   *   if the connection is lost before, that counts as null
   */
  listen(to: Listening, done: (why: string | null) => void): void
  unlisten(to: Listening): void
  publish(topic: Buffer, bytes: Buffer, call: PublishCall): void
  /** Nothing follows, not `ended` either. */
  close(): void
}

/** At most MAX_ASKED names; of prefixes: all topics that begin with one. A prefix has no characters of a glob. */
export type Listening = { readonly topics: readonly Buffer[] } | { readonly prefixes: readonly Buffer[] }

/** Records that a node missed a version of a key. */
export interface Hint {
  readonly key: Buffer
  readonly version: Buffer
}

export interface HintPage {
  /** '0' = last page. */
  readonly cursor: string
  readonly hints: readonly Hint[]
}

export interface ScanPage {
  /** The node's own cursor; '0' = last page. */
  readonly cursor: string
  readonly entries: readonly ScanEntry[]
}

export interface ScanEntry {
  readonly key: Buffer
  /** The first HEAD_WITH_PROMISE_BYTES of the stored record. */
  readonly head: Buffer
}

export interface DroppedPage {
  /** The node's own cursor; '0' = last page. */
  readonly cursor: string
  readonly dropped: number
}

export interface KeyPage {
  /** The node's own cursor; '0' = last page. */
  readonly cursor: string
  readonly keys: readonly Buffer[]
}

/** Limit of keys per call of `starts` and `lives`. A node reads requests in pieces, and serves others in between. */
export const MAX_ASKED = 512

/** The answer to a round of the register (prepare or accept). */
export type RegisterAnswer =
  { readonly ok: true; readonly record: Buffer | null } | { readonly ok: false; readonly newest: Buffer }

export interface NodeListener {
  /** The data path broke; the outcome of calls in flight is unknown. */
  onBroken(node: Node, failure: NodeFailure): void
  /**
   * A batch, or the start of a connection, did not find the expected marker.
   *
   * @param found what it found instead, null = no marker, or one of another run
   * @returns the fence that goes with it, under which the batch counts: the node is the same and has lost nothing. Null =
   *   nothing in the batch counts
   */
  onOtherMarker(node: Node, found: Buffer | null): Fence | null
  /** The node answered a data call with an error that says something about its state. */
  onUnwritable(node: Node, reason: UnwritableReason): void
}

/** What a node would answer to reads at `one` of its hot keys, as far as it is kept in this process (near/near-cache.ts). */
export interface Near {
  readonly id: string
  /** The epoch of the marker under which it was read; -1 = nothing counts now. */
  readonly epoch: number
  /** What the node held not longer ago than NEAR_CACHE_MAX_STALENESS_MS; null = unknown, ask the node. */
  find(key: Buffer): NearRecord | null
}

export interface NearRecord {
  readonly record: Buffer
  /** Monotonic; not later than when the node was asked for it. */
  readonly atMs: number
  /** For the coordinator: where it was last answered (coordinator/read/near-reads.ts). */
  route: object | null
}

export interface Node {
  readonly id: string
  /** Absent or null: nothing is kept. */
  readonly near?: Near | null
  /** host:port, or a name if there is none. Never contains secrets. */
  readonly address: string
  listener: NodeListener | null

  /** True while the data path accepts calls. */
  readonly ready: boolean
  /** Its current load; the node itself refuses no call because of it. */
  readonly load: NodeLoad
  /** @param expectedBytes estimated size of the reply; counts in the load until it has arrived */
  get(key: Buffer, call: GetCall, expectedBytes?: number): void
  /** Reads the requested parts of a record without fetching its value (nodes/redis/peeks.ts). */
  peek(key: Buffer, part: Part, call: PeekCall, expectedBytes?: number): void
  /**
   * Reads the first bytes of several records, each for itself. For repairs: of two calls in one turn, a store that the node
   * did not know yet may take effect after this.
   *
   * @param keys at most MAX_ASKED, at least one
   */
  starts(keys: readonly Buffer[], bytes: number, call: StartsCall): void
  /** Reads how long several keys are kept, in the same way. */
  lives(keys: readonly Buffer[], call: LivesCall): void
  /**
   * Compare and store: stores the record unless the node holds one at least as new (nodes/redis/store.lua). If it holds
   * this very record, its life is extended if a longer one is requested.
   *
   * @param lifeMs how long to keep the key for the record's own expiry; FAR_END_MS for values without expiry, and only
   *   for these
   */
  store(key: Buffer, record: NewRecord, lifeMs: number, call: StoreCall, condition?: StoreCondition): void
  /** First round of a two-round write: the node promises to refuse older writes (nodes/redis/prepare.lua). */
  prepare(key: Buffer, ballot: Buffer, call: PrepareCall, expectedBytes?: number): void
  /**
   * Second round: stores the record if the promise to its version still stands (nodes/redis/accept.lua).
   *
   * @param epochs as in StoreCondition
   */
  accept(key: Buffer, record: NewRecord, lifeMs: number, call: StoreCall, epochs?: Epochs): void
  /**
   * Stores several keys, or none if one of them does not meet its condition (nodes/redis/store-all.lua).
   *
   * @param epochs as in StoreCondition
   */
  storeAll(writes: readonly StoreAllWrite[], mode: StoreAllMode, call: StoreAllCall, epochs?: Epochs): void

  /**
   * Stores a hint that `target` missed this version of the key; refused if it already keeps MAX_HINTS for the target.
   */
  hint(target: string, key: Buffer, version: Buffer, call: HintCall): void

  /**
   * Connects the control path if needed; throws if the node does not answer correctly.
   *
   * @param peers ids of the nodes that it may keep hints for
   */
  probe(peers?: readonly string[]): Promise<NodeReport>
  /** Bytes of DECIDED_KEY, the topology that the marker names; null = none. */
  decided(): Promise<Buffer | null>
  /** The commands that Rondo needs and the node forbids. Has no effect there. */
  forbidden(): Promise<readonly string[]>
  /** Opens the data path under this marker, or changes the expected marker of one that is open to the same run. */
  open(fence: Fence): Promise<void>
  /** Closes the data path; calls in flight fail as unknown. */
  shut(reason: string): void
  /** A small test write. Throws if the node refuses it. */
  tryWrite(): Promise<void>
  /**
   * Writes the marker if the bytes there are still the expected ones (null = none).
   *
   * @param decided bytes for DECIDED_KEY, written with it; null = that stays as it is
   */
  swapMarker(expected: Buffer | null, next: Buffer, decided?: Buffer | null): Promise<boolean>
  /**
   * Leaves a note that this coordinator is there. Null, without effect, under another marker.
   *
   * @param reads whether to return the notes of all coordinators; otherwise none are
   */
  checkIn(marker: Buffer, id: string, text: string, reads: boolean): Promise<readonly CheckedIn[] | null>
  /** Removes everything from the node, if it still has this marker (null = none). False, without effect, if it does not. */
  empty(marker: Buffer | null): Promise<boolean>
  /** Moves synced_at forward. False, without effect, under another marker. */
  stamp(marker: Buffer, syncedAt: SyncedAt): Promise<boolean>
  /**
   * Removes those of the keys that hold a record of Rondo older than this (cluster time).
   *
   * @returns the number of removed keys; null, without effect, under another marker
   */
  dropOlder(marker: Buffer, keys: readonly Buffer[], beforeMs: number): Promise<number | null>
  /** Takes or renews a lease; false if another owner holds it. It saves work; correctness does not rely on it. */
  lease(name: string, owner: string, forMs: number): Promise<boolean>
  hints(target: string, cursor: string, count: number): Promise<HintPage>
  /** Removes a hint if it still has this version. */
  dropHint(target: string, key: Buffer, version: Buffer): Promise<void>
  /**
   * Removes what is below these floors, from one page of all keys.
   *
   * @param count number of keys to scan
   * @returns null, without effect, under another marker
   */
  dropBelow(marker: Buffer, floors: Floors, cursor: string, count: number): Promise<DroppedPage | null>
  /**
   * Removes a copy that no longer belongs here, if it still has this version, under this marker; with a promise on it only
   * where the marker names an epoch.
   */
  dropCopy(marker: Buffer, key: Buffer, version: Buffer): Promise<void>
  /** First round on the topology register: promises to refuse ballots below this one. */
  prepareRegister(ballot: Buffer): Promise<RegisterAnswer>
  /** Second round: stores the record if its version is still the promised one. */
  acceptRegister(record: NewRecord): Promise<RegisterAnswer>
  /**
   * One page of the stored strings, and of collections that another program stored: those with the head of a record at
   * version zero.
   *
   * @param match Redis glob, null = all
   * @param count number of keys to scan
   */
  scan(cursor: string, match: Buffer | null, count: number): Promise<ScanPage>
  /**
   * One page of the names alone, on the data path, which costs a node a third of that. Names of other types than strings may
   * be among them. @param count number of keys to scan
   */
  keys(cursor: string, count: number): Promise<KeyPage>
  /** Milliseconds the key has left to live in the node: -1 without end, -2 absent. */
  lifeMs(key: Buffer): Promise<number>
  /** Announces on this node that the members have changed. */
  announce(): Promise<void>
  /** Listens to such announcements, on a connection of its own. Never calls before it has returned. */
  subscribe(to: Announcements): Subscription
  /**
   * Tells which keys change, on a connection of its own, for as long as the data path is open. A node that is silent ends it.
   * Absent: this driver cannot, and clients of the coordinator are not told of changes (CLIENT TRACKING).
   */
  changes?(to: ChangeEvents): Subscription
  /** Opens a connection of its own for messages of clients. */
  messenger(to: MessengerEvents): Messenger
  close(): Promise<void>
}
