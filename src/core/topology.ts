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
import { versionText } from './clock.ts'
import { covers, Floors, type Floor } from './floors.ts'
import { Placement } from './placement.ts'
import { partOf } from './ring.ts'
import { isName } from './printable.ts'
import { QUEUED, type Queued } from './queued.ts'
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
  /** Where its url names Sentinels: host:port of the Redis that is the primary in this life. */
  primary: name.optional(),
  weight: z.number().positive(),
  zone: name.nullable(),
  /** Its place in listings, never used again. */
  ordinal: count,
  /**
   * The epoch since which this server has the id; 1 = the cluster was founded with it. A server with a marker of an earlier
   * life has old data.
   */
  life: count,
  /** Its url was given over the API: coordinators do not prefer the address in their own configuration. */
  isGiven: z.literal(true).optional(),
})
const layout = z.strictObject({
  members: z.array(member).min(1),
  /** N. */
  replicas: count,
  /** Vnodes of a member of weight 1. */
  vnodes: count,
  /** Ids of members that are gone for good with what they held, which the operator has accepted (core/placement.ts). */
  lost: z.array(name).optional(),
})
const floor = z.strictObject({
  /** Null = all. */
  database: z.number().int().min(0).nullable(),
  /** In hex: what has no later version does not exist (core/floors.ts). */
  version: z.string().regex(/^[0-9a-f]{24}$/),
  /** The epoch since which that is so. */
  since: count,
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
  /** At most one of all databases and one of each; absent = none. */
  floors: z.array(floor).optional(),
})

const queued = z.array(QUEUED).optional()

export type TopologyMember = Readonly<z.infer<typeof member>>
export type Layout = Readonly<z.infer<typeof layout>>
export type Topology = Readonly<z.infer<typeof topology>>
type RegisteredFloor = Readonly<z.infer<typeof floor>>

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

/** What a record of the register says of the members: the topology and the changes that wait, or the ids of an earlier release. */
export type Registered =
  | { readonly kind: 'topology'; readonly topology: Topology; readonly queue?: readonly Queued[] }
  | { readonly kind: 'ids'; readonly cluster: string; readonly ids: readonly string[] }

/** Ids as well, for those releases: a cluster that has not changed yet can be shared with them. */
export function encodeTopology(value: Topology, queue: readonly Queued[] = []): Buffer {
  const members = membersOf(value).map(({ id }) => id)
  const waiting = queue.length > 0 ? { queue } : {}
  return Buffer.from(JSON.stringify({ version: 2, ...value, members, ...waiting }))
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
  const { version, members, queue, ...rest } = found as Record<string, unknown>
  if (version === undefined) {
    const early = first.safeParse(found)
    return early.success ? { kind: 'ids', cluster: early.data.cluster, ids: early.data.members } : null
  }
  const now = topology.safeParse(rest)
  const waiting = queued.safeParse(queue)
  const isKnown = version === 2 && Array.isArray(members) && now.success && isSound(now.data)
  if (!isKnown || !waiting.success) return null
  return { kind: 'topology', topology: now.data, ...(waiting.data && { queue: waiting.data }) }
}

function isSound({ phase, next, layout }: Topology): boolean {
  const areDistinct = ({ members }: Layout) => new Set(members.map(({ id }) => id)).size === members.length
  return (phase === 'stable') === (next === null) && areDistinct(layout) && (!next || areDistinct(next))
}

/** 32 hex digits over all that decides which keys are where: two topologies of one epoch with different sums are not the same. */
export function sumOf({ cluster, generation, epoch, phase, layout, next, floors }: Topology): string {
  const parts = [cluster, generation, epoch, phase, layout, next]
  return fingerprint(JSON.stringify(floors ? [...parts, floors] : parts))
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

/**
 * Begins a change.
 *
 * @param lost members that are gone, where so many are that keys are lost
 * @throws StepRefused
 */
export function begin(from: Topology, next: Layout, lost: readonly string[] = []): Topology {
  if (from.phase !== 'stable') throw new StepRefused('another change is under way')
  if (isSameLayout(from.layout, next)) throw new StepRefused('it would change nothing')
  const layout = lost.length > 0 ? { ...from.layout, lost: [...lost] } : from.layout
  const gained = gainedBy(layout, next)
  const epoch = from.epoch + 1
  const { since: sinceBefore, gained: gainedBefore } = from
  return { ...from, epoch, phase: 'both', layout, next, since: epoch, sinceBefore, gained, gainedBefore }
}

/** The next step of the change: the next layout votes, then it stands alone. @throws StepRefused */
export function advance(from: Topology): Topology {
  const epoch = from.epoch + 1
  if (from.phase === 'both') return { ...from, epoch, phase: 'switched' }
  if (from.phase !== 'switched') throw new StepRefused('no change is under way')
  return { ...from, epoch, phase: 'stable', layout: from.next!, next: null }
}

/**
 * Another server takes the place of a member: same id, same keys. No second set of home replicas is needed: the server
 * counts for nothing until it has been filled from the others, and those it is filled from refuse operations from before.
 *
 * @throws StepRefused
 */
export function replace(from: Topology, id: string, url: string, primary?: string): Topology {
  return refilled(readdress(from, id, { ...placeOf(url, primary), life: from.epoch + 1 }), id)
}

/**
 * A Sentinel has made another server the primary of a member. It may lack acknowledged writes, because Redis replicates
 * asynchronously, and the former one may not know of it: as if a server had taken the place of another.
 *
 * @param primary host:port
 * @throws StepRefused
 */
export function failOver(from: Topology, id: string, primary: string): Topology {
  return refilled(readdress(from, id, { primary, life: from.epoch + 1 }), id)
}

/**
 * A member has another address.
 *
 * @param isSame the same run of the server; otherwise it may lack writes
 * @throws StepRefused
 */
export function move(from: Topology, id: string, url: string, isSame = true, primary?: string): Topology {
  const next = readdress(from, id, placeOf(url, primary))
  return isSame ? next : refilled(next, id)
}

/** It lacks keys from this epoch on, until it was brought them. */
function refilled(topology: Topology, id: string): Topology {
  const { epoch, since: sinceBefore, gained: gainedBefore } = topology
  return { ...topology, since: epoch, sinceBefore, gained: [id], gainedBefore }
}

type Readdressing = { primary: string; life: number } | (Given & { life?: number })
type Given = Pick<TopologyMember, 'url' | 'primary' | 'isGiven'>

function placeOf(url: string, primary: string | undefined): Given {
  return { url, primary, isGiven: true }
}

function readdress(from: Topology, id: string, change: Readdressing): Topology {
  if (from.phase !== 'stable') throw new StepRefused('another change is under way')
  const members = from.layout.members.map((one) => {
    if (one.id !== id) return one
    const next = { ...one, ...change }
    if (next.primary === undefined) delete next.primary
    return next
  })
  return { ...from, epoch: from.epoch + 1, layout: { ...from.layout, members } }
}

/** Undoes a change that has not switched yet. @throws StepRefused */
export function cancel(from: Topology): Topology {
  if (from.phase === 'stable') throw new StepRefused('no change is under way')
  if (from.layout.lost) {
    throw new StepRefused('members that are gone with data were given up, which cannot be undone')
  }
  if (from.phase === 'switched') {
    throw new StepRefused('the change has switched over already: make the opposite change when it has ended')
  }
  const { sinceBefore, gainedBefore } = from
  const epoch = from.epoch + 1
  return { ...from, epoch, phase: 'stable', next: null, since: sinceBefore, gained: gainedBefore }
}

/**
 * Epochs that a new generation leaves out: whatever those that are given up had decided without the survivors is earlier.
 */
const EPOCHS_LEFT_OUT = 1000

/**
 * Goes on with what is left where a majority of the members is gone for good, which only the operator can know. Also in
 * the middle of a change, from what voted then.
 *
 * @param survivors ids
 * @throws StepRefused
 */
export function recover(from: Topology, survivors: readonly string[]): Topology {
  const { lost: before = [], ...layout } = votingLayout(from)
  const isLeft = ({ id }: TopologyMember) => survivors.includes(id) && !before.includes(id)
  const lost = layout.members.filter((member) => !isLeft(member)).map(({ id }) => id)
  const next = { ...layout, members: layout.members.filter(isLeft) }
  const stable: Topology = { ...from, phase: 'stable', layout, next: null }
  const begun = begin({ ...stable, epoch: from.epoch + EPOCHS_LEFT_OUT }, next, lost)
  return { ...begun, generation: from.generation + 1 }
}

/**
 * A flush: what is below the floor does not exist any more. Not while members change: only neighbouring epochs of a change may
 * be in use together.
 *
 * @throws StepRefused
 */
export function raiseFloor(from: Topology, { database, version }: Floor): Topology {
  if (from.phase !== 'stable') throw new StepRefused('the members are changing')
  const since = from.epoch + 1
  const raised = { database, version: versionText(version), since }
  // None is needed below it any more.
  const others = (from.floors ?? []).filter(
    (one) => !(covers(database, one.database) && one.version <= raised.version),
  )
  return { ...from, epoch: since, floors: [...others, raised] }
}

// ---- what it means

/** Since when a floor at least as high is in force; null = none is. */
export function floorSince({ floors = [] }: Topology, { database, version }: Floor): number | null {
  const least = versionText(version)
  const found = floors.find((one) => covers(one.database, database) && one.version >= least)
  return found?.since ?? null
}

/** Those that a node with this epoch has. @returns null = none */
export function floorsAt({ floors = [] }: Topology, epoch: number): Floors | null {
  const present = floors.filter(({ since }) => since <= epoch)
  return present.length === 0 ? null : new Floors(present.map(floorIn))
}

function floorIn({ database, version }: RegisteredFloor): Floor {
  return { database, version: Buffer.from(version, 'hex') }
}

/** The layout whose majorities say what is current. */
export function votingLayout({ phase, layout, next }: Topology): Layout {
  return phase === 'switched' ? next! : layout
}

/** The first names less than half of the members of the other, and no further ones: enough to find those. */
export function isPartOf(some: Layout, all: Layout): boolean {
  if (2 * some.members.length >= all.members.length) return false
  const ids = new Set(all.members.map(({ id }) => id))
  return some.members.every(({ id }) => ids.has(id)) && all.members.every(({ url }) => url !== null)
}

/** Those who agree on epochs: all, or what is left where a majority was given up (`recover`). */
export function electorsOf({ members, lost = [] }: Layout): readonly TopologyMember[] {
  const left = members.filter(({ id }) => !lost.includes(id))
  return 2 * left.length > members.length ? members : left
}

/** 32 hex digits, the same for layouts that place every key on the same members, wherever these can be reached. */
export function shapeOf({ members, replicas, vnodes }: Layout): string {
  const rows = members.map(({ id, weight, zone }) => JSON.stringify([id, weight, zone]))
  return fingerprint(JSON.stringify([rows.sort(), replicas, vnodes]))
}

/** All members that hold keys now. */
export function membersOf({ layout, next }: Topology): readonly TopologyMember[] {
  const all = new Map(layout.members.map((one) => [one.id, one]))
  for (const one of next?.members ?? []) all.set(one.id, one)
  return [...all.values()]
}

/** @param nodeOf the node of a member: the same object for the same id */
export function placementOf<T extends { readonly id: string }>(
  topology: Topology,
  nodeOf: (member: TopologyMember) => T,
): Placement<T> {
  const { epoch, phase, layout, next, floors = [] } = topology
  // An answer from before a flush counts for nothing, as one from before a change of members.
  const since = Math.max(topology.since, ...floors.map((one) => one.since))
  const of = ({ members, replicas, vnodes, lost = [] }: Layout) => {
    const byNode = new Map(members.map((member) => [nodeOf(member), member]))
    return Placement.of({
      ...{ epoch, since },
      lost: new Set(members.filter(({ id }) => lost.includes(id)).map(nodeOf)),
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

/** What a cluster loses with members that are gone. */
export interface Loss {
  /** Ranges of which fewer copies than a majority are left, and their part of all keys. */
  readonly ranges: number
  readonly share: number
  /** The same for those of which no copy is left. */
  readonly goneRanges: number
  readonly goneShare: number
}

/** @param gone ids */
export function lossWithout({ layout }: Topology, gone: readonly string[]): Loss {
  const loss = { ranges: 0, share: 0, goneRanges: 0, goneShare: 0 }
  const placement = placementOf(founded('-', layout), nodesById())
  let last = -1
  for (const { range, set } of placement.ranges()) {
    if (range.end === last) continue // two vnodes by chance share a token: only the first of them has keys
    last = range.end
    const left = set.homes.filter(({ id }) => !gone.includes(id))
    if (left.length >= set.required('quorum')) continue
    const share = partOf(range)
    loss.ranges++
    loss.share += share
    if (left.length > 0) continue
    loss.goneRanges++
    loss.goneShare += share
  }
  return loss
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

/** Ids of members that only the first has. */
export function onlyIn(one: Layout, other: Layout): string[] {
  const ids = new Set(other.members.map(({ id }) => id))
  return one.members.map(({ id }) => id).filter((id) => !ids.has(id))
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
