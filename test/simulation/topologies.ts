/**
 * The members as they were decided, epoch by epoch, seen from outside: what any coordinator has begun to work by. Two
 * coordinators must never work by different members in the same epoch.
 *
 * Who holds a key is worked out here from one layout at a time, and not by what the code makes of two of them
 * (core/replica-set.ts): what is checked must not be checked by itself.
 */
import {
  founded,
  membersOf,
  placementOf,
  sumOf,
  votingLayout,
  type Layout,
  type Topology,
  type TopologyMember,
} from '../../src/core/topology.ts'
import type { Placement } from '../../src/core/placement.ts'
import type { Server } from './server.ts'

interface Known {
  readonly topology: Topology
  readonly sum: string
  readonly voting: Placement<Placed>
  readonly other: Placement<Placed> | null
}

/** A server in the place of a member, by whose id keys are placed. */
interface Placed {
  readonly id: string
  readonly server: Server
}

/** The home replicas of a key. */
export interface Homes {
  readonly voters: readonly Server[]
  /** While members change: those of the layout that does not vote. */
  readonly others: readonly Server[] | null
  /** All of them. */
  readonly all: readonly Server[]
  /** Still being brought what is there: they need not know all. */
  readonly receiving: readonly Server[]
}

/** @param level whether a majority is enough, or all must */
export function isHeldBy(
  { voters, others }: Pick<Homes, 'voters' | 'others'>,
  holds: (server: Server) => boolean,
  level: 'quorum' | 'all' = 'quorum',
): boolean {
  const enough = (servers: readonly Server[]) => {
    const holding = servers.filter(holds).length
    return level === 'all' ? holding === servers.length : 2 * holding > servers.length
  }
  return enough(voters) && (others === null || enough(others))
}

export class Topologies {
  private readonly byEpoch = new Map<number, Known>()
  private readonly serverOf: (member: TopologyMember) => Server
  private last = 0

  constructor(serverOf: (member: TopologyMember) => Server) {
    this.serverOf = serverOf
  }

  /** Before the first change. */
  found(cluster: string, layout: Layout): void {
    this.note(founded(cluster, layout))
  }

  /** @returns false if other members were seen in the same epoch; `isNew`: nobody worked by it before */
  note(topology: Topology): { readonly isSame: boolean; readonly isNew: boolean } {
    const known = this.byEpoch.get(topology.epoch)
    const sum = sumOf(topology)
    if (known) return { isSame: known.sum === sum, isNew: false }
    const voting = votingLayout(topology)
    const { layout, next } = topology
    const other = next && (voting === layout ? next : layout)
    const of = (one: Layout) => {
      const places = new Map(
        one.members.map((member) => [member.id, { id: member.id, server: this.serverOf(member) }]),
      )
      return placementOf({ ...topology, phase: 'stable', layout: one, next: null }, ({ id }) =>
        places.get(id)!,
      )
    }
    this.byEpoch.set(topology.epoch, { topology, sum, voting: of(voting), other: other && of(other) })
    this.last = Math.max(this.last, topology.epoch)
    return { isSame: true, isNew: true }
  }

  /** The newest epoch that a coordinator works by. */
  get epoch(): number {
    return this.last
  }

  get newest(): Topology {
    return this.byEpoch.get(this.last)!.topology
  }

  /** Null = not known: no coordinator worked by it. */
  phaseOf(epoch: number): Topology['phase'] | null {
    return this.byEpoch.get(epoch)?.topology.phase ?? null
  }

  isMember(server: Server): boolean {
    return this.memberIdOf(server) !== null
  }

  /** Null = it is no member. */
  memberIdOf(server: Server): string | null {
    return membersOf(this.newest).find((member) => this.serverOf(member) === server)?.id ?? null
  }

  /** @param epoch the nearest one before it that is known, if it is not */
  homesOf(key: string, epoch = this.last): Homes {
    let at = epoch
    while (!this.byEpoch.has(at)) at--
    const { voting, other, topology } = this.byEpoch.get(at)!
    const of = (placement: Placement<Placed>) =>
      placement.replicaSetOf(Buffer.from(key)).homes.map(({ server }) => server)
    const voters = of(voting)
    const others = other && of(other)
    const all = [...new Set([...voters, ...(others ?? [])])]
    const receiving = topology.phase === 'both' ? all.filter((server) => !voters.includes(server)) : []
    return { voters, others, all, receiving }
  }
}
