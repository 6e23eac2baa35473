/**
 * Keeps a memory node on disk: its log, to which every change is appended, and snapshots that make old logs superfluous.
 *
 *   storage changes ──▶ frames in memory ──▶ written ──▶ (always: synced) ──▶ the calls are answered
 *                        pending.ts           log-writer.ts
 *
 *   start      load.ts reads the files, restore.ts fills the storage
 *   files      rotation.ts: new logs and their snapshots (snapshot.ts writes one)
 *   failures   recovery.ts: what is taken back, and the way back; log-health.ts is how things stand
 *
 * Invariants:
 *
 * - No call is answered before everything that it has done or seen is written; with `always`, before it is synced. So
 *   nobody has seen what a crash takes back.
 * - If a write fails, what was not written is taken back in memory, newest first, and those calls fail. Until a write
 *   succeeds the node refuses writes and can be read.
 * - At each moment a crash leaves files from which everything can be read.
 *
 * Not promised: with `everysec` and `no`, a crash of the machine loses what was not synced. The node tells by `lost`.
 */
import type { TimerHandle } from '../../../core/clock.ts'
import { sentenceOf } from '../../../core/sentence.ts'
import type { NodeFailure, NodeFiles } from '../../node.ts'
import type { MemoryStorage } from '../memory-storage.ts'
import { Extent } from './extent.ts'
import { FILE_HEAD_BYTES } from './frames.ts'
import type { JournalOptions } from './journal-options.ts'
import { DiskError, load, type Loaded } from './load.ts'
import { LogHealth } from './log-health.ts'
import { LogWriter } from './log-writer.ts'
import { PendingChanges, waitingOf, type Waiting } from './pending.ts'
import { Recovery } from './recovery.ts'
import { restore } from './restore.ts'
import { Rotation } from './rotation.ts'

export type { Fsync, JournalOptions } from './journal-options.ts'

const TICK_MS = 1000
const PROGRESS_MS = 2000
/** What the disk has not taken yet, at most. */
const MAX_PENDING_BYTES = 64 * 1024 * 1024

const SLOW_DISK: NodeFailure = {
  kind: 'refused',
  reason: 'too-much-in-flight',
  message: `the disk is too slow: ${MAX_PENDING_BYTES / 1024 / 1024} MiB of changes wait for it`,
}

export class Journal {
  /** Whether this run of the node began with all that was acknowledged. */
  lostNothing = false
  private readonly options: JournalOptions
  private readonly health = new LogHealth()
  private readonly pending: PendingChanges
  private readonly log: LogWriter
  private readonly rotation: Rotation
  private readonly recovery: Recovery
  private readonly extent: Extent
  private storage!: MemoryStorage
  private tick: TimerHandle | null = null
  private closing = false

  constructor(options: JournalOptions) {
    this.options = options
    const { health } = this
    const pending = new PendingChanges(options)
    const log = new LogWriter(options, pending, health, {
      onWritten: () => this.rotation.takeIfLarge(),
      onFailed: (error) => this.recovery.failed(error),
    })
    const rotation = new Rotation(options, log, pending, health)
    this.pending = pending
    this.log = log
    this.rotation = rotation
    this.recovery = new Recovery(options, { log, rotation, pending, health })
    this.extent = new Extent(options.disk)
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
    this.pending.lost = loaded.lost
    this.lostNothing = !loaded.lost
    for (const damage of loaded.damages) emit({ kind: 'disk-damaged', node, path: disk.path, ...damage })
    if (loaded.torn && loaded.torn.bytes > 0)
      emit({ kind: 'disk-torn', node, path: disk.path, ...loaded.torn })
    await restore(storage, loaded, this.pending, this.options)
    await this.begin(loaded)
    const { bytes } = loaded
    const ms = clock.monotonicMs() - startedMs
    emit({ kind: 'disk-loaded', node, keys: storage.size, bytes, ms, lost: loaded.lost })
    this.rotation.startInterval()
    this.startTick()
  }

  /** Goes on with the last log; where something was damaged, everything is written anew. */
  private async begin({ generations, damages, logEnd, bytes, snapshotBytes }: Loaded): Promise<void> {
    const { log, rotation } = this
    const last = generations.logs.at(-1) ?? generations.snapshot
    log.generation = last
    rotation.open(this.storage, snapshotBytes)
    if (damages.length > 0) await rotation.replace(damages.map(({ file }) => file))
    else if (logEnd > FILE_HEAD_BYTES) {
      await log.continueAt(logEnd, bytes - snapshotBytes)
      // A full disk is no reason not to start: the node says so as long as it lasts.
      await log.allWritten().catch(() => undefined)
    } else await log.create(Math.max(1, last))
    await rotation.removeLeftovers()
    this.noteExtent()
  }

  private noteExtent(): void {
    this.extent.note(this.log.generation, this.log.syncedTo)
  }

  // ---- what waits for it

  /** Why no change may be made now; null = it may. */
  get refusal(): NodeFailure | null {
    return this.health.failure ?? (this.pending.bytes > MAX_PENDING_BYTES ? SLOW_DISK : null)
  }

  /** Everything that was changed so far is kept. */
  get isSettled(): boolean {
    return this.pending.isSettled
  }

  /** A batch of changes ends here. Exactly one of the calls is made, at once if there is nothing to wait for. */
  commit(waiting: Waiting): void {
    this.pending.endBatch()
    // In a failure nothing is changed but what is there no more, which nobody waits for.
    if (this.isSettled || this.health.failure || this.log.writeNow()) waiting.kept()
    else this.log.wait(waiting)
  }

  /** @throws Error if the changes so far cannot be kept */
  kept(): Promise<void> {
    return new Promise((resolve, reject) => this.commit(waitingOf(resolve, reject)))
  }

  /** Nothing waits any more, whatever came of it. */
  settled(): Promise<void> {
    return this.kept().catch(() => undefined)
  }

  /** Tries to get out of a failure. Call it when something has been changed. @throws Error if it lasts */
  recover(): Promise<void> {
    const { failure } = this.health
    return failure ? this.recovery.recover(failure) : this.kept()
  }

  /** For good: another process has the files. */
  forbid(why: string): void {
    this.recovery.forbid(why)
  }

  /** Resolves when all that the node holds is in a new snapshot on the disk. One that is under way is not enough. */
  snapshot(): Promise<void> {
    return this.rotation.takeNow()
  }

  // ---- time

  private startTick(): void {
    this.tick = this.options.timers.setTimeout(() => this.onTick(), TICK_MS)
  }

  private onTick(): void {
    if (this.options.fsync === 'everysec') this.log.syncSoon()
    if (!this.health.failure) this.noteExtent()
    this.rotation.takeIfDue()
    this.startTick()
  }

  /** For metrics. */
  get report(): NodeFiles {
    const { snapshotBytes, snapshots, snapshotAtMs } = this.rotation
    const { bytes: logBytes, lastSyncMs } = this.log
    return { logBytes, snapshotBytes, snapshots, snapshotAtMs, lastSyncMs, failures: this.health.failures }
  }

  // ---- end

  /** Nothing changes any more: everything is written and synced, and the next start knows that nothing is lost. */
  async close(): Promise<void> {
    if (this.closing) return
    this.closing = true
    if (this.tick) this.options.timers.clearTimeout(this.tick)
    const { log, health } = this
    await this.rotation.stop()
    await log.quiet()
    if (!log.isOpen) return
    if (!health.failure) await this.settled()
    if (!health.failure) await this.rotation.takeLast()
    await log.idle()
    if (!health.failure) await this.writeEnd().catch((error: unknown) => this.recovery.failed(error))
    this.storage.recorder = null
    await this.extent.close()
    await log.close()
  }

  private async writeEnd(): Promise<void> {
    await this.log.writeEnd()
    this.noteExtent()
  }
}
