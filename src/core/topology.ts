/**
 * The topology: which members hold keys, as the members themselves have agreed (cluster/register.ts), and the steps by
 * which that changes. Pure.
 *
 *   stable ──begin──▶ both ──advance──▶ switched ──advance──▶ stable
 *     A                 A → B              B ← A                 B
 *     ▲                  │ cancel
 *     └──────────────────┘
 *
 *   both      layout A votes and holds all; every write is also held by a majority of B, which receives the rest
 *   switched  layout B has received all, and votes; a majority of A still gets every write, for coordinators that are
 *             one epoch behind
 *
 * Every step is an epoch. Two neighbouring epochs share the majority of A or of B, where one of them votes and the other
 * holds, so that operations under both may run at the same time. Operations under epochs further apart must not: an epoch
 * is decided only once the one before it stands (`stands`), that is, once a majority of each replica set that voted two
 * epochs ago refuses operations from then.
 *
 * `since` and `gained` say what a node that missed epochs lacks: a member whose marker is older than `since`, and which has
 * gained ranges, does not hold them, whatever its marker says.
 */
import { z } from 'zod'
import { Placement } from './placement.ts'
import { isName } from './printable.ts'
import { fingerprint } from './token.ts'

const PHASES = ['stable', 'both', 'switched'] as const
export type Phase = (typeof PHASES)[number]

const name = z.string().refine(isName)
const count = z.number().int().min(1)
const member = z.strictObject({
  /** Its stable name; its positions on the ring depend on this alone. */
  id: name,
  /** redis://host:port without credentials; null = each coordinator knows it from its own configuration. */
  url: name.nullable(),
  weight: z.number().positive(),
  zone: name.nullable(),
  /** Its place in listings, never used again. */
  ordinal: count,
  /** Grows when another server takes its place under the same id. */
  life: count,
})
const layout = z.strictObject({
  members: z.array(member).min(1),
  /** N. */
  replicas: count,
  /** Vnodes of a member of weight 1. */
  vnodes: count,
})
const topology = z.strictObject({
  cluster: name,
  /** Grows when the operator rebuilds the cluster from survivors; an earlier one is refused. */
  generation: count,
  /** Grows by one with every step. */
  epoch: count,
  phase: z.enum(PHASES),
  /** What holds the keys; in `both` and `switched`, what held them when the change began. */
  layout,
  /** What will hold them; null in `stable`. */
  next: layout.nullable(),
  /** The first epoch of the last change that was not cancelled, or is under way; 1 = there was none. */
  since: count,
  /** The same of the change before. */
  sinceBefore: count,
  /** Ids of members that have gained ranges by it. */
  gained: z.array(name),
  gainedBefore: z.array(name),
})

export type TopologyMember = Readonly<z.infer<typeof member>>
export type Layout = Readonly<z.infer<typeof layout>>
export type Topology = Readonly<z.infer<typeof topology>>

/** A step that the topology does not allow now. */
export class StepRefused extends Error {
  constructor(why: string) {
    super(why)
    this.name = 'StepRefused'
  }
}

// ---- its form on the nodes

/** The form of releases that had no changes: ids only, and always the first epoch. */
const first = z.strictObject({ cluster: name, epoch: z.literal(1), members: z.array(name).min(1) })

/** What a record of the register says of the members: the topology, or the ids of an earlier release. */
export type Registered =
  | { readonly kind: 'topology'; readonly topology: Topology }
  | { readonly kind: 'ids'; readonly cluster: string; readonly ids: readonly string[] }

/** Ids as well, for those releases: a cluster that has not changed yet can be shared with them. */
export function encodeTopology(value: Topology): Buffer {
  const members = membersOf(value).map(({ id }) => id)
  return Buffer.from(JSON.stringify({ version: 2, ...value, members }))
}

/** Null for bytes that hold no topology. */
export function parseTopology(bytes: Buffer): Registered | null {
  let found: unknown
  try {
    found = JSON.parse(bytes.toString('utf8'))
  } catch {
    return null // not written by Rondo, as the caller says
  }
  if (typeof found !== 'object' || found === null) return null
  const { version, members, ...rest } = found as Record<string, unknown>
  if (version === undefined) {
    const early = first.safeParse(found)
    return early.success ? { kind: 'ids', cluster: early.data.cluster, ids: early.data.members } : null
  }
  const now = topology.safeParse(rest)
  const isKnown = version === 2 && Array.isArray(members) && now.success && isSound(now.data)
  return isKnown ? { kind: 'topology', topology: now.data } : null
}

function isSound({ phase, next, layout }: Topology): boolean {
  const areDistinct = ({ members }: Layout) => new Set(members.map(({ id }) => id)).size === members.length
  return (phase === 'stable') === (next === null) && areDistinct(layout) && (!next || areDistinct(next))
}

/** 32 hex digits over all that decides where keys are: two topologies of one epoch with different sums are not the same. */
export function sumOf({ cluster, generation, epoch, phase, layout, next }: Topology): string {
  return fingerprint(JSON.stringify([cluster, generation, epoch, phase, layout, next]))
}

// ---- steps

/** The topology of a new cluster, or of one that an earlier release founded. */
export function founded(cluster: string, layout: Layout): Topology {
  return {
    cluster,
    generation: 1,
    epoch: 1,
    phase: 'stable',
    layout,
    next: null,
    since: 1,
    sinceBefore: 1,
    gained: [],
    gainedBefore: [],
  }
}

/** What an earlier release founded. @param layout where it is known: of those ids that it has */
export function foundedWith(cluster: string, ids: readonly string[], layout: Layout): Topology {
  const members = ids.map((id, i) => {
    const known = layout.members.find((one) => one.id === id)
    return { id, url: null, weight: 1, zone: null, life: 1, ...known, ordinal: i + 1 }
  })
  return founded(cluster, { ...layout, members })
}

/** Begins a change. @throws StepRefused */
export function begin(from: Topology, next: Layout): Topology {
  if (from.phase !== 'stable') throw new StepRefused('another change is under way')
  const gained = gainedBy(from.layout, next)
  if (isSameLayout(from.layout, next)) throw new StepRefused('it would change nothing')
  const epoch = from.epoch + 1
  const { since: sinceBefore, gained: gainedBefore } = from
  return { ...from, epoch, phase: 'both', next, since: epoch, sinceBefore, gained, gainedBefore }
}

/** The next step of the change: the next layout votes, then it stands alone. @throws StepRefused */
export function advance(from: Topology): Topology {
  const epoch = from.epoch + 1
  if (from.phase === 'both') return { ...from, epoch, phase: 'switched' }
  if (from.phase !== 'switched') throw new StepRefused('no change is under way')
  return { ...from, epoch, phase: 'stable', layout: from.next!, next: null }
}

/** Undoes a change that has not switched yet. @throws StepRefused */
export function cancel(from: Topology): Topology {
  if (from.phase === 'stable') throw new StepRefused('no change is under way')
  if (from.phase === 'switched') {
    throw new StepRefused('the change has switched over already: make the opposite change when it has ended')
  }
  const { sinceBefore, gainedBefore } = from
  const epoch = from.epoch + 1
  return { ...from, epoch, phase: 'stable', next: null, since: sinceBefore, gained: gainedBefore }
}

// ---- what it means

/** The layout whose majorities say what is current. */
export function votingLayout({ phase, layout, next }: Topology): Layout {
  return phase === 'switched' ? next! : layout
}

/** All members that hold keys now. */
export function membersOf({ layout, next }: Topology): readonly TopologyMember[] {
  const all = new Map(layout.members.map((one) => [one.id, one]))
  for (const one of next?.members ?? []) all.set(one.id, one)
  return [...all.values()]
}

/** @param nodeOf the node of a member: the same object for the same id */
export function placementOf<T extends { readonly id: string }>(
  { epoch, since, phase, layout, next }: Topology,
  nodeOf: (member: TopologyMember) => T,
): Placement<T> {
  const of = ({ members, replicas, vnodes }: Layout) => {
    const byNode = new Map(members.map((member) => [nodeOf(member), member]))
    return Placement.of({
      ...{ epoch, since },
      members: byNode.keys(),
      replicationFactor: replicas,
      vnodesPerNode: vnodes,
      shapeOf: (node) => {
        const { weight, zone } = byNode.get(node)!
        return { weight, zone: zone ?? undefined }
      },
    })
  }
  if (next === null) return of(layout)
  return phase === 'both'
    ? Placement.joint({ epoch, since }, of(layout), of(next), true)
    : Placement.joint({ epoch, since }, of(next), of(layout), false)
}

/**
 * Whether the next epoch may be decided: a majority of each replica set that voted an epoch ago, and whose keys the change
 * concerns, refuses operations from before that.
 *
 * @param isMarked whether the member's marker has this epoch or a later one
 */
export function stands(topology: Topology, isMarked: (id: string) => boolean): boolean {
  // In both middle phases the sets of the present layout voted an epoch ago; afterwards those of the new one did.
  const { next } = topology
  const placement = placementOf({ ...topology, phase: next ? 'both' : 'stable' }, nodesById())
  for (const set of placement.replicaSets()) {
    if (next && !set.isJoint) continue
    const marked = [...set.homes.slice(0, set.voters).keys()].filter((i) => isMarked(set.homes[i]!.id))
    if (!set.hasVotes(marked, 'quorum')) return false
  }
  return true
}

/** Ids of the members that have to be brought keys which they do not hold under the first layout for certain. */
function gainedBy(from: Layout, to: Layout): string[] {
  const change: Topology = { ...founded('-', from), phase: 'both', next: to }
  const gained = new Set<string>()
  for (const set of placementOf(change, nodesById()).replicaSets()) {
    for (const [place, { id }] of set.homes.entries()) if (set.isGainedBy(place)) gained.add(id)
  }
  return [...gained].sort()
}

function isSameLayout(one: Layout, two: Layout): boolean {
  return JSON.stringify(one) === JSON.stringify(two)
}

function nodesById(): (member: TopologyMember) => { readonly id: string } {
  const nodes = new Map<string, { readonly id: string }>()
  return ({ id }) => {
    let node = nodes.get(id)
    if (!node) nodes.set(id, (node = { id }))
    return node
  }
}
