/**
 * Connections of the HTTP server: what each makes the process hold (ledger.ts), whether it goes on (patience.ts), and its
 * place among all connections (seats.ts).
 *
 * node:http hands out all requests that a chunk holds, hundreds of them, and their answers wait in memory until those before
 * them are taken. So only a few reads of one connection are served side by side, fewer the longer answers usually are; the
 * others wait until it is their turn, and meanwhile the connection is not read from.
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
import { Patience, PATIENCE, type PatienceLimits } from '../patience.ts'
import type { Seat, Seats } from '../seats.ts'
import { takenBytes } from '../sockets.ts'
import type { Tokens } from '../tokens.ts'

export interface TrafficOptions {
  readonly ledger: Ledger
  readonly seats: Seats
  readonly monotonicMs: () => number
  readonly tokens: Tokens
}

export interface TrafficLimits {
  /** How long the rest of a request may take. */
  readonly patience: PatienceLimits
  /** How long a client may take nothing of an answer. */
  readonly unmovedMs: number
}

export const TRAFFIC_LIMITS: TrafficLimits = { patience: PATIENCE, unmovedMs: 60_000 }

const SERVER = 'http'
/** Reads of one connection that are served side by side, and about how many bytes of answers they may have. */
const SIDE_BY_SIDE = 16
const SIDE_BY_SIDE_BYTES = 1024 * 1024
/** What is expected of an answer before there were any. */
const FIRST_ANSWER_BYTES = 128 * 1024
/** A request and a response that wait, as objects. */
const WAITING_BYTES = 4096
const CONNECTION = Symbol('connection')

type Carrier = Socket & { [CONNECTION]?: HttpConnection }

/** Undefined where the socket is not ours: the application was mounted in another server. */
export function connectionOf(socket: Socket): HttpConnection | undefined {
  return (socket as Carrier)[CONNECTION]
}

export class Traffic {
  readonly options: TrafficOptions
  readonly limits: TrafficLimits
  readonly connections = new Set<HttpConnection>()
  /** As long as the last dozen were on average. */
  usualAnswerBytes = FIRST_ANSWER_BYTES

  constructor(options: TrafficOptions, limits: TrafficLimits) {
    this.options = options
    this.limits = limits
  }

  /** @returns false when there are too many connections, and none gives way */
  opened(socket: Socket): boolean {
    const connection = new HttpConnection(this, socket)
    const { seats } = this.options
    if (!seats.take(SERVER, connection)) {
      connection.account.close()
      return false
    }
    ;(socket as Carrier)[CONNECTION] = connection
    this.connections.add(connection)
    socket.once('close', () => {
      connection.account.close()
      this.connections.delete(connection)
      seats.leave(SERVER, connection)
    })
    return true
  }

  /** About once a second. @param onSpent a request does not go on */
  check(onSpent: (socket: Socket) => void): void {
    const nowMs = this.options.monotonicMs()
    for (const connection of this.connections) connection.check(nowMs, onSpent)
  }
}

export class HttpConnection implements Holder, Seat {
  readonly account: Account
  private readonly traffic: Traffic
  private readonly socket: Socket
  /** Requests so far; the last one. */
  private requests = 0
  private hasShownToken = false
  private readonly asksForTokens: boolean
  private last: IncomingMessage | null = null
  /** Served, and not answered yet. */
  private underWay = 0
  private waiting = 0
  /** Of what the socket holds. */
  private unsent = 0
  /** Of answers that wait for the socket. */
  private pending = 0
  /** A body that is not read on until there is memory. */
  private paused: IncomingMessage | null = null
  private patience: Patience | null = null
  private movedAtMs: number
  private movedBytes = 0
  private isSpent = false

  constructor(traffic: Traffic, socket: Socket) {
    const { ledger, tokens, monotonicMs } = traffic.options
    const isOpen = tokens.either.length === 0
    this.asksForTokens = !isOpen
    this.traffic = traffic
    this.socket = socket
    this.movedAtMs = monotonicMs()
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

  /** It has shown a token that is right. */
  showedToken(): void {
    this.hasShownToken = true
    this.account.moveTo('token')
  }

  get hasWaiting(): boolean {
    return this.waiting > 0
  }

  /** Whether one more read may be served beside those under way. */
  get mayServeBeside(): boolean {
    const bytes = this.underWay * this.traffic.usualAnswerBytes + this.unsent + this.pending
    return this.underWay < SIDE_BY_SIDE && bytes < SIDE_BY_SIDE_BYTES && !this.account.mustWait
  }

  /** Calls back when it is this request's turn; until then the connection is not read from. */
  wait(res: ServerResponse, serve: () => void): void {
    const pending = pendingOf(res)
    this.waiting++
    this.account.add(WAITING_BYTES)
    // node:http stops reading from a connection whose answers pile up, and by this it counts.
    pending(WAITING_BYTES)
    res.once('socket', () => {
      // The client is gone; and node:http must not go on reading what it has sent.
      if (this.socket.destroyed) return
      this.waiting--
      this.account.add(-WAITING_BYTES)
      pending(-WAITING_BYTES)
      // Hundreds may have come in one piece, and each may be answered at once: others have their turn in between.
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

  /** An answer was handed to node:http. */
  answered(res: ServerResponse, bytes: number): void {
    this.learn(bytes)
    this.countUnsent()
    if (res.socket !== null) return
    // It waits for those before it.
    this.holdAnswer(bytes)
    res.once('socket', () => this.holdAnswer(-bytes))
  }

  /** So long are answers. */
  learn(bytes: number): void {
    const { traffic } = this
    traffic.usualAnswerBytes += (bytes - traffic.usualAnswerBytes) >> 3
  }

  /** @param bytes of an answer that waits for the socket; negative: it has them */
  holdAnswer(bytes: number): void {
    this.pending += bytes
    this.account.add(bytes)
    this.countUnsent()
  }

  /** The body is read on when there is memory. */
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

  // ---- limits in time

  check(nowMs: number, onSpent: (socket: Socket) => void): void {
    this.countUnsent()
    const { limits } = this.traffic
    const moved = this.moved()
    if (moved !== this.movedBytes || this.unsent === 0) this.movedAtMs = nowMs
    this.movedBytes = moved
    if (nowMs - this.movedAtMs >= limits.unmovedMs) {
      this.socket.destroy()
      return
    }
    if (!this.last || this.last.complete) {
      this.last = null
      this.patience = null
      return
    }
    const { bytesRead } = this.socket
    this.patience ??= new Patience(nowMs, limits.patience, bytesRead)
    if (!this.patience.isSpent(nowMs, this.paused === null, bytesRead, this.requests)) return
    if (this.isSpent) this.socket.destroy()
    else onSpent(this.socket)
    this.isSpent = true
  }

  // ---- as its account and its seat see it

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

  mayGiveWay(): boolean {
    return this.asksForTokens ? !this.hasShownToken : this.requests === 0
  }
}

/** node:http's own count of bytes that wait for a connection's turn: not documented, so it may be missing. */
function pendingOf(res: ServerResponse): (bytes: number) => void {
  const { _onPendingData } = res as { _onPendingData?: (bytes: number) => void }
  return typeof _onPendingData === 'function' ? _onPendingData : () => undefined
}
