/**
 * A connection to a node for messages of clients. It speaks RESP3 (HELLO 3), in which one connection may publish and
 * subscribe, so that what one coordinator publishes here arrives in that order.
 *
 *   connect ─▶ HELLO 3 AUTH ─▶ opened ─▶ SUBSCRIBE, PSUBSCRIBE, PUBLISH … answered in the order in which they were sent
 *        └────────── anything else, or nothing in time ──────────▶ calls in flight fail, in order; ended, once
 *
 * Nothing is sent twice. A connection on which nothing has arrived for a second is asked for a PONG: a machine that is gone
 * sends no end. What is written in one turn of the event loop is one write.
 */
import net from 'node:net'
import tls, { type ConnectionOptions } from 'node:tls'
import type { TimerHandle } from '../../core/clock.ts'
import { printable } from '../../core/printable.ts'
import { NOT_CONNECTED, SHUT } from '../failures.ts'
import type { Listening, Messenger, MessengerEvents, NodeFailure, PublishCall } from '../node.ts'
import { encodeCommand } from './link.ts'
import type { RedisNodeOptions } from './options.ts'
import { ErrorReply, Push, Resp3Parser, type Value } from './resp3.ts'
import { withoutSecrets } from './secrets.ts'
import { socketSentence } from './socket-errors.ts'

const KEEP_ALIVE_MS = 10_000
const CHECK_MS = 1000
const MAX_SHOWN = 200
/** What the coordinator puts in front of a message, and names of topics. */
const ROOM_BYTES = 64 * 1024
const MAX_UNSENT_BYTES = 64 * 1024 * 1024
const MAX_IN_FLIGHT = 100_000

type MessengerOptions = Pick<
  RedisNodeOptions,
  'address' | 'connectTimeoutMs' | 'nodeTimeoutMs' | 'maxValueBytes' | 'timers'
>

/** What the node still has to answer. */
type Expected =
  | { readonly kind: 'hello' | 'pong' }
  | { readonly kind: 'publish'; readonly call: PublishCall }
  | {
      readonly kind: 'listen'
      readonly word: string
      left: number
      readonly done: (why: string | null) => void
    }

/** What a node sends here has a few elements. */
const LIMITS = { lineBytes: 4096, elements: 1000, depth: 4 }
/** Of a message: its pattern, its channel, and what it says. */
const MAX_BULKS = 3

export class RedisMessenger implements Messenger {
  private readonly options: MessengerOptions
  private readonly events: MessengerEvents
  private readonly socket: net.Socket
  private readonly parser: Resp3Parser
  private readonly expected: Expected[] = []
  private expectedFrom = 0
  private unwritten: Buffer[] = []
  private timer: TimerHandle
  private isOpen = false
  private isOver = false
  /** Since the last check. */
  private hasHeard = false
  private silentChecks = 0

  constructor(options: MessengerOptions, tlsOptions: () => ConnectionOptions, events: MessengerEvents) {
    this.options = options
    this.events = events
    const bulkBytes = options.maxValueBytes + ROOM_BYTES
    this.parser = new Resp3Parser({ ...LIMITS, bulkBytes, valueBytes: MAX_BULKS * bulkBytes })
    const { host, port, tls: isTls, username = 'default', password } = options.address
    this.socket = isTls ? tls.connect({ host, port, ...tlsOptions() }) : net.connect({ host, port })
    this.socket.setNoDelay(true)
    this.socket.setKeepAlive(true, KEEP_ALIVE_MS)
    this.socket.on('error', (error) => this.end(socketSentence(error) ?? error.message))
    this.socket.on('close', () => this.end('the connection was lost'))
    this.socket.on('data', (bytes: Buffer) => this.onData(bytes))
    this.send(['HELLO', '3', ...(password === undefined ? [] : ['AUTH', username, password])], {
      kind: 'hello',
    })
    const limitMs = options.connectTimeoutMs + options.nodeTimeoutMs
    this.timer = options.timers.setTimeout(() => this.end('it did not answer HELLO in time'), limitMs)
  }

  listen(to: Listening, done: (why: string | null) => void): void {
    if (this.isOver) {
      done(null)
      return
    }
    const [command, names] = ofPatterns(to) ? ['PSUBSCRIBE', globsOf(to)] : ['SUBSCRIBE', to.topics]
    this.send([command, ...names], {
      kind: 'listen',
      word: command.toLowerCase(),
      left: names.length,
      done,
    })
  }

  unlisten(to: Listening): void {
    if (this.isOver) return
    const [command, names] = ofPatterns(to) ? ['PUNSUBSCRIBE', globsOf(to)] : ['UNSUBSCRIBE', to.topics]
    const done = () => undefined
    this.send([command, ...names], { kind: 'listen', word: command.toLowerCase(), left: names.length, done })
  }

  publish(topic: Buffer, bytes: Buffer, call: PublishCall): void {
    const refusal = this.refusal()
    if (refusal) call.onFailure(refusal)
    else this.send(['PUBLISH', topic, bytes], { kind: 'publish', call })
  }

  private refusal(): NodeFailure | null {
    if (this.isOver || !this.isOpen) return NOT_CONNECTED
    const inFlight = this.expected.length - this.expectedFrom
    if (this.socket.writableLength < MAX_UNSENT_BYTES && inFlight < MAX_IN_FLIGHT) return null
    return { kind: 'not-sent', reason: 'too-much-in-flight', message: 'too many messages wait for the node' }
  }

  close(): void {
    this.isOver = true
    this.options.timers.clearTimeout(this.timer)
    this.socket.destroy()
  }

  private send(args: readonly (string | Buffer)[], expected: Expected): void {
    this.expected.push(expected)
    if (this.unwritten.push(encodeCommand(args)) > 1) return
    this.options.timers.endOfTurn(() => {
      const all = this.unwritten
      this.unwritten = []
      if (!this.isOver) this.socket.write(all.length === 1 ? all[0]! : Buffer.concat(all))
    })
  }

  private onData(bytes: Buffer): void {
    if (this.isOver) return
    this.hasHeard = true
    this.parser.feed(bytes)
    for (;;) {
      const value = this.parser.next()
      if (value === undefined) break
      if (!this.take(value)) {
        const said = withoutSecrets(printable(Buffer.from(shownOf(value)), MAX_SHOWN), this.options.address)
        this.end(value instanceof ErrorReply ? said : `the node sent "${said}"`)
      }
      if (this.isOver) return
    }
    if (this.parser.problem !== null) this.end(`the node sent ${this.parser.problem}`)
  }

  /** False = nothing like this can come now. */
  private take(value: Value): boolean {
    if (value instanceof Push && this.takeMessage(value.items)) return true
    const next = this.expected[this.expectedFrom]
    if (!next) return false
    switch (next.kind) {
      case 'listen':
        return this.takeConfirmed(next, value)
      case 'publish':
        return this.takePublished(next.call, value)
      case 'pong':
        return value === 'PONG' && this.answered()
      case 'hello':
        return speaksResp3(value) && this.answered() && this.open()
    }
  }

  private takeMessage(items: readonly Value[]): boolean {
    const [kind] = items
    const isPattern = isWord(kind, 'pmessage')
    if (items.length !== (isPattern ? 4 : 3) || !(isPattern || isWord(kind, 'message'))) return false
    const [topic, bytes] = items.slice(-2)
    if (!this.isOpen || !Buffer.isBuffer(topic) || !Buffer.isBuffer(bytes)) return false
    this.events.message(topic, bytes)
    return true
  }

  private takeConfirmed(next: Extract<Expected, { kind: 'listen' }>, value: Value): boolean {
    if (value instanceof ErrorReply) {
      this.answered()
      next.done(value.message)
      return true
    }
    if (!(value instanceof Push) || value.items.length !== 3 || !isWord(value.items[0], next.word))
      return false
    if (--next.left > 0) return true
    this.answered()
    next.done(null)
    return true
  }

  private takePublished(call: PublishCall, value: Value): boolean {
    if (value instanceof ErrorReply) {
      this.answered()
      call.onFailure({ kind: 'refused', reason: 'error', message: value.message })
      return true
    }
    if (typeof value !== 'number' || value < 0) return false
    this.answered()
    call.onPublished(value)
    return true
  }

  private answered(): true {
    this.expectedFrom++
    // An array is shifted in pieces: one by one would be quadratic.
    if (this.expectedFrom >= 1024 || this.expectedFrom === this.expected.length) {
      this.expected.splice(0, this.expectedFrom)
      this.expectedFrom = 0
    }
    return true
  }

  private open(): true {
    this.isOpen = true
    this.options.timers.clearTimeout(this.timer)
    this.timer = this.options.timers.setTimeout(this.check, CHECK_MS)
    this.events.opened()
    return true
  }

  private readonly check = (): void => {
    if (this.isOver) return
    this.silentChecks = this.hasHeard ? 0 : this.silentChecks + 1
    this.hasHeard = false
    if (
      this.silentChecks * CHECK_MS > this.options.nodeTimeoutMs &&
      this.expected.length > this.expectedFrom
    ) {
      this.end('it did not answer in time')
      return
    }
    if (this.expected.length === this.expectedFrom) this.send(['PING'], { kind: 'pong' })
    this.timer = this.options.timers.setTimeout(this.check, CHECK_MS)
  }

  private end(why: string): void {
    if (this.isOver) return
    this.close()
    for (const one of this.expected.splice(0).slice(this.expectedFrom)) {
      if (one.kind === 'listen') one.done(null)
      else if (one.kind === 'publish') one.call.onFailure({ ...SHUT, message: why })
    }
    this.events.ended(why)
  }
}

function ofPatterns(to: Listening): to is { readonly prefixes: readonly Buffer[] } {
  return 'prefixes' in to
}

function globsOf({ prefixes }: { readonly prefixes: readonly Buffer[] }): Buffer[] {
  return prefixes.map((prefix) => Buffer.concat([prefix, Buffer.from('*')]))
}

/** What HELLO 3 answers, among other things. */
function speaksResp3(value: Value): boolean {
  if (!Array.isArray(value)) return false
  const items = value as readonly Value[]
  const at = items.findIndex((item) => isWord(item, 'proto'))
  return at >= 0 && items[at + 1] === 3
}

function isWord(value: Value | undefined, word: string): boolean {
  return Buffer.isBuffer(value) && value.toString('latin1') === word
}

function shownOf(value: Value): string {
  if (value instanceof ErrorReply) return value.message
  if (value instanceof Push) return `a push of ${value.items.length}`
  if (Buffer.isBuffer(value)) return value.toString('latin1', 0, MAX_SHOWN)
  if (typeof value === 'string' || typeof value === 'number') return String(value)
  return value === null ? 'nil' : `an array of ${value.length}`
}
