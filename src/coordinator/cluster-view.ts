/** The cluster as its members have agreed on it, with what this coordinator sees of each. */
import type { Cluster } from '../cluster/cluster.ts'
import type { CoordinatorSeen } from '../cluster/presence.ts'
import type { Member } from '../cluster/member.ts'
import type { Placement } from '../core/placement.ts'
import type { QueuedView } from '../core/queued.ts'
import { partOf } from '../core/ring.ts'
import { membersOf, sumOf, type Layout, type Topology, type TopologyMember } from '../core/topology.ts'

export interface MemberView {
  readonly id: string
  /** redis://host:port without credentials; null = it has no address, or this coordinator does not know it. */
  readonly url: string | null
  readonly weight: number
  readonly zone: string | null
  /** joining and leaving while the change of members is under way. */
  readonly state: 'joining' | 'member' | 'leaving'
  /** Grows when another server takes its place under the same id. */
  readonly incarnation: number
  /** As this coordinator sees it; unknown = its REDIS_URLS do not name it. */
  readonly health: MemberHealth
  /** As the other coordinators see it that are alive: how many as alive, and the ids of those that do not. */
  readonly others: {
    readonly alive: number
    readonly suspect: readonly string[]
    readonly down: readonly string[]
  }
  readonly completeness: string
  /** The members have agreed on it; false for a node that only this coordinator's REDIS_URLS name. */
  readonly isRegistered: boolean
}

export type MemberHealth = 'alive' | 'suspect' | 'down' | 'unknown'

export interface CoordinatorView {
  readonly id: string
  /** host:port of its HTTP server. */
  readonly name: string
  readonly version: string
  readonly epoch: number
  readonly state: 'alive' | 'suspect' | 'down'
  readonly seenAgoSeconds: number
  /** It is the one that was asked. */
  readonly isSelf: boolean
}

export interface ClusterView {
  /** Null = the members have not agreed on one yet. */
  readonly cluster: string | null
  readonly generation: number | null
  /** Of the placement by which this coordinator works. */
  readonly epoch: number
  readonly phase: string | null
  /** 32 hex digits: coordinators with the same have the same topology. */
  readonly checksum: string | null
  readonly replicas: number
  readonly members: readonly MemberView[]
  /** Changes that wait until the one under way has ended; the next one is the first. */
  readonly queue: readonly QueuedView[]
  /** Those that have left a note on the nodes in the last ten minutes, and did not say that they stop. */
  readonly coordinators: readonly CoordinatorView[]
  /** By id: the part of all keys that have their first copy there, and the part of all copies; each sums up to 1. */
  readonly shares: Readonly<Record<string, Share>>
}

export interface Share {
  readonly primary: number
  readonly copies: number
}

export function clusterView(cluster: Cluster): ClusterView {
  const { topology, placement, id } = cluster
  return {
    cluster: id,
    generation: topology?.generation ?? null,
    epoch: placement.epoch,
    phase: topology?.phase ?? null,
    checksum: topology && sumOf(topology),
    replicas: placement.replicas,
    members: membersIn(cluster, topology),
    queue: cluster.queue.view,
    coordinators: cluster.coordinators.map(({ id, state, seenAgoMs, isSelf, note }) => {
      const { name, version, epoch } = note
      return { id, name, version, epoch, state, seenAgoSeconds: Math.round(seenAgoMs / 1000), isSelf }
    }),
    shares: sharesOf(placement),
  }
}

function membersIn(cluster: Cluster, topology: Topology | null): readonly MemberView[] {
  const { layout, members } = cluster
  const others = cluster.coordinators.filter(({ state, isSelf }) => state === 'alive' && !isSelf)
  const registered = topology ? membersOf(topology) : []
  const used = layout.members.map((own) => {
    const known = registered.find(({ id }) => id === own.id)
    const seen = members.find(({ id }) => id === own.id)
    // In the first epoch each coordinator's own configuration decides.
    const shown = topology?.epoch === 1 ? { ...own, life: known?.life ?? own.life } : (known ?? own)
    return viewOf(shown, seen, known !== undefined, stateOf(own.id, topology))
  })
  const elsewhere = registered.filter(({ id }) => !members.some((member) => member.id === id))
  const unused = elsewhere.map((one) => viewOf(one, undefined, true, stateOf(one.id, topology)))
  return [...used, ...unused]
    .map((one) => ({ ...one, others: seenBy(others, one.id) }))
    .sort((a, b) => (a.id < b.id ? -1 : 1))
}

function stateOf(id: string, topology: Topology | null): MemberView['state'] {
  if (!topology?.next) return 'member'
  const isIn = ({ members }: Layout) => members.some((member) => member.id === id)
  if (!isIn(topology.layout)) return 'joining'
  return isIn(topology.next) ? 'member' : 'leaving'
}

function seenBy(coordinators: readonly CoordinatorSeen[], id: string): MemberView['others'] {
  const who = (state: 'suspect' | 'down') =>
    coordinators.flatMap((one) => (one.note.notUp[id] === state ? [one.id] : []))
  const [suspect, down] = [who('suspect'), who('down')]
  return { alive: coordinators.length - suspect.length - down.length, suspect, down }
}

function healthOf(member: Member | undefined): MemberHealth {
  if (!member) return 'unknown'
  const { state } = member.health
  return state === 'up' ? 'alive' : state
}

function viewOf(
  { id, url, weight, zone, life }: TopologyMember,
  seen: Member | undefined,
  isRegistered: boolean,
  state: MemberView['state'],
): Omit<MemberView, 'others'> {
  return {
    id,
    url,
    weight,
    zone,
    state,
    incarnation: life,
    health: healthOf(seen),
    completeness: seen?.completeness ?? 'unknown',
    isRegistered,
  }
}

function sharesOf(placement: Placement<Member>): Record<string, Share> {
  const shares = new Map(placement.members.map(({ id }) => [id, { primary: 0, copies: 0 }]))
  let last = -1
  for (const { range, set } of placement.ranges()) {
    if (range.end === last) continue // two vnodes by chance share a token: only the first of them has keys
    last = range.end
    const part = partOf(range)
    for (const [i, { id }] of set.homes.entries()) {
      const share = shares.get(id)!
      if (i === 0) share.primary += part
      share.copies += part / set.homes.length
    }
  }
  return Object.fromEntries(shares)
}
