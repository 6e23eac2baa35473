/**
 * Which cluster this coordinator belongs to: one id, shared by all members through their markers.
 *
 *   members' markers name a cluster         → that one, or the one that more of them name
 *   equally many name different ones        → wait for more members: nothing is written to somebody else's Redis
 *   no marker anywhere, a majority reached  → the members agree on a new id (register.ts)
 *   told which one it is (CLUSTER_ID)       → that one, and nothing else; without a member of it: wait
 *   otherwise                               → wait: a wiped node could pass for a new one; nodes whose markers have
 *                                             other ids than the configuration gives them are refused meanwhile
 */
import type { MonotonicClock, VersionClock } from '../core/clock.ts'
import type { Emit } from '../core/events.ts'
import { founded, foundedWith, membersOf, type Layout, type Topology } from '../core/topology.ts'
import { decodeMarker, epochOf, refusedSentence } from './marker.ts'
import type { Member } from './member.ts'
import { propose, registeredIn } from './register.ts'

export interface IdentityOptions {
  /** All members, as of now. */
  readonly members: () => readonly Member[]
  /** Where keys are, by this coordinator's configuration. */
  readonly layout: () => Layout
  /** The only cluster to join, and none is founded; null = whichever it is. */
  readonly pinned: string | null
  readonly clock: MonotonicClock
  readonly versions: VersionClock
  /** Returns a new random string of at least 64 bits. */
  readonly randomId: () => string
  readonly emit: Emit
  /** A cluster id was adopted: members that were reached can be used now. */
  readonly onAdopted: () => void
}

export const LEFT = 'the coordinator left this cluster for another one'
/** How long the founder of a cluster may take to mark its members. */
export const FOUNDER_TIMEOUT_MS = 1000

export class Identity {
  private readonly options: IdentityOptions
  private clusterId: string | null = null
  /** Our proposal, until the members agree on a cluster id. */
  private ownClusterId: string | null = null
  /** Members of the cluster that we founded and have not marked yet, with their run id at that time. */
  private readonly foundedHere = new Map<Member, string>()
  private founderMayMarkUntilMs = 0
  private founding = false
  private reportedBlankCount = -1
  private reportedRefusedCount = 0
  /** The clusters between which it could not decide, as reported. */
  private reportedTie = ''
  /** Why the cluster that it is told to join is not known yet, as reported. */
  private reportedMissing = ''
  private parsed: { readonly bytes: Buffer; readonly found: ReturnType<typeof registeredIn> } | null = null

  constructor(options: IdentityOptions) {
    this.options = options
  }

  /** Null until it is known. */
  get cluster(): string | null {
    return this.clusterId
  }

  /** Too few members could be reached to found a cluster, or to tell which one is ours. */
  get waitsForMembers(): boolean {
    return (
      this.clusterId === null &&
      (this.reportedBlankCount >= 0 || this.reportedTie !== '' || this.reportedMissing !== '')
    )
  }

  /** Takes the cluster id from the members' markers, or founds a cluster once a majority is reachable. */
  async learn(): Promise<void> {
    const { placed, anywhere } = this.clustersSeen()
    const { pinned } = this.options
    if (pinned !== null) {
      if (anywhere.includes(pinned)) this.adopt(pinned, false)
      else this.reportMissing(pinned, mostNamed(anywhere))
      return
    }
    if (placed.length > 0) {
      const most = mostNamed(anywhere)
      const [cluster, other] = mostNamed(placed.filter((id) => most.includes(id)))
      if (most.length === 1) this.adopt(most[0]!, false)
      else if (cluster !== undefined && other === undefined) this.adopt(cluster, false)
      else this.reportTie(most, anywhere)
      return
    }
    const members = this.options.members()
    // Never write to a member whose marker key holds something else.
    const blank = members.filter(({ report }) => report !== null && report.marker === null)
    const needed = Math.floor(members.length / 2) + 1
    if (blank.length >= needed) await this.found(blank)
    else this.reportWaiting(blank.length, needed, this.refuseOthers())
  }

  /** Their markers name no cluster of ours, so no later step looks at them. @returns how many there are */
  private refuseOthers(): number {
    let count = 0
    for (const member of this.options.members()) {
      const why = refusedSentence(member.report?.marker ?? null, member.id)
      if (why === null) continue
      count++
      member.refuse(why)
    }
    return count
  }

  private reportWaiting(reached: number, needed: number, refused: number): void {
    if (this.reportedBlankCount === reached && this.reportedRefusedCount === refused) return
    this.reportedBlankCount = reached
    this.reportedRefusedCount = refused
    const members = this.options.members().length
    this.options.emit({ kind: 'cluster-waiting', reached, needed, members, refused })
  }

  private reportMissing(cluster: string, others: readonly string[]): void {
    const reached = this.options.members().filter(({ report }) => report !== null).length
    const missing = `${reached} ${others.join()}`
    if (missing === this.reportedMissing) return
    this.reportedMissing = missing
    this.options.emit({ kind: 'cluster-missing', cluster, reached, others })
  }

  private reportTie(clusters: readonly string[], anywhere: readonly string[]): void {
    const each = countOf(anywhere, clusters[0]!)
    const tie = `${clusters.join()} ${each}`
    if (tie === this.reportedTie) return
    this.reportedTie = tie
    this.options.emit({ kind: 'clusters-tied', clusters, each })
  }

  private async found(blank: readonly Member[]): Promise<void> {
    if (this.founding) return
    this.founding = true
    try {
      this.ownClusterId ??= this.options.randomId()
      const decision = await propose({
        nodes: new Map(blank.map((member) => [member.id, member.node])),
        versions: this.options.versions,
        base: null,
        want: founded(this.ownClusterId, this.options.layout()),
        isSound: () => Promise.resolve(true), // there is nothing yet that a node could have lost
      })
      if (decision.kind !== 'decided' || this.clusterId !== null) return
      const { cluster } = decision.topology
      const isOurs = cluster === this.ownClusterId
      if (isOurs) for (const member of blank) this.foundedHere.set(member, member.report!.runId)
      this.adopt(cluster, isOurs)
    } finally {
      this.founding = false
    }
  }

  /**
   * Whether we founded the cluster with this run of the node, and have not marked it yet: then it starts clean. Asked
   * once, before it is marked.
   */
  takeFounded(member: Member): boolean {
    const founded = this.foundedHere.get(member) === member.report!.runId
    this.foundedHere.delete(member)
    return founded
  }

  /** We founded the cluster with this run of the node, and have not marked it yet. */
  isFounding(member: Member): boolean {
    return this.foundedHere.get(member) === member.report!.runId
  }

  /**
   * Several coordinators may start at once. Only the one that founds the cluster knows which members belonged to it
   * from the start; if another one marked those first, they would start as filling.
   */
  waitsForFounder(member: Member): boolean {
    return member.report!.marker === null && this.options.clock.monotonicMs() < this.founderMayMarkUntilMs
  }

  /**
   * A coordinator that, at startup, reaches only a node of a foreign cluster at one of our addresses joins that cluster.
   * It leaves as soon as it has seen more members in another one. A tie changes nothing, or two halves would alternate.
   */
  async leaveIfOutvoted(): Promise<void> {
    if (this.options.pinned !== null) return
    const own = this.clusterId
    const { placed, anywhere } = this.clustersSeen()
    const [other] = mostNamed(placed)
    if (own === null || other === undefined || other === own) return
    const members = countOf(anywhere, own)
    const otherMembers = countOf(placed, other)
    if (otherMembers <= members) return
    this.clusterId = null
    this.foundedHere.clear()
    for (const member of this.options.members()) member.forgetMarker(LEFT)
    this.options.emit({ kind: 'cluster-left', cluster: own, members, other, otherMembers })
    await this.learn()
  }

  private adopt(cluster: string, founded: boolean): void {
    this.clusterId = cluster
    this.reportedTie = ''
    if (!founded) this.founderMayMarkUntilMs = this.options.clock.monotonicMs() + FOUNDER_TIMEOUT_MS
    this.options.emit({ kind: 'cluster-known', cluster, founded })
    this.compareMembers()
    this.options.onAdopted()
  }

  /** The cluster was founded without this member; false while that is not known. */
  wasAdded({ id }: Member): boolean {
    const founders = this.founders()
    return founders !== null && !founders.includes(id)
  }

  /** The members are those that the cluster was founded with. */
  get isAsFounded(): boolean {
    const founders = this.founders()
    const ids = this.options.members().map(({ id }) => id)
    return founders !== null && ids.length === founders.length && ids.every((id) => founders.includes(id))
  }

  /** Tells of members that are missing, and of new ones that do not hold their keys yet, where REDIS_URLS decides. */
  private compareMembers(): void {
    const members = this.options.members()
    const founders = this.founders()
    const hasChanged = members.some(({ report }) => {
      const marker = report?.marker && decodeMarker(report.marker)
      return marker && epochOf(marker) > 1
    })
    if (!founders || hasChanged) return
    const missing = founders.filter((id) => !members.some((member) => member.id === id))
    const lacksKeys = ({ report }: Member) =>
      report !== null && (!report.marker || decodeMarker(report.marker)?.state === 'filling')
    const added = members.filter((member) => this.wasAdded(member) && lacksKeys(member)).map(({ id }) => id)
    if (missing.length + added.length > 0) this.options.emit({ kind: 'members-differ', missing, added })
  }

  /** What a member's register holds. All hold the same, as a rule, and tell it with each ping: parsed once. */
  registered(bytes: Buffer | null): ReturnType<typeof registeredIn> {
    if (bytes === null) return null
    if (!this.parsed?.bytes.equals(bytes)) this.parsed = { bytes, found: registeredIn(bytes) }
    return this.parsed.found
  }

  /** What the cluster was founded with; null = it is not known, as after changes. */
  get foundation(): Topology | null {
    for (const { report } of this.options.members()) {
      const found = this.registered(report?.topology ?? null)
      if (found === null || found === 'damaged') continue
      if (found.kind === 'ids') {
        if (found.cluster === this.clusterId) {
          return foundedWith(found.cluster, found.ids, this.options.layout())
        }
      } else if (found.topology.cluster === this.clusterId && found.topology.epoch === 1) {
        return found.topology
      }
    }
    return null
  }

  /** The ids of the members that it was founded with, as stored on them; null = not known. */
  private founders(): readonly string[] | null {
    const { foundation } = this
    return foundation && membersOf(foundation).map(({ id }) => id)
  }

  /**
   * The cluster ids in the members' markers, one for each marker. `placed` are of nodes at their own address; `anywhere`
   * also of those at the address of another member. A node whose address was swapped still counts for its cluster, or a
   * single foreign node would outvote it.
   */
  private clustersSeen(): Record<'placed' | 'anywhere', readonly string[]> {
    const members = this.options.members()
    const ids = new Set(members.map((member) => member.id))
    const markers = members.map(({ report }) => report?.marker && decodeMarker(report.marker))
    return {
      placed: markers.flatMap((marker, i) => (marker?.id === members[i]!.id ? [marker.cluster] : [])),
      anywhere: markers.flatMap((marker) => (marker && ids.has(marker.id) ? [marker.cluster] : [])),
    }
  }
}

function countOf(ids: readonly string[], id: string): number {
  return ids.filter((one) => one === id).length
}

/** The ids that come most often, sorted; more than one if they come equally often. */
function mostNamed(ids: readonly string[]): string[] {
  const distinct = [...new Set(ids)].sort()
  const most = Math.max(0, ...distinct.map((id) => countOf(ids, id)))
  return distinct.filter((id) => countOf(ids, id) === most)
}
