/** Who subscribes to what at this coordinator. */
import { Glob } from '../../core/glob.ts'
import type { ChannelKind, Subscriber, SubscriptionCounts, SubscriptionKind } from './api.ts'

interface Named {
  readonly name: Buffer
  readonly subscribers: Set<Subscriber>
}

interface Pattern extends Named {
  readonly glob: Glob
}

const NOBODY: ReadonlySet<Subscriber> = new Set()

export class Subscriptions {
  private readonly channel = new Map<string, Named>()
  private readonly shard = new Map<string, Named>()
  private readonly pattern = new Map<string, Pattern>()

  get counts(): SubscriptionCounts {
    return { channels: this.channel.size, patterns: this.pattern.size, shardChannels: this.shard.size }
  }

  /** @returns whether it is the first one of this name */
  add(kind: SubscriptionKind, given: Buffer, subscriber: Subscriber): boolean {
    const key = given.toString('latin1')
    const found = this[kind].get(key)
    if (found) {
      found.subscribers.add(subscriber)
      return false
    }
    const name = Buffer.from(given)
    const named = { name, subscribers: new Set([subscriber]) }
    if (kind === 'pattern') this.pattern.set(key, { ...named, glob: new Glob(name) })
    else this[kind].set(key, named)
    return true
  }

  /** @returns whether it was the last one of this name */
  remove(kind: SubscriptionKind, name: Buffer, subscriber: Subscriber): boolean {
    const key = name.toString('latin1')
    const found = this[kind].get(key)
    if (!found?.subscribers.delete(subscriber) || found.subscribers.size > 0) return false
    this[kind].delete(key)
    return true
  }

  of(kind: ChannelKind, channel: Buffer): ReadonlySet<Subscriber> {
    return this[kind].get(channel.toString('latin1'))?.subscribers ?? NOBODY
  }

  patterns(): Iterable<Pattern> {
    return this.pattern.values()
  }

  *names(kind: SubscriptionKind): Generator<Buffer> {
    for (const { name } of this[kind].values()) yield name
  }
}
