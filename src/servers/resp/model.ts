/**
 * Interfaces of the Redis protocol server: a command, and what it sees of its connection (`Client`) and of the server
 * (`ServerFacts`). Connection and RespServer implement them; commands depend on nothing else.
 */
import type { CrossSetOutcome } from '../../core/events.ts'
import type { Socket } from 'node:net'
import type {
  Caller,
  CommandDescription,
  CommandSettings,
  Execute,
  FlushProgress,
} from '../../commands/model.ts'
import type { Protocol, Reply, RespError } from '../../commands/reply.ts'
import type { Lookups } from '../../commands/run/lookups.ts'
import type { Step, SubcommandDescription } from '../../commands/step.ts'
import type { MemberChanges, Wait } from '../../coordinator/api.ts'
import type { Version } from '../../core/clock.ts'
import type { ConsistencyLevel } from '../../core/consistency.ts'
import type { ReadThrough } from '../../loader/api.ts'
import type { DeleteJobs } from '../delete-jobs.ts'
import type { Fills } from '../../loader/fills.ts'
import type { Sliced } from '../../core/work.ts'
import type { Steered } from '../rebalance.ts'
import { COMMAND_BYTES, type Account, type Ledger } from '../ledger.ts'
import type { ConnectionLimit } from '../connection-limit.ts'
import type { Rates } from './rates.ts'
import type { SlowLog } from './slow-log.ts'
import type { TokenTries } from '../token-tries.ts'
import type { Tokens } from '../tokens.ts'
import type { ClientTracking } from './connection/client-tracking.ts'
import { compacted } from './connection/compact.ts'
import type { Slot, SlotOwner } from './connection/slot.ts'
import type { Subscribed } from './connection/subscribed.ts'
import type { CommandStats } from './connection/stats.ts'
import type { Named } from './wire/parser.ts'

export interface Command extends Named, CommandDescription {
  /** Not all of its arguments are keys, belong to keys, or are operands: then MAX_ARGUMENTS limits them. */
  readonly takesOptions: boolean
  /** Cost of starting it, in work units (work.ts). */
  readonly units: number
  readonly subcommands?: Subcommands<unknown>
  /** Its row in the metrics. */
  readonly index: number
  /** See CommandSpec. */
  readonly manyOperands?: boolean | undefined
  /** Always reads and changes exactly one key, whatever its arguments are. */
  readonly updates?: boolean
  /** Executed at once, also inside MULTI. */
  readonly control: boolean
  /** Allowed for unauthenticated clients. */
  readonly open: boolean
  /** Allowed for RESP2 clients that subscribe to something. */
  readonly whileSubscribed?: boolean
  /** Starts when all earlier commands of its connection are answered. */
  readonly inTurn?: boolean
  /** Starts when all earlier commands of its connection are answered that do not hand something over (hand-over.ts). */
  readonly handsOver: boolean
  run(client: Client, args: Buffer[], command: Command): void
  /** For commands on keys: the step, or the reason why there is none; null = these arguments name no key. */
  step?(caller: Caller, args: readonly Buffer[]): Step | RespError | null
  /** The same, for very many arguments. */
  stepInSlices?(caller: Caller, args: readonly Buffer[]): Sliced<Step | RespError>
  /** Executes it without a reply slot; errors are replies. A command without it is not allowed inside MULTI. */
  alone?(client: Client, args: readonly Buffer[]): Promise<Reply>
  /** It needs no connection, so that other servers offer it too (command-host.ts). Errors are replies. */
  execute?: Execute | undefined
}

/** Replies to a command or subcommand synchronously. May throw a CommandError. */
export type Answer = (client: Client, args: readonly Buffer[]) => Reply

export interface Subcommand<A = Answer> extends SubcommandDescription {
  readonly answer: A
}

/** By lower-case name. */
export type Subcommands<A = Answer> = Readonly<Record<string, Subcommand<A>>>

/** `default` uses the keys, `admin` changes the cluster: DATA_TOKEN and ADMIN_TOKEN. */
export const USERS = ['default', 'admin'] as const
export type User = (typeof USERS)[number]

/** The server, as its commands see it. */
export interface ServerFacts {
  readonly options: {
    readonly readConsistency: ConsistencyLevel
    readonly writeConsistency: ConsistencyLevel
    readonly maxBatchBytes: number
    readonly maxTransactionCommands: number
    readonly maxArguments: number
    readonly crossSetMulti: 'refuse' | 'unordered'
    /** Null: nothing is loaded. */
    readonly loader: ReadThrough | null
    readonly fills: Fills
    readonly deleteJobs: Pick<DeleteJobs, 'create' | 'list' | 'get' | 'cancel'>
    readonly changes: MemberChanges
    readonly rebalance: Steered
    readonly tokens: Tokens
    readonly tries: TokenTries
    readonly ledger: Ledger
    readonly connectionLimit: ConnectionLimit
    readonly idleMs: number
  }
  readonly settings: CommandSettings
  /** Without the placeholder for unknown commands. */
  readonly commands: readonly Command[]
  readonly connections: ReadonlySet<Client>
  readonly connectionsReceived: number
  readonly needsPassword: boolean
  readonly port: number
  readonly startedAtMs: number
  readonly stats: {
    /** Commands of all kinds. */
    readonly total: number
    readonly lookups: readonly { readonly hits: number; readonly misses: number }[]
    lookedUp(command: string, found: Lookups): void
    /** The same for one key. @param index of the command, in this table */
    lookedUpOne(index: number, isFound: boolean): void
    readonly errorsByCode: ReadonlyMap<string, number>
    rows(): Iterable<CommandStats>
  }
  /** Bytes read from clients and written to them, without TLS. */
  readonly traffic: { readonly inputBytes: number; readonly outputBytes: number }
  readonly rates: Rates
  readonly slowLog: SlowLog
  /** Nobody begins to wait any more. */
  readonly isClosing: boolean
  lookUp(name: Buffer): Command | null
  nowMs(): number
  /** In the unit of Slot.startedUs. */
  nowUs(): number
  /** A transaction touches keys that do not share a replica set: each outcome is logged once. */
  onCrossSet(then: CrossSetOutcome): void
  onFlush(progress: FlushProgress): void
}

/** A connection, as commands see it: a caller with session state and ordered replies. */
export interface Client extends Caller, SlotOwner {
  readonly server: ServerFacts
  readonly socket: Socket
  readonly id: number
  readonly openedAtMs: number
  readonly address: string
  readonly port: number
  readonly account: Account
  /** SELECT replaces it. */
  settings: CommandSettings
  protocol: Protocol
  name: string
  libraryName: string
  libraryVersion: string
  readonly authenticated: boolean
  readonly user: User
  /** The client has closed its end, or is gone: it sends no more, and may not read any more. */
  readonly inputEnded: boolean
  /** Of the last command that it sent; null = none yet. */
  readonly lastCommand: string | null
  /** For how long it has neither sent nor read anything; known to a second. */
  idleMs(nowMs: number): number
  readLevel: ConsistencyLevel
  writeLevel: ConsistencyLevel
  /** CLIENT REPLY: the next so many replies are not written. */
  suppressedReplies: number
  transaction: Transaction | null
  watch: Watch | null
  /** Its command waits for an element, or looks for one; null = none does. */
  wait: Wait<Reply> | null
  readonly subscribed: Subscribed
  /** CLIENT TRACKING; null = off. */
  tracking: ClientTracking | null
  /** It is gone, or is about to be. */
  readonly isLeaving: boolean
  /** To anything. */
  readonly isSubscribed: boolean
  authenticate(user: User): void
  /** RESET: a new connection's defaults. */
  reset(): void
  forgetTransaction(): void
  stopTracking(): void
  /**
   * Sends what it has not asked for, behind the replies to the commands that it has begun.
   *
   * @param isOfReads only behind those on keys, which it may keep (CLIENT TRACKING)
   * @returns false: it is gone, or is about to be
   */
  push(encoded: Buffer, isOfReads?: boolean): boolean
  forgetWatch(): void
  /** Appends a slot to the queue of replies. */
  add(slot: Slot): void
  /** Replies at once. */
  say(reply: Reply, command?: Command): void
  /**
   * Until `released`, commands on keys with these tokens wait.
   *
   * @param by the command that claims them: updates do not wait for updates, nor reads for reads
   */
  claim(tokens: readonly number[], by?: Command): void
  /** @param by as passed to `claim` */
  released(tokens: readonly number[], by?: Command): void
  /** Closes the connection after the replies so far. */
  end(): void
  destroy(): void
}

// ---- MULTI and WATCH

/** A transaction of more commands than this is prepared in slices. */
const MANY_COMMANDS = 256

export interface Queued {
  readonly command: Command
  readonly args: readonly Buffer[]
}

/** The commands queued since MULTI. */
export class Transaction {
  readonly queued: Queued[] = []
  bytes = 0
  /** A command was refused: EXEC will fail. */
  aborted = false
  /** A command has very many arguments. */
  hasMany = false
  /** A command hands something over. */
  handsOver = false

  /** Prepared in slices. */
  get isLong(): boolean {
    return this.hasMany || this.queued.length > MANY_COMMANDS
  }

  private heldBytes = 0
  private readonly account: Account

  constructor(account: Account) {
    this.account = account
  }

  add(command: Command, args: readonly Buffer[], bytes: number): void {
    this.queued.push({ command, args: compacted(args) })
    if (command.handsOver) this.handsOver = true
    this.hold(bytes)
  }

  /** Counts memory until `release`: a queued command, or its reply. */
  hold(bytes: number): void {
    this.heldBytes += bytes
    this.account.add(bytes)
  }

  drop(): void {
    this.queued.length = 0
    this.release()
  }

  /** Returns its memory to the account. */
  release(): void {
    this.account.add(-this.heldBytes)
    this.heldBytes = 0
  }
}

/** What WATCH saw under a key. */
export interface Seen {
  /** Of a value, or of the tombstone of a deleted one; VERSION_ZERO = nothing was stored. */
  readonly version: Version
  /** False: absent, deleted, or expired. */
  readonly isLive: boolean
}

interface Watched {
  readonly key: Buffer
  readonly seen: Promise<Seen>
}

/** The keys that a connection watches. */
export class Watch {
  private readonly keys = new Map<string, Watched>()
  private readonly account: Account
  private heldBytes = 0

  constructor(account: Account) {
    this.account = account
  }

  get size(): number {
    return this.keys.size
  }

  add(key: Buffer, seen: Promise<Seen>): void {
    const name = key.toString('latin1')
    // The first WATCH of a key counts: the key may have changed since.
    if (this.keys.has(name)) return
    this.keys.set(name, { key: Buffer.from(key), seen })
    const bytes = 2 * key.length + COMMAND_BYTES
    this.heldBytes += bytes
    this.account.add(bytes)
  }

  release(): void {
    this.account.add(-this.heldBytes)
    this.heldBytes = 0
  }

  get all(): readonly Watched[] {
    return [...this.keys.values()]
  }
}
