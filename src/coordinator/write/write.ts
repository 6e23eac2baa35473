/**
 * A write (or delete) at `one`: sends the record to all replicas in the same turn of the event loop, and waits only for
 * the first healthy one in preference order.
 *
 *   targets   A  B  C        A applied                 → answered; B and C finish in the background
 *             A✗ B  C        A failed                  → the answer is B's, which a read would ask next
 *             A✗ B✗ C✗  D    all failed: one further node, as long as MAX_TRIES allows
 *
 * A home replica that misses the write is marked as behind. A fallback replica takes the copy of a home replica that
 * accepts no writes now, so that N copies exist; its ack is used only when no home replica can answer any more.
 *
 * Stale (the replica holds a newer record) is never an ack. If the record it replaced is ours, ours was applied there
 * and overwritten since: that counts. Otherwise the write is retried with a version later than the one met.
 *
 * "Not applied" is reported only when every copy that was sent has certainly failed. An ack that was not waited for, an
 * unanswered copy or a pending one make the outcome unknown.
 */
import type { Member } from '../../cluster/member.ts'
import {
  KIND_TOMBSTONE,
  kindOf,
  REPLACED_BYTES,
  VERSION_AT,
  versionOf,
  type NewRecord,
} from '../../core/codec.ts'
import { VERSION_BYTES, type Version } from '../../core/clock.ts'
import type { Deadline, Timed } from '../../core/deadlines.ts'
import { RondoError, type Outcome } from '../../core/errors.ts'
import { planWrite, READ_FIRST } from '../../core/plan.ts'
import type { Fence, Node, NodeFailure, StoreCall } from '../../nodes/node.ts'
import {
  positionOf,
  placedNow,
  type CoordinatorContext,
  type Failing,
  type Replicas,
  type ServedBy,
} from '../context.ts'
import { metNewer, wrongType } from '../errors.ts'
import { OTHER_EPOCH_MS } from '../operation.ts'
import { writeInTurn } from './in-turn.ts'
import { lifeWhileAway, noteMiss } from './misses.ts'
import { inWords } from '../../core/sentence.ts'

export interface WriteDone extends Failing {
  written(version: Version, by?: ServedBy): void
}

/**
 * Makes the record again, with a version later than all that were seen; null = it must not be newer than what it has met,
 * and the write fails.
 */
export type MakeRecord = () => { record: NewRecord; lifeMs: number } | null

const MAX_ATTEMPTS = 4

/** Not an Operation, for speed (operation.ts). */
export class WriteOne implements Timed {
  readonly context: CoordinatorContext
  readonly key: Buffer
  /** Of the latest attempt. */
  replicas: Replicas
  private readonly make: MakeRecord
  private readonly done: WriteDone
  private deadline: Deadline | null = null
  private finished = false
  private attempts = 0
  /** Pending copies of all attempts. */
  private unanswered = 0
  private mayBeApplied = false
  /** Set while it takes its turn as an update. */
  private turn: Timed | null = null

  constructor(
    context: CoordinatorContext,
    key: Buffer,
    replicas: Replicas,
    make: MakeRecord,
    done: WriteDone,
  ) {
    this.context = context
    this.key = key
    this.replicas = replicas
    this.make = make
    this.done = done
  }

  start(): void {
    this.deadline = this.context.deadlines.add(this, this.done.call?.dueAtMs)
    this.attempt()
  }

  overdue(): void {
    if (this.turn) this.turn.overdue()
    else this.fail(`No replica confirmed the write within ${this.context.requestTimeoutMs} ms.`)
  }

  /** The replica whose answer counts holds the record. */
  succeed(record: NewRecord, by: ServedBy): void {
    if (this.finished) return
    this.finish()
    this.done.written(versionOf(record), by)
  }

  /** The replica whose answer counts held something newer: retry with a later version. */
  again(record: NewRecord): void {
    if (this.finished) return
    this.context.contention.note(this.key)
    if (this.attempts < MAX_ATTEMPTS) {
      this.attempt()
      return
    }
    this.turn = writeInTurn(this.context, this.key, 'one', record, {
      updated: (_before, after, by) => {
        if (this.finished) return
        this.finish()
        this.done.written(after!.version, by)
      },
      failed: (error) => {
        if (error.details.outcome === 'not-applied' && this.outcome === 'unknown') this.fail(error.message)
        else this.end(error)
      },
    })
  }

  copySent(): void {
    this.unanswered++
    this.context.background.begin()
  }

  /** @param mayBeApplied false if this copy was certainly not applied */
  copyEnded(mayBeApplied: boolean): void {
    this.unanswered--
    if (mayBeApplied) this.mayBeApplied = true
    this.context.background.end()
  }

  wrongType(failure: NodeFailure): void {
    this.end(wrongType(failure, { outcome: this.outcome }))
  }

  fail(why: string): void {
    const { outcome } = this
    const advice =
      outcome === 'unknown'
        ? 'It may have been applied: read the key, or write it again.'
        : 'It was not applied.'
    const code = outcome === 'unknown' ? 'OUTCOME_UNKNOWN' : 'UNAVAILABLE'
    this.end(new RondoError(code, `${why} ${advice}`, { outcome, acked: 0, required: 1 }))
  }

  private get outcome(): Outcome {
    return this.mayBeApplied || this.unanswered > 0 ? 'unknown' : 'not-applied'
  }

  private attempt(): void {
    this.attempts++
    const made = this.make()
    if (made) new Attempt(this, made.record, made.lifeMs, false).start()
    else this.end(metNewer())
  }

  /** The ack that counts was of another epoch: sends the same record once more, under the placement of then. */
  renew(record: NewRecord, lifeMs: number): void {
    this.context.timers.setTimeout(() => {
      if (this.finished) return
      this.replicas = placedNow(this.context, this.key, this.replicas)
      // All keys were deleted meanwhile: as it was, it would be deleted with them, whenever it began.
      if (this.context.cluster.isFlushed(this.key, versionOf(record))) this.attempt()
      else new Attempt(this, record, lifeMs, true).start()
    }, OTHER_EPOCH_MS)
  }

  private end(error: RondoError): void {
    if (this.finished) return
    this.finish()
    this.done.failed(error)
  }

  private finish(): void {
    this.finished = true
    this.context.deadlines.remove(this.deadline!)
  }
}

/** What counts instead of an answer of another epoch. */
const OTHER_EPOCH: NodeFailure = {
  kind: 'unknown',
  reason: 'marker',
  message: 'the members are changing',
}

const APPLIED = 1
const STALE = 2
const FAILED = 3

/** One record sent to its replicas. Outlives the answer, until the last replica has answered. */
class Attempt implements StoreCall {
  private readonly write: WriteOne
  private readonly replicas: Replicas
  private readonly isRenewed: boolean
  /** An ack was of another epoch, and did not count. */
  private otherEpoch = false
  private readonly record: NewRecord
  private lifeMs: number

  /** Candidates for the write: home replicas, fallback replicas, then spare nodes. */
  private order: readonly Member[]
  /** The first so many of `order` are home replicas. */
  private homes: number
  /** The first so many of `order` were sent the record. */
  private sent: number
  /** The index in `order` that is waited for: the first that has not failed. */
  private lead = 0
  /** The answers so far, by index in `order`: APPLIED, STALE, FAILED. */
  private readonly said: number[] = []

  /** @param isRenewed the record may have been held, and replaced, under another epoch */
  constructor(write: WriteOne, record: NewRecord, lifeMs: number, isRenewed: boolean) {
    this.write = write
    this.replicas = write.replicas
    this.isRenewed = isRenewed
    this.record = record
    this.lifeMs = lifeMs
    this.order = this.replicas.preference
    this.homes = this.replicas.homes.length
    this.sent = this.homes
  }

  start(): void {
    let missing: readonly Member[] = []
    if (!this.allHomesHealthy()) {
      const { context } = this.write
      const plan = planWrite(this.replicas, this.isDelete)
      missing = plan.missing
      if (missing.length > 0) this.lifeMs = lifeWhileAway(this.lifeMs, this.isDelete, context.graceMs)
      this.order = [...plan.targets, ...plan.spare]
      this.homes = plan.homes
      this.sent = plan.targets.length
      if (this.sent === 0) {
        this.write.fail('No node accepts writes now.')
        return
      }
    }
    const count = this.sent
    for (let i = 0; i < count; i++) this.send(this.order[i]!)
    for (const member of missing) this.noteMiss(member, 'it accepted no writes and missed one')
  }

  onApplied(node: Node, fence: Fence): void {
    this.write.copyEnded(true)
    const place = positionOf(this.order, node)
    if (!this.replicas.isOfEpoch(fence)) {
      this.otherEpoch = true
      this.said[place] = FAILED
      if (place === this.lead) this.follow(OTHER_EPOCH)
      return
    }
    this.said[place] = APPLIED
    if (place === this.lead) this.write.succeed(this.record, node)
  }

  onStale(node: Node, held: Buffer, fence: Fence): void {
    this.write.context.cluster.versions.observe(held)
    const isReplaced =
      held.compare(this.record.head, VERSION_AT, VERSION_AT + REPLACED_BYTES, VERSION_BYTES) === 0
    if (isReplaced && !this.isRenewed) {
      this.onApplied(node, fence) // it was applied here, and then replaced
      return
    }
    this.write.copyEnded(false)
    const place = positionOf(this.order, node)
    this.said[place] = STALE
    if (place === this.lead) this.overtaken()
  }

  onFailure(node: Node, failure: NodeFailure): void {
    this.write.copyEnded(failure.kind === 'unknown')
    const place = positionOf(this.order, node)
    this.said[place] = FAILED
    if (failure.reason === 'wrong-type') {
      // Concerns this key, not the node; a read would get the same error.
      if (place === this.lead) this.write.wrongType(failure)
      return
    }
    if (place < this.homes) {
      this.noteMiss(this.order[place]!, `it missed a write: ${inWords(failure.message)}`)
    }
    if (place === this.lead) this.follow(failure)
  }

  /** Hints go to all that were sent the record and have not failed: after it, on the same connections. */
  private noteMiss(missed: Member, why: string): void {
    const holders = this.order.filter((_, i) => i < this.sent && this.said[i] !== FAILED)
    noteMiss(this.write.context, missed, why, holders, this.write.key, this.record)
  }

  /** The replica that was waited for has failed: wait for the next one. */
  private follow(failure: NodeFailure): void {
    while (this.said[this.lead] === FAILED) this.lead++
    if (this.lead < this.sent) {
      if (this.said[this.lead] === APPLIED) this.write.succeed(this.record, this.order[this.lead]!)
      else if (this.said[this.lead] === STALE) this.overtaken()
      return
    }
    const next = this.order[this.sent]
    if (next && this.sent < this.write.context.maxTries) {
      this.sent++
      this.send(next)
      return
    }
    if (this.otherEpoch) this.write.renew(this.record, this.lifeMs)
    else this.write.fail(`No replica has confirmed the write; last error: ${inWords(failure.message)}.`)
  }

  /** Ours may have been held under the other epoch: it must not come a second time, as a newer one. */
  private overtaken(): void {
    if (this.isRenewed) this.write.fail('Another write to the key came while the members changed.')
    else this.write.again(this.record)
  }

  private send(member: Member): void {
    this.write.copySent()
    member.node.store(this.write.key, this.record, this.lifeMs, this)
  }

  private get isDelete(): boolean {
    return kindOf(this.record) === KIND_TOMBSTONE
  }

  private allHomesHealthy(): boolean {
    for (let i = 0; i < this.homes; i++) {
      const home = this.order[i]!
      if (home.readRank !== READ_FIRST || !home.takesValues) return false
    }
    return true
  }
}
