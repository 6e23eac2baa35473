/** An HTTP request as the caller of commands (commands/model.ts): what a connection of the Redis protocol is for its own. */
import type { Caller, CommandSettings, FlushProgress, MemoryAccount } from '../../../commands/model.ts'
import type { Lookups } from '../../../commands/run/lookups.ts'
import type { KeyStore } from '../../../coordinator/api.ts'
import { strongerOf, type ConsistencyLevel } from '../../../core/consistency.ts'
import { RondoError } from '../../../core/errors.ts'
import type { CommandHost } from '../../command-host.ts'
import type { Exchange } from '../exchange.ts'

export interface CallerOptions {
  readonly database: number
  /** Of reads and writes; undefined = the configured ones. */
  readonly level?: ConsistencyLevel | undefined
  /** That, or the configured ones, are raised to this. */
  readonly atLeast?: ConsistencyLevel
}

/** For a socket of another server (createApp), whose memory is not counted. */
const UNCOUNTED: MemoryAccount = {
  mustWait: false,
  isRefused: false,
  add: () => undefined,
  refusal: () => new RondoError('OVERLOADED', 'The process has no memory left for this request.'),
}

export class RequestCaller implements Caller {
  waiting = 0
  begunAtMs = 0
  /** No other command follows this one. */
  readonly added = 0
  readonly store: KeyStore
  readonly loader: Caller['loader']
  readonly readLevel: ConsistencyLevel
  readonly writeLevel: ConsistencyLevel
  readonly settings: CommandSettings
  readonly account: MemoryAccount
  readonly work: Caller['work']
  readonly cursors: Caller['cursors']
  readonly flushes: Caller['flushes']
  readonly scripts: Caller['scripts']
  private readonly exchange: Exchange
  private readonly host: CommandHost

  constructor(exchange: Exchange, host: CommandHost, store: KeyStore, options: CallerOptions) {
    const { database, level, atLeast = 'one' } = options
    this.exchange = exchange
    this.host = host
    this.store = store
    this.loader = host.options.loader
    this.readLevel = strongerOf(level ?? host.options.readConsistency, atLeast)
    this.writeLevel = strongerOf(level ?? host.options.writeConsistency, atLeast)
    this.settings = { ...host.settings, database }
    this.account = exchange.account ?? UNCOUNTED
    this.work = host.work
    this.cursors = host.cursors
    this.flushes = host.flushes
    this.scripts = host.scripts
  }

  get gone(): boolean {
    return this.exchange.req.socket.destroyed
  }

  get unheard(): boolean {
    return !this.exchange.isWanted
  }

  noneWaits(): void {
    // nothing of the request waits behind its operations
  }

  lookedUp(command: string, found: Lookups): void {
    this.exchange.lookedUp(command, found)
  }

  onFlush(progress: FlushProgress): void {
    this.host.onFlush(progress)
  }
}
