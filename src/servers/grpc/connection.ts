/**
 * A connection of the gRPC server: its memory (ledger.ts), the connection limit, and its timeouts. Its HTTP/2 session belongs to
 * the library.
 *
 * What one connection can make the process hold is bounded by its account. The bytes of a request count as they arrive, and
 * those of an answer until HTTP/2 has taken them, which it does only as fast as the client reads. A connection that holds too
 * much is not read from, and its further calls are refused.
 */
import type { ServerHttp2Session } from 'node:http2'
import type { Socket } from 'node:net'
import type { Requester } from '../../coordinator/api.ts'
import type { LimitedConnection } from '../connection-limit.ts'
import { INPUT_TIMEOUT } from '../input-timeout.ts'
import { IDLE_BYTES, IDLE_TLS_BYTES, UNAUTHENTICATED, type Account, type Holder } from '../ledger.ts'
import { takenBytes } from '../sockets.ts'
import type { GrpcServerOptions } from './options.ts'

/** A session of HTTP/2, its streams' objects and its tables of headers. */
const SESSION_BYTES = 16 * 1024
/** How long a client may take nothing of what waits for it. */
const UNMOVED_MS = 60_000
/** Pings of a client between two checks, about a second apart, that are no keepalive any more. */
const MANY_PINGS = 100
const ENHANCE_YOUR_CALM = 11

const CONNECTION = Symbol('connection')

/** A call, as its connection sees it. */
export interface CarriedCall {
  readonly unsentBytes: number
  /** About once a second. */
  check(nowMs: number): void
}

/** Undefined if the socket is not ours. */
export function connectionOf(socket: Socket | undefined): GrpcConnection | undefined {
  // The library's session passes a symbol on to the socket below it.
  return (socket as { [CONNECTION]?: GrpcConnection } | undefined)?.[CONNECTION]
}

export class GrpcConnection implements Holder, LimitedConnection {
  readonly account: Account
  readonly requester: Requester
  readonly calls = new Set<CarriedCall>()
  private readonly options: GrpcServerOptions
  private readonly socket: Socket
  private session: ServerHttp2Session | null = null
  private readonly openedAtMs: number
  /** The client has shown that it speaks HTTP/2. */
  private isGreeted = false
  private pings = 0
  private requests = 0
  private hasShownToken = false
  private idleSinceMs: number
  private takenAtMs: number
  private takenBytes = 0
  /** Run once there is memory for more. */
  private paused: (() => void)[] = []

  constructor(socket: Socket, options: GrpcServerOptions) {
    const { ledger, tokens, monotonicMs } = options
    const isOpen = tokens.either.length === 0
    this.socket = socket
    this.options = options
    this.openedAtMs = this.idleSinceMs = this.takenAtMs = monotonicMs()
    this.account = ledger.open(
      isOpen ? (socket.remoteAddress ?? '') : UNAUTHENTICATED,
      this,
      SESSION_BYTES + ('encrypted' in socket ? IDLE_TLS_BYTES : IDLE_BYTES),
    )
    this.requester = requesterOf(socket)
    ;(socket as Socket & { [CONNECTION]?: GrpcConnection })[CONNECTION] = this
  }

  speaks(session: ServerHttp2Session): void {
    this.session = session
    session.once('remoteSettings', () => (this.isGreeted = true))
    session.on('ping', () => this.pings++)
  }

  /** @returns false if it holds too much memory already */
  began(call: CarriedCall): boolean {
    this.requests++
    this.calls.add(call)
    return !this.account.isRefused
  }

  ended(call: CarriedCall): void {
    this.calls.delete(call)
    if (this.calls.size === 0) this.idleSinceMs = this.options.monotonicMs()
  }

  showedToken(): void {
    this.hasShownToken = true
    this.account.moveTo('token')
  }

  /** Calls `run` now, or once this connection may be read from. */
  whenRoom(run: () => void): void {
    if (!this.account.mustWait) {
      run()
      return
    }
    this.paused.push(run)
    this.account.wait()
  }

  // ---- timeouts

  /** Called about once a second. */
  check(nowMs: number): void {
    for (const call of this.calls) call.check(nowMs)
    if (this.isOverdue(nowMs)) {
      this.socket.destroy()
      return
    }
    if (this.pings > MANY_PINGS) {
      this.session?.goaway(ENHANCE_YOUR_CALM)
      this.session?.destroy()
    }
    this.pings = 0
    const { idleMs } = this.options
    if (idleMs > 0 && this.calls.size === 0 && nowMs - this.idleSinceMs >= idleMs) this.end()
  }

  private isOverdue(nowMs: number): boolean {
    if (!this.isGreeted) return nowMs - this.openedAtMs >= INPUT_TIMEOUT.firstMs
    let unsent = 0
    for (const call of this.calls) unsent += call.unsentBytes
    const taken = takenBytes(this.socket)
    if (taken !== this.takenBytes || unsent === 0) this.takenAtMs = nowMs
    this.takenBytes = taken
    return nowMs - this.takenAtMs >= UNMOVED_MS
  }

  /** Tells the client to open another one for its next call; calls that have begun are answered. */
  end(): void {
    if (this.session && !this.session.closed) this.session.close()
    else this.socket.destroy()
  }

  // ---- Holder and LimitedConnection

  resume(): void {
    const paused = this.paused
    this.paused = []
    for (const run of paused) this.whenRoom(run)
  }

  cut(): void {
    this.socket.destroy()
  }

  moved(): number {
    return this.socket.bytesRead + takenBytes(this.socket)
  }

  mayBeDisplaced(): boolean {
    return this.options.tokens.either.length > 0 ? !this.hasShownToken : this.requests === 0
  }
}

function requesterOf(socket: Socket): Requester {
  return {
    waiting: 0,
    begunAtMs: 0,
    get gone() {
      return socket.destroyed
    },
    noneWaits: () => undefined, // calls do not wait for each other
  }
}
