/** What every repair needs. */
import type { Cluster } from '../cluster/cluster.ts'
import type { MonotonicClock, Timers } from '../core/clock.ts'
import type { StoredRecord } from '../core/codec.ts'
import type { Emit } from '../core/events.ts'

export interface RepairContext {
  readonly cluster: Cluster
  readonly requestTimeoutMs: number
  readonly clock: MonotonicClock
  readonly timers: Timers
  readonly emit: Emit
  /**
   * Writes a record, or a newer one that is found, to a majority of the key's home replicas under a new version, past
   * abandoned promises. Rejects if it cannot.
   */
  readonly settle: (key: Buffer, record: StoredRecord) => Promise<void>
  /** What a majority of the key's home replicas holds. Rejects if it cannot be read. */
  readonly read: (key: Buffer) => Promise<StoredRecord | null>
  /** Operations of clients are under way. */
  readonly isServing: () => boolean
  /** 16 bytes that no client knows (round/compared.ts). */
  readonly secret: Buffer
  /** This coordinator's name in leases: its id in /cluster. */
  readonly owner: string
}

export const LEASE_MS = 10_000
/** On filling a member, and on a change of members: whoever works renews it once a second (steered.ts). */
export const MOVING_LEASE_MS = 5000
/** Taking a lease for this time releases it. */
export const GIVEN_BACK_MS = 1
