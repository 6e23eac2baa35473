/**
 * Changes of members are announced, so that they are known at once: whoever decides an epoch publishes on three nodes, and
 * every coordinator subscribes on the first three that are up. An announcement says nothing but "look": the node is
 * probed, as it is with each ping anyway. Where it is lost or forbidden, the next ping finds the same a little later.
 */
import type { MonotonicClock, TimerHandle, Timers } from '../core/clock.ts'
import type { Emit } from '../core/events.ts'
import type { Subscription } from '../nodes/node.ts'
import type { Member } from './member.ts'

export interface AnnouncerOptions {
  readonly clock: MonotonicClock
  readonly timers: Timers
  readonly emit: Emit
  readonly members: () => readonly Member[]
  readonly look: (member: Member) => void
}

const NODES = 3
/** At most one look in this time, whatever is published. */
const LOOK_EVERY_MS = 50
/** After a node has refused it, not before this time. */
const REFUSED_PAUSE_MS = 60_000

interface Place {
  /** Null = it has ended. */
  subscription: Subscription | null
  tryAfterMs: number
  /** As reported; null = nothing is. */
  refusal: string | null
}

export class Announcer {
  private readonly options: AnnouncerOptions
  private readonly places = new Map<Member, Place>()
  private lookedAtMs = -Infinity
  private nextLook: TimerHandle | null = null
  private stopped = false

  constructor(options: AnnouncerOptions) {
    this.options = options
  }

  /** Where it is published, and listened to. */
  get nodes(): readonly Member[] {
    const nodes: Member[] = []
    for (const member of this.options.members()) {
      if (member.health.state === 'up' && member.node.ready && nodes.push(member) === NODES) break
    }
    return nodes
  }

  /** After each ping: subscribes where it should be and is not. */
  keep(member: Member): void {
    const { nodes } = this
    for (const [one, { subscription }] of this.places) {
      if (nodes.includes(one)) continue
      subscription?.close()
      this.places.delete(one)
    }
    const place = this.places.get(member) ?? { subscription: null, tryAfterMs: -Infinity, refusal: null }
    const isDue = !place.subscription && this.options.clock.monotonicMs() >= place.tryAfterMs
    if (this.stopped || !isDue || !nodes.includes(member)) return
    this.places.set(member, place)
    this.subscribe(member, place)
  }

  private subscribe(member: Member, place: Place): void {
    let wasSubscribed = false
    place.subscription = member.node.subscribe({
      subscribed: () => {
        wasSubscribed = true
        place.refusal = null
        // What was announced before this moment was missed.
        this.look(member)
      },
      announced: () => this.look(member),
      ended: (why) => {
        place.subscription = null
        if (wasSubscribed) return // the next ping tries again
        place.tryAfterMs = this.options.clock.monotonicMs() + REFUSED_PAUSE_MS
        if (place.refusal === null) this.options.emit({ kind: 'announcements-refused', node: member.id, why })
        place.refusal = why
      },
    })
  }

  /** Tells the others. @param nodes those where they listened before, beside those of now */
  announce(nodes: readonly Member[]): void {
    for (const { node } of new Set([...nodes, ...this.nodes])) {
      void node.announce().catch(() => undefined) // the next ping of the others finds it
    }
  }

  private look(member: Member): void {
    if (this.stopped || this.nextLook) return
    const { clock, timers } = this.options
    const waitMs = this.lookedAtMs + LOOK_EVERY_MS - clock.monotonicMs()
    const now = () => {
      this.nextLook = null
      this.lookedAtMs = clock.monotonicMs()
      if (this.options.members().includes(member)) this.options.look(member)
    }
    if (waitMs <= 0) now()
    else this.nextLook = timers.setTimeout(now, waitMs)
  }

  stop(): void {
    this.stopped = true
    if (this.nextLook) this.options.timers.clearTimeout(this.nextLook)
    for (const { subscription } of this.places.values()) subscription?.close()
    this.places.clear()
  }
}
