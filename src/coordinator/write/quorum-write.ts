/**
 * A write (or delete) at `quorum` or `all`: answered when that many home replicas hold it, of each set while they change
 * (core/replica-set.ts).
 *
 * What counts as an ack (the model of the replication rules breaks a guarantee when any of these is left out):
 *
 *   - only a home replica's, and only while it is clean: the batch was sent under the marker of a clean node, and found
 *     it. Fallback replicas get a copy, and never count;
 *   - only before the deadline;
 *   - stale is no ack, unless the record it met has replaced ours: then ours was applied there;
 *   - only if the record is kept there as long as it is elsewhere (acks.ts).
 *
 * A replica that met a newer record or a promise without ever having held ours, or that was sent nothing, will never
 * hold it. Once all home replicas are like that, no client can see our write, so it is retried with a version later than
 * what was met. Any other mix of answers is an unknown outcome, and is reported as such. A majority of refusals is not
 * enough: a read-modify-write may have read ours on the one replica that held it and stored its result, made from ours,
 * on the others; a retry would apply our write twice. (test/simulation: write and INCR at the same time, then the sum
 * goes back to what was written. docs/decisions/0011.)
 */
import type { Member } from '../../cluster/member.ts'
import { VERSION_BYTES } from '../../core/clock.ts'
import {
  KIND_TOMBSTONE,
  kindOf,
  lastingCopy,
  REPLACED_BYTES,
  VERSION_AT,
  versionOf,
  type NewRecord,
} from '../../core/codec.ts'
import type { ConsistencyLevel } from '../../core/consistency.ts'
import type { Timed } from '../../core/deadlines.ts'
import { RondoError } from '../../core/errors.ts'
import { fallbacksFor, takes } from '../../core/plan.ts'
import type { Fence, Node, NodeFailure, StoreCall } from '../../nodes/node.ts'
import { Acks } from './acks.ts'
import { positionOf, placedNow, type CoordinatorContext, type Replicas, type ServedBy } from '../context.ts'
import { metNewer, tooFew, wrongType } from '../errors.ts'
import { writeInTurn } from './in-turn.ts'
import { Copies, lifeWhileAway, noteMiss } from './misses.ts'
import { Operation } from '../operation.ts'
import type { MakeRecord, WriteDone } from './write.ts'
import { inWords } from '../../core/sentence.ts'

const MAX_ATTEMPTS = 4

export class QuorumWrite extends Operation<WriteDone> {
  readonly key: Buffer
  /** Of the latest attempt. */
  replicas: Replicas
  readonly level: ConsistencyLevel
  required: number
  private readonly make: MakeRecord
  private attempts = 0
  /** Set while it takes its turn as an update. */
  private turn: Timed | null = null
  /** This attempt or an earlier one may be applied somewhere. */
  private sent = false
  /** Where the epoch was not later than that of the attempt: others may have read it there. */
  private mayBeSeen = false

  constructor(
    context: CoordinatorContext,
    key: Buffer,
    replicas: Replicas,
    level: ConsistencyLevel,
    make: MakeRecord,
    done: WriteDone,
  ) {
    super(context, done)
    this.key = key
    this.replicas = replicas
    this.level = level
    this.required = replicas.required(level)
    this.make = make
  }

  overdue(): void {
    if (this.turn) this.turn.overdue()
    else this.fail(0, `The write was not confirmed within ${this.context.requestTimeoutMs} ms.`)
  }

  protected attempt(): void {
    const made = this.make()
    if (made) this.send(made.record, made.lifeMs, false)
    else this.end(metNewer())
  }

  /**
   * Too few acks were of this epoch: sends the same record once more. From then on it may have been held, and replaced,
   * under the other epoch.
   */
  renew(record: NewRecord, lifeMs: number): void {
    this.attemptSoon(() => {
      if (!this.context.cluster.isFlushed(this.key, versionOf(record))) this.send(record, lifeMs, true)
      else if (this.mayBeSeen) this.fail(0, 'All keys were deleted while it was written.')
      else this.attempt() // nobody has seen it, so that it may come after the flush
    })
  }

  seen(): void {
    this.mayBeSeen = true
  }

  private send(record: NewRecord, lifeMs: number, isRenewed: boolean): void {
    const isDelete = kindOf(record) === KIND_TOMBSTONE
    this.replicas = placedNow(this.context, this.key, this.replicas)
    this.required = this.replicas.required(this.level)
    const { homes } = this.replicas
    const usable = homes.filter((home) => takes(home, isDelete))
    const counting = [...homes.keys()].filter((place) => {
      const home = homes[place]!
      return usable.includes(home) && this.replicas.mayHold(home.completeness === 'clean', place)
    })
    if (!this.replicas.isHeld(counting, this.level) && !this.sent) {
      this.end(tooFew(counting, this.replicas, this.level, { outcome: 'not-applied', acked: 0 }))
      return
    }
    this.attempts++
    this.sent = true
    new QuorumAttempt(this, record, lifeMs, isRenewed).start(usable, isDelete)
  }

  succeed(record: NewRecord, by: ServedBy): void {
    if (this.finish()) this.done.written(versionOf(record), by)
  }

  /** No home replica holds this version, and none ever will. */
  again(record: NewRecord): void {
    if (this.isFinished) return
    if (this.attempts < MAX_ATTEMPTS) {
      this.attempt()
      return
    }
    this.turn = writeInTurn(this.context, this.key, this.level, record, {
      updated: (_before, after, by) => {
        if (this.finish()) this.done.written(after!.version, by)
      },
      failed: (error) => this.end(error),
    })
  }

  wrongType(failure: NodeFailure): void {
    this.end(wrongType(failure, { outcome: 'unknown' }))
  }

  fail(acked: number, why: string): void {
    const sentence = `${why} ${acked} of ${this.required} required replicas have confirmed it; it may have been applied.`
    this.end(
      new RondoError('OUTCOME_UNKNOWN', sentence, { outcome: 'unknown', acked, required: this.required }),
    )
  }
}

class QuorumAttempt implements StoreCall {
  private readonly write: QuorumWrite
  private readonly replicas: Replicas
  private readonly isRenewed: boolean
  /** An ack was of another epoch, and did not count. */
  private otherEpoch = false
  private record: NewRecord
  private lifeMs: number
  private readonly homes: readonly Member[]
  private targets: readonly Member[] = []
  /** Home replicas that are sent nothing. */
  private missing: readonly Member[] = []
  private pending = 0
  private readonly acks: Acks
  /** Home replicas that refused because of a promise: they lack the record for good if the promise is abandoned. */
  private readonly turnedAway: Member[] = []
  /** Home replicas that never held this version and never will. */
  private never = 0
  private lastFailure: NodeFailure | null = null
  private confirmed = false

  constructor(write: QuorumWrite, record: NewRecord, lifeMs: number, isRenewed: boolean) {
    this.write = write
    this.replicas = write.replicas
    this.isRenewed = isRenewed
    this.record = record
    this.lifeMs = lifeMs
    this.homes = write.replicas.homes
    const { context, key, replicas, level } = write
    this.acks = new Acks(context, key, record, replicas, level, () => this.checkAcks())
  }

  start(usable: readonly Member[], isDelete: boolean): void {
    const { context } = this.write
    this.targets = usable
    this.missing = this.homes.filter((home) => !usable.includes(home))
    this.never = this.missing.length
    if (this.missing.length > 0 && isDelete) {
      this.lifeMs = lifeWhileAway(this.lifeMs, isDelete, context.graceMs)
      this.record = lastingCopy(this.record)
    }
    this.pending = this.targets.length
    for (const target of this.targets) {
      context.background.begin()
      target.node.store(this.write.key, this.record, this.lifeMs, this)
    }
    for (const home of this.missing) this.noteMiss(home, 'it accepted no writes and missed one')
  }

  onApplied(node: Node, fence: Fence, keptMs: number): void {
    this.noteEpoch(fence)
    this.acks.add(node, fence, keptMs)
    this.settled()
  }

  onStale(node: Node, held: Buffer, fence: Fence): void {
    const { context, key } = this.write
    context.cluster.versions.observe(held)
    context.contention.note(key)
    const isPromise = held.length === VERSION_BYTES
    const replaced = held.compare(this.record.head, VERSION_AT, VERSION_AT + REPLACED_BYTES, VERSION_BYTES)
    if (isPromise) this.turnedAway.push(this.homes[positionOf(this.homes, node)]!)
    this.noteEpoch(fence)
    const place = positionOf(this.homes, node)
    if (isPromise || replaced < 0) this.never++
    else if (replaced === 0 && !this.isRenewed && this.replicas.holdsBy(fence, place)) {
      this.acks.addReplaced(node, this.lifeMs)
    }
    this.settled()
  }

  private noteEpoch(fence: Fence): void {
    if (!this.replicas.isOfEpoch(fence)) this.otherEpoch = true
    if (fence.epoch <= this.replicas.epoch) this.write.seen()
  }

  onFailure(node: Node, failure: NodeFailure): void {
    this.lastFailure = failure
    if (failure.kind !== 'unknown') this.never++
    else this.write.seen()
    const place = positionOf(this.homes, node)
    if (failure.reason === 'wrong-type') this.write.wrongType(failure)
    else if (place >= 0) {
      this.noteMiss(this.homes[place]!, `it missed a write: ${inWords(failure.message)}`)
    }
    this.settled()
  }

  private settled(): void {
    this.write.context.background.end()
    this.pending--
    this.checkAcks()
  }

  private checkAcks(): void {
    if (this.confirmed) this.noteTurnedAway()
    if (this.write.isFinished) return
    if (this.write.isPast) {
      this.write.overdue() // an earlier ack may be of a node that has lost the record since, and was filled again
      return
    }
    if (this.acks.areEnough) {
      this.confirmed = true
      this.copyToFallbacks()
      this.noteTurnedAway()
      this.write.succeed(this.record, this.acks.holders)
      return
    }
    const acked = this.acks.counted.length
    if (this.never === this.homes.length && !this.isRenewed) {
      this.write.again(this.record)
      return
    }
    if (this.pending + this.acks.pending === 0) {
      if (this.otherEpoch) {
        this.write.renew(this.record, this.lifeMs)
        return
      }
      const failure = this.lastFailure ?? this.acks.failure
      const why = failure ? `A replica failed: ${inWords(failure.message)}.` : 'Replicas held newer records.'
      this.write.fail(acked, why)
    }
  }

  /** Keeps as many copies as the replication factor while home replicas are unavailable. They never count. */
  private copyToFallbacks(): void {
    const { context, key } = this.write
    const { replicas } = this
    if (this.missing.length === 0) return
    const isDelete = kindOf(this.record) === KIND_TOMBSTONE
    const fallbacks = fallbacksFor(replicas, isDelete).slice(0, this.missing.length)
    const lifeMs = Math.max(this.lifeMs, this.acks.longestMs)
    new Copies(context, key, this.record, this.missing, fallbacks).send(fallbacks, lifeMs)
  }

  private noteTurnedAway(): void {
    for (const home of this.turnedAway.splice(0)) this.noteMiss(home, 'it had promised a newer version')
  }

  private noteMiss(missed: Member, why: string): void {
    noteMiss(this.write.context, missed, why, this.targets, this.write.key, this.record)
  }
}
