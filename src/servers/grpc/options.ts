import type { ConsistencyLevel } from '../../core/consistency.ts'
import type { RondoError } from '../../core/errors.ts'
import type { Lookups } from '../../commands/run/lookups.ts'
import type { TrustedProxies } from '../../config/trusted-proxies.ts'
import type { ConnectionLimit } from '../connection-limit.ts'
import type { Ledger } from '../ledger.ts'
import type { Readiness } from '../readiness.ts'
import type { TokenTries } from '../token-tries.ts'
import type { Tokens } from '../tokens.ts'
import type { LoadingStore } from '../values.ts'
import type { Library } from './library.ts'

/** A call that has ended, for log lines and metrics. */
export interface CallEnd {
  readonly id: string
  /** `rondo.v1.Cache/Get`; `other` for methods that there are not. */
  readonly method: string
  /** The name of its status. */
  readonly status: string
  readonly ms: number
  readonly error: RondoError | null
}

export interface GrpcServerOptions extends LoadingStore, Pick<Readiness, 'accepting'> {
  readonly readConsistency: ConsistencyLevel
  readonly writeConsistency: ConsistencyLevel
  /** Milliseconds, 0 = none. */
  readonly defaultTtlMs: number
  readonly databases: number
  readonly maxKeyBytes: number
  readonly maxBatchKeys: number
  readonly maxBatchBytes: number
  readonly grpcMaxRecvBytes: number
  readonly grpcMaxSendBytes: number
  /** Idle connections are closed after this; 0 = never. */
  readonly idleMs: number
  readonly tokens: Tokens
  readonly tries: TokenTries
  /** Proxies whose x-forwarded-for is trusted. */
  readonly proxies: TrustedProxies
  readonly ledger: Ledger
  readonly connectionLimit: ConnectionLimit
  readonly monotonicMs: () => number
  readonly onEnd: (end: CallEnd) => void
}

/** What calls need of their server. */
export interface CallHost {
  readonly options: GrpcServerOptions
  readonly library: Library
  ended(end: CallEnd): void
  /** Counts keys that a call has looked up. */
  lookedUp(method: string, found: Lookups): void
}
