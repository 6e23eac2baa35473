/** What one merge works with (merge.ts). */
import type { Member } from '../../cluster/member.ts'
import type { Placement } from '../../core/placement.ts'
import type { ReplicaSet } from '../../core/replica-set.ts'
import type { RepairContext } from '../context.ts'
import type { Source } from './agreement.ts'
import { ComparedKeys, MOST_PLACES } from './compared.ts'
import { isSource, wants, type Sources } from './sources.ts'

export interface MergeProgress {
  /** Keys of all sources together, as their last probes say. */
  expected: number
  /** Keys checked, of all sources together. */
  checked: number
  /** Records sent to the member. */
  sent: number
  /** Of these, with their keys. */
  bytes: number
  /** Keys that the member lacked, and those of which it had an older version, each once for every source. */
  missing: number
  older: number
}

export const NO_PROGRESS: Readonly<MergeProgress> = {
  expected: 0,
  checked: 0,
  sent: 0,
  bytes: 0,
  missing: 0,
  older: 0,
}

/** What one member is to be brought. */
export interface MergeJob {
  readonly member: Member
  readonly sources: Sources
  readonly progress: MergeProgress
}

export interface Merge {
  readonly context: RepairContext
  readonly placement: Placement<Member>
  /** The marker of each source at the start. */
  readonly markers: ReadonlyMap<Member, Buffer>
  readonly targets: readonly Target[]
}

/** Who holds the keys of a replica set, without the member. */
export interface Holders {
  /** Who must agree on a record before it is copied: the clean voters; none if nothing could be settled without the member. */
  readonly voters: readonly Source[]
  /** Whose copies are compared at once, the voters first: all clean home replicas; none if there are no voters. */
  readonly all: readonly Source[]
}

/** One of the members that are brought something. */
export class Target {
  readonly job: MergeJob
  failure: unknown = null
  /** Versions of keys that are being sent: several sources may show them at the same time. */
  readonly underWay = new Set<string>()
  /** Of the last page it lacked more than it held: then whole records are read at first sight. */
  lacksMost = true
  /**
   * Most keys of the last page had no end. Others cannot be compared at once, so their holders are asked only for what the
   * member lacks.
   */
  comparesMost = true
  /** The member holds what all `Holders` of these keys held when they were asked. */
  readonly compared: ComparedKeys
  private readonly holders = new WeakMap<ReplicaSet<Member>, Holders | null>()

  /** @param targets how many there are */
  constructor(job: MergeJob, { secret }: RepairContext, targets: number) {
    this.job = job
    const { members, placement } = job.sources
    job.progress.expected = members.reduce((sum, { report }) => sum + (report?.keys ?? 0), 0)
    const most = 2 ** Math.floor(Math.log2(MOST_PLACES / targets))
    this.compared = new ComparedKeys(secret, job.progress.expected / placement.replicas, most)
  }

  /** Null = the member is brought none of these keys. */
  holdersOf(work: Merge, set: ReplicaSet<Member>): Holders | null {
    let found = this.holders.get(set)
    if (found === undefined) {
      const { member, sources } = this.job
      found = wants(set, member, sources.scope) ? holdersBut(work, member, set) : null
      this.holders.set(set, found)
    }
    return found
  }
}

export function sourceOf({ markers }: Pick<Merge, 'markers'>, member: Member): Source {
  return { member, marker: markers.get(member)! }
}

function holdersBut(work: Merge, member: Member, set: ReplicaSet<Member>): Holders {
  if (isNeeded(set, member)) return { voters: [], all: [] }
  const clean = (homes: readonly Member[]) =>
    homes
      .filter((home) => home !== member && work.markers.has(home) && isSource(set, home))
      .map((home) => sourceOf(work, home))
  const voters = clean(set.homes.slice(0, set.voters))
  return { voters, all: voters.length === 0 ? [] : [...voters, ...clean(set.homes.slice(set.voters))] }
}

/**
 * Without the member nothing can be acknowledged, as long as it is filled: no update has promises of the others, and
 * nothing could be settled.
 */
function isNeeded(set: ReplicaSet<Member>, member: Member): boolean {
  const others = [...set.homes.keys()].filter((place) => {
    return set.homes[place] !== member || set.mayHold(member.completeness === 'clean', place)
  })
  return !set.isHeld(others, 'quorum')
}
