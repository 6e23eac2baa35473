/**
 * What an update and a transaction at `quorum` and `all` have in common: two rounds over the home replicas, prepare and
 * accept, under one ballot (update.ts says why), and again with a later one when somebody else's came in between.
 *
 * Once a single accept may have been applied, what was not confirmed is an unknown outcome, and is never tried again.
 */
import type { Member } from '../../cluster/member.ts'
import { compareVersions, VERSION_BYTES } from '../../core/clock.ts'
import type { NewRecord, StoredRecord } from '../../core/codec.ts'
import { required, type ConsistencyLevel } from '../../core/consistency.ts'
import { fallbacksFor } from '../../core/plan.ts'
import { sureHolders } from '../../core/votes.ts'
import type { Node } from '../../nodes/node.ts'
import { positionOf, type CoordinatorContext, type Failing } from '../context.ts'
import { tooFew } from '../errors.ts'
import { Copies, noteMiss } from '../write/misses.ts'
import { NewVersion, ReadModifyWrite } from './read-modify-write.ts'

export abstract class TwoRounds<Done extends Failing> extends ReadModifyWrite<Done> {
  readonly homes: readonly Member[]

  constructor(
    context: CoordinatorContext,
    preference: readonly Member[],
    level: ConsistencyLevel,
    what: 'update' | 'transaction',
    done: Done,
  ) {
    super(context, level, what, done)
    this.homes = preference.slice(0, context.replicas)
  }

  protected attempt(): void {
    // A node that is being filled is asked for no promise: it would count for nothing, and only keep the fill out.
    const usable = this.homes.filter((home) => home.takesValues && home.completeness === 'clean')
    if (usable.length < this.required) {
      this.end(tooFew(usable.length, this.homes, this.details))
      return
    }
    this.prepare(usable)
  }

  /** Begins the rounds. */
  protected abstract prepare(usable: readonly Member[]): void

  /** Whether a majority surely holds what was read, so that it may be told as it is. */
  isAtMajority(votes: ReadonlyMap<Node, StoredRecord | null>, newest: StoredRecord | null): boolean {
    const majority = required('quorum', this.homes.length)
    return sureHolders(votes, newest, majority, this.context.graceMs).length >= majority
  }

  /** From now on the outcome is unknown, until a majority confirms or all have refused. */
  sent(): void {
    this.mayBeApplied = true
  }

  refused(): void {
    this.mayBeApplied = false
  }

  /** Like finish, but not past the deadline. */
  protected finishInTime(): boolean {
    if (!this.isPast) return this.finish()
    this.overdue()
    return false
  }

  /**
   * The result goes to whom it was not brought in two rounds: home replicas that are being filled, and fallback replicas for
   * those that are away. They never count.
   *
   * @param asked home replicas that took part
   */
  copyToOthers(
    key: Buffer,
    preference: readonly Member[],
    record: NewRecord,
    lifeMs: number,
    asked: readonly Member[],
  ): void {
    const { context, homes } = this
    const others = homes.filter((home) => home.takesValues && !asked.includes(home))
    const away = homes.filter((home) => !home.takesValues && !asked.includes(home))
    const fallbacks = fallbacksFor(preference, context.replicas, false).slice(0, away.length)
    const holders = [...homes.filter((home) => !away.includes(home)), ...fallbacks]
    new Copies(context, key, record, homes, holders).send([...others, ...fallbacks], lifeMs)
  }

  /** A home replica failed or refused before it could be seen to hold the result. */
  missed(node: Node, why: string, key: Buffer, record: NewRecord): void {
    const home = this.homes[positionOf(this.homes, node)]!
    noteMiss(this.context, home, `it missed a write: ${why}`, this.homes, key, record)
  }
}

/** The version under which an attempt goes its two rounds. Its results are stamped with it as well. */
export class Ballot extends NewVersion {
  /**
   * Whether a node that refused an accept may lack the result for good: another promise may be what refused it, and may
   * never be kept.
   *
   * @param held what it holds: the version, and the field of what that has replaced; or a promise
   */
  isMissingFrom(held: Buffer): boolean {
    return held.length === VERSION_BYTES || compareVersions(held.subarray(0, VERSION_BYTES), this.version) < 0
  }
}
