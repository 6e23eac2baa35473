/**
 * Connections of the HTTP server: their memory (ledger.ts), progress timeouts (input-timeout.ts), and the connection limit
 * (connection-limit.ts).
 *
 * node:http emits all requests of a chunk at once, perhaps hundreds, and their responses wait in memory until earlier ones
 * are read. So only a few reads of one connection are served concurrently, fewer the longer responses usually are; the
 * others wait for their turn, and meanwhile the connection is not read from.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import {
  IDLE_BYTES,
  IDLE_TLS_BYTES,
  UNAUTHENTICATED,
  type Account,
  type Holder,
  type Ledger,
} from '../ledger.ts'
import { InputTimeout, INPUT_TIMEOUT, type InputTimeoutLimits } from '../input-timeout.ts'
import type { LimitedConnection, ConnectionLimit } from '../connection-limit.ts'
import { takenBytes } from '../sockets.ts'
import type { Tokens } from '../tokens.ts'

export interface TrafficOptions {
  readonly ledger: Ledger
  readonly connectionLimit: ConnectionLimit
  readonly monotonicMs: () => number
  readonly tokens: Tokens
}

export interface TrafficLimits {
  /** How long the rest of a request may take. */
  readonly inputTimeout: InputTimeoutLimits
  /** How long a client may read nothing of a response. */
  readonly unmovedMs: number
}

export const TRAFFIC_LIMITS: TrafficLimits = { inputTimeout: INPUT_TIMEOUT, unmovedMs: 60_000 }

const SERVER = 'http'
/** Most reads of one connection that are served concurrently, and most bytes of their responses, estimated. */
const SIDE_BY_SIDE = 16
const SIDE_BY_SIDE_BYTES = 1024 * 1024
/** Expected length of the first response. */
const FIRST_ANSWER_BYTES = 128 * 1024
/** Memory of a waiting request and its response objects. */
const WAITING_BYTES = 4096
const CONNECTION = Symbol('connection')

type Carrier = Socket & { [CONNECTION]?: HttpConnection }

/** Undefined if the socket is not ours: the application is mounted in another server. */
export function connectionOf(socket: Socket): HttpConnection | undefined {
  return (socket as Carrier)[CONNECTION]
}

export class Traffic {
  readonly options: TrafficOptions
  readonly limits: TrafficLimits
  readonly connections = new Set<HttpConnection>()
  /** The average of about the last dozen. */
  usualAnswerBytes = FIRST_ANSWER_BYTES

  constructor(options: TrafficOptions, limits: TrafficLimits) {
    this.options = options
    this.limits = limits
  }

  /** @returns false when the connection limit is reached, and no connection can be closed in favour of this one */
  opened(socket: Socket): boolean {
    const connection = new HttpConnection(this, socket)
    const { connectionLimit } = this.options
    if (!connectionLimit.take(SERVER, connection)) {
      connection.account.close()
      return false
    }
    ;(socket as Carrier)[CONNECTION] = connection
    this.connections.add(connection)
    socket.once('close', () => {
      connection.account.close()
      this.connections.delete(connection)
      connectionLimit.leave(SERVER, connection)
    })
    return true
  }

  /** Called about once a second. @param onSpent called for a request that makes no progress */
  check(onSpent: (socket: Socket) => void): void {
    const nowMs = this.options.monotonicMs()
    for (const connection of this.connections) connection.check(nowMs, onSpent)
  }
}

export class HttpConnection implements Holder, LimitedConnection {
  readonly account: Account
  private readonly traffic: Traffic
  private readonly socket: Socket
  /** Requests so far; the last one. */
  private requests = 0
  private hasShownToken = false
  private readonly asksForTokens: boolean
  private last: IncomingMessage | null = null
  /** Requests in service. */
  private underWay = 0
  private waiting = 0
  /** Bytes in the socket's buffer. */
  private unsent = 0
  /** Bytes of responses that wait for the socket. */
  private pending = 0
  /** A body that is not read until memory is available. */
  private paused: IncomingMessage | null = null
  private inputTimeout: InputTimeout | null = null
  private takenAtMs: number
  private takenBytes = 0
  private isSpent = false

  constructor(traffic: Traffic, socket: Socket) {
    const { ledger, tokens, monotonicMs } = traffic.options
    const isOpen = tokens.either.length === 0
    this.asksForTokens = !isOpen
    this.traffic = traffic
    this.socket = socket
    this.takenAtMs = monotonicMs()
    this.account = ledger.open(
      isOpen ? (socket.remoteAddress ?? '') : UNAUTHENTICATED,
      this,
      'encrypted' in socket ? IDLE_TLS_BYTES : IDLE_BYTES,
    )
  }

  // ---- requests

  arrived(req: IncomingMessage): void {
    this.requests++
    this.last = req
    this.countUnsent()
  }

  /** The client has sent a correct token. */
  showedToken(): void {
    this.hasShownToken = true
    this.account.moveTo('token')
  }

  get hasWaiting(): boolean {
    return this.waiting > 0
  }

  /** Whether one more read may be served concurrently. */
  get mayServeBeside(): boolean {
    const bytes = this.underWay * this.traffic.usualAnswerBytes + this.unsent + this.pending
    return this.underWay < SIDE_BY_SIDE && bytes < SIDE_BY_SIDE_BYTES && !this.account.mustWait
  }

  /** Calls `serve` when it is this request's turn; until then the connection is not read from. */
  wait(res: ServerResponse, serve: () => void): void {
    const pending = pendingOf(res)
    this.waiting++
    this.account.add(WAITING_BYTES)
    // This makes node:http stop reading, as it does when responses pile up.
    pending(WAITING_BYTES)
    res.once('socket', () => {
      // The client is gone, and node:http must not continue with its requests.
      if (this.socket.destroyed) return
      this.waiting--
      this.account.add(-WAITING_BYTES)
      pending(-WAITING_BYTES)
      // Hundreds may have arrived in one chunk: let other connections run in between.
      setImmediate(() => {
        if (!this.socket.destroyed) serve()
      })
    })
  }

  began(): void {
    this.underWay++
  }

  ended(): void {
    this.underWay--
  }

  /** A response was passed to node:http. */
  answered(res: ServerResponse, bytes: number): void {
    this.learn(bytes)
    this.countUnsent()
    if (res.socket !== null) return
    // It waits for earlier responses.
    this.holdAnswer(bytes)
    res.once('socket', () => this.holdAnswer(-bytes))
  }

  /** Updates the average length of responses. */
  learn(bytes: number): void {
    const { traffic } = this
    traffic.usualAnswerBytes += (bytes - traffic.usualAnswerBytes) >> 3
  }

  /** @param bytes of a response that wait for the socket; negative = written to it */
  holdAnswer(bytes: number): void {
    this.pending += bytes
    this.account.add(bytes)
    this.countUnsent()
  }

  /** Stops reading the body until memory is available. */
  pause(req: IncomingMessage): void {
    this.paused = req
    req.pause()
    this.account.wait()
  }

  private countUnsent(): void {
    const unsent = this.socket.writableLength
    if (unsent === this.unsent) return
    this.account.add(unsent - this.unsent)
    this.unsent = unsent
  }

  // ---- timeouts

  check(nowMs: number, onSpent: (socket: Socket) => void): void {
    this.countUnsent()
    const { limits } = this.traffic
    // What the client sends does not count: the rest of its input may be discarded meanwhile (linger.ts).
    const taken = takenBytes(this.socket)
    if (taken !== this.takenBytes || this.unsent === 0) this.takenAtMs = nowMs
    this.takenBytes = taken
    if (nowMs - this.takenAtMs >= limits.unmovedMs) {
      this.socket.destroy()
      return
    }
    if (!this.last || this.last.complete) {
      this.last = null
      this.inputTimeout = null
      return
    }
    const { bytesRead } = this.socket
    this.inputTimeout ??= new InputTimeout(nowMs, limits.inputTimeout, bytesRead)
    if (!this.inputTimeout.isSpent(nowMs, this.paused === null, bytesRead, this.requests)) return
    if (this.isSpent) this.socket.destroy()
    else onSpent(this.socket)
    this.isSpent = true
  }

  // ---- Holder and LimitedConnection

  resume(): void {
    const { paused } = this
    this.paused = null
    paused?.resume()
  }

  cut(): void {
    this.socket.destroy()
  }

  moved(): number {
    return this.socket.bytesRead + takenBytes(this.socket)
  }

  mayBeDisplaced(): boolean {
    return this.asksForTokens ? !this.hasShownToken : this.requests === 0
  }
}

/** node:http's count of bytes that wait for their turn on a connection: undocumented, so it may be missing. */
function pendingOf(res: ServerResponse): (bytes: number) => void {
  const { _onPendingData } = res as { _onPendingData?: (bytes: number) => void }
  return typeof _onPendingData === 'function' ? _onPendingData : () => undefined
}
