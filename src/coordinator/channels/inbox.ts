/**
 * Hands out the messages that arrive, one after the other, to the subscribers of this coordinator: first to those of the
 * channel, then to those of the patterns that match. Many patterns or subscribers take several turns of the event loop;
 * what arrives meanwhile waits, up to a limit, and is dropped beyond it.
 *
 * A message comes once for each topic and prefix that this coordinator listens to, and again if it was published a second
 * time because a node did not answer. Coordinators number what they publish, so what is not newer than the last message of
 * that coordinator on that channel is dropped: no message comes twice, or after a later one.
 */
import { LRUCache } from 'lru-cache'
import type { Timers } from '../../core/clock.ts'
import type { ChannelKind, Message, Subscriber } from './api.ts'
import type { Subscriptions } from './subscriptions.ts'

const MAX_WAITING_BYTES = 32 * 1024 * 1024
const OVERHEAD_BYTES = 200
/** Between two turns: bytes compared with patterns, and messages handed out. */
const STEPS_A_TURN = 200_000
const RECEIVERS_A_TURN = 4096
const PATTERN_STEPS = 16
/** Channels whose last numbers are known. */
const MAX_SEEN = 16_384
const MAX_SEEN_BYTES = 8 * 1024 * 1024

export interface Arrived {
  readonly kind: ChannelKind
  readonly channel: Buffer
  readonly bytes: Buffer
  /** It was handed out. */
  readonly done: (receivers: number) => void
}

export class Inbox {
  dropped = 0
  private readonly subscriptions: Subscriptions
  private readonly timers: Timers
  private readonly seen = new LRUCache<string, number>({
    max: MAX_SEEN,
    maxSize: MAX_SEEN_BYTES,
    sizeCalculation: (_number, name) => name.length + OVERHEAD_BYTES,
  })
  private waiting: Arrived[] = []
  private next = 0
  private waitingBytes = 0
  private current: Generator<void> | null = null
  private steps = 0

  constructor(subscriptions: Subscriptions, timers: Timers) {
    this.subscriptions = subscriptions
    this.timers = timers
  }

  /** @param from the coordinator @param topic latin1 */
  isNew(from: string, topic: string, number: number): boolean {
    const name = from + topic
    if (number <= (this.seen.get(name) ?? -1)) return false
    this.seen.set(name, number)
    return true
  }

  /** Its bytes may be slices of a chunk of the socket. */
  add(arrived: Arrived): void {
    if (!this.current) {
      this.run(arrived)
      return
    }
    const bytes = arrived.channel.length + arrived.bytes.length + OVERHEAD_BYTES
    if (this.waitingBytes + bytes > MAX_WAITING_BYTES) {
      this.dropped++
      arrived.done(0)
      return
    }
    this.waitingBytes += bytes
    this.waiting.push({
      ...arrived,
      channel: Buffer.from(arrived.channel),
      bytes: Buffer.from(arrived.bytes),
    })
  }

  private run(arrived: Arrived): void {
    this.current = this.handOut(arrived)
    this.goOn()
  }

  private readonly goOn = (): void => {
    this.steps = 0
    while (this.current) {
      if (!this.current.next().done) {
        this.timers.endOfTurn(this.goOn)
        return
      }
      this.current = this.takeNext()
    }
  }

  private takeNext(): Generator<void> | null {
    if (this.next === this.waiting.length) {
      this.waiting = []
      this.next = 0
      return null
    }
    const arrived = this.waiting[this.next++]!
    this.waitingBytes -= arrived.channel.length + arrived.bytes.length + OVERHEAD_BYTES
    if (this.next === 1024) {
      this.waiting = this.waiting.slice(this.next)
      this.next = 0
    }
    return this.handOut(arrived)
  }

  private *handOut({ kind, channel, bytes, done }: Arrived): Generator<void> {
    let receivers = 0
    const named = this.subscriptions.of(kind, channel)
    if (named.size > 0) {
      const message: Message = { kind, pattern: null, channel, bytes }
      receivers += yield* this.give(message, named)
    }
    if (kind === 'channel') {
      for (const { name, glob, subscribers } of this.subscriptions.patterns()) {
        const before = glob.steps
        const isMatch = glob.matches(channel)
        this.steps += glob.steps - before + PATTERN_STEPS
        glob.steps = 0
        if (isMatch) {
          const message: Message = { kind: 'pattern', pattern: name, channel, bytes }
          receivers += yield* this.give(message, subscribers)
        }
        if (this.steps > STEPS_A_TURN) yield
      }
    }
    done(receivers)
  }

  private *give(message: Message, to: ReadonlySet<Subscriber>): Generator<void, number> {
    if (to.size <= RECEIVERS_A_TURN) {
      for (const subscriber of to) subscriber.receive(message)
      return to.size
    }
    let given = 0
    for (const subscriber of [...to]) {
      // It may have unsubscribed in between.
      if (!to.has(subscriber)) continue
      subscriber.receive(message)
      if (++given % RECEIVERS_A_TURN === 0) yield
    }
    return given
  }
}
