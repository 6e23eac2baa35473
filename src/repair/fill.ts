/**
 * Fill: makes a member that lost data (wiped, restored, restarted) clean again, and one that has joined; and brings a
 * member what it has gained by a change of members.
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
import { MOVING_LEASE_MS, type RepairContext } from './context.ts'
import { RepairStopped } from './round/copy.ts'
import { NO_PROGRESS } from './round/merge-work.ts'
import { sourcesFor } from './round/sources.ts'
import { RECEIVED, STEERING } from './progress.ts'
import { mergeSteered } from './steered.ts'

/** It has lost data, or the cluster has grown by it, or it has gained keys by a change of members. */
export function lacksKeys({ cluster }: RepairContext, member: Member): boolean {
  return (
    member.completeness === 'filling' ||
    (member.completeness === 'clean' && !cluster.membership.hasReceived(member))
  )
}

export class Filling {
  private readonly context: RepairContext
  private readonly firstSeenMs = new Map<string, number>()

  constructor(context: RepairContext) {
    this.context = context
  }

  /** One attempt; false while it must wait. @throws RepairStopped */
  async tryFill(member: Member): Promise<boolean> {
    const { clock, requestTimeoutMs, cluster, owner, emit } = this.context
    const { placement } = cluster
    if (!placement.members.includes(member)) return false
    const { token } = member.marker!
    // What a change of members brings counts from when it began.
    const seen = `${token} ${placement.since}`
    const seenMs = this.firstSeenMs.get(seen) ?? clock.monotonicMs()
    this.firstSeenMs.set(seen, seenMs)
    if (clock.monotonicMs() - seenMs < requestTimeoutMs) return false
    const scope = member.completeness === 'filling' ? 'all' : 'gained'
    const sourcesNow = () => sourcesFor(cluster.placement, member, scope, (one) => cluster.isNew(one))
    if (!sourcesNow()) return false
    const isOfChange = cluster.membership.isReceiving(member)
    const keepLease = () => member.node.lease('fill', owner, MOVING_LEASE_MS)
    if (isOfChange && (await STEERING.read(cluster))?.paused === placement.since) return false
    if (!(await keepLease())) return false
    await cluster.reprobeAll()
    // By now it may lack something else, or have left: one that has left would be declared clean without anything.
    if (cluster.placement !== placement) return false
    const sources = sourcesNow()
    const marker = member.marker!
    if (!sources || !lacksKeys(this.context, member) || marker.token !== token) return false
    const missesThen = member.misses
    const progress = { ...NO_PROGRESS }
    member.filling = progress
    const beganAtMs = cluster.time.nowMs()
    const told = () => ({ node: member.id, checked: progress.checked, sent: progress.sent })
    emit({ kind: 'fill', state: 'started', ...told() })
    try {
      const { since } = sources.placement
      await mergeSteered({
        context: this.context,
        jobs: [{ member, sources, progress, keepLease }],
        note: isOfChange ? RECEIVED : null,
        since,
      })
    } finally {
      member.filling = null
    }
    if (cluster.freshness.isStale(member))
      throw new RepairStopped(member.node, 'the fill took too long: the node is stale')
    if (scope === 'all') {
      await member.node.stamp(encodeMarker(marker), {
        atMs: beganAtMs,
        assumed: sources.lossy,
        settled: null,
      })
    }
    const received = {
      topology: marker.topology && { ...marker.topology, received: sources.placement.since },
    }
    const lost = sources.lossy ? 1 : 0
    const clean: Marker = {
      ...marker,
      state: 'clean',
      epoch: marker.epoch + lost,
      ...(marker.topology && received),
    }
    if (!(await member.node.swapMarker(encodeMarker(marker), encodeMarker(clean)))) {
      throw new RepairStopped(member.node, 'it lost data again during the fill')
    }
    this.firstSeenMs.delete(seen)
    emit({ kind: 'fill', state: 'finished', ...told() })
    if (sources.lossy) emit({ kind: 'data-loss-possible', node: member.id })
    member.caughtUp(missesThen)
    await cluster.reprobe(member)
    return true
  }
}
