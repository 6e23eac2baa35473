/**
 * `synced_at`: the time up to which a node is known to have received every delete, stored in the node under its own
 * key. A round of anti-entropy or a fill moves it forward to the time at which it began.
 *
 * Tombstones are kept for the grace. A node whose synced_at is older may hold deleted values that no tombstone
 * supersedes any more: it is stale (repair/stale.ts).
 *
 * `assumed` marks a time without a comparison: the node had no synced_at, or was kept although it was stale, because
 * there was no source to fill it from. Such a node votes, but does not make others fresh.
 */
export interface SyncedAt {
  /** Cluster time. */
  readonly atMs: number
  readonly assumed: boolean
}

export function encodeSyncedAt({ atMs, assumed }: SyncedAt): Buffer {
  return Buffer.from(`${Math.floor(atMs)}${assumed ? ' assumed' : ''}`)
}

/** Null if absent or invalid. */
export function decodeSyncedAt(bytes: Buffer | null): SyncedAt | null {
  const [, ms, assumed] = /^(\d{1,15})( assumed)?$/.exec(bytes?.toString('latin1') ?? '') ?? []
  return ms === undefined ? null : { atMs: Number(ms), assumed: assumed !== undefined }
}
