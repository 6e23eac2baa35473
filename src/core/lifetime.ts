/**
 * How long a node keeps a record's key, which is longer than a user can see it.
 *
 * An expired or deleted record must stay as long as an older version that some replica missed losing could come back.
 * So a key lives until the later of
 *
 *   - the logical expiry + a fifth of the TTL, but 2 s at least and 60 s at most (a tombstone's: the moment of its
 *     delete + 60 s), and
 *   - the earlier of: the replaced record's own end, and now + the grace
 *
 * and a value without expiry lives, for a node, until a far end: under a `volatile-*` policy a node may then evict any
 * user's value, and never an internal key, which has none. Where such a value replaces another, the key's end stays as it
 * is: for a node that costs less than to set it again.
 *
 * A replica that replaced nothing keeps its copy for less than one that did. But it may be that copy which stands, one
 * day, beside the replica that missed it all:
 *
 *   v1 at        B C                                     A missed it
 *   delete v2 at A C       C keeps it for the grace, A for a minute; B missed it
 *   C is away    A B       after that minute: nothing and v1, so v1 would be seen again
 *
 * So all copies that count at `quorum` are kept as long as the one that is kept longest (QuorumWrite and QuorumUpdate
 * lengthen the others), and a copy that is known to be kept that long is marked in its head as lasting. A node marks it
 * itself where it keeps it for the grace, which is the most that is ever needed; whoever lengthens one marks it, too.
 * Readers take copies without the mark for equally long only if they replaced the same (votes.ts).
 */
import { compareVersions, VERSION_ZERO, versionMs } from './clock.ts'
import { KIND_VALUE, type RecordHead } from './codec.ts'

export const EXPIRY_MARGIN_MS = 60_000
/** About a hundred years: no expiry, but still a TTL. */
export const FAR_END_MS = 100 * 365 * 86_400_000
/** Copies of a record arrive at different times, and clocks jitter: up to this, their lives are the same. */
export const LIFE_TOLERANCE_MS = 1000
/**
 * The least by which a value outlives its expiry: by as much as the lives of copies may differ, and two coordinators'
 * times before a clock is reported (cluster/time.ts). So what takes the place of a value is kept until everybody takes
 * that value for expired.
 */
const SHORTEST_MARGIN_MS = LIFE_TOLERANCE_MS + 1000

/**
 * What the record's own expiry asks for, in milliseconds from now; the node adds the rule of the replaced record.
 *
 * @param expiresAtMs cluster time, 0 = none
 */
export function ownLifeMs(kind: number, expiresAtMs: number, clusterMs: number): number {
  if (expiresAtMs > 0) {
    const ttlMs = expiresAtMs - clusterMs
    return Math.max(1, Math.ceil(ttlMs + expiryMarginMs(ttlMs)))
  }
  return kind === KIND_VALUE ? FAR_END_MS : EXPIRY_MARGIN_MS
}

/** A fifth of the TTL at most, where that is not too little: fresh values that live 10 s cost 1.2× their keys. */
function expiryMarginMs(ttlMs: number): number {
  return Math.min(EXPIRY_MARGIN_MS, Math.max(SHORTEST_MARGIN_MS, ttlMs / 5))
}

/**
 * What a copy of a record asks for when nobody knows what it has replaced elsewhere: a delete or an expiry must be
 * remembered as long as any delete may be, the grace, counted from when it was made. So copying it from node to node
 * never makes it live longer.
 */
export function repairedLifeMs(record: RecordHead, clusterMs: number, graceMs: number): number {
  const { kind, expiresAtMs } = record
  const ownMs = ownLifeMs(kind, expiresAtMs, clusterMs)
  return Math.max(kind === KIND_VALUE ? ownMs : 1, Math.ceil(versionMs(record.version) + graceMs - clusterMs))
}

/** Whether the key's end stays as it is: one value without expiry takes the place of another. */
export function keepsItsEnd(held: RecordHead, ownMs: number): boolean {
  return ownMs === FAR_END_MS && held.isEndless
}

/**
 * @param replacedLifeMs what the replaced record had left to live: Infinity without an end, 0 when there was none
 */
export function keptMs(ownMs: number, replacedLifeMs: number, graceMs: number): number {
  return Math.max(ownMs, Math.min(replacedLifeMs, graceMs))
}

/**
 * Whether a copy that is kept this long is lasting whatever is held elsewhere: no record has to be remembered for longer
 * than the grace. A minute less is close enough, so that one that takes the place of a lasting copy is often lasting too.
 */
export function isLastingLife(lifeMs: number, graceMs: number): boolean {
  return lifeMs >= graceMs - EXPIRY_MARGIN_MS
}

/** Whether nodes may keep copies of this record for different times: its own expiry asks for less than the grace. */
export function livesMayDiffer(record: RecordHead, graceMs: number): boolean {
  const { kind, expiresAtMs, version } = record
  if (compareVersions(version, VERSION_ZERO) === 0) return false // nothing, or nothing of ours
  if (kind === KIND_VALUE && expiresAtMs === 0) return false
  return ownLifeMs(kind, expiresAtMs, versionMs(version)) < graceMs
}
