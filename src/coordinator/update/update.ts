/**
 * Updates (read, modify, write): NX, compare-and-set, increment, append, get-and-delete, expire … The result is
 * replicated, never the command.
 *
 * At `quorum` and `all`, two rounds (Paxos for one register, as in Rystsov's CASPaxos); the version is the ballot:
 *
 *   1. prepare(version) on all home replicas: each promises to refuse older writes, and returns what it holds. A promise
 *      is stored in the record, and does not expire by itself.
 *   2. A majority of clean promises: the newest record among them is the current one. modify() makes the result.
 *   3. accept(result) where the promise still stands. A majority of clean acceptances, kept equally long (acks.ts):
 *      done.
 *
 *   The node checks the epoch of its members as well: a result that all refuse because the members have changed begins
 *   again under the new ones, and one that some have taken goes on under them (two-rounds.ts).
 *
 *   A refusal in round 1, or in round 2 if no replica has accepted, names a newer version: begin again with a later one.
 *   It lets the other one finish first, and then comes with a ballot ahead of the next ones of the other (round-times.ts).
 *   Once a single accept may have been applied, an unconfirmed update has an unknown outcome, and is never retried.
 *
 * If nothing changes (a refused NX), a majority must still hold what was read, or a later reader could see something
 * older. This is so where the votes agree and certainly live equally long (core/votes.ts); otherwise the same record is
 * accepted again.
 *
 * At `one`: read the first healthy home replica, make the result, and store it there only if that replica still holds
 * what was read (update-one.ts); then send it to the others. Not a lock: during a fault two of these can succeed.
 */
import type { Member } from '../../cluster/member.ts'
import { StoredRecord, type NewRecord } from '../../core/codec.ts'
import type { ConsistencyLevel } from '../../core/consistency.ts'
import type { RondoError } from '../../core/errors.ts'
import { newestOf } from '../../core/votes.ts'
import type { Fence, Node, NodeFailure, PrepareCall, StoreCall } from '../../nodes/node.ts'
import { Acks } from '../write/acks.ts'
import {
  positionOf,
  placedNow,
  type CoordinatorContext,
  type Failing,
  type Replicas,
  type ServedBy,
} from '../context.ts'
import { tellWaiters } from '../waiting/stored.ts'
import { asStored, type Change } from './read-modify-write.ts'
import { Ballot, isNewer, TwoRounds } from './two-rounds.ts'

/** What modify() returns for the current record. */
export type Modified =
  | { readonly kind: 'write'; readonly record: Change }
  /** No change. */
  | { readonly kind: 'keep' }
  /** `isPutOff`: it comes again at once as a transaction, and what waits behind it goes on waiting (TransactDone) */
  | { readonly kind: 'refuse'; readonly error: RondoError; readonly isPutOff?: boolean }

/**
 * Pure; called once for each attempt.
 *
 * @param current the stored record, possibly a tombstone or expired; null = nothing
 */
export type Modify = (current: StoredRecord | null) => Modified

export interface UpdateDone extends Failing {
  /** @param before the previous record @param after the current record; the same if nothing changed */
  updated(before: StoredRecord | null, after: StoredRecord | null, by?: ServedBy): void
}

export class QuorumUpdate extends TwoRounds<UpdateDone> {
  readonly key: Buffer
  readonly modify: Modify
  /** False: modify() gets tagged values whether their tags are there or not (repairs). */
  readonly judges: boolean

  constructor(
    context: CoordinatorContext,
    key: Buffer,
    replicas: Replicas,
    level: ConsistencyLevel,
    modify: Modify,
    done: UpdateDone,
    judges = true,
  ) {
    super(context, replicas, level, 'update', done)
    this.key = key
    this.modify = modify
    this.judges = judges
  }

  protected place(): Replicas {
    return placedNow(this.context, this.key, this.replicas)
  }

  protected prepare(usable: readonly Member[]): void {
    new UpdateAttempt(this, usable).prepare()
  }

  succeed(before: StoredRecord | null, after: StoredRecord | null, by: ServedBy): void {
    if (this.finishInTime()) this.done.updated(before, after, by)
  }
}

class UpdateAttempt implements PrepareCall, StoreCall {
  private readonly update: QuorumUpdate
  /** Of the latest round. */
  private replicas: Replicas
  /** The epoch in which it was promised. */
  private readonly promisedIn: number
  /** A promise was of another epoch, and did not count. */
  private otherEpoch = false
  private usable: readonly Member[]
  private readonly ballot: Ballot
  private round: 'prepare' | 'judge' | 'accept' | 'over' = 'prepare'
  private pending = 0
  private readonly promised: Node[] = []
  /** What the clean ones of them hold, as far as the result takes it into account. */
  private readonly votes = new Map<Node, StoredRecord | null>()
  private before: StoredRecord | null = null
  /** The same as its tags have it. */
  private shown: StoredRecord | null = null
  private modified: Modified | null = null
  private result: NewRecord | null = null
  private lifeMs = 0
  private acks: Acks | null = null
  /** Accepts that were applied, or may have been. */
  private touched = 0
  /** Nodes that refused the result because of their epoch: they lack it, if others have confirmed it. */
  private readonly turnedAway: Node[] = []
  /** Home replicas that failed before there was a result, and why. */
  private readonly failed: { readonly node: Node; readonly why: string }[] = []

  constructor(update: QuorumUpdate, usable: readonly Member[]) {
    this.update = update
    this.replicas = update.replicas
    this.promisedIn = update.replicas.epoch
    this.usable = usable
    this.ballot = new Ballot(update.context.cluster.versions)
  }

  prepare(): void {
    const { key, context } = this.update
    const expectedBytes = context.sizes.expected(key)
    for (const home of this.usable) {
      this.begin()
      home.node.prepare(key, this.ballot.version, this, expectedBytes)
    }
  }

  // ---- round 1

  onPromised(node: Node, bytes: Buffer | null, fence: Fence): void {
    this.end()
    if (this.result) {
      this.notePromisedLate(node, bytes, fence)
      this.acceptAt(node) // late, but it should hold the result too
      return
    }
    if (this.round === 'judge') this.promised.push(node)
    if (this.round !== 'prepare' || this.update.isFinished) return
    this.promised.push(node)
    if (!this.replicas.isOfEpoch(fence)) this.otherEpoch = true
    const place = positionOf(this.replicas.homes, node)
    if (this.replicas.holdsBy(fence, place)) this.votes.set(node, bytes ? new StoredRecord(bytes) : null)
    if (this.update.arePromisedBy([...this.votes.keys()])) this.decide()
    else this.checkPromises()
  }

  /** Nothing newer than what the result was made of: its vote would have changed nothing. */
  private notePromisedLate(node: Node, bytes: Buffer | null, fence: Fence): void {
    const { homes } = this.replicas
    if (!this.replicas.holdsBy(fence, positionOf(homes, node))) return
    const record = bytes ? new StoredRecord(bytes) : null
    if (!isNewer(record, this.before)) this.votes.set(node, record)
  }

  onRefused(node: Node, newest: Buffer): void {
    this.end()
    this.update.context.cluster.versions.observe(newest)
    if (this.result) this.missed(node, 'it had promised a newer version')
    else if (this.round === 'judge') this.failed.push({ node, why: 'it had promised a newer version' })
    if (this.round === 'accept') this.checkAccepts() // it may have been the last pending one
    if (this.round !== 'prepare' || this.update.isFinished) return
    this.round = 'over'
    this.update.overtaken()
  }

  private checkPromises(): void {
    if (this.pending > 0) return
    this.round = 'over'
    if (this.otherEpoch) {
      this.update.againUnderOtherEpoch()
      return
    }
    this.update.fail(`${this.votes.size} of ${this.update.required} required replicas could promise.`)
  }

  private decide(): void {
    const before = newestOf(this.votes.values())
    this.before = this.shown = before
    if (!before?.isTagged || !this.update.judges) {
      this.modify()
      return
    }
    this.round = 'judge'
    const { context, level } = this.update
    const judged = (shown: StoredRecord) => {
      this.shown = shown
      if (!this.update.isFinished) this.modify()
    }
    context.tags.judge(before, level, judged, (error) => this.update.fail(error.message))
  }

  private modify(): void {
    this.modified = this.update.modify(this.shown)
    if (this.modified.kind !== 'write' && this.update.isAtMajority(this.votes, this.before)) {
      this.conclude()
      return
    }
    this.round = 'accept'
    const { context, key, level } = this.update
    const { replicas } = this
    const change = this.modified.kind === 'write' ? this.modified.record : this.shown!
    const { record, lifeMs } = this.update.recordOf(key, change, this.ballot)
    this.result = record
    this.lifeMs = lifeMs
    this.acks = new Acks(context, key, record, replicas, level, () => this.checkAccepts())
    this.update.sent()
    for (const node of this.promised) this.acceptAt(node)
    for (const { node, why } of this.failed) this.missed(node, why)
  }

  // ---- round 2

  private acceptAt(node: Node): void {
    this.begin()
    node.accept(this.update.key, this.result!, this.lifeMs, this, this.replicas)
  }

  onApplied(node: Node, fence: Fence, keptMs: number): void {
    this.end()
    this.touched++
    this.acks!.add(node, this.update.accepted(fence), keptMs)
    this.checkAccepts()
  }

  onStale(node: Node, held: Buffer): void {
    this.end()
    this.update.context.cluster.versions.observe(held)
    if (this.ballot.isMissingFrom(held)) this.missed(node, 'it had promised a newer version')
    this.checkAccepts()
  }

  private checkAccepts(): void {
    if (this.round !== 'accept' || this.update.isFinished) return
    if (this.acks!.areEnough) {
      this.conclude()
      return
    }
    if (this.pending + this.acks!.pending > 0) return
    this.round = 'over'
    if (this.touched > 0) {
      const goesOn = this.turnedAway.length > 0
      this.noteTurnedAway()
      this.tellWaiters()
      if (goesOn) this.goOn()
      else this.failUnconfirmed()
      return
    }
    // All have certainly refused: this result will never be visible.
    this.update.refused()
    if (this.turnedAway.length > 0) this.update.againUnderOtherEpoch()
    else this.update.overtaken()
  }

  private failUnconfirmed(): void {
    const accepted = this.acks!.counted.length
    this.update.fail(`${accepted} of ${this.update.required} required replicas have confirmed the update.`)
  }

  /** Under the next epoch: see two-rounds.ts. */
  private goOn(): void {
    const { context, key, level } = this.update
    const again = (replicas: Replicas) => {
      if (context.cluster.isFlushed(key, this.ballot.version)) {
        this.failUnconfirmed() // all keys were deleted meanwhile
        return
      }
      this.round = 'accept'
      this.replicas = replicas
      this.usable = replicas.homes.filter(({ node }) => this.votes.has(node))
      this.acks = new Acks(context, key, this.result!, replicas, level, () => this.checkAccepts())
      for (const { node } of this.usable) this.acceptAt(node)
      this.checkAccepts() // if there is none
    }
    this.update.goOnUnderNextEpoch(this.promisedIn, again, () => this.failUnconfirmed())
  }

  onFailure(node: Node, failure: NodeFailure): void {
    this.end()
    if (failure.reason === 'other-epoch') {
      this.turnedAway.push(node)
      if (this.round === 'over') this.noteTurnedAway()
    } else if (this.result) {
      if (failure.kind === 'unknown') this.touched++
      this.missed(node, failure.message)
    } else this.failed.push({ node, why: failure.message })
    if (failure.reason === 'wrong-type') this.update.wrongType(failure)
    else if (this.round === 'prepare' && !this.update.isFinished) this.checkPromises()
    else this.checkAccepts()
  }

  private conclude(): void {
    this.round = 'over'
    this.noteTurnedAway()
    const modified = this.modified!
    const after = this.result ? asStored(this.result) : this.shown
    if (this.result) {
      this.tellWaiters()
      const { key } = this.update
      const lifeMs = Math.max(this.lifeMs, this.acks!.longestMs)
      this.update.copyToOthers(key, this.replicas, this.result, lifeMs, this.usable)
    }
    const by = this.acks?.holders ?? [...this.votes.keys()]
    if (modified.kind === 'refuse') this.update.end(modified.error, by)
    else this.update.succeed(this.shown, after, by)
  }

  private tellWaiters(): void {
    tellWaiters(this.update.context, this.update.key, this.result!, this.shown)
  }

  private noteTurnedAway(): void {
    for (const node of this.turnedAway.splice(0)) this.missed(node, 'it had another epoch')
  }

  private missed(node: Node, why: string): void {
    this.update.missed(node, why, this.update.key, this.result!)
  }

  private begin(): void {
    this.pending++
    this.update.context.background.begin()
  }

  private end(): void {
    this.pending--
    this.update.context.background.end()
  }
}
