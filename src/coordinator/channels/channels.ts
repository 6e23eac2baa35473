/**
 * Publish and subscribe over the nodes: at most once, as in Redis.
 *
 *   PUBLISH ─▶ coordinator ─▶ one node of the channel ─▶ every coordinator that listens there ─▶ its subscribers
 *                   ▲                                              │
 *                   └──────── "handed to so many" ◀────────────────┘   over the publisher's own topic
 *
 * carriers.ts says which node that is, inbox.ts hands out what arrives, replies.ts counts what the others answer. Nothing is
 * stored: whoever is not connected at this moment misses it. A coordinator connects to the nodes for this when it is first
 * asked to publish or to subscribe.
 *
 * Where a node does not answer, the message is published again on the next one, under the same number: whoever got it
 * already drops the second copy. So a node that dies loses a message only if no other node of the channel is reached.
 */
import type { Cluster } from '../../cluster/cluster.ts'
import type { MonotonicClock, Timers } from '../../core/clock.ts'
import { RondoError } from '../../core/errors.ts'
import type { Emit } from '../../core/events.ts'
import type { NodeFailure } from '../../nodes/node.ts'
import type {
  ChannelKind,
  Channels,
  Errand,
  Subscriber,
  SubscriptionCounts,
  SubscriptionKind,
} from './api.ts'
import type { Carrier } from './carrier.ts'
import { Carriers } from './carriers.ts'
import {
  channelOf,
  decodeReplies,
  decodeSent,
  encodeAcks,
  encodeSent,
  ID_BYTES,
  QUESTIONS_TOPIC,
  repliesTopic,
  TOPIC_PREFIXES,
  topicOf,
  WAITS_TOPIC,
  type Ack,
} from './envelope.ts'
import { Inbox } from './inbox.ts'
import { Questions } from './questions.ts'
import { Replies } from './replies.ts'
import { Subscriptions } from './subscriptions.ts'
import { TOLD, Wakes, type Wakeable } from './wakes.ts'

export interface ChannelsOptions {
  readonly cluster: Pick<Cluster, 'placement' | 'coordinators'>
  readonly clock: MonotonicClock
  readonly timers: Timers
  readonly random: () => number
  readonly emit: Emit
  readonly requestTimeoutMs: number
  readonly maxValueBytes: number
}

const NO_CARRIER =
  'None of the nodes that carry this channel can be reached, so the message was not published. Try again.'

/** A message on its way to a node. */
interface Publication {
  readonly channel: Buffer
  readonly topic: Buffer
  readonly number: number
  readonly bytes: Buffer
  readonly tried: Set<Carrier>
  readonly untilMs: number
  readonly fail: (error: RondoError) => void
  /** A node may have passed it on. */
  isUnknown: boolean
}

export class NodeChannels implements Channels {
  private readonly options: ChannelsOptions
  private readonly id: Buffer
  private readonly self: string
  private readonly carriers: Carriers
  private readonly subscribed = new Subscriptions()
  private readonly inbox: Inbox
  private readonly replies: Replies
  private readonly questions: Questions
  readonly wakes: Wakes
  private does: (errand: Errand) => boolean = () => false
  private lastNumber = 0
  private isStarted = false
  /** Nodes that have not confirmed yet that they are listened to. */
  private readonly asking = new Set<Promise<void>>()
  /** Acks of this turn: by carrier, by coordinator. */
  private acks = new Map<Carrier, Map<string, Ack[]>>()
  private stopped = false

  constructor(options: ChannelsOptions, waiters: Wakeable) {
    this.options = options
    this.id = Buffer.from(Array.from({ length: ID_BYTES }, () => Math.floor(options.random() * 256)))
    this.self = this.id.toString('latin1')
    this.inbox = new Inbox(this.subscribed, options.timers)
    this.replies = new Replies(options)
    this.carriers = new Carriers({
      ...options,
      message: (carrier, topic, bytes) => this.onMessage(carrier, topic, bytes),
      everywhere: [QUESTIONS_TOPIC, WAITS_TOPIC, repliesTopic(this.id)],
    })
    const shared = {
      ...options,
      id: this.id,
      carriers: this.carriers,
      replies: this.replies,
      nextNumber: () => ++this.lastNumber,
      start: () => this.start(),
    }
    const does = (errand: Errand) => this.does(errand)
    this.questions = new Questions({ ...shared, subscriptions: this.subscribed, does })
    const hasOthers = () => options.cluster.coordinators.length > 1
    this.wakes = new Wakes({ ...shared, hasOthers }, waiters)
  }

  get subscriptions(): SubscriptionCounts {
    return this.subscribed.counts
  }

  get dropped(): number {
    return this.inbox.dropped
  }

  private async start(): Promise<void> {
    await this.carriers.start()
    this.isStarted = true
  }

  // ---- subscribing

  subscribe(kind: SubscriptionKind, names: readonly Buffer[], subscriber: Subscriber): Promise<void> | null {
    const added = names.filter((name) => this.subscribed.add(kind, name, subscriber))
    if (added.length === 0 && this.asking.size === 0) return null
    const earlier = [...this.asking]
    const asked = this.ask(kind, added)
    this.asking.add(asked)
    const ended = () => this.asking.delete(asked)
    asked.then(ended, ended)
    return Promise.all([asked, ...earlier]).then(
      () => undefined,
      (error: unknown) => {
        this.unsubscribe(kind, names, subscriber)
        throw error
      },
    )
  }

  private async ask(kind: SubscriptionKind, names: readonly Buffer[]): Promise<void> {
    if (!this.isStarted) await this.start()
    const why = await new Promise<string | null>((resolve) => {
      // A node that does not answer in time is listened to as soon as it does.
      const timer = this.options.timers.setTimeout(() => resolve(null), this.options.requestTimeoutMs)
      const done = (reason: string | null) => {
        this.options.timers.clearTimeout(timer)
        resolve(reason)
      }
      if (kind === 'pattern') {
        const { patterns } = this.subscribed.counts
        this.carriers.holdAll(patterns > 0 ? TOPIC_PREFIXES.channel : null, done)
      } else {
        const still = names.filter((name) => this.subscribed.of(kind, name).size > 0)
        const held = still.map((name) => ({ topic: topicOf(kind, name), channel: Buffer.from(name) }))
        this.carriers.hold(held, done)
      }
    })
    if (why === null) return
    throw new RondoError('UNAVAILABLE', `The nodes do not let Rondo listen to this: ${why}.`)
  }

  unsubscribe(kind: SubscriptionKind, names: readonly Buffer[], subscriber: Subscriber): void {
    const ended = names.filter((name) => this.subscribed.remove(kind, name, subscriber))
    if (ended.length === 0) return
    if (kind !== 'pattern') this.carriers.release(ended.map((name) => topicOf(kind, name)))
    else if (this.subscribed.counts.patterns === 0) this.carriers.holdAll(null, () => undefined)
  }

  // ---- publishing

  async publish(kind: ChannelKind, channel: Buffer, bytes: Buffer): Promise<number> {
    if (!this.isStarted) await this.start()
    const number = ++this.lastNumber
    return new Promise((resolve, reject) => {
      this.replies.expect(number, this, { receivers: 0, done: resolve })
      this.send({
        channel,
        topic: topicOf(kind, channel),
        number,
        bytes: encodeSent(this.id, number, bytes),
        tried: new Set(),
        untilMs: this.options.clock.monotonicMs() + this.options.requestTimeoutMs,
        fail: reject,
        isUnknown: false,
      })
    })
  }

  private send(publication: Publication): void {
    const { channel, topic, number, bytes, tried } = publication
    const carrier = this.stopped ? null : this.carriers.carrierOf(channel, tried)
    if (!carrier || this.options.clock.monotonicMs() > publication.untilMs) {
      this.fail(publication, new RondoError('UNAVAILABLE', NO_CARRIER, { outcome: 'not-applied' }))
      return
    }
    tried.add(carrier)
    this.replies.moved(number, carrier)
    carrier.publish(topic, bytes, {
      onPublished: (copies) => this.replies.passedOn(number, copies),
      onFailure: (failure) => this.onFailure(publication, failure),
    })
  }

  private onFailure(publication: Publication, { kind, reason, message }: NodeFailure): void {
    if (kind === 'unknown') publication.isUnknown = true
    // Elsewhere it could overtake those that wait here.
    if (reason === 'too-much-in-flight') {
      const sentence = `${message}: the message was not published.`
      this.fail(publication, new RondoError('OVERLOADED', sentence, { outcome: 'not-applied' }))
    } else if (kind === 'refused') {
      const sentence = `The node does not let Rondo publish this: ${message}.`
      this.fail(publication, new RondoError('UNAVAILABLE', sentence, { outcome: 'not-applied' }))
    } else this.send(publication)
  }

  private fail({ number, isUnknown, fail }: Publication, error: RondoError): void {
    this.replies.drop(number)
    const unknown = 'The node that carries this channel did not answer: some may have got the message.'
    fail(isUnknown ? new RondoError('OUTCOME_UNKNOWN', unknown, { outcome: 'unknown' }) : error)
  }

  // ---- what arrives

  private onMessage(carrier: Carrier, topic: Buffer, bytes: Buffer): void {
    const found = channelOf(topic)
    if (found) this.onPublished(carrier, topic, found, bytes)
    else if (topic.equals(QUESTIONS_TOPIC)) this.questions.answer(carrier, bytes)
    else if (topic.equals(WAITS_TOPIC)) this.onWaits(carrier, bytes)
    else this.onReplies(bytes)
  }

  private onPublished(
    carrier: Carrier,
    topic: Buffer,
    { kind, channel }: { kind: ChannelKind; channel: Buffer },
    bytes: Buffer,
  ): void {
    const sent = decodeSent(bytes)
    if (!sent) return
    const { from, number, body } = sent
    const done = (receivers: number) => this.acknowledge(carrier, from, { number, receivers })
    if (!this.inbox.isNew(from, topic.toString('latin1'), number)) done(0)
    else this.inbox.add({ kind, channel, bytes: body, done })
  }

  private onWaits(carrier: Carrier, bytes: Buffer): void {
    const sent = decodeSent(bytes)
    if (!sent) return
    const { from, number, body } = sent
    this.wakes.onAsked(from, body)
    this.acknowledge(carrier, from, { number, receivers: 0 })
  }

  private onReplies(bytes: Buffer): void {
    const replies = decodeReplies(bytes)
    if (!replies) return
    if ('isLast' in replies) this.questions.onAnswer(replies)
    else if ('type' in replies) {
      const { type, from, body } = replies
      if (type === TOLD.stored || type === TOLD.waits) this.wakes.onTold(type, from, body)
    } else for (const { number, receivers } of replies) this.replies.answered(number, receivers)
  }

  /** Those of one turn go out together. */
  private acknowledge(carrier: Carrier, to: string, ack: Ack): void {
    if (to === this.self) {
      this.replies.answered(ack.number, ack.receivers)
      return
    }
    if (this.acks.size === 0) this.options.timers.endOfTurn(this.sendAcks)
    let byCoordinator = this.acks.get(carrier)
    if (!byCoordinator) this.acks.set(carrier, (byCoordinator = new Map<string, Ack[]>()))
    const list = byCoordinator.get(to)
    if (list) list.push(ack)
    else byCoordinator.set(to, [ack])
  }

  private readonly sendAcks = (): void => {
    const due = this.acks
    this.acks = new Map()
    const call = { onPublished: () => undefined, onFailure: () => undefined }
    for (const [carrier, byCoordinator] of due) {
      for (const [to, acks] of byCoordinator) {
        carrier.publish(repliesTopic(Buffer.from(to, 'latin1')), encodeAcks(acks), call)
      }
    }
  }

  // ---- questions

  active(kind: ChannelKind, matches: (channel: Buffer) => boolean): Promise<readonly Buffer[]> {
    return this.questions.active(kind, matches)
  }

  subscribers(kind: ChannelKind, channels: readonly Buffer[]): Promise<readonly number[]> {
    return this.questions.subscribers(kind, channels)
  }

  async patterns(): Promise<number> {
    return (await this.questions.active('pattern', () => true)).length
  }

  // ---- errands

  takeErrands(does: (errand: Errand) => boolean): void {
    this.does = does
    // Nodes that cannot be reached are listened to as soon as they are.
    if (!this.isStarted) void this.start()
  }

  errand(errand: Errand): Promise<number> {
    return this.questions.errand(errand)
  }

  stop(): void {
    this.stopped = true
    this.wakes.stop()
    this.carriers.stop()
    this.replies.stop()
  }
}
