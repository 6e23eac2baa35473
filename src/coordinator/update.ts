/**
 * Read, modify, write: NX, compare-and-set, increment, append, get-and-delete, expire … What is replicated is the result,
 * never the command.
 *
 * At `quorum` and `all`, two rounds (Paxos for one register, as in Rystsov's CASPaxos), the version being the ballot:
 *
 *   1. prepare(version) on all home replicas: each promises to refuse older writes, and tells what it holds. A promise is
 *      kept in the record, and does not expire by itself.
 *   2. A majority of clean promises: the newest record among them is the current one. modify() makes the result.
 *   3. accept(result) where the promise still stands. A majority of clean acceptances, kept equally long (acks.ts): done.
 *
 *   A refusal in round 1 or, if nobody has accepted, in round 2 names a newer version: begin again, later than that. Once
 *   a single accept may have been applied, what was not confirmed is an unknown outcome, and is never tried again.
 *
 * If nothing is to be changed (a refused NX), what was seen must still be at a majority, or a later reader could see
 * something older: where the votes agree, and surely live equally long (core/votes.ts), it is; otherwise the same record is
 * accepted anew.
 *
 * At `one`: read the first healthy home replica, make the result, and store it there only if that replica still holds
 * what was read (update-one.ts); then send it to the others. Not a lock: during a fault two of these can succeed.
 */
import type { Member } from '../cluster/member.ts'
import { compareVersions, VERSION_BYTES } from '../core/clock.ts'
import {
  KIND_NOTHING,
  newRecord,
  REPLACED_AT,
  StoredRecord,
  VERSION_AT,
  versionOf,
  type NewRecord,
} from '../core/codec.ts'
import { required, type ConsistencyLevel } from '../core/consistency.ts'
import { Deadline } from '../core/deadlines.ts'
import { RondoError, type Outcome } from '../core/errors.ts'
import { ownLifeMs } from '../core/lifetime.ts'
import { standInsFor } from '../core/plan.ts'
import { newestOf, sureHolders } from '../core/votes.ts'
import type { Fence, Node, NodeFailure, PrepareCall, StoreCall } from '../nodes/node.ts'
import { Acks } from './acks.ts'
import { positionOf, type CoordinatorContext, type Failing } from './context.ts'
import { Copies, noteMiss } from './misses.ts'
import { tooFew } from './quorum-write.ts'
import { WRONG_TYPE_SENTENCE } from './read.ts'

/** What an update makes of the current record. */
export type Modified =
  | { readonly kind: 'write'; readonly record: { kind: number; value: Buffer; expiresAtMs: number } }
  /** Nothing is to be changed. */
  | { readonly kind: 'keep' }
  | { readonly kind: 'refuse'; readonly error: RondoError }

/**
 * Pure; may be called several times, once for each attempt.
 *
 * @param current what is stored now, a tombstone or an expired record too; null = nothing
 */
export type Modify = (current: StoredRecord | null) => Modified

export interface UpdateDone extends Failing {
  /** @param before what was there @param after what is there now; the same when nothing was to be changed */
  updated(before: StoredRecord | null, after: StoredRecord | null): void
}

const MAX_ATTEMPTS = 16

export class QuorumUpdate extends Deadline {
  readonly context: CoordinatorContext
  readonly key: Buffer
  readonly preference: readonly Member[]
  readonly homes: readonly Member[]
  readonly required: number
  readonly modify: Modify
  private readonly done: UpdateDone
  private finished = false
  private attempts = 0
  private mayBeApplied = false

  constructor(
    context: CoordinatorContext,
    key: Buffer,
    preference: readonly Member[],
    level: ConsistencyLevel,
    modify: Modify,
    done: UpdateDone,
  ) {
    super()
    this.context = context
    this.key = key
    this.preference = preference
    this.homes = preference.slice(0, context.replicas)
    this.required = required(level, context.replicas)
    this.modify = modify
    this.done = done
  }

  start(): void {
    this.context.deadlines.add(this)
    this.attempt()
  }

  get isFinished(): boolean {
    return this.finished
  }

  overdue(): void {
    this.fail(`The update was not confirmed within ${this.context.requestTimeoutMs} ms.`)
  }

  attempt(): void {
    this.attempts++
    // A node that is being filled is asked for no promise: it would count for nothing, and only keep the fill out.
    const usable = this.homes.filter((home) => home.takesValues && home.completeness === 'clean')
    if (usable.length < this.required) {
      this.fails(
        new RondoError('QUORUM_NOT_MET', tooFew(usable.length, this.required, this.homes), this.details),
      )
      return
    }
    new UpdateAttempt(this, usable).prepare()
  }

  /** Somebody else's newer version was met: again, a little later each time, so that two do not chase each other. */
  again(): void {
    if (this.finished) return
    if (this.attempts >= MAX_ATTEMPTS) {
      this.fail('Other updates of the key kept coming in between.')
      return
    }
    const waitMs = this.context.random() * Math.min(50, 2 ** this.attempts)
    this.context.timers.setTimeout(() => {
      if (!this.finished) this.attempt()
    }, waitMs)
  }

  /** From now on the outcome is unknown, until a majority confirms or all have refused. */
  sent(): void {
    this.mayBeApplied = true
  }

  refused(): void {
    this.mayBeApplied = false
  }

  succeed(before: StoredRecord | null, after: StoredRecord | null): void {
    if (this.finished) return
    if (this.context.deadlines.isPast(this)) {
      this.overdue() // nothing counts any more, whether or not the timer has come to say so
      return
    }
    this.finish()
    this.done.updated(before, after)
  }

  fails(error: RondoError): void {
    if (this.finished) return
    this.finish()
    this.done.failed(error)
  }

  wrongType(): void {
    this.fails(new RondoError('WRONG_TYPE', WRONG_TYPE_SENTENCE, this.details))
  }

  fail(why: string): void {
    const code = this.mayBeApplied ? 'OUTCOME_UNKNOWN' : 'QUORUM_NOT_MET'
    const outcome = this.mayBeApplied ? 'It may have been applied.' : 'It was not applied.'
    this.fails(new RondoError(code, `${why} ${outcome}`, this.details))
  }

  /**
   * The result goes to whom it was not brought in two rounds: home replicas that are being filled, and stand-ins for
   * those that are away. They never count.
   */
  copyToOthers(record: NewRecord, lifeMs: number, accepting: readonly Node[]): void {
    const others = this.homes.filter((home) => home.takesValues && !accepting.includes(home.node))
    const away = this.homes.filter((home) => !home.takesValues && !accepting.includes(home.node))
    const standIns = standInsFor(this.preference, this.context.replicas, false).slice(0, away.length)
    const holders = [...this.homes.filter((home) => !away.includes(home)), ...standIns]
    new Copies(this.context, this.key, record, this.homes, holders).send([...others, ...standIns], lifeMs)
  }

  /** A home replica failed before it could be seen to hold the result. */
  missed(home: Member, why: string, record: NewRecord): void {
    const holders = this.homes.filter((other) => other !== home && other.node.ready)
    noteMiss(this.context, home, `it missed a write: ${why}`, holders, this.key, versionOf(record))
  }

  private get details(): { outcome: Outcome; required: number } {
    return { outcome: this.mayBeApplied ? 'unknown' : 'not-applied', required: this.required }
  }

  private finish(): void {
    this.finished = true
    this.context.deadlines.remove(this)
  }
}

class UpdateAttempt implements PrepareCall, StoreCall {
  private readonly update: QuorumUpdate
  private readonly usable: readonly Member[]
  /** Its version is the ballot, and the version of the result. */
  private readonly ballot: NewRecord
  private round: 'prepare' | 'accept' | 'over' = 'prepare'
  private pending = 0
  private readonly promised: Node[] = []
  /** Who was sent the prepare, and so gets the accept as well. */
  private readonly asked = new Set<Node>()
  /** What the clean ones among them hold. */
  private readonly votes = new Map<Node, StoredRecord | null>()
  private before: StoredRecord | null = null
  private modified: Modified | null = null
  private result: NewRecord | null = null
  private lifeMs = 0
  private acks: Acks | null = null
  /** Accepts that were applied, or may have been. */
  private touched = 0

  constructor(update: QuorumUpdate, usable: readonly Member[]) {
    this.update = update
    this.usable = usable
    this.ballot = newRecord(KIND_NOTHING, update.context.cluster.versions, 0)
  }

  prepare(): void {
    for (const home of this.usable) {
      this.begin()
      this.asked.add(home.node)
      home.node.prepare(this.update.key, versionOf(this.ballot), this)
    }
  }

  // ---- round 1

  onPromised(node: Node, bytes: Buffer | null, fence: Fence): void {
    this.end()
    if (this.result) {
      this.acceptAt(node) // late, but it shall hold the result too
      return
    }
    if (this.round !== 'prepare' || this.update.isFinished) return
    this.promised.push(node)
    if (fence.clean) this.votes.set(node, bytes ? new StoredRecord(bytes) : null)
    if (this.votes.size >= this.update.required) this.decide()
    else this.checkPromises()
  }

  onRefused(_node: Node, newest: Buffer): void {
    this.end()
    this.update.context.cluster.versions.observe(newest)
    if (this.round === 'accept') this.checkAccepts() // it may have been the last that was waited for
    if (this.round !== 'prepare' || this.update.isFinished) return
    this.round = 'over'
    this.update.again()
  }

  private checkPromises(): void {
    if (this.pending > 0) return
    this.round = 'over'
    this.update.fail(`${this.votes.size} of ${this.update.required} required replicas could promise.`)
  }

  private decide(): void {
    this.before = newestOf(this.votes.values())
    this.modified = this.update.modify(this.before)
    const { homes, context } = this.update
    const majority = required('quorum', homes.length)
    if (this.modified.kind !== 'write') {
      const agreeing = sureHolders(this.votes, this.before, majority, context.graceMs).length
      if (agreeing >= majority) {
        this.conclude()
        return
      }
    }
    this.round = 'accept'
    this.result = this.resultOf(this.modified)
    this.acks = new Acks(context, this.update.key, this.result, this.update.required, () =>
      this.checkAccepts(),
    )
    const stored = new StoredRecord(this.result.head)
    this.lifeMs = ownLifeMs(stored.kind, stored.expiresAtMs, context.cluster.time.nowMs())
    this.update.sent()
    for (const node of this.promised) this.acceptAt(node)
  }

  /** What is to be stored under the ballot's version: the change, or what was there. */
  private resultOf(modified: Modified): NewRecord {
    const { kind, value, expiresAtMs } = modified.kind === 'write' ? modified.record : this.before!
    const underBallot = {
      stamp: (target: Buffer, at: number) => void this.ballot.head.copy(target, at, VERSION_AT, REPLACED_AT),
    }
    return newRecord(kind, underBallot, expiresAtMs, value)
  }

  // ---- round 2

  private acceptAt(node: Node): void {
    this.begin()
    node.accept(this.update.key, this.result!, this.lifeMs, this)
  }

  onApplied(node: Node, fence: Fence, keptMs: number): void {
    this.end()
    this.touched++
    this.acks!.add(node, fence, keptMs)
    this.checkAccepts()
  }

  onStale(node: Node, held: Buffer): void {
    this.end()
    this.update.context.cluster.versions.observe(held)
    const isPromise = held.length === VERSION_BYTES
    if (isPromise || compareVersions(held.subarray(0, VERSION_BYTES), versionOf(this.ballot)) < 0) {
      // Another promise may be what refused it, and may never be kept: then it lacks the result for good.
      const home = this.update.homes[positionOf(this.update.homes, node)]!
      this.update.missed(home, 'it had promised otherwise', this.result!)
    }
    this.checkAccepts()
  }

  private checkAccepts(): void {
    if (this.round !== 'accept' || this.update.isFinished) return
    const accepted = this.acks!.counted
    if (accepted >= this.update.required) {
      this.conclude()
      return
    }
    if (this.pending + this.acks!.pending > 0) return
    this.round = 'over'
    if (this.touched > 0) {
      this.update.fail(`${accepted} of ${this.update.required} required replicas have confirmed the update.`)
      return
    }
    // All refused for certain: nobody will ever see this result.
    this.update.refused()
    this.update.again()
  }

  onFailure(node: Node, failure: NodeFailure): void {
    this.end()
    if (this.result) {
      if (failure.kind === 'unknown') this.touched++
      const place = positionOf(this.update.homes, node)
      this.update.missed(this.update.homes[place]!, failure.message, this.result)
    }
    if (failure.reason === 'wrong-type') this.update.wrongType()
    else if (this.round === 'prepare' && !this.update.isFinished) this.checkPromises()
    else this.checkAccepts()
  }

  private conclude(): void {
    this.round = 'over'
    const modified = this.modified!
    const after = this.result
      ? new StoredRecord(Buffer.concat([this.result.head, this.result.value]))
      : this.before
    if (this.result) {
      const lifeMs = Math.max(this.lifeMs, this.acks!.longestMs)
      this.update.copyToOthers(this.result, lifeMs, [...this.asked])
    }
    if (modified.kind === 'refuse') this.update.fails(modified.error)
    else this.update.succeed(this.before, after)
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
