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
 * Bounded: a client is not read from while too many of its commands are under way, or too many bytes (of their arguments,
 * and of replies that it has not taken or that are to be expected); one that takes nothing at all is closed.
 */
import type { Socket } from 'node:net'
import type { Asker } from '../../coordinator/asker.ts'
import type { ConsistencyLevel } from '../../core/consistency.ts'
import { tokenOf } from '../../core/token.ts'
import type { Command } from './command.ts'
import type { RespDoor } from './door.ts'
import type { Output } from './output.ts'
import { BROKEN, FOREIGN, MISTAKEN, MORE, RequestParser, UNKNOWN } from './parser.ts'
import { RespError, type Protocol, type Reply } from './reply.ts'
import { ReplySlot, type Slot } from './slot.ts'
import type { Transaction, Watch } from './transaction.ts'
import type { Worker } from './work.ts'

/** Commands under way on one connection; beyond that it is not read from. */
const MAX_PIPELINED = 2048
/** Bytes under way on one connection, and on all together; beyond that it is read from one command at a time. */
const MAX_BYTES = 8 * 1024 * 1024
const MAX_BYTES_OF_ALL = 256 * 1024 * 1024
/** A reply is expected to be as long as the last dozen were on average; before there was any, this long. */
const FIRST_REPLY_BYTES = 64 * 1024
/**
 * Updates of one key under way at once. The time of each begins when it is read: however long a pipeline of them is, and
 * however large the value, it must suffice for those in front.
 */
const MAX_UPDATES_OF_A_KEY = 16
/** Replies of this many bytes do not wait for those behind them. */
const WORTH_WRITING_BYTES = 16 * 1024
/** Not more than this is given to the kernel and not taken by it; what else is ready stays with its slots. */
const MAX_UNSENT_BYTES = 1024 * 1024

/** Of input, as a power of two: what its parsing costs. */
const INPUT_BYTES_A_UNIT = 8

/** Claimed in place of a key's token: all keys. */
export const EVERYTHING = -1

export class Connection implements Asker, Worker {
  readonly id: number
  readonly door: RespDoor
  readonly socket: Socket
  readonly openedAtMs: number
  /** Of the client, which may be behind a proxy. */
  address = ''
  port = 0

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

  // What waits for room at its nodes (coordinator/admission.ts): then nothing that came behind it is begun.
  waiting = 0
  begunAtMs = 0

  /** When the bytes came in that are being looked at. */
  readAtUs = 0
  /** When the oldest bytes came that are no whole command yet, 0 = there are none. */
  insideSinceMs = 0
  /** Since when it has not taken anything of its replies, 0 = there are none to take. */
  stuckSinceMs = 0
  private stuckBytes = 0

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
  private dirty = false
  /** Replies wait for the ones behind them. */
  private holding = false
  private paused = false
  /** It waits for its turn to be read from (work.ts). */
  private parked = false
  /** Nothing more is read from what has come, and the connection ends with the last reply. */
  private ending = false
  gone = false
  private inputEnded = false
  /** By token of a key, how many commands are changing it. */
  private readonly busy = new Map<number, number>()
  /** The same, for those that are updates of a single key: other updates need not wait for them. */
  private readonly updating = new Map<number, number>()
  /** Read, and kept back until the keys it touches are no longer busy. */
  private heldBack: Command | null = null

  constructor(door: RespDoor, socket: Socket, id: number, nowMs: number) {
    this.door = door
    this.socket = socket
    this.id = id
    this.openedAtMs = nowMs
    this.authenticated = !door.needsPassword
    this.readLevel = door.options.readConsistency
    this.writeLevel = door.options.writeConsistency
    this.parser = new RequestParser(door.parserOptions)
    this.parser.stranger = !this.authenticated
  }

  // ---- in

  onData(chunk: Buffer): void {
    if (this.ending) return
    this.readAtUs = this.door.nowUs()
    this.parser.feed(chunk)
    this.door.work.spend(chunk.length >> INPUT_BYTES_A_UNIT)
    if (this.heldBack || this.parked) this.socket.pause()
    else this.pump()
  }

  /** The client sends no more; what it has asked for is answered. */
  onEnd(): void {
    this.inputEnded = true
    this.flushSoon()
  }

  authenticate(): void {
    this.authenticated = true
    this.parser.stranger = false
  }

  /** As if it had just come. */
  reset(): void {
    this.protocol = 2
    this.name = ''
    this.authenticated = !this.door.needsPassword
    this.parser.stranger = !this.authenticated
    this.readLevel = this.door.options.readConsistency
    this.writeLevel = this.door.options.writeConsistency
    this.unsaidReplies = 0
    this.transaction = null
    this.watch = null
  }

  /** Replies so far are sent, and then the connection ends. */
  end(): void {
    this.ending = true
    this.flushSoon()
  }

  private pump(): void {
    const before = this.insideSinceMs
    this.insideSinceMs = 0 // while nothing is read, it is not the client who keeps us waiting
    let whole = false
    while (!this.ending) {
      if (this.pipelined >= MAX_PIPELINED || this.bytes > MAX_BYTES || this.shouldWait) {
        this.pause()
        return
      }
      if (this.door.work.isOver) {
        this.park()
        return
      }
      const found = this.parser.next()
      if (this.parser.passedEmpty) this.onEmptyRequest()
      if (found === MORE) break
      whole = true
      if (found === FOREIGN || found === MISTAKEN) {
        this.door.onOtherProtocol(this, this.parser.foreign)
        if (found === FOREIGN) {
          this.destroy()
          return
        }
        this.door.dispatchUnknown(this, this.parser.args)
        this.end()
        break
      }
      if (found === BROKEN) {
        this.say(new RespError(`ERR Protocol error: ${this.parser.problem}`))
        this.end()
        break
      }
      if (found === UNKNOWN) this.door.dispatchUnknown(this, this.parser.args)
      else if (!this.dispatch(this.parser.command!, this.parser.args)) return
    }
    if (!this.parser.inside || this.ending) return
    this.insideSinceMs = (!whole && before) || this.door.nowMs()
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
    this.door.work.spend(command.units)
    this.door.dispatch(this, command, args)
    return true
  }

  /** What has been read and what comes later waits until others have had their turn. */
  private park(): void {
    this.parked = true
    this.socket.pause()
    this.door.work.enqueue(this)
  }

  takeTurn(): boolean {
    this.parked = false
    if (this.gone) return false
    if (!this.heldBack && !this.paused) this.pump()
    if (this.isReading) this.socket.resume()
    if (this.inputEnded) this.flushSoon()
    return false // pump() has enqueued it, if there is more
  }

  private get isReading(): boolean {
    return !this.heldBack && !this.paused && !this.parked
  }

  private mustWait(command: Command, args: readonly Buffer[]): boolean {
    if (this.busy.has(EVERYTHING)) return true
    return command.inTurn ? this.pipelined > this.ready : this.touchesBusy(command, args)
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
  private goOn(): void {
    const command = this.heldBack
    if (!command || this.ending || this.waiting > 0 || this.mustWait(command, this.parser.args)) return
    this.heldBack = null
    this.door.dispatch(this, command, this.parser.args)
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
    slot.bytes = this.parser.requestBytes
    this.hold(slot.bytes, 0)
    if (this.last) this.last.next = slot
    else this.first = slot
    this.last = slot
  }

  /** A reply that is there at once. */
  say(reply: Reply, command: Command = this.door.nameless): void {
    const slot = new ReplySlot(this, command)
    this.add(slot)
    slot.answer(reply)
  }

  /** @param replyBytes about */
  completed(slot: Slot, replyBytes: number): void {
    if (this.gone) return
    this.ready++
    this.hold(-slot.bytes, replyBytes)
    slot.bytes = replyBytes
    this.usualReplyBytes += (replyBytes - this.usualReplyBytes) >> 3
    // Or the last of those for which the first has been held back.
    if (slot === this.first || this.ready === this.pipelined) this.flushSoon()
    if (this.heldBack?.inTurn) this.goOn()
  }

  private flushSoon(): void {
    if (this.dirty) return
    this.dirty = true
    this.door.schedule(this)
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
      if (!this.holding) this.door.holdBack(this)
      this.holding = true
      return
    }
    if (held) this.holding = false
    do this.writeSome(output, nowUs)
    while (this.first?.done && this.socket.writableLength < MAX_UNSENT_BYTES)
    this.stuckSinceMs = this.socket.writableLength > 0 ? this.stuckSinceMs || this.door.nowMs() : 0
    if (this.paused) this.resumeWhenTaken()
    if (!this.first && (this.ending || (this.inputEnded && this.isReading))) {
      this.socket.end()
      // A client that does not end it in turn is not waited for.
      this.stuckSinceMs ||= this.door.nowMs()
    }
  }

  private writeSome(output: Output, nowUs: number): void {
    let slot = this.first
    let bytes = 0
    while (slot?.done && bytes < MAX_UNSENT_BYTES) {
      this.door.stats.ended(slot, nowUs)
      bytes += slot.bytes
      this.pipelined--
      this.ready--
      if (!slot.unsaid) slot.write(output)
      slot = slot.next
    }
    this.hold(0, -bytes)
    this.first = slot
    if (!slot) this.last = null
    output.sendTo(this.socket)
    this.countUnsent()
  }

  /** Has kept the rest of a command, or has taken nothing of its replies, since before this. */
  isOverdue(limitMs: number): boolean {
    if (this.insideSinceMs > 0 && this.insideSinceMs < limitMs) return true
    if (this.stuckSinceMs === 0) return false
    const left = unsentBytes(this.socket)
    if (left !== this.stuckBytes) this.stuckSinceMs = this.door.nowMs() // slow, but it takes them
    this.stuckBytes = left
    return this.stuckSinceMs < limitMs
  }

  private pause(): void {
    this.paused = true
    this.socket.pause()
  }

  onDrain(): void {
    this.stuckSinceMs = 0
    this.countUnsent()
    if (this.paused) this.resumeWhenTaken()
    if (this.first?.done || this.ending || this.inputEnded) this.flushSoon()
  }

  private resumeWhenTaken(): void {
    if (this.pipelined >= MAX_PIPELINED / 2 || this.bytes > MAX_BYTES / 2 || this.shouldWait) return
    this.paused = false
    if (!this.heldBack && !this.parked) this.pump()
    if (this.isReading) this.socket.resume()
  }

  /** Not in the middle of what the coordinator does: there may be more to begin. */
  noneWaits(): void {
    this.door.options.timers.endOfTurn(() => {
      if (this.gone || this.waiting > 0) return
      this.goOn()
      if (this.paused) this.resumeWhenTaken()
    })
  }

  /** A pipeline is not refused for its length: it goes on as earlier commands of its own are answered. */
  private get shouldWait(): boolean {
    if (this.waiting > 0) return true
    return (
      this.pipelined > 0 && (this.door.options.coordinator.crowded || this.door.bytesHeld > MAX_BYTES_OF_ALL)
    )
  }

  /** What this client costs in memory now, and soon. */
  private get bytes(): number {
    const expected = (this.pipelined - this.ready) * this.usualReplyBytes
    return this.requestBytes + this.readyBytes + expected + this.socket.writableLength
  }

  /** What the kernel has not taken is held by the socket. */
  private countUnsent(): void {
    const unsent = this.socket.writableLength
    this.door.bytesHeld += unsent - this.unsentBytes
    this.unsentBytes = unsent
  }

  private hold(requestBytes: number, readyBytes: number): void {
    this.requestBytes += requestBytes
    this.readyBytes += readyBytes
    this.door.bytesHeld += requestBytes + readyBytes
  }

  destroy(): void {
    if (this.gone) return
    this.gone = true
    this.ending = true
    this.first = this.last = null
    this.hold(-this.requestBytes, -this.readyBytes)
    this.door.bytesHeld -= this.unsentBytes
    this.socket.destroy()
  }
}

interface Handle {
  readonly writeQueueSize?: number
  /** Below TLS. */
  readonly _parent?: Handle
}

/**
 * What the kernel has not taken yet. `writableLength` tells only of whole writes; node:net itself looks here, too, to
 * see whether a write makes progress.
 */
function unsentBytes(socket: Socket): number {
  const handle = (socket as { _handle?: Handle | null })._handle
  return (handle?._parent ?? handle)?.writeQueueSize ?? 0
}
