/** Publish and subscribe, as servers and commands see it. */

/** Channels and shard channels are two sets of names; patterns match channels only. */
export type ChannelKind = 'channel' | 'shard'
export type SubscriptionKind = ChannelKind | 'pattern'

export interface Message {
  readonly kind: SubscriptionKind
  /** The pattern by which it is delivered; null = by the name of its channel. */
  readonly pattern: Buffer | null
  readonly channel: Buffer
  readonly bytes: Buffer
}

/** Of one name. The same message is the same object for all its subscribers. */
export interface Subscriber {
  /** Never throws, and never waits. */
  receive(message: Message): void
}

export interface SubscriptionCounts {
  readonly channels: number
  readonly patterns: number
  readonly shardChannels: number
}

/** What all coordinators are asked to do. */
export const ERRANDS = ['forget-scripts', 'end-script', 'end-function'] as const
export type Errand = (typeof ERRANDS)[number]

export interface Channels {
  /** Of this coordinator: how many different names its subscribers have. */
  readonly subscriptions: SubscriptionCounts
  /** Messages that were dropped because too many waited to be handed out. */
  readonly dropped: number
  /**
   * From now on the subscriber gets messages that arrive here; once the result has resolved, also those that others publish.
   * Null = it has resolved already.
   *
   * @throws in the promise RondoError, if nodes do not allow it: it is not subscribed then
   */
  subscribe(kind: SubscriptionKind, names: readonly Buffer[], subscriber: Subscriber): Promise<void> | null
  unsubscribe(kind: SubscriptionKind, names: readonly Buffer[], subscriber: Subscriber): void
  /**
   * @returns how many subscribers of all coordinators it was handed to, as far as they told in time
   * @throws RondoError UNAVAILABLE (not-applied), OUTCOME_UNKNOWN
   */
  publish(kind: ChannelKind, channel: Buffer, bytes: Buffer): Promise<number>
  /** The channels of all coordinators that have subscribers. @param matches by name */
  active(kind: ChannelKind, matches: (channel: Buffer) => boolean): Promise<readonly Buffer[]>
  /** The numbers of subscribers at all coordinators. */
  subscribers(kind: ChannelKind, channels: readonly Buffer[]): Promise<readonly number[]>
  /** From now on others reach this coordinator with errands. Errors are logged. @param does whether it has done it */
  takeErrands(does: (errand: Errand) => boolean): void
  /** Asks all other coordinators that take errands. @returns how many have done it, of those that answered in time @throws RondoError */
  errand(errand: Errand): Promise<number>
  /** The number of different patterns at all coordinators. */
  patterns(): Promise<number>
}
