/**
 * Goes from one generation of files to the next: a new log begins, a snapshot of everything is taken beside it, and the
 * earlier files go when the snapshot has its name. At each moment a crash leaves files from which everything can be read.
 */
import { sentenceOf } from '../../../core/sentence.ts'
import type { MemoryStorage } from '../memory-storage.ts'
import type { JournalOptions } from './journal-options.ts'
import type { LogHealth } from './log-health.ts'
import type { LogWriter } from './log-writer.ts'
import { DAMAGED, generationsIn, snapshotName, UNFINISHED } from './names.ts'
import type { PendingChanges } from './pending.ts'
import { writeSnapshot } from './snapshot.ts'

/** A log is rewritten when it is so many times as large as the snapshot before it, and not below this size. */
const LOG_TO_SNAPSHOT = 2
const SMALLEST_LOG_BYTES = 16 * 1024 * 1024
/** At a stop, a log that can be read as fast as a snapshot is left as it is. */
const LOG_LEFT_AT_STOP_BYTES = 1024 * 1024
/** So much can be written before the process is ended anyway; beyond it the log stays as it is, too. */
const LARGEST_AT_STOP_BYTES = 128 * 1024 * 1024
const RETRY_SNAPSHOT_MS = 60_000

export class Rotation {
  snapshotBytes = 0
  snapshots = 0
  snapshotAtMs: number | null = null
  private readonly options: JournalOptions
  private readonly log: LogWriter
  private readonly pending: PendingChanges
  private readonly health: LogHealth
  private storage!: MemoryStorage
  private snapshotting: Promise<void> | null = null
  private nextMs = 0
  private retryMs = 0
  private closing = false
  private isLast = false
  /** Files that could not be read, or not to their end: they are kept for people to look at. */
  private damaged: readonly string[] = []

  constructor(options: JournalOptions, log: LogWriter, pending: PendingChanges, health: LogHealth) {
    this.options = options
    this.log = log
    this.pending = pending
    this.health = health
  }

  /** What snapshots show, and how large the last one was. */
  open(storage: MemoryStorage, snapshotBytes: number): void {
    this.storage = storage
    this.snapshotBytes = snapshotBytes
  }

  // ---- when

  /** The interval begins. */
  startInterval(): void {
    this.nextMs = this.options.clock.monotonicMs() + this.options.snapshotIntervalMs
  }

  /** Call it now and then. */
  takeIfDue(): void {
    const { clock, snapshotIntervalMs } = this.options
    const nowMs = clock.monotonicMs()
    if (snapshotIntervalMs === 0 || nowMs < this.nextMs) return
    this.nextMs = nowMs + snapshotIntervalMs
    if (this.pending.changedKeys) this.takeInBackground()
  }

  takeIfLarge(): void {
    const least = this.options.smallestLogBytes ?? SMALLEST_LOG_BYTES
    if (this.log.bytes < Math.max(least, LOG_TO_SNAPSHOT * this.snapshotBytes)) return
    this.takeInBackground()
  }

  private takeInBackground(): void {
    const { node, disk, clock, emit } = this.options
    if (this.snapshotting || this.closing || this.health.failure) return
    if (clock.monotonicMs() < this.retryMs) return
    this.take().catch((error: unknown) => {
      this.retryMs = clock.monotonicMs() + RETRY_SNAPSHOT_MS
      if (!this.closing) emit({ kind: 'disk-snapshot-failed', node, path: disk.path, why: sentenceOf(error) })
    })
  }

  /** Resolves when all that the node holds is in a new snapshot on the disk. One that is under way is not enough. */
  async takeNow(): Promise<void> {
    await this.idle()
    if (this.health.failure) throw new Error(this.health.failure.message)
    if (this.closing) throw new Error('the node is closing')
    await this.take()
  }

  /** Resolves when none is being taken. */
  async idle(): Promise<void> {
    await this.snapshotting?.catch(() => undefined)
  }

  /** No other begins, and one that is under way is given up. */
  async stop(): Promise<void> {
    this.closing = true
    await this.idle()
  }

  /** The last one, if that makes the next start faster. */
  async takeLast(): Promise<void> {
    if (this.log.bytes <= LOG_LEFT_AT_STOP_BYTES || this.storage.usedBytes >= LARGEST_AT_STOP_BYTES) return
    this.isLast = true
    await this.take().catch(() => undefined)
  }

  // ---- how

  /** @throws Error if it could not be taken */
  take(): Promise<void> {
    this.snapshotting ??= this.writeGeneration().finally(() => {
      this.snapshotting = null
    })
    return this.snapshotting
  }

  private async writeGeneration(): Promise<void> {
    const { node, disk, clock, emit } = this.options
    const { log, health } = this
    const startedMs = clock.monotonicMs()
    const { failures } = health
    const logBytesBefore = log.bytes
    // The log that began after a failure is the one that waits for this snapshot.
    if (health.isBroken || !health.lacksSnapshot) await log.next()
    const check = () => {
      if (health.failures !== failures) throw new Error('the log could not be written meanwhile')
      if (this.closing && !this.isLast) throw new Error('the node is closing')
    }
    this.pending.changedKeys = false
    const written = await this.writeFile(check)
    health.lacksSnapshot = false
    this.snapshotBytes = written.bytes
    log.bytes = Math.max(0, log.bytes - logBytesBefore)
    this.snapshots++
    this.snapshotAtMs = clock.wallMs()
    emit({ kind: 'disk-snapshot', node, path: disk.path, ...written, ms: clock.monotonicMs() - startedMs })
    await this.removeLeftovers()
  }

  private async writeFile(check: () => void): Promise<{ bytes: number; entries: number }> {
    const { log, storage } = this
    const { generation } = log
    const { node, disk, clock, timers } = this.options
    const name = snapshotName(generation)
    const file = await disk.create(name + UNFINISHED)
    try {
      const wallMs = () => clock.wallMs()
      const pause = () => new Promise<void>((next) => timers.endOfTurn(next))
      const written = await writeSnapshot(file, { node, generation, storage, wallMs, pause, check })
      check()
      // It may show changes that are not in the log yet.
      await log.allWritten()
      await log.syncWritten()
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

  /** Some files are damaged: everything is written anew, and they are put aside. */
  async replace(damaged: readonly string[]): Promise<void> {
    const { disk } = this.options
    // Those of an earlier time.
    for (const name of await disk.list()) if (name.endsWith(DAMAGED)) await disk.remove(name)
    this.damaged = damaged
    this.health.isBroken = true
    await this.take()
  }

  /** Files that do not count any more. */
  async removeLeftovers(): Promise<void> {
    const { disk } = this.options
    const { leftovers } = generationsIn(await disk.list())
    for (const name of leftovers) {
      const isKept = this.damaged.includes(name)
      await (isKept ? disk.rename(name, name + DAMAGED) : disk.remove(name)).catch(() => undefined)
    }
  }
}
