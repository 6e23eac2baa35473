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
import type { Clock, Timers, Version } from '../core/clock.ts'
import { VersionClock } from '../core/clock.ts'
import type { Emit } from '../core/events.ts'
import type { Floors } from '../core/floors.ts'
import { Placement } from '../core/placement.ts'
import { shapeOf, type Layout, type Topology, type TopologyMember } from '../core/topology.ts'
import type { Fence, NodeListener, NodeReport } from '../nodes/node.ts'
import { Announcer } from './announcer.ts'
import { NodeAdmission } from './admission.ts'
import { Freshness } from './freshness.ts'
import { Failovers } from './failovers.ts'
import { FOUNDER_TIMEOUT_MS, Identity } from './identity.ts'
import { Changes } from './changes.ts'
import { ChangeQueue } from './queue.ts'
import { Flushing } from './flushing.ts'
import { decodeMarker, hasLostNothing } from './marker.ts'
import { Membership } from './membership.ts'
import type { Member } from './member.ts'
import { FOUNDING_PROBE_MS, Prober } from './prober.ts'
import { coordinatorId, namesOf, notUpOf, Presence, type CoordinatorSeen } from './presence.ts'
import { OlderData } from './older-data.ts'
import { ClusterTime, CLOCK_SKEW_MS } from './time.ts'
import { inWords, sentenceOf } from '../core/sentence.ts'

export interface ClusterOptions {
  readonly members: readonly Member[]
  /** A member that joins later. @throws Error if its address cannot be used */
  readonly memberOf: (member: TopologyMember) => Member
  /** Before a connection is made to an address that somebody gives. By default any may be used. @throws RondoError */
  readonly checkAddress?: (url: string) => Promise<void>
  /** The host:port of the primary, for a url that names Sentinels; null for others. @throws Error */
  readonly primaryOf?: (url: string) => Promise<string | null>
  /** The Sentinels that members name; absent = no failover is followed. */
  readonly sentinels?: { onSwitch(heard: () => void): void; close(): void }
  /** How long a node that has left is kept open, for operations that began before. */
  readonly requestTimeoutMs: number
  readonly replicationFactor: number
  readonly vnodesPerNode: number
  readonly pingIntervalMs: number
  /** Whether changes of members are announced, and announcements listened to. */
  readonly announces?: boolean
  /** How other coordinators and people see this one; absent = it is not seen. */
  readonly self?: { readonly name: () => string; readonly version: string }
  /** The members are always those of the configuration. */
  readonly isStatic?: boolean
  /** The only cluster to use, and none is founded; by default whichever it is. */
  readonly clusterId?: string | null
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
const CHECK_OUT_MS = 200
const TOPOLOGY_DAMAGED = "the node's key __rondo:topology is damaged; remove it there to use the node again"

export class Cluster {
  readonly time: ClusterTime
  readonly versions: VersionClock
  readonly freshness: Freshness
  readonly membership: Membership
  readonly changes: Changes
  readonly queue: ChangeQueue
  readonly flushing: Flushing

  private readonly options: ClusterOptions
  private readonly presence: Presence | null
  private readonly announcer: Announcer | null
  private readonly failovers: Failovers | null
  private readonly identity: Identity
  private readonly admission: NodeAdmission
  private readonly prober: Prober
  private current: Placement<Member>
  /** Of its epoch. */
  private currentFloors: Floors | null = null
  /** The members of the first epoch, where the configuration names only some of them. */
  private found: Layout | null = null
  /** Of the placement of now, and what `shapeOf` says of it: every ping needs both. */
  private ownLayout: { readonly of: Placement<Member>; at: string; readonly layout: Layout } | null = null
  private shape: { readonly of: Layout; readonly sum: string } | null = null
  /** Every member has been probed once. */
  private allProbed = false
  private stopped = false
  /** Ids of nodes that have left since this coordinator started: others may keep hints for them. */
  readonly departed = new Set<string>()
  private readonly skewed = new Set<Member>()
  private readonly olderData = new OlderData()
  /** The policy by which a member evicts, as reported; '' = it does not. */
  private readonly policies = new Map<Member, string>()
  /** Members that did not hold the marker we expected, and since when (monotonic): the next probe tells what happened. */
  private readonly unexplained = new Map<Member, number>()
  /** Members that are known to have lost their marker, until they have one again. */
  private readonly wiped = new Set<Member>()

  constructor(options: ClusterOptions) {
    this.options = options
    const { clock, timers, randomId, staleAfterMs, pingIntervalMs, emit } = options
    this.time = new ClusterTime(clock, pingIntervalMs)
    this.versions = new VersionClock(() => this.time.nowMs(), options.coordinator)
    const members = () => this.members
    this.identity = new Identity({
      members,
      layout: () => this.layout,
      pinned: options.clusterId ?? null,
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
    this.presence = this.createPresence()
    const look = (member: Member) => void this.prober.probe(member)
    this.announcer = options.announces ? new Announcer({ clock, timers, emit, members, look }) : null
    this.membership = this.createMembership()
    this.failovers = this.createFailovers()
    this.changes = new Changes({
      ...{ membership: this.membership, members, memberOf: options.memberOf, randomId },
      checkAddress: options.checkAddress ?? (() => Promise.resolve()),
      primaryOf: options.primaryOf ?? (() => Promise.resolve(null)),
    })
    this.queue = new ChangeQueue({
      ...{ changes: this.changes, membership: this.membership, randomId },
      nowMs: () => this.time.nowMs(),
    })
    this.flushing = new Flushing({
      ...{ membership: this.membership, versions: this.versions, time, clock, timers },
      placement: () => this.current,
      reprobeAll: () => this.reprobeAll(),
      requestTimeoutMs: options.requestTimeoutMs,
    })
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

  private createMembership(): Membership {
    const { options } = this
    const { timers, emit } = options
    return new Membership({
      identity: this.identity,
      versions: this.versions,
      timers,
      isStatic: options.isStatic ?? false,
      enlarge: (layout, placement) => {
        this.found = layout
        this.swap(placement)
      },
      contradiction: async (member, layout) => {
        return (await this.presence?.contradiction(member, shapeOf(layout))) ?? null
      },
      announcing: () => {
        const before = this.announcer?.nodes ?? []
        return () => this.announcer?.announce(before)
      },
      askOthers: () => this.presence?.readAgain(this.members),
      disagreement: () => this.presence?.disagreement ?? null,
      layout: () => this.layout,
      emit,
      members: () => this.members,
      memberOf: (member) => options.memberOf(member),
      place: (placement) => this.place(placement),
      prepare: (member) => {
        this.listenTo(member)
        return this.probe(member)
      },
      closeAfterMs: options.requestTimeoutMs,
      reprobeAll: () => this.reprobeAll(),
    })
  }

  private createFailovers(): Failovers | null {
    const { sentinels, memberOf, pingIntervalMs: intervalMs, timers, emit } = this.options
    if (!sentinels) return null
    const failovers = new Failovers({
      ...{ membership: this.membership, identity: this.identity, memberOf, intervalMs, timers, emit },
      members: () => this.members,
      checkAddress: this.options.checkAddress ?? (() => Promise.resolve()),
      reprobe: (member) => this.reprobe(member),
    })
    sentinels.onSwitch(failovers.soon)
    return failovers
  }

  private createPresence(): Presence | null {
    const { self, coordinator, clock, pingIntervalMs } = this.options
    if (!self) return null
    return new Presence({
      id: coordinatorId(coordinator),
      ...{ clock, pingIntervalMs },
      members: () => this.members,
      note: () => ({
        name: self.name(),
        version: self.version,
        epoch: this.current.epoch,
        placement: this.ownShape,
        members: namesOf(this.members.map(({ id }) => id)),
        notUp: notUpOf(this.members),
      }),
    })
  }

  /** The coordinators of this cluster, as far as this one knows; empty = it does not look. */
  get coordinators(): readonly CoordinatorSeen[] {
    return this.presence?.coordinators ?? []
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

  /** Whether a flush has made nothing of what was written under this version. */
  isFlushed(key: Buffer, version: Version): boolean {
    return this.floors?.isBelow(key, version) ?? false
  }

  /** Null = there are none. */
  get floors(): Floors | null {
    return this.currentFloors
  }

  /** The topology that the members hold; null = it is not known yet. */
  get topology(): Topology | null {
    const { current, topology } = this.membership
    return current?.topology ?? this.identity.foundation ?? topology
  }

  /** Where keys are, by this coordinator's configuration. */
  get layout(): Layout {
    if (this.found) return this.found
    const at = this.members.map(({ sentinel }) => sentinel?.address ?? '').join()
    if (this.ownLayout?.of !== this.current || this.ownLayout.at !== at) {
      this.ownLayout = { of: this.current, at, layout: this.configuredLayout() }
    }
    return this.ownLayout.layout
  }

  private get ownShape(): string {
    const { layout } = this
    if (this.shape?.of !== layout) this.shape = { of: layout, sum: shapeOf(layout) }
    return this.shape.sum
  }

  private configuredLayout(): Layout {
    const { replicationFactor: replicas, vnodesPerNode: vnodes } = this.options
    const members = this.members.map(({ id, url, weight, zone, sentinel }, i) => {
      const primary = sentinel?.address
      return {
        id,
        url,
        ...(primary && { primary }),
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
    this.failovers?.start()
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
    this.announcer?.stop()
    this.options.sentinels?.close()
    await this.failovers?.stop()
    await this.checkOut()
    await Promise.all([...this.members.map((member) => member.node.close()), this.membership.stop()])
  }

  /** Says that it is gone, where it is heard at once. */
  private async checkOut(): Promise<void> {
    if (!this.presence) return
    const { timers } = this.options
    const reached = this.members.filter(({ health, marker }) => health.state === 'up' && marker !== null)
    await new Promise<void>((resolve) => {
      const timer = timers.setTimeout(resolve, CHECK_OUT_MS)
      void this.presence!.stop(reached).then(() => {
        timers.clearTimeout(timer)
        resolve()
      })
    })
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
    this.found = null
    this.currentFloors = this.membership.current?.floors ?? null
    this.swap(next)
  }

  private swap(next: Placement<Member>): void {
    const former = this.current
    this.current = next
    for (const member of former.members) if (!next.members.includes(member)) this.dismiss(member)
    for (const member of next.members) {
      this.departed.delete(member.id)
      if (!former.members.includes(member)) this.listenTo(member)
      void this.prober.probe(member)
    }
  }

  private dismiss(member: Member): void {
    this.departed.add(member.id)
    this.prober.forget(member)
    this.time.forget(member.id)
    this.skewed.delete(member)
    this.policies.delete(member)
    this.unexplained.delete(member)
    this.wiped.delete(member)
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
        if (member.sentinel) this.failovers?.soon()
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
      this.failovers?.checkRole(member, report)
      if (this.identity.registered(report.topology) === 'damaged') throw new Error(TOPOLOGY_DAMAGED)
      this.explainMarker(member, report)
      this.noteReport(member, report)
      await this.admission.checkPermissions(member)
      forbidden = member.forbidden
      if (this.stopped) return
      if (this.identity.cluster === null && this.allProbed) await this.identity.learn()
      await this.membership.learn(member)
      if (this.refusesOutdated()) return
      if (this.stopped || !this.membership.includes(member)) return
      this.failovers?.checkPlace(member)
      if (!(await this.admission.admit(member))) return
      // One may be set to take writes: they are gone with its next synchronisation.
      if (report.isReplica) member.setUnwritable('read-only', 'read-only')
      else if (member.unwritable && !forbidden) await this.tryWrite(member)
      member.onProbeSucceeded()
      this.announcer?.keep(member)
      // It is for people, and comes again with the next ping.
      if (!forbidden) await this.presence?.checkIn(member).catch(() => undefined)
    } catch (error) {
      if (this.stopped) return
      const failure = error as Error & { code?: string }
      const isRefused = failure.code === 'ECONNREFUSED' || failure.message.includes('ECONNREFUSED')
      const why = forbidden ?? sentenceOf(failure)
      member.onFailed(
        member.credentials && /NOAUTH|password/i.test(why) ? `${why}; ${member.credentials}` : why,
        isRefused,
      )
    }
  }

  /** The members are not those that this coordinator keeps to: nothing is sent to any of them. */
  private refusesOutdated(): boolean {
    const why = this.membership.outdated
    if (why === null) return false
    for (const member of this.members) if (member.completeness !== 'refused') member.refuse(why)
    return true
  }

  /**
   * Why a batch found another marker than ours, or a probe none. Several coordinators watch a node: the first that notices
   * a restart, or ends a rebuild, changes the marker, and the others find that. Only a marker that is gone, or is not
   * ours, is a loss, and is told once.
   */
  private explainMarker(member: Member, report: NodeReport): void {
    const { marker: expected, id } = member
    const sinceMs = this.unexplained.get(member)
    const isUnexplained = sinceMs !== undefined && report.sentAtMonotonicMs >= sinceMs
    if (isUnexplained) this.unexplained.delete(member)
    const isGone = expected !== null && report.marker === null
    if (!isUnexplained && !isGone) this.wiped.delete(member)
    if ((!isUnexplained && !isGone) || this.wiped.has(member)) return
    const found = report.marker && decodeMarker(report.marker)
    if (found?.cluster !== this.identity.cluster || found?.id !== id) {
      if (report.marker === null) this.wiped.add(member)
      this.options.emit({ kind: 'marker-mismatch', node: id })
      return
    }
    const restarted = found.runId !== expected?.runId
    if (!expected || (found.token === expected.token && !restarted)) return // only its state has changed
    this.options.emit({ kind: 'marker-changed', node: id, restarted })
  }

  private peersOf(member: Member): readonly string[] {
    return [...this.members.filter((other) => other !== member).map(({ id }) => id), ...this.departed]
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
