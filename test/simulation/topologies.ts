/**
 * The members as they were decided, epoch by epoch, seen from outside: what any coordinator has begun to work by. Two
 * coordinators must never work by different members in the same epoch.
 */
import {
  founded,
  membersOf,
  placementOf,
  sumOf,
  type Layout,
  type Topology,
} from '../../src/core/topology.ts'
import type { Placement } from '../../src/core/placement.ts'
import type { ReplicaSet } from '../../src/core/replica-set.ts'
import type { Server } from './server.ts'

interface Known {
  readonly topology: Topology
  readonly sum: string
  readonly placement: Placement<Server>
}

export class Topologies {
  private readonly byEpoch = new Map<number, Known>()
  private readonly serverOf: (id: string) => Server
  private last = 0

  constructor(serverOf: (id: string) => Server) {
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
    const placement = placementOf(topology, ({ id }) => this.serverOf(id))
    this.byEpoch.set(topology.epoch, { topology, sum, placement })
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

  isMember({ id }: Server): boolean {
    return membersOf(this.newest).some((member) => member.id === id)
  }

  /** @param epoch the nearest one before it that is known, if it is not */
  setOf(key: string, epoch = this.last): ReplicaSet<Server> {
    let at = epoch
    while (!this.byEpoch.has(at)) at--
    return this.byEpoch.get(at)!.placement.replicaSetOf(Buffer.from(key))
  }
}
