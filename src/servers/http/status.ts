/** GET /status: the nodes by address, as this coordinator sees them. Holds no secret. */
import type { Member } from '../../cluster/member.ts'
import type { ClusterTime } from '../../cluster/time.ts'
import type { Coordinator } from '../../coordinator/coordinator.ts'

export interface NodeStatus {
  readonly id: string
  /** Up, in use and ours. */
  readonly isHealthy: boolean
  readonly state: string
  /** Whether it holds all that was acknowledged; only a clean node's answers count by themselves. */
  readonly completeness: string
  /** How long ago it was last compared with enough others, or was new; null = not known. */
  readonly syncedAgoSeconds: number | null
  readonly mayBeBehind: boolean
  /** Why it takes no writes now, or null. */
  readonly unwritable: string | null
  readonly error: string | null
  readonly software: string | null
  /** How far its clock is from cluster time, and how well that is known. */
  readonly clockOffMs: number | null
  readonly clockErrorMs: number | null
  readonly memoryUsedBytes: number | null
  readonly memoryLimitBytes: number | null
  readonly evictionPolicy: string | null
  readonly evictedKeys: number | null
  readonly weight: number
  readonly zone: string | null
}

export function statusOf(coordinator: Coordinator): Record<string, NodeStatus> {
  const { cluster } = coordinator
  const status: Record<string, NodeStatus> = {}
  for (const member of cluster.ring.nodes) {
    status[member.node.address] = nodeStatus(member, cluster.time)
  }
  return status
}

function nodeStatus(member: Member, time: ClusterTime): NodeStatus {
  const { report } = member
  const clock = time.distance(member.id)
  const syncedAt = report?.syncedAt ?? null
  return {
    id: member.id,
    isHealthy: member.health.state === 'up' && member.node.ready && member.completeness !== 'refused',
    state: member.health.state,
    completeness: member.completeness,
    syncedAgoSeconds: syncedAt && Math.round((time.nowMs() - syncedAt.atMs) / 1000),
    mayBeBehind: member.behind,
    unwritable: member.unwritable,
    error: member.lastError,
    software: report?.software ?? null,
    clockOffMs: clock && Math.round(clock.offMs),
    clockErrorMs: clock && Math.ceil(clock.errorMs),
    memoryUsedBytes: report?.memoryUsedBytes ?? null,
    memoryLimitBytes: report?.memoryLimitBytes ?? null,
    evictionPolicy: report?.evictionPolicy ?? null,
    evictedKeys: report?.evictedKeys ?? null,
    weight: member.weight,
    zone: member.zone ?? null,
  }
}
