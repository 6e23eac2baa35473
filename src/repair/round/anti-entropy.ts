/**
 * Anti-entropy: who begins a round (round.ts), and when.
 *
 *   look (every 10 to 20 s):  a round is under way, and its worker lives   → nothing
 *                             one was under way, and its worker has died   → begin anew
 *                             the last one began an interval ago           → begin
 *   request (POST /repair):   at once, unless one is under way
 *
 * One coordinator works at a time: it holds a lease, prolongs it while it works, and gives it back. If it dies, the lease
 * ends within LEASE_MS, what it has left in the nodes (round-state.ts) still says "running", and the next look of another
 * coordinator takes over. Two at the same time would do the same work twice, and nothing else.
 *
 * A round moves copies to where its own ring has their homes, and drops them elsewhere. So there is none while another
 * coordinator draws another ring: all that draw the same one share a lease in its name, on every member, and prolong it as
 * long as they live.
 *
 * When a round is due is decided by what the nodes keep, not by this process's own age: a fleet of coordinators makes one
 * round an interval together, also when each of them is restarted more often than that.
 */
import type { Member } from '../../cluster/member.ts'
import type { TimerHandle } from '../../core/clock.ts'
import { RondoError } from '../../core/errors.ts'
import { GIVEN_BACK_MS, LEASE_MS, type RepairContext } from '../context.ts'
import { Pace } from './pace.ts'
import {
  NO_COUNTS,
  readRoundState,
  writeRoundState,
  type RoundReport,
  type RoundState,
} from './round-state.ts'
import { Round, RoundStopped, type RoundResult } from './round.ts'

export interface AntiEntropyOptions {
  /** 0 = only on demand. */
  readonly intervalMs: number
  /** 0 = no limit. */
  readonly keysPerSecond: number
  /** A number from 0 up to 1. */
  readonly random: () => number
  /** How many keys to list at once, about; by default as round.ts has it. */
  readonly listedKeys?: number
}

const OTHER_RING =
  'another coordinator has other nodes, weights, zones, VNODES_PER_NODE or REPLICATION_FACTOR, or had until half a minute ago'

/** A node that fails, or has lost its data since, goes without: the next round comes. */
async function stampAll(synced: RoundResult['synced'], atMs: number): Promise<void> {
  await Promise.allSettled(
    synced.map(({ member, marker }) => member.node.stamp(marker, { atMs, assumed: false })),
  )
}

const LEASE = 'anti-entropy'
const BEAT_MS = LEASE_MS / 3
const RING_LEASE = 'ring'
/** Longer than from one look to the next. */
const RING_LEASE_MS = 3 * LEASE_MS

export class AntiEntropy {
  private readonly context: RepairContext
  private readonly options: AntiEntropyOptions
  /** Without a round in the nodes' memory the first one is due after a part of the interval. */
  private readonly firstDueMs: number
  private timer: TimerHandle | null = null
  private looking: Promise<void> | null = null
  private current: { round: Round; pace: Pace; ended: Promise<void> } | null = null
  private beginning: Promise<void> | null = null
  private lastRound: RoundReport | null = null
  private stopped = false
  private ringsDiffer = false

  constructor(context: RepairContext, options: AntiEntropyOptions) {
    this.context = context
    this.options = options
    this.firstDueMs = context.clock.monotonicMs() + options.intervalMs * options.random()
  }

  start(): void {
    this.schedule()
  }

  /** Ends a round that is under way; another coordinator takes it over. */
  async stop(): Promise<void> {
    this.stopped = true
    if (this.timer) this.context.timers.clearTimeout(this.timer)
    this.current?.round.stop('the coordinator is stopping')
    this.current?.pace.stop()
    await this.looking
    await this.beginning
    await this.current?.ended
  }

  /** Begins a round unless one is under way, here or elsewhere. @throws RondoError UNAVAILABLE */
  async request(): Promise<RoundState> {
    if (!this.context.cluster.ready) {
      throw new RondoError('UNAVAILABLE', 'No node can be used yet; /status says why.')
    }
    if (await this.otherRing()) throw new RondoError('UNAVAILABLE', `No repair is begun: ${OTHER_RING}.`)
    await this.begin()
    return this.progress()
  }

  async progress(): Promise<RoundState> {
    if (this.current) return this.ownState(this.current.round)
    const last = {
      ...NO_COUNTS,
      state: 'idle',
      startedAtMs: null,
      evicting: [],
      lastRound: this.lastRound,
    } as const
    return (await readRoundState(this.context.cluster)) ?? last
  }

  private ownState(round: Round): RoundState {
    const { counts, startedAtMs, evicting } = round
    return { ...counts, state: 'running', startedAtMs, evicting, lastRound: this.lastRound }
  }

  // ---- when

  private schedule(): void {
    if (this.stopped) return
    const delayMs = LEASE_MS * (1 + this.options.random())
    this.timer = this.context.timers.setTimeout(() => {
      this.looking = this.look()
        .catch((error: unknown) => this.failed(error))
        .finally(() => {
          this.looking = null
          this.schedule()
        })
    }, delayMs)
  }

  private async look(): Promise<void> {
    if (!this.context.cluster.ready) return
    if (await this.otherRing()) {
      this.current?.round.stop(OTHER_RING)
      this.current?.pace.stop()
      return
    }
    if (this.current) return
    const known = await readRoundState(this.context.cluster)
    if (known?.lastRound) this.lastRound = known.lastRound
    // Asked again once the lease is ours: the worker may have ended in between.
    if (this.isDue(known))
      await this.begin(async () => this.isDue(await readRoundState(this.context.cluster)))
  }

  private isDue(known: RoundState | null): boolean {
    // Whoever works holds the lease; whoever has died does not.
    if (known?.state === 'running') return true
    const { intervalMs } = this.options
    if (intervalMs === 0) return false
    if (!known?.lastRound) return this.context.clock.monotonicMs() >= this.firstDueMs
    // A little early, so that looking now and then never makes it late.
    const earlyMs = Math.min(2 * LEASE_MS, intervalMs / 2)
    return this.context.cluster.time.nowMs() - known.lastRound.startedAtMs >= intervalMs - earlyMs
  }

  // ---- who

  /** Whether a coordinator that was alive half a minute ago draws another ring. Tells when that changes. */
  private async otherRing(): Promise<boolean> {
    const { cluster, replicas, emit } = this.context
    const ring = `${cluster.ring.checksum} ${replicas}`
    const ours = await Promise.all(
      cluster.members.map(async ({ node }) => {
        // Whoever does not answer now says nothing of other coordinators.
        return !node.ready || node.lease(RING_LEASE, ring, RING_LEASE_MS).catch(() => true)
      }),
    )
    const differ = ours.includes(false)
    if (differ !== this.ringsDiffer) emit({ kind: 'rings-differ', differ })
    this.ringsDiffer = differ
    return differ
  }

  /** Does nothing while a round is under way, here or elsewhere. */
  private begin(stillWanted?: () => Promise<boolean>): Promise<void> {
    if (this.current || this.stopped) return Promise.resolve()
    this.beginning ??= this.tryBegin(stillWanted).finally(() => (this.beginning = null))
    return this.beginning
  }

  private async tryBegin(stillWanted?: () => Promise<boolean>): Promise<void> {
    if (!(await this.lease(LEASE_MS))) return
    if (this.stopped || (stillWanted && !(await stillWanted()))) {
      await this.lease(GIVEN_BACK_MS)
      return
    }
    const { clock, timers } = this.context
    const pace = new Pace(this.options.keysPerSecond, clock, timers)
    const round = new Round(this.context, pace, this.options.listedKeys)
    const ended = this.run(round, pace)
      .catch((error: unknown) => this.failed(error))
      .finally(() => (this.current = null))
    this.current = { round, pace, ended }
  }

  /** On the first member that can be asked. Coordinators that see different ones may both get it: no harm is done. */
  private async lease(forMs: number): Promise<boolean> {
    for (const { node } of this.context.cluster.ring.nodes) {
      if (!node.ready) continue
      try {
        return await node.lease(LEASE, this.context.owner, forMs)
      } catch {
        continue // it is about to be found down: the next one
      }
    }
    return false
  }

  // ---- how it goes

  private async run(round: Round, pace: Pace): Promise<void> {
    const { cluster, clock, emit } = this.context
    const begunMs = clock.monotonicMs()
    const missesThen = new Map(cluster.members.map((member) => [member, member.misses]))
    await Promise.resolve() // `current` is set by now
    const stopBeating = this.beat(round, pace)
    let report: RoundReport
    /** It stays "running" in the nodes: whoever looks next takes it over. */
    let handedOn = false
    try {
      await writeRoundState(cluster, this.ownState(round))
      const { members, leftOut, synced } = await round.run()
      await stampAll(synced, round.startedAtMs)
      const result = leftOut.length === 0 ? 'complete' : 'partial'
      report = this.report(round, begunMs, result, members, leftOut)
    } catch (error) {
      const why = error instanceof RoundStopped ? error.message : String(error)
      report = this.report(round, begunMs, 'stopped', [], [why])
      handedOn = error instanceof RoundStopped
      if (!handedOn) this.failed(error)
    } finally {
      await stopBeating()
    }
    this.lastRound = report
    if (report.result === 'complete') this.noteCaughtUp(missesThen, report)
    emit({ kind: 'anti-entropy', ...report })
    if (handedOn) return
    await writeRoundState(cluster, {
      ...NO_COUNTS,
      state: 'idle',
      startedAtMs: null,
      evicting: report.evicting,
      lastRound: report,
    })
    await this.lease(GIVEN_BACK_MS)
  }

  private report(
    round: Round,
    begunMs: number,
    result: RoundReport['result'],
    members: readonly string[],
    why: readonly string[],
  ): RoundReport {
    const { cluster, clock } = this.context
    const { counts, startedAtMs, evicting } = round
    const ms = Math.round(clock.monotonicMs() - begunMs)
    return { ...counts, startedAtMs, finishedAtMs: cluster.time.nowMs(), ms, result, members, why, evicting }
  }

  /** Prolongs the lease and tells the nodes how far it is, until it is stopped. */
  private beat(round: Round, pace: Pace): () => Promise<void> {
    const { timers, cluster } = this.context
    let stopped = false
    let timer: TimerHandle
    let beating = Promise.resolve()
    const once = async () => {
      if (await this.lease(LEASE_MS)) await writeRoundState(cluster, this.ownState(round))
      else {
        round.stop('another coordinator does it')
        pace.stop()
      }
    }
    const schedule = () => {
      timer = timers.setTimeout(() => {
        beating = once()
          .catch((error: unknown) => this.failed(error))
          .finally(() => {
            if (!stopped) schedule()
          })
      }, BEAT_MS)
    }
    schedule()
    return () => {
      stopped = true
      timers.clearTimeout(timer)
      return beating
    }
  }

  /** All that a member had missed by the beginning of a complete round was brought to it, whether noted or not. */
  private noteCaughtUp(missesThen: ReadonlyMap<Member, number>, { evicting }: RoundReport): void {
    const { cluster } = this.context
    for (const [member, misses] of missesThen) {
      if (!member.behind || !member.missedUnnoted || evicting.includes(member.id)) continue
      // Hints would mark it again at the next probe: they are delivered first (repairer.ts).
      const hinted = cluster.members.some((other) => other.report?.hints.has(member.id))
      if (!hinted) cluster.caughtUp(member, misses)
    }
  }

  private failed(error: unknown): void {
    this.context.emit({ kind: 'background-failed', what: 'anti-entropy', why: String(error) })
  }
}
