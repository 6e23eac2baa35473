/**
 * Which copies may be of values that were deleted, and that no tombstone supersedes any more. Tombstones are kept for
 * the grace, so it takes a copy that nobody has compared for that long:
 *
 *   a member that was not compared     → stale: all that it holds is in doubt (repair/stale.ts)
 *   a copy on a fallback replica that
 *   is older than the grace            → forgotten, if the member's misplaced copies were settled before: nothing. Until
 *                                        they were, it may be the only copy, as after a change of REDIS_URLS
 *
 * See core/synced-at.ts.
 */
import { versionMs } from '../core/clock.ts'
import type { RecordHead } from '../core/codec.ts'
import type { Placement } from '../core/placement.ts'
import type { Identity } from './identity.ts'
import type { Member } from './member.ts'
import type { ClusterTime } from './time.ts'

export interface FreshnessOptions {
  readonly time: ClusterTime
  readonly identity: Identity
  readonly placement: () => Placement<Member>
  /** How long a node may go without anti-entropy; 0 = no limit, because anti-entropy is off. */
  readonly staleAfterMs: number
}

/** A write is stored later than its version says: by less than this. */
const LATE_MS = 60_000

export class Freshness {
  private readonly options: FreshnessOptions

  constructor(options: FreshnessOptions) {
    this.options = options
  }

  /** The member may hold values that were deleted meanwhile and whose tombstones are gone. */
  isStale({ marker, report }: Member): boolean {
    if (marker?.dropBeforeMs !== undefined) return true
    const { staleAfterMs, time } = this.options
    if (staleAfterMs === 0 || !report?.syncedAt) return false
    return time.nowMs() - report.syncedAt.atMs > staleAfterMs
  }

  /** The copy, of a key that the member is no home replica of, counts as nothing. */
  isForgotten(member: Member, copy: RecordHead): boolean {
    const { staleAfterMs, time } = this.options
    if (staleAfterMs === 0 || copy.isForeign || !this.isSettled(member)) return false
    return versionMs(copy.version) < time.nowMs() - staleAfterMs
  }

  /** Enough home replicas of the copy's key were sent it, or hold something newer. */
  wasSettled(member: Member, copy: RecordHead): boolean {
    return this.isSettled(member) && versionMs(copy.version) < member.report!.syncedAt!.atMs - LATE_MS
  }

  private isSettled({ report }: Member): boolean {
    const syncedAt = report?.syncedAt
    if (!syncedAt || syncedAt.assumed) return false
    const { identity, placement } = this.options
    // An earlier release moved them home, too, but did not record under which placement.
    if (syncedAt.settled === undefined) return identity.isAsFounded
    return syncedAt.settled === placement().fingerprint
  }
}
