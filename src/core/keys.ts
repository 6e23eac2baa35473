/**
 * Names of keys on the nodes.
 *
 *   users:app              key `users:app` of database 0
 *   __rondo:db3:users:app  the same name in database 3
 *   __rondo:db9999:0:news  the tag `news` of database 0 (tags.ts)
 *   __rondo:db9998:…:cart  a part of the large collection `cart` (part-keys.ts)
 *   __rondo:node …         internal: no client can read, write or list them
 *
 * Clients cannot name keys that begin with `__rondo:`, so the databases cannot collide. The prefix is a part of the key on
 * the ring, and has no braces: keys with the same {hash tag} share a replica set, in all databases.
 */
const RESERVED_PREFIX = Buffer.from('__rondo:')
const DATABASE = /^__rondo:db([1-9]\d{0,3}):/
const INTERNAL = /^__rondo:(?!db[1-9]\d{0,3}:)/
/** Beyond the last that clients can select: its keys are copied, moved and flushed as theirs (tags.ts). */
export const TAGS_DATABASE = 9999
/** Names in it: of scripts and libraries of functions (scripts/stored.ts), which no flush takes along, as in Redis. */
const SCRIPT_NAMES = /^__rondo:db9999:(?:script:|libraries$|9999:)/
const SCRIPT_NAME_BYTES = 32
/** Another such one: of the parts of large collections. What they belong to, a part's name says (part-keys.ts). */
export const PARTS_DATABASE = 9998
/** Enough for the longest prefix. */
const DATABASE_PREFIX_BYTES = 24
const prefixes: Buffer[] = [Buffer.alloc(0)]

/** What precedes the keys of a database on the nodes. */
export function databasePrefix(database: number): Buffer {
  return (prefixes[database] ??= Buffer.from(`__rondo:db${database}:`))
}

/** The name on the nodes of a client's key. */
export function storedKey(database: number, key: Buffer): Buffer {
  return database === 0 ? key : Buffer.concat([databasePrefix(database), key])
}

/** The database and the client's name of a key on a node; null = internal. */
export function clientKey(stored: Buffer): { readonly database: number; readonly key: Buffer } | null {
  if (!isReserved(stored)) return { database: 0, key: stored }
  const [prefix, database] = DATABASE.exec(stored.toString('latin1', 0, DATABASE_PREFIX_BYTES)) ?? []
  return prefix === undefined ? null : { database: Number(database), key: stored.subarray(prefix.length) }
}

/** Whether a key stays when all databases are flushed, internal ones apart. nodes/redis/drop-below.lua has the same rule. */
export function outlivesFlushes(stored: Buffer): boolean {
  return isReserved(stored) && SCRIPT_NAMES.test(stored.toString('latin1', 0, SCRIPT_NAME_BYTES))
}

/** The keys of a database are none of clients': tags, and parts of large collections. */
export function isHidden(database: number): boolean {
  return database === TAGS_DATABASE || database === PARTS_DATABASE
}

/** The marker: cluster, node id, and whether the node is clean. */
export const MARKER_KEY = Buffer.from('__rondo:node')
/** The cluster's topology register. */
export const TOPOLOGY_KEY = Buffer.from('__rondo:topology')
/** The topology that the node's marker names: decided, as the register's newest may not be yet. */
export const DECIDED_KEY = Buffer.from('__rondo:decided')
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
const FILL_PREFIX = Buffer.from('__rondo:fill:')
/** The lease of whoever fills this key (loader/leases.ts). */
export function fillKey(stored: Buffer): Buffer {
  return Buffer.concat([FILL_PREFIX, stored])
}
/** Who takes or restores a snapshot, and how far that is (snapshots/claim.ts). */
export const SNAPSHOTS_KEY = Buffer.from('__rondo:snapshots')
/** A note of the coordinators (repair/notes.ts). */
export function noteKey(name: string): Buffer {
  return Buffer.from(`__rondo:${name}`)
}
/** Notes of the coordinators that use the node: a hash from coordinator to time and note. */
export const COORDINATORS_KEY = Buffer.from('__rondo:coordinators')
/** The channel on which a coordinator announces that the members have changed. */
export const CHANGES_CHANNEL = '__rondo:changes'
/** Written to test whether a node that refused writes accepts them again. */
export const WRITABLE_KEY = Buffer.from('__rondo:writable')

/** Never written: used only to test permissions. */
export const PERMISSION_KEY = Buffer.from('__rondo:permission')

/** An internal key on a node. */
export function isInternal(stored: Buffer): boolean {
  return isReserved(stored) && isInternalName(stored.toString('latin1', 0, DATABASE_PREFIX_BYTES))
}

/** The same for a name as latin1. */
export function isInternalName(name: string): boolean {
  return INTERNAL.test(name)
}

/** Whether clients cannot use this name. */
export function isReserved(key: Uint8Array): boolean {
  if (key.length < RESERVED_PREFIX.length) return false
  for (let i = 0; i < RESERVED_PREFIX.length; i++) if (key[i] !== RESERVED_PREFIX[i]) return false
  return true
}
