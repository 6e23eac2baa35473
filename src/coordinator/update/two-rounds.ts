/**
 * The common part of updates and transactions at `quorum` and `all`: two rounds over the home replicas, prepare and
 * accept, under one ballot (update.ts explains why), retried with a later ballot after a conflict. While home replicas
 * change, both rounds need a majority of each set (core/replica-set.ts): whichever votes next has promised, and holds it.
 *
 * Once a single accept may have been applied, an unconfirmed update has an unknown outcome, and is never begun again. A
 * node that has heard of another change of members refuses it for certain (nodes/redis/accept.lua): where some have taken
 * it before, and others have gone over to the next epoch, the same result goes on under that, at the nodes whose promises
 * it takes into account.
 *
 *   Why these alone: each of them has told what it held when it promised, which is not newer than what the result was made
 *   of, and takes the result only if nothing came after that. So enough of them for the next epoch are as good as promises
 *   that were made under it. One that promised late may hold what was confirmed meanwhile.
 *
 *   Only the next one: what is confirmed under it needs a node of those that promised, whoever else changes the key. After
 *   a whole change there may be none.
 */
import type { Member } from '../../cluster/member.ts'
import { compareVersions, VERSION_BYTES } from '../../core/clock.ts'
import type { NewRecord, StoredRecord } from '../../core/codec.ts'
import type { ConsistencyLevel } from '../../core/consistency.ts'
import { fallbacksFor } from '../../core/plan.ts'
import { sureHolders } from '../../core/votes.ts'
import type { Answering } from '../../core/replica-set.ts'
import type { Fence, Node } from '../../nodes/node.ts'
import { memberOf, placesOf, type CoordinatorContext, type Failing, type Replicas } from '../context.ts'
import { crossReplicaSet, tooFew } from '../errors.ts'
import { Copies, noteMiss } from '../write/misses.ts'
import { NewVersion, ReadModifyWrite } from './read-modify-write.ts'

export abstract class TwoRounds<Done extends Failing> extends ReadModifyWrite<Done> {
  /** Of its key, or of one of its keys, in the latest attempt. */
  replicas: Replicas
  /** The latest attempt. */
  private beganAtMs = 0

  constructor(
    context: CoordinatorContext,
    replicas: Replicas,
    level: ConsistencyLevel,
    what: 'update' | 'transaction',
    done: Done,
  ) {
    super(context, replicas, level, what, done)
    this.replicas = replicas
  }

  get homes(): readonly Member[] {
    return this.replicas.homes
  }

  /** What it changes, under the placement of now; null if its keys cannot be changed together any more. */
  protected abstract place(): Replicas | null

  /**
   * Nodes have taken the result, and others refuse it because they have another epoch.
   *
   * @param promisedIn the epoch in which it was promised
   * @param again called as soon as this coordinator works by the next one, with the replicas of then
   * @param instead called if it cannot go on: the outcome is unknown
   */
  goOnUnderNextEpoch(promisedIn: number, again: (replicas: Replicas) => void, instead: () => void): void {
    this.attemptSoon(() => {
      const { epoch } = this.context.cluster.placement
      if (epoch === promisedIn) {
        this.goOnUnderNextEpoch(promisedIn, again, instead)
        return
      }
      const replicas = epoch === promisedIn + 1 ? this.place() : null
      if (!replicas) {
        instead()
        return
      }
      this.replicas = replicas
      this.required = replicas.required(this.level)
      again(replicas)
    })
  }

  /** Too few answers were of the epoch, and nothing that could take effect was sent: begins again. */
  againUnderOtherEpoch(): void {
    this.attemptSoon()
  }

  protected attempt(): void {
    this.beganAtMs = this.context.roundTimes.nowMs()
    if (this.timesOvertaken > 0) this.leap()
    const replicas = this.place()
    if (!replicas) {
      this.end(crossReplicaSet())
      return
    }
    this.replicas = replicas
    this.required = replicas.required(this.level)
    // No promise from a filling node: it would not count, and would only block the fill.
    const usable = this.homes.filter((home, place) => {
      return home.takesValues && replicas.mayHold(home.completeness === 'clean', place)
    })
    const places = placesOf(
      replicas,
      usable.map(({ node }) => node),
    )
    if (!replicas.isHeld(places, this.level)) {
      this.end(tooFew(places, replicas, this.level, this.details))
      return
    }
    this.prepare(usable)
  }

  /** Enough promises, so that no other update can be confirmed without one of these nodes. */
  arePromisedBy(nodes: readonly Node[]): boolean {
    return this.replicas.isHeld(placesOf(this.replicas, nodes), this.level)
  }

  /**
   * Makes the ballot later than those that others begin before these rounds have ended. By more each time: how far their
   * time is ahead of ours is not known.
   */
  private leap(): void {
    const { cluster, roundTimes } = this.context
    cluster.versions.leap(roundTimes.averageMs * 2 ** (this.timesOvertaken - 1))
  }

  /** Starts the rounds. */
  protected abstract prepare(usable: readonly Member[]): void

  /** Whether a majority certainly holds what was read, so that it can be returned as it is. */
  isAtMajority(votes: ReadonlyMap<Node, StoredRecord | null>, newest: StoredRecord | null): boolean {
    const isHeld = (nodes: readonly Node[]) => this.replicas.isHeld(placesOf(this.replicas, nodes), 'quorum')
    return isHeld(sureHolders(votes, newest, isHeld, this.context.graceMs))
  }

  /**
   * A node that has accepted was of this epoch then, as its script has checked. By the end of its batch it may have a
   * later one.
   */
  accepted({ clean }: Fence): Answering {
    return { clean, epoch: this.replicas.epoch }
  }

  /** From now on the outcome is unknown, until a majority confirms or all refuse. */
  sent(): void {
    this.mayBeApplied = true
  }

  refused(): void {
    this.mayBeApplied = false
  }

  protected override waitMs(times: number): number {
    return this.context.roundTimes.waitMs(this.beganAtMs, times, this.context.random())
  }

  /** Like finish(), but fails past the deadline. */
  protected finishInTime(): boolean {
    if (!this.isPast) {
      this.context.roundTimes.note(this.beganAtMs)
      return this.finish()
    }
    this.overdue()
    return false
  }

  /**
   * Sends the result to replicas that took no part in the two rounds: filling home replicas, and fallback replicas for
   * unavailable ones. They never count.
   *
   * @param asked home replicas that took part
   */
  copyToOthers(
    key: Buffer,
    replicas: Replicas,
    record: NewRecord,
    lifeMs: number,
    asked: readonly Member[],
  ): void {
    const { context, homes } = this
    const others = homes.filter((home) => home.takesValues && !asked.includes(home))
    const unavailable = homes.filter((home) => !home.takesValues && !asked.includes(home))
    const fallbacks = fallbacksFor(replicas, false).slice(0, unavailable.length)
    const holders = [...homes.filter((home) => !unavailable.includes(home)), ...fallbacks]
    new Copies(context, key, record, homes, holders).send([...others, ...fallbacks], lifeMs)
  }

  /** A home replica failed or refused: it may lack the result. */
  missed(node: Node, why: string, key: Buffer, record: NewRecord): void {
    const home = memberOf(this.homes, node)
    noteMiss(this.context, home, `it missed a write: ${why}`, this.homes, key, record)
  }
}

/** Whether this is later than what a result was made of. */
export function isNewer(record: StoredRecord | null, before: StoredRecord | null): boolean {
  return record !== null && (before === null || compareVersions(record.version, before.version) > 0)
}

/** The version of an attempt: the ballot of its two rounds, and the version of its results. */
export class Ballot extends NewVersion {
  /**
   * Whether a node that refused an accept may lack the result for good: it may have refused because of another promise,
   * which may be abandoned.
   *
   * @param held what it holds: the version followed by its replaced field; or a promise
   */
  isMissingFrom(held: Buffer): boolean {
    return held.length === VERSION_BYTES || compareVersions(held.subarray(0, VERSION_BYTES), this.version) < 0
  }
}
