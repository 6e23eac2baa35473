/** Removes parts of large collections (core/part-keys.ts) that no root names any more. */
import type { Cluster } from './cluster.ts'
import { encodeMarker } from './marker.ts'

const KEYS_A_CALL = 128

/**
 * Removes those that were written before this time (cluster time) from the home replicas that can be reached, without a
 * tombstone: nothing else is ever stored under their names.
 *
 * @returns how many copies
 */
export async function removeParts(
  cluster: Pick<Cluster, 'placement'>,
  root: Buffer,
  keys: readonly Buffer[],
  beforeMs: number,
): Promise<number> {
  const { homes } = cluster.placement.replicaSetOf(root)
  let removed = 0
  for (let i = 0; i < keys.length; i += KEYS_A_CALL) {
    const some = keys.slice(i, i + KEYS_A_CALL)
    const calls = homes.map(async ({ node, marker }) => {
      if (!node.ready || !marker) return 0
      return (await node.dropOlder(encodeMarker(marker), some, beforeMs)) ?? 0
    })
    // Where it fails they stay until the next round of anti-entropy.
    const settled = await Promise.allSettled(calls)
    removed += settled.reduce((sum, one) => sum + (one.status === 'fulfilled' ? one.value : 0), 0)
  }
  return removed
}
