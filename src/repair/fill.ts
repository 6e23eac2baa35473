/**
 * Filling: makes a member that lost data (wiped, restored, restarted) clean again.
 *
 *   1. Wait one request timeout from when its token was first seen: writes that were sent before, and might still be
 *      acknowledged by others who counted on it, have ended by then.
 *   2. Merge from enough clean fellows (merge.ts).
 *   3. Stamp it with the time at which the merge began (core/synced-at.ts), and declare it clean, by compare-and-set of the very marker that was seen at 1. If it was wiped again in between, its
 *      token is another one, and so is its marker: the fill counts for nothing, and begins anew.
 *
 * Two coordinators may fill the same member; a lease keeps them from it, but nothing breaks if they do.
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

  /** One try; false while there is something to wait for. @throws RepairStopped */
  async tryFill(member: Member): Promise<boolean> {
    const { clock, requestTimeoutMs, cluster, replicas, owner, emit } = this.context
    const marker = member.marker!
    const seenMs = this.firstSeenMs.get(marker.token) ?? clock.monotonicMs()
    this.firstSeenMs.set(marker.token, seenMs)
    if (clock.monotonicMs() - seenMs < requestTimeoutMs) return false
    const sources = sourcesFor(cluster, member, replicas)
    if (!sources) return false
    const keepLease = async () => {
      if (!(await member.node.lease('fill', owner, LEASE_MS))) {
        throw new RepairStopped(member.node, 'another coordinator fills it')
      }
    }
    if (!(await member.node.lease('fill', owner, LEASE_MS))) return false
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
    if (cluster.isStale(member)) throw new RepairStopped(member.node, 'filling it took too long: it is stale')
    await member.node.stamp(encodeMarker(marker), { atMs: beganAtMs, assumed: sources.lossy })
    const clean: Marker = { ...marker, state: 'clean', epoch: marker.epoch + (sources.lossy ? 1 : 0) }
    if (!(await member.node.swapMarker(encodeMarker(marker), encodeMarker(clean)))) {
      throw new RepairStopped(member.node, 'it lost its data again while it was filled')
    }
    this.firstSeenMs.delete(marker.token)
    emit({ kind: 'fill', node: member.id, state: 'finished', ...progress })
    if (sources.lossy) emit({ kind: 'data-loss-possible', node: member.id })
    cluster.caughtUp(member, missesThen)
    await cluster.reprobe(member)
    return true
  }
}
