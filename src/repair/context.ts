/** What every repair needs. */
import type { Cluster } from '../cluster/cluster.ts'
import type { MonotonicClock, Timers } from '../core/clock.ts'
import type { Emit } from '../core/events.ts'

export interface RepairContext {
  readonly cluster: Cluster
  /** N: home replicas of a key. */
  readonly replicas: number
  readonly requestTimeoutMs: number
  readonly clock: MonotonicClock
  readonly timers: Timers
  readonly emit: Emit
  /** Names this coordinator in leases. */
  readonly owner: string
}

export const LEASE_MS = 10_000
