/**
 * A connection on which the node tells which keys have changed (CLIENT TRACKING in broadcasting mode), for as long as the data
 * path is open. It keeps what is kept of the node honest (near/near-cache.ts), and one of its own tells of changes for clients
 * that keep values themselves (Node.changes).
 *
 *   data path opens ─▶ connect ─▶ HELLO 3, INFO, CLIENT TRACKING ON BCAST ─▶ tracked ─▶ PING … PONG, PING …
 *                          ▲                     │ refused                       │ lost, silent, or not RESP3
 *                          └────── a pause ──────┴───────── dropped as a whole ──┘
 *
 * Why a PONG is a proof. There is one PING under way at a time. All invalidations of writes before the PING was sent arrive
 * before the PONG to the *next* one: Redis sends the invalidations of a turn of its event loop at the end of that turn,
 * perhaps behind the PONG, but before it executes anything of the next turn; and the next PING is sent only after the PONG.
 *
 * A PING is sent every third of the allowed staleness, so that in good times what is kept is proven to be two thirds of it
 * old, and a reply may be late by the last third.
 *
 * The connection is to the very process that the data path is connected to: it must have the same run id.
 *
 * The mode is broadcasting, because it needs no state on the data connection, and nothing in the node that grows with the
 * number of keys. Its cost is a message for each write of any key.
 */
import net from 'node:net'
import tls, { type ConnectionOptions } from 'node:tls'
import type { TimerHandle } from '../../core/clock.ts'
import { printable } from '../../core/printable.ts'
import type { NearNode } from '../near/near-cache.ts'
import { encodeCommand } from './link.ts'
import type { RedisNodeOptions } from './options.ts'
import { ErrorReply, Push, Resp3Parser, type Value } from './resp3.ts'
import { passwordRefused, withoutSecrets } from './secrets.ts'
import { socketSentence } from './socket-errors.ts'

const LIMITS = {
  lineBytes: 16 * 1024,
  bulkBytes: 1024 * 1024,
  valueBytes: 64 * 1024 * 1024,
  elements: 1_000_000,
  depth: 4,
}
const PING = encodeCommand(['PING'])
const INVALIDATE = Buffer.from('invalidate')
/** Of pings a staleness. */
const PINGS = 3
const FIRST_PAUSE_MS = 250
const LONGEST_PAUSE_MS = 10_000
const MAX_SHOWN = 200

/** What is needed of a net.Socket. */
export interface TrackingSocket {
  on(event: 'error', listener: (error: Error) => void): unknown
  on(event: 'close', listener: () => void): unknown
  on(event: 'data', listener: (bytes: Buffer) => void): unknown
  write(bytes: Buffer): unknown
  destroy(): unknown
}

export type ConnectionSettings = Pick<
  RedisNodeOptions,
  'address' | 'connectTimeoutMs' | 'nodeTimeoutMs' | 'timers' | 'clock'
> & {
  /** For how long the node may be silent. */
  readonly maxStalenessMs: number
  /** Opens a connection to the address; by default a TCP socket. */
  readonly dial?: () => TrackingSocket
}

type TrackerOptions = ConnectionSettings & {
  readonly onTracking: (why: string | null) => void
}

export class Tracker {
  private readonly options: TrackerOptions
  private readonly tlsOptions: () => ConnectionOptions
  private readonly near: NearNode
  private connection: TrackingConnection | null = null
  private retry: TimerHandle | null = null
  private pauseMs = FIRST_PAUSE_MS
  /** It was told that nothing can be kept. */
  private isTold = false

  constructor(options: TrackerOptions, tlsOptions: () => ConnectionOptions, near: NearNode) {
    this.options = options
    this.tlsOptions = tlsOptions
    this.near = near
  }

  /** The data path is open, to this process. */
  begin(runId: string): void {
    this.stop()
    this.pauseMs = FIRST_PAUSE_MS
    this.connect(runId)
  }

  /** The data path is closed: everything is dropped. */
  end(): void {
    this.stop()
    this.near.ended()
  }

  private stop(): void {
    if (this.retry) this.options.timers.clearTimeout(this.retry)
    this.retry = null
    this.connection?.close()
    this.connection = null
    this.near.trackingEnded('data-path')
  }

  private connect(runId: string): void {
    this.retry = null
    this.connection = new TrackingConnection(this.options, this.tlsOptions(), runId, {
      began: () => this.began(),
      proven: (sinceMs) => this.near.proven(sinceMs),
      invalidated: (keys) => this.near.invalidated(keys),
      ended: (why, wasTracked) => this.lost(runId, why, wasTracked),
    })
  }

  private began(): void {
    this.near.trackingBegan()
    this.pauseMs = FIRST_PAUSE_MS
    if (!this.isTold) return
    this.isTold = false
    this.options.onTracking(null)
  }

  private lost(runId: string, why: string, wasTracked: boolean): void {
    this.connection = null
    this.near.trackingEnded('tracking')
    // One that was lost is opened again, and that is all, as a rule.
    if (!wasTracked && !this.isTold) {
      this.isTold = true
      this.options.onTracking(why)
    }
    this.retry = this.options.timers.setTimeout(() => this.connect(runId), this.pauseMs)
    this.pauseMs = Math.min(2 * this.pauseMs, LONGEST_PAUSE_MS)
  }
}

export interface TrackingEvents {
  began(): void
  /** All invalidations of writes before this have arrived. */
  proven(sinceMs: number): void
  /** @param keys null = all */
  invalidated(keys: readonly Buffer[] | null): void
  /** Once, and nothing follows. */
  ended(why: string, wasTracked: boolean): void
}

/** The command, and the check of its reply: null = it is as it should be. */
interface Greeting {
  readonly command: readonly string[]
  readonly problem: (reply: Value) => string | null
}

export class TrackingConnection {
  private readonly options: ConnectionSettings
  private readonly events: TrackingEvents
  private readonly socket: TrackingSocket
  private readonly parser: Resp3Parser
  private readonly greetings: Greeting[]
  private readonly place: number
  private timer: TimerHandle
  private isTracked = false
  private hasEnded = false
  private isPinging = false
  /** When the last PING was sent, and the one before. */
  private pingMs = -Infinity
  private formerPingMs = -Infinity

  constructor(
    options: ConnectionSettings,
    tlsOptions: ConnectionOptions,
    runId: string,
    events: TrackingEvents,
  ) {
    this.options = options
    this.events = events
    this.greetings = greetingsFor(options.address, runId)
    this.place = this.greetings.length
    this.parser = new Resp3Parser(LIMITS)
    this.socket = options.dial?.() ?? dialed(options.address, tlsOptions)
    this.socket.on('error', (error) => this.end(socketSentence(error) ?? error.message))
    this.socket.on('close', () => this.end('the connection was lost'))
    this.socket.on('data', (bytes: Buffer) => this.onData(bytes))
    this.socket.write(Buffer.concat(this.greetings.map(({ command }) => encodeCommand(command))))
    const limitMs = options.connectTimeoutMs + options.nodeTimeoutMs
    this.timer = options.timers.setTimeout(() => this.end('it did not answer in time'), limitMs)
  }

  close(): void {
    this.hasEnded = true
    this.options.timers.clearTimeout(this.timer)
    this.socket.destroy()
  }

  private end(why: string): void {
    if (this.hasEnded) return
    this.close()
    this.events.ended(why, this.isTracked)
  }

  private onData(bytes: Buffer): void {
    if (this.hasEnded) return
    const { parser } = this
    parser.feed(bytes)
    for (let value = parser.next(); value !== undefined; value = parser.next()) {
      this.onValue(value)
      if (this.hasEnded) return
    }
    if (parser.problem !== null) this.end(`the node sent ${parser.problem}`)
  }

  private onValue(value: Value): void {
    if (value instanceof Push) this.onPush(value)
    else if (!this.isTracked) this.onGreeting(value)
    else if (this.isPinging && value === 'PONG') this.onPong()
    else this.end('the node sent an answer to nothing')
  }

  private onPush({ items: [kind, keys] }: Push): void {
    if (!(kind instanceof Buffer) || !kind.equals(INVALIDATE)) return
    if (keys === null) this.events.invalidated(null)
    else if (Array.isArray(keys) && keys.every((key) => key instanceof Buffer)) this.events.invalidated(keys)
    else this.end('the node sent an invalidation of something else than keys')
  }

  private onGreeting(reply: Value): void {
    const greeting = this.greetings.shift()!
    const problem = reply instanceof ErrorReply ? this.refused(greeting, reply) : greeting.problem(reply)
    if (problem !== null) {
      this.end(problem)
      return
    }
    if (this.greetings.length > 0) return
    this.options.timers.clearTimeout(this.timer)
    this.isTracked = true
    this.events.began()
    this.ping()
  }

  private refused({ command }: Greeting, { message }: ErrorReply): string {
    const said = printable(Buffer.from(message, 'latin1'), MAX_SHOWN)
    const { address } = this.options
    const isLogin = this.greetings.length === this.place - 1 && address.password !== undefined
    if (isLogin && !said.startsWith('NOPERM') && !said.startsWith('ERR unknown')) {
      return passwordRefused(said, address)
    }
    return `the node refused ${command[0]}: ${withoutSecrets(said, address)}`
  }

  private ping(): void {
    const { maxStalenessMs, timers, clock } = this.options
    this.formerPingMs = this.pingMs
    this.pingMs = clock.monotonicMs()
    this.isPinging = true
    this.socket.write(PING)
    this.timer = timers.setTimeout(() => this.overdue(), maxStalenessMs)
  }

  private onPong(): void {
    const { maxStalenessMs, timers, clock } = this.options
    timers.clearTimeout(this.timer)
    this.isPinging = false
    const isProof = this.formerPingMs > -Infinity
    if (isProof) this.events.proven(this.formerPingMs)
    const nextMs = this.pingMs + maxStalenessMs / PINGS
    const pauseMs = isProof ? Math.max(0, nextMs - clock.monotonicMs()) : 0
    this.timer = timers.setTimeout(() => this.ping(), pauseMs)
  }

  /** Perhaps it was this process that was busy: what has arrived is read first, which takes a turn. */
  private overdue(): void {
    const { timers } = this.options
    const { pingMs } = this
    timers.endOfTurn(() =>
      timers.endOfTurn(() => {
        if (this.isPinging && this.pingMs === pingMs) this.end('the node was silent')
      }),
    )
  }
}

function dialed(
  { host, port, tls: isTls }: RedisNodeOptions['address'],
  tlsOptions: ConnectionOptions,
): TrackingSocket {
  const socket = isTls ? tls.connect({ host, port, ...tlsOptions }) : net.connect({ host, port })
  socket.setNoDelay(true)
  return socket
}

function greetingsFor({ username, password }: RedisNodeOptions['address'], runId: string): Greeting[] {
  // An address may name an empty user.
  const user = username === undefined || username === '' ? 'default' : username
  const auth = password === undefined ? [] : ['AUTH', user, password]
  return [
    {
      command: ['HELLO', '3', ...auth],
      problem: (reply) => (Array.isArray(reply) ? null : 'the node answered HELLO with something else'),
    },
    {
      command: ['INFO', 'server'],
      problem: (reply) =>
        reply instanceof Buffer && reply.includes(`run_id:${runId}\r\n`) ? null : 'another process answered',
    },
    {
      command: ['CLIENT', 'TRACKING', 'ON', 'BCAST'],
      problem: (reply) => (reply === 'OK' ? null : 'the node did not begin to track'),
    },
  ]
}
