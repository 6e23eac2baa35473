/**
 * Which topology this coordinator works by (core/topology.ts), and how it changes.
 *
 *   first epoch                            → the members of REDIS_URLS
 *   a marker names a later one             → that one, as it stands beside the marker: `follow`
 *   asked to change it here                → decided in the register (register.ts), then followed: `change`
 *
 * To follow: all its members are probed first. Those in use are marked with the new epoch, so that they refuse what was
 * planned under earlier ones, and are given the topology with their marker, so that whoever meets the marker can follow;
 * those that join are opened. Then the placement is swapped.
 */
import { compareVersions, type Timers, type VersionClock } from '../core/clock.ts'
import { KIND_VALUE, StoredRecord } from '../core/codec.ts'
import type { Emit } from '../core/events.ts'
import {
  encodeTopology,
  floorsAt,
  founded,
  isPartOf,
  membersOf,
  parseTopology,
  placementOf,
  stands,
  StepRefused,
  sumOf,
  type Layout,
  type Topology,
  type TopologyMember,
} from '../core/topology.ts'
import type { Placement } from '../core/placement.ts'
import type { Queued } from '../core/queued.ts'
import type { AdoptedTopology } from './admission.ts'
import type { Identity } from './identity.ts'
import { decodeMarker, epochOf } from './marker.ts'
import type { Member } from './member.ts'
import { propose, voterOf, type Decision, type Proposal } from './register.ts'

export interface MembershipOptions {
  readonly identity: Identity
  readonly versions: VersionClock
  readonly timers: Timers
  /** Changes of members are not followed. */
  readonly isStatic: boolean
  /** Where keys are in the first epoch: by this coordinator's configuration. */
  readonly layout: () => Layout
  /** Begins an announcement: the function that it returns tells the others that something was decided. */
  readonly announcing: () => () => void
  /** In the first epoch: these are the members, of whom the configuration names some. */
  readonly enlarge: (layout: Layout, placement: Placement<Member>) => void
  /** A sentence that names another coordinator, as told by this member, with other members than these; null = none. */
  readonly contradiction: (member: Member, layout: Layout) => Promise<string | null>
  /** Asks what other coordinators have, with the next ping of each member. */
  readonly askOthers: () => void
  /** A sentence that names another coordinator with other members in the first epoch; null = none is known. */
  readonly disagreement: () => string | null
  readonly emit: Emit
  /** In use now. */
  readonly members: () => readonly Member[]
  /** A member that has joined. @throws Error if its address cannot be used */
  readonly memberOf: (member: TopologyMember) => Member
  readonly place: (placement: Placement<Member>) => void
  /** How long a node that has left stays open, for operations that began before. */
  readonly closeAfterMs: number
  /** Probes the member now: it is marked and opened, if it can be used. Never rejects. */
  readonly prepare: (member: Member) => Promise<void>
  /** Probes all members now. */
  readonly reprobeAll: () => Promise<void>
}

/** How long that may delay the swap: what is planned meanwhile may have to begin again. */
const PREPARE_MS = 250

const KEEPS_TO_REDIS_URLS =
  'this coordinator keeps to its REDIS_URLS (TOPOLOGY=static), and no change begins here: start all coordinators with ' +
  'TOPOLOGY=dynamic, and ask again'

const MAKE_THEM_AGREE =
  'give all coordinators the same REDIS_URLS, REPLICATION_FACTOR and VNODES_PER_NODE, and try again'

export class Membership {
  private readonly options: MembershipOptions
  private adopted: AdoptedTopology | null = null
  /** The epoch that was met and is not followed. */
  private overtakenBy = 1
  private following: Promise<void> = Promise.resolve()
  /** By voter: nodes that are about to join, asked by the register before they are members. */
  private readonly candidates = new Map<string, Member>()
  /** The members of a topology that is about to be used. */
  private joining = new Set<Member>()
  /** Nodes that have left, until they are closed. */
  private readonly left = new Set<Member>()

  constructor(options: MembershipOptions) {
    this.options = options
  }

  /** Null = the first epoch. */
  get current(): AdoptedTopology | null {
    return this.adopted
  }

  /**
   * It is a member of the newest topology, which may be about to be used. A server whose place another one has taken must
   * not be marked as if it had that place.
   */
  includes(member: Member): boolean {
    return this.joining.size > 0 ? this.joining.has(member) : this.options.members().includes(member)
  }

  /**
   * What the next change begins with: in the first epoch that of the configuration, whatever the cluster was founded
   * with. Null = the cluster is not known yet.
   */
  get topology(): Topology | null {
    const { identity, layout } = this.options
    if (this.adopted) return this.adopted.topology
    return identity.cluster === null ? null : founded(identity.cluster, layout())
  }

  get epoch(): number {
    return this.adopted?.epoch ?? 1
  }

  /** Why no member may be used any more; null = they may. */
  get outdated(): string | null {
    if (this.overtakenBy === 1) return null
    return (
      `the cluster has changed its members (epoch ${this.overtakenBy}), which this coordinator does not follow ` +
      '(TOPOLOGY=static): start it with TOPOLOGY=dynamic'
    )
  }

  /**
   * Follows what the member's marker names, if that is later than what this coordinator has. Only then is it fetched, and
   * only from the node that has it.
   */
  async learn(member: Member): Promise<void> {
    const { identity, isStatic } = this.options
    const { report, node } = member
    const marker = report?.marker && decodeMarker(report.marker)
    if (marker?.cluster !== identity.cluster) return
    if (this.epoch === 1 && epochOf(marker) === 1) await this.findOthers(member)
    if (epochOf(marker) <= this.epoch) return
    if (isStatic) {
      this.overtakenBy = Math.max(this.overtakenBy, epochOf(marker))
      return
    }
    const decided = await node.decided()
    const found = decided && parseTopology(decided)
    const isNamed = found?.kind === 'topology' && sumOf(found.topology) === marker.topology!.sum
    if (!isNamed) return
    const followed = this.follow(found.topology)
    // While an earlier one is adopted, which waits for this probe, it comes right after that.
    if (this.joining.size === 0) await followed
  }

  /**
   * In the first epoch the configuration decides, unless it names so few of the members that it can only be meant to find
   * the others: then those that the cluster was founded with.
   */
  private async findOthers(member: Member): Promise<void> {
    const { identity, isStatic, layout, contradiction, enlarge } = this.options
    const all = identity.foundation
    if (isStatic || !all || !isPartOf(layout(), all.layout)) return
    const other = await contradiction(member, all.layout)
    if (other !== null) {
      throw new Error(`${other}: REDIS_URLS has to name all nodes until the members have been changed once`)
    }
    if (!isPartOf(layout(), all.layout)) return // it was found out meanwhile
    const placement = this.placementFor(all)
    enlarge(all.layout, placement)
    await this.prepared(placement.members.filter((one) => one !== member))
  }

  /** Resolves when all of them can be used, but not late. */
  private async prepared(members: readonly Member[]): Promise<void> {
    const { timers, prepare } = this.options
    const late = new Promise<void>((resolve) => void timers.setTimeout(resolve, PREPARE_MS))
    await Promise.race([Promise.all(members.map(prepare)), late])
  }

  private placementFor(topology: Topology): Placement<Member> {
    const { members, memberOf } = this.options
    const known = [...this.candidates.values(), ...members()]
    const next = new Map(
      membersOf(topology).map((one) => [one.id, known.find((member) => isOf(member, one)) ?? memberOf(one)]),
    )
    return placementOf(topology, ({ id }) => next.get(id)!)
  }

  /** Whether the member holds all keys that it has gained by the last change. */
  hasReceived({ id, marker }: Member): boolean {
    const { topology } = this.adopted ?? {}
    return !topology?.gained.includes(id) || marker?.topology?.received === topology.since
  }

  /** Whether a change is under way that brings the member keys, and it has not received them all. */
  isReceiving(member: Member): boolean {
    const { phase, since, epoch } = this.topology ?? {}
    // A server that takes a member's place is filled after the only epoch of that change.
    const isChange = phase === 'both' || (phase === 'stable' && since === epoch)
    return isChange && !this.hasReceived(member)
  }

  /** A server that took a member's place is being filled. */
  get isRefilling(): boolean {
    const isFilled = (member: Member) => member.node.ready && this.isReceiving(member)
    return this.topology?.phase === 'stable' && this.options.members().some(isFilled)
  }

  /**
   * Changes the topology by one step, and follows it.
   *
   * @param queue what waits from then on, of what waits now
   * @returns what was decided: ours, or what another coordinator has begun; null = nothing for now
   * @throws StepRefused, and what `queue` throws
   */
  async change(
    step: (from: Topology) => Topology,
    joining: readonly Member[] = [],
    queue?: Proposal['queue'],
  ): Promise<Topology | null> {
    const base = await this.base()
    const disagreement = this.epoch === 1 ? this.options.disagreement() : null
    if (disagreement !== null) throw new StepRefused(`${disagreement}: ${MAKE_THEM_AGREE}`)
    const want = step(base)
    if (want === base) return base
    // Those that are given up are not waited for.
    const { lost } = want.layout
    const standing = lost ? { ...base, layout: { ...base.layout, lost } } : base
    // Where a majority is given up, all that are left agree, and refuse what was planned before.
    const isRecovery = want.generation > base.generation
    if (!isRecovery && !stands(standing, (id) => this.isMarked(id, base.epoch))) return null
    const decision = await this.decide(base, want, joining, queue)
    return decision?.topology ?? null
  }

  /**
   * Changes what waits, and no epoch.
   *
   * @returns what waits then; null = nothing was changed for now
   * @throws StepRefused, and what `queue` throws
   */
  async amend(
    queue: (held: readonly Queued[], topology: Topology) => readonly Queued[],
  ): Promise<readonly Queued[] | null> {
    const base = await this.base()
    const decision = await this.decide(base, base, [], (held) => queue(held, base))
    if (decision?.topology.epoch !== base.epoch) return null // what another coordinator has begun
    await this.options.reprobeAll()
    return decision.queue ?? []
  }

  /** What waits, as far as is known. */
  get queue(): readonly Queued[] {
    const { identity, members, isStatic } = this.options
    if (isStatic || this.epoch === 1) return []
    let newest: StoredRecord | null = null
    for (const { report } of members()) {
      const record = report?.topology ? new StoredRecord(report.topology) : null
      if (!record?.versioned || record.kind !== KIND_VALUE) continue
      if (!newest || compareVersions(record.version, newest.version) > 0) newest = record
    }
    const found = identity.registered(newest?.bytes ?? null)
    if (found === null || found === 'damaged' || found.kind !== 'topology') return []
    return found.queue ?? []
  }

  /** What a proposal begins with. @throws StepRefused */
  private async base(): Promise<Topology> {
    if (this.options.isStatic) throw new StepRefused(KEEPS_TO_REDIS_URLS)
    if (this.epoch === 1) this.options.askOthers()
    await this.options.reprobeAll()
    const base = this.topology
    if (!base) throw new StepRefused('the members of the cluster are not known yet')
    return base
  }

  private async decide(
    base: Topology,
    want: Topology,
    joining: readonly Member[],
    queue: Proposal['queue'],
  ): Promise<Extract<Decision, { kind: 'decided' }> | null> {
    const { identity, versions, members } = this.options
    const announce = this.options.announcing()
    const present = membersIn(
      base,
      members().filter(({ node }) => node.ready),
    )
    const candidates = membersIn(want, joining)
    for (const [voter, member] of candidates) this.candidates.set(voter, member)
    try {
      const decision = await propose({
        nodes: new Map([...present, ...candidates].map(([voter, { node }]) => [voter, node])),
        ...{ versions, base, want, ...(queue && { queue }) },
        isSound: (voter) => this.isSound(voter, present.get(voter), identity.cluster!),
      })
      if (decision.kind === 'disputed') throw new StepRefused(disputeSentence(base, decision.topology))
      if (decision.kind !== 'decided') return null
      await this.follow(decision.topology)
      announce()
      return decision
    } finally {
      for (const voter of candidates.keys()) this.candidates.delete(voter)
    }
  }

  /** Resolves once it is in use, or a later one is. */
  private follow(topology: Topology): Promise<void> {
    const adopting = this.following.then(() => this.adopt(topology))
    this.following = adopting.catch(() => undefined) // the caller hears of it
    return adopting
  }

  private async adopt(topology: Topology): Promise<void> {
    if (topology.epoch <= this.epoch) return
    const { members, place, versions, timers, closeAfterMs, emit } = this.options
    const former = members()
    const placement = this.placementFor(topology)
    const next = placement.members
    const { epoch } = topology
    const floors = floorsAt(topology, epoch)
    const adopted = { topology, epoch, floors, sum: sumOf(topology), bytes: encodeTopology(topology) }
    this.adopted = adopted
    this.joining = new Set(next)
    await this.prepared(next)
    // What is planned under it gets versions above its floors, and nothing else does: it could be read and stay.
    for (const { version } of floors?.all ?? []) versions.observe(Buffer.from(version))
    place(placement)
    this.joining.clear()
    for (const member of former) {
      if (placement.members.includes(member)) continue
      this.left.add(member)
      const {
        id: node,
        node: { address },
      } = member
      const successor = next.find(({ id }) => id === node)
      if (member.sentinel && successor?.sentinel) {
        const to = successor.node.address
        emit({ kind: 'failover', node, from: address, to, state: 'followed', why: null })
      } else emit({ kind: 'node-dismissed', node, address, url: successor?.url ?? null })
      timers.setTimeout(() => void this.close(member), closeAfterMs)
    }
  }

  private async close(member: Member): Promise<void> {
    if (this.left.delete(member)) await member.node.close()
  }

  /** Closes the nodes that have left. */
  async stop(): Promise<void> {
    await Promise.all([...this.left].map((member) => this.close(member)))
  }

  private isMarked(id: string, epoch: number): boolean {
    const member = this.options.members().find((one) => one.id === id)
    const marker = member?.report?.marker && decodeMarker(member.report.marker)
    return marker?.id === id && epochOf(marker) >= epoch
  }

  /** Before its answer counts: it is still the node that it was, and has not lost what it accepted. */
  private async isSound(voter: string, present: Member | undefined, cluster: string): Promise<boolean> {
    const candidate = this.candidates.get(voter)
    const member = candidate ?? present
    if (!member || (member === present && !this.includes(member))) return false
    const report = await member.node.probe().catch(() => null) // no answer is no vote
    if (candidate) return report !== null && report.marker === null
    const marker = report?.marker && decodeMarker(report.marker)
    return marker?.cluster === cluster && marker.state === 'clean' && marker.token === member.marker?.token
  }
}

function disputeSentence(ours: Topology, theirs: Topology): string {
  const idsOf = ({ layout }: Topology) => layout.members.map(({ id }) => id).join(', ')
  return (
    'another coordinator has begun a change, and it has other nodes, weights or settings than this one ' +
    `(there ${idsOf(theirs)}; here ${idsOf(ours)}): ${MAKE_THEM_AGREE}`
  )
}

/** Those that are in the topology, by voter. */
function membersIn(topology: Topology, members: readonly Member[]): Map<string, Member> {
  const registered = new Map(membersOf(topology).map((one) => [one.id, one]))
  return new Map(
    members.flatMap((member) => {
      const one = registered.get(member.id)
      return one ? [[voterOf(one), member] as const] : []
    }),
  )
}

/** It is the member that the topology means, at the address where that is. */
function isOf({ id, url, sentinel }: Member, one: TopologyMember): boolean {
  const isThere = one.primary === undefined || sentinel?.address === one.primary
  return id === one.id && isThere && (!one.isGiven || url === one.url)
}
