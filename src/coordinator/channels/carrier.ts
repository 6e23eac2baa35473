/**
 * One member as a carrier of messages: a connection to its node that is made again whenever it was lost, and what is
 * listened to over it.
 */
import type { Member } from '../../cluster/member.ts'
import type { MonotonicClock, TimerHandle, Timers } from '../../core/clock.ts'
import { MAX_ASKED, type Messenger, type PublishCall } from '../../nodes/node.ts'
import { NOT_CONNECTED } from '../../nodes/failures.ts'

const RETRY_MS = 250
/**
 * A node carries messages again so long after it was reached: until then the other coordinators have reached it as well, and
 * have asked it for their channels.
 */
export const SETTLE_MS = 3000

export interface CarrierEvents {
  message(carrier: Carrier, topic: Buffer, bytes: Buffer): void
  /** It was opened, or has ended. @param why null = it is open */
  changed(carrier: Carrier, why: string | null): void
}

export interface CarrierOptions {
  readonly clock: MonotonicClock
  readonly timers: Timers
}

export class Carrier {
  readonly member: Member
  isOpen = false
  /** Monotonic; -Infinity = since the start. */
  private openedAtMs = 0
  private readonly options: CarrierOptions
  private readonly events: CarrierEvents
  private messenger: Messenger | null = null
  private retry: TimerHandle | null = null
  /** By latin1. */
  private readonly topics = new Map<string, Buffer>()
  private prefix: Buffer | null = null
  private isClosed = false

  constructor(member: Member, options: CarrierOptions, events: CarrierEvents) {
    this.member = member
    this.options = options
    this.events = events
    this.connect()
  }

  /** Others have reached it as well by now. */
  isSettled(nowMs: number): boolean {
    return this.isOpen && nowMs - this.openedAtMs >= SETTLE_MS
  }

  /** It was open when this coordinator began: there is nothing to wait for. */
  openFromTheStart(): void {
    this.openedAtMs = -Infinity
  }

  /** @param done as in Messenger; called at once if the node is not reached: it is asked as soon as it is */
  listen(topics: readonly Buffer[], done: (why: string | null) => void): void {
    const added = topics.filter((topic) => !this.topics.has(topic.toString('latin1')))
    for (const topic of topics) this.topics.set(topic.toString('latin1'), topic)
    if (this.isOpen && this.messenger && added.length > 0) this.ask(this.messenger, added, done)
    else done(null)
  }

  listensTo(topic: string): boolean {
    return this.topics.has(topic)
  }

  /** @param topics MAX_ASKED at most; those that are not listened to are nothing */
  unlisten(topics: readonly Buffer[]): void {
    const ended = topics.filter((topic) => this.topics.delete(topic.toString('latin1')))
    if (ended.length > 0 && this.isOpen) this.messenger?.unlisten({ topics: ended })
  }

  /** Of all topics with this prefix; null = of none any more. */
  listenToAll(prefix: Buffer | null, done: (why: string | null) => void): void {
    const before = this.prefix
    this.prefix = prefix
    const isSame = (before === null) === (prefix === null)
    if (!this.isOpen || !this.messenger || isSame) done(null)
    else if (prefix) this.messenger.listen({ prefixes: [prefix] }, done)
    else {
      this.messenger.unlisten({ prefixes: [before!] })
      done(null)
    }
  }

  publish(topic: Buffer, bytes: Buffer, call: PublishCall): void {
    if (this.isOpen && this.messenger) this.messenger.publish(topic, bytes, call)
    else call.onFailure(NOT_CONNECTED)
  }

  close(): void {
    this.isClosed = true
    this.isOpen = false
    if (this.retry) this.options.timers.clearTimeout(this.retry)
    this.messenger?.close()
    this.messenger = null
  }

  private connect(): void {
    this.retry = null
    const messenger = this.member.node.messenger({
      opened: () => this.onOpened(messenger),
      message: (topic, bytes) => this.events.message(this, topic, bytes),
      ended: (why) => this.onEnded(why),
    })
    this.messenger = messenger
  }

  private onOpened(messenger: Messenger): void {
    this.isOpen = true
    this.openedAtMs = this.options.clock.monotonicMs()
    const ignored = () => undefined
    if (this.topics.size > 0) this.ask(messenger, [...this.topics.values()], ignored)
    if (this.prefix) messenger.listen({ prefixes: [this.prefix] }, ignored)
    this.events.changed(this, null)
  }

  private onEnded(why: string): void {
    this.isOpen = false
    this.messenger = null
    if (this.isClosed) return
    this.retry = this.options.timers.setTimeout(() => this.connect(), RETRY_MS)
    this.events.changed(this, why)
  }

  private ask(messenger: Messenger, topics: readonly Buffer[], done: (why: string | null) => void): void {
    let left = Math.ceil(topics.length / MAX_ASKED)
    let refusal: string | null = null
    for (let from = 0; from < topics.length; from += MAX_ASKED) {
      messenger.listen({ topics: topics.slice(from, from + MAX_ASKED) }, (why) => {
        refusal ??= why
        if (--left === 0) done(refusal)
      })
    }
  }
}
