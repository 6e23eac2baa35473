/** Names that Rondo keeps for itself. No server lets a user read, write or list them. */
export const RESERVED_PREFIX = Buffer.from('__rondo:')

/** What a node is: its cluster, its id, and whether it is clean. */
export const MARKER_KEY = Buffer.from('__rondo:node')
/** The cluster's topology register. */
export const TOPOLOGY_KEY = Buffer.from('__rondo:topology')
/** When the node was last compared with enough others (core/synced-at.ts). */
export const SYNCED_AT_KEY = Buffer.from('__rondo:synced_at')
/** Hints for one node: a hash from key to version. */
export function hintsKey(target: string): Buffer {
  return Buffer.from(`__rondo:hints:${target}`)
}
/** Held by whoever does a piece of background work. */
export function leaseKey(name: string): Buffer {
  return Buffer.from(`__rondo:lease:${name}`)
}
/** Written to find out whether a node that refused writes takes them again. */
export const WRITABLE_KEY = Buffer.from('__rondo:writable')

/** Never written: what it is asked for only shows whether that may be asked. */
export const PERMISSION_KEY = Buffer.from('__rondo:permission')

export function isReserved(key: Uint8Array): boolean {
  if (key.length < RESERVED_PREFIX.length) return false
  for (let i = 0; i < RESERVED_PREFIX.length; i++) if (key[i] !== RESERVED_PREFIX[i]) return false
  return true
}
