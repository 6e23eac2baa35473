/** What a connection subscribes to. */
import type { Channels, Subscriber, SubscriptionKind } from '../../../coordinator/api.ts'
import type { Timers } from '../../../core/clock.ts'
import { ARGUMENT_BYTES, COMMAND_BYTES, type Account } from '../../ledger.ts'

type Names = Map<string, Buffer>

const KINDS = ['channel', 'pattern', 'shard'] as const
const NAMES_A_TURN = 1024

export class Subscribed {
  private readonly names: Record<SubscriptionKind, Names> = {
    channel: new Map<string, Buffer>(),
    pattern: new Map<string, Buffer>(),
    shard: new Map<string, Buffer>(),
  }
  private readonly channels: Channels
  private readonly subscriber: Subscriber
  private readonly account: Account
  private heldBytes = 0

  constructor(channels: Channels, subscriber: Subscriber, account: Account) {
    this.channels = channels
    this.subscriber = subscriber
    this.account = account
  }

  count(kind: SubscriptionKind): number {
    return this.names[kind].size
  }

  get isAny(): boolean {
    const { channel, pattern, shard } = this.names
    return channel.size + pattern.size + shard.size > 0
  }

  /** What a confirmation tells: channels and patterns together, or shard channels. */
  told(kind: SubscriptionKind): number {
    return kind === 'shard' ? this.count('shard') : this.count('channel') + this.count('pattern')
  }

  /** @returns false if it subscribes to it already */
  add(kind: SubscriptionKind, name: Buffer): boolean {
    const key = name.toString('latin1')
    if (this.names[kind].has(key)) return false
    this.names[kind].set(key, Buffer.from(name))
    this.hold(bytesOf(name))
    return true
  }

  /** Resolves when the nodes know of it; null = they do. If they refuse it, it is not subscribed. */
  begin(kind: SubscriptionKind, names: readonly Buffer[]): Promise<void> | null {
    const begun = this.channels.subscribe(kind, names, this.subscriber)
    if (!begun) return null
    return begun.catch((error: unknown) => {
      for (const name of names) this.drop(kind, name)
      throw error
    })
  }

  remove(kind: SubscriptionKind, name: Buffer): void {
    if (this.drop(kind, name)) this.channels.unsubscribe(kind, [name], this.subscriber)
  }

  /** There may be very many: at once, they cost much less than one by one. */
  removeKind(kind: SubscriptionKind): readonly Buffer[] {
    const names = [...this.names[kind].values()]
    this.names[kind].clear()
    this.hold(-names.reduce((sum, name) => sum + bytesOf(name), 0))
    if (names.length > 0) this.channels.unsubscribe(kind, names, this.subscriber)
    return names
  }

  removeAll(): void {
    for (const kind of KINDS) this.removeKind(kind)
  }

  /** Its connection is gone: nobody waits for it, so it ends some names in each turn. */
  end(timers: Pick<Timers, 'endOfTurn'>): void {
    this.hold(-this.heldBytes)
    const endSome = () => {
      for (const kind of KINDS) {
        const names = this.take(kind, NAMES_A_TURN)
        if (names.length > 0) this.channels.unsubscribe(kind, names, this.subscriber)
      }
      if (this.isAny) timers.endOfTurn(endSome)
    }
    endSome()
  }

  private take(kind: SubscriptionKind, most: number): Buffer[] {
    const taken: Buffer[] = []
    for (const [key, name] of this.names[kind]) {
      if (taken.push(name) > most) break
      this.names[kind].delete(key)
    }
    return taken.slice(0, most)
  }

  private drop(kind: SubscriptionKind, name: Buffer): boolean {
    const isDropped = this.names[kind].delete(name.toString('latin1'))
    if (isDropped) this.hold(-bytesOf(name))
    return isDropped
  }

  private hold(bytes: number): void {
    this.heldBytes += bytes
    this.account.add(bytes)
  }
}

/** Here, at the coordinator, and for each of the nodes that it is listened to on. */
function bytesOf(name: Buffer): number {
  return 6 * name.length + 2 * (COMMAND_BYTES + ARGUMENT_BYTES)
}
