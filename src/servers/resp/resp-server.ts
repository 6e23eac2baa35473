/**
 * The Redis protocol server: accepts connections, dispatches commands, and writes replies once per connection and turn of
 * the event loop. It shares the coordinator with the HTTP server: both serve the same data.
 */
import type { Socket } from 'node:net'
import type { KeyStore, MemberChanges } from '../../coordinator/api.ts'
import type { Steered } from '../rebalance.ts'
import type { ReadThrough } from '../../loader/api.ts'
import type { DeleteJobs } from '../delete-jobs.ts'
import type { Fills } from '../../loader/fills.ts'
import type { Timers } from '../../core/clock.ts'
import type { CrossSetOutcome, Emit } from '../../core/events.ts'
import type { ConsistencyLevel } from '../../core/consistency.ts'
import { COMMANDS, lookUp, EMPTY_COMMAND } from './table.ts'
import type { CommandSettings, FlushProgress } from '../../commands/model.ts'
import type { Scripts } from '../../commands/scripts/api.ts'
import type { Command } from './model.ts'
import type { ClientTracking } from './connection/client-tracking.ts'
import { Connection, type Host } from './connection/connection.ts'
import { OtherProtocols, type OtherProtocol } from './wire/other-protocol.ts'
import { NearGets } from './connection/near-gets.ts'
import { Output } from './wire/output.ts'
import type { ParserOptions } from './wire/parser.ts'
import { Flushes } from '../../commands/keys/flushes.ts'
import { ScanCursors } from '../../commands/keys/scan-cursor.ts'
import { MessageEncoder } from './connection/push-slot.ts'
import type { Slot } from './connection/slot.ts'
import { Stats } from './connection/stats.ts'
import { Rates } from './rates.ts'
import { SlowLog } from './slow-log.ts'
import { CommandFailures } from './command-failures.ts'
import type { ClientEnd } from '../proxy-header.ts'
import { addressText } from '../../config/client-address.ts'
import type { Tokens } from '../tokens.ts'
import type { TokenTries } from '../token-tries.ts'
import type { TrustedProxies } from '../../config/trusted-proxies.ts'
import type { CommandHost, OfferedCommand } from '../command-host.ts'
import type { Ledger } from '../ledger.ts'
import type { ConnectionLimit } from '../connection-limit.ts'
import { RespError } from '../../commands/reply.ts'
import { wrongNumber } from './session/session-command.ts'
import { noteBegun, noteReads } from './session/tracking.ts'
import { queue, refuse } from './session/transaction.ts'
import { CLOSING } from './session/blocking.ts'
import { isUnheardRead, runUnheard } from './session/unheard.ts'
import { unknownCommand } from './session/unknown.ts'
import { Work } from '../../core/work.ts'
import { sentenceOf } from '../../core/sentence.ts'

export interface RespServerOptions extends Omit<CommandSettings, 'database'> {
  readonly store: KeyStore
  readonly loader: ReadThrough | null
  readonly fills: Fills
  readonly scripts: Scripts
  readonly deleteJobs: Pick<DeleteJobs, 'create' | 'list' | 'get' | 'cancel'>
  readonly readConsistency: ConsistencyLevel
  readonly writeConsistency: ConsistencyLevel
  /** Of all arguments of one command. */
  readonly maxBatchBytes: number
  readonly maxTransactionCommands: number
  /** Of a command whose arguments are not all keys: its options are parsed one by one. */
  readonly maxArguments: number
  /** How to handle a transaction whose keys do not share a replica set. */
  readonly crossSetMulti: 'refuse' | 'unordered'
  readonly emit: Emit
  readonly changes: MemberChanges
  readonly rebalance: Steered
  /** The data tokens are the passwords of the user default, the admin tokens those of admin. */
  readonly tokens: Tokens
  readonly tries: TokenTries
  /** Proxies whose PROXY header is trusted. */
  readonly proxies: TrustedProxies
  /** Client memory, shared by all servers. */
  readonly ledger: Ledger
  /** Client connections, shared by all servers. */
  readonly connectionLimit: ConnectionLimit
  /** Idle connections are closed after this; 0 = never. */
  readonly idleMs: number
  readonly monotonicMs: () => number
  readonly timers: Timers
  readonly random: () => number
}

/** The longest time that a reply waits for later ones, to share a write with them. */
const HELD_MS = 1
/** A value up to this many times the limit is read, so that it is refused with an error, not by closing the connection. */
const ROOM_TO_REFUSE = 2
/** Leaves room for arguments other than values. */
const SMALLEST_REQUEST_LIMIT = 128 * 1024
const SERVER = 'resp'
/** The admin tokens open no keys, as over HTTP. */
const OF_ADMIN: ReadonlySet<string> = new Set([
  ...['acl', 'auth', 'client', 'command', 'echo', 'hello', 'info', 'ping', 'quit', 'reset', 'rondo', 'time'],
])
/** A line about slow subscribers at most so often. */
const SLOW_PAUSE_MS = 10_000
const NO_AUTH = 'NOAUTH Authentication required.'

export class RespServer implements Host, CommandHost {
  readonly options: RespServerOptions
  readonly parserOptions: ParserOptions<Command>
  readonly settings: CommandSettings
  readonly store: KeyStore
  readonly stats: Stats
  readonly connections = new Set<Connection>()
  readonly emptyCommand: Command = EMPTY_COMMAND
  /** Without the emptyCommand one. */
  readonly commands: readonly Command[] = COMMANDS.slice(1)
  readonly cursors: ScanCursors
  readonly flushes = new Flushes()
  readonly scripts: Scripts
  readonly work: Work
  readonly otherProtocols: OtherProtocols
  readonly startedAtMs: number
  readonly rates: Rates
  readonly slowLog = new SlowLog()
  readonly messages = new MessageEncoder()
  /** Subscribers that were closed because they read too slowly. */
  subscribersCut = 0
  private cutsReported = 0
  private cutReportedAtMs = -Infinity
  connectionsReceived = 0
  isClosing = false
  private inputBytes = 0
  /** Set once it listens. */
  port = 0
  private readonly output = new Output()
  readonly nearGets: NearGets | null
  private dirty: Connection[] = []
  private held: Connection[] = []
  private nextId = 1
  private readonly crossSetsReported = new Set<CrossSetOutcome>()

  constructor(options: RespServerOptions) {
    this.options = options
    this.startedAtMs = options.monotonicMs()
    const failures = new CommandFailures(options.emit, options.monotonicMs)
    this.stats = new Stats(
      COMMANDS,
      (command, text) => failures.note(command, text),
      (command, slot, us) => this.noteSlow(command, slot, us),
    )
    this.rates = new Rates(this.startedAtMs)
    this.work = new Work(options)
    this.otherProtocols = new OtherProtocols(options.emit, options.monotonicMs)
    this.cursors = new ScanCursors(options.store, options.random)
    this.settings = { ...options, database: 0 }
    this.store = options.store
    this.scripts = options.scripts
    const { near } = options.store
    this.nearGets = near
      ? new NearGets({
          ...{ near, output: this.output, stats: this.stats },
          index: COMMANDS.find(({ name }) => name === 'get')!.index,
          nowUs: () => this.nowUs(),
        })
      : null
    const maxRequestBytes = Math.max(
      options.maxBatchBytes,
      options.maxValueBytes * ROOM_TO_REFUSE,
      SMALLEST_REQUEST_LIMIT,
    )
    // One argument may be as long as a whole request.
    const maxBulkBytes = Math.min(maxRequestBytes, options.ledger.connectionShare)
    const limitName = maxBulkBytes < maxRequestBytes ? 'MAX_CLIENT_MEMORY' : 'MAX_BATCH_BYTES'
    this.parserOptions = { lookUp, maxBulkBytes, maxRequestBytes: maxBulkBytes, limitName }
  }

  onFlush(progress: FlushProgress): void {
    this.options.emit({ kind: 'flush', ...progress })
  }

  onCrossSet(then: CrossSetOutcome): void {
    if (this.crossSetsReported.has(then)) return
    this.crossSetsReported.add(then)
    this.options.emit({ kind: 'cross-set-multi', then })
  }

  lookUp(name: Buffer): Command | null {
    return lookUp(name, 0, name.length)
  }

  get needsPassword(): boolean {
    return this.options.tokens.data.length > 0
  }

  nowMs(): number {
    return this.options.monotonicMs()
  }

  nowUs(): number {
    return (this.options.monotonicMs() * 1000) | 0
  }

  /**
   * @param client the client's address, which may be behind a proxy
   * @returns null when the connection limit is reached, and no connection can be closed in favour of this one
   */
  connected(socket: Socket, client: ClientEnd): Connection | null {
    this.connectionsReceived++
    const connection = new Connection(this, socket, this.nextId++, this.nowMs(), client)
    if (!this.options.connectionLimit.take(SERVER, connection)) {
      connection.account.close()
      return null
    }
    this.connections.add(connection)
    socket.on('data', (chunk: Buffer) => {
      this.inputBytes += chunk.length
      connection.onData(chunk)
    })
    socket.on('drain', () => connection.onDrain())
    socket.on('end', () => connection.onEnd())
    socket.on('error', () => connection.destroy()) // the client is gone
    socket.on('close', () => {
      connection.destroy()
      this.connections.delete(connection)
      this.options.connectionLimit.leave(SERVER, connection)
    })
    return connection
  }

  dispatch(connection: Connection, command: Command, args: Buffer[]): void {
    connection.lastCommand = command.name
    if (!connection.authenticated && !command.open) {
      refuse(connection, command, NO_AUTH)
      return
    }
    if (connection.user === 'admin' && !OF_ADMIN.has(command.name)) {
      refuse(connection, command, `NOPERM User admin has no permissions to run the '${command.name}' command`)
      return
    }
    const why = this.wrongCount(command, args.length)
    if (why !== null) {
      refuse(connection, command, why)
      return
    }
    if (connection.protocol === 2 && connection.isSubscribed && !command.whileSubscribed) {
      refuse(connection, command, notWhileSubscribed(command, args))
      return
    }
    try {
      if (connection.transaction && !command.control) queue(connection, command, args)
      else if (connection.tracking !== null) runTracked(connection, connection.tracking, command, args)
      else run(connection, command, args)
    } catch (error) {
      // A bug. Which replies are still due is unknown, so this connection is closed, and no other.
      this.options.emit({
        kind: 'background-failed',
        what: `command ${command.name}`,
        why: sentenceOf(error),
      })
      connection.destroy()
    }
  }

  /** Null, or why a command cannot have so many arguments. */
  private wrongCount({ name, arity, takesOptions }: Command, count: number): string | null {
    const { maxArguments } = this.options
    if (arity > 0 ? count !== arity : count < -arity) return wrongNumber(name).message
    if (!takesOptions || count <= maxArguments) return null
    return `ERR The '${name}' command may have ${maxArguments} arguments (MAX_ARGUMENTS).`
  }

  /** As described in ../command-host.ts. */
  offered(args: readonly Buffer[]): OfferedCommand | RespError {
    const command = this.lookUp(args[0]!)
    if (!command) return new RespError(unknownCommand(args))
    const why = this.wrongCount(command, args.length)
    if (why !== null) return new RespError(why)
    const { name, execute } = command
    if (!execute) {
      return new RespError(
        `ERR The '${name}' command is not offered here: it needs a connection of the Redis protocol.`,
      )
    }
    return { ...command, execute, onlyAlone: command.alone === undefined }
  }

  dispatchUnknown(connection: Connection, args: readonly Buffer[]): void {
    refuse(connection, EMPTY_COMMAND, connection.authenticated ? unknownCommand(args) : NO_AUTH)
  }

  /** The first bytes were not the Redis protocol. */
  onOtherProtocol({ address }: Connection, protocol: OtherProtocol): void {
    this.otherProtocols.note(address, protocol)
  }

  get traffic(): { inputBytes: number; outputBytes: number } {
    return { inputBytes: this.inputBytes, outputBytes: this.output.sentBytes }
  }

  private noteSlow(command: string, { owner }: Slot, us: number): void {
    this.slowLog.add({
      atSeconds: Math.floor(this.store.nowMs() / 1000),
      us,
      command,
      address: owner.address,
      port: owner.port,
      clientName: owner.name,
    })
  }

  /** It was closed, because too many messages waited for it. */
  onSlowSubscriber({ address, port }: Connection, bytes: number): void {
    this.subscribersCut++
    const nowMs = this.nowMs()
    if (nowMs - this.cutReportedAtMs < SLOW_PAUSE_MS) return
    const before = this.subscribersCut - this.cutsReported - 1
    this.cutReportedAtMs = nowMs
    this.cutsReported = this.subscribersCut
    this.options.emit({ kind: 'subscriber-cut', client: addressText(address, port), bytes, before })
  }

  /** About once a second: closes connections that exceed a timeout, and takes a sample of the totals. */
  endOverdue(): void {
    const nowMs = this.nowMs()
    this.rates.sample({ commands: this.stats.total, ...this.traffic }, nowMs)
    for (const connection of this.connections) if (connection.isOverdue(nowMs)) connection.destroy()
  }

  /** Ends what waits for an element: this server closes. */
  unblock(): void {
    this.isClosing = true
    for (const { wait } of this.connections) wait?.end(CLOSING)
  }

  /** Closes the connections that have been idle since the last call. */
  endIdle(): void {
    for (const connection of this.connections) connection.endIfIdle()
  }

  /** Reads no more commands; connections close once those in flight are answered. */
  stop(): void {
    for (const connection of this.connections) connection.end()
  }

  /** Closes the remaining connections at once. */
  cut(): void {
    for (const connection of this.connections) connection.destroy()
  }

  /** Flushes it at the end of this turn. */
  schedule(connection: Connection): void {
    if (this.dirty.push(connection) === 1) this.options.timers.endOfTurn(this.flush)
  }

  private readonly flush = (): void => {
    const dirty = this.dirty
    this.dirty = []
    this.messages.forget()
    const nowUs = this.nowUs()
    for (const connection of dirty) connection.flush(this.output, nowUs, false)
  }

  /** Flushes it after HELD_MS. */
  holdBack(connection: Connection): void {
    if (this.held.push(connection) === 1) this.options.timers.setTimeout(this.flushHeld, HELD_MS)
  }

  private readonly flushHeld = (): void => {
    const held = this.held
    this.held = []
    const nowUs = this.nowUs()
    for (const connection of held) connection.flush(this.output, nowUs, true)
  }
}

function run(connection: Connection, command: Command, args: Buffer[]): void {
  if (isUnheardRead(connection, command)) runUnheard(connection, args, command)
  else command.run(connection, args, command)
}

function runTracked(
  connection: Connection,
  tracking: ClientTracking,
  command: Command,
  args: Buffer[],
): void {
  const isRemembered = noteReads(connection, tracking, command, args)
  // Behind the replies to its own writes as well. A command that waits holds up nothing.
  const isSoon = command.firstKey !== 0 && !command.flags.includes('blocking')
  if (isSoon || command.name === 'exec') connection.tracksUpTo = connection.added + 1
  run(connection, command, args)
  noteBegun(connection, tracking, command, isRemembered)
}

/** As in Redis, with the subcommand. */
function notWhileSubscribed({ name, subcommands }: Command, args: readonly Buffer[]): string {
  const given = args.length > 1 && subcommands ? args[1]!.toString('latin1').toLowerCase() : ''
  const full = subcommands && Object.hasOwn(subcommands, given) ? `${name}|${given}` : name
  const allowed = '(P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET'
  return `ERR Can't execute '${full}': only ${allowed} are allowed in this context`
}
