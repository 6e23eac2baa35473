/**
 * Fill: makes a member that lost data (wiped, restored, restarted) clean again.
 *
 *   1. Wait one request timeout from when its token was first seen: earlier writes that might still be acknowledged by
 *      counting it have ended by then.
 *   2. Merge from enough clean home replicas (merge.ts).
 *   3. Stamp it with the time at which the merge began (core/synced-at.ts), and mark it clean, by compare-and-set of
 *      the marker seen in 1. If it was wiped again meanwhile, its token and marker have changed: the fill does not
 *      count, and starts again.
 *
 * A lease keeps two coordinators from filling the same member, but nothing breaks if they do.
 */
import type { Member } from '../cluster/member.ts'
import { encodeMarker, type Marker } from '../cluster/marker.ts'
import { LEASE_MS, type RepairContext } from './context.ts'
import { RepairStopped } from './round/copy.ts'
import { merge, sourcesFor, type MergeProgress } from './round/merge.ts'

export class Filling {
  private readonly context: RepairContext
  private readonly firstSeenMs = new Map<string, number>()

  constructor(context: RepairContext) {
    this.context = context
  }

  /** One attempt; false while it must wait. @throws RepairStopped */
  async tryFill(member: Member): Promise<boolean> {
    const { clock, requestTimeoutMs, cluster, owner, emit } = this.context
    const marker = member.marker!
    const seenMs = this.firstSeenMs.get(marker.token) ?? clock.monotonicMs()
    this.firstSeenMs.set(marker.token, seenMs)
    if (clock.monotonicMs() - seenMs < requestTimeoutMs) return false
    const sourcesNow = () => sourcesFor(cluster.placement, member, (one) => cluster.isNew(one))
    if (!sourcesNow()) return false
    const keepLease = async () => {
      if (!(await member.node.lease('fill', owner, LEASE_MS))) {
        throw new RepairStopped(member.node, 'another coordinator is filling it')
      }
    }
    if (!(await member.node.lease('fill', owner, LEASE_MS))) return false
    await cluster.reprobeAll()
    const sources = sourcesNow()
    if (!sources || member.completeness !== 'filling') return false
    const missesThen = member.misses
    const progress: MergeProgress = { checked: 0, sent: 0 }
    member.filling = progress
    const beganAtMs = cluster.time.nowMs()
    emit({ kind: 'fill', node: member.id, state: 'started', ...progress })
    try {
      await merge(this.context, member, sources, progress, keepLease)
    } finally {
      member.filling = null
    }
    if (cluster.freshness.isStale(member))
      throw new RepairStopped(member.node, 'the fill took too long: the node is stale')
    await member.node.stamp(encodeMarker(marker), { atMs: beganAtMs, assumed: sources.lossy, settled: null })
    const clean: Marker = { ...marker, state: 'clean', epoch: marker.epoch + (sources.lossy ? 1 : 0) }
    if (!(await member.node.swapMarker(encodeMarker(marker), encodeMarker(clean)))) {
      throw new RepairStopped(member.node, 'it lost data again during the fill')
    }
    this.firstSeenMs.delete(marker.token)
    emit({ kind: 'fill', node: member.id, state: 'finished', ...progress })
    if (sources.lossy) emit({ kind: 'data-loss-possible', node: member.id })
    member.caughtUp(missesThen)
    await cluster.reprobe(member)
    return true
  }
}
