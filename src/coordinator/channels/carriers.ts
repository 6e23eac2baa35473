/**
 * Which nodes carry which channel. The name of a channel has a replica set, like a key:
 *
 *   published   on one node: the first of its preference list that is reached
 *   listened to on its home replicas, and on the next ones in the list, until so many as there are homes are reached
 *
 * So a node that dies takes no channel with it, and nobody has to do anything. Three delays keep publishers and subscribers
 * together, which learn of a change at different times:
 *
 *   a node that was reached again, or a change of members, counts for publishers after SETTLE_MS only
 *   whoever listened somewhere goes on for LINGER_MS after it is no longer needed
 */
import type { Cluster } from '../../cluster/cluster.ts'
import type { Member } from '../../cluster/member.ts'
import type { MonotonicClock, TimerHandle, Timers } from '../../core/clock.ts'
import type { Emit } from '../../core/events.ts'
import type { Placement } from '../../core/placement.ts'
import { MAX_ASKED } from '../../nodes/node.ts'
import { Carrier, SETTLE_MS } from './carrier.ts'

const LINGER_MS = 2 * SETTLE_MS
const TICK_MS = 250
/** So many topics are assigned anew, or ended, in one turn, and a node is told of them in one command. */
const TOPICS_A_TURN = MAX_ASKED

export interface CarriersOptions {
  readonly cluster: Pick<Cluster, 'placement'>
  readonly clock: MonotonicClock
  readonly timers: Timers
  readonly emit: Emit
  readonly message: (carrier: Carrier, topic: Buffer, bytes: Buffer) => void
  /** Listened to on every node. */
  readonly everywhere: readonly Buffer[]
}

interface Held {
  readonly topic: Buffer
  readonly channel: Buffer
  carriers: readonly Carrier[]
}

interface Left {
  readonly topic: string
  readonly carrier: Carrier
  readonly dueMs: number
}

export class Carriers {
  private readonly options: CarriersOptions
  private readonly all = new Map<Member, Carrier>()
  /** The topics of this coordinator's subscribers, by latin1. */
  private readonly held = new Map<string, Held>()
  private prefix: Buffer | null = null
  /** The newest last. */
  private placements: { readonly placement: Placement<Member>; readonly fromMs: number }[] = []
  private left: Left[] = []
  /** Topics that were released, and that the nodes have not been told of. */
  private readonly released: Buffer[] = []
  private started: Promise<void> | null = null
  private tick: TimerHandle | null = null
  private isReassigning = false
  private mustReassign = false
  private readonly unavailable = new Set<Member>()
  private stopped = false

  constructor(options: CarriersOptions) {
    this.options = options
  }

  /** Connects to the nodes, the first time. Resolves when each that is up has been reached, or not. */
  start(): Promise<void> {
    this.started ??= this.connectAll()
    return this.started
  }

  private async connectAll(): Promise<void> {
    const { cluster, timers } = this.options
    this.placements = [{ placement: cluster.placement, fromMs: -Infinity }]
    const waits: Promise<void>[] = []
    for (const member of cluster.placement.members) {
      const reached = new Promise<void>((resolve) => this.firstChange.set(member, resolve))
      if (member.health.state === 'up') waits.push(reached)
      this.add(member)
    }
    this.tick = timers.setTimeout(this.onTick, TICK_MS)
    await Promise.all(waits)
    this.firstChange.clear()
    for (const carrier of this.all.values()) if (carrier.isOpen) carrier.openFromTheStart()
  }

  private readonly firstChange = new Map<Member, () => void>()

  private add(member: Member): Carrier {
    const carrier = new Carrier(member, this.options, {
      message: this.options.message,
      changed: (_carrier, why) => this.onChanged(member, why),
    })
    this.all.set(member, carrier)
    carrier.listen(this.options.everywhere, () => undefined)
    carrier.listenToAll(this.prefix, () => undefined)
    return carrier
  }

  private onChanged(member: Member, why: string | null): void {
    this.firstChange.get(member)?.()
    this.reassign()
    // That a node is down is told elsewhere.
    const isWorthTelling = why === null ? this.unavailable.delete(member) : member.health.state === 'up'
    if (!isWorthTelling || (why !== null && this.unavailable.has(member))) return
    if (why !== null) this.unavailable.add(member)
    this.options.emit({ kind: 'messages-unavailable', node: member.id, why })
  }

  // ---- publishing

  /** Where a message of this channel is published; null = nowhere. */
  carrierOf(channel: Buffer, tried: ReadonlySet<Carrier>): Carrier | null {
    const nowMs = this.options.clock.monotonicMs()
    for (const member of this.settledPlacement(nowMs).replicaSetOf(channel).preference) {
      const carrier = this.all.get(member)
      if (carrier?.isSettled(nowMs) && !tried.has(carrier)) return carrier
    }
    for (const member of this.options.cluster.placement.replicaSetOf(channel).preference) {
      const carrier = this.all.get(member)
      if (carrier?.isOpen && !tried.has(carrier)) return carrier
    }
    return null
  }

  /**
   * Any node, for what all coordinators listen to: one that was a member before the latest change and still is, because others
   * may have left a former one by now, and may not know of a new one yet.
   */
  anyCarrier(): Carrier | null {
    const nowMs = this.options.clock.monotonicMs()
    const former = this.settledPlacement(nowMs).members
    const { members } = this.options.cluster.placement
    const open = [...this.all.values()].filter(({ isOpen }) => isOpen)
    const present = open.filter(({ member }) => members.includes(member))
    const kept = present.filter(({ member }) => former.includes(member))
    for (const some of [kept, present, open]) {
      const settled = some.find((carrier) => carrier.isSettled(nowMs))
      if (settled) return settled
    }
    return present[0] ?? open[0] ?? null
  }

  private settledPlacement(nowMs: number): Placement<Member> {
    this.notePlacement(nowMs)
    const { placements } = this
    while (placements.length > 1 && placements[1]!.fromMs <= nowMs - SETTLE_MS) placements.shift()
    return placements[0]!.placement
  }

  private notePlacement(nowMs: number): void {
    const { placement } = this.options.cluster
    if (this.placements.at(-1)!.placement === placement) return
    this.placements.push({ placement, fromMs: nowMs })
    for (const member of placement.members) if (!this.all.has(member)) this.add(member)
    this.reassign()
  }

  // ---- listening

  /** @param done once all nodes that are reached have been asked: null, or why none of them allows it */
  hold(topics: readonly { topic: Buffer; channel: Buffer }[], done: (why: string | null) => void): void {
    const byCarrier = new Map<Carrier, Buffer[]>()
    for (const { topic, channel } of topics) {
      const carriers = this.wanted(channel)
      this.held.set(topic.toString('latin1'), { topic, channel, carriers })
      for (const carrier of carriers) addTo(byCarrier, carrier, topic)
    }
    const asked = whenAll(byCarrier.size, done)
    for (const [carrier, list] of byCarrier) carrier.listen(list, asked)
  }

  /** A subscriber that is gone may have had a hundred thousand: the nodes are told of some in each turn. */
  release(topics: readonly Buffer[]): void {
    const isUnderWay = this.released.length > 0
    for (const topic of topics) {
      this.held.delete(topic.toString('latin1'))
      this.released.push(topic)
    }
    if (!isUnderWay && this.released.length > 0) this.options.timers.endOfTurn(this.endReleased)
  }

  private readonly endReleased = (): void => {
    if (this.stopped) return
    // One that is held again by now was never left.
    const due = this.released
      .splice(-TOPICS_A_TURN)
      .filter((topic) => !this.held.has(topic.toString('latin1')))
    for (const carrier of this.all.values()) carrier.unlisten(due)
    if (this.released.length > 0) this.options.timers.endOfTurn(this.endReleased)
  }

  /** All topics with this prefix, on every node; null = none any more. */
  holdAll(prefix: Buffer | null, done: (why: string | null) => void): void {
    this.prefix = prefix
    const asked = whenAll(this.all.size, done)
    for (const carrier of [...this.all.values()]) carrier.listenToAll(prefix, asked)
  }

  private wanted(channel: Buffer): Carrier[] {
    const { homes, preference } = this.options.cluster.placement.replicaSetOf(channel)
    const wanted: Carrier[] = []
    let open = 0
    for (const [i, member] of preference.entries()) {
      if (i >= homes.length && open >= homes.length) break
      const carrier = this.all.get(member) ?? this.add(member)
      wanted.push(carrier)
      if (carrier.isOpen) open++
    }
    return wanted
  }

  private reassign(): void {
    this.mustReassign = true
    if (this.isReassigning || this.stopped) return
    this.isReassigning = true
    this.options.timers.endOfTurn(() => {
      this.mustReassign = false
      this.reassignSome(this.held.entries())
    })
  }

  private reassignSome(entries: IterableIterator<[string, Held]>): void {
    const dueMs = this.options.clock.monotonicMs() + LINGER_MS
    const added = new Map<Carrier, Buffer[]>()
    const isOver = this.assignSome(entries, dueMs, added)
    for (const [carrier, topics] of added) carrier.listen(topics, () => undefined)
    if (!isOver) {
      this.options.timers.endOfTurn(() => this.reassignSome(entries))
      return
    }
    this.isReassigning = false
    if (this.mustReassign) this.reassign()
  }

  /** @param added where topics are to be listened to, too @returns whether these were the last */
  private assignSome(
    entries: IterableIterator<[string, Held]>,
    dueMs: number,
    added: Map<Carrier, Buffer[]>,
  ): boolean {
    for (let count = 0; count < TOPICS_A_TURN && !this.stopped; count++) {
      const next = entries.next()
      if (next.done) return true
      const [topic, held] = next.value
      const before = held.carriers
      held.carriers = this.wanted(held.channel)
      for (const carrier of held.carriers) {
        if (!carrier.listensTo(topic)) addTo(added, carrier, held.topic)
      }
      for (const carrier of before) {
        if (!held.carriers.includes(carrier)) this.left.push({ topic, carrier, dueMs })
      }
    }
    return this.stopped
  }

  private readonly onTick = (): void => {
    const nowMs = this.options.clock.monotonicMs()
    this.notePlacement(nowMs)
    this.endLeft(nowMs)
    this.endGone(nowMs)
    this.tick = this.options.timers.setTimeout(this.onTick, TICK_MS)
  }

  private endLeft(nowMs: number): void {
    let due = 0
    while (due < TOPICS_A_TURN && due < this.left.length && this.left[due]!.dueMs <= nowMs) due++
    if (due === 0 || this.stopped) return
    const ended = new Map<Carrier, Buffer[]>()
    for (const { topic, carrier } of this.left.splice(0, due)) {
      const held = this.held.get(topic)
      if (held && !held.carriers.includes(carrier)) addTo(ended, carrier, held.topic)
    }
    for (const [carrier, topics] of ended) carrier.unlisten(topics)
    this.options.timers.endOfTurn(() => this.endLeft(nowMs))
  }

  /** Members that have left since LINGER_MS. */
  private endGone(nowMs: number): void {
    const { placement, fromMs } = this.placements.at(-1)!
    if (nowMs - fromMs < LINGER_MS || this.all.size === placement.members.length) return
    for (const [member, carrier] of this.all) {
      if (placement.members.includes(member)) continue
      carrier.close()
      this.all.delete(member)
      this.unavailable.delete(member)
    }
  }

  stop(): void {
    this.stopped = true
    if (this.tick) this.options.timers.clearTimeout(this.tick)
    for (const carrier of this.all.values()) carrier.close()
  }
}

function addTo(lists: Map<Carrier, Buffer[]>, carrier: Carrier, topic: Buffer): void {
  const list = lists.get(carrier)
  if (list) list.push(topic)
  else lists.set(carrier, [topic])
}

/** Calls `done` after so many calls: null, or why if all of them had a reason. */
function whenAll(count: number, done: (why: string | null) => void): (why: string | null) => void {
  let left = count
  let accepted = 0
  if (count === 0) done(null)
  return (why) => {
    if (why === null) accepted++
    if (--left === 0) done(accepted > 0 ? null : why)
  }
}
