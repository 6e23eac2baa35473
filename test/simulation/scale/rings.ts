/** What follows from the ring alone: how evenly keys lie, what a change moves, and what both cost to work out. */
import { Placement } from '../../../src/core/placement.ts'
import { partOf, Ring } from '../../../src/core/ring.ts'
import { encodeTopology, founded, type Layout } from '../../../src/core/topology.ts'

const REPLICAS = 3

interface WeightedNode {
  readonly id: string
  readonly weight: number
}

function nodesOf(count: number, weights: readonly number[] = [1]): WeightedNode[] {
  return Array.from({ length: count }, (_, i) => {
    return { id: `redis-${String(i).padStart(4, '0')}:6379`, weight: weights[i % weights.length]! }
  })
}

function placementOf(members: readonly WeightedNode[], vnodes: number, epoch = 1): Placement<WeightedNode> {
  return Placement.of({ epoch, members, replicationFactor: REPLICAS, vnodesPerNode: vnodes })
}

/** The share of all copies that each node holds. */
function sharesOf(placement: Placement<WeightedNode>): Map<WeightedNode, number> {
  const shares = new Map(placement.members.map((node) => [node, 0]))
  let last = -1
  for (const { range, set } of placement.ranges()) {
    if (range.end === last) continue // of vnodes that share a token only the first has keys
    last = range.end
    for (const home of set.homes) shares.set(home, shares.get(home)! + partOf(range) / set.homes.length)
  }
  return shares
}

/** The fullest node against the mean, for its weight; 1 = all are equally full. */
export function imbalance(count: number, vnodes: number, weights?: readonly number[]): number {
  const nodes = nodesOf(count, weights)
  const total = nodes.reduce((sum, { weight }) => sum + weight, 0)
  const fill = [...sharesOf(placementOf(nodes, vnodes))].map(
    ([{ weight }, share]) => share / (weight / total),
  )
  return Math.max(...fill)
}

export interface Moved {
  /** Of all copies, that have to be brought to a node which did not hold them. */
  readonly share: number
  /** What the nodes that join, or take the place of one that leaves, are due. */
  readonly ideal: number
}

/** One node joins `count` nodes, or leaves them. */
export function movedBy(kind: 'join' | 'leave', count: number, vnodes: number): Moved {
  const fewer = nodesOf(kind === 'join' ? count : count - 1)
  const more = nodesOf(fewer.length + 1)
  // The same nodes must be the same objects.
  const all = [...fewer, more.at(-1)!]
  const [from, to] = kind === 'join' ? [fewer, all] : [all, fewer]
  const before = placementOf(from, vnodes)
  const after = placementOf(to, vnodes, 2)
  let share = 0
  let last = -1
  for (const { range } of Placement.joint({ epoch: 2, since: 2 }, before, after).ranges()) {
    if (range.end === last) continue
    last = range.end
    const held = before.replicaSetAt(range.end).homes
    const homes = after.replicaSetAt(range.end).homes
    share += (partOf(range) * homes.filter((home) => !held.includes(home)).length) / homes.length
  }
  return { share, ideal: 1 / all.length }
}

export interface RingCosts {
  readonly ringMs: number
  readonly placementMs: number
  /** With all its replica sets, as a change of members needs them. */
  readonly jointMs: number
  readonly topologyBytes: number
  /** While a node joins: both layouts. */
  readonly jointTopologyBytes: number
}

export function ringCosts(count: number, vnodes: number): RingCosts {
  const all = nodesOf(count + 1)
  const some = all.slice(0, -1)
  const before = placementOf(some, vnodes)
  const after = placementOf(all, vnodes, 2)
  const layout = layoutOf(some, vnodes)
  const stable = founded('0123456789abcdef01234567', layout)
  const next = layoutOf(all, vnodes)
  return {
    ringMs: msOf(() => Ring.of(some, { vnodesPerNode: vnodes })),
    placementMs: msOf(() => placementOf(some, vnodes)),
    jointMs: msOf(() => [...Placement.joint({ epoch: 2, since: 2 }, before, after).replicaSets()]),
    topologyBytes: encodeTopology(stable).length,
    jointTopologyBytes: encodeTopology({ ...stable, epoch: 2, since: 2, phase: 'both', next }).length,
  }
}

function layoutOf(nodes: readonly WeightedNode[], vnodes: number): Layout {
  const members = nodes.map(({ id, weight }, i) => {
    return { id, url: `redis://${id}`, weight, zone: null, ordinal: i + 1, life: 1 }
  })
  return { members, replicas: REPLICAS, vnodes }
}

const RUNS = 3

/** CPU time, which other programs do not lengthen much: the middle one of three runs. */
function msOf(run: () => unknown): number {
  const all = Array.from({ length: RUNS }, () => {
    const start = process.cpuUsage()
    run()
    const { user, system } = process.cpuUsage(start)
    return (user + system) / 1000
  })
  return all.sort((a, b) => a - b)[1]!
}
