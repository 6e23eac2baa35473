/** Options of a Redis node, for both of its paths. */
import type { ConnectionOptions } from 'node:tls'
import type { Clock, Timers } from '../../core/clock.ts'
import type { ForeignValue } from '../../core/codec.ts'
import type { NearCache } from '../near/near-cache.ts'

export interface RedisNodeOptions {
  readonly id: string
  /** Before each connection: finds the address, where that is not known from the start. */
  readonly locate?: () => Promise<void>
  /** Read for each connection. */
  readonly address: {
    readonly host: string
    readonly port: number
    readonly tls: boolean
    readonly username?: string
    readonly password?: string
  }
  /** For `rediss://`: called for every connection, because certificates are renewed. */
  readonly tlsOptions?: () => ConnectionOptions
  readonly graceMs: number
  readonly nodeTimeoutMs: number
  readonly connectTimeoutMs: number
  readonly maxValueBytes: number
  /** Absent: collections that another program stored are not read. */
  readonly readDump?: ReadDump
  /** By default MAX_HINTS. */
  readonly maxHints?: number
  readonly clock: Clock
  readonly timers: Timers
  /** For how long the connection may be silent on which it tells of changes. */
  readonly maxStalenessMs?: number
  /** Absent: nothing is kept in this process. */
  readonly near?: NearOptions
}

/**
 * Reads what DUMP of Redis has returned.
 *
 * @param done called once, at once or later; null = it is damaged, or of a kind that is not known
 */
export type ReadDump = (dump: Buffer, done: (value: ForeignValue | null) => void) => void

export interface NearOptions {
  readonly cache: NearCache
  /** Nothing can be kept of this node, and why; null = it can again. */
  readonly onTracking: (why: string | null) => void
}
