/**
 * Tracks members and their health: probes every member, keeps its health, its marker and cluster time, and owns the
 * ring.
 *
 *   probe ──▶ report ──▶ cluster time
 *                 └────▶ marker: keep, write or refuse ──▶ open the data path under it ──▶ onProbeSucceeded
 *   any step fails ──▶ onNodeFailed: suspect, then down; the data path of a node that is down is shut
 *
 * A stale member (isStale) is opened as well, but does not count as clean, whatever its marker says.
 *
 * The first probes are sent at startup. No data path opens until the members have agreed on a cluster id (founding.ts),
 * or a member that has one was found: otherwise a wiped node could pass for a new one.
 */
import type { Clock, TimerHandle, Timers } from '../core/clock.ts'
import { VersionClock } from '../core/clock.ts'
import type { Completeness, Emit } from '../core/events.ts'
import { LISTED_NODES, Ring } from '../core/ring.ts'
import { tokenOf } from '../core/token.ts'
import type { Node, NodeFailure, NodeListener, UnwritableReason } from '../nodes/node.ts'
import { forbiddenSentence } from '../nodes/permissions.ts'
import { agreeOnTopology, decodeTopology } from './founding.ts'
import { decodeMarker, encodeMarker, judgeMarker } from './marker.ts'
import { Member } from './member.ts'
import { ClusterTime, CLOCK_SKEW_MS } from './time.ts'

export interface ClusterOptions {
  readonly members: readonly Member[]
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

export class Cluster implements NodeListener {
  readonly members: readonly Member[]
  readonly ring: Ring<Member>
  readonly time: ClusterTime
  readonly versions: VersionClock

  private readonly options: ClusterOptions
  private readonly byNode = new Map<Node, Member>()
  private readonly probes = new Map<Member, Probe>()
  /** Members of the cluster that we founded and have not marked yet, with their run id at that time. */
  private readonly foundedHere = new Map<Member, string>()
  private clusterId: string | null = null
  /** Our proposal, until the members agree on a cluster id. */
  private ownClusterId: string | null = null
  private founderMayMarkUntilMs = 0
  /** Every member has been probed once. */
  private allProbed = false
  private founding = false
  private reportedBlankCount = -1
  private stopped = false

  constructor(options: ClusterOptions) {
    this.options = options
    this.members = options.members
    this.ring = Ring.of(options.members, { vnodesPerNode: options.vnodesPerNode })
    this.time = new ClusterTime(options.clock)
    this.versions = new VersionClock(() => this.time.nowMs(), options.coordinator)
    for (const member of this.members) {
      this.byNode.set(member.node, member)
      this.probes.set(member, { timer: null, running: null, again: false })
      member.node.listener = this
    }
  }

  get id(): string | null {
    return this.clusterId
  }

  /** At least one member accepts requests. */
  get ready(): boolean {
    return this.members.some((member) => member.node.ready)
  }

  /** At least one member accepts some kind of writes. */
  get takesWrites(): boolean {
    return this.members.some((member) => member.takesDeletes)
  }

  /** More than half of the members seem down: it may be our own network, so they are probed sooner. */
  private get suspectsOwnNetwork(): boolean {
    return this.members.filter((member) => member.health.state === 'down').length * 2 > this.members.length
  }

  memberOf(node: Node): Member {
    return this.byNode.get(node)!
  }

  /** Probes every member; resolves when each reachable one is in use or has been refused. */
  async start(): Promise<void> {
    await Promise.all(this.members.map((member) => this.probeNow(member)))
    // Join or found a cluster only now that the markers of all reachable members are known.
    this.allProbed = true
    await this.learnCluster()
    const { clock, timers } = this.options
    const untilMs = clock.monotonicMs() + START_PATIENCE_MS
    for (;;) {
      await Promise.all(this.unsettled().map((member) => this.probeNow(member)))
      if (this.unsettled().length === 0 || this.stopped || clock.monotonicMs() >= untilMs) return
      await new Promise<void>((resolve) => void timers.setTimeout(resolve, FOUNDING_PROBE_MS))
    }
  }

  /** Members that were reached and should soon be in use or refused. */
  private unsettled(): Member[] {
    if (this.clusterId === null && this.reportedBlankCount >= 0) return []
    return this.members.filter(
      (member) => member.report !== null && member.lastError === null && !member.node.ready,
    )
  }

  async stop(): Promise<void> {
    this.stopped = true
    for (const probe of this.probes.values()) if (probe.timer) this.options.timers.clearTimeout(probe.timer)
    await Promise.all(this.members.map((member) => member.node.close()))
  }

  /** The member missed a write, or may have: from now on reads compare its answers. */
  markBehind(member: Member, why: string): void {
    member.misses++
    if (member.behind) return
    member.behind = true
    member.refresh()
    this.options.emit({ kind: 'node-behind', node: member.id, why })
  }

  /** All that the member had missed was sent to it; false if it has missed something since. */
  caughtUp(member: Member, missesThen: number): boolean {
    if (member.misses !== missesThen) return false
    member.missedUnnoted = false
    if (!member.behind) return true
    member.behind = false
    member.refresh()
    this.options.emit({ kind: 'node-caught-up', node: member.id })
    return true
  }

  /** The key's home replicas. */
  homesOf(key: Buffer, replicas: number): readonly Member[] {
    return this.preferenceListAt(tokenOf(key), replicas).slice(0, replicas)
  }

  /**
   * The nodes for this token, home replicas first: the ring's precomputed list, or all nodes if a key has so many
   * replicas that this list has no room for fallback replicas.
   */
  preferenceListAt(token: number, replicas: number): readonly Member[] {
    return replicas < LISTED_NODES ? this.ring.preferenceListAt(token) : [...this.ring.walkAt(token)]
  }

  /** All replica sets of the ring, with duplicates. */
  *replicaSets(replicas: number): Generator<readonly Member[]> {
    for (let i = 0; i < this.ring.size; i++) {
      yield this.preferenceListAt(this.ring.vnodeAt(i).token, replicas).slice(0, replicas)
    }
  }

  /** Probes a member at once, after something about it has changed. */
  reprobe(member: Member): Promise<void> {
    return this.probeNow(member)
  }

  // ---- reports of nodes

  onBroken(node: Node, failure: NodeFailure): void {
    const member = this.memberOf(node)
    if (this.stopped) return
    this.onNodeFailed(member, failure.message, false)
    void this.probeNow(member)
  }

  onForeignMarker(node: Node): void {
    const member = this.memberOf(node)
    this.options.emit({ kind: 'marker-mismatch', node: member.id })
    node.shut('the node does not hold the expected marker')
    member.refresh()
    void this.probeNow(member)
  }

  onUnwritable(node: Node, reason: UnwritableReason): void {
    const member = this.memberOf(node)
    if (member.unwritable === reason) return
    if (member.unwritable === null) {
      this.options.emit({ kind: 'node-writable', node: member.id, writable: false, why: reason })
    }
    member.unwritable = reason
    member.refresh()
    void this.probeNow(member)
  }

  // ---- probing

  private probeNow(member: Member): Promise<void> {
    const probe = this.probes.get(member)!
    if (this.stopped) return Promise.resolve()
    if (probe.running) {
      probe.again = true
      return probe.running
    }
    if (probe.timer) this.options.timers.clearTimeout(probe.timer)
    probe.timer = null
    probe.running = this.probe(member).finally(() => {
      probe.running = null
      if (this.stopped) return
      const delayMs = probe.again ? 1 : this.nextProbeMs(member)
      probe.again = false
      probe.timer = this.options.timers.setTimeout(() => void this.probeNow(member), delayMs)
    })
    return probe.running
  }

  private nextProbeMs(member: Member): number {
    const delayMs = member.health.nextProbeMs(this.options.pingIntervalMs)
    if (member.health.state !== 'up' && this.suspectsOwnNetwork)
      return Math.min(delayMs, OWN_NETWORK_PROBE_MS)
    if (member.report && this.waitsForFounder(member)) return Math.min(delayMs, FOUNDING_PROBE_MS)
    const unsettled = member.health.state === 'up' && (member.unwritable !== null || !member.node.ready)
    return unsettled ? Math.min(delayMs, UNSETTLED_PROBE_MS) : delayMs
  }

  /** One probe, start to end. Never throws: every error counts against the node's health. */
  private async probe(member: Member): Promise<void> {
    let forbidden: string | null = null
    try {
      const report = await member.node.probe(this.peersOf(member))
      if (this.stopped) return
      if (decodeTopology(report.topology) === 'damaged') throw new Error(TOPOLOGY_DAMAGED)
      this.noteEviction(member, report.evictedKeys, report.evictionPolicy)
      member.report = report
      this.noteHints(report.hints)
      this.time.sample(member.id, report.timeMs, report.sentAtMonotonicMs, report.receivedAtMonotonicMs)
      this.noteClock(member)
      if (this.mayBeOurs(member)) forbidden = this.noteForbidden(member, await member.node.forbidden())
      if (this.stopped) return
      if (!(await this.identify(member))) return
      if (member.unwritable) await this.tryWrite(member)
      this.onProbeSucceeded(member)
    } catch (error) {
      if (this.stopped) return
      const failure = error as Error & { code?: string }
      this.onNodeFailed(
        member,
        forbidden ?? failure.message,
        failure.code === 'ECONNREFUSED' || failure.message.includes('ECONNREFUSED'),
      )
    }
  }

  private peersOf(member: Member): readonly string[] {
    return this.members.filter((other) => other !== member).map((other) => other.id)
  }

  /** Verifies that the node is ours and marked, then opens its data path. False while it must not be used. */
  private async identify(member: Member): Promise<boolean> {
    const report = member.report!
    if (this.clusterId === null && this.allProbed) await this.learnCluster()
    const cluster = this.clusterId
    if (cluster === null || this.waitsForFounder(member)) return false
    const verdict = judgeMarker(report.marker, {
      cluster,
      id: member.id,
      runId: report.runId,
      durable: report.durable,
      freshToken: this.options.randomId,
      founding: this.foundedHere.get(member) === report.runId,
      former: member.formerTokens,
    })
    this.foundedHere.delete(member)
    if (verdict.kind === 'refuse') {
      member.node.shut(verdict.why)
      this.time.forget(member.id)
      member.lastError = `refused: ${verdict.why}`
      this.setCompleteness(member, 'refused', verdict.why)
      await this.leaveIfOutvoted()
      return false
    }
    let bytes = report.marker
    if (verdict.kind === 'write') {
      bytes = encodeMarker(verdict.marker)
      // Another coordinator was faster: probe again at once.
      if (!(await member.node.swapMarker(report.marker, bytes))) {
        this.probes.get(member)!.again = true
        return false
      }
      if (this.clusterId !== cluster) return false
    }
    this.noteToken(member, verdict.marker.token)
    member.marker = verdict.marker
    const stale = this.isStale(member)
    const { runId, state } = verdict.marker
    await member.node.open({ marker: bytes!, runId, clean: state === 'clean' && !stale })
    if (this.clusterId !== cluster) {
      member.node.shut(LEFT)
      return false
    }
    if (stale) this.setCompleteness(member, 'stale', STALE_WHY)
    else this.setCompleteness(member, state, verdict.kind === 'write' ? verdict.why : 'its marker says so')
    if (report.syncedAt === null) await this.beginSyncedAt(member, bytes!)
    return true
  }

  /** The member may hold values that were deleted meanwhile and whose tombstones are gone. */
  isStale(member: Member): boolean {
    const { marker, report } = member
    if (marker?.dropBeforeMs !== undefined) return true
    const { staleAfterMs } = this.options
    if (staleAfterMs === 0 || !report?.syncedAt) return false
    return this.time.nowMs() - report.syncedAt.atMs > staleAfterMs
  }

  /** A node without synced_at was never compared, or that was not recorded: start counting now. */
  private async beginSyncedAt({ node }: Member, marker: Buffer): Promise<void> {
    const syncedAt = { atMs: this.time.nowMs(), assumed: true }
    await node.stamp(marker, syncedAt).catch(() => undefined) // it may accept no writes now; the next probe tries again
  }

  private noteToken(member: Member, token: string): void {
    if (member.marker && member.marker.token !== token) member.formerTokens.add(member.marker.token)
  }

  /** Not marked, or marked as ours. No other node is sent any command that has an effect. */
  private mayBeOurs({ id, report }: Member): boolean {
    if (report!.marker === null) return true
    const marker = decodeMarker(report!.marker)
    return marker?.cluster === this.clusterId && marker?.id === id
  }

  /** The node lacks permissions: it stays readable but gets no writes, because some would fail. */
  private noteForbidden(member: Member, commands: readonly string[]): string | null {
    const before = member.forbidden
    member.forbidden = commands.length > 0 ? forbiddenSentence(commands) : null
    if (member.forbidden === null) return null
    member.lastError = member.forbidden
    member.unwritable = 'no-permission'
    member.refresh()
    if (member.forbidden !== before) {
      this.options.emit({ kind: 'node-writable', node: member.id, writable: false, why: member.forbidden })
    }
    return member.forbidden
  }

  private async tryWrite(member: Member): Promise<void> {
    if (member.forbidden !== null) return
    try {
      await member.node.tryWrite()
    } catch (error) {
      member.lastError = (error as Error).message
      return // still unwritable, but it answers, so it is up
    }
    member.unwritable = null
    this.options.emit({
      kind: 'node-writable',
      node: member.id,
      writable: true,
      why: 'it accepted a test write',
    })
  }

  // ---- cluster id

  /** Takes the cluster id from the members' markers, or founds a cluster once a majority is reachable. */
  private async learnCluster(): Promise<void> {
    const { placed, anywhere } = this.clustersSeen()
    const met = mostCommon(placed)
    if (met !== null) {
      const most = mostCommon(anywhere)!
      this.adoptCluster(countOf(anywhere, most) > countOf(anywhere, met) ? most : met, false)
      return
    }
    const reached = this.members.filter((member) => member.report !== null)
    // Never write to a member whose marker key holds something else.
    const blank = reached.filter((member) => member.report!.marker === null)
    const needed = Math.floor(this.members.length / 2) + 1
    if (blank.length < needed) {
      if (this.reportedBlankCount !== blank.length) {
        this.reportedBlankCount = blank.length
        const { length: members } = this.members
        this.options.emit({ kind: 'cluster-waiting', reached: blank.length, needed, members })
      }
      return
    }
    if (this.founding) return
    this.founding = true
    try {
      const ids = this.members.map((member) => member.id).sort()
      this.ownClusterId ??= this.options.randomId()
      const own = { cluster: this.ownClusterId, epoch: 1, members: ids }
      const nodes = blank.map((member) => member.node)
      const topology = await agreeOnTopology(nodes, this.members.length, this.versions, own)
      if (!topology || this.clusterId !== null) return
      const founded = topology.cluster === own.cluster
      if (founded) for (const member of blank) this.foundedHere.set(member, member.report!.runId)
      this.adoptCluster(topology.cluster, founded)
    } finally {
      this.founding = false
    }
  }

  /**
   * A coordinator that, at startup, reaches only a node of a foreign cluster at one of our addresses joins that cluster.
   * It leaves as soon as it has seen more members in another one. A tie changes nothing, or two halves would alternate.
   */
  private async leaveIfOutvoted(): Promise<void> {
    const own = this.clusterId
    const { placed, anywhere } = this.clustersSeen()
    const other = mostCommon(placed)
    if (own === null || other === null || other === own) return
    const members = countOf(anywhere, own)
    const otherMembers = countOf(placed, other)
    if (otherMembers <= members) return
    this.clusterId = null
    this.foundedHere.clear()
    for (const member of this.members) {
      member.node.shut(LEFT)
      member.marker = null
      member.completeness = 'unknown'
      member.refresh()
    }
    this.options.emit({
      kind: 'cluster-left',
      cluster: own,
      members,
      other,
      otherMembers,
    })
    await this.learnCluster()
  }

  /**
   * The cluster ids in the members' markers, by member. `placed` counts nodes at their own address; `anywhere` also
   * those at the address of another member. A node whose address was swapped still counts for its cluster, or a single
   * foreign node would outvote it.
   */
  private clustersSeen(): Record<'placed' | 'anywhere', readonly (string | null)[]> {
    const ids = new Set(this.members.map((member) => member.id))
    const markers = this.members.map(({ report }) => report?.marker && decodeMarker(report.marker))
    return {
      placed: markers.map((marker, i) => (marker?.id === this.members[i]!.id ? marker.cluster : null)),
      anywhere: markers.map((marker) => (marker && ids.has(marker.id) ? marker.cluster : null)),
    }
  }

  /** A new token for a marker. */
  freshToken(): string {
    return this.options.randomId()
  }

  /**
   * Several coordinators may start at once. Only the one that founds the cluster knows which members belonged to it
   * from the start; if another one marked those first, they would start as filling.
   */
  private waitsForFounder(member: Member): boolean {
    return member.report!.marker === null && this.options.clock.monotonicMs() < this.founderMayMarkUntilMs
  }

  private adoptCluster(cluster: string, founded: boolean): void {
    this.clusterId = cluster
    if (!founded) this.founderMayMarkUntilMs = this.options.clock.monotonicMs() + FOUNDER_PATIENCE_MS
    this.options.emit({ kind: 'cluster-known', cluster, founded })
    this.compareMembers(cluster)
    for (const member of this.members) if (member.report) void this.probeNow(member)
  }

  /** Warns about a different member list: the members at founding decide where keys are placed. */
  private compareMembers(cluster: string): void {
    const topologies = this.members.map(({ report }) => decodeTopology(report?.topology ?? null))
    const topology = topologies.find((found) => found !== 'damaged' && found?.cluster === cluster)
    if (!topology || topology === 'damaged') return
    const ids = new Set(this.members.map((member) => member.id))
    const missing = topology.members.filter((id) => !ids.has(id))
    const unknown = [...ids].filter((id) => !topology.members.includes(id))
    if (missing.length + unknown.length > 0) this.options.emit({ kind: 'members-differ', missing, unknown })
  }

  // ---- transitions

  private onProbeSucceeded(member: Member): void {
    const from = member.health.state
    member.health.onSuccess()
    if (!member.unwritable) member.lastError = null
    this.emitStateChange(member, from, 'it answers')
  }

  private onNodeFailed(member: Member, why: string, certain: boolean): void {
    const from = member.health.state
    member.health.onFailure(certain)
    member.lastError = why
    if (member.health.state === 'down') {
      member.node.shut(`the node is down: ${why}`)
      if (from !== 'down') this.markBehind(member, 'it was unreachable and may have missed writes')
    }
    this.emitStateChange(member, from, why)
  }

  private emitStateChange(member: Member, from: Member['health']['state'], why: string): void {
    member.refresh()
    const to = member.health.state
    if (from !== to) this.options.emit({ kind: 'node-state', node: member.id, from, to, why })
  }

  private setCompleteness(member: Member, to: Completeness, why: string): void {
    const from = member.completeness
    member.completeness = to
    member.refresh()
    if (from !== to) this.options.emit({ kind: 'node-completeness', node: member.id, from, to, why })
  }

  private readonly skewed = new Set<Member>()

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

  /** Hints of other coordinators name members that missed writes. */
  private noteHints(hints: ReadonlyMap<string, number>): void {
    for (const id of hints.keys()) {
      const missing = this.members.find((member) => member.id === id)
      if (missing && !missing.behind) this.markBehind(missing, 'other nodes hold hints for it')
    }
  }

  private noteEviction(member: Member, evictedKeys: number, policy: string): void {
    const before = member.report?.evictedKeys ?? 0
    // A cache may evict continuously: report it once, when it starts.
    if (evictedKeys > 0 && before === 0) {
      this.options.emit({ kind: 'node-evicting', node: member.id, policy, evictedKeys })
    }
  }
}

interface Probe {
  timer: TimerHandle | null
  running: Promise<void> | null
  /** Something changed while a probe was running: probe again at once. */
  again: boolean
}

const TOPOLOGY_DAMAGED = "the node's key __rondo:topology is damaged; remove it there to use the node again"
const LEFT = 'the coordinator left this cluster for another one'
const STALE_WHY = 'it was not compared with other nodes for longer than tombstones are kept'
const OWN_NETWORK_PROBE_MS = 100
/** Probe interval while a node answers but is not usable yet. */
const UNSETTLED_PROBE_MS = 250
/** How long the founder of a cluster may take to mark its members. */
const FOUNDER_PATIENCE_MS = 1000
const FOUNDING_PROBE_MS = 50
/** How long start() waits for nodes that answer but are not in use yet. */
const START_PATIENCE_MS = 2 * FOUNDER_PATIENCE_MS

function countOf(texts: readonly (string | null)[], text: string): number {
  return texts.filter((one) => one === text).length
}

/** Ties go to the smaller string, so that all coordinators decide alike. */
function mostCommon(texts: readonly (string | null)[]): string | null {
  const counts = new Map<string, number>()
  for (const text of texts) if (text !== null) counts.set(text, (counts.get(text) ?? 0) + 1)
  return [...counts].sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1))[0]?.[0] ?? null
}
