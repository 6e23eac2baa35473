/**
 * The members of the cluster, as this coordinator sees them: their placement, health and identity, and cluster time.
 *
 *   probe (prober.ts) ──▶ report ──▶ cluster time (time.ts)
 *                           ├──────▶ cluster id (identity.ts)
 *                           └──────▶ admission (admission.ts): keep, write or refuse the marker, open the data path
 *   any step fails ──▶ suspect, then down (member.ts, health.ts); the data path of a node that is down is shut
 *
 * The first probes are sent at startup. No data path opens until the members have agreed on a cluster id (register.ts),
 * or a member that has one was found: otherwise a wiped node could pass for a new one.
 */
import type { Clock, Timers } from '../core/clock.ts'
import { VersionClock } from '../core/clock.ts'
import type { Emit } from '../core/events.ts'
import { Placement } from '../core/placement.ts'
import type { Layout, Topology, TopologyMember } from '../core/topology.ts'
import type { Fence, NodeListener, NodeReport } from '../nodes/node.ts'
import { NodeAdmission } from './admission.ts'
import { Freshness } from './freshness.ts'
import { FOUNDER_TIMEOUT_MS, Identity } from './identity.ts'
import { Changes } from './changes.ts'
import { decodeMarker, hasLostNothing } from './marker.ts'
import { Membership } from './membership.ts'
import type { Member } from './member.ts'
import { FOUNDING_PROBE_MS, Prober } from './prober.ts'
import { OlderData } from './older-data.ts'
import { ClusterTime, CLOCK_SKEW_MS } from './time.ts'
import { inWords, sentenceOf } from '../core/sentence.ts'

export interface ClusterOptions {
  readonly members: readonly Member[]
  /** A member that joins later. @throws Error if its address cannot be used */
  readonly memberOf: (member: TopologyMember) => Member
  /** How long a node that has left is kept open, for operations that began before. */
  readonly requestTimeoutMs: number
  readonly replicationFactor: number
  readonly vnodesPerNode: number
  readonly pingIntervalMs: number
  /** How long a node may go without anti-entropy; 0 = no limit, because anti-entropy is off. */
  readonly staleAfterMs: number
  readonly clock: Clock
  readonly timers: Timers
  /** Returns a new random string of at least 64 bits. */
  readonly randomId: () => string
  /** This coordinator's random uint32, the last part of its versions. */
  readonly coordinator: number
  readonly emit: Emit
}

/** The epoch of the members that a cluster is founded with. */
const FOUNDED_EPOCH = 1
/** How long start() waits for nodes that answer but are not in use yet. */
const START_TIMEOUT_MS = 2 * FOUNDER_TIMEOUT_MS
const TOPOLOGY_DAMAGED = "the node's key __rondo:topology is damaged; remove it there to use the node again"

export class Cluster {
  readonly time: ClusterTime
  readonly versions: VersionClock
  readonly freshness: Freshness
  readonly membership: Membership
  readonly changes: Changes

  private readonly options: ClusterOptions
  private readonly identity: Identity
  private readonly admission: NodeAdmission
  private readonly prober: Prober
  private current: Placement<Member>
  /** Every member has been probed once. */
  private allProbed = false
  private stopped = false
  private readonly skewed = new Set<Member>()
  private readonly olderData = new OlderData()
  /** The policy by which a member evicts, as reported; '' = it does not. */
  private readonly policies = new Map<Member, string>()
  /** Members that did not hold the marker we expected, and since when (monotonic): the next probe tells what happened. */
  private readonly unexplained = new Map<Member, number>()

  constructor(options: ClusterOptions) {
    this.options = options
    const { clock, timers, randomId, staleAfterMs, pingIntervalMs, emit } = options
    this.time = new ClusterTime(clock)
    this.versions = new VersionClock(() => this.time.nowMs(), options.coordinator)
    const members = () => this.members
    this.identity = new Identity({
      members,
      layout: () => this.layout,
      clock,
      versions: this.versions,
      randomId,
      emit,
      onAdopted: () => this.probeReached(),
    })
    const { time, identity } = this
    this.freshness = new Freshness({ time, identity, placement: () => this.current, staleAfterMs })
    this.admission = new NodeAdmission({
      identity,
      time,
      freshness: this.freshness,
      topology: () => this.membership.current,
      randomId,
      emit,
      probeAgain: (member) => this.prober.again(member),
    })
    this.membership = new Membership({
      identity,
      versions: this.versions,
      timers,
      members,
      memberOf: (member) => options.memberOf(member),
      place: (placement) => this.place(placement),
      prepare: (member) => {
        this.listenTo(member)
        return this.probe(member)
      },
      closeAfterMs: options.requestTimeoutMs,
      reprobeAll: () => this.reprobeAll(),
    })
    this.changes = new Changes({ membership: this.membership, members, memberOf: options.memberOf })
    this.prober = new Prober({
      pingIntervalMs,
      timers,
      members,
      probe: (member) => this.probe(member),
      waitsForFounder: (member) => this.identity.waitsForFounder(member),
    })
    this.current = Placement.of({ ...options, epoch: FOUNDED_EPOCH })
    for (const member of this.members) this.listenTo(member)
  }

  /** Who holds what, as of now. Operations take it once and keep it. */
  get placement(): Placement<Member> {
    return this.current
  }

  /** Sorted by id. */
  get members(): readonly Member[] {
    return this.current.members
  }

  get id(): string | null {
    return this.identity.cluster
  }

  /** The topology that the members hold; null = it is not known yet. */
  get topology(): Topology | null {
    return this.membership.topology
  }

  /** Where keys are, by this coordinator's configuration. */
  get layout(): Layout {
    const { replicationFactor: replicas, vnodesPerNode: vnodes } = this.options
    const members = this.members.map(({ id, url, weight, zone }, i) => {
      return {
        id,
        url,
        weight,
        zone: zone === undefined || zone === '' ? null : zone,
        ordinal: i + 1,
        life: 1,
      }
    })
    return { members, replicas, vnodes }
  }

  /** At least one member accepts requests. */
  get ready(): boolean {
    return this.members.some((member) => member.node.ready)
  }

  /** At least one member accepts some kind of writes. */
  get takesWrites(): boolean {
    return this.members.some((member) => member.takesDeletes)
  }

  /** Probes every member; resolves when each reachable one is in use or has been refused. */
  async start(): Promise<void> {
    await Promise.all(this.members.map((member) => this.prober.probe(member)))
    // Join or found a cluster only now that the markers of all reachable members are known.
    this.allProbed = true
    await this.identity.learn()
    const { clock, timers } = this.options
    const untilMs = clock.monotonicMs() + START_TIMEOUT_MS
    for (;;) {
      await Promise.all(this.unsettled().map((member) => this.prober.probe(member)))
      if (this.unsettled().length === 0 || this.stopped || clock.monotonicMs() >= untilMs) return
      await new Promise<void>((resolve) => void timers.setTimeout(resolve, FOUNDING_PROBE_MS))
    }
  }

  async stop(): Promise<void> {
    this.stopped = true
    this.prober.stop()
    await Promise.all([...this.members.map((member) => member.node.close()), this.membership.stop()])
  }

  /**
   * Swaps the placement. New members are probed from now on, those that are no longer in it are not. Operations that
   * have started keep the former one.
   *
   * @throws Error if its epoch is not later than the present one
   */
  place(next: Placement<Member>): void {
    const former = this.current
    if (next.epoch <= former.epoch) throw new Error(`Epoch ${next.epoch} is not later than ${former.epoch}.`)
    this.current = next
    for (const member of former.members) if (!next.members.includes(member)) this.dismiss(member)
    for (const member of next.members) {
      if (!former.members.includes(member)) this.listenTo(member)
      void this.prober.probe(member)
    }
  }

  private dismiss(member: Member): void {
    this.prober.forget(member)
    this.time.forget(member.id)
    this.skewed.delete(member)
    this.policies.delete(member)
    this.unexplained.delete(member)
  }

  /** Probes a member at once, after something about it has changed. */
  reprobe(member: Member): Promise<void> {
    return this.prober.probe(member)
  }

  /** The state of the members is as old as their last probes: probes all of them now. */
  async reprobeAll(): Promise<void> {
    await Promise.all(this.members.map((member) => this.reprobe(member)))
  }

  /**
   * It has not held all of its keys yet since the cluster grew by it: nothing can have been lost with it. A node that was
   * added, and lost its data while no coordinator was running, counts as new once more.
   */
  isNew(member: Member): boolean {
    return !member.wasClean && this.identity.wasAdded(member)
  }

  /** A new token for a marker. */
  freshToken(): string {
    return this.options.randomId()
  }

  /** Members that were reached and should soon be in use or refused. */
  private unsettled(): Member[] {
    if (this.identity.waitsForMembers) return []
    return this.members.filter(
      (member) => member.report !== null && member.lastError === null && !member.node.ready,
    )
  }

  private probeReached(): void {
    for (const member of this.members) if (member.report) void this.prober.probe(member)
  }

  private listenTo(member: Member): void {
    const listener: NodeListener = {
      onBroken: (_node, failure) => {
        if (this.stopped) return
        member.onFailed(inWords(failure.message), false)
        void this.prober.probe(member)
      },
      onOtherMarker: (_node, found) => this.onOtherMarker(member, found),
      onUnwritable: (_node, reason) => {
        if (member.setUnwritable(reason, reason)) void this.prober.probe(member)
      },
    }
    member.node.listener = listener
  }

  /** A batch did not find the marker that we expect of this member. */
  private onOtherMarker(member: Member, bytes: Buffer | null): Fence | null {
    const found = bytes && decodeMarker(bytes)
    void this.prober.probe(member)
    if (found && member.marker && hasLostNothing(member.marker, found)) {
      return this.admission.fenceOf(member, found, bytes)
    }
    this.unexplained.set(member, this.options.clock.monotonicMs())
    member.shut('the node does not hold the expected marker')
    return null
  }

  // ---- one probe

  /** Never throws: every error counts against the node's health. */
  private async probe(member: Member): Promise<void> {
    let forbidden: string | null = null
    try {
      const report = await member.node.probe(this.peersOf(member))
      if (this.stopped) return
      if (this.identity.registered(report.topology) === 'damaged') throw new Error(TOPOLOGY_DAMAGED)
      this.explainMarker(member, report)
      this.noteReport(member, report)
      await this.admission.checkPermissions(member)
      forbidden = member.forbidden
      if (this.stopped) return
      if (this.identity.cluster === null && this.allProbed) await this.identity.learn()
      await this.membership.learn()
      if (this.stopped || !this.membership.includes(member)) return
      if (!(await this.admission.admit(member))) return
      if (member.unwritable && !forbidden) await this.tryWrite(member)
      member.onProbeSucceeded()
    } catch (error) {
      if (this.stopped) return
      const failure = error as Error & { code?: string }
      const isRefused = failure.code === 'ECONNREFUSED' || failure.message.includes('ECONNREFUSED')
      member.onFailed(forbidden ?? sentenceOf(failure), isRefused)
    }
  }

  /**
   * Why a batch found another marker than ours. Several coordinators watch a node: the first that notices a restart, or
   * ends a rebuild, changes the marker, and the others find that. Only a marker that is gone, or is not ours, is a loss.
   */
  private explainMarker(member: Member, report: NodeReport): void {
    const sinceMs = this.unexplained.get(member)
    if (sinceMs === undefined || report.sentAtMonotonicMs < sinceMs) return
    this.unexplained.delete(member)
    const { marker: expected, id } = member
    const found = report.marker && decodeMarker(report.marker)
    if (found?.cluster !== this.identity.cluster || found?.id !== id) {
      this.options.emit({ kind: 'marker-mismatch', node: id })
      return
    }
    const restarted = found.runId !== expected?.runId
    if (!expected || (found.token === expected.token && !restarted)) return // only its state has changed
    this.options.emit({ kind: 'marker-changed', node: id, restarted })
  }

  private peersOf(member: Member): readonly string[] {
    return this.members.filter((other) => other !== member).map((other) => other.id)
  }

  private noteReport(member: Member, report: NodeReport): void {
    this.noteEviction(member, report)
    member.report = report
    const older = this.olderData.found(member, this.members)
    if (older) this.options.emit({ kind: 'node-older', node: member.id, ...older })
    this.noteHints(report.hints)
    this.time.sample(member.id, report.timeMs, report.sentAtMonotonicMs, report.receivedAtMonotonicMs)
    this.noteClock(member)
  }

  private noteEviction(
    member: Member,
    { evictedKeys, evictionPolicy: policy, memoryLimitBytes }: NodeReport,
  ): void {
    const evicts = memoryLimitBytes > 0 && /^(allkeys|volatile)-/.test(policy)
    if (evicts && this.policies.get(member) !== policy) {
      this.options.emit({ kind: 'eviction-policy', node: member.id, policy })
    }
    this.policies.set(member, evicts ? policy : '')
    const before = member.report?.evictedKeys ?? 0
    // A cache may evict continuously: report it once, when it starts.
    if (evictedKeys > 0 && before === 0) {
      this.options.emit({ kind: 'node-evicting', node: member.id, policy, evictedKeys })
    }
  }

  /** Hints of other coordinators name members that missed writes. */
  private noteHints(hints: ReadonlyMap<string, number>): void {
    for (const id of hints.keys()) {
      const missing = this.members.find((member) => member.id === id)
      if (missing && !missing.behind) missing.markBehind('other nodes hold hints for it')
    }
  }

  private noteClock(member: Member): void {
    if (!this.allProbed) return // the median needs all clocks
    const distance = this.time.distance(member.id)
    if (!distance) return // it reported no time
    const { offMs, errorMs } = distance
    const far = Math.abs(offMs) > CLOCK_SKEW_MS + errorMs
    if (far === this.skewed.has(member)) return
    if (far) this.skewed.add(member)
    else this.skewed.delete(member)
    this.options.emit({ kind: 'node-clock', node: member.id, offMs, far })
  }

  private async tryWrite(member: Member): Promise<void> {
    try {
      await member.node.tryWrite()
    } catch (error) {
      member.lastError = sentenceOf(error)
      return // still unwritable, but it answers, so it is up
    }
    member.setWritable()
  }
}
