/** Internal keys of Rondo. Clients cannot read, write or list them. */
export const RESERVED_PREFIX = Buffer.from('__rondo:')

/** The marker: cluster, node id, and whether the node is clean. */
export const MARKER_KEY = Buffer.from('__rondo:node')
/** The cluster's topology register. */
export const TOPOLOGY_KEY = Buffer.from('__rondo:topology')
/** When the node was last compared with enough others (core/synced-at.ts). */
export const SYNCED_AT_KEY = Buffer.from('__rondo:synced_at')
/** Hints for one node: a hash from key to version. */
export function hintsKey(target: string): Buffer {
  return Buffer.from(`__rondo:hints:${target}`)
}
/** A lease on background work. */
export function leaseKey(name: string): Buffer {
  return Buffer.from(`__rondo:lease:${name}`)
}
/** Written to test whether a node that refused writes accepts them again. */
export const WRITABLE_KEY = Buffer.from('__rondo:writable')

/** Never written: used only to test permissions. */
export const PERMISSION_KEY = Buffer.from('__rondo:permission')

export function isReserved(key: Uint8Array): boolean {
  if (key.length < RESERVED_PREFIX.length) return false
  for (let i = 0; i < RESERVED_PREFIX.length; i++) if (key[i] !== RESERVED_PREFIX[i]) return false
  return true
}
