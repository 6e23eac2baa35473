/**
 * Copies to one member everything that the others hold for it: every key of which it is a home replica, from every other
 * member that has a copy, home replica or fallback replica.
 *
 * The sources, and whether they suffice, are decided before (sources below) and confirmed afterwards: a source that lost
 * data meanwhile has a new marker by then, and the whole merge does not count.
 */
import type { Member } from '../../cluster/member.ts'
import { encodeMarker } from '../../cluster/marker.ts'
import { compareVersions } from '../../core/clock.ts'
import { required } from '../../core/consistency.ts'
import { StoredRecord } from '../../core/codec.ts'
import { isInternal } from '../../core/keys.ts'
import { LIFE_TOLERANCE_MS } from '../../core/lifetime.ts'
import type { Placement } from '../../core/placement.ts'
import { answerOf, canEnd, copyRecord, fetchRecord, lifeAt, RepairStopped } from './copy.ts'
import type { RepairContext } from '../context.ts'

export interface MergeProgress {
  /** Keys checked, of all sources together. */
  checked: number
  /** Records sent to the member. */
  sent: number
}

export interface Sources {
  readonly placement: Placement<Member>
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
 * @param isNew whether the cluster has just grown by this member
 */
export function sourcesFor(
  placement: Placement<Member>,
  member: Member,
  isNew: (member: Member) => boolean = () => false,
): Sources | null {
  const { replicas } = placement
  const needed = replicas - required('quorum', replicas) + 1
  let lossy = false
  for (const { homes } of placement.replicaSets()) {
    if (!homes.includes(member)) continue
    const fellows = homes.filter((home) => home !== member)
    const clean = fellows.filter((home) => home.node.ready && home.completeness === 'clean')
    if (clean.length >= needed) continue
    if (!fellows.every((home) => home.node.ready && home.marker && home.completeness !== 'stale')) return null
    lossy = true
  }
  return {
    placement,
    // Values of a stale member may have been deleted.
    members: placement.members.filter(
      (other) => other !== member && other.node.ready && other.marker && other.completeness !== 'stale',
    ),
    lossy:
      lossy &&
      !placement.members.every((one) => isNew(one) || (one.node.ready && one.completeness === 'clean')),
  }
}

/** @throws RepairStopped when a node fails, or has changed its marker since the start */
export async function merge(
  context: RepairContext,
  member: Member,
  sources: Sources,
  progress: MergeProgress,
  keepGoing: () => Promise<void>,
): Promise<void> {
  const markers = sources.members.map((source) => encodeMarker(source.marker!))
  for (const [i, source] of sources.members.entries()) {
    await mergeFrom(context, sources.placement, member, source, markers[i]!, progress, keepGoing)
  }
  for (const [i, source] of sources.members.entries()) {
    const { marker, runId } = await source.node.probe()
    if (!marker?.equals(markers[i]!) || runId !== source.marker!.runId) {
      throw new RepairStopped(source.node, 'it lost data or was restarted while it was read')
    }
  }
}

async function mergeFrom(
  context: RepairContext,
  placement: Placement<Member>,
  member: Member,
  source: Member,
  marker: Buffer,
  progress: MergeProgress,
  keepGoing: () => Promise<void>,
): Promise<void> {
  let cursor = '0'
  do {
    await keepGoing()
    const page = await answerOf(source.node, source.node.scan(cursor, null, PAGE_KEYS))
    progress.checked += page.entries.length
    const wanted = page.entries.filter(
      ({ key, head }) =>
        !isInternal(key) &&
        new StoredRecord(head).versioned &&
        placement.replicaSetOf(key).homes.includes(member),
    )
    await Promise.all(
      wanted.map(({ key, head }) => bring(context, member, source, marker, key, head, progress)),
    )
    cursor = page.cursor
  } while (cursor !== '0')
}

/** Compares heads first: whole records are read only if they are missing, or are kept longer at the source. */
async function bring(
  context: RepairContext,
  member: Member,
  source: Member,
  marker: Buffer,
  key: Buffer,
  head: Buffer,
  progress: MergeProgress,
): Promise<void> {
  const held = await fetchRecord(member.node, key, null)
  const order = held ? compareVersions(held.version, new StoredRecord(head).version) : -1
  if (order > 0) return
  if (order === 0 && (!canEnd(held!) || held!.isLasting || !(await livesLonger(source, member, key)))) return
  const readAtMs = context.cluster.time.nowMs()
  const record = await fetchRecord(source.node, key, marker)
  if (!record?.versioned) return
  progress.sent++
  await copyRecord(context, [source.node], member.node, key, record, readAtMs)
}

async function livesLonger(source: Member, member: Member, key: Buffer): Promise<boolean> {
  const [there, here] = await Promise.all([lifeAt(source.node, key), lifeAt(member.node, key)])
  return there > here + LIFE_TOLERANCE_MS
}
