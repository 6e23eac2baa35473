/**
 * The stream between a node and ioredis, which has no limits on input: an array count of 30 million makes it allocate
 * 670 MB, and it throws unexpected data (a push, an unsolicited reply) where no caller can catch it.
 *
 *     socket ──▶ RespFraming ──▶ ioredis        a malformed reply closes the connection, with an error
 *     socket ◀── RespFraming ◀── ioredis        counts the commands: there are no more replies than that
 *
 * So ioredis only sees well-formed RESP2 of limited size, and never more replies than commands. control-replies.ts
 * checks whether a reply fits its command.
 */
import net from 'node:net'
import { Duplex } from 'node:stream'
import tls from 'node:tls'
import { AbstractConnector, type RedisOptions } from 'ioredis'
import type { Timers } from '../../core/clock.ts'
import { printable } from '../../core/printable.ts'
import { RespFraming, type FramingLimits } from './resp-framing.ts'

/** The largest reply here is a page of 1,000 keys, each with the head of its record. */
const REPLY_LIMITS: FramingLimits = {
  lineBytes: 16 * 1024,
  bulkBytes: 1024 * 1024,
  valueBytes: 32 * 1024 * 1024,
  elements: 100_000,
  depth: 3,
}
const MINUS = 0x2d
const CR = 0x0d
const NO_LIMITS: FramingLimits = {
  lineBytes: Infinity,
  bulkBytes: Infinity,
  valueBytes: Infinity,
  elements: Infinity,
  depth: Infinity,
}

/** The node sent an invalid reply. */
export class BrokenFraming extends Error {
  constructor(what: string) {
    super(`the node sent ${what}, which is not an answer to what was asked`)
  }
}

/** The node closed the connection with this error before any command: too many clients, or protected mode. */
export class ConnectionRefused extends Error {
  constructor(said: string) {
    super(`the node refused the connection: ${said}`)
  }
}

/** Behaves like a socket, as far as ioredis uses it. */
class GuardedStream extends Duplex {
  private readonly socket: net.Socket
  private readonly asked = new RespFraming(NO_LIMITS)
  private readonly answers = new RespFraming(REPLY_LIMITS)
  private readonly timers: Timers
  private hasWritten = false

  constructor(socket: net.Socket, timers: Timers) {
    super({ allowHalfOpen: false })
    this.socket = socket
    this.timers = timers
    for (const event of ['connect', 'secureConnect']) socket.once(event, () => this.emit(event))
    socket.on('data', (bytes: Buffer) => this.onData(bytes))
    socket.on('error', (error) => this.destroy(error))
    socket.on('close', () => this.destroy())
  }

  get connecting(): boolean {
    return this.socket.connecting
  }

  setNoDelay(on: boolean): this {
    this.socket.setNoDelay(on)
    return this
  }

  setKeepAlive(on: boolean, delayMs: number): this {
    this.socket.setKeepAlive(on, delayMs)
    return this
  }

  setTimeout(ms: number, run?: () => void): this {
    this.socket.setTimeout(ms, run)
    return this
  }

  override _read(): void {
    this.socket.resume()
  }

  override _write(bytes: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    if (this.hasWritten) this.send(bytes, done)
    // Writing to a socket that the node has closed discards its error reply: read for one turn first.
    else this.timers.endOfTurn(() => this.timers.endOfTurn(() => this.send(bytes, done)))
    this.hasWritten = true
  }

  private send(bytes: Buffer, done: (error?: Error | null) => void): void {
    if (this.destroyed) {
      done()
      return
    }
    this.asked.scan(bytes)
    this.socket.write(bytes, done)
  }

  override _final(done: () => void): void {
    this.socket.end()
    done()
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.socket.destroy()
    done(error)
  }

  private onData(bytes: Buffer): void {
    if (this.destroyed) return
    const problem = this.answers.scan(bytes)
    if (problem !== null) this.destroy(new BrokenFraming(problem))
    else if (this.answers.complete > this.asked.complete) this.destroy(this.unsolicited(bytes))
    else if (!this.push(bytes)) this.socket.pause()
  }

  private unsolicited(bytes: Buffer): Error {
    const isRefusal = this.asked.complete === 0 && bytes[0] === MINUS
    return isRefusal
      ? new ConnectionRefused(printable(bytes.subarray(1, bytes.indexOf(CR))))
      : new BrokenFraming('an answer to nothing')
  }
}

/**
 * Options for ioredis of a client that connects once, through a GuardedStream, and fails what it cannot send: when to try
 * again is decided elsewhere.
 */
export function guardedOptions(timers: Timers) {
  return {
    Connector: guardedConnector(timers),
    protocol: 2, // RESP2 has no pushes
    lazyConnect: true,
    enableOfflineQueue: false,
    enableReadyCheck: false,
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    disableClientInfo: true,
    retryStrategy: () => null,
  } as const
}

/** Connector for ioredis, like its own, but through a GuardedStream. */
function guardedConnector(timers: Timers): new (options: unknown) => AbstractConnector {
  return class extends AbstractConnector {
    private readonly options: RedisOptions

    constructor(options: unknown) {
      super((options as { disconnectTimeout: number }).disconnectTimeout)
      this.options = options as RedisOptions
    }

    override connect(): Promise<net.Socket> {
      const { host, port, tls: secure } = this.options
      const place = { host: host!, port: port! }
      const socket = secure ? tls.connect({ ...place, ...secure }) : net.connect(place)
      // It has the part of a socket that ioredis uses.
      this.stream = new GuardedStream(socket, timers) as unknown as net.Socket
      return Promise.resolve(this.stream)
    }
  }
}
