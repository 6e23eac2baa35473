/**
 * What a connection has asked for with CLIENT TRACKING, and how it is told of changed keys:
 *
 *   RESP3                       >2 invalidate [key]         among the replies, behind those to the reads it has begun
 *   REDIRECT, a RESP2 client    message __redis__:invalidate [key]    if that one subscribes to something
 *   otherwise                   nothing
 *
 * Keys are told by the names that clients use, in whichever database they are.
 */
import { encodeReply, Pushes, type Protocol, type Reply } from '../../../commands/reply.ts'
import type { KeyTracker, Requester, Tracking } from '../../../coordinator/api.ts'
import { clientKey } from '../../../core/keys.ts'
import { ARGUMENT_BYTES, COMMAND_BYTES, type Account } from '../../ledger.ts'

const CHANNEL = '__redis__:invalidate'
/** At most so many keys in one message. */
const KEYS_A_MESSAGE = 1000

export interface TrackingMode {
  readonly isBroadcast: boolean
  readonly optIn: boolean
  readonly optOut: boolean
  readonly noLoop: boolean
}

/** A connection, as far as it is told. */
interface Told extends Requester {
  readonly id: number
  readonly protocol: Protocol
  readonly isSubscribed: boolean
  readonly isLeaving: boolean
  /** As described in ../model.ts. */
  push(encoded: Buffer, isOfReads?: boolean): boolean
}

export class ClientTracking implements KeyTracker {
  mode: TrackingMode = { isBroadcast: false, optIn: false, optOut: false, noLoop: false }
  /** By latin1. */
  readonly prefixes = new Map<string, Buffer>()
  /** Of REDIRECT; 0 = none. */
  redirectId = 0
  /** The connection of REDIRECT was gone when something had to be told. */
  isBroken = false
  /** CLIENT CACHING, for the next command. */
  isCachingGiven = false
  private readonly tracking: Tracking
  private readonly account: Account
  /** Null once it has ended: keys that it has read may stay in the table for longer. */
  private client: Told | null
  private redirect: Told | null = null
  private heldBytes = 0

  constructor(client: Told & { readonly account: Account }, tracking: Tracking) {
    this.client = client
    this.tracking = tracking
    this.account = client.account
  }

  get ignores(): Requester | null {
    return this.mode.noLoop ? this.client : null
  }

  /**
   * Also again, in another mode: the client still keeps what it has read before.
   *
   * @returns resolves when the nodes tell of changes; null = they do
   */
  begin(mode: TrackingMode, redirect: Told | null, prefixes: readonly Buffer[]): Promise<void> | null {
    this.mode = mode
    this.redirect = redirect
    this.redirectId = redirect?.id ?? 0
    this.isBroken = false
    if (!mode.isBroadcast) return this.tracking.begin(this, null)
    const given = prefixes.length === 0 ? [Buffer.alloc(0)] : prefixes
    const before = this.heldBytes
    for (const prefix of given) {
      const text = prefix.toString('latin1')
      if (this.prefixes.has(text)) continue
      this.prefixes.set(text, Buffer.from(prefix))
      this.heldBytes += 4 * prefix.length + COMMAND_BYTES + ARGUMENT_BYTES
    }
    this.account.add(this.heldBytes - before)
    return this.tracking.begin(this, given)
  }

  end(): void {
    if (!this.client) return
    this.client = this.redirect = null
    this.tracking.end(this)
    this.account.add(-this.heldBytes)
    this.heldBytes = 0
  }

  /** Whether the client may keep what the command that follows reads. */
  get isReading(): boolean {
    const { isBroadcast, optIn, optOut } = this.mode
    if (isBroadcast) return false
    return optIn ? this.isCachingGiven : !(optOut && this.isCachingGiven)
  }

  /** @param keys by their names on the nodes */
  remember(keys: readonly Buffer[]): void {
    if (this.mode.isBroadcast) return
    this.tracking.remember(this, keys)
  }

  changed(keys: readonly Buffer[] | null): void {
    if (!this.client) return
    if (keys === null) {
      this.tell(null)
      return
    }
    const names = keys.flatMap((key) => clientKey(key)?.key ?? [])
    for (let from = 0; from < names.length; from += KEYS_A_MESSAGE) {
      this.tell(names.slice(from, from + KEYS_A_MESSAGE))
    }
  }

  private tell(keys: readonly Buffer[] | null): void {
    const client = this.client!
    const { redirect } = this
    const told = redirect ?? client
    const isThere = this.send(told, keys)
    if (isThere || !redirect) return
    this.isBroken = true
    if (client.protocol === 3) client.push(encoded(['tracking-redir-broken', this.redirectId], 3))
  }

  /** @returns false: the connection is gone */
  private send(told: Told, keys: readonly Buffer[] | null): boolean {
    if (told.protocol === 3) return told.push(encoded(['invalidate', keys], 3), told === this.client)
    if (!this.redirect) return true
    return told.isSubscribed ? told.push(encoded(['message', CHANNEL, keys], 2)) : !told.isLeaving
  }
}

function encoded(items: Reply[], protocol: 2 | 3): Buffer {
  return encodeReply(new Pushes([items]), protocol)
}
