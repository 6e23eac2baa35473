import type { Clock, Timers } from '../../../core/clock.ts'
import type { Emit } from '../../../core/events.ts'
import type { Disk } from './disk.ts'

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
