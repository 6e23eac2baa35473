/**
 * An in-process node: used when no Redis is configured, and by the simulation. It behaves like a Redis behind
 * redis-node.ts, decision by decision (core/store.ts) and turn by turn:
 *
 *     this turn:    get a   store b   get c      → queued
 *     end of turn:  a, b, c are executed in order → marker as expected? then a, b, c are answered
 *
 * So a call never completes before it has returned, and a batch under a foreign marker does not count, although it was
 * executed.
 *
 * Without a journal nothing outlives the process, and a batch is executed and answered in one step, so shut() finds nothing
 * in flight: queued calls were certainly not applied. With one (disk/journal.ts) a batch is executed at once and answered
 * when its changes are on the disk, with all that was changed before: also reads wait, so that nobody sees what a crash
 * takes back.
 */
import {
  compareVersions,
  VERSION_BYTES,
  VERSION_ZERO,
  versionMs,
  type Clock,
  type Timers,
} from '../../core/clock.ts'
import {
  HEAD_WITH_PROMISE_BYTES,
  KIND_NOTHING,
  PeekedRecord,
  StoredRecord,
  type NewRecord,
} from '../../core/codec.ts'
import { Glob } from '../../core/glob.ts'
import {
  DECIDED_KEY,
  leaseKey,
  MARKER_KEY,
  SYNCED_AT_KEY,
  TOPOLOGY_KEY,
  WRITABLE_KEY,
} from '../../core/keys.ts'
import { isMarkedWithin } from '../../core/marked-epoch.ts'
import { aboveFloor, type Floors } from '../../core/floors.ts'
import type { Part } from '../../core/part.ts'
import type { Epochs } from '../../core/replica-set.ts'
import { decideStoreAll } from '../../core/store-all.ts'
import {
  decideAccept,
  decidePrepare,
  decideStore,
  promiseAlone,
  type StoreDecision,
} from '../../core/store.ts'
import { decodeSyncedAt, encodeSyncedAt, type SyncedAt } from '../../core/synced-at.ts'
import {
  FOREIGN_MARKER,
  hintsFull,
  NodeCallFailed,
  NOT_CONNECTED,
  OTHER_EPOCH,
  OTHER_RUN,
  SHUT,
  TOO_LATE,
} from '../failures.ts'
import { NodeLoad } from '../load.ts'
import type { Journal } from './disk/journal.ts'
import type { Waiting } from './disk/pending.ts'
import { MemoryChanges } from './memory-changes.ts'
import { MemoryStorage, type StoragePage } from './memory-storage.ts'
import {
  MAX_HINTS,
  type Announcements,
  type ChangeEvents,
  type CheckedIn,
  type DroppedPage,
  type Fence,
  type GetCall,
  type Hint,
  type HintCall,
  type HintPage,
  type KeyPage,
  type LivesCall,
  type Messenger,
  type MessengerEvents,
  type Node,
  type NodeFailure,
  type NodeListener,
  type NodeReport,
  type PeekCall,
  type PrepareCall,
  type RegisterAnswer,
  type ScanPage,
  type StartsCall,
  type StoreAllCall,
  type StoreAllMode,
  type StoreAllWrite,
  type StoreCall,
  type StoreCondition,
  type Subscription,
} from '../node.ts'

export interface MemoryNodeOptions {
  readonly id: string
  /** Limit for users' keys and values with their overhead; evicts the least recently used. */
  readonly maxBytes: number
  /** Limit on the number of users' keys; 0 or absent = none. */
  readonly maxEntries?: number
  readonly graceMs: number
  readonly clock: Clock
  readonly timers: Timers
  /** Must differ from one process to the next where there is a journal. */
  readonly runId?: string
  /** Keeps the node on disk; absent = it is lost with the process. Call `readFiles` first. */
  readonly journal?: Journal
  /** By default MAX_HINTS. */
  readonly maxHints?: number
}

interface PendingCall {
  readonly fence: Fence
  /** Executes the call, and returns a function that answers the caller, with the fence that was found. */
  execute(): (found: Fence) => void
  fail(failure: NodeFailure): void
}

/** Calls that were executed, and are answered when the journal has what they did. */
class Executed implements Waiting {
  until = 0
  isOver = false
  private readonly calls: readonly PendingCall[]
  private readonly answers: readonly (() => void)[]
  private readonly onEnd: (batch: Executed) => void

  constructor(
    calls: readonly PendingCall[],
    answers: readonly (() => void)[],
    onEnd: (batch: Executed) => void,
  ) {
    this.calls = calls
    this.answers = answers
    this.onEnd = onEnd
  }

  readonly kept = (): void => {
    if (this.end()) for (const answer of this.answers) answer()
  }

  readonly failed = (failure: NodeFailure): void => {
    if (this.end()) for (const call of this.calls) call.fail(failure)
  }

  private end(): boolean {
    if (this.isOver) return false
    this.isOver = true
    this.onEnd(this)
    return true
  }
}

type Decide = (held: Buffer | null, heldLifeMs: number) => StoreDecision | NodeFailure

const PROBED_WRITE_LIFE_MS = 1000

export class MemoryNode implements Node {
  readonly id: string
  readonly address: string
  listener: NodeListener | null = null
  /** Always empty: the node is never busy for longer than a turn. */
  readonly load = new NodeLoad()
  /** The content of the node: for tests, and for faults in the simulation. */
  readonly storage: MemoryStorage

  private readonly options: MemoryNodeOptions
  private fence: Fence | null = null
  private opening: object | null = null
  private pending: PendingCall[] = []
  /** They wait for the journal. */
  private readonly executed = new Set<Executed>()
  private readonly journal: Journal | null
  private closed = false

  constructor(options: MemoryNodeOptions) {
    this.options = options
    this.id = options.id
    this.address = options.id
    const { maxBytes, maxEntries = 0, clock, journal = null } = options
    this.storage = new MemoryStorage({ maxBytes, maxEntries }, clock)
    this.journal = journal
  }

  /** Reads what the journal has on its disk. @throws DiskError */
  async readFiles(): Promise<void> {
    await this.journal?.open(this.storage)
  }

  /** Resolves when all that the node holds is in a snapshot on the disk; false = it has no disk. */
  async snapshot(): Promise<boolean> {
    if (!this.journal) return false
    await this.journal.snapshot()
    return true
  }

  /** Loses all data with the marker and gets a new run id, like a Redis restarted without its files. */
  wipe(): void {
    this.storage.wipe()
    const wasOpen = this.fence !== null
    this.shut('the node was wiped')
    this.storage.messages.endAll('the node was wiped')
    if (wasOpen) this.listener?.onBroken(this, { ...SHUT, message: 'the node was wiped' })
  }

  // ---- data path

  get ready(): boolean {
    return this.fence !== null
  }

  get(key: Buffer, call: GetCall): void {
    const fence = this.usableFence(call)
    if (!fence) return
    const asked = Buffer.from(key)
    this.enqueue({
      fence,
      execute: () => {
        const bytes = this.storage.get(asked)
        return (found: Fence) => call.onRecord(this, aboveFloor(found.floors, asked, bytes), found)
      },
      fail: (failure) => call.onFailure(this, failure),
    })
  }

  peek(key: Buffer, part: Part, call: PeekCall): void {
    const fence = this.usableFence(call)
    if (!fence) return
    const asked = Buffer.from(key)
    this.enqueue({
      fence,
      execute: () => {
        const bytes = this.storage.get(asked)
        return (found: Fence) => {
          const shown = aboveFloor(found.floors, asked, bytes)
          call.onPeeked(this, shown && PeekedRecord.of(new StoredRecord(shown), part), found)
        }
      },
      fail: (failure) => call.onFailure(this, failure),
    })
  }

  starts(keys: readonly Buffer[], bytes: number, call: StartsCall): void {
    const startOf = (key: Buffer) => {
      const held = this.storage.get(key)
      return held && held.length > 0 ? Buffer.from(held.subarray(0, bytes)) : null
    }
    this.askEach(keys, startOf, call, (found, starts) => {
      const shown = starts.map((start, i) => aboveFloor(found.floors, keys[i]!, start))
      call.onStarts(this, shown, found)
    })
  }

  lives(keys: readonly Buffer[], call: LivesCall): void {
    const leftMs = (key: Buffer) => this.leftMs(key)
    this.askEach(keys, leftMs, call, (found, lives) => call.onLives(this, lives, found))
  }

  private askEach<T>(
    keys: readonly Buffer[],
    ask: (key: Buffer) => T,
    call: Pick<GetCall, 'onFailure'>,
    answer: (found: Fence, answers: readonly T[]) => void,
  ): void {
    const fence = this.usableFence(call)
    if (!fence) return
    const asked = keys.map((key) => Buffer.from(key))
    this.enqueue({
      fence,
      execute: () => {
        const answers = asked.map(ask)
        return (found: Fence) => answer(found, answers)
      },
      fail: (failure) => call.onFailure(this, failure),
    })
  }

  store(key: Buffer, record: NewRecord, lifeMs: number, call: StoreCall, condition?: StoreCondition): void {
    const { graceMs, clock } = this.options
    this.enqueueStore(key, lifeMs, call, (held, heldLifeMs) => {
      if (condition?.untilMs !== undefined && clock.wallMs() > condition.untilMs) return TOO_LATE
      if (this.isOtherEpoch(condition?.epochs)) return OTHER_EPOCH
      return decideStore(held, heldLifeMs, record, lifeMs, graceMs, condition?.onlyIf, this.floors?.of(key))
    })
  }

  prepare(key: Buffer, ballot: Buffer, call: PrepareCall): void {
    const fence = this.usableFence(call)
    if (!fence) return
    const asked = Buffer.from(key)
    this.enqueue({
      fence,
      execute: () => {
        const refusal = this.refusal()
        if (refusal) return () => call.onFailure(this, refusal)
        const answer = this.executePrepare(asked, ballot, this.options.graceMs)
        if (!answer) return () => call.onFailure(this, TOO_LARGE)
        if (answer.ok) {
          return (found: Fence) =>
            call.onPromised(this, aboveFloor(found.floors, asked, answer.record), found)
        }
        return (found: Fence) => call.onRefused(this, answer.newest, found)
      },
      fail: (failure) => call.onFailure(this, failure),
    })
  }

  accept(key: Buffer, record: NewRecord, lifeMs: number, call: StoreCall, epochs?: Epochs): void {
    const { graceMs } = this.options
    this.enqueueStore(key, lifeMs, call, (held, heldLifeMs) => {
      if (this.isOtherEpoch(epochs)) return OTHER_EPOCH
      return decideAccept(held, heldLifeMs, record, lifeMs, graceMs)
    })
  }

  private isOtherEpoch(epochs: Epochs | undefined): boolean {
    return epochs !== undefined && !isMarkedWithin(this.storage.get(MARKER_KEY), epochs)
  }

  storeAll(writes: readonly StoreAllWrite[], mode: StoreAllMode, call: StoreAllCall, epochs?: Epochs): void {
    const fence = this.usableFence(call)
    if (!fence) return
    const asked = writes.map((write) => ({ ...write, key: Buffer.from(write.key) }))
    this.enqueue({
      fence,
      execute: () => {
        const refusal = this.refusal()
        if (refusal) return () => call.onFailure(this, refusal)
        if (this.isOtherEpoch(epochs)) return () => call.onFailure(this, OTHER_EPOCH)
        return this.executeStoreAll(asked, mode, call)
      },
      fail: (failure) => call.onFailure(this, failure),
    })
  }

  private executeStoreAll(writes: readonly StoreAllWrite[], mode: StoreAllMode, call: StoreAllCall) {
    const found = writes.map((write) => ({
      ...write,
      held: this.storage.get(write.key),
      heldLifeMs: Math.max(0, this.storage.lifeMs(write.key)),
      floor: this.floors?.of(write.key) ?? VERSION_ZERO,
    }))
    const decision = decideStoreAll(found, mode, this.options.graceMs)
    if (decision.kind === 'stale') return (found: Fence) => call.onStale(this, decision.held, found)
    const kept = decision.decisions.flatMap((one, i) => {
      return one?.kind === 'keep' ? [{ key: writes[i]!.key, bytes: one.bytes, lifeMs: one.lifeMs }] : []
    })
    if (!this.storage.fits(kept)) return () => call.onFailure(this, TOO_LARGE)
    for (const { key, bytes, lifeMs } of kept) this.storage.set(key, bytes, lifeMs)
    const keptMs = decision.decisions.map((one, i) => (one ? keptFor(one.lifeMs, writes[i]!.lifeMs) : 0))
    return (found: Fence) => call.onApplied(this, found, keptMs)
  }

  hint(target: string, key: Buffer, version: Buffer, call: HintCall): void {
    const fence = this.usableFence(call)
    if (!fence) return
    const hint: Hint = { key: Buffer.from(key), version: Buffer.from(version) }
    this.enqueue({
      fence,
      execute: () => {
        const refusal = this.refusal()
        if (refusal) return () => call.onFailure(this, refusal)
        const noted = this.storage.hintsFor(target).note(hint, this.options.maxHints ?? MAX_HINTS)
        return (found: Fence) =>
          noted ? call.onApplied(this, found) : call.onFailure(this, hintsFull(target))
      },
      fail: (failure) => call.onFailure(this, failure),
    })
  }

  private enqueueStore(key: Buffer, askedMs: number, call: StoreCall, decide: Decide): void {
    const fence = this.usableFence(call)
    if (!fence) return
    const asked = Buffer.from(key)
    this.enqueue({
      fence,
      execute: () => this.executeStore(asked, askedMs, decide, call),
      fail: (failure) => call.onFailure(this, failure),
    })
  }

  private executeStore(key: Buffer, askedMs: number, decide: Decide, call: StoreCall) {
    const refusal = this.refusal()
    if (refusal) return () => call.onFailure(this, refusal)
    const decision = decide(this.storage.get(key), Math.max(0, this.storage.lifeMs(key)))
    if ('reason' in decision) return () => call.onFailure(this, decision)
    if (decision.kind === 'stale') return (found: Fence) => call.onStale(this, decision.held, found)
    if (decision.kind === 'keep' && !this.storage.set(key, decision.bytes, decision.lifeMs)) {
      return () => call.onFailure(this, TOO_LARGE)
    }
    const keptMs = keptFor(decision.lifeMs, askedMs)
    return (found: Fence) => call.onApplied(this, found, keptMs)
  }

  private usableFence(call: Pick<GetCall, 'onFailure'>): Fence | null {
    if (!this.fence) this.options.timers.endOfTurn(() => call.onFailure(this, NOT_CONNECTED))
    return this.fence
  }

  private enqueue(call: PendingCall): void {
    if (this.pending.push(call) === 1) this.options.timers.endOfTurn(this.flush)
  }

  private readonly flush = (): void => {
    const calls = this.pending
    this.pending = []
    const answers = calls.map((call) => call.execute())
    const marker = this.storage.get(MARKER_KEY)
    if (this.journal) return this.answerWhenKept(this.journal, calls, answers, marker)
    let other: Fence | null | undefined
    calls.forEach((call, i) => {
      const isExpected = marker?.equals(call.fence.marker) ?? false
      if (!isExpected && other === undefined) other = this.follows(marker)
      const found = isExpected ? call.fence : other
      if (found) answers[i]!(found)
      else call.fail(FOREIGN_MARKER)
    })
  }

  private answerWhenKept(
    journal: Journal,
    calls: readonly PendingCall[],
    answers: readonly ((found: Fence) => void)[],
    marker: Buffer | null,
  ): void {
    let other: Fence | null | undefined
    const final = calls.map((call, i) => {
      const isExpected = marker?.equals(call.fence.marker) ?? false
      if (!isExpected && other === undefined) other = this.follows(marker)
      const found = isExpected ? call.fence : other
      return found ? () => answers[i]!(found) : () => call.fail(FOREIGN_MARKER)
    })
    const batch = new Executed(calls, final, (one) => this.executed.delete(one))
    this.executed.add(batch)
    journal.commit(batch)
  }

  /** Why nothing can be changed now; null = it can. */
  private refusal(): NodeFailure | null {
    const refusal = this.journal?.refusal ?? null
    if (refusal?.reason === 'misconf') this.listener?.onUnwritable(this, 'misconf')
    return refusal
  }

  /** The fence of another marker than the expected one, which is expected from now on; null = it is not the same node's. */
  private follows(marker: Buffer | null): Fence | null {
    if (marker && this.fence?.marker.equals(marker)) return this.fence
    const fence = this.listener?.onOtherMarker(this, marker && Buffer.from(marker)) ?? null
    if (fence && this.fence) this.fence = fence
    return fence
  }

  async open(fence: Fence): Promise<void> {
    this.checkNotClosed()
    if (this.fence?.runId === fence.runId) {
      this.fence = fence
      return
    }
    this.shut(SHUT.message)
    const opening = {}
    this.opening = opening
    await Promise.resolve()
    if (this.opening !== opening) throw new Error(SHUT.message)
    this.opening = null
    if (fence.runId !== this.runId) {
      this.listener?.onOtherMarker(this, null)
      throw new Error(OTHER_RUN.message)
    }
    const marker = this.storage.get(MARKER_KEY)
    const found = marker?.equals(fence.marker) ? fence : this.follows(marker)
    if (!found) throw new Error(FOREIGN_MARKER.message)
    this.fence = found
  }

  private get runId(): string {
    const { id, runId = `memory-${id}` } = this.options
    const { wipes } = this.storage
    return wipes === 0 ? runId : `${runId}-${wipes}`
  }

  shut(reason: string): void {
    const calls = this.pending
    this.pending = []
    this.fence = null
    this.opening = null
    for (const call of calls) call.fail({ ...SHUT, kind: 'not-sent', message: reason })
    for (const batch of [...this.executed]) batch.failed({ ...SHUT, message: reason })
  }

  // ---- control path

  async probe(peers: readonly string[] = []): Promise<NodeReport> {
    const { clock, maxBytes } = this.options
    await this.reached()
    await this.journal?.settled()
    return {
      runId: this.runId,
      timeMs: clock.wallMs(),
      sentAtMonotonicMs: clock.monotonicMs(),
      receivedAtMonotonicMs: clock.monotonicMs(),
      marker: this.storage.get(MARKER_KEY),
      topology: this.storage.get(TOPOLOGY_KEY),
      syncedAt: decodeSyncedAt(this.storage.get(SYNCED_AT_KEY)),
      durable: this.journal?.lostNothing ?? false,
      software: 'memory',
      isReplica: false,
      replid: this.runId,
      memoryUsedBytes: this.storage.usedBytes,
      memoryLimitBytes: maxBytes,
      evictionPolicy: 'lru (in process)',
      evictedKeys: this.storage.evictedKeys,
      keys: this.storage.size,
      hints: new Map(
        peers.map((peer) => [peer, this.storage.hintsFor(peer).size] as const).filter(([, n]) => n > 0),
      ),
      ...(this.journal && { files: this.journal.report }),
    }
  }

  async decided(): Promise<Buffer | null> {
    await this.reached()
    await this.journal?.settled()
    return this.storage.get(DECIDED_KEY)
  }

  async forbidden(): Promise<readonly string[]> {
    await this.reached()
    return []
  }

  async tryWrite(): Promise<void> {
    await this.reached()
    await this.journal?.recover()
    this.storage.set(WRITABLE_KEY, Buffer.from('1'), PROBED_WRITE_LIFE_MS)
    await this.journal?.kept()
  }

  swapMarker(expected: Buffer | null, next: Buffer, decided: Buffer | null = null): Promise<boolean> {
    return this.changing(() => {
      const found = this.storage.get(MARKER_KEY)
      if (expected ? !found?.equals(expected) : found) return false
      if (decided) this.storage.set(DECIDED_KEY, Buffer.from(decided), Infinity)
      return this.storage.set(MARKER_KEY, Buffer.from(next), Infinity)
    })
  }

  async checkIn(
    marker: Buffer,
    id: string,
    text: string,
    reads: boolean,
  ): Promise<readonly CheckedIn[] | null> {
    await this.reached()
    if (!this.storage.get(MARKER_KEY)?.equals(marker)) return null
    const notes = this.storage.notes.checkIn(id, text, this.options.clock.wallMs())
    return reads ? notes : []
  }

  async announce(): Promise<void> {
    await this.reached()
    for (const listener of this.storage.listeners) listener.announced()
  }

  subscribe(to: Announcements): Subscription {
    const { listeners } = this.storage
    let isClosed = false
    this.options.timers.endOfTurn(() => {
      if (isClosed) return
      listeners.add(to)
      to.subscribed()
    })
    return {
      close: () => {
        isClosed = true
        listeners.delete(to)
      },
    }
  }

  changes(to: ChangeEvents): Subscription {
    return new MemoryChanges(this.storage, to, this.options.timers)
  }

  messenger(to: MessengerEvents): Messenger {
    return this.storage.messages.messenger(to, this.options.timers)
  }

  empty(marker: Buffer | null): Promise<boolean> {
    return this.changing(() => {
      const found = this.storage.get(MARKER_KEY)
      if (marker ? !found?.equals(marker) : found) return false
      this.storage.clear()
      return true
    })
  }

  stamp(marker: Buffer, syncedAt: SyncedAt): Promise<boolean> {
    return this.changing(() => {
      if (!this.storage.get(MARKER_KEY)?.equals(marker)) return false
      const held = decodeSyncedAt(this.storage.get(SYNCED_AT_KEY))
      if (!held || Math.floor(syncedAt.atMs) > held.atMs) {
        this.storage.set(SYNCED_AT_KEY, encodeSyncedAt(syncedAt), Infinity)
      }
      return true
    })
  }

  dropOlder(marker: Buffer, keys: readonly Buffer[], beforeMs: number): Promise<number | null> {
    return this.changing(() => {
      if (!this.storage.get(MARKER_KEY)?.equals(marker)) return null
      let removed = 0
      for (const key of keys) {
        const bytes = this.storage.get(key)
        if (!bytes) continue
        const record = new StoredRecord(bytes)
        const ms = record.versioned ? versionMs(record.version) : 0
        if (ms === 0 || ms >= Math.floor(beforeMs)) continue
        this.storage.delete(key)
        removed++
      }
      return removed
    })
  }

  dropBelow(marker: Buffer, floors: Floors, cursor: string, count: number): Promise<DroppedPage | null> {
    return this.changing(() => {
      checkPage(cursor, count)
      if (!this.storage.get(MARKER_KEY)?.equals(marker)) return null
      const page = this.storage.page(Number(cursor), count)
      let dropped = 0
      for (const { key, bytes } of page.entries) {
        if (aboveFloor(floors, key, bytes)) continue
        const { kind, promise } = new StoredRecord(bytes)
        if (kind === KIND_NOTHING) continue // it ends by itself
        if (promise) this.storage.set(key, promiseAlone(promise), this.options.graceMs)
        else this.storage.delete(key)
        dropped++
      }
      return { cursor: String(page.cursor), dropped }
    })
  }

  /** The floors of the node's epoch; null = none. */
  private get floors(): Floors | null {
    return this.fence?.floors ?? null
  }

  private shown(entries: StoragePage['entries']): StoragePage['entries'] {
    return entries.filter(({ key, bytes }) => aboveFloor(this.floors, key, bytes))
  }

  lease(name: string, owner: string, forMs: number): Promise<boolean> {
    return this.changing(() => {
      const held = this.storage.get(leaseKey(name))
      if (held && held.toString() !== owner) return false
      return this.storage.set(leaseKey(name), Buffer.from(owner), forMs)
    })
  }

  async hints(target: string, cursor: string, count: number): Promise<HintPage> {
    await this.reached()
    checkPage(cursor, count)
    const page = this.storage.hintsFor(target).page(Number(cursor), count)
    return { cursor: String(page.cursor), hints: page.hints }
  }

  dropHint(target: string, key: Buffer, version: Buffer): Promise<void> {
    return this.changing(() => {
      this.storage.hintsFor(target).drop(key, version)
    })
  }

  dropCopy(marker: Buffer, key: Buffer, version: Buffer): Promise<void> {
    return this.changing(() => {
      if (!this.storage.get(MARKER_KEY)?.equals(marker)) return
      const bytes = this.storage.get(key)
      const record = bytes && new StoredRecord(bytes)
      if (record?.versioned && compareVersions(record.version, version) === 0) {
        // See drop-copy.lua.
        if (!record.promise || marker.includes('"topology":{')) this.storage.delete(key)
      }
    })
  }

  prepareRegister(ballot: Buffer): Promise<RegisterAnswer> {
    return this.changing(() => {
      return this.executePrepare(TOPOLOGY_KEY, ballot, Infinity)! // unbounded
    })
  }

  acceptRegister(record: NewRecord): Promise<RegisterAnswer> {
    return this.changing(() => {
      const decision = decideAccept(this.storage.get(TOPOLOGY_KEY), Infinity, record, Infinity, Infinity)
      if (decision.kind === 'stale') return { ok: false, newest: decision.held.subarray(0, VERSION_BYTES) }
      if (decision.kind === 'keep') this.storage.set(TOPOLOGY_KEY, decision.bytes, decision.lifeMs)
      return { ok: true, record: null }
    })
  }

  /**
   * @param newLifeMs how long to keep a key without a record for its promise
   * @returns null if there is no room for the promise
   */
  private executePrepare(key: Buffer, ballot: Buffer, newLifeMs: number): RegisterAnswer | null {
    const lifeMs = this.storage.lifeMs(key)
    const decision = decidePrepare(this.storage.get(key), ballot)
    if (!decision.ok) return decision
    const kept = this.storage.set(key, decision.bytes, lifeMs < 0 ? newLifeMs : lifeMs)
    return kept ? { ok: true, record: decision.record } : null
  }

  async scan(cursor: string, match: Buffer | null, count: number): Promise<ScanPage> {
    await this.reached()
    checkPage(cursor, count)
    const page = this.storage.page(Number(cursor), count)
    const glob = match && new Glob(match)
    const entries = this.shown(page.entries)
      .filter(({ key }) => glob?.matches(key) ?? true)
      .map(({ key, bytes }) => ({ key, head: Buffer.from(bytes.subarray(0, HEAD_WITH_PROMISE_BYTES)) }))
    return { cursor: String(page.cursor), entries }
  }

  keys(cursor: string, count: number): Promise<KeyPage> {
    return new Promise((resolve, reject) => {
      const fail = ({ message }: NodeFailure) => reject(new NodeCallFailed(message))
      const fence = this.usableFence({ onFailure: (_node, failure) => fail(failure) })
      if (fence)
        this.enqueue({ fence, execute: () => this.pageOfNames(cursor, count, resolve, reject), fail })
    })
  }

  /** Returns the function that answers the caller. */
  private pageOfNames(
    cursor: string,
    count: number,
    resolve: (page: KeyPage) => void,
    reject: (why: Error) => void,
  ): () => void {
    try {
      checkPage(cursor, count)
    } catch (error) {
      return () => reject(error as Error)
    }
    const page = this.storage.page(Number(cursor), count)
    return () => resolve({ cursor: String(page.cursor), keys: page.entries.map(({ key }) => key) })
  }

  async lifeMs(key: Buffer): Promise<number> {
    await this.reached()
    return this.leftMs(key)
  }

  private leftMs(key: Buffer): number {
    const lifeMs = this.storage.lifeMs(key)
    return lifeMs === Infinity ? -1 : Math.ceil(lifeMs)
  }

  close(): Promise<void> {
    this.closed = true
    this.shut('the coordinator is closing')
    return this.journal?.close() ?? Promise.resolve()
  }

  /** Control calls also take effect only after they have returned. */
  private async reached(): Promise<void> {
    this.checkNotClosed()
    await Promise.resolve()
  }

  /** A control call that may change something: answered when that is kept. @throws Error if nothing can be changed now */
  private async changing<T>(change: () => T): Promise<T> {
    await this.reached()
    const { journal } = this
    if (!journal) return change()
    if (journal.refusal) await journal.recover()
    const { refusal } = journal
    if (refusal) throw new NodeCallFailed(refusal.message)
    const result = change()
    await journal.kept()
    return result
  }

  private checkNotClosed(): void {
    if (this.closed) throw new Error(`node ${this.id} is closed`)
  }
}

/** A key without an end, or with its far end some time ago, is kept as long as requested, too. */
function keptFor(lifeMs: number, askedMs: number): number {
  return lifeMs === Infinity ? askedMs : Math.max(askedMs, Math.ceil(lifeMs))
}

const TOO_LARGE: NodeFailure = {
  kind: 'refused',
  reason: 'out-of-memory',
  message: 'the record is larger than all the memory of the node',
}

/** Throws the errors of Redis. */
function checkPage(cursor: string, count: number): void {
  if (!/^\d{1,16}$/.test(cursor)) throw new Error('ERR invalid cursor')
  if (!(count >= 1)) throw new Error('ERR syntax error')
}
