/**
 * A connection that listens to the announcements on a node (SUBSCRIBE). What an announcement says is not read: it only
 * means that the node has something new, which is then looked for as always. So a lost or an invented one costs a little
 * time, and nothing else.
 *
 *   connect ─▶ AUTH ─▶ SUBSCRIBE ─▶ exactly the expected replies ─▶ subscribed, then one call per complete value
 *        └────────── anything else, or nothing in time ──────────▶ ended, once
 */
import net from 'node:net'
import tls, { type ConnectionOptions } from 'node:tls'
import type { TimerHandle } from '../../core/clock.ts'
import { CHANGES_CHANNEL } from '../../core/keys.ts'
import { printable } from '../../core/printable.ts'
import type { Announcements, Subscription } from '../node.ts'
import { encodeCommand } from './link.ts'
import type { RedisNodeOptions } from './options.ts'
import { RespFraming } from './resp-framing.ts'
import { withoutSecrets } from './secrets.ts'
import { socketSentence } from './socket-errors.ts'

const LIMITS = { lineBytes: 1024, bulkBytes: 64 * 1024, valueBytes: 128 * 1024, elements: 16, depth: 2 }
const KEEP_ALIVE_MS = 10_000
const MINUS = 0x2d
const MAX_SHOWN = 200

type SubscriptionOptions = Pick<RedisNodeOptions, 'address' | 'connectTimeoutMs' | 'nodeTimeoutMs' | 'timers'>

export class RedisSubscription implements Subscription {
  private readonly options: SubscriptionOptions
  private readonly heard: Announcements
  private readonly socket: net.Socket
  private readonly framing = new RespFraming(LIMITS)
  private readonly timer: TimerHandle
  /** What the node still has to reply before it counts as subscribed. */
  private expected: Buffer
  private ended = false

  constructor(
    options: SubscriptionOptions,
    tlsOptions: () => ConnectionOptions,
    heard: Announcements,
    channelName = CHANGES_CHANNEL,
  ) {
    this.options = options
    this.heard = heard
    const { host, port, tls: isTls, username, password } = options.address
    const auth = password === undefined ? [] : ['AUTH', ...(username ? [username] : []), password]
    const channel = `$${channelName.length}\r\n${channelName}\r\n`
    this.expected = Buffer.from(
      `${auth.length > 0 ? '+OK\r\n' : ''}*3\r\n$9\r\nsubscribe\r\n${channel}:1\r\n`,
    )
    this.socket = isTls ? tls.connect({ host, port, ...tlsOptions() }) : net.connect({ host, port })
    this.socket.setKeepAlive(true, KEEP_ALIVE_MS)
    this.socket.on('error', (error) => this.end(socketSentence(error) ?? error.message))
    this.socket.on('close', () => this.end('the connection was lost'))
    this.socket.on('data', (bytes: Buffer) => this.onData(bytes))
    if (auth.length > 0) this.socket.write(encodeCommand(auth))
    this.socket.write(encodeCommand(['SUBSCRIBE', channelName]))
    const limitMs = options.connectTimeoutMs + options.nodeTimeoutMs
    this.timer = options.timers.setTimeout(() => this.end('it did not answer SUBSCRIBE in time'), limitMs)
  }

  close(): void {
    this.ended = true
    this.options.timers.clearTimeout(this.timer)
    this.socket.destroy()
  }

  private onData(bytes: Buffer): void {
    if (this.ended) return
    const rest = this.expected.length > 0 ? this.shakeHands(bytes) : bytes
    if (!rest || rest.length === 0) return
    const before = this.framing.complete
    const problem = this.framing.scan(rest)
    if (problem !== null) this.end(`the node sent ${problem}`)
    else if (this.framing.complete > before) this.heard.announced()
  }

  /** What follows the expected replies; null = it is not over. */
  private shakeHands(bytes: Buffer): Buffer | null {
    const length = Math.min(bytes.length, this.expected.length)
    if (!bytes.subarray(0, length).equals(this.expected.subarray(0, length))) {
      const said = withoutSecrets(printable(bytes, MAX_SHOWN), this.options.address)
      this.end(bytes[0] === MINUS ? said.slice(1) : `the node answered SUBSCRIBE with "${said}"`)
      return null
    }
    this.expected = this.expected.subarray(length)
    if (this.expected.length > 0) return null
    this.options.timers.clearTimeout(this.timer)
    this.heard.subscribed()
    return bytes.subarray(length)
  }

  private end(why: string): void {
    if (this.ended) return
    this.close()
    this.heard.ended(why)
  }
}
