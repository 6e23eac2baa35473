/** What the phases of a round share: the placement at its start, who takes part, its counts and its pace. */
import type { Member } from '../../cluster/member.ts'
import { compareVersions, VERSION_BYTES, VERSION_ZERO, versionMs, type Version } from '../../core/clock.ts'
import type { RecordHead } from '../../core/codec.ts'
import { leavesPerRange } from '../../core/merkle.ts'
import type { Placement } from '../../core/placement.ts'
import type { TokenRange } from '../../core/ring.ts'
import type { RepairContext } from '../context.ts'
import type { Pace } from './pace.ts'
import { Participants, type Participant } from './participants.ts'

export interface RoundCounts {
  /** Copies scanned, of all members together. */
  checkedKeys: number
  rangesCompared: number
  rangesDiffering: number
  /** Records sent to a home replica that held an older one or none. */
  copied: number
  /** Copies of fallback replicas that were moved home and dropped. */
  movedHome: number
  /** Copies of fallback replicas older than deletes are remembered, dropped because they may have been deleted. */
  forgotten: number
  /** Of keys and values that were dropped from members which are not their home replicas. */
  freedBytes: number
  /** Copies of parts of collections that no collection needs any more. */
  removedParts: number
}

/** The round was stopped. */
export class RoundStopped extends Error {
  constructor(why: string) {
    super(why)
    this.name = 'RoundStopped'
  }
}

/** A token range and its home replicas. */
export interface PlacedRange {
  readonly range: TokenRange
  readonly homes: readonly Member[]
}

/** Keys read and copied at once: each may be as large as the largest value, on every home replica. */
const SETTLED_AT_ONCE = 16

export class RoundContext {
  readonly repair: RepairContext
  readonly pace: Pace
  readonly placement: Placement<Member>
  readonly participants: Participants
  /** Cluster time. */
  readonly startedAtMs: number
  /** By the index of the range in the placement. */
  readonly ranges: readonly PlacedRange[]
  /** Leaves of a digest tree. */
  readonly leaves: number
  readonly counts: RoundCounts = {
    checkedKeys: 0,
    rangesCompared: 0,
    rangesDiffering: 0,
    copied: 0,
    movedHome: 0,
    forgotten: 0,
    freedBytes: 0,
    removedParts: 0,
  }
  /** By member: how many keys it holds that Rondo did not write, and that reads at `one` look for on another node. */
  readonly misplaced = new Map<Member, number>()
  /** Fallback replicas with a copy that too few of its home replicas could be sent. */
  readonly unsettled = new Set<Participant>()
  private readonly startVersion = Buffer.alloc(VERSION_BYTES)
  private stopWhy: string | null = null

  constructor(repair: RepairContext, pace: Pace) {
    this.repair = repair
    this.pace = pace
    const { placement, time, versions } = repair.cluster
    this.placement = placement
    this.startedAtMs = time.nowMs()
    versions.stamp(this.startVersion, 0)
    this.ranges = [...placement.ranges()].map(({ range, set }) => ({ range, homes: set.homes }))
    this.leaves = leavesPerRange(this.ranges.length)
    this.participants = new Participants(repair.cluster.members)
  }

  countMisplaced(member: Member): void {
    this.misplaced.set(member, (this.misplaced.get(member) ?? 0) + 1)
  }

  get nowMs(): number {
    return this.repair.cluster.time.nowMs()
  }

  /** Ends the round at the next page or key. */
  stop(why: string): void {
    this.stopWhy ??= why
  }

  /** @throws RoundStopped */
  checkStopped(): void {
    if (this.stopWhy !== null) throw new RoundStopped(this.stopWhy)
  }

  /** Leaves out members that changed meanwhile. @throws RoundStopped */
  async confirm(): Promise<void> {
    await this.participants.confirm()
    this.checkStopped()
  }

  /** Written since the round began. A version from the future is excluded: it would stay young forever. */
  isYoung(version: Version): boolean {
    return compareVersions(version, this.startVersion) > 0 && versionMs(version) <= this.nowMs
  }

  /** Works through keys, some at a time. @throws RoundStopped */
  async inGroups<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
    const size = this.pace.piece(SETTLED_AT_ONCE)
    for (let at = 0; at < items.length; at += size) {
      this.checkStopped()
      const group = items.slice(at, at + size)
      await Promise.all(group.map(work))
      await this.pace.spend(group.length * this.placement.replicas)
    }
  }
}

/** Values of other programs and records that hold only a promise have version 0: nothing to compare or copy. */
export function isOurs(record: RecordHead): boolean {
  return record.versioned && compareVersions(record.version, VERSION_ZERO) !== 0
}
