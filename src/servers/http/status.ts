/** GET /status: the nodes by address, as this coordinator sees them. Contains no secrets. */
import type { KeyStore, NodeState } from '../../coordinator/api.ts'

export interface NodeStatus {
  readonly id: string
  /** Up, connected and not refused. */
  readonly isHealthy: boolean
  readonly state: string
  /** Whether it holds all acknowledged writes; only a clean node's replies count by themselves. */
  readonly completeness: string
  /** Time since it was last compared with enough others, or was new; null = unknown. */
  readonly syncedAgoSeconds: number | null
  readonly mayBeBehind: boolean
  /** Keys that Rondo did not write and looks for on other nodes, as of the last repair round; null = unknown. */
  readonly misplacedKeys: number | null
  /** The reason why it does not accept writes, or null. */
  readonly unwritable: string | null
  readonly error: string | null
  readonly software: string | null
  /** Offset of its clock from cluster time, and the possible error. */
  readonly clockOffMs: number | null
  readonly clockErrorMs: number | null
  readonly memoryUsedBytes: number | null
  readonly memoryLimitBytes: number | null
  readonly evictionPolicy: string | null
  readonly evictedKeys: number | null
  readonly weight: number
  readonly zone: string | null
}

export function statusOf(store: KeyStore): Record<string, NodeStatus> {
  return Object.fromEntries(store.nodes.map((node) => [node.node.address, nodeStatus(node, store)]))
}

function nodeStatus(member: NodeState, store: KeyStore): NodeStatus {
  const { report } = member
  const clock = store.clockOf(member)
  const syncedAt = report?.syncedAt ?? null
  return {
    id: member.id,
    isHealthy: member.health.state === 'up' && member.node.ready && member.completeness !== 'refused',
    state: member.health.state,
    completeness: member.completeness,
    syncedAgoSeconds: syncedAt && Math.round((store.nowMs() - syncedAt.atMs) / 1000),
    mayBeBehind: member.behind,
    misplacedKeys: member.misplacedKeys,
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
