/**
 * What a command of the Redis protocol is, and what it sees of the connection that sent it and of the server. Implemented by
 * Connection and RespServer; commands know only these.
 */
import type { Socket } from 'node:net'
import type {
  Caller,
  CommandDescription,
  CommandSettings,
  SubcommandDescription,
} from '../../commands/model.ts'
import type { Protocol, Reply, RespError } from '../../commands/reply.ts'
import type { Step } from '../../commands/step.ts'
import type { Version } from '../../core/clock.ts'
import type { ConsistencyLevel } from '../../core/consistency.ts'
import type { Sliced } from '../../core/work.ts'
import { COMMAND_BYTES, type Account, type Ledger } from '../ledger.ts'
import type { Seats } from '../seats.ts'
import type { TokenTries } from '../token-tries.ts'
import type { Tokens } from '../tokens.ts'
import { compacted } from './connection/compact.ts'
import type { Slot, SlotOwner } from './connection/slot.ts'
import type { CommandStats } from './connection/stats.ts'
import type { Named } from './wire/parser.ts'

export interface Command extends Named, CommandDescription {
  /** With the name. Where each is a key or belongs to one, only the length of the request limits them. */
  readonly maxArguments: number
  /** What it costs to begin it (work.ts). */
  readonly units: number
  readonly subcommands?: Subcommands<unknown>
  /** Its place in the metrics. */
  readonly index: number
  /** Reads and changes its one key, whatever its arguments are. */
  readonly updates?: boolean
  /** Carried out by itself, also inside MULTI. */
  readonly control: boolean
  /** May be sent before the client has shown its password. */
  readonly open: boolean
  /** Begins when all that came before it on its connection is answered. */
  readonly inTurn?: boolean
  run(client: Client, args: Buffer[], command: Command): void
  /** For commands on keys: what it does, or why it cannot. */
  step?(client: Client, args: readonly Buffer[]): Step | RespError
  /** The same, for very many arguments. */
  stepInSlices?(client: Client, args: readonly Buffer[]): Sliced<Step | RespError>
  /** Carries it out without a place in the order of replies; errors are replies. What lacks it has no place inside MULTI. */
  alone?(client: Client, args: readonly Buffer[]): Promise<Reply>
}

/** What answers a command, or a subcommand, at once. May throw a CommandError. */
export type Answer = (client: Client, args: readonly Buffer[]) => Reply

export interface Subcommand<A = Answer> extends SubcommandDescription {
  readonly answer: A
}

/** By lower-case name. */
export type Subcommands<A = Answer> = Readonly<Record<string, Subcommand<A>>>

/** The server, as its commands see it. */
export interface ServerFacts {
  readonly options: {
    readonly readConsistency: ConsistencyLevel
    readonly writeConsistency: ConsistencyLevel
    readonly maxBatchBytes: number
    readonly crossSetMulti: 'refuse' | 'unordered'
    readonly tokens: Tokens
    readonly tries: TokenTries
    readonly ledger: Ledger
    readonly seats: Seats
    readonly idleMs: number
  }
  readonly settings: CommandSettings
  /** Without the nameless one. */
  readonly commands: readonly Command[]
  readonly connections: { readonly size: number }
  readonly connectionsReceived: number
  readonly needsPassword: boolean
  readonly port: number
  readonly startedAtMs: number
  readonly stats: { rows(): Iterable<CommandStats> }
  lookUp(name: Buffer): Command | null
  nowMs(): number
  /** A transaction touches keys that cannot be changed together: logged once. */
  onCrossSet(then: 'refuse' | 'unordered'): void
}

/** A connection, as commands see it: a caller with a state of its own and an order of replies. */
export interface Client extends Caller, SlotOwner {
  readonly server: ServerFacts
  readonly socket: Socket
  readonly id: number
  readonly openedAtMs: number
  readonly address: string
  readonly port: number
  readonly account: Account
  protocol: Protocol
  name: string
  libraryName: string
  libraryVersion: string
  readonly authenticated: boolean
  readLevel: ConsistencyLevel
  writeLevel: ConsistencyLevel
  /** CLIENT REPLY: so many replies from here on are not written. */
  unsaidReplies: number
  transaction: Transaction | null
  watch: Watch | null
  authenticate(): void
  /** RESET: a new connection's defaults. */
  reset(): void
  forgetTransaction(): void
  forgetWatch(): void
  /** Takes a place in the order of replies. */
  add(slot: Slot): void
  /** Replies at once. */
  say(reply: Reply, command?: Command): void
  /** Until `released`, commands on keys with these tokens wait; updates only if `by` is none. */
  claim(tokens: readonly number[], by?: Command): void
  /** @param by as it was claimed */
  released(tokens: readonly number[], by?: Command): void
  /** Closes the connection after the replies so far. */
  end(): void
  destroy(): void
}

// ---- MULTI and WATCH

/** A transaction of more commands is prepared in slices. */
const MANY_COMMANDS = 256

export interface Queued {
  readonly command: Command
  readonly args: readonly Buffer[]
}

/** What a client has sent since its MULTI. */
export class Transaction {
  readonly queued: Queued[] = []
  bytes = 0
  /** A command was refused: EXEC will refuse them all. */
  aborted = false
  /** A command has very many arguments. */
  hasMany = false

  /** It is prepared in slices. */
  get isLong(): boolean {
    return this.hasMany || this.queued.length > MANY_COMMANDS
  }

  /** What it takes in memory. */
  private heldBytes = 0
  private readonly account: Account

  constructor(account: Account) {
    this.account = account
  }

  add(command: Command, args: readonly Buffer[], bytes: number): void {
    this.queued.push({ command, args: compacted(args) })
    this.heldBytes += bytes
    this.account.add(bytes)
  }

  drop(): void {
    this.queued.length = 0
    this.release()
  }

  /** Nothing of it is needed any more. */
  release(): void {
    this.account.add(-this.heldBytes)
    this.heldBytes = 0
  }
}

interface Watched {
  readonly key: Buffer
  readonly version: Promise<Version>
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

  add(key: Buffer, version: Promise<Version>): void {
    const name = key.toString('latin1')
    // The first WATCH of a key counts: it may have changed since.
    if (this.keys.has(name)) return
    this.keys.set(name, { key: Buffer.from(key), version })
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
