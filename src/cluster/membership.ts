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
import type { Timers, VersionClock } from '../core/clock.ts'
import {
  encodeTopology,
  membersOf,
  parseTopology,
  placementOf,
  stands,
  StepRefused,
  sumOf,
  type Topology,
  type TopologyMember,
} from '../core/topology.ts'
import type { Placement } from '../core/placement.ts'
import type { NodeReport } from '../nodes/node.ts'
import type { AdoptedTopology } from './admission.ts'
import type { Identity } from './identity.ts'
import { decodeMarker, epochOf } from './marker.ts'
import type { Member } from './member.ts'
import { propose } from './register.ts'

export interface MembershipOptions {
  readonly identity: Identity
  readonly versions: VersionClock
  readonly timers: Timers
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

export class Membership {
  private readonly options: MembershipOptions
  private adopted: AdoptedTopology | null = null
  private following: Promise<void> = Promise.resolve()
  /** Nodes that are about to join: asked by the register before they are members. */
  private readonly candidates = new Map<string, Member>()
  /** The members of a topology that is about to be used. */
  private joining = new Set<Member>()
  /** Reports that were looked at, with the cluster of then. */
  private readonly seen = new WeakMap<NodeReport, string | null>()
  /** Nodes that have left, until they are closed. */
  private readonly left = new Set<Member>()

  constructor(options: MembershipOptions) {
    this.options = options
  }

  /** Null = the first epoch. */
  get current(): AdoptedTopology | null {
    return this.adopted
  }

  /** It is a member, or is about to become one. */
  includes(member: Member): boolean {
    return this.options.members().includes(member) || this.joining.has(member)
  }

  /** Null = not known yet. */
  get topology(): Topology | null {
    return this.adopted?.topology ?? this.options.identity.foundation
  }

  get epoch(): number {
    return this.adopted?.epoch ?? 1
  }

  /** Follows what the members' markers name, if that is later than what this coordinator has. */
  async learn(): Promise<void> {
    const { cluster } = this.options.identity
    // Every probe asks about all members: each report is parsed once.
    const fresh = this.options.members().flatMap(({ report }) => {
      return report && this.seen.get(report) !== cluster ? report : []
    })
    for (const report of fresh) this.seen.set(report, cluster)
    const found = fresh.flatMap((report) => this.laterIn(report) ?? [])
    const [newest] = found.sort((a, b) => b.epoch - a.epoch)
    if (newest) await this.follow(newest)
  }

  private laterIn({ marker: bytes, decided }: NodeReport): Topology | null {
    const marker = bytes && decodeMarker(bytes)
    if (marker?.cluster !== this.options.identity.cluster) return null
    if (epochOf(marker) <= this.epoch || !decided) return null
    const found = parseTopology(decided)
    const isNamed = found?.kind === 'topology' && sumOf(found.topology) === marker.topology!.sum
    return isNamed ? found.topology : null
  }

  /** Whether the member holds all keys that it has gained by the last change. */
  hasReceived({ id, marker }: Member): boolean {
    const { topology } = this.adopted ?? {}
    return !topology?.gained.includes(id) || marker?.topology?.received === topology.since
  }

  /**
   * Changes the topology by one step, and follows it.
   *
   * @returns what was decided: ours, or what another coordinator has begun; null = nothing for now
   * @throws StepRefused
   */
  async change(
    step: (from: Topology) => Topology,
    joining: readonly Member[] = [],
  ): Promise<Topology | null> {
    const { identity, versions, members, reprobeAll } = this.options
    await reprobeAll()
    const base = this.topology
    if (!base) throw new StepRefused('the members of the cluster are not known yet')
    const want = step(base)
    if (want === base) return base
    if (!stands(base, (id) => this.isMarked(id, base.epoch))) return null
    for (const member of joining) this.candidates.set(member.id, member)
    try {
      const asked = [...members().filter(({ node }) => node.ready), ...joining]
      const decision = await propose({
        nodes: new Map(asked.map(({ id, node }) => [id, node])),
        ...{ versions, base, want },
        isSound: (id) => this.isSound(id, identity.cluster!),
      })
      if (decision.kind !== 'decided') return null
      await this.follow(decision.topology)
      return decision.topology
    } finally {
      for (const { id } of joining) this.candidates.delete(id)
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
    const { members, memberOf, place, prepare, timers, closeAfterMs } = this.options
    const former = members()
    const known = new Map([...former, ...this.candidates.values()].map((member) => [member.id, member]))
    const next = new Map(membersOf(topology).map((one) => [one.id, known.get(one.id) ?? memberOf(one)]))
    const placement = placementOf(topology, ({ id }) => next.get(id)!)
    const adopted = { topology, epoch: topology.epoch, sum: sumOf(topology), bytes: encodeTopology(topology) }
    this.adopted = adopted
    this.joining = new Set(next.values())
    const prepared = Promise.all([...next.values()].map(prepare))
    const late = new Promise<void>((resolve) => void timers.setTimeout(resolve, PREPARE_MS))
    await Promise.race([prepared, late])
    place(placement)
    this.joining.clear()
    for (const member of former) {
      if (placement.members.includes(member)) continue
      this.left.add(member)
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
  private async isSound(id: string, cluster: string): Promise<boolean> {
    const candidate = this.candidates.get(id)
    const member = candidate ?? this.options.members().find((one) => one.id === id)
    if (!member) return false
    const report = await member.node.probe().catch(() => null) // no answer is no vote
    if (candidate) return report !== null && report.marker === null
    const marker = report?.marker && decodeMarker(report.marker)
    return marker?.cluster === cluster && marker.state === 'clean' && marker.token === member.marker?.token
  }
}
