/**
 * Appends pending changes to the log, one write at a time: what comes meanwhile goes together with the next one.
 *
 * Short writes are made at once, as Redis does: the system only copies them. While a sync is under way, and for a while
 * after a write that took long, they are made in the background, so that a slow disk delays answers and nothing else.
 *
 * Whatever fails, in the background too, fails in its turn between two writes, and is told to `onFailed`.
 */
import { fileHead, FrameWriter } from './frames.ts'
import type { DiskFile } from './disk.ts'
import type { JournalOptions } from './journal-options.ts'
import type { LogHealth } from './log-health.ts'
import { logName } from './names.ts'
import { waitingOf, type PendingChanges, type Taken, type Waiting } from './pending.ts'

export class WriteFailed extends Error {
  constructor(cause: unknown) {
    super('a write failed', { cause })
  }
}

export class SyncFailed extends Error {
  constructor(cause: unknown) {
    super('a sync failed', { cause })
  }
}

export interface LogWriterHooks {
  readonly onWritten: () => void
  /** Nothing is written until it resolves. */
  readonly onFailed: (error: unknown) => Promise<void>
}

/** More is written in the background. */
const WRITTEN_NOW_BYTES = 64 * 1024
/** A write that took longer held up everybody: for so long they are made in the background. */
const SLOW_WRITE_MS = 5
const SLOW_MS = 1000
/** As long as the disk has no room for this, it counts as full. */
const PROBE = Buffer.alloc(64 * 1024)

export class LogWriter {
  generation = 0
  /** Of all logs since the snapshot. */
  bytes = 0
  /** So far the log is known to be on the disk. */
  syncedTo = 0
  lastSyncMs: number | null = null
  private readonly options: JournalOptions
  private readonly pending: PendingChanges
  private readonly health: LogHealth
  private readonly hooks: LogWriterHooks
  private file: DiskFile | null = null
  /** Where the log ends. */
  private position = 0
  private writing: Promise<void> | null = null
  private slowUntilMs = 0
  private unsynced = false
  private syncing: Promise<void> | null = null
  /** A sync in the background failed, and the failure was not dealt with yet. */
  private syncError: unknown = null
  private rotating: { readonly done: () => void; readonly failed: (error: unknown) => void } | null = null

  constructor(options: JournalOptions, pending: PendingChanges, health: LogHealth, hooks: LogWriterHooks) {
    this.options = options
    this.pending = pending
    this.health = health
    this.hooks = hooks
  }

  get isOpen(): boolean {
    return this.file !== null
  }

  // ---- files

  /** Goes on with the log of an earlier run, behind its last whole frame. @param bytes of all logs since the snapshot */
  async continueAt(end: number, bytes: number): Promise<void> {
    this.file = await this.options.disk.open(logName(this.generation))
    await this.file.truncate(end)
    await this.file.sync()
    this.position = end
    this.syncedTo = end
    this.bytes = bytes
    this.pending.run()
  }

  /** Changes that wait go into this log from now on. */
  async create(generation: number): Promise<void> {
    const { disk, node, fsync } = this.options
    const { health } = this
    const first = new FrameWriter()
    first.about({ node, generation })
    first.opened({ fsync, lost: this.pending.lost })
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
        if (!health.isBroken) await synced(old)
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
    this.bytes += bytes.length
    this.unsynced = false
    if (health.isBroken) health.lacksSnapshot = true
    health.isBroken = false
  }

  /** Begins the next log when the present write is done. */
  next(): Promise<void> {
    return new Promise<void>((done, failed) => {
      this.rotating = { done, failed }
      this.pump()
    })
  }

  private async rotate({ done, failed }: NonNullable<typeof this.rotating>): Promise<void> {
    this.rotating = null
    try {
      await this.create(this.generation + 1)
      done()
    } catch (error) {
      failed(error)
      // One that could not be made leaves the present one as it was.
      if (error instanceof SyncFailed) throw error
    }
  }

  // ---- writes

  /** @returns false if it has to be done in the background */
  writeNow(): boolean {
    const isBusy = this.writing !== null || this.syncing !== null || this.rotating !== null
    if (this.options.fsync === 'always' || isBusy || this.pending.bytes > WRITTEN_NOW_BYTES) return false
    const taken = this.pending.peek()
    if (!this.isWrittenAtOnce(this.file!, taken.bytes)) return false
    this.unsynced = true
    this.written(taken)
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

  wait(waiting: Waiting): void {
    this.pending.wait(waiting)
    this.pump()
  }

  /** Resolves when all changes so far are kept, also in a failure. */
  async allWritten(): Promise<void> {
    if (!this.pending.isSettled)
      await new Promise<void>((resolve, reject) => this.wait(waitingOf(resolve, reject)))
  }

  private pump(): void {
    this.writing ??= this.run().finally(() => {
      this.writing = null
      if (this.hasWork) this.pump()
    })
  }

  private get hasWork(): boolean {
    if (this.rotating !== null || this.syncError !== null) return true
    return this.pending.bytes > 0 && (this.health.failure === null || this.health.isRecovering)
  }

  private async run(): Promise<void> {
    while (this.hasWork) {
      try {
        if (this.syncError !== null) throw new SyncFailed(this.syncError)
        else if (this.rotating) await this.rotate(this.rotating)
        else await this.writeOut()
      } catch (error) {
        this.syncError = null
        await this.hooks.onFailed(error)
        if (this.health.isRecovering) return
      }
    }
  }

  /** Writes what has come since the last time. */
  private async writeOut(): Promise<void> {
    const { file } = this
    const taken = this.pending.take()
    const { bytes } = taken
    try {
      if (!this.isWrittenAtOnce(file!, bytes)) await file!.write(bytes, this.position)
    } catch (error) {
      throw new WriteFailed(error)
    }
    if (this.options.fsync === 'always') {
      await this.sync(file!)
      this.syncedTo = this.position + bytes.length
    } else this.unsynced = true
    this.written(taken)
  }

  private written(taken: Taken): void {
    const { length } = taken.bytes
    this.position += length
    this.bytes += length
    this.pending.release(taken)
    this.hooks.onWritten()
  }

  /** Resolves when nothing is being written. */
  async idle(): Promise<void> {
    await this.writing
  }

  // ---- syncs

  private async sync(file: DiskFile): Promise<void> {
    const { clock } = this.options
    const startedMs = clock.monotonicMs()
    await synced(file)
    this.lastSyncMs = clock.monotonicMs() - startedMs
  }

  /** In the background, if there is anything to sync. */
  syncSoon(): void {
    const { file, position, generation } = this
    if (!this.unsynced || this.syncing || this.health.failure || !file) return
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

  /** Everything that is written is on the disk then. */
  async syncWritten(): Promise<void> {
    if (this.unsynced) await this.syncLog()
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

  // ---- failures

  /** Whether the disk has room again. @throws Error if not */
  async probe(): Promise<void> {
    await this.file!.write(PROBE, this.position)
  }

  /** What was written in part is removed from the end of the log. @returns false if that was not possible */
  async cutBack(): Promise<boolean> {
    try {
      await this.file!.truncate(this.position)
      await this.file!.sync()
      return true
    } catch {
      return false
    }
  }

  // ---- end

  /** Nothing is on its way to the disk. */
  async quiet(): Promise<void> {
    await this.syncing
    await this.writing
  }

  /** Tells the next start that nothing is lost. */
  async writeEnd(): Promise<void> {
    this.pending.closed()
    await this.writeOut()
    await synced(this.file!)
    this.syncedTo = this.position
  }

  async close(): Promise<void> {
    await this.file?.close().catch(() => undefined)
    this.file = null
  }
}

async function synced(file: DiskFile): Promise<void> {
  try {
    await file.sync()
  } catch (error) {
    throw new SyncFailed(error)
  }
}
