/**
 * One client connection: its session state and its commands in flight.
 *
 *   bytes ──parser──▶ command ──▶ slot ──coordinator──▶ done ──in order──▶ output, once per turn of the event loop
 *
 * Pipelined commands run concurrently, on the nodes of their keys. A command on a key that an earlier command of this
 * connection is still changing waits (`busy`), and so do all commands after it: a client reads its own writes, in its own
 * order. Two cases need no waiting. Plain writes at `one`, and reads after them, go to the same replicas by the same
 * connections, in order. Updates of a key that follow updates of that key wait in the key's queue in the coordinator, which
 * runs them in order and batches those that have gathered. And whoever gets what a command hands over, such as the name of a
 * job, finds what was stored before it: such a command starts when earlier ones are answered (commands/hand-over.ts).
 *
 * Back-pressure: reading stops while too many commands, or too many bytes of arguments and expected replies, are in
 * flight. Replies are written to the socket as soon as they are ready, whether the client reads or not: many clients write
 * a whole pipeline before they read. All memory counts in the connection's account (ledger.ts), which sets the limits. A
 * client that sends nothing and reads nothing for a minute, although replies wait, is closed.
 *
 * Clients that are gone: a socket that fails is closed at once, and nothing of its connection starts any more, as in Redis.
 * One that has ended (FIN) may belong to a client that only closed its sending end, so what it sent is carried out and
 * answered; if it is gone, its machine refuses the first reply, and the socket fails. Redis does the same with what it has
 * read. Without replies (CLIENT REPLY OFF, a long walk) nothing would fail: reads are not carried out then, and walks stop
 * (`unheard`). Writes are.
 */
import type { Socket } from 'node:net'
import type { Flushes } from '../../../commands/keys/flushes.ts'
import type { Scripts } from '../../../commands/scripts/api.ts'
import type { ScanCursors } from '../../../commands/keys/scan-cursor.ts'
import type { KeyStore, Message, Subscriber, Wait } from '../../../coordinator/api.ts'
import type { Timers } from '../../../core/clock.ts'
import type { ConsistencyLevel } from '../../../core/consistency.ts'
import { storedKey } from '../../../core/keys.ts'
import { tokenOf } from '../../../core/token.ts'
import {
  ARGUMENT_BYTES,
  COMMAND_BYTES,
  IDLE_BYTES,
  IDLE_TLS_BYTES,
  UNAUTHENTICATED,
  type Account,
  type Holder,
} from '../../ledger.ts'
import { InputTimeout } from '../../input-timeout.ts'
import type { ClientEnd } from '../../proxy-header.ts'
import type { LimitedConnection } from '../../connection-limit.ts'
import { takenBytes } from '../../sockets.ts'
import { keysAmong } from '../../../commands/key-places.ts'
import { MANY_ARGUMENTS, type CommandSettings, type FlushProgress } from '../../../commands/model.ts'
import type { Lookups } from '../../../commands/run/lookups.ts'
import type { Client, Command, ServerFacts, Transaction, User, Watch } from '../model.ts'
import { errorOf } from '../../../commands/errors.ts'
import type { Output } from '../wire/output.ts'
import type { OtherProtocol } from '../wire/other-protocol.ts'
import { EVERYTHING } from './claims.ts'
import type { ClientTracking } from './client-tracking.ts'
import {
  BROKEN,
  FOREIGN,
  MISTAKEN,
  MORE,
  RequestParser,
  UNKNOWN,
  type ParserOptions,
} from '../wire/parser.ts'
import { RespError, type Protocol, type Reply } from '../../../commands/reply.ts'
import type { NearGets } from './near-gets.ts'
import { PushSlot, type MessageEncoder } from './push-slot.ts'
import { ReplySlot, type Slot } from './slot.ts'
import { Subscribed } from './subscribed.ts'
import type { Task, Work } from '../../../core/work.ts'

/** Commands in flight on one connection; at the limit, reading stops. */
const MAX_PIPELINED = 2048
/** Bytes in flight on one connection; above the limit, reading stops. */
const MAX_BYTES_UNDER_WAY = 8 * 1024 * 1024
/** Expected length of the first reply; later the average of about the last dozen. */
const FIRST_REPLY_BYTES = 64 * 1024
/**
 * Updates of one key in flight at once. The timeout of each starts when it is read, so it must also cover those in front of
 * it, however long the pipeline and however large the value.
 */
const MAX_UPDATES_OF_A_KEY = 16
/** At this many bytes, ready replies do not wait for later ones. */
const WORTH_WRITING_BYTES = 16 * 1024
/** Written to the socket in one call. */
const MAX_WRITE_BYTES = 1024 * 1024
/** Memory that may be used before it is counted; and by how much a chunk may exceed its commands before all of it is counted. */
const WORTH_COUNTING_BYTES = 4096
/**
 * A paused connection is read from as long as less than this is held that is not parsed yet: only so is its end noticed, which
 * stands behind what the client sent before.
 */
const READ_AHEAD_BYTES = 16 * 1024
/** What may wait for a subscriber, and what may for so long: as client-output-buffer-limit pubsub of Redis. */
const MAX_MESSAGES_WAITING = { bytes: 32 * 1024 * 1024, soft: 8 * 1024 * 1024, softMs: 60_000 }
/** Time to authenticate. */
const LOGIN_MS = 10_000
/** How long a client may read no replies and send nothing; and the same after we have closed our end. */
const UNMOVED_MS = 60_000
const CLOSING_MS = 10_000
/** A client that has closed its end counts as gone when it gets nothing, and no command of it ends, for so long. */
const UNHEARD_MS = 2000

/** Parsing costs one work unit per 2^this bytes of input. */
const INPUT_BYTES_A_UNIT = 8

/** What a connection needs from its server. */
export interface Host extends ServerFacts {
  readonly options: ServerFacts['options'] & { readonly timers: Timers }
  readonly store: KeyStore
  readonly cursors: ScanCursors
  readonly flushes: Flushes
  readonly scripts: Scripts
  readonly work: Work
  readonly parserOptions: ParserOptions<Command>
  readonly emptyCommand: Command
  /** Null: there is no near cache. */
  readonly nearGets: NearGets | null
  readonly stats: ServerFacts['stats'] & { ended(slot: Slot, nowUs: number): void }
  dispatch(connection: Connection, command: Command, args: Buffer[]): void
  dispatchUnknown(connection: Connection, args: readonly Buffer[]): void
  readonly messages: MessageEncoder
  onSlowSubscriber(connection: Connection, bytes: number): void
  onOtherProtocol(connection: Connection, protocol: OtherProtocol): void
  /** Calls flush() at the end of this turn. */
  schedule(connection: Connection): void
  /** Calls flush() after a short delay: ready replies wait for later ones, to share a write. */
  holdBack(connection: Connection): void
}

export class Connection implements Client, Task, Holder, LimitedConnection, Subscriber {
  readonly id: number
  readonly server: Host
  readonly store: KeyStore
  readonly loader: Client['loader']
  settings: CommandSettings
  readonly work: Work
  readonly cursors: ScanCursors
  readonly flushes: Flushes
  readonly scripts: Scripts
  readonly socket: Socket
  readonly openedAtMs: number
  /** Of the client, not of a trusted proxy in front of it. */
  readonly address: string
  readonly port: number

  protocol: Protocol = 2
  name = ''
  libraryName = ''
  libraryVersion = ''
  authenticated: boolean
  user: User = 'default'
  lastCommand: string | null = null
  readLevel: ConsistencyLevel
  writeLevel: ConsistencyLevel
  /** CLIENT REPLY: the next so many replies are not written. */
  suppressedReplies = 0
  transaction: Transaction | null = null
  watch: Watch | null = null
  wait: Wait<Reply> | null = null
  /** CLIENT TRACKING; null = off. */
  tracking: ClientTracking | null = null
  private subscriptions: Subscribed | null = null
  /** Since when so many messages wait that it is closed if it stays so; null = fewer do. */
  private slowSinceMs: number | null = null

  // Operations waiting for room at their nodes (coordinator/admission/admission.ts); later commands do not start meanwhile.
  waiting = 0
  begunAtMs = 0

  /** When the bytes that are being parsed were read. */
  readAtUs = 0
  /** Memory of this connection. */
  readonly account: Account
  private readonly inputTimeout: InputTimeout
  private unauthenticatedSinceMs: number
  /** When it last made progress: sent or read bytes. */
  private movedAtMs: number
  private movedBytes = 0
  private receivedBytes = 0
  /** What it was at the last call of endIfIdle(). */
  private quietBytes = -1

  private readonly parser: RequestParser<Command>
  private first: Slot | null = null
  private last: Slot | null = null
  /** Commands received so far. */
  added = 0
  /** Of these, how many replies have been written. */
  private written = 0
  /** The last one on keys that does not wait, as `added` was then: what it is told comes behind its reply. */
  tracksUpTo = 0
  private pipelined = 0
  /** Of these, how many have their reply. */
  private ready = 0
  /** Commands without a reply that hand something over. */
  private handingOver = 0
  /** Arguments of commands without a reply. */
  private requestBytes = 0
  /** Replies that wait for earlier ones. */
  private readyBytes = 0
  private usualReplyBytes = FIRST_REPLY_BYTES
  /** Replies in the socket's buffer. */
  private unsentBytes = 0
  /** Held by the parser. */
  private inputBytes = 0
  /** What the account has of all these, and roughly what has changed since. */
  private countedBytes = 0
  private uncountedBytes = 0
  private dirty = false
  /** Ready replies wait for later ones. */
  private holding = false
  private paused = false
  /** Waits for its turn in the work queue (work.ts). */
  private parked = false
  /** No further input is parsed, and the connection closes after the last reply. */
  private ending = false
  /** Our end is closed. */
  private closing = false
  gone = false
  unheard = false
  /** Bytes moved and commands answered, and when that last changed, since the client has closed its end. */
  private progress = 0
  private progressAtMs = 0
  private answered = 0
  inputEnded = false
  /** By token of a key, how many commands are changing it. */
  private readonly busy = new Map<number, number>()
  /** The same for single-key updates, which other updates need not wait for. */
  private readonly updating = new Map<number, number>()
  /** The same for reads in several rounds, which other reads need not wait for. */
  private readonly reading = new Map<number, number>()
  /** Parsed, and held back until its keys are no longer busy. */
  private deferred: Command | null = null

  constructor(server: Host, socket: Socket, id: number, nowMs: number, client: ClientEnd) {
    this.server = server
    this.loader = server.options.loader
    this.store = server.store
    this.settings = server.settings
    this.work = server.work
    this.cursors = server.cursors
    this.flushes = server.flushes
    this.scripts = server.scripts
    this.socket = socket
    this.address = client.address
    this.port = client.port
    this.id = id
    this.openedAtMs = nowMs
    this.authenticated = !server.needsPassword
    this.readLevel = server.options.readConsistency
    this.writeLevel = server.options.writeConsistency
    this.parser = new RequestParser(server.parserOptions)
    this.parser.unauthenticated = !this.authenticated
    const base = 'encrypted' in socket ? IDLE_TLS_BYTES : IDLE_BYTES
    this.account = server.options.ledger.open(this.userName, this, base)
    this.inputTimeout = new InputTimeout(nowMs)
    this.movedAtMs = nowMs
    this.unauthenticatedSinceMs = nowMs
  }

  // ---- in

  onData(chunk: Buffer): void {
    if (this.ending) return
    this.receivedBytes += chunk.length
    this.readAtUs = this.server.nowUs()
    const before = this.requestBytes
    this.parser.feed(chunk)
    this.work.spend(chunk.length >> INPUT_BYTES_A_UNIT)
    if (this.isReading) this.pump()
    else {
      this.countInput()
      this.readAhead()
    }
    const unused = chunk.length - (this.requestBytes - before)
    if (unused > WORTH_COUNTING_BYTES && this.last && !this.last.done) this.countWith(this.last, unused)
  }

  /** Counts bytes that stay in memory until this command has its reply. */
  private countWith(slot: Slot, bytes: number): void {
    slot.bytes += bytes
    this.requestBytes += bytes
    this.count()
  }

  /** The client has closed its end; commands in flight are still answered. */
  onEnd(): void {
    this.inputEnded = true
    this.wait?.end()
    this.noteProgress(this.server.nowMs())
    this.flushSoon()
  }

  authenticate(user: User): void {
    this.authenticated = true
    this.user = user
    this.parser.unauthenticated = false
    this.account.moveTo(this.userName)
  }

  /** The user of the memory account: one for all authenticated clients; without tokens, one per address. */
  private get userName(): string {
    if (!this.server.needsPassword) return this.address
    return this.authenticated ? 'token' : UNAUTHENTICATED
  }

  /** Restores a new connection's defaults (RESET). */
  reset(): void {
    this.protocol = 2
    this.name = ''
    this.authenticated = !this.server.needsPassword
    this.user = 'default'
    this.parser.unauthenticated = !this.authenticated
    this.readLevel = this.server.options.readConsistency
    this.writeLevel = this.server.options.writeConsistency
    this.suppressedReplies = 0
    this.settings = this.server.settings
    this.unauthenticatedSinceMs = this.server.nowMs()
    this.account.moveTo(this.userName)
    this.forgetTransaction()
    this.subscriptions?.removeAll()
    this.stopTracking()
  }

  stopTracking(): void {
    this.tracking?.end()
    this.tracking = null
  }

  get subscribed(): Subscribed {
    return (this.subscriptions ??= new Subscribed(this.store.channels, this, this.account))
  }

  get isLeaving(): boolean {
    return this.gone || this.ending || this.closing
  }

  get isSubscribed(): boolean {
    return this.subscriptions?.isAny ?? false
  }

  lookedUp(command: string, found: Lookups): void {
    this.server.stats.lookedUp(command, found)
  }

  onFlush(progress: FlushProgress): void {
    this.server.onFlush(progress)
  }

  /** Drops the state of MULTI and WATCH. */
  forgetTransaction(): void {
    this.transaction?.release()
    this.transaction = null
    this.forgetWatch()
  }

  forgetWatch(): void {
    this.watch?.release()
    this.watch = null
  }

  /** Closes the connection after the replies so far. */
  end(): void {
    this.ending = true
    this.flushSoon()
  }

  /** Ends it if nothing is under way, and nothing has come since the last call: the client waits for nothing. */
  endIfIdle(): void {
    const isQuiet = this.receivedBytes === this.quietBytes
    this.quietBytes = this.receivedBytes
    const isBusy = this.pipelined > 0 || this.parser.heldBytes > 0 || !this.isReading || this.unsentBytes > 0
    if (isQuiet && !isBusy && !this.transaction) this.end()
  }

  private pump(): void {
    this.readCommands()
    this.countInput()
    // Half a command counts like replies: a client that uses too much memory is not read from.
    if (this.paused || this.parked || this.ending || !this.parser.inside || !this.account.mustWait) return
    if (this.account.isPastShare && this.pipelined === 0 && this.unsentBytes === 0) {
      // Nothing is in flight whose end would free memory.
      this.say(errorOf(this.account.refusal()))
      this.end()
      this.countInput()
    } else this.pause()
  }

  private readCommands(): void {
    while (!this.ending) {
      if (this.pipelined >= MAX_PIPELINED || this.bytesUnderWay > MAX_BYTES_UNDER_WAY || this.shouldWait) {
        this.pause()
        return
      }
      if (this.work.isOver) {
        this.park()
        return
      }
      if (this.mayAnswerNear && this.answerNear()) continue
      const found = this.parser.next()
      if (this.parser.passedEmpty) this.onEmptyRequest()
      if (found === MORE) return
      if (found === FOREIGN || found === MISTAKEN) {
        this.server.onOtherProtocol(this, this.parser.foreign)
        if (found === FOREIGN) {
          this.destroy()
          return
        }
        this.server.dispatchUnknown(this, this.parser.args)
        this.end()
        return
      }
      if (found === BROKEN) {
        this.say(new RespError(`ERR Protocol error: ${this.parser.problem}`))
        this.end()
        return
      }
      if (found === UNKNOWN) this.server.dispatchUnknown(this, this.parser.args)
      else if (!this.dispatch(this.parser.command!, this.parser.args)) return
    }
  }

  /** Nothing of this connection is under way, and nothing about it makes a GET other than the usual one. */
  private get mayAnswerNear(): boolean {
    return (
      this.server.nearGets !== null &&
      this.first === null &&
      this.unsentBytes === 0 &&
      this.readLevel === 'one' &&
      this.authenticated &&
      this.user === 'default' &&
      this.transaction === null &&
      this.tracking === null &&
      this.suppressedReplies === 0 &&
      !this.inputEnded &&
      !this.isSubscribed
    )
  }

  /** GETs that are answered from the near cache. @returns whether there was one */
  private answerNear(): boolean {
    const { server, parser, socket, settings } = this
    const count = server.nearGets!.run(parser, settings.database, socket, this.readAtUs)
    if (count === 0) return false
    this.lastCommand = 'get'
    this.added += count
    this.written += count
    this.answered += count
    this.work.spend(count)
    this.countUnsent()
    return true
  }

  private countInput(): void {
    this.inputBytes = this.ending ? 0 : this.parser.heldBytes
    this.count()
  }

  /** Updates the account. Not for every small command: each update touches three sums, and a command makes three. */
  private count(): void {
    this.uncountedBytes = 0
    const commands = this.requestBytes + this.readyBytes + this.pipelined * COMMAND_BYTES
    const held = commands + this.unsentBytes + this.inputBytes
    if (held === this.countedBytes) return
    this.account.add(held - this.countedBytes)
    this.countedBytes = held
  }

  private countSoon(bytes: number): void {
    this.uncountedBytes += bytes
    if (this.uncountedBytes > WORTH_COUNTING_BYTES) this.count()
  }

  /** An empty request gets no reply, but uses up a CLIENT REPLY SKIP, as in Redis. */
  private onEmptyRequest(): void {
    this.parser.passedEmpty = false
    if (this.suppressedReplies === 1) this.suppressedReplies = 0
  }

  /** @returns false when the command, and everything after it, has to wait */
  private dispatch(command: Command, args: Buffer[]): boolean {
    const isInOrder = command.inTurn === true || command.handsOver || this.transaction !== null
    if ((this.changing || isInOrder) && this.mustWait(command, args)) {
      this.deferred = command
      return false
    }
    this.work.spend(command.units)
    this.start(command, args)
    return true
  }

  private start(command: Command, args: Buffer[]): void {
    const { added } = this
    const handsOver = this.handsOver(command)
    this.server.dispatch(this, command, args)
    if (!handsOver || this.added === added || !this.last || this.last.done) return
    this.last.handsOver = true
    this.handingOver++
  }

  /** By itself, or as EXEC of such commands. */
  private handsOver(command: Command): boolean {
    return this.transaction ? command.control && this.transaction.handsOver : command.handsOver
  }

  /** Stops parsing until other connections have had their turn. */
  private park(): void {
    this.parked = true
    this.readAhead()
    this.work.enqueue(this)
  }

  takeTurn(): boolean {
    this.parked = false
    if (this.gone) return false
    if (this.deferred) this.startDeferred(true)
    else if (!this.paused) this.pump()
    if (this.isReading) this.socket.resume()
    if (this.inputEnded) this.flushSoon()
    return false // pump() has enqueued it, if there is more
  }

  private get isReading(): boolean {
    return !this.deferred && !this.paused && !this.parked
  }

  private mustWait(command: Command, args: readonly Buffer[]): boolean {
    if (this.busy.has(EVERYTHING)) return true
    if (this.handsOver(command) && this.pipelined - this.ready > this.handingOver) return true
    return waitsForAll(command, args) ? this.pipelined > this.ready : this.touchesBusy(command, args)
  }

  private touchesBusy(command: Command, args: readonly Buffer[]): boolean {
    if (!this.changing) return false
    if (this.transaction) return command.control
    if (command.firstKey === 0) return false
    for (const key of keysAmong(command, args)) {
      const token = tokenOf(storedKey(this.settings.database, key))
      if (this.reading.has(token) && !command.flags.includes('readonly')) return true
      const updates = this.updating.get(token) ?? 0
      if (this.busy.has(token) || (command.updates ? updates >= MAX_UPDATES_OF_A_KEY : updates > 0))
        return true
    }
    return false
  }

  private get changing(): boolean {
    return this.busy.size > 0 || this.updating.size > 0 || this.reading.size > 0
  }

  /** As described in ../model.ts. */
  claim(tokens: readonly number[], by?: Command): void {
    const claims = this.claimsOf(by)
    for (const token of tokens) claims.set(token, (claims.get(token) ?? 0) + 1)
  }

  /** @param by as passed to `claim` */
  released(tokens: readonly number[], by?: Command): void {
    const claims = this.claimsOf(by)
    for (const token of tokens) {
      const left = claims.get(token)! - 1
      if (left > 0) claims.set(token, left)
      else claims.delete(token)
    }
    this.startDeferred()
  }

  private claimsOf(by: Command | undefined): Map<number, number> {
    if (by?.updates) return this.updating
    return by?.flags.includes('readonly') ? this.reading : this.busy
  }

  /** Runs the command that was held back, if it need not wait any longer. */
  private startDeferred(inTurn = false): void {
    const command = this.deferred
    if (!command || this.ending || this.waiting > 0 || this.mustWait(command, this.parser.args)) return
    // One per turn: such commands are costly, and often come one after the other.
    if (!inTurn && waitsForAll(command, this.parser.args)) {
      if (!this.parked) this.park()
      return
    }
    this.deferred = null
    this.start(command, this.parser.args)
    if (!this.parked) this.pump()
    if (this.isReading) this.socket.resume()
  }

  // ---- out

  /** Appends a slot to the queue of replies. */
  add(slot: Slot): void {
    if (this.suppressedReplies > 0) {
      slot.suppressed = true
      this.suppressedReplies--
    }
    this.added++
    this.pipelined++
    slot.bytes = this.parser.requestBytes + this.parser.args.length * ARGUMENT_BYTES
    this.requestBytes += slot.bytes
    this.countSoon(slot.bytes + COMMAND_BYTES)
    if (this.last) this.last.next = slot
    else this.first = slot
    this.last = slot
  }

  /** Replies at once. */
  say(reply: Reply, command: Command = this.server.emptyCommand): void {
    const slot = new ReplySlot(this, command)
    this.add(slot)
    slot.answer(reply)
  }

  /** @param replyBytes about */
  completed(slot: Slot, replyBytes: number): void {
    if (this.gone) return
    this.ready++
    this.answered++
    this.requestBytes -= slot.bytes
    this.readyBytes += replyBytes
    this.countSoon(replyBytes - slot.bytes)
    slot.bytes = replyBytes
    this.usualReplyBytes += (replyBytes - this.usualReplyBytes) >> 3
    // The second case: the first was held back for this one, the last.
    if (slot === this.first || this.ready === this.pipelined) this.flushSoon()
    if (slot.handsOver) this.handingOver--
    const { deferred } = this
    if (deferred && (this.handsOver(deferred) || waitsForAll(deferred, this.parser.args)))
      this.startDeferred()
  }

  /** A message of a channel that it subscribes to. */
  receive(message: Message): void {
    this.push(this.server.messages.bytesOf(message, this.protocol))
  }

  /** As described in ../model.ts. */
  push(encoded: Buffer, isOfReads = false): boolean {
    if (this.isLeaving) return false
    // A command that waits for long does not hold up what is told of earlier reads.
    const isAhead = isOfReads && this.written >= this.tracksUpTo
    const slot = new PushSlot(this, this.server.emptyCommand, encoded, encoded.length)
    this.pipelined++
    this.ready++
    this.readyBytes += encoded.length
    if (isAhead && this.first) {
      slot.next = this.first
      this.first = slot
    } else {
      if (this.last) this.last.next = slot
      else this.first = slot
      this.last = slot
    }
    this.countSoon(encoded.length + COMMAND_BYTES)
    this.flushSoon()
    this.endIfSlow()
    return true
  }

  /** Publishers wait for nobody: a subscriber for which too much waits is closed, as in Redis. */
  private endIfSlow(): void {
    const bytes = this.unsentBytes + this.readyBytes
    if (bytes <= MAX_MESSAGES_WAITING.soft) this.slowSinceMs = null
    const isOver =
      bytes > MAX_MESSAGES_WAITING.bytes || (bytes > WORTH_COUNTING_BYTES && this.account.isRefused)
    if (!isOver && bytes <= MAX_MESSAGES_WAITING.soft) return
    const nowMs = this.server.nowMs()
    this.slowSinceMs ??= nowMs
    if (!isOver && nowMs - this.slowSinceMs < MAX_MESSAGES_WAITING.softMs) return
    this.server.onSlowSubscriber(this, bytes)
    this.destroy()
  }

  private flushSoon(): void {
    if (this.dirty) return
    this.dirty = true
    this.server.schedule(this)
  }

  /**
   * Writes the replies that are ready, at the end of a turn.
   *
   * @param held they have waited long enough for later replies
   */
  flush(output: Output, nowUs: number, held: boolean): void {
    this.dirty = false
    if (this.gone || this.socket.destroyed) return
    // The replies of one pipeline come from several nodes, a few at a time: one write for all of them costs a fraction.
    if (!held && this.pipelined > this.ready && this.readyBytes < WORTH_WRITING_BYTES && !this.ending) {
      if (!this.holding) this.server.holdBack(this)
      this.holding = true
      return
    }
    if (held) this.holding = false
    do this.writeSome(output, nowUs)
    while (this.first?.done)
    if (this.paused) this.resumeWhenTaken()
    if (!this.first && (this.ending || (this.inputEnded && this.isReading))) {
      this.socket.end()
      this.closing = true
    }
  }

  private writeSome(output: Output, nowUs: number): void {
    let slot = this.first
    let bytes = 0
    while (slot?.done && bytes < MAX_WRITE_BYTES) {
      if (!slot.isPush) {
        this.server.stats.ended(slot, nowUs)
        this.written++
      }
      bytes += slot.bytes
      this.pipelined--
      this.ready--
      if (!slot.suppressed) slot.write(output)
      slot = slot.next
    }
    this.readyBytes -= bytes
    this.first = slot
    if (!slot) this.last = null
    output.sendTo(this.socket)
    this.countUnsent()
  }

  // ---- timeouts, checked about once a second

  /** Too slow to authenticate or to complete a command, not reading its replies, or idle. */
  isOverdue(nowMs: number): boolean {
    if (!this.authenticated && nowMs - this.unauthenticatedSinceMs >= LOGIN_MS) return true
    const moved = this.moved()
    if (moved !== this.movedBytes) this.movedAtMs = nowMs // slow, but making progress
    this.movedBytes = moved
    if (this.inputTimeout.isSpent(nowMs, this.isInside, this.receivedBytes, this.added)) return true
    if (this.inputEnded) this.noteProgress(nowMs)
    const unmovedMs = nowMs - this.movedAtMs
    if (this.closing) return unmovedMs >= CLOSING_MS
    if (this.isSubscribed || this.tracking) this.endIfSlow()
    if (this.socket.writableLength > 0) return unmovedMs >= UNMOVED_MS
    const { idleMs } = this.server.options
    return idleMs > 0 && !this.isSubscribed && this.pipelined === 0 && unmovedMs >= idleMs
  }

  private noteProgress(nowMs: number): void {
    const progress = this.moved() + this.answered
    if (progress !== this.progress) this.progressAtMs = nowMs
    this.progress = progress
    this.unheard = nowMs - this.progressAtMs >= UNHEARD_MS
  }

  /** A command is incomplete, and the client has to send the rest. */
  get isInside(): boolean {
    return this.parser.inside && this.isReading && !this.ending
  }

  /** Bytes sent and read by the client so far. */
  moved(): number {
    return this.receivedBytes + takenBytes(this.socket)
  }

  idleMs(nowMs: number): number {
    return this.moved() === this.movedBytes ? nowMs - this.movedAtMs : 0
  }

  /** Whether it may be closed in favour of a new connection when the limit is reached. */
  mayBeDisplaced(): boolean {
    return this.server.needsPassword ? !this.authenticated : this.added === 0
  }

  cut(): void {
    this.destroy()
  }

  private pause(): void {
    this.paused = true
    this.readAhead()
    if (this.account.mustWait) this.account.wait()
  }

  /** While no commands are started: reads on, up to a limit, to notice the end. */
  private readAhead(): void {
    if (this.parser.heldBytes >= READ_AHEAD_BYTES || this.account.mustWait) this.socket.pause()
  }

  /** Called when memory is available again. */
  resume(): void {
    if (this.paused && !this.gone) this.resumeWhenTaken()
  }

  onDrain(): void {
    this.countUnsent()
    if (this.paused) this.resumeWhenTaken()
    if (this.first?.done || this.ending || this.inputEnded) this.flushSoon()
  }

  private resumeWhenTaken(): void {
    if (
      this.pipelined >= MAX_PIPELINED / 2 ||
      this.bytesUnderWay > MAX_BYTES_UNDER_WAY / 2 ||
      this.shouldWait
    ) {
      if (this.account.mustWait) this.account.wait()
      return
    }
    this.paused = false
    if (!this.deferred && !this.parked) this.pump()
    if (this.isReading) this.socket.resume()
    if (this.inputEnded) this.flushSoon()
  }

  /**
   * A pipeline of single operations continues at once: its next one is in the queue before all the room is given to
   * others. It would have one operation per turn of the event loop otherwise, beside MGETs that always have many waiting.
   * After other commands it continues at the end of the turn: the coordinator may be about to start more of them.
   */
  noneWaits(): void {
    if (this.last?.isOneOperation) this.afterWaiting()
    else this.server.options.timers.endOfTurn(() => this.afterWaiting())
  }

  private afterWaiting(): void {
    if (this.gone || this.waiting > 0) return
    this.startDeferred()
    if (this.paused) this.resumeWhenTaken()
  }

  /** A long pipeline is not refused: it continues as its earlier commands are answered. */
  private get shouldWait(): boolean {
    if (this.waiting > 0) return true
    if (this.pipelined > 0) return this.account.mustWait || this.store.crowded
    return this.unsentBytes > 0 && this.account.mustWait
  }

  /** Arguments and expected replies. */
  private get bytesUnderWay(): number {
    return this.requestBytes + (this.pipelined - this.ready) * this.usualReplyBytes
  }

  /** Counts what the socket buffers because the kernel has not accepted it. */
  private countUnsent(): void {
    this.unsentBytes = this.socket.writableLength
    this.count()
  }

  destroy(): void {
    if (this.gone) return
    this.gone = true
    this.unheard = true
    this.ending = true
    this.wait?.end()
    for (let slot = this.first; slot; slot = slot.next) slot.dropped()
    this.first = this.last = null
    this.subscriptions?.end(this.server.options.timers)
    this.stopTracking()
    this.account.close()
    this.socket.destroy()
  }
}

/** Whether it starts only when all earlier commands of its connection are answered. */
function waitsForAll(command: Command, args: readonly Buffer[]): boolean {
  return command.inTurn === true || args.length > MANY_ARGUMENTS
}
