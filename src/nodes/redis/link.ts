/**
 * The data path: one pipelined socket to one Redis.
 *
 * Commands encoded in one turn of the event loop are sent in one write, as a batch, or in several if they are many; each
 * batch ends with a GET of the node's marker. Replies arrive in order, as slices of the received data, and are delivered
 * only when the batch's marker has arrived and is the expected one:
 *
 *     turn n:      GET a   EVALSHA … b   GET c   GET __rondo:node     → one write
 *     turn n+k:    $…      :1            $-1     $…marker             → marker equal? then a, b, c are answered
 *
 * One GET per batch detects a wiped, restored, flushed or swapped node on a live connection.
 *
 * A socket that breaks, sends invalid replies or misses a deadline is destroyed, and everything in flight has an unknown
 * outcome. Nothing is kept for a later socket and nothing is ever sent twice: a write that was reported as unknown must
 * not be applied minutes later.
 *
 * All calls have the same timeout, so the oldest batch is overdue first. A node that is silent for that long has failed;
 * one that is busy with megabytes of earlier replies has not, as long as they arrive at BYTES_PER_MS; nor has one that is
 * still being sent megabytes, and cannot answer before it has them: beyond FREE_BYTES, they may take as long. Before a socket is
 * destroyed, the event loop gets one full turn to read what has already arrived: our own lag is not the node's fault.
 *
 * It does not reconnect (health decides when), and does not know what the commands mean (redis-node.ts does).
 */
import net from 'node:net'
import tls from 'node:tls'
import { indexOfNear } from '../../core/bytes.ts'
import type { MonotonicClock, TimerHandle, Timers } from '../../core/clock.ts'
import { MARKER_KEY } from '../../core/keys.ts'
import { printable } from '../../core/printable.ts'
import { DEMOTED, FOREIGN_MARKER, NOT_CONNECTED, OTHER_RUN } from '../failures.ts'
import { SMALL_BYTES, type NodeLoad } from '../load.ts'
import type { Fence, NodeFailure } from '../node.ts'
import { passwordRefused, withoutSecrets } from './secrets.ts'
import { socketSentence } from './socket-errors.ts'

export const REPLY_BULK = 1
export const REPLY_NIL = 2
export const REPLY_INTEGER = 3
export const REPLY_ERROR = 4
export const REPLY_SIMPLE = 5
/** Reply type of a bulk that exceeds the limit: skipped and discarded. */
export const REPLY_TOO_LONG = 6
/** The head of an array: its elements follow as replies of their own. Only calls that expect one get it. */
export const REPLY_ARRAY = 7

/** One command in flight, as a rule. The link fills in the reply, and calls one of the two methods once. */
export abstract class LinkCall {
  /** Size of the values that are sent to the node or expected from it. */
  valueBytes: number
  /** These are several small values: they belong to the part of a node's load that small ones have. */
  isOfSmall = false
  replyType = 0
  /** The bulk's bytes, or the text of an error, simple string or integer, or how many elements an array has. */
  reply: Buffer | null = null

  constructor(valueBytes: number) {
    this.valueBytes = valueBytes
  }

  /** Whether the next reply may be the head of an array. */
  takesArray(): boolean {
    return false
  }

  /** @returns whether it has all of its replies; some calls are several commands */
  take(type: number, reply: Buffer | null): boolean {
    this.replyType = type
    this.reply = reply
    return true
  }

  abstract answered(fence: Fence): void
  abstract lost(failure: NodeFailure): void
}

export interface LinkOptions {
  readonly host: string
  readonly port: number
  readonly tls: tls.ConnectionOptions | null
  readonly username?: string
  readonly password?: string
  readonly connectTimeoutMs: number
  /** How long the node may be silent, while a batch waits for it, before the socket is destroyed. */
  readonly callTimeoutMs: number
  /** Calls in flight beyond which new ones are refused. */
  readonly maxInFlight: number
  /** Bytes not yet taken by the kernel beyond which new calls are refused. */
  readonly maxUnsentBytes: number
  /** Limit of a reply. */
  readonly maxReplyBytes: number
}

interface Batch {
  readonly calls: LinkCall[]
  readonly fence: Fence
  readonly sentAtMs: number
  readonly bytes: number
  /** Bytes of unanswered requests when it was sent, including its own. */
  readonly bytesBefore: number
  /** Bytes of replies received when it was sent. */
  readonly receivedBefore: number
  /** Its share of the node's load. */
  readonly largeBytes: number
  readonly smallBytes: number
  /** Calls that have all of their replies. */
  replied: number
  /** The next batch. */
  next: Batch | null
}

/** A node that sends or receives less than 5 MB/s while calls wait has failed, like a silent one. */
const BYTES_PER_MS = 5000
/** Requests of this size are sent within the timeout itself. */
const FREE_BYTES = 1024 * 1024
/** Longer than any error of Redis. */
const MAX_LINE_BYTES = 16 * 1024
/** Redis limits a string to 512 MB, unless configured otherwise. */
const MAX_BULK_BYTES = 2 ** 32
const ARRAY = 0x2a
const CR = 13
const LF = 10
const CRLF_BYTES = 2
const CHUNK_BYTES = 64 * 1024
/** A batch of this size is sent before the end of the turn, so that node and coordinator work in parallel. */
const FULL_BATCH_CALLS = 64
const FULL_BATCH_BYTES = 16 * 1024
/** Longer arguments are sent by reference instead of being copied. */
const COPY_LIMIT_BYTES = 16 * 1024

/** Precomputed `$<n>\r\n` for common lengths. */
const BULK_HEADS = Array.from({ length: 1024 }, (_, n) => Buffer.from(`$${n}\r\n`))
/** Of a bulk, still to come. */
const WORTH_READING_INTO = 16 * 1024
/** Receive buffer of all sockets; its data is copied in the same turn. */
const readBuffer = Buffer.allocUnsafeSlow(64 * 1024)
const FENCE_COMMAND = encodeCommand(['GET', MARKER_KEY])
/** AUTH, INFO, GET: the number of pending replies before the reply to AUTH. */
const GREETINGS_WITH_AUTH = 3
const RUN_COMMAND = encodeCommand(['INFO', 'server'])
/** Of a server that Sentinels watch: it may have been demoted since the probe, and hold what another one has. */
const ROLE_COMMAND = encodeCommand(['INFO', 'replication'])

/** Encodes a command in RESP. */
export function encodeCommand(args: readonly (string | Buffer)[]): Buffer {
  const parts: Buffer[] = [Buffer.from(`*${args.length}\r\n`)]
  for (const arg of args) {
    const bytes = typeof arg === 'string' ? Buffer.from(arg) : arg
    parts.push(Buffer.from(`$${bytes.length}\r\n`), bytes, Buffer.from('\r\n'))
  }
  return Buffer.concat(parts)
}

export class Link {
  private readonly options: LinkOptions
  private readonly clock: MonotonicClock
  private readonly timers: Timers
  private readonly onBroken: (failure: NodeFailure) => void
  private readonly onOtherMarker: (found: Buffer | null) => Fence | null
  private readonly endOfBatch: () => void
  private readonly load: NodeLoad

  private socket: net.Socket | null = null
  private isReady = false
  private fence: Fence

  // Data encoded in this turn: full parts, then the used range of the current chunk.
  private parts: Buffer[] = []
  private chunk = Buffer.allocUnsafeSlow(CHUNK_BYTES)
  private chunkFrom = 0
  private chunkAt = 0
  private calls: LinkCall[] = []
  private largeBytes = 0
  private smallBytes = 0
  /** At the end of this turn. */
  private flushing = false

  // Batches in flight. A linked list: an answered batch must be released at once, with all of its requests.
  private oldest: Batch | null = null
  private youngest: Batch | null = null
  private inFlight = 0
  private overdueCheck: TimerHandle | null = null
  private receivedAtMs = 0
  private receivedBytes = 0
  /** Bytes of requests in flight. */
  private askedBytes = 0
  /** Bytes of this turn's requests, in `parts`. */
  private cutBytes = 0

  /** The start of a reply whose length has not arrived yet. */
  private rest: Buffer | null = null
  /** The bulk being received, with its head, at full size; and how much of it has arrived. */
  private partial: Buffer | null = null
  private partialBytes = 0
  /** The socket reads directly into it. */
  private isReadingInto = false
  /** Missing bytes of a reply that exceeds the limit. */
  private toSkip = 0

  constructor(
    options: LinkOptions,
    fence: Fence,
    deps: { clock: MonotonicClock; timers: Timers; load: NodeLoad },
    events: {
      onBroken(failure: NodeFailure): void
      onOtherMarker(found: Buffer | null): Fence | null
      /** Called before the batch is sent or lost: encode what belongs to it now. */
      endOfBatch?(): void
    },
  ) {
    this.options = options
    this.fence = fence
    this.clock = deps.clock
    this.timers = deps.timers
    this.load = deps.load
    this.onBroken = (failure) => events.onBroken(failure)
    this.onOtherMarker = (found) => events.onOtherMarker(found)
    this.endOfBatch = () => events.endOfBatch?.()
  }

  get ready(): boolean {
    return this.isReady
  }

  /** The marker that batches have to find. */
  get expected(): Fence {
    return this.fence
  }

  /** The run id of the node that it is connected to. */
  get runId(): string {
    return this.fence.runId
  }

  /** Whether it is connected to the run of the server that the fence is about. */
  isOf({ runId, replid }: Fence): boolean {
    return this.fence.runId === runId && (replid === undefined || this.fence.replid === replid)
  }

  /** Batches sent from now on must find this marker, of the same run. */
  expect(fence: Fence): void {
    this.flush()
    this.fence = fence
  }

  /** Null if a call may be made, otherwise the reason why not. */
  refusal(): NodeFailure | null {
    if (!this.isReady) return NOT_CONNECTED
    if (this.inFlight >= this.options.maxInFlight) return TOO_MUCH_IN_FLIGHT
    if (this.socket!.writableLength > this.options.maxUnsentBytes) return TOO_MUCH_IN_FLIGHT
    return null
  }

  /** Connects, authenticates and checks the marker; rejects with a readable error. Once per link. */
  connect(): Promise<void> {
    return new Promise((resolve, reject) => {
      const { host, port, connectTimeoutMs } = this.options
      const socket = this.options.tls
        ? tls.connect({ host, port, ...this.options.tls })
        : net.connect({ host, port, onread: { buffer: this.nextBuffer, callback: this.onRead } })
      this.socket = socket
      socket.setNoDelay(true)
      const overdue = this.timers.setTimeout(() => {
        this.afterReading(() => {
          if (!this.isReady) this.destroy(lost('timeout', `no handshake within ${connectTimeoutMs} ms`))
        })
      }, connectTimeoutMs)
      const settle = (failure: NodeFailure | null) => {
        this.timers.clearTimeout(overdue)
        if (failure) reject(new Error(failure.message))
        else resolve()
      }
      this.onHandshake = settle
      if (this.options.tls) socket.on('data', (bytes: Buffer) => this.onData(bytes))
      socket.on('error', (error: Error) =>
        this.destroy(lost('closed', socketSentence(error) ?? error.message)),
      )
      socket.on('close', () => this.destroy(lost('closed', 'the node closed the connection')))
      // Writing to a socket that the node has closed discards its error reply: read for one turn first.
      const greet = () => this.afterReading(() => this.greet())
      socket.once(this.options.tls ? 'secureConnect' : 'connect', greet)
    })
  }

  /** Calls in flight fail as unknown. No effect if already destroyed. */
  destroy(failure: NodeFailure): void {
    const socket = this.socket
    if (!socket) return
    this.endOfBatch()
    this.socket = null
    const wasReady = this.isReady
    this.isReady = false
    socket.removeAllListeners('data')
    socket.on('error', () => undefined) // a destroyed socket may still emit errors; all calls are failed below
    socket.destroy()
    if (this.overdueCheck) this.timers.clearTimeout(this.overdueCheck)
    this.overdueCheck = null
    const unsent = this.calls
    let inFlight = this.oldest
    let { largeBytes, smallBytes } = this
    this.calls = []
    this.oldest = null
    this.youngest = null
    this.inFlight = 0
    this.parts = []
    this.rest = this.partial = null
    this.largeBytes = this.smallBytes = 0
    for (; inFlight; inFlight = inFlight.next) {
      largeBytes += inFlight.largeBytes
      smallBytes += inFlight.smallBytes
      for (const call of inFlight.calls) call.lost(failure)
    }
    for (const call of unsent) call.lost({ ...failure, kind: 'not-sent' })
    if (wasReady) this.onBroken(failure)
    else this.onHandshake?.(failure)
    this.onHandshake = null
    // Last: operations that wait for room must find this node unavailable.
    this.load.less(largeBytes, smallBytes)
  }

  // ---- encoding: head(…), then an argument at a time, then enqueue(…)

  /** Pre-encoded protocol bytes, shorter than CHUNK_BYTES. */
  raw(bytes: Buffer): void {
    this.ensureRoom(bytes.length)
    this.chunkAt += bytes.copy(this.chunk, this.chunkAt)
  }

  /** One argument. */
  bulk(bytes: Buffer): void {
    const length = bytes.length
    this.bulkHead(length)
    if (length > COPY_LIMIT_BYTES) this.byReference(bytes)
    else {
      this.ensureRoom(length + CRLF_BYTES)
      this.chunkAt += bytes.copy(this.chunk, this.chunkAt)
    }
    this.crlf()
  }

  /** One argument: a short range of `first`, then all of `second`. */
  bulkOfTwo(first: Buffer, from: number, to: number, second: Buffer): void {
    this.bulkHead(to - from + second.length)
    this.ensureRoom(to - from)
    // Byte by byte: copying a part would allocate an object first.
    for (let i = from; i < to; i++) this.chunk[this.chunkAt++] = first[i]!
    if (second.length > COPY_LIMIT_BYTES) this.byReference(second)
    else {
      this.ensureRoom(second.length + CRLF_BYTES)
      this.chunkAt += second.copy(this.chunk, this.chunkAt)
    }
    this.crlf()
  }

  /** Completes the command, or the commands, that were encoded since the last call. */
  enqueue(call: LinkCall): void {
    this.expectMore()
    this.inFlight++
    this.calls.push(call)
    const { valueBytes } = call
    if (valueBytes > SMALL_BYTES && !call.isOfSmall) {
      this.largeBytes += valueBytes
      this.load.largeBytes += valueBytes
    } else {
      this.smallBytes += valueBytes
      this.load.smallBytes += valueBytes
    }
    const bytes = this.cutBytes + this.chunkAt - this.chunkFrom
    if (this.calls.length >= FULL_BATCH_CALLS || bytes >= FULL_BATCH_BYTES) this.send()
  }

  /** Schedules a send at the end of this turn. */
  expectMore(): void {
    if (this.flushing) return
    this.flushing = true
    this.timers.endOfTurn(this.flush)
  }

  private bulkHead(length: number): void {
    this.raw(length < BULK_HEADS.length ? BULK_HEADS[length]! : Buffer.from(`$${length}\r\n`))
  }

  private crlf(): void {
    this.ensureRoom(CRLF_BYTES)
    this.chunk[this.chunkAt++] = 13
    this.chunk[this.chunkAt++] = 10
  }

  private ensureRoom(bytes: number): void {
    if (this.chunkAt + bytes <= CHUNK_BYTES) return
    this.flushChunk()
    this.chunk = Buffer.allocUnsafeSlow(CHUNK_BYTES)
    this.chunkFrom = 0
    this.chunkAt = 0
  }

  private byReference(bytes: Buffer): void {
    this.flushChunk()
    this.parts.push(bytes)
    this.cutBytes += bytes.length
  }

  /** Turns the used range of the current chunk into a part; the rest stays in use. */
  private flushChunk(): void {
    if (this.chunkAt > this.chunkFrom) this.parts.push(this.chunk.subarray(this.chunkFrom, this.chunkAt))
    this.cutBytes += this.chunkAt - this.chunkFrom
    this.chunkFrom = this.chunkAt
  }

  private readonly flush = (): void => {
    this.endOfBatch()
    this.flushing = false
    this.send()
  }

  private send(): void {
    const socket = this.socket
    if (!socket || this.calls.length === 0) return
    this.raw(FENCE_COMMAND)
    this.flushChunk()
    this.askedBytes += this.cutBytes
    const batch: Batch = {
      calls: this.calls,
      fence: this.fence,
      sentAtMs: this.clock.monotonicMs(),
      bytes: this.cutBytes,
      bytesBefore: this.askedBytes,
      receivedBefore: this.receivedBytes,
      largeBytes: this.largeBytes,
      smallBytes: this.smallBytes,
      replied: 0,
      next: null,
    }
    this.calls = []
    this.largeBytes = this.smallBytes = 0
    this.cutBytes = 0
    if (this.youngest) this.youngest.next = batch
    else this.oldest = batch
    this.youngest = batch
    const parts = this.parts
    this.parts = []
    if (parts.length === 1) {
      socket.write(parts[0]!)
      // The kernel has taken everything: reuse the chunk from its start.
      if (socket.writableLength === 0) this.chunkFrom = this.chunkAt = 0
    } else {
      socket.cork()
      for (const part of parts) socket.write(part)
      socket.uncork()
    }
    this.overdueCheck ??= this.timers.setTimeout(this.checkOverdue, this.options.callTimeoutMs)
  }

  // ---- handshake

  private onHandshake: ((failure: NodeFailure | null) => void) | null = null
  private greetings = 0

  private greet(): void {
    const { username, password } = this.options
    const parts: Buffer[] = []
    if (password !== undefined) {
      parts.push(encodeCommand(username ? ['AUTH', username, password] : ['AUTH', password]))
    }
    if (this.fence.replid !== undefined) parts.push(ROLE_COMMAND)
    parts.push(RUN_COMMAND, FENCE_COMMAND)
    this.greetings = parts.length
    this.socket?.write(Buffer.concat(parts))
  }

  private onGreeting(type: number, reply: Buffer | null): void {
    if (type === REPLY_ERROR) {
      this.destroy(lost('error', this.handshakeRefused(printable(reply!))))
      return
    }
    this.greetings--
    const { replid } = this.fence
    if (this.greetings === 2 && replid !== undefined && !isPrimary(reply, replid)) this.refuse(DEMOTED, null)
    // A node that was restarted since the probe may have its old marker, but not all of its data.
    if (this.greetings === 1 && !reply?.includes(`run_id:${this.fence.runId}\r\n`))
      this.refuse(OTHER_RUN, null)
    if (this.greetings > 0) return
    if (!isMarker(type, reply, this.fence) && !this.follows(type, reply)) {
      this.destroy(FOREIGN_MARKER)
      return
    }
    this.isReady = true
    this.onHandshake?.(null)
    this.onHandshake = null
  }

  private handshakeRefused(said: string): string {
    const unanswered = this.fence.replid === undefined ? GREETINGS_WITH_AUTH : GREETINGS_WITH_AUTH + 1
    const isAuth = this.options.password !== undefined && this.greetings === unanswered
    return isAuth
      ? passwordRefused(said, this.options)
      : `the node refused the handshake: ${withoutSecrets(said, this.options)}`
  }

  private refuse(why: NodeFailure, found: Buffer | null): void {
    this.destroy(why)
    this.onOtherMarker(found)
  }

  /** The fence of another marker than the expected one, which is expected from now on; null = it is not the same node's. */
  private follows(type: number, reply: Buffer | null): Fence | null {
    const fence = this.onOtherMarker(type === REPLY_BULK ? Buffer.from(reply!) : null)
    if (fence) this.fence = fence
    return fence
  }

  // ---- replies

  /**
   * The buffer that the socket reads into: the rest of a large bulk goes directly to its place, everything else to a
   * buffer shared by all links, and is copied in the same turn. A new buffer per read, as sockets allocate by default,
   * would cost more in garbage collection than everything else that a large reply needs.
   */
  private readonly nextBuffer = (): Buffer => {
    const { partial, partialBytes } = this
    this.isReadingInto = partial !== null && partial.length - partialBytes >= WORTH_READING_INTO
    return this.isReadingInto ? partial!.subarray(partialBytes) : readBuffer
  }

  private readonly onRead = (length: number): boolean => {
    if (this.isReadingInto) {
      this.onReceived(length)
      if (this.partial) this.filled(this.partial, length)
      return true
    }
    const from = this.fill(readBuffer, length)
    if (from < length && this.socket) {
      const bytes = Buffer.allocUnsafe(length - from)
      readBuffer.copy(bytes, 0, from, length)
      this.parse(bytes)
    }
    return true
  }

  private onData(bytes: Buffer): void {
    const from = this.fill(bytes, bytes.length)
    if (from < bytes.length && this.socket) this.parse(from === 0 ? bytes : bytes.subarray(from))
  }

  /** Consumes data for the bulk being received, if any; returns the number of bytes. */
  private fill(bytes: Buffer, length: number): number {
    this.onReceived(length)
    const { partial } = this
    if (!partial) return 0
    const taken = Math.min(length, partial.length - this.partialBytes)
    bytes.copy(partial, this.partialBytes, 0, taken)
    this.filled(partial, taken)
    return taken
  }

  private onReceived(bytes: number): void {
    this.receivedAtMs = this.clock.monotonicMs()
    this.receivedBytes += bytes
  }

  /** So many more of its bytes are there. */
  private filled(partial: Buffer, bytes: number): void {
    this.partialBytes += bytes
    if (this.partialBytes < partial.length) return
    this.partial = null
    this.parse(partial)
  }

  /** @param bytes slices of it are passed on */
  private parse(bytes: Buffer): void {
    const input = this.rest ? Buffer.concat([this.rest, bytes]) : bytes
    this.rest = null
    let at = this.toSkip > 0 ? this.skip(input, 0) : 0
    while (at < input.length && this.socket) {
      const next = this.parseReply(input, at)
      if (next < 0) break
      at = next
    }
    if (at < input.length && this.socket && !this.partial) this.rest = input.subarray(at)
  }

  /** Skips data that is to be discarded, as far as it has arrived; returns where the next reply begins. */
  private skip(input: Buffer, at: number): number {
    const skipped = Math.min(this.toSkip, input.length - at)
    this.toSkip -= skipped
    return at + skipped
  }

  /** Handles the reply at `at`; returns where it ends, or -1 if it is incomplete. */
  private parseReply(input: Buffer, at: number): number {
    const lineEnd = indexOfNear(input, CR, at + 1)
    if (lineEnd < 0 || lineEnd + 1 >= input.length) {
      if (input.length - at > MAX_LINE_BYTES) this.invalidReply('an endless line')
      return -1
    }
    const after = lineEnd + CRLF_BYTES
    if (lineEnd - at > MAX_LINE_BYTES || input[lineEnd + 1] !== LF) {
      this.invalidReply('an endless line')
      return -1
    }
    switch (input[at]) {
      case 0x24 /* $ */: {
        const length = parseLength(input, at + 1, lineEnd)
        if (length === -1) {
          this.onReply(REPLY_NIL, null)
          return after
        }
        if (length < 0 || length > MAX_BULK_BYTES) {
          this.invalidReply('a bulk without a possible length')
          return -1
        }
        if (length > this.options.maxReplyBytes) {
          this.toSkip = length + CRLF_BYTES
          this.onReply(REPLY_TOO_LONG, null)
          return this.skip(input, after)
        }
        const end = after + length + CRLF_BYTES
        if (end > input.length) {
          this.partial = Buffer.allocUnsafeSlow(end - at)
          this.partialBytes = input.copy(this.partial, 0, at)
          return -1
        }
        if (input[end - CRLF_BYTES] !== CR || input[end - 1] !== LF) {
          this.invalidReply('a bulk of another length than it said')
          return -1
        }
        this.onReply(REPLY_BULK, input.subarray(after, after + length))
        return end
      }
      case 0x3a /* : */:
        this.onReply(REPLY_INTEGER, input.subarray(at + 1, lineEnd))
        return after
      case 0x2d /* - */:
        this.onReply(REPLY_ERROR, input.subarray(at + 1, lineEnd))
        return after
      case 0x2b /* + */:
        this.onReply(REPLY_SIMPLE, input.subarray(at + 1, lineEnd))
        return after
      default:
        if (input[at] === ARRAY && this.takesArray()) {
          this.onReply(REPLY_ARRAY, input.subarray(at + 1, lineEnd))
          return after
        }
        this.invalidReply(`a reply that begins with byte ${input[at]}`)
        return -1
    }
  }

  private takesArray(): boolean {
    const { oldest } = this
    return this.isReady && (oldest?.calls[oldest.replied]?.takesArray() ?? false)
  }

  /** The node sent an invalid reply: nothing that follows can be trusted. */
  invalidReply(what: string): void {
    this.destroy(lost('error', `the node sent ${what}, which is not an answer to what was asked`))
  }

  private onReply(type: number, reply: Buffer | null): void {
    if (!this.isReady) {
      this.onGreeting(type, reply)
      return
    }
    const batch = this.oldest
    if (!batch) {
      this.invalidReply('an answer to nothing')
      return
    }
    if (batch.replied < batch.calls.length) {
      if (batch.calls[batch.replied]!.take(type, reply)) batch.replied++
      return
    }
    this.onMarker(batch, type, reply)
  }

  private onMarker(batch: Batch, type: number, reply: Buffer | null): void {
    this.oldest = batch.next
    if (!batch.next) this.youngest = null
    this.inFlight -= batch.calls.length
    this.askedBytes -= batch.bytes
    if (isMarker(type, reply, batch.fence)) for (const call of batch.calls) call.answered(batch.fence)
    else this.unexpectedMarker(batch, type, reply)
    this.load.answeredAfter(this.receivedAtMs - batch.sentAtMs)
    this.load.less(batch.largeBytes, batch.smallBytes)
  }

  private unexpectedMarker(batch: Batch, type: number, reply: Buffer | null): void {
    if (type === REPLY_ERROR) {
      // Busy or loading: the node could not read its marker. Calls that it refused were certainly refused.
      const said = withoutSecrets(printable(reply!), this.options)
      const failure = lost('error', `the node did not show its marker: ${said}`)
      for (const call of batch.calls) {
        if (call.replyType === REPLY_ERROR) call.answered(batch.fence)
        else call.lost(failure)
      }
      return
    }
    const fence = isMarker(type, reply, this.fence) ? this.fence : this.follows(type, reply)
    for (const call of batch.calls) {
      if (fence) call.answered(fence)
      else call.lost(FOREIGN_MARKER)
    }
  }

  // ---- deadlines

  private readonly checkOverdue = (): void => {
    this.overdueCheck = null
    const batch = this.oldest
    if (!batch) return
    const leftMs = this.leftMs(batch)
    if (leftMs > 0) {
      this.overdueCheck = this.timers.setTimeout(this.checkOverdue, Math.ceil(leftMs))
      return
    }
    this.afterReading(() => {
      const still = this.oldest
      if (still === batch && this.leftMs(batch) <= 0) {
        this.destroy(lost('timeout', `no answer within ${this.options.callTimeoutMs} ms`))
      } else if (still) {
        this.overdueCheck ??= this.timers.setTimeout(this.checkOverdue, 1)
      }
    })
  }

  /** Time until the oldest batch is overdue. */
  private leftMs({ sentAtMs, bytesBefore, receivedBefore }: Batch): number {
    const { callTimeoutMs } = this.options
    const sendingMs = Math.max(0, bytesBefore - FREE_BYTES) / BYTES_PER_MS
    const silentAtMs = Math.max(sentAtMs, this.receivedAtMs) + callTimeoutMs + sendingMs
    const workMs = (bytesBefore + this.receivedBytes - receivedBefore) / BYTES_PER_MS
    return Math.min(silentAtMs, sentAtMs + callTimeoutMs + workMs) - this.clock.monotonicMs()
  }

  /** Reads what has arrived while we were busy first: a whole turn passes between two ends of turns. */
  private afterReading(run: () => void): void {
    this.timers.endOfTurn(() => this.timers.endOfTurn(run))
  }
}

const TOO_MUCH_IN_FLIGHT: NodeFailure = {
  kind: 'not-sent',
  reason: 'too-much-in-flight',
  message: 'too many calls are waiting for the node',
}

function lost(reason: NodeFailure['reason'], message: string): NodeFailure {
  return { kind: 'unknown', reason, message }
}

/** In reply to ROLE_COMMAND. */
function isPrimary(reply: Buffer | null, replid: string): boolean {
  return !!reply?.includes('role:master\r\n') && reply.includes(`master_replid:${replid}\r\n`)
}

function isMarker(type: number, reply: Buffer | null, fence: Fence): boolean {
  return type === REPLY_BULK && fence.marker.equals(reply!)
}

/** Parses the decimal between `from` and `to`; -1 for `-1`, -2 if it is not a length. */
function parseLength(input: Buffer, from: number, to: number): number {
  if (to === from || to - from > 12) return -2
  if (input[from] === 0x2d) return to - from === 2 && input[from + 1] === 0x31 ? -1 : -2
  let length = 0
  for (let i = from; i < to; i++) {
    const digit = input[i]! - 0x30
    if (digit < 0 || digit > 9) return -2
    length = length * 10 + digit
  }
  return length
}
