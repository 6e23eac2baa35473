/**
 * Nodes with older data than this coordinator, or the other nodes, know of: a node that was taken out of REDIS_URLS and put
 * back, an old machine that answers again at its address, a restored snapshot. Its marker is valid, so it is used, and may
 * return old values until a round of anti-entropy has compared it.
 *
 * What can be known is in synced_at (core/synced-at.ts), which only moves forward:
 *
 *   older than this coordinator has seen it on the same member        the data is another's, or went back
 *   in the first reports of a member, older than one round that more  the round took place without it: it was away,
 *   than half of the others took part in                              or not a member
 *
 * Fills have times of their own, and an assumed time is no comparison: so new nodes do not make the others look old. A node
 * that was away while this process ran is not told of: it is known to be behind, and is sent what it missed.
 */
import type { SyncedAt } from '../core/synced-at.ts'
import { decodeMarker } from './marker.ts'
import type { Member } from './member.ts'

/** In the first report the others may not have been reached yet; and a round stamps its nodes one after the other. */
const FIRST_REPORTS = 2

interface Seen {
  reports: number
  newestMs: number
}

export class OlderData {
  private readonly seen = new Map<Member, Seen>()

  /**
   * Once for each report of a member, after it was noted.
   *
   * @returns null, or up to when it was compared, and what it should have been compared with
   */
  found(member: Member, members: readonly Member[]): { sinceMs: number; othersMs: number } | null {
    const syncedAt = member.report?.syncedAt
    if (!syncedAt || !isClean(member)) return null
    let seen = this.seen.get(member)
    if (!seen) this.seen.set(member, (seen = { reports: 0, newestMs: syncedAt.atMs }))
    seen.reports++
    const before = seen.newestMs
    seen.newestMs = syncedAt.atMs
    if (syncedAt.atMs < before) return { sinceMs: syncedAt.atMs, othersMs: before }
    if (seen.reports !== FIRST_REPORTS) return null
    const round = roundWithout(member, members)
    return round === null ? null : { sinceMs: syncedAt.atMs, othersMs: round }
  }
}

/** Its other states end in a comparison. */
function isClean({ report }: Member): boolean {
  const marker = report?.marker ? decodeMarker(report.marker) : null
  return marker?.state === 'clean' && marker.runId === report!.runId
}

/** The time of a round after the member's that more than half of the others took part in, or null. */
function roundWithout(member: Member, members: readonly Member[]): number | null {
  const others = members.filter((other) => other !== member)
  const rounds = others.flatMap(({ report }) => timeOf(report?.syncedAt ?? null))
  const later = [...new Set(rounds)].filter((atMs) => atMs > member.report!.syncedAt!.atMs)
  return later.find((atMs) => 2 * rounds.filter((one) => one === atMs).length > others.length) ?? null
}

function timeOf(syncedAt: SyncedAt | null): number[] {
  return syncedAt && !syncedAt.assumed ? [syncedAt.atMs] : []
}
