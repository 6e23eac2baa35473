/**
 * A stale member: clean or filling, but not compared with others for longer than tombstones are kept
 * (core/synced-at.ts). It may hold deleted values, and a fill only adds to what it holds. Its votes and acks do not
 * count (cluster/admission.ts) until one of these is done:
 *
 *   for each of its ranges, N − Q + 1 others are clean and fresh    → drop its data; then fill it like any other
 *   not so many are, but some unreachable ones may be               → wait
 *   there cannot be so many                                         → keep it as it is, and log that
 *
 * The last happens when the whole cluster was off for longer than the grace: values deleted just before may return, but
 * data is never dropped unless another node is known to hold it.
 *
 * Dropping can be interrupted at any point and continued elsewhere:
 *
 *   1. The marker becomes `filling` with a new token, and says that everything older than this moment must go.
 *   2. A script that checks for this very marker drops key by key. Younger records are writes that came since.
 *   3. synced_at becomes that moment, and the note is removed from the marker.
 *
 * Hints that the member keeps for others stay: without its record a hint has no effect when delivered.
 */
import type { Member } from '../cluster/member.ts'
import { encodeMarker, type Marker } from '../cluster/marker.ts'
import type { Cluster } from '../cluster/cluster.ts'
import { isInternal } from '../core/keys.ts'
import { GIVEN_BACK_MS, MOVING_LEASE_MS, type RepairContext } from './context.ts'
import { answerOf, RepairStopped } from './round/copy.ts'

const PAGE_KEYS = 256

export type StaleVerdict = 'drop' | 'wait' | 'keep'

export function judgeStale(cluster: Cluster, member: Member): StaleVerdict {
  const { placement } = cluster
  const needed = placement.sufficient
  let verdict: StaleVerdict = 'drop'
  for (const { homes } of placement.replicaSets()) {
    if (!homes.includes(member)) continue
    const fellows = homes.filter((home) => home !== member)
    const fresh = fellows.filter((home) => isFresh(cluster, home)).length
    if (fresh >= needed) continue
    if (fresh + fellows.filter(mayBeFresh).length < needed) return 'keep'
    verdict = 'wait'
  }
  return verdict
}

/** It was compared with others, and holds all tombstones that those may have dropped. */
function isFresh(cluster: Cluster, member: Member): boolean {
  return (
    member.node.ready &&
    member.completeness === 'clean' &&
    member.report?.syncedAt?.assumed === false &&
    !cluster.freshness.isStale(member)
  )
}

/**
 * An unreachable member may be fresh. A filling one does not count: if the others do not suffice for this member, they
 * do not for that one either, which therefore waits for this one to be kept.
 */
function mayBeFresh({ node, completeness }: Member): boolean {
  return !node.ready && completeness !== 'refused'
}

/** One attempt to repair a stale member. @throws RepairStopped */
export async function settleStale(context: RepairContext, member: Member): Promise<void> {
  const { cluster, owner } = context
  if (judgeStale(cluster, member) === 'wait') return
  const { node } = member
  if (!(await answerOf(node, node.lease('fill', owner, MOVING_LEASE_MS)))) return
  try {
    // The state is as old as the last probe: this member may be repaired by now, and another one wiped.
    await cluster.reprobeAll()
    const verdict = member.completeness === 'stale' ? judgeStale(cluster, member) : 'wait'
    if (verdict === 'keep') await keep(context, member)
    if (verdict === 'drop') await drop(context, member)
    await cluster.reprobe(member)
  } finally {
    await answerOf(node, node.lease('fill', owner, GIVEN_BACK_MS))
  }
}

async function keep({ cluster, emit }: RepairContext, member: Member): Promise<void> {
  const { dropBeforeMs, ...marker } = member.marker!
  const sinceMs = member.report?.syncedAt?.atMs ?? dropBeforeMs!
  if (dropBeforeMs !== undefined) {
    // Its sources disappeared while it was emptied: fill it from incomplete replicas.
    const filling = { ...marker, token: cluster.freshToken() }
    await swap(member, member.marker!, filling)
    await stamp(member, filling, cluster.time.nowMs(), true)
  } else await stamp(member, marker, cluster.time.nowMs(), true)
  emit({ kind: 'stale-kept', node: member.id, sinceMs })
}

async function drop(context: RepairContext, member: Member): Promise<void> {
  const { cluster, emit, owner } = context
  const { node } = member
  let dropping = member.marker!
  if (dropping.dropBeforeMs === undefined) {
    const dropBeforeMs = Math.floor(cluster.time.nowMs())
    dropping = { ...dropping, state: 'filling', token: cluster.freshToken(), dropBeforeMs }
    await swap(member, member.marker!, dropping)
    emit({ kind: 'stale-dropped', node: member.id, state: 'started', dropped: 0 })
  }
  const bytes = encodeMarker(dropping)
  const { dropBeforeMs: beforeMs, ...emptied } = dropping
  let dropped = 0
  let cursor = '0'
  do {
    if (!(await answerOf(node, node.lease('fill', owner, MOVING_LEASE_MS)))) {
      throw new RepairStopped(node, 'another coordinator is emptying it')
    }
    if (judgeStale(cluster, member) !== 'drop') {
      throw new RepairStopped(node, 'too few others are left to fill it from')
    }
    const page = await answerOf(node, node.scan(cursor, null, PAGE_KEYS))
    const keys = page.entries.map(({ key }) => key).filter((key) => !isInternal(key))
    const removed = await answerOf(node, node.dropOlder(bytes, keys, beforeMs!))
    if (removed === null) throw changed(member)
    dropped += removed
    cursor = page.cursor
  } while (cursor !== '0')
  await stamp(member, dropping, beforeMs!, false)
  await swap(member, dropping, emptied)
  emit({ kind: 'stale-dropped', node: member.id, state: 'finished', dropped })
}

async function swap(member: Member, from: Marker, to: Marker): Promise<void> {
  const { node } = member
  if (!(await answerOf(node, node.swapMarker(encodeMarker(from), encodeMarker(to))))) throw changed(member)
}

async function stamp(member: Member, marker: Marker, atMs: number, assumed: boolean): Promise<void> {
  const { node } = member
  if (!(await answerOf(node, node.stamp(encodeMarker(marker), { atMs, assumed, settled: null }))))
    throw changed(member)
}

function changed({ node }: Member): RepairStopped {
  return new RepairStopped(node, 'its marker has changed')
}
