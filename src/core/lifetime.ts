/**
 * How long a node keeps a record's key: longer than clients can see it.
 *
 * An expired or deleted record must stay as long as an older version, still held by some replica, could come back. So a
 * key lives until the later of
 *
 *   - the logical expiry + a fifth of the TTL, but 2 s at least and 60 s at most (a tombstone's: the moment of its
 *     delete + 60 s), and
 *   - the earlier of: the replaced record's own end, and now + the grace
 *
 * and a value without expiry gets a TTL with a far end: under a `volatile-*` policy a node may then evict any user's
 * value, but never an internal key, which has no TTL. If such a value replaces another one, the key's end stays as it
 * is, which costs a node less than setting it again.
 *
 * A replica that replaced nothing keeps its copy for less time than one that did. But that copy may later be the only
 * one beside a replica that missed both writes:
 *
 *   v1 at        B C                                     A missed it
 *   delete v2 at A C       C keeps it for the grace, A for a minute; B missed it
 *   C is down    A B       after that minute: nothing and v1, so v1 would be seen again
 *
 * So all copies that count at `quorum` are kept as long as the longest-lived one (QuorumWrite and QuorumUpdate lengthen
 * the others), and a copy that is known to be kept that long is marked in its head as lasting. A node marks it itself if
 * it keeps it for the grace, which is the most that is ever needed; a coordinator that lengthens one marks it, too. To
 * readers, copies without the mark live equally long only if they replaced the same version (votes.ts).
 */
import { compareVersions, VERSION_ZERO, versionMs } from './clock.ts'
import { holdsValue, type RecordHead } from './codec.ts'

export const EXPIRY_MARGIN_MS = 60_000
/** About a hundred years: no expiry, but still a TTL. */
export const FAR_END_MS = 100 * 365 * 86_400_000
/** Copies of a record arrive at different times, and clocks jitter: up to this, their lives are the same. */
export const LIFE_TOLERANCE_MS = 1000
/**
 * The minimum time that a value is kept after its expiry: as much as the lives of copies may differ, and the times of
 * two coordinators before a clock is reported (cluster/time.ts). So what replaces a value is kept until every
 * coordinator sees that value as expired.
 */
const SHORTEST_MARGIN_MS = LIFE_TOLERANCE_MS + 1000

/**
 * The life required by the record's own expiry, in milliseconds from now; the node adds the rule of the replaced record.
 *
 * @param expiresAtMs cluster time, 0 = none; of a tombstone: until when the origin is known to have nothing (loader/)
 */
export function ownLifeMs(kind: number, expiresAtMs: number, clusterMs: number): number {
  if (expiresAtMs > 0) {
    const ttlMs = expiresAtMs - clusterMs
    const shortestMs = holdsValue(kind) ? 1 : EXPIRY_MARGIN_MS
    return Math.max(shortestMs, Math.ceil(ttlMs + expiryMarginMs(ttlMs)))
  }
  return holdsValue(kind) ? FAR_END_MS : EXPIRY_MARGIN_MS
}

/** At most a fifth of the TTL, if that is not too short: values that live 10 s cost 1.2× their keys. */
function expiryMarginMs(ttlMs: number): number {
  return Math.min(EXPIRY_MARGIN_MS, Math.max(SHORTEST_MARGIN_MS, ttlMs / 5))
}

/**
 * The life of a copy when it is unknown what the record has replaced elsewhere: a delete or an expiry must be kept for
 * the grace, the longest that any tombstone needs, counted from when it was made. So copying never extends it.
 */
export function repairedLifeMs(record: RecordHead, clusterMs: number, graceMs: number): number {
  const { kind, expiresAtMs } = record
  const ownMs = ownLifeMs(kind, expiresAtMs, clusterMs)
  return Math.max(holdsValue(kind) ? ownMs : 1, Math.ceil(versionMs(record.version) + graceMs - clusterMs))
}

/** Whether the key's end stays as it is: a value without expiry replaces a string without one. */
export function keepsItsEnd(held: RecordHead, ownMs: number): boolean {
  return ownMs === FAR_END_MS && held.isEndless
}

/**
 * @param replacedLifeMs remaining life of the replaced record: Infinity without an end, 0 if there was none
 */
export function keptMs(ownMs: number, replacedLifeMs: number, graceMs: number): number {
  return Math.max(ownMs, Math.min(replacedLifeMs, graceMs))
}

/**
 * Whether a copy with this life is lasting regardless of other copies: no record must be kept for longer than the
 * grace. A minute less is close enough, so that one that replaces a lasting copy is often lasting too.
 */
export function isLastingLife(lifeMs: number, graceMs: number): boolean {
  return lifeMs >= graceMs - EXPIRY_MARGIN_MS
}

/** Whether nodes may keep copies of this record for different times: its own expiry asks for less than the grace. */
export function livesMayDiffer(record: RecordHead, graceMs: number): boolean {
  const { kind, expiresAtMs, version } = record
  if (compareVersions(version, VERSION_ZERO) === 0) return false // nothing, or not written by Rondo
  if (holdsValue(kind) && expiresAtMs === 0) return false
  return ownLifeMs(kind, expiresAtMs, versionMs(version)) < graceMs
}
