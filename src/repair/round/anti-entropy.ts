/**
 * Anti-entropy: decides which coordinator starts a round (round.ts), and when.
 *
 *   check (every 10 to 20 s):  a round is running, and its worker lives    → nothing
 *                              one was running, and its worker has died    → start again
 *                              the last one started an interval ago        → start
 *   request (POST /repair):    at once, unless one is running
 *
 * One coordinator works at a time: it holds a lease, renews it while it works, and releases it. If it dies, the lease
 * expires within LEASE_MS, its state in the nodes (round-state.ts) still says "running", and the next check of another
 * coordinator takes over. Two at the same time would only do the same work twice.
 *
 * A round moves copies to their homes on its own ring, and drops them elsewhere. So no round runs while another
 * coordinator uses a different ring: coordinators with the same ring share a lease in its name, on every member, and
 * renew it as long as they live.
 *
 * The state in the nodes decides when a round is due, not the uptime of this process: a fleet of coordinators runs one
 * round per interval together, even if each of them restarts more often than that.
 */
import type { Member } from '../../cluster/member.ts'
import type { TimerHandle } from '../../core/clock.ts'
import { RondoError } from '../../core/errors.ts'
import { leaseOnFirst, Periodic } from '../background.ts'
import { GIVEN_BACK_MS, LEASE_MS, type RepairContext } from '../context.ts'
import { Pace } from './pace.ts'
import { NO_COUNTS, ROUND_STATE, type RoundReport, type RoundState } from './round-state.ts'
import { RoundStopped } from './context.ts'
import { Round, type RoundResult } from './round.ts'
import { sentenceOf } from '../../core/sentence.ts'

export interface AntiEntropyOptions {
  /** 0 = only on demand. */
  readonly intervalMs: number
  /** 0 = no limit. */
  readonly keysPerSecond: number
  /** Returns a number in [0, 1). */
  readonly random: () => number
  /** Approximate number of keys to list at once; the default is in round.ts. */
  readonly listedKeys?: number
}

const OTHER_RING =
  'another coordinator uses other nodes, weights, zones, VNODES_PER_NODE or REPLICATION_FACTOR, or did until half a minute ago'

const MEMBERS_CHANGE = 'the members are changing'

/** A failed node, or one that has lost data since, is skipped until the next round. */
async function stampAll(synced: RoundResult['synced'], atMs: number): Promise<void> {
  await Promise.allSettled(
    synced.map(({ member, marker, settled }) => member.node.stamp(marker, { atMs, assumed: false, settled })),
  )
}

const LEASE = 'anti-entropy'
const BEAT_MS = LEASE_MS / 3
const RING_LEASE = 'ring'
/** Longer than the time between two checks. */
const RING_LEASE_MS = 3 * LEASE_MS

export class AntiEntropy {
  private readonly context: RepairContext
  private readonly options: AntiEntropyOptions
  /** If the nodes have no state of a round, the first one is due after a part of the interval. */
  private readonly firstDueMs: number
  private readonly periodic: Periodic
  private current: { round: Round; pace: Pace; ended: Promise<void> } | null = null
  private beginning: Promise<void> | null = null
  private lastRound: RoundReport | null = null
  private stopped = false
  private ringsDiffer = false

  constructor(context: RepairContext, options: AntiEntropyOptions) {
    this.context = context
    this.options = options
    const { timers } = context
    this.periodic = new Periodic(
      timers,
      () => LEASE_MS * (1 + options.random()),
      () => this.check().catch((error: unknown) => this.failed(error)),
    )
    this.firstDueMs = context.clock.monotonicMs() + options.intervalMs * options.random()
  }

  start(): void {
    this.periodic.start()
  }

  /** Stops the running round; another coordinator takes it over. */
  async stop(): Promise<void> {
    this.stopped = true
    const checked = this.periodic.stop()
    this.current?.round.stop('the coordinator is stopping')
    this.current?.pace.stop()
    await checked
    await this.beginning
    await this.current?.ended
  }

  /** Starts a round unless one is running, here or elsewhere. @throws RondoError UNAVAILABLE */
  async request(): Promise<RoundState> {
    if (!this.context.cluster.ready) {
      throw new RondoError('UNAVAILABLE', 'No node can be used yet; /status says why.')
    }
    if (this.context.cluster.placement.isJoint) {
      throw new RondoError(
        'UNAVAILABLE',
        `No repair was started: ${MEMBERS_CHANGE}. /cluster shows how far it is.`,
      )
    }
    if (await this.otherRing()) throw new RondoError('UNAVAILABLE', `No repair was started: ${OTHER_RING}.`)
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
    return (await ROUND_STATE.read(this.context.cluster)) ?? last
  }

  private ownState(round: Round): RoundState {
    const { counts, startedAtMs, evicting } = round
    return { ...counts, state: 'running', startedAtMs, evicting, lastRound: this.lastRound }
  }

  // ---- when

  private async check(): Promise<void> {
    if (!this.context.cluster.ready) return
    // A round has the homes of one layout; it begins again once the change of members has ended.
    if (this.context.cluster.placement.isJoint) {
      this.current?.round.stop(MEMBERS_CHANGE)
      this.current?.pace.stop()
      return
    }
    if (await this.otherRing()) {
      this.current?.round.stop(OTHER_RING)
      this.current?.pace.stop()
      return
    }
    if (this.current) return
    const known = await ROUND_STATE.read(this.context.cluster)
    if (known?.lastRound) {
      this.lastRound = known.lastRound
      this.noteMisplaced(known.lastRound)
    }
    // Check again once we hold the lease: the worker may have finished in between.
    if (this.isDue(known))
      await this.begin(async () => this.isDue(await ROUND_STATE.read(this.context.cluster)))
  }

  private isDue(known: RoundState | null): boolean {
    // A live worker holds the lease; a dead one does not.
    if (known?.state === 'running') return true
    const { intervalMs } = this.options
    if (intervalMs === 0) return false
    if (!known?.lastRound) return this.context.clock.monotonicMs() >= this.firstDueMs
    // Slightly early, so that the check interval never makes it late.
    const earlyMs = Math.min(2 * LEASE_MS, intervalMs / 2)
    return this.context.cluster.time.nowMs() - known.lastRound.startedAtMs >= intervalMs - earlyMs
  }

  // ---- coordinators

  /** Whether a coordinator that was alive half a minute ago uses another ring. Emits changes. */
  private async otherRing(): Promise<boolean> {
    const { cluster, emit } = this.context
    // Once members have changed, all coordinators follow them, and what is dropped is dropped under their marker only.
    if (cluster.membership.current) return false
    const { fingerprint: name, members } = cluster.placement
    const ours = await Promise.all(
      members.map(async ({ node }) => {
        // A node that does not answer tells nothing about other coordinators.
        return !node.ready || node.lease(RING_LEASE, name, RING_LEASE_MS).catch(() => true)
      }),
    )
    const differ = ours.includes(false)
    if (differ !== this.ringsDiffer) emit({ kind: 'rings-differ', differ })
    this.ringsDiffer = differ
    return differ
  }

  /** No effect while a round is running, here or elsewhere. */
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
    // Who was compared meanwhile, by another coordinator, or lost its data?
    const { clock, timers, cluster } = this.context
    await cluster.reprobeAll()
    const pace = new Pace(this.options.keysPerSecond, clock, timers)
    const round = new Round(this.context, pace, this.options.listedKeys)
    const ended = this.run(round, pace)
      .catch((error: unknown) => this.failed(error))
      .finally(() => (this.current = null))
    this.current = { round, pace, ended }
  }

  private lease(forMs: number): Promise<boolean> {
    const { cluster, owner } = this.context
    return leaseOnFirst(cluster, LEASE, owner, forMs)
  }

  // ---- running a round

  private async run(round: Round, pace: Pace): Promise<void> {
    const { cluster, clock, emit } = this.context
    const begunMs = clock.monotonicMs()
    const missesThen = new Map(cluster.members.map((member) => [member, member.misses]))
    await Promise.resolve() // then `current` is set
    const stopBeating = this.heartbeat(round, pace)
    let report: RoundReport
    /** The state in the nodes stays "running": the next coordinator that checks takes over. */
    let handedOn = false
    try {
      await ROUND_STATE.write(cluster, this.ownState(round))
      const { members, leftOut, synced, misplaced } = await round.run()
      await stampAll(synced, round.startedAtMs)
      const result = leftOut.length === 0 ? 'complete' : 'partial'
      report = { ...this.report(round, begunMs, result, members, leftOut), misplaced }
    } catch (error) {
      const why = sentenceOf(error)
      report = this.report(round, begunMs, 'stopped', [], [why])
      handedOn = error instanceof RoundStopped
      if (!handedOn) this.failed(error)
    } finally {
      await stopBeating()
    }
    this.lastRound = report
    this.noteMisplaced(report)
    if (report.result === 'complete') this.noteCaughtUp(missesThen, report)
    emit({ kind: 'anti-entropy', ...report })
    if (handedOn) return
    await ROUND_STATE.write(cluster, {
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

  /** Renews the lease and writes the progress to the nodes, until it is stopped. */
  private heartbeat(round: Round, pace: Pace): () => Promise<void> {
    const { timers, cluster } = this.context
    let stopped = false
    let timer: TimerHandle
    let beating = Promise.resolve()
    const once = async () => {
      if (await this.lease(LEASE_MS)) await ROUND_STATE.write(cluster, this.ownState(round))
      else {
        round.stop('another coordinator runs it')
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

  /** A complete round has sent a member all that it had missed before, recorded or not. */
  private noteCaughtUp(missesThen: ReadonlyMap<Member, number>, { evicting }: RoundReport): void {
    const { cluster } = this.context
    for (const [member, misses] of missesThen) {
      if (!member.behind || !member.missedUnnoted || evicting.includes(member.id)) continue
      // Hints would mark it as behind again at the next probe: deliver them first (repairer.ts).
      const hinted = cluster.members.some((other) => other.report?.hints.has(member.id))
      if (!hinted) member.caughtUp(misses)
    }
  }

  /** For /status; told once per node and number. */
  private noteMisplaced({ misplaced = {} }: RoundReport): void {
    for (const member of this.context.cluster.members) {
      const keys = misplaced[member.id]
      if (keys === undefined || keys === member.misplacedKeys) continue
      member.misplacedKeys = keys
      if (keys > 0) this.context.emit({ kind: 'keys-misplaced', node: member.id, keys })
    }
  }

  private failed(error: unknown): void {
    this.context.emit({ kind: 'background-failed', what: 'anti-entropy', why: sentenceOf(error) })
  }
}
