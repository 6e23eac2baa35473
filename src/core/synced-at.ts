/**
 * `synced_at`: the time up to which a node is known to have received every delete, stored in the node under its own
 * key. A round of anti-entropy or a fill moves it forward to the time at which it began.
 *
 * Tombstones are kept for the grace. A node whose synced_at is older may hold deleted values that no tombstone
 * supersedes any more: it is stale (repair/stale.ts).
 *
 * A copy on a fallback replica is different: it has no tombstone beside it, and nobody compares it with the home replicas
 * while one of them is away. So the stamp also says under which placement all copies from before, of keys that the node is
 * no home replica of, are on enough of their home replicas. Those older than the grace are then nothing: they may have
 * been deleted, and where they were not, enough home replicas hold them (cluster/freshness.ts).
 *
 * `assumed` marks a time without a comparison: the node had no synced_at, or was kept although it was stale, because
 * there was no source to fill it from. Such a node votes, but does not make others fresh.
 */
export interface SyncedAt {
  /** Cluster time. */
  readonly atMs: number
  readonly assumed: boolean
  /**
   * Fingerprint of the placement under which its misplaced copies are settled; null = they are not. Undefined = written by
   * a release that did not know.
   */
  readonly settled?: string | null | undefined
}

const PATTERN = /^(\d{1,15})( assumed)?(?: (-|[0-9a-f]{32} \d{1,4}))?$/

export function encodeSyncedAt({ atMs, assumed, settled }: SyncedAt): Buffer {
  const where = settled === undefined ? '' : ` ${settled ?? '-'}`
  return Buffer.from(`${Math.floor(atMs)}${assumed ? ' assumed' : ''}${where}`)
}

/** Null if absent or invalid. */
export function decodeSyncedAt(bytes: Buffer | null): SyncedAt | null {
  const [, ms, assumed, settled] = PATTERN.exec(bytes?.toString('latin1') ?? '') ?? []
  if (ms === undefined) return null
  const syncedAt = { atMs: Number(ms), assumed: assumed !== undefined }
  return settled === undefined ? syncedAt : { ...syncedAt, settled: settled === '-' ? null : settled }
}
