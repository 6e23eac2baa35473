/**
 * The stream between a node and ioredis, which reads what comes without limits: a count of 30 million makes it set aside
 * 670 MB, and what it does not expect (a push, an answer to nothing) it rethrows where nobody can catch it.
 *
 *     socket ──▶ RespFraming ──▶ ioredis        an answer that breaks a rule ends the connection, with a sentence
 *     socket ◀── RespFraming ◀── ioredis        counts the commands: there are no more answers than that
 *
 * So ioredis only ever sees well-formed RESP2 of bounded size, and never more answers than it has asked for. Whether an
 * answer fits its question, control-replies.ts looks at.
 */
import net from 'node:net'
import { Duplex } from 'node:stream'
import tls from 'node:tls'
import { AbstractConnector, type RedisOptions } from 'ioredis'
import type { Timers } from '../../core/clock.ts'
import { printable } from '../../core/printable.ts'
import { RespFraming, type FramingLimits } from './resp-framing.ts'

/** The longest that a Redis says to what is asked here is a page of 1,000 keys, each with the head of its record. */
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

/** What the node sent is no answer. */
export class BrokenFraming extends Error {
  constructor(what: string) {
    super(`the node sent ${what}, which is not an answer to what was asked`)
  }
}

/** The node ended the connection with these words, before it was asked anything: it has too many, or is protected. */
export class ConnectionRefused extends Error {
  constructor(said: string) {
    super(`the node refused the connection: ${said}`)
  }
}

/** Behaves as the socket does, as far as ioredis uses it. */
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
    // A refusal that is there already is lost by writing to a socket that the node has closed: a turn for reading it.
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
    else if (this.answers.complete > this.asked.complete) this.destroy(this.unasked(bytes))
    else if (!this.push(bytes)) this.socket.pause()
  }

  private unasked(bytes: Buffer): Error {
    const isRefusal = this.asked.complete === 0 && bytes[0] === MINUS
    return isRefusal
      ? new ConnectionRefused(printable(bytes.subarray(1, bytes.indexOf(CR))))
      : new BrokenFraming('an answer to nothing')
  }
}

/** For ioredis: connects as its own connector does, through a GuardedStream. */
export function guardedConnector(timers: Timers): new (options: unknown) => AbstractConnector {
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
      // It has all of a socket that ioredis uses, and not the rest.
      this.stream = new GuardedStream(socket, timers) as unknown as net.Socket
      return Promise.resolve(this.stream)
    }
  }
}
