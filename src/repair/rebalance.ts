/**
 * Drives a change of members to its end (core/topology.ts), one coordinator at a time:
 *
 *   both       each member that gains keys is brought them by the repairer (fill.ts), which notes it in its marker;
 *              once all have them, the next layout votes: advance. If they are away and cost writes, it is undone: cancel
 *   switched   once more what the former home replicas hold, so that what only they took is not lost; then advance
 *   stable     the next change that waits is begun (cluster/queue.ts); otherwise copies on former home replicas are moved
 *              home and dropped by a round of anti-entropy, which is begun at once, and once more if it was not whole: a
 *              member was away, or its coordinator died
 *
 * A lease keeps coordinators from doing the same work. Nothing breaks if two do, or if one stops anywhere: every step can
 * be repeated, and the register decides each epoch once.
 */
import { RondoError } from '../core/errors.ts'
import { sentenceOfQueued, type Queued, type QueuedView } from '../core/queued.ts'
import { advance, cancel, onlyIn, type Topology } from '../core/topology.ts'
import { leaseOnFirst, Periodic, reportFailure } from './background.ts'
import { MOVING_LEASE_MS, type RepairContext } from './context.ts'
import { Hindrance } from './hindrance.ts'
import {
  DEPARTED,
  DROPPED,
  RECEIVED,
  REPORT,
  STEERING,
  VERIFIED,
  type ChangeReport,
  type DroppedChange,
  type Pass,
} from './progress.ts'
import type { AntiEntropy } from './round/anti-entropy.ts'
import { NO_PROGRESS } from './round/merge-work.ts'
import { sourcesFor } from './round/sources.ts'
import { mergeSteered, type SteeredJob } from './steered.ts'

export interface RebalanceState {
  readonly state: 'idle' | 'running' | 'paused'
  readonly phase: Topology['phase'] | null
  readonly epoch: number
  /** Ids of members that have not received all that they gain. */
  readonly receiving: readonly string[]
  /** Of the change that is under way, in both passes, of all sources together. */
  readonly keys: { readonly expected: number; readonly checked: number; readonly moved: number }
  readonly bytes: number
  /** Keys checked per second, lately; null = nothing is moved now. */
  readonly rate: number | null
  /** Null = not known. */
  readonly secondsLeft: number | null
  /** The limit of `rate`; 0 = none. */
  readonly keysPerSecond: number
  /** Of the last change that ended. */
  readonly report: (ChangeReport & { readonly leftovers: Leftovers | null }) | null
  /** Changes that wait; the next one is the first. */
  readonly queue: readonly QueuedView[]
  /** The last ones that could not begin or were undone by themselves; the last of all is the first. */
  readonly dropped: readonly DroppedChange[]
}

/** Copies that were dropped from former home replicas, by the first round of anti-entropy after a change. */
export interface Leftovers {
  readonly copies: number
  readonly bytes: number
}

type Rounds = Pick<AntiEntropy, 'request' | 'progress'>

const PAUSE_MS = 250
/** A change that waits, and cannot begin now, is tried again after this time, and dropped after that one. */
const TRY_AGAIN_MS = 5000
const WAIT_MS = 10 * 60_000
const MAX_DROPPED = 8
/** How often it is looked at whether the round after a change was whole. */
const LEFTOVERS_MS = 10_000
const MAX_DEPARTED = 64
const LEASE = 'rebalance'

export class Rebalance {
  private readonly context: RepairContext
  private readonly rounds: Rounds
  private readonly periodic: Periodic
  /** The epoch whose former home replicas were read to the end. */
  private verifiedEpoch = 0
  private beginAfterMs = -Infinity
  /** The next change, which cannot begin now, and until when it may wait. */
  private waiting: { readonly id: string; readonly untilMs: number } | null = null
  /** The epoch whose leftovers have been dropped. */
  private tidyEpoch = 1
  private lookAgainMs = 0
  private readonly hindrance: Hindrance

  /** @param rounds one is begun after each change: it drops what former home replicas still hold */
  constructor(context: RepairContext, rounds: Rounds) {
    this.context = context
    this.rounds = rounds
    this.hindrance = new Hindrance(context)
    const failed = (error: unknown) => reportFailure(context, 'rebalancing', error)
    this.periodic = new Periodic(
      context.timers,
      () => PAUSE_MS,
      () => this.check().catch(failed),
    )
  }

  start(): void {
    this.periodic.start()
  }

  /** Resolves when the running step has ended; another coordinator goes on. */
  stop(): Promise<void> {
    return this.periodic.stop()
  }

  async state(): Promise<RebalanceState> {
    const { cluster } = this.context
    const { topology, epoch } = cluster.membership
    const [steering, report, dropped] = await Promise.all([
      STEERING.read(cluster),
      this.lastReport(),
      DROPPED.read(cluster),
    ])
    const { paused = 0, keysPerSecond = 0 } = steering ?? {}
    const always = { keysPerSecond, report, queue: cluster.queue.view, dropped: dropped ?? [] }
    const phase = topology?.phase ?? null
    if (!topology || (phase === 'stable' && !cluster.membership.isRefilling)) {
      const keys = { expected: 0, checked: 0, moved: 0 }
      const nothing = { receiving: [], keys, bytes: 0, rate: null, secondsLeft: null }
      return { state: 'idle', phase, epoch, ...nothing, ...always }
    }
    const state = paused === topology.since ? 'paused' : 'running'
    const progress = this.progressOf(topology, await this.passes(topology))
    const stands = state === 'paused' ? { rate: null, secondsLeft: null } : {}
    const receiving = this.receiving(topology)
    return { state, phase, epoch, receiving, ...progress, ...stands, ...always }
  }

  /** Nothing is moved until `resume`; writes still go to both layouts. @throws RondoError CONFLICT */
  async pause(): Promise<void> {
    const { since } = this.underWay()
    await this.steer({ paused: since })
  }

  /** @throws RondoError CONFLICT */
  async resume(): Promise<void> {
    this.underWay()
    await this.steer({ paused: 0 })
  }

  /** Also for the changes that follow. @param keysPerSecond 0 = no limit */
  async throttle(keysPerSecond: number): Promise<void> {
    await this.steer({ keysPerSecond })
  }

  private async steer(asked: { paused?: number; keysPerSecond?: number }): Promise<void> {
    const { cluster } = this.context
    const now = (await STEERING.read(cluster)) ?? { paused: 0, keysPerSecond: 0 }
    await STEERING.write(cluster, { ...now, ...asked })
  }

  private underWay(): Topology {
    const { topology } = this.context.cluster.membership
    if (topology && topology.phase !== 'stable') return topology
    throw new RondoError('CONFLICT', 'No change of the members is under way; /cluster shows them.')
  }

  private async lastReport(): Promise<RebalanceState['report']> {
    const report = await REPORT.read(this.context.cluster)
    if (!report) return null
    const { lastRound } = await this.rounds.progress()
    const isAfter = lastRound?.result === 'complete' && lastRound.startedAtMs >= report.endedAtMs
    return {
      ...report,
      leftovers: isAfter ? { copies: lastRound.movedHome, bytes: lastRound.freedBytes } : null,
    }
  }

  /** What the members that gain keys have noted of this change. */
  private async passes({ since, gained }: Topology): Promise<{ received: Pass[]; verified: Pass[] }> {
    const { cluster } = this.context
    const gaining = cluster.members.filter(({ id }) => gained.includes(id))
    const of = async (note: typeof RECEIVED) => {
      const found = await Promise.all(gaining.map((member) => note.read(cluster, [member])))
      return found.flatMap((pass) => (pass?.since === since ? [pass] : []))
    }
    const [received, verified] = await Promise.all([of(RECEIVED), of(VERIFIED)])
    return { received, verified }
  }

  private progressOf(
    { gained, phase }: Topology,
    { received, verified }: { received: Pass[]; verified: Pass[] },
  ): Pick<RebalanceState, 'keys' | 'bytes' | 'rate' | 'secondsLeft'> {
    const noted = [...received, ...verified]
    const stored = sumOf(this.context.cluster.members.map(({ report }) => report?.keys ?? 0))
    // Each member that gains keys looks at all of them twice, and one that takes another's place once.
    const looks = gained.length * (phase === 'stable' ? 1 : 2)
    const expected = sumOf(noted.map((pass) => pass.expected)) + (looks - noted.length) * stored
    const checked = sumOf(noted.map((pass) => pass.checked))
    // In the second pass all members that gain are compared at once.
    const running = noted.filter(({ isDone, startedAtMs, atMs }) => !isDone && atMs > startedAtMs)
    const rates = running.map((pass) => (1000 * pass.checked) / (pass.atMs - pass.startedAtMs))
    const rate = running.length > 0 ? Math.round(sumOf(rates)) : null
    return {
      keys: { expected, checked, moved: sumOf(noted.map(({ sent }) => sent)) },
      bytes: sumOf(noted.map(({ bytes }) => bytes)),
      rate,
      secondsLeft: rate ? Math.ceil(Math.max(0, expected - checked) / rate) : null,
    }
  }

  private async check(): Promise<void> {
    const { cluster } = this.context
    const { membership } = cluster
    const { topology } = membership
    if (!topology) return
    if (topology.phase === 'stable') {
      await this.beginNext()
      if (membership.topology === topology) await this.seeToLeftovers(topology)
      return
    }
    const why = this.hindrance.whyUndo(topology)
    if (why !== null) {
      if (await this.keepLease()) await this.undo(topology, why)
      return
    }
    if (topology.phase === 'both' && this.receiving(topology).length > 0) return
    if (!(await this.keepLease())) return
    if ((await STEERING.read(cluster))?.paused === topology.since) return
    if (topology.phase === 'switched') {
      if (!(await this.readFormer(topology))) return
      await this.writeReport(topology)
      await this.noteDeparted(topology)
    }
    const decided = await membership.change((from) => {
      // Another coordinator may have been faster, or a member has lost what it had received.
      if (from.epoch !== topology.epoch) return from
      return from.phase === 'both' && this.receiving(from).length > 0 ? from : advance(from)
    })
    if (decided?.phase === 'stable' && topology.phase === 'switched') await this.dropLeftovers()
  }

  private async undo(topology: Topology, why: string): Promise<void> {
    const { cluster, emit } = this.context
    const id = `epoch ${topology.epoch}`
    const what = `${id} (${sentenceOfStep(topology)})`
    const decided = await cluster.membership.change((from) =>
      from.epoch === topology.epoch ? cancel(from) : from,
    )
    if (decided?.epoch !== topology.epoch + 1 || decided.phase !== 'stable') return
    await this.noteDropped({ id, what, why })
    emit({ kind: 'change-undone', change: what, why })
  }

  private async beginNext(): Promise<void> {
    const { cluster, clock } = this.context
    const { queue, membership } = cluster
    if (queue.items.length === 0 || clock.monotonicMs() < this.beginAfterMs) return
    if (!(await this.keepLease())) return
    const turn = await queue.beginNext()
    if (turn.kind === 'failed' && !turn.isFinal && (membership.isRefilling || this.mayWait(turn.item))) {
      this.beginAfterMs = clock.monotonicMs() + TRY_AGAIN_MS
      return
    }
    this.waiting = null
    if (turn.kind === 'failed') await this.drop(turn.item, turn.why)
  }

  /** As long as the reason may pass. */
  private mayWait({ id }: Queued): boolean {
    const nowMs = this.context.clock.monotonicMs()
    if (this.waiting?.id !== id) this.waiting = { id, untilMs: nowMs + WAIT_MS }
    return nowMs < this.waiting.untilMs
  }

  /** Noted first: if this coordinator stops here, another one does the same again. */
  private async drop(item: Queued, why: string): Promise<void> {
    const { cluster, emit } = this.context
    const { id } = item
    const what = sentenceOfQueued(item)
    await this.noteDropped({ id, what, why })
    try {
      await cluster.queue.withdraw(id)
    } catch (error) {
      if (error instanceof RondoError) return // it was taken back meanwhile, or the next look tries again
      throw error
    }
    emit({ kind: 'change-dropped', change: what, why })
  }

  private async noteDropped(one: Omit<DroppedChange, 'atMs'>): Promise<void> {
    const { cluster } = this.context
    const before = ((await DROPPED.read(cluster)) ?? []).filter(({ id }) => id !== one.id)
    await DROPPED.write(cluster, [{ ...one, atMs: cluster.time.nowMs() }, ...before].slice(0, MAX_DROPPED))
  }

  private async writeReport(topology: Topology): Promise<void> {
    const { cluster } = this.context
    const { received, verified } = await this.passes(topology)
    const all = [...received, ...verified]
    const endedAtMs = cluster.time.nowMs()
    await REPORT.write(cluster, {
      since: topology.since,
      epoch: topology.epoch + 1,
      startedAtMs: Math.min(endedAtMs, ...all.map(({ startedAtMs }) => startedAtMs)),
      endedAtMs,
      checked: sumOf(all.map(({ checked }) => checked)),
      moved: sumOf(all.map(({ sent }) => sent)),
      bytes: sumOf(all.map(({ bytes }) => bytes)),
      missing: sumOf(verified.map(({ missing }) => missing)),
      divergent: sumOf(verified.map(({ older }) => older)),
    })
  }

  /** A round that is not whole is made again when all members can take part, but not all the time. */
  private async seeToLeftovers({ epoch }: Topology): Promise<void> {
    const { cluster, clock } = this.context
    if (epoch === this.tidyEpoch || clock.monotonicMs() < this.lookAgainMs) return
    this.lookAgainMs = clock.monotonicMs() + LEFTOVERS_MS
    const report = await REPORT.read(cluster)
    const { state, lastRound } = await this.rounds.progress()
    const isAfter = report && lastRound && lastRound.startedAtMs >= report.endedAtMs
    if (report?.epoch !== epoch || (isAfter && lastRound.result === 'complete')) {
      this.tidyEpoch = epoch
      return
    }
    if (isAfter) this.lookAgainMs += lastRound.ms
    const areWhole = cluster.members.every((one) => one.takesValues && one.completeness === 'clean')
    if (state === 'running' || !areWhole) return
    if (await this.keepLease()) await this.dropLeftovers()
  }

  /** For coordinators that start later. */
  private async noteDeparted({ layout, next }: Topology): Promise<void> {
    const { cluster } = this.context
    const staying = new Set(next!.members.map(({ id }) => id))
    const leaving = onlyIn(layout, next!)
    if (leaving.length === 0) return
    const before = ((await DEPARTED.read(cluster)) ?? []).filter((id) => !staying.has(id))
    await DEPARTED.write(cluster, [...new Set([...leaving, ...before])].slice(0, MAX_DEPARTED))
  }

  private async dropLeftovers(): Promise<void> {
    try {
      await this.rounds.request()
    } catch (error) {
      // Not now, for a reason that /repair tells: then the next regular round does it.
      if (!(error instanceof RondoError)) throw error
    }
  }

  /** Ids of the members that have not received all that they gain, as far as is known: not yet in use, too. */
  private receiving({ gained }: Topology): readonly string[] {
    const { members, membership } = this.context.cluster
    const received = members.filter((member) => membership.hasReceived(member)).map(({ id }) => id)
    return gained.filter((id) => !received.includes(id))
  }

  /** What the former home replicas hold, to those that have taken their place. False while one must be waited for. */
  private async readFormer({ epoch, gained }: Topology): Promise<boolean> {
    if (this.verifiedEpoch === epoch) return true
    const { cluster } = this.context
    if (cluster.placement.epoch !== epoch) return false
    const { placement } = cluster
    const jobs: SteeredJob[] = []
    const keepLease = () => this.keepLease()
    for (const member of cluster.members.filter(({ id }) => gained.includes(id))) {
      const sources = sourcesFor(placement, member, 'gained')
      if (!sources) return false
      jobs.push({ member, sources, progress: { ...NO_PROGRESS }, keepLease })
    }
    if (jobs.length > 0) {
      const { since } = placement
      const failed = await mergeSteered({ context: this.context, jobs, note: VERIFIED, since })
      if (failed.size > 0) throw [...failed.values()][0]
    }
    if (cluster.membership.epoch !== epoch) return false
    this.verifiedEpoch = epoch
    return true
  }

  private keepLease(): Promise<boolean> {
    const { cluster, owner } = this.context
    return leaseOnFirst(cluster, LEASE, owner, MOVING_LEASE_MS)
  }
}

function sentenceOfStep({ layout, next }: Topology): string {
  const joining = onlyIn(next!, layout)
  const leaving = onlyIn(layout, next!)
  const words = [
    ...(joining.length > 0 ? [`join ${joining.join(', ')}`] : []),
    ...(leaving.length > 0 ? [`leave ${leaving.join(', ')}`] : []),
  ]
  return words.join('; ') || 'replace, weights or copies'
}

function sumOf(numbers: readonly number[]): number {
  return numbers.reduce((sum, one) => sum + one, 0)
}
