/**
 * Takes a snapshot every so often. What it goes by is the folder: one is due when the newest `auto-…` in it is old enough,
 * whoever has written that, and that is looked at once more when no other can begin any more. So coordinators with one folder
 * take one together, and each that has a folder of its own takes its own, one after the other.
 */
import type { KeyStore } from '../coordinator/api.ts'
import type { TimerHandle, Timers } from '../core/clock.ts'
import { RondoError } from '../core/errors.ts'
import type { Emit } from '../core/events.ts'
import { sentenceOf } from '../core/sentence.ts'
import type { SnapshotFolder } from './folder.ts'
import type { JobState } from './job.ts'
import { scheduledAtMs, scheduledName } from './names.ts'

export interface ScheduleOptions {
  readonly store: KeyStore
  readonly folder: SnapshotFolder
  /** 0 = never. */
  readonly intervalMs: number
  readonly keep: number
  /** Resolves when it has ended. @throws RondoError CONFLICT if another runs, or it is not due any more */
  readonly take: (name: string, isDue: () => Promise<boolean>) => Promise<JobState>
  readonly timers: Timers
  readonly emit: Emit
}

const SHORTEST_PAUSE_MS = 1000
/** Another coordinator writes one; or this one has failed to. */
const BUSY_PAUSE_MS = 5000
const FAILED_PAUSE_MS = 60_000
/** No timer is longer: clocks may be set, and snapshots deleted. */
const LONGEST_PAUSE_MS = 60_000

export class Schedule {
  private readonly options: ScheduleOptions
  private timer: TimerHandle | null = null
  private current: Promise<void> = Promise.resolve()
  private isStopped = false
  private toldWhy: string | null = null

  constructor(options: ScheduleOptions) {
    this.options = options
  }

  start(): void {
    if (this.options.intervalMs > 0) this.sleep(SHORTEST_PAUSE_MS)
  }

  /** Whoever runs the one that it waits for has to stop that as well. */
  async stop(): Promise<void> {
    this.isStopped = true
    if (this.timer) this.options.timers.clearTimeout(this.timer)
    await this.current
  }

  private sleep(ms: number): void {
    if (this.isStopped) return
    this.timer = this.options.timers.setTimeout(() => {
      this.current = this.look().then((nextMs) => this.sleep(nextMs))
    }, ms)
  }

  /** Takes one if it is due. Never rejects. @returns when to look again */
  private async look(): Promise<number> {
    const { store, take } = this.options
    try {
      const dueMs = await this.dueInMs()
      if (dueMs > 0) return Math.max(SHORTEST_PAUSE_MS, Math.min(LONGEST_PAUSE_MS, dueMs))
      const state = await take(scheduledName(store.nowMs()), async () => (await this.dueInMs()) <= 0)
      this.toldWhy = null
      if (state !== 'finished') return FAILED_PAUSE_MS
      await this.removeOld()
      return SHORTEST_PAUSE_MS
    } catch (error) {
      if (error instanceof RondoError && error.code === 'CONFLICT') return BUSY_PAUSE_MS
      if (!this.isStopped) this.tell(sentenceOf(error))
      return FAILED_PAUSE_MS
    }
  }

  /** Why it cannot even begin: not each minute again. */
  private tell(why: string): void {
    if (why === this.toldWhy) return
    this.toldWhy = why
    this.options.emit({ kind: 'snapshot-failed', what: 'snapshot', name: null, cancelled: false, why })
  }

  /** A snapshot from the future, by a clock that was set back since, counts as one of now. */
  private async dueInMs(): Promise<number> {
    const { store, folder, intervalMs } = this.options
    const newest = (await folder.scheduled()).at(-1)
    const nowMs = store.nowMs()
    return newest === undefined ? 0 : Math.min(nowMs, scheduledAtMs(newest)) + intervalMs - nowMs
  }

  private async removeOld(): Promise<void> {
    const { folder, keep, emit } = this.options
    const names = await folder.scheduled()
    let failure: Error | null = null
    for (const name of names.slice(0, Math.max(0, names.length - keep))) {
      try {
        await folder.remove(name)
        emit({ kind: 'snapshot-removed', name, keep })
      } catch (error) {
        // Somebody else has removed it; or it cannot be removed, which is no reason to keep the others.
        if (!(error instanceof RondoError) || error.code !== 'SNAPSHOT_NOT_FOUND') failure ??= error as Error
      }
    }
    if (failure !== null) throw failure
  }
}
