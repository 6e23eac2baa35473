/**
 * Keeps a memory node on disk: its log, to which every change is appended, and snapshots that make old logs superfluous.
 *
 *   storage changes ──▶ frames in memory ──▶ written ──▶ (always: synced) ──▶ the calls are answered
 *                                  one write at a time; what comes meanwhile goes together with the next one
 *
 * Short writes are made at once, as Redis does: the system only copies them. While a sync is under way, and
 * for a while after one that took long, writes are made in the background, so that a slow disk delays answers and nothing
 * else.
 *
 * Invariants:
 *
 * - No call is answered before everything that it has done or seen is written; with `always`, before it is synced. So
 *   nobody has seen what a crash takes back.
 * - If a write fails, what was not written is taken back in memory, newest first, and those calls fail. What only removes
 *   (evictions, expired keys, copies that are not needed) is not taken back but written again. Until a write succeeds the
 *   node refuses writes and can be read.
 * - If a sync fails, the file is not used any more, because the system may have dropped what it could not write: the node
 *   takes writes again when a new snapshot is on the disk.
 * - A new log begins before its snapshot is taken, and the earlier files go when the snapshot has its name. At each moment
 *   a crash leaves files from which everything can be read.
 *
 * Not promised: with `everysec` and `no`, a crash of the machine loses what was not synced. The node tells by `lost`.
 */
import type { Clock, TimerHandle, Timers } from '../../../core/clock.ts'
import type { Emit } from '../../../core/events.ts'
import { isInternalName, MARKER_KEY } from '../../../core/keys.ts'
import { sentenceOf } from '../../../core/sentence.ts'
import type { NodeFailure, NodeFiles } from '../../node.ts'
import type { MemoryStorage, Recorder } from '../memory-storage.ts'
import type { Disk, DiskFile } from './disk.ts'
import { Extent } from './extent.ts'
import { FILE_HEAD_BYTES, fileHead, FrameWriter } from './frames.ts'
import { DiskError, load, type Loaded } from './load.ts'
import { DAMAGED, generationsIn, logName, snapshotName, UNFINISHED } from './names.ts'
import { writeSnapshot } from './snapshot.ts'

export type Fsync = 'always' | 'everysec' | 'no'

export interface JournalOptions {
  readonly node: string
  readonly disk: Disk
  readonly fsync: Fsync
  /** A snapshot is taken so often, if there were changes; 0 = only when the log has grown. */
  readonly snapshotIntervalMs: number
  readonly clock: Clock
  readonly timers: Timers
  readonly emit: Emit
  /** For tests. */
  readonly smallestLogBytes?: number
}

/** Who waits until all changes so far are kept. */
export interface Waiting {
  /** The journal's own: up to which change it waits. */
  until: number
  readonly kept: () => void
  readonly failed: (failure: NodeFailure) => void
}

interface Pending {
  readonly undo?: () => void
  readonly redo?: () => void
}

/** A log is rewritten when it is so many times as large as the snapshot before it, and not below this size. */
const LOG_TO_SNAPSHOT = 2
const SMALLEST_LOG_BYTES = 16 * 1024 * 1024
/** At a stop, a log that can be read as fast as a snapshot is left as it is. */
const LOG_LEFT_AT_STOP_BYTES = 1024 * 1024
/** So much can be written before the process is ended anyway; beyond it the log stays as it is, too. */
const LARGEST_AT_STOP_BYTES = 128 * 1024 * 1024
const TICK_MS = 1000
/** More is written in the background. */
const WRITTEN_NOW_BYTES = 64 * 1024
/** A write that took longer held up everybody: for so long they are made in the background. */
const SLOW_WRITE_MS = 5
const SLOW_MS = 1000
const RETRY_SNAPSHOT_MS = 60_000
/** Where a whole snapshot has to be written. */
const RETRY_RECOVERY_MS = 5000
/** What the disk has not taken yet, at most. */
const MAX_PENDING_BYTES = 64 * 1024 * 1024
/** As long as the disk has no room for this, it counts as full. */
const PROBE = Buffer.alloc(64 * 1024)
const ENTRIES_PER_TURN = 2000
const PROGRESS_MS = 2000
const MARKER = MARKER_KEY.toString('latin1')

const SLOW_DISK: NodeFailure = {
  kind: 'refused',
  reason: 'too-much-in-flight',
  message: `the disk is too slow: ${MAX_PENDING_BYTES / 1024 / 1024} MiB of changes wait for it`,
}

export class Journal implements Recorder {
  private readonly options: JournalOptions
  private storage!: MemoryStorage
  private file: DiskFile | null = null
  private generation = 0
  /** Where the log ends. */
  private position = 0
  /** Of all logs since the snapshot. */
  private logBytes = 0
  private snapshotBytes = 0
  private snapshots = 0
  private snapshotAtMs: number | null = null
  private nextSnapshotMs = 0
  private changedSinceSnapshot = false

  private filling = new FrameWriter()
  private spare = new FrameWriter()
  /** Numbers of changes: made, and kept. */
  private made = 0
  private done = 0
  /** Those in between. */
  private pending: Pending[] = []
  private waiting: (Waiting & { readonly until: number })[] = []
  private writing: Promise<void> | null = null
  private slowUntilMs = 0
  private unsynced = false
  private syncing: Promise<void> | null = null
  private lastSyncMs: number | null = null
  /** So far the log is known to be on the disk. */
  private syncedTo = 0
  private extent!: Extent
  private tick: TimerHandle | null = null

  private failure: NodeFailure | null = null
  /** Number of failures. */
  private failures = 0
  /** The log may lack what it should have: only a new one can be used, after a new snapshot. */
  private isBroken = false
  /** The log is sound, and what is before it is not: it counts when its snapshot is there. */
  private lacksSnapshot = false
  /** A way back is tried: what waits is written in spite of the failure. */
  private isRecovering = false
  private isForbidden = false
  private recovering: Promise<void> | null = null
  private retryRecoveryMs = 0
  /** A sync in the background failed, and the failure was not dealt with yet. */
  private syncError: unknown = null
  private rotating: { readonly done: () => void; readonly failed: (error: unknown) => void } | null = null
  private snapshotting: Promise<void> | null = null
  private retrySnapshotMs = 0
  private closing = false
  private isLastSnapshot = false
  /** Files that could not be read, or not to their end: they are kept for people to look at. */
  private damaged: readonly string[] = []
  private lost = false
  /** Whether this run of the node began with all that was acknowledged. */
  lostNothing = false

  constructor(options: JournalOptions) {
    this.options = options
  }

  get node(): string {
    return this.options.node
  }

  // ---- start

  /** Fills the storage with what is on the disk. @throws DiskError */
  async open(storage: MemoryStorage): Promise<void> {
    try {
      await this.read(storage)
    } catch (error) {
      if (error instanceof DiskError) throw error
      throw new DiskError(`the files in ${this.options.disk.path} cannot be used: ${sentenceOf(error)}.`)
    }
  }

  private async read(storage: MemoryStorage): Promise<void> {
    const { node, disk, clock, emit } = this.options
    this.storage = storage
    const startedMs = clock.monotonicMs()
    let toldMs = startedMs
    const loaded = await load({
      ...{ node, disk },
      progress: (bytes, keys) => {
        const nowMs = clock.monotonicMs()
        if (nowMs - toldMs < PROGRESS_MS) return
        toldMs = nowMs
        emit({ kind: 'disk-loading', node, bytes, keys })
      },
    })
    this.lost = loaded.lost
    this.lostNothing = !loaded.lost
    this.extent = new Extent(disk)
    for (const damage of loaded.damages) emit({ kind: 'disk-damaged', node, path: disk.path, ...damage })
    if (loaded.torn && loaded.torn.bytes > 0)
      emit({ kind: 'disk-torn', node, path: disk.path, ...loaded.torn })
    await this.restore(loaded)
    await this.begin(loaded)
    const { bytes } = loaded
    const ms = clock.monotonicMs() - startedMs
    emit({ kind: 'disk-loaded', node, keys: storage.size, bytes, ms, lost: loaded.lost })
    this.nextSnapshotMs = clock.monotonicMs() + this.options.snapshotIntervalMs
    this.startTick()
  }

  private async restore({ entries, hints, notes, evictedKeys }: Loaded): Promise<void> {
    const { storage } = this
    const nowMs = this.options.clock.wallMs()
    storage.evictedKeys = evictedKeys
    // What does not fit any more goes while it is read, and the log is told so.
    storage.recorder = this
    let count = 0
    for (const [name, { bytes, endsAtMs }] of entries) {
      if (endsAtMs > nowMs && !storage.restore(name, bytes, endsAtMs - nowMs)) storage.evictedKeys++
      if (++count % ENTRIES_PER_TURN === 0) await this.turn()
    }
    storage.recorder = null
    for (const [target, all] of hints) {
      for (const [name, version] of all) {
        storage.hintsFor(target).note({ key: Buffer.from(name, 'latin1'), version }, Infinity)
        if (++count % ENTRIES_PER_TURN === 0) await this.turn()
      }
    }
    for (const [id, [text, atMs]] of notes) storage.notes.restore(id, text, atMs)
    storage.recorder = this
  }

  /** Goes on with the last log; where something was damaged, everything is written anew. */
  private async begin({ generations, damages, logEnd, bytes, snapshotBytes }: Loaded): Promise<void> {
    const { disk } = this.options
    const last = generations.logs.at(-1) ?? generations.snapshot
    this.generation = last
    this.snapshotBytes = snapshotBytes
    if (damages.length > 0) {
      await this.removeDamaged()
      this.damaged = damages.map(({ file }) => file)
      this.isBroken = true
      await this.takeSnapshot()
    } else if (logEnd > FILE_HEAD_BYTES) {
      this.file = await disk.open(logName(last))
      await this.file.truncate(logEnd)
      await this.file.sync()
      this.position = logEnd
      this.syncedTo = logEnd
      this.logBytes = bytes - snapshotBytes
      this.recordRun()
      // A full disk is no reason not to start: the node says so as long as it lasts.
      await this.allWritten().catch(() => undefined)
    } else {
      await this.createLog(Math.max(1, last))
    }
    await this.removeLeftovers()
    this.extent.note(this.generation, this.syncedTo)
  }

  private recordRun(): void {
    this.filling.opened({ fsync: this.options.fsync, lost: this.lost })
    this.recorded(() => this.recordRun())
  }

  /** Changes that wait go into this log from now on. */
  private async createLog(generation: number): Promise<void> {
    const { disk, node } = this.options
    const first = new FrameWriter()
    first.about({ node, generation })
    first.opened({ fsync: this.options.fsync, lost: this.lost })
    const bytes = Buffer.concat([fileHead('log'), first.taken()])
    const file = await disk.create(logName(generation))
    try {
      await file.write(bytes, 0)
      await file.sync()
      await disk.syncFolder()
      const old = this.file
      if (old) {
        await this.syncing
        // What is in the earlier log has to be there before anything is in this one.
        if (!this.isBroken) await synced(old)
        await old.close().catch(() => undefined)
      }
    } catch (error) {
      await file.close().catch(() => undefined)
      await disk.remove(logName(generation)).catch(() => undefined)
      throw error
    }
    this.file = file
    this.generation = generation
    this.position = bytes.length
    this.syncedTo = bytes.length
    this.logBytes += bytes.length
    this.unsynced = false
    if (this.isBroken) this.lacksSnapshot = true
    this.isBroken = false
  }

  // ---- what changes

  set(name: string, bytes: Buffer, lifeMs: number, undo: () => void): void {
    this.filling.set(name, bytes, this.options.clock.wallMs() + lifeMs)
    this.made++
    // Notes of the node and of coordinators change all the time.
    if (!isInternalName(name)) this.changedSinceSnapshot = true
    this.pending.push({ undo: name === MARKER ? this.undoMarker(undo) : undo })
  }

  /** The marker tells from now on whether something was lost. */
  private undoMarker(undo: () => void): () => void {
    const { lost } = this
    this.lost = false
    return () => {
      undo()
      this.lost = lost
    }
  }

  remove(name: string, evicted: boolean): void {
    this.filling.remove(name, evicted)
    this.recorded(() => this.remove(name, evicted))
  }

  clear(): void {
    this.filling.clear()
    this.recorded(() => this.clear())
  }

  hint(target: string, name: string, version: Buffer): void {
    this.filling.hint(target, name, version)
    this.recorded(() => this.hint(target, name, version))
  }

  dropHint(target: string, name: string): void {
    this.filling.dropHint(target, name)
    this.recorded(() => this.dropHint(target, name))
  }

  note(id: string, text: string, atMs: number): void {
    this.filling.note(id, text, atMs)
    this.recorded(() => this.note(id, text, atMs))
  }

  private recorded(redo: () => void): void {
    this.made++
    this.pending.push({ redo })
  }

  // ---- what waits for it

  /** Why no change may be made now; null = it may. */
  get refusal(): NodeFailure | null {
    return this.failure ?? (this.filling.length > MAX_PENDING_BYTES ? SLOW_DISK : null)
  }

  /** Everything that was changed so far is kept. */
  get isSettled(): boolean {
    return this.made === this.done
  }

  /** A batch of changes ends here. Exactly one of the calls is made, at once if there is nothing to wait for. */
  commit(waiting: Waiting): void {
    this.filling.endBatch()
    // In a failure nothing is changed but what is there no more, which nobody waits for.
    if (this.isSettled || this.failure || this.writeNow()) waiting.kept()
    else this.wait(waiting)
  }

  /** @returns false if it has to be done in the background */
  private writeNow(): boolean {
    const { file, filling } = this
    const isBusy = this.writing !== null || this.syncing !== null || this.rotating !== null
    if (this.options.fsync === 'always' || isBusy || filling.length > WRITTEN_NOW_BYTES) return false
    const bytes = filling.taken()
    if (!this.isWrittenAtOnce(file!, bytes)) return false
    this.unsynced = true
    this.written(filling, bytes.length, this.made)
    return true
  }

  /** A short write takes some microseconds here, and a hundred in the background. */
  private isWrittenAtOnce(file: DiskFile, bytes: Buffer): boolean {
    if (bytes.length > WRITTEN_NOW_BYTES || this.syncing !== null || !file.writeNow) return false
    const { clock } = this.options
    const startedMs = clock.monotonicMs()
    if (startedMs < this.slowUntilMs) return false
    try {
      // What was written in part, or not at all, is written again, and then told.
      if (!file.writeNow(bytes, this.position)) return false
    } catch {
      return false
    }
    if (clock.monotonicMs() - startedMs > SLOW_WRITE_MS) this.slowUntilMs = startedMs + SLOW_MS
    return true
  }

  private wait(waiting: Waiting): void {
    waiting.until = this.made
    this.waiting.push(waiting)
    this.pump()
  }

  /** @throws Error if the changes so far cannot be kept */
  kept(): Promise<void> {
    return new Promise((resolve, reject) => this.commit(waitingOf(resolve, reject)))
  }

  /** Nothing waits any more, whatever came of it. */
  settled(): Promise<void> {
    return this.kept().catch(() => undefined)
  }

  /** As `kept`, also in a failure. */
  private async allWritten(): Promise<void> {
    if (!this.isSettled) await new Promise<void>((resolve, reject) => this.wait(waitingOf(resolve, reject)))
  }

  private pump(): void {
    this.writing ??= this.run().finally(() => {
      this.writing = null
      if (this.hasWork) this.pump()
    })
  }

  private get hasWork(): boolean {
    if (this.rotating !== null || this.syncError !== null) return true
    return this.filling.length > 0 && (this.failure === null || this.isRecovering)
  }

  private async run(): Promise<void> {
    while (this.hasWork) {
      try {
        if (this.syncError !== null) throw new SyncFailed(this.syncError)
        else if (this.rotating) await this.rotate(this.rotating)
        else await this.writeOut()
      } catch (error) {
        this.syncError = null
        await this.fail(error)
        if (this.isRecovering) return
      }
    }
  }

  /** Writes what has come since the last time. */
  private async writeOut(): Promise<void> {
    const { filling, file } = this
    const upTo = this.made
    this.filling = this.spare
    this.spare = filling
    const bytes = filling.taken()
    try {
      if (!this.isWrittenAtOnce(file!, bytes)) await file!.write(bytes, this.position)
    } catch (error) {
      throw new WriteFailed(error)
    }
    if (this.options.fsync === 'always') await this.sync(file!)
    else this.unsynced = true
    if (this.options.fsync === 'always') this.syncedTo = this.position + bytes.length
    this.written(filling, bytes.length, upTo)
  }

  private written(frames: FrameWriter, bytes: number, upTo: number): void {
    this.position += bytes
    this.logBytes += bytes
    frames.reset()
    this.release(upTo)
    this.rewriteIfLarge()
  }

  private async sync(file: DiskFile): Promise<void> {
    const { clock } = this.options
    const startedMs = clock.monotonicMs()
    await synced(file)
    this.lastSyncMs = clock.monotonicMs() - startedMs
  }

  private release(upTo: number): void {
    this.pending = this.pending.slice(upTo - this.done)
    this.done = upTo
    let count = 0
    while (count < this.waiting.length && this.waiting[count]!.until <= upTo) count++
    const released = this.waiting.splice(0, count)
    for (const one of released) one.kept()
  }

  // ---- failures

  private async fail(error: unknown): Promise<void> {
    const { node, disk, emit } = this.options
    this.failures++
    // A write that failed may be in the file in part, or as a whole. A sync that failed cannot be repeated.
    const certain = error instanceof WriteFailed && !this.isBroken && (await this.cutBack())
    if (!certain) this.isBroken = true
    const why = sentenceOf(error instanceof WriteFailed || error instanceof SyncFailed ? error.cause : error)
    const message = `its log in ${disk.path} cannot be written: ${why}`
    const isNew = this.failure?.message !== message
    this.failure = { kind: 'refused', reason: 'misconf', message }
    if (isNew) emit({ kind: 'disk-failed', node, path: disk.path, why })
    this.takeBack({ ...this.failure, kind: certain ? 'refused' : 'unknown' })
  }

  /** What was written in part is removed from the end of the log. */
  private async cutBack(): Promise<boolean> {
    try {
      await this.file!.truncate(this.position)
      await this.file!.sync()
      return true
    } catch {
      return false
    }
  }

  private takeBack(failure: NodeFailure): void {
    const { pending, waiting } = this
    this.pending = []
    this.waiting = []
    this.filling.reset()
    this.spare.reset()
    this.done = this.made
    for (const { undo } of [...pending].reverse()) undo?.()
    for (const { redo } of pending) redo?.()
    for (const one of waiting) one.failed(failure)
  }

  /** Tries to get out of a failure. Call it when something has been changed. @throws Error if it lasts */
  recover(): Promise<void> {
    if (!this.failure) return this.kept()
    this.recovering ??= this.tryToRecover(this.failure).finally(() => {
      this.recovering = null
      this.isRecovering = false
    })
    return this.recovering
  }

  /** For good: another process has the files. */
  forbid(why: string): void {
    const { node, disk, emit } = this.options
    this.isForbidden = true
    this.failures++
    this.isBroken = true
    this.failure = {
      kind: 'refused',
      reason: 'misconf',
      message: `${disk.path} is not ours any more: ${why}`,
    }
    emit({ kind: 'disk-failed', node, path: disk.path, why })
    this.takeBack({ ...this.failure, kind: 'unknown' })
  }

  private async tryToRecover({ message }: NodeFailure): Promise<void> {
    if (this.isForbidden) throw new Error(message)
    const { clock, node, disk, emit } = this.options
    await this.writing
    await this.snapshotting?.catch(() => undefined)
    if (clock.monotonicMs() < this.retryRecoveryMs) throw new Error(message)
    const { failures } = this
    try {
      this.isRecovering = true
      if (this.isBroken || this.lacksSnapshot) await this.takeSnapshot()
      else {
        await this.file!.write(PROBE, this.position)
        if (!(await this.cutBack())) throw new Error(message)
      }
      await this.allWritten()
      if (this.failures !== failures) throw new Error(this.failure!.message)
    } catch (error) {
      if (this.isBroken || this.lacksSnapshot) this.retryRecoveryMs = clock.monotonicMs() + RETRY_RECOVERY_MS
      else if (!(await this.cutBack())) this.isBroken = true
      throw error
    }
    this.failure = null
    emit({ kind: 'disk-recovered', node, path: disk.path })
  }

  // ---- snapshots

  /** Resolves when all that the node holds is in a new snapshot on the disk. One that is under way is not enough. */
  async snapshot(): Promise<void> {
    await this.snapshotting?.catch(() => undefined)
    if (this.failure) throw new Error(this.failure.message)
    if (this.closing) throw new Error('the node is closing')
    await this.takeSnapshot()
  }

  private takeSnapshot(): Promise<void> {
    this.snapshotting ??= this.writeGeneration().finally(() => {
      this.snapshotting = null
    })
    return this.snapshotting
  }

  private async writeGeneration(): Promise<void> {
    const { node, disk, clock, emit } = this.options
    const startedMs = clock.monotonicMs()
    const { failures } = this
    const logBytesBefore = this.logBytes
    // The log that began after a failure is the one that waits for this snapshot.
    if (this.isBroken || !this.lacksSnapshot) await this.nextLog()
    const check = () => {
      if (this.failures !== failures) throw new Error('the log could not be written meanwhile')
      if (this.closing && !this.isLastSnapshot) throw new Error('the node is closing')
    }
    this.changedSinceSnapshot = false
    const written = await this.writeSnapshotFile(check)
    this.lacksSnapshot = false
    this.snapshotBytes = written.bytes
    this.logBytes = Math.max(0, this.logBytes - logBytesBefore)
    this.snapshots++
    this.snapshotAtMs = clock.wallMs()
    emit({ kind: 'disk-snapshot', node, path: disk.path, ...written, ms: clock.monotonicMs() - startedMs })
    await this.removeLeftovers()
  }

  private async writeSnapshotFile(check: () => void): Promise<{ bytes: number; entries: number }> {
    const { generation, storage } = this
    const { node, disk, clock } = this.options
    const name = snapshotName(generation)
    const file = await disk.create(name + UNFINISHED)
    try {
      const wallMs = () => clock.wallMs()
      const pause = () => this.turn()
      const written = await writeSnapshot(file, { node, generation, storage, wallMs, pause, check })
      check()
      // It may show changes that are not in the log yet.
      await this.allWritten()
      if (this.unsynced) await this.syncLog()
      check()
      await disk.rename(name + UNFINISHED, name)
      await disk.syncFolder()
      await file.close().catch(() => undefined)
      return written
    } catch (error) {
      await file.close().catch(() => undefined)
      await disk.remove(name + UNFINISHED).catch(() => undefined)
      throw error
    }
  }

  private nextLog(): Promise<void> {
    return new Promise<void>((done, failed) => {
      this.rotating = { done, failed }
      this.pump()
    })
  }

  private async rotate({ done, failed }: NonNullable<typeof this.rotating>): Promise<void> {
    this.rotating = null
    try {
      await this.createLog(this.generation + 1)
      done()
    } catch (error) {
      failed(error)
      // One that could not be made leaves the present one as it was.
      if (error instanceof SyncFailed) throw error
    }
  }

  private rewriteIfLarge(): void {
    const least = this.options.smallestLogBytes ?? SMALLEST_LOG_BYTES
    if (this.logBytes < Math.max(least, LOG_TO_SNAPSHOT * this.snapshotBytes)) return
    this.snapshotInBackground()
  }

  private snapshotInBackground(): void {
    const { node, disk, clock, emit } = this.options
    if (this.snapshotting || this.closing || this.failure) return
    if (clock.monotonicMs() < this.retrySnapshotMs) return
    this.takeSnapshot().catch((error: unknown) => {
      this.retrySnapshotMs = clock.monotonicMs() + RETRY_SNAPSHOT_MS
      if (!this.closing) emit({ kind: 'disk-snapshot-failed', node, path: disk.path, why: sentenceOf(error) })
    })
  }

  private async removeLeftovers(): Promise<void> {
    const { disk } = this.options
    const { leftovers } = generationsIn(await disk.list())
    for (const name of leftovers) {
      const isKept = this.damaged.includes(name)
      await (isKept ? disk.rename(name, name + DAMAGED) : disk.remove(name)).catch(() => undefined)
    }
  }

  /** Those of an earlier time. */
  private async removeDamaged(): Promise<void> {
    const { disk } = this.options
    for (const name of await disk.list()) if (name.endsWith(DAMAGED)) await disk.remove(name)
  }

  // ---- time

  private startTick(): void {
    this.tick = this.options.timers.setTimeout(() => this.onTick(), TICK_MS)
  }

  private onTick(): void {
    const { fsync, clock, snapshotIntervalMs } = this.options
    if (fsync === 'everysec') this.syncSoon()
    if (!this.failure) this.extent.note(this.generation, this.syncedTo)
    const nowMs = clock.monotonicMs()
    if (snapshotIntervalMs > 0 && nowMs >= this.nextSnapshotMs) {
      this.nextSnapshotMs = nowMs + snapshotIntervalMs
      if (this.changedSinceSnapshot) this.snapshotInBackground()
    }
    this.startTick()
  }

  private syncSoon(): void {
    const { file, position, generation } = this
    if (!this.unsynced || this.syncing || this.failure || !file) return
    this.unsynced = false
    this.syncing = this.syncLog()
      .then(() => {
        if (this.generation === generation) this.syncedTo = position
      })
      .catch(() => undefined) // the log knows
      .finally(() => {
        this.syncing = null
      })
  }

  /** In the background: a failure is dealt with in its turn. */
  private async syncLog(): Promise<void> {
    try {
      await this.sync(this.file!)
    } catch (error) {
      this.syncError = error instanceof SyncFailed ? error.cause : error
      this.pump()
      throw error
    }
  }

  /** Others have their turn. */
  private turn(): Promise<void> {
    return new Promise((next) => this.options.timers.endOfTurn(next))
  }

  /** For metrics. */
  get report(): NodeFiles {
    const { logBytes, snapshotBytes, snapshots, snapshotAtMs, lastSyncMs } = this
    return { logBytes, snapshotBytes, snapshots, snapshotAtMs, lastSyncMs, failures: this.failures }
  }

  // ---- end

  /** Nothing changes any more: everything is written and synced, and the next start knows that nothing is lost. */
  async close(): Promise<void> {
    if (this.closing) return
    this.closing = true
    if (this.tick) this.options.timers.clearTimeout(this.tick)
    await this.snapshotting?.catch(() => undefined)
    await this.syncing
    await this.writing
    if (!this.file) return
    if (!this.failure) await this.settled()
    const { logBytes, storage } = this
    if (!this.failure && logBytes > LOG_LEFT_AT_STOP_BYTES && storage.usedBytes < LARGEST_AT_STOP_BYTES) {
      this.isLastSnapshot = true
      await this.takeSnapshot().catch(() => undefined)
    }
    await this.writing
    if (!this.failure) await this.writeEnd().catch((error: unknown) => this.fail(error))
    storage.recorder = null
    await this.extent.close()
    await this.file.close().catch(() => undefined)
    this.file = null
  }

  private async writeEnd(): Promise<void> {
    this.filling.closed()
    await this.writeOut()
    await synced(this.file!)
    this.extent.note(this.generation, this.position)
  }
}

class WriteFailed extends Error {
  constructor(cause: unknown) {
    super('a write failed', { cause })
  }
}

class SyncFailed extends Error {
  constructor(cause: unknown) {
    super('a sync failed', { cause })
  }
}

async function synced(file: DiskFile): Promise<void> {
  try {
    await file.sync()
  } catch (error) {
    throw new SyncFailed(error)
  }
}

function waitingOf(kept: () => void, failed: (error: Error) => void): Waiting {
  return { until: 0, kept: () => kept(), failed: ({ message }) => failed(new Error(message)) }
}
