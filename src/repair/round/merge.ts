/**
 * Copies to one member everything that the others hold for it: every key of which it is a home replica, from every other
 * member that has a copy, home replica or fallback replica.
 *
 * The sources, and whether they suffice, are decided before (sources below) and confirmed afterwards: a source that lost
 * data meanwhile has a new marker by then, and the whole merge does not count.
 *
 * A record is copied only once its other home replicas agree on it (agreement.ts).
 * What a fallback replica has kept for longer than deletes are remembered is not copied (cluster/freshness.ts), unless too
 * few home replicas are clean.
 */
import type { Member } from '../../cluster/member.ts'
import { encodeMarker, epochOf } from '../../cluster/marker.ts'
import { compareVersions } from '../../core/clock.ts'
import { StoredRecord } from '../../core/codec.ts'
import { isInternal } from '../../core/keys.ts'
import { LIFE_TOLERANCE_MS } from '../../core/lifetime.ts'
import type { Placement } from '../../core/placement.ts'
import type { ReplicaSet } from '../../core/replica-set.ts'
import type { ScanEntry } from '../../nodes/node.ts'
import { agreedRecord } from './agreement.ts'
import { isOurs } from './context.ts'
import { answerOf, canEnd, copyRecord, fetchRecord, lifeAt, RepairStopped } from './copy.ts'
import type { RepairContext } from '../context.ts'

export interface MergeProgress {
  /** Keys checked, of all sources together. */
  checked: number
  /** Records sent to the member. */
  sent: number
}

/** all = every key of which it is a home replica; gained = those of which it was none before the change of members */
export type MergeScope = 'all' | 'gained'

export interface Sources {
  readonly placement: Placement<Member>
  readonly scope: MergeScope
  readonly members: readonly Member[]
  /** Too few of them are clean: acknowledged writes may be lost. */
  readonly lossy: boolean
}

const PAGE_KEYS = 256

/**
 * The members to merge from, or null while one must be waited for.
 *
 * For each key, N − Q + 1 of the other home replicas must be clean: any Q that acknowledged a write include one of them.
 * An unreachable one may return with its data, and a stale one may be kept (stale.ts). But once all of them are
 * reachable, and some have lost data themselves, there is nothing to wait for. Members by which the cluster has just grown
 * have lost nothing: if all others are clean, so is all that was written before.
 *
 * @param scope what the member lacks: all that it is a home replica of, or only what it has gained by a change
 * @param isNew whether the cluster has just grown by this member
 */
export function sourcesFor(
  placement: Placement<Member>,
  member: Member,
  scope: MergeScope,
  isNew: (member: Member) => boolean = () => false,
): Sources | null {
  const needed = placement.sufficient
  let lossy = false
  for (const set of placement.replicaSets()) {
    if (!wants(set, member, scope)) continue
    const fellows = set.homes.slice(0, set.voters).filter((home) => home !== member)
    const clean = fellows.filter((home) => isSource(set, home))
    // What it has gained beside what it holds as a voter: then it is one of them itself.
    const isOne = scope === 'gained' && set.homes.indexOf(member) < set.voters && isSource(set, member)
    if (clean.length + (isOne ? 1 : 0) >= needed) continue
    if (!fellows.every((home) => home.node.ready && home.marker && home.completeness !== 'stale')) return null
    lossy = true
  }
  return {
    ...{ placement, scope },
    // Values of a stale member may have been deleted.
    members: placement.members.filter(
      (other) => other !== member && other.node.ready && other.marker && other.completeness !== 'stale',
    ),
    lossy:
      lossy &&
      !placement.members.every((one) => isNew(one) || (one.node.ready && one.completeness === 'clean')),
  }
}

/** What one merge works with. */
interface Merge {
  readonly context: RepairContext
  readonly member: Member
  readonly sources: Sources
  /** The marker of each source at the start. */
  readonly markers: ReadonlyMap<Member, Buffer>
  readonly progress: MergeProgress
}

/** @throws RepairStopped when a node fails, or has changed its marker since the start */
export async function merge(
  context: RepairContext,
  member: Member,
  sources: Sources,
  progress: MergeProgress,
  keepGoing: () => Promise<void>,
): Promise<void> {
  const markers = new Map(sources.members.map((source) => [source, encodeMarker(source.marker!)]))
  const work: Merge = { context, member, sources, markers, progress }
  for (const source of sources.members) await mergeFrom(work, source, keepGoing)
  for (const source of sources.members) {
    const { marker, runId } = await source.node.probe()
    if (!marker?.equals(markers.get(source)!) || runId !== source.marker!.runId) {
      throw new RepairStopped(source.node, 'it lost data or was restarted while it was read')
    }
  }
}

async function mergeFrom(work: Merge, source: Member, keepGoing: () => Promise<void>): Promise<void> {
  let cursor = '0'
  do {
    await keepGoing()
    const page = await answerOf(source.node, source.node.scan(cursor, null, PAGE_KEYS))
    work.progress.checked += page.entries.length
    const wanted = page.entries.filter((entry) => isWanted(work, source, entry))
    await Promise.all(wanted.map((entry) => bring(work, source, entry)))
    cursor = page.cursor
  } while (cursor !== '0')
}

function isWanted({ context, member, sources }: Merge, source: Member, { key, head }: ScanEntry): boolean {
  const record = new StoredRecord(head)
  if (isInternal(key) || !isOurs(record)) return false
  const set = sources.placement.replicaSetOf(key)
  if (!wants(set, member, sources.scope)) return false
  const { homes } = set
  const isNothing = !homes.includes(source) && context.cluster.freshness.isForgotten(source, record)
  return !isNothing || sources.lossy
}

/** It holds all acknowledged writes, and refuses what was planned before the change of members. */
function isSource(set: ReplicaSet<Member>, { node, completeness, marker }: Member): boolean {
  return node.ready && completeness === 'clean' && set.isOfEpoch({ epoch: epochOf(marker!) })
}

function wants(set: ReplicaSet<Member>, member: Member, scope: MergeScope): boolean {
  const place = set.homes.indexOf(member)
  return scope === 'all' ? place >= 0 : set.isGainedBy(place)
}

/** Compares heads first: whole records are read only if they are missing, or are kept longer at the source. */
async function bring(work: Merge, source: Member, { key, head }: ScanEntry): Promise<void> {
  const { context, member, sources, markers, progress } = work
  const held = await fetchRecord(member.node, key, null)
  const order = held ? compareVersions(held.version, new StoredRecord(head).version) : -1
  if (order > 0) return
  if (order === 0 && (!canEnd(held!) || held!.isLasting || !(await livesLonger(source, member, key)))) return
  const set = sources.placement.replicaSetOf(key)
  const voters = set.homes.slice(0, set.voters).flatMap((home) => {
    const marker = markers.get(home)
    return marker && isSource(set, home) ? [{ member: home, marker }] : []
  })
  const from = { member: source, marker: markers.get(source)! }
  const { replicas } = sources.placement
  const beganAtMs = context.cluster.time.nowMs()
  const record =
    order < 0 && voters.length > 0 && !isNeeded(set, member)
      ? await agreedRecord(context, key, from, voters, replicas)
      : await fetchRecord(source.node, key, from.marker)
  if (!record?.versioned) return
  progress.sent++
  await copyRecord(context, [source.node], member.node, key, record, beganAtMs)
}

/**
 * Without the member nothing can be acknowledged, as long as it is filled: no update has promises of the others, and
 * nothing could be settled.
 */
function isNeeded(set: ReplicaSet<Member>, member: Member): boolean {
  const others = [...set.homes.keys()].filter((place) => {
    return set.homes[place] !== member || set.mayHold(member.completeness === 'clean', place)
  })
  return !set.isHeld(others, 'quorum')
}

async function livesLonger(source: Member, member: Member, key: Buffer): Promise<boolean> {
  const [there, here] = await Promise.all([lifeAt(source.node, key), lifeAt(member.node, key)])
  return there > here + LIFE_TOLERANCE_MS
}
