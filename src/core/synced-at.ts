/**
 * `synced_at`: up to when a node is known to have been told of every delete, as it stands in the node itself, under a key
 * of its own. A round of anti-entropy or a fill moves it forward to the time at which it began.
 *
 * Deletes are remembered for the grace. A node whose synced_at is older than that may hold values that were deleted, and
 * nothing contradicts it any more: it is stale (repair/stale.ts).
 *
 * `assumed` stands behind a time at which nobody compared anything: the node was new to the rule, or was kept although it
 * was stale, because there was nobody to fill it from. It votes, but proves nothing about others.
 */
export interface SyncedAt {
  /** Cluster time. */
  readonly atMs: number
  readonly assumed: boolean
}

export function encodeSyncedAt({ atMs, assumed }: SyncedAt): Buffer {
  return Buffer.from(`${Math.floor(atMs)}${assumed ? ' assumed' : ''}`)
}

/** Null for none, and for what is not one. */
export function decodeSyncedAt(bytes: Buffer | null): SyncedAt | null {
  const [, ms, assumed] = /^(\d{1,15})( assumed)?$/.exec(bytes?.toString('latin1') ?? '') ?? []
  return ms === undefined ? null : { atMs: Number(ms), assumed: assumed !== undefined }
}
