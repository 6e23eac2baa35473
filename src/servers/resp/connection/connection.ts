/**
 * One client: what it has said of itself, and its commands on their way.
 *
 *   bytes ──parser──▶ command ──▶ slot ──coordinator──▶ done ──in order──▶ output, once a turn of the event loop
 *
 * Commands that are pipelined run side by side, on as many nodes as their keys live on. One that touches a key which an
 * earlier command of this connection is still changing waits for it (`busy`), and so does everything behind: a client sees
 * its own writes, in its own order. Plain writes at `one` need no such waiting: they, and reads behind them, take the same
 * way to the same replicas, one after the other. Nor do updates of a key behind updates of that key: the coordinator takes
 * them in the order in which they come, and those that have gathered together.
 *
 * Bounded: a client is not read from while too many of its commands are under way, or too many bytes of arguments and of
 * replies to be expected. Replies are handed to the socket as they are ready, whether the client reads or not: many write
 * a whole pipeline before they read. What waits there, and everything else, is in the connection's account (ledger.ts), and
 * what it may hold is decided there. A client that neither sends nor takes anything for a minute, though there is
 * something to take, is closed.
 */
import type { Socket } from 'node:net'
import type { ScanCursors } from '../../../commands/keys/scan-cursor.ts'
import type { KeyStore } from '../../../coordinator/api.ts'
import type { Timers } from '../../../core/clock.ts'
import type { ConsistencyLevel } from '../../../core/consistency.ts'
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
import { Patience } from '../../patience.ts'
import type { ClientEnd } from '../../proxy-header.ts'
import type { Seat } from '../../seats.ts'
import { takenBytes } from '../../sockets.ts'
import { MANY_ARGUMENTS, type CommandSettings } from '../../../commands/model.ts'
import type { Client, Command, ServerFacts, Transaction, Watch } from '../model.ts'
import { errorOf } from '../../../commands/errors.ts'
import type { Output } from '../wire/output.ts'
import type { OtherProtocol } from '../wire/other-protocol.ts'
import { EVERYTHING } from './claims.ts'
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
import { ReplySlot, type Slot } from './slot.ts'
import type { Work, Worker } from '../../../core/work.ts'

/** Commands under way on one connection; beyond that it is not read from. */
const MAX_PIPELINED = 2048
/** Bytes under way on one connection; beyond that it is not read from. */
const MAX_BYTES_UNDER_WAY = 8 * 1024 * 1024
/** A reply is expected to be as long as the last dozen were on average; before there was any, this long. */
const FIRST_REPLY_BYTES = 64 * 1024
/**
 * Updates of one key under way at once. The time of each begins when it is read: however long a pipeline of them is, and
 * however large the value, it must suffice for those in front.
 */
const MAX_UPDATES_OF_A_KEY = 16
/** Replies of this many bytes do not wait for those behind them. */
const WORTH_WRITING_BYTES = 16 * 1024
/** What is handed to the socket in one go. */
const MAX_WRITE_BYTES = 1024 * 1024
/** What may be held before it is counted; and by how much a chunk may be longer than its commands before it counts as what it is. */
const WORTH_COUNTING_BYTES = 4096
/** How long a client may take to show the token that it needs. */
const LOGIN_MS = 10_000
/** How long a client may take nothing of its replies and send nothing; and the same once we have closed our end. */
const UNMOVED_MS = 60_000
const CLOSING_MS = 10_000

/** Of input, as a power of two: what its parsing costs. */
const INPUT_BYTES_A_UNIT = 8

/** What a connection needs of its server. */
export interface Host extends ServerFacts {
  readonly options: ServerFacts['options'] & { readonly timers: Timers }
  readonly store: KeyStore
  readonly cursors: ScanCursors
  readonly work: Work
  readonly parserOptions: ParserOptions<Command>
  readonly nameless: Command
  readonly stats: ServerFacts['stats'] & { ended(slot: Slot, nowUs: number): void }
  nowUs(): number
  dispatch(connection: Connection, command: Command, args: Buffer[]): void
  dispatchUnknown(connection: Connection, args: readonly Buffer[]): void
  onOtherProtocol(connection: Connection, protocol: OtherProtocol): void
  /** It has replies to write at the end of this turn. */
  schedule(connection: Connection): void
  /** Its replies wait for later ones, but not for long. */
  holdBack(connection: Connection): void
}

export class Connection implements Client, Worker, Holder, Seat {
  readonly id: number
  readonly server: Host
  readonly store: KeyStore
  readonly settings: CommandSettings
  readonly work: Work
  readonly cursors: ScanCursors
  readonly socket: Socket
  readonly openedAtMs: number
  /** Of the client, which may be behind a proxy. */
  readonly address: string
  readonly port: number

  protocol: Protocol = 2
  name = ''
  libraryName = ''
  libraryVersion = ''
  authenticated: boolean
  readLevel: ConsistencyLevel
  writeLevel: ConsistencyLevel
  /** CLIENT REPLY: so many replies from here on are not written. */
  unsaidReplies = 0
  transaction: Transaction | null = null
  watch: Watch | null = null

  // What waits for room at its nodes (coordinator/admission/admission.ts): then nothing that came behind it is begun.
  waiting = 0
  begunAtMs = 0

  /** When the bytes came in that are being looked at. */
  readAtUs = 0
  /** What it holds in memory. */
  readonly account: Account
  private readonly patience: Patience
  /** Since when it has to show a password, unless it has. */
  private unauthenticatedSinceMs: number
  /** When it was last seen to move: it sent something, or took something. */
  private movedAtMs: number
  private movedBytes = 0
  /** Bytes that came from it. */
  private receivedBytes = 0

  private readonly parser: RequestParser<Command>
  private first: Slot | null = null
  private last: Slot | null = null
  /** Commands that have taken their place so far. */
  added = 0
  private pipelined = 0
  /** Of those, how many have their reply. */
  private ready = 0
  /** Of the arguments of those that have not. */
  private requestBytes = 0
  /** Of replies that wait for their turn. */
  private readyBytes = 0
  private usualReplyBytes = FIRST_REPLY_BYTES
  /** Of replies that the socket holds. */
  private unsentBytes = 0
  /** Of what the parser holds. */
  private inputBytes = 0
  /** Of all these, what is in the account; and what has come or gone since, about. */
  private countedBytes = 0
  private uncountedBytes = 0
  private dirty = false
  /** Replies wait for the ones behind them. */
  private holding = false
  private paused = false
  /** It waits for its turn to be read from (work.ts). */
  private parked = false
  /** Nothing more is read from what has come, and the connection ends with the last reply. */
  private ending = false
  /** Our end is closed. */
  private closing = false
  gone = false
  private inputEnded = false
  /** By token of a key, how many commands are changing it. */
  private readonly busy = new Map<number, number>()
  /** The same, for those that are updates of a single key: other updates need not wait for them. */
  private readonly updating = new Map<number, number>()
  /** Read, and kept back until the keys it touches are no longer busy. */
  private heldBack: Command | null = null

  constructor(server: Host, socket: Socket, id: number, nowMs: number, client: ClientEnd) {
    this.server = server
    this.store = server.store
    this.settings = server.settings
    this.work = server.work
    this.cursors = server.cursors
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
    this.patience = new Patience(nowMs)
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
    if (this.heldBack || this.parked) {
      this.socket.pause()
      this.countInput()
    } else this.pump()
    const unused = chunk.length - (this.requestBytes - before)
    if (unused > WORTH_COUNTING_BYTES && this.last && !this.last.done) this.countWith(this.last, unused)
  }

  /** These bytes are in memory for as long as this command has no reply. */
  private countWith(slot: Slot, bytes: number): void {
    slot.bytes += bytes
    this.requestBytes += bytes
    this.count()
  }

  /** The client sends no more; what it has asked for is answered. */
  onEnd(): void {
    this.inputEnded = true
    this.flushSoon()
  }

  authenticate(): void {
    this.authenticated = true
    this.parser.unauthenticated = false
    this.account.moveTo(this.userName)
  }

  /** Whose memory it uses: all who show the token are one user, and without one an address is. */
  private get userName(): string {
    if (!this.server.needsPassword) return this.address
    return this.authenticated ? 'token' : UNAUTHENTICATED
  }

  /** As if it had just come. */
  reset(): void {
    this.protocol = 2
    this.name = ''
    this.authenticated = !this.server.needsPassword
    this.parser.unauthenticated = !this.authenticated
    this.readLevel = this.server.options.readConsistency
    this.writeLevel = this.server.options.writeConsistency
    this.unsaidReplies = 0
    this.unauthenticatedSinceMs = this.server.nowMs()
    this.account.moveTo(this.userName)
    this.forgetTransaction()
  }

  /** What MULTI and WATCH have kept goes. */
  forgetTransaction(): void {
    this.transaction?.release()
    this.transaction = null
    this.forgetWatch()
  }

  forgetWatch(): void {
    this.watch?.release()
    this.watch = null
  }

  /** Replies so far are sent, and then the connection ends. */
  end(): void {
    this.ending = true
    this.flushSoon()
  }

  private pump(): void {
    this.readCommands()
    this.countInput()
    // With the rest of a command as with its replies: a client that holds too much is not read from.
    if (this.paused || this.parked || this.ending || !this.parser.inside || !this.account.mustWait) return
    if (this.account.isPastShare && this.pipelined === 0 && this.unsentBytes === 0) {
      // There is nothing whose end could be waited for.
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

  private countInput(): void {
    this.inputBytes = this.ending ? 0 : this.parser.heldBytes
    this.count()
  }

  /** Brings the account up to date. Not with every small command: it passes on to others, three times a command. */
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

  /** Gets no reply, but Redis counts it as the command that CLIENT REPLY SKIP leaves without one. */
  private onEmptyRequest(): void {
    this.parser.passedEmpty = false
    if (this.unsaidReplies === 1) this.unsaidReplies = 0
  }

  /** False when the command has to wait, and everything behind it. */
  private dispatch(command: Command, args: Buffer[]): boolean {
    if ((this.changing || command.inTurn) && this.mustWait(command, args)) {
      this.heldBack = command
      return false
    }
    this.work.spend(command.units)
    this.server.dispatch(this, command, args)
    return true
  }

  /** What has been read and what comes later waits until others have had their turn. */
  private park(): void {
    this.parked = true
    this.socket.pause()
    this.work.enqueue(this)
  }

  takeTurn(): boolean {
    this.parked = false
    if (this.gone) return false
    if (this.heldBack) this.goOn(true)
    else if (!this.paused) this.pump()
    if (this.isReading) this.socket.resume()
    if (this.inputEnded) this.flushSoon()
    return false // pump() has enqueued it, if there is more
  }

  private get isReading(): boolean {
    return !this.heldBack && !this.paused && !this.parked
  }

  private mustWait(command: Command, args: readonly Buffer[]): boolean {
    if (this.busy.has(EVERYTHING)) return true
    return waitsForAll(command, args) ? this.pipelined > this.ready : this.touchesBusy(command, args)
  }

  private touchesBusy(command: Command, args: readonly Buffer[]): boolean {
    if (!this.changing) return false
    if (this.transaction) return command.control
    if (command.firstKey === 0) return false
    const last = command.lastKey < 0 ? args.length + command.lastKey : command.lastKey
    for (let i = command.firstKey; i <= last && i < args.length; i += command.keyStep) {
      const token = tokenOf(args[i]!)
      const updates = this.updating.get(token) ?? 0
      if (this.busy.has(token) || (command.updates ? updates >= MAX_UPDATES_OF_A_KEY : updates > 0))
        return true
    }
    return false
  }

  private get changing(): boolean {
    return this.busy.size > 0 || this.updating.size > 0
  }

  /** From now until `released`, commands on keys with these tokens wait; updates only if `by` is none. */
  claim(tokens: readonly number[], by?: Command): void {
    const claims = by?.updates ? this.updating : this.busy
    for (const token of tokens) claims.set(token, (claims.get(token) ?? 0) + 1)
  }

  /** @param by as it was claimed */
  released(tokens: readonly number[], by?: Command): void {
    const claims = by?.updates ? this.updating : this.busy
    for (const token of tokens) {
      const left = claims.get(token)! - 1
      if (left > 0) claims.set(token, left)
      else claims.delete(token)
    }
    this.goOn()
  }

  /** What was kept back is carried out, if it need not wait any longer. */
  private goOn(inTurn = false): void {
    const command = this.heldBack
    if (!command || this.ending || this.waiting > 0 || this.mustWait(command, this.parser.args)) return
    // One a turn: they come one after the other, often at once, and cost much.
    if (!inTurn && waitsForAll(command, this.parser.args)) {
      if (!this.parked) this.park()
      return
    }
    this.heldBack = null
    this.server.dispatch(this, command, this.parser.args)
    if (!this.parked) this.pump()
    if (this.isReading) this.socket.resume()
  }

  // ---- out

  /** Takes its place in the order of replies. */
  add(slot: Slot): void {
    if (this.unsaidReplies > 0) {
      slot.unsaid = true
      this.unsaidReplies--
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

  /** A reply that is there at once. */
  say(reply: Reply, command: Command = this.server.nameless): void {
    const slot = new ReplySlot(this, command)
    this.add(slot)
    slot.answer(reply)
  }

  /** @param replyBytes about */
  completed(slot: Slot, replyBytes: number): void {
    if (this.gone) return
    this.ready++
    this.requestBytes -= slot.bytes
    this.readyBytes += replyBytes
    this.countSoon(replyBytes - slot.bytes)
    slot.bytes = replyBytes
    this.usualReplyBytes += (replyBytes - this.usualReplyBytes) >> 3
    // Or the last of those for which the first has been held back.
    if (slot === this.first || this.ready === this.pipelined) this.flushSoon()
    if (this.heldBack && waitsForAll(this.heldBack, this.parser.args)) this.goOn()
  }

  private flushSoon(): void {
    if (this.dirty) return
    this.dirty = true
    this.server.schedule(this)
  }

  /**
   * Writes what is ready, at the end of a turn.
   *
   * @param held what is ready has waited long enough for the replies behind it
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
      this.server.stats.ended(slot, nowUs)
      bytes += slot.bytes
      this.pipelined--
      this.ready--
      if (!slot.unsaid) slot.write(output)
      slot = slot.next
    }
    this.readyBytes -= bytes
    this.first = slot
    if (!slot) this.last = null
    output.sendTo(this.socket)
    this.countUnsent()
  }

  // ---- limits in time; looked at about once a second

  /** It has taken too long to log in or to go on with a command, has not moved although there is something to take, or is idle. */
  isOverdue(nowMs: number): boolean {
    if (!this.authenticated && nowMs - this.unauthenticatedSinceMs >= LOGIN_MS) return true
    const moved = this.moved()
    if (moved !== this.movedBytes) this.movedAtMs = nowMs // slow, but it moves
    this.movedBytes = moved
    if (this.patience.isSpent(nowMs, this.isInside, this.receivedBytes, this.added)) return true
    const unmovedMs = nowMs - this.movedAtMs
    if (this.closing) return unmovedMs >= CLOSING_MS
    if (this.socket.writableLength > 0) return unmovedMs >= UNMOVED_MS
    const { idleMs } = this.server.options
    return idleMs > 0 && this.pipelined === 0 && unmovedMs >= idleMs
  }

  /** A command has begun, and it is the client who has to go on. */
  get isInside(): boolean {
    return this.parser.inside && this.isReading && !this.ending
  }

  /** Bytes that it has sent and taken so far. */
  moved(): number {
    return this.receivedBytes + takenBytes(this.socket)
  }

  /** For a newcomer, when there are no more connections to be had. */
  mayGiveWay(): boolean {
    return this.server.needsPassword ? !this.authenticated : this.added === 0
  }

  cut(): void {
    this.destroy()
  }

  private pause(): void {
    this.paused = true
    this.socket.pause()
    if (this.account.mustWait) this.account.wait()
  }

  /** There is memory again. */
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
    if (!this.heldBack && !this.parked) this.pump()
    if (this.isReading) this.socket.resume()
  }

  /** Not in the middle of what the coordinator does: there may be more to begin. */
  noneWaits(): void {
    this.server.options.timers.endOfTurn(() => {
      if (this.gone || this.waiting > 0) return
      this.goOn()
      if (this.paused) this.resumeWhenTaken()
    })
  }

  /** A pipeline is not refused for its length: it goes on as earlier commands of its own are answered. */
  private get shouldWait(): boolean {
    if (this.waiting > 0) return true
    if (this.pipelined > 0) return this.account.mustWait || this.store.crowded
    return this.unsentBytes > 0 && this.account.mustWait
  }

  /** Arguments, and replies to be expected. */
  private get bytesUnderWay(): number {
    return this.requestBytes + (this.pipelined - this.ready) * this.usualReplyBytes
  }

  /** What the kernel has not taken is held by the socket. */
  private countUnsent(): void {
    this.unsentBytes = this.socket.writableLength
    this.count()
  }

  destroy(): void {
    if (this.gone) return
    this.gone = true
    this.ending = true
    this.first = this.last = null
    this.account.close()
    this.socket.destroy()
  }
}

/** Until all that came before it on its connection is answered. */
function waitsForAll(command: Command, args: readonly Buffer[]): boolean {
  return command.inTurn === true || args.length > MANY_ARGUMENTS
}
