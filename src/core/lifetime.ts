/**
 * How long a node keeps a record's key, which is longer than a user can see it.
 *
 * An expired or deleted record must stay as long as an older version that some replica missed losing could come back.
 * So a key lives until the later of
 *
 *   - the logical expiry + 60 s (a tombstone's: the moment of its delete), and
 *   - the earlier of: the replaced record's own end, and now + the grace
 *
 * and a value without expiry lives, for a node, until a far end: under a `volatile-*` policy a node may then evict any
 * user's value, and never an internal key, which has none.
 */
import { versionMs } from './clock.ts'
import { KIND_VALUE, type StoredRecord } from './codec.ts'

export const EXPIRY_MARGIN_MS = 60_000
/** About a hundred years: no expiry, but still a TTL. */
export const FAR_END_MS = 100 * 365 * 86_400_000

/**
 * What the record's own expiry asks for, in milliseconds from now; the node adds the rule of the replaced record.
 *
 * @param expiresAtMs cluster time, 0 = none
 */
export function ownLifeMs(kind: number, expiresAtMs: number, clusterMs: number): number {
  if (expiresAtMs > 0) return Math.max(1, Math.ceil(expiresAtMs - clusterMs) + EXPIRY_MARGIN_MS)
  return kind === KIND_VALUE ? FAR_END_MS : EXPIRY_MARGIN_MS
}

/**
 * What a copy of a record asks for when nobody knows what it has replaced elsewhere: a delete or an expiry must be
 * remembered as long as any delete may be, the grace, counted from when it was made. So copying it from node to node
 * never makes it live longer.
 */
export function repairedLifeMs(record: StoredRecord, clusterMs: number, graceMs: number): number {
  const { kind, expiresAtMs } = record
  const ownMs = ownLifeMs(kind, expiresAtMs, clusterMs)
  return Math.max(kind === KIND_VALUE ? ownMs : 1, Math.ceil(versionMs(record.version) + graceMs - clusterMs))
}

/**
 * @param replacedLifeMs what the replaced record had left to live: Infinity without an end, 0 when there was none
 */
export function keptMs(ownMs: number, replacedLifeMs: number, graceMs: number): number {
  return Math.max(ownMs, Math.min(replacedLifeMs, graceMs))
}
