/**
 * One round of anti-entropy: finds differences between the home replicas of the same keys, and copies the newest
 * records.
 *
 *   1. scan    every clean member, page by page, interleaved (scan.ts); builds a digest tree per member and token range
 *                (digests.ts). A misplaced copy (a fallback replica's) is moved home and dropped at once
 *   2. compare per range the trees of its home replicas: equal ones cost this one comparison, and no key is named
 *   3. list    only where leaves differ: scan again, and collect the heads of the keys in those leaves (listing.ts)
 *   4. settle  only where heads differ: read the key on its home replicas, and copy the newest record to those that hold
 *              an older one or none (settle.ts)
 *
 * Only step 4 decides, on records read in one turn; the earlier steps only find where to look. So a scan that takes
 * minutes, returns a key twice or sees half of a write costs work, never correctness.
 *
 * A tree contains live values only. A tombstone or an expired value supersedes older records and is otherwise nothing:
 * a replica that has purged it, or never had anything to delete, agrees with one that holds it. A replica that missed
 * the delete still has the old value in its tree, and the others do not, so the difference is found; when the leaf is
 * listed, the tombstone wins. For the same reason a dead record is never copied to a replica that holds nothing. "Live"
 * refers to the start of the round, or a value that expires between two scans would differ from itself.
 *
 * Not repaired:
 * - Values that Rondo did not write (version 0): it is unknown which is newer. A versioned record supersedes them.
 * - Records written since the round began: their copies may be in flight, and misses are recorded by their coordinator.
 *   "Since" is a version stamped at the start: everything that this coordinator has done or seen by then is older. The
 *   next round checks them.
 * - Missing records on a member that evicts: it would evict again. An older record there is corrected.
 * - Members that are being filled (fill.ts does it), or whose marker has changed since the start: they do not take part,
 *   and what was found about them does not count.
 *
 * Memory: 12 bytes per leaf, some 65,000 leaves per member; in step 3 the listed heads, for about LISTED_KEYS keys at a
 * time: if more differ, the members are scanned again for the next portion. (All keys of a leaf are listed together.
 * Keys with the same hash tag share a leaf.)
 *
 * A life is never extended: copies live as long as the record has left where it is kept longest (copy.ts).
 */
import type { Member } from '../../cluster/member.ts'
import type { RepairContext } from '../context.ts'
import { RoundContext, type RoundCounts } from './context.ts'
import { Digests } from './digests.ts'
import { PartsSeen } from './leftovers.ts'
import { Listing, portionsOf } from './listing.ts'
import type { Pace } from './pace.ts'
import type { Participant } from './participants.ts'
import { scanMembers } from './scan.ts'
import { moveHome, settleKey } from './settle.ts'

/** Approximate limit of keys whose heads are held at once: 300 to 400 bytes each. */
const LISTED_KEYS = 100_000

export interface SyncedMember {
  readonly member: Member
  readonly marker: Buffer
  /** Its misplaced copies are settled, under this placement (core/synced-at.ts). */
  readonly settled: string | null
}

export interface RoundResult {
  /** Ids of the members that took part from start to end. */
  readonly members: readonly string[]
  /** Members that did not, with the reason. */
  readonly leftOut: readonly string[]
  /**
   * By id: how many keys it holds that Rondo did not write, and looks for on other nodes. They are not moved: which copy is
   * the newest is unknown.
   */
  readonly misplaced: Readonly<Record<string, number>>
  /** Members that have received every delete: see `synced` below. */
  readonly synced: readonly SyncedMember[]
}

export class Round {
  private readonly context: RoundContext
  private readonly listedKeys: number

  /** @param listedKeys approximate number of keys to list at once */
  constructor(repair: RepairContext, pace: Pace, listedKeys = LISTED_KEYS) {
    this.context = new RoundContext(repair, pace)
    this.listedKeys = listedKeys
  }

  get counts(): RoundCounts {
    return this.context.counts
  }

  /** Cluster time. */
  get startedAtMs(): number {
    return this.context.startedAtMs
  }

  /** Members that have evicted keys: they are not sent what they lack. */
  get evicting(): string[] {
    const { all } = this.context.participants
    return all.filter(({ evicts }) => evicts).map(({ member }) => member.id)
  }

  /** Ends the round at the next page or key. */
  stop(why: string): void {
    this.context.stop(why)
  }

  /** @throws RoundStopped */
  async run(): Promise<RoundResult> {
    const { context } = this
    const digests = new Digests(context)
    const parts = new PartsSeen(context)
    await this.scan((participant, key, head) => {
      parts.note(key, head)
      return digests.add(participant, key, head)
    })
    for (const portion of portionsOf(await digests.compare(), this.listedKeys)) {
      const listing = new Listing(context, portion)
      await this.scan((participant, key, head) => {
        listing.add(participant, key, head)
        return false // misplaced copies were moved by the first scan
      })
      await context.inGroups(await listing.differing(), (differing) => settleKey(context, differing))
    }
    await parts.removeLeft()
    await context.confirm()
    const whole = context.participants.all.filter(({ takesPart }) => takesPart)
    return {
      members: whole.map(({ member }) => member.id),
      leftOut: context.participants.leftOut,
      misplaced: Object.fromEntries(
        whole.map(({ member }) => [member.id, context.misplaced.get(member) ?? 0]),
      ),
      synced: this.synced(whole),
    }
  }

  private async scan(visit: (participant: Participant, key: Buffer, head: Buffer) => boolean): Promise<void> {
    const { context } = this
    await scanMembers(context, visit, (participant, entry) => moveHome(context, participant, entry))
    await context.confirm()
  }

  /**
   * Members that now know every write acknowledged before the round began: for each of their ranges, N − Q other home
   * replicas took part to the end. With them it overlaps any Q that acknowledged a write or a delete. So one unavailable
   * member does not block the others.
   */
  private synced(whole: readonly Participant[]): SyncedMember[] {
    const { ranges, placement, participants, unsettled } = this.context
    const needed = placement.sufficient - 1
    const lacking = new Set<Member>()
    for (const { homes } of ranges) {
      const took = homes.filter((home) => participants.of(home))
      if (took.length - 1 < needed) for (const home of took) lacking.add(home)
    }
    return whole
      .filter(({ member }) => !lacking.has(member))
      .map((participant) => ({
        member: participant.member,
        marker: participant.markerBytes,
        settled: unsettled.has(participant) ? null : placement.fingerprint,
      }))
  }
}
