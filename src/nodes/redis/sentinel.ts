/**
 * Asks Sentinels for the primary of a service, and listens to their announcements of failovers.
 *
 *   ask     SENTINEL GET-MASTER-ADDR-BY-NAME at all of its Sentinels; what more than half of them name counts. So one that
 *           is cut off, with the former primary, is outvoted, as it is among the Sentinels themselves.
 *   listen  SUBSCRIBE +switch-master, at all of them. What is announced is not read: it only means "ask".
 *
 * An answer is input like any other: it must be a host and a port where a node may be. It decides nothing but where to look:
 * which server is used is decided in the register (cluster/failovers.ts).
 */
import { isIP } from 'node:net'
import type { ConnectionOptions } from 'node:tls'
import { Redis } from 'ioredis'
import type { Timers } from '../../core/clock.ts'
import { printable } from '../../core/printable.ts'
import { sentenceOf } from '../../core/sentence.ts'
import {
  isLoopback,
  isUnsafeTarget,
  parsePlace,
  placeText,
  type Place,
  type Service,
} from '../../config/node-addresses.ts'
import { NodeCallFailed } from '../failures.ts'
import type { Located, Subscription } from '../node.ts'
import { guardedOptions } from './control-stream.ts'
import { passwordRefused, withoutSecrets, type Secrets } from './secrets.ts'
import { clientSentence, socketSentence } from './socket-errors.ts'
import { RedisSubscription } from './subscription.ts'

const SWITCHES = '+switch-master'

export interface SentinelsOptions {
  /** Of the Sentinels, not of the Redis that they watch. */
  readonly credentials: Secrets
  /** For `rediss+sentinel://`: called for every connection. */
  readonly tlsOptions: () => ConnectionOptions
  readonly connectTimeoutMs: number
  readonly nodeTimeoutMs: number
  readonly timers: Timers
}

/** A service, and whether its servers and Sentinels are reached over TLS. */
export interface Watched extends Service {
  readonly tls: boolean
}

interface Connection {
  readonly client: Redis
  /** What failed first: a refused password, for example, after which everything else fails, too. */
  failure: Error | null
}

/** All Sentinels that this coordinator asks. */
export class Sentinels {
  private readonly options: SentinelsOptions
  private readonly connections = new Map<string, Connection>()
  private readonly subscriptions = new Map<string, Subscription>()
  private heard: () => void = () => undefined
  private closed = false

  constructor(options: SentinelsOptions) {
    this.options = options
  }

  /** @param heard whenever a Sentinel announces a failover of any service, or listening to it begins */
  onSwitch(heard: () => void): void {
    this.heard = heard
  }

  close(): void {
    this.closed = true
    for (const { client } of this.connections.values()) client.disconnect()
    for (const subscription of this.subscriptions.values()) subscription.close()
  }

  /** @throws NodeCallFailed a sentence that says which Sentinels do not help, and why */
  async primaryOf({ name, sentinels, tls }: Watched): Promise<Place> {
    const counts = new Map<string, { place: Place; count: number }>()
    const unhelpful: string[] = []
    await Promise.all(
      sentinels.map(async (sentinel) => {
        try {
          this.listen(sentinel, tls)
          const place = await this.ask(sentinel, name, tls)
          const text = placeText(place)
          counts.set(text, { place, count: (counts.get(text)?.count ?? 0) + 1 })
        } catch (error) {
          unhelpful.push(`${placeText(sentinel)}: ${sentenceOf(error)}`)
        }
      }),
    )
    for (const { place, count } of counts.values()) if (2 * count > sentinels.length) return place
    const named = [...counts].map(([text, { count }]) => `${text} by ${count}`)
    const found = named.length === 0 ? 'none names a primary' : `they name ${named.join(', ')}`
    const needed = Math.floor(sentinels.length / 2) + 1
    const why = [
      `of ${sentinels.length} Sentinels of ${name}, ${needed} must name the same primary, and ${found}`,
    ]
    throw new NodeCallFailed([...why, ...unhelpful].join('; '))
  }

  private async ask(sentinel: Place, name: string, tls: boolean): Promise<Place> {
    const connection = await this.connected(sentinel, tls)
    const { client } = connection
    let reply: unknown
    try {
      reply = await client.callBuffer('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', name)
    } catch (error) {
      client.disconnect()
      throw this.describe(connection.failure ?? (error as Error))
    }
    if (reply === null) throw new NodeCallFailed(`it watches no service ${name}`)
    return placeIn(reply, sentinel)
  }

  private async connected(sentinel: Place, tls: boolean): Promise<Connection> {
    if (this.closed) throw new NodeCallFailed('the coordinator is closing')
    const key = keyOf(sentinel, tls)
    const known = this.connections.get(key)
    if (known?.client.status === 'ready' && known.client.stream.writable) return known
    known?.client.disconnect()
    const connection: Connection = { client: this.newClient(sentinel, tls), failure: null }
    const { client } = connection
    this.connections.set(key, connection)
    client.on('error', (error: Error) => (connection.failure ??= error))
    try {
      await client.connect()
      return connection
    } catch (error) {
      client.disconnect()
      throw this.describe(connection.failure ?? (error as Error))
    }
  }

  private newClient({ host, port }: Place, tls: boolean): Redis {
    const { timers, connectTimeoutMs, nodeTimeoutMs, credentials } = this.options
    return new Redis({
      ...{ host, port, ...credentials },
      ...(tls ? { tls: this.tlsOptions(host) } : {}),
      ...guardedOptions(timers),
      connectTimeout: connectTimeoutMs,
      commandTimeout: nodeTimeoutMs,
    })
  }

  private tlsOptions(host: string): ConnectionOptions {
    return { ...(isIP(host) === 0 ? { servername: host } : {}), ...this.options.tlsOptions() }
  }

  private describe(error: Error): Error {
    const { credentials, nodeTimeoutMs } = this.options
    if (error instanceof NodeCallFailed) return error
    const ofClient = clientSentence(error, nodeTimeoutMs)
    if (ofClient !== null) return new NodeCallFailed(ofClient)
    const said = printable(error.message)
    if (error.name === 'ReplyError') {
      const { command } = error as Error & { command?: { name?: string } }
      const isAuth = command?.name?.toLowerCase() === 'auth'
      return new NodeCallFailed(
        isAuth ? passwordRefused(said, credentials) : withoutSecrets(said, credentials),
      )
    }
    return new NodeCallFailed(socketSentence(error) ?? withoutSecrets(said, credentials))
  }

  /** Until it ends; the next question begins it again. */
  private listen(sentinel: Place, tls: boolean): void {
    const key = keyOf(sentinel, tls)
    if (this.closed || this.subscriptions.has(key)) return
    const { credentials, connectTimeoutMs, nodeTimeoutMs, timers } = this.options
    const subscription = new RedisSubscription(
      { address: { ...sentinel, ...credentials, tls }, connectTimeoutMs, nodeTimeoutMs, timers },
      () => this.tlsOptions(sentinel.host),
      {
        subscribed: () => this.heard(),
        announced: () => this.heard(),
        ended: () => this.subscriptions.delete(key), // asking it says why
      },
      SWITCHES,
    )
    this.subscriptions.set(key, subscription)
  }
}

/** Where the primary of a service is: found by its Sentinels, unless it is known from elsewhere. */
export class SentinelPlace implements Located {
  /** For the connections; without a host while it is not known. */
  readonly target: { host: string; port: number; readonly tls: boolean } & Secrets
  private readonly sentinels: Sentinels
  private readonly watched: Watched

  constructor(sentinels: Sentinels, watched: Watched, { username, password }: Secrets) {
    this.sentinels = sentinels
    this.watched = watched
    const { tls } = watched
    const secrets = {
      ...(username !== undefined && { username }),
      ...(password !== undefined && { password }),
    }
    this.target = { host: '', port: 0, tls, ...secrets }
  }

  get address(): string | null {
    return this.target.host === '' ? null : placeText(this.target)
  }

  async ask(): Promise<string> {
    return placeText(await this.sentinels.primaryOf(this.watched))
  }

  moveTo(address: string): void {
    const place = parsePlace(address)
    if (!place) throw new Error(`${printable(address)} is no address`)
    Object.assign(this.target, place)
  }

  /** @throws NodeCallFailed */
  readonly locate = async (): Promise<void> => {
    if (this.address === null) this.moveTo(await this.ask())
  }
}

/** @throws NodeCallFailed if no node may be there */
function placeIn(reply: unknown, sentinel: Place): Place {
  const [host, port, ...rest] = Array.isArray(reply) ? (reply as unknown[]) : []
  const isPair = Buffer.isBuffer(host) && Buffer.isBuffer(port) && rest.length === 0
  const text = isPair
    ? `${host.includes(':') ? `[${host.toString()}]` : host.toString()}:${port.toString()}`
    : ''
  const place = parsePlace(text)
  if (!place) throw new NodeCallFailed(`it names no host and port, but "${printable(text)}"`)
  if (isIP(place.host) !== 0 && isUnsafeTarget(place.host)) {
    throw new NodeCallFailed(
      `it names ${text}, a link-local, multicast, unspecified or cloud metadata address: no node can be there`,
    )
  }
  if (isLoopback(place.host) && !isLoopback(sentinel.host)) {
    throw new NodeCallFailed(
      `it names ${text}, which means this machine: let it monitor an address that others can reach ` +
        '(sentinel monitor, replica-announce-ip)',
    )
  }
  return place
}

function keyOf(sentinel: Place, tls: boolean): string {
  return `${tls ? 'tls ' : ''}${placeText(sentinel)}`
}
