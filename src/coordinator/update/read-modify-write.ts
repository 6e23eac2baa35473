/** What updates and transactions have in common: what is stored of a change, and what is said when it fails. */
import { VERSION_BYTES } from '../../core/clock.ts'
import { newRecord, StoredRecord, type NewRecord, type Stamp } from '../../core/codec.ts'
import { required, type ConsistencyLevel } from '../../core/consistency.ts'
import { RondoError, type Outcome } from '../../core/errors.ts'
import { ownLifeMs } from '../../core/lifetime.ts'
import type { CoordinatorContext, Failing } from '../context.ts'
import { wrongType } from '../errors.ts'
import type { KeyQueues, Names } from './key-queues.ts'
import { Operation } from '../operation.ts'

/** What is to stand there instead. */
export interface Change {
  readonly kind: number
  readonly value: Buffer
  /** Cluster time, 0 = never. */
  readonly expiresAtMs: number
}

const LONGEST_WAIT_MS = 50
/** So often others must have come in between before that is given as the reason. */
const OFTEN = 4

export abstract class ReadModifyWrite<Done extends Failing> extends Operation<Done> {
  readonly required: number
  private readonly level: ConsistencyLevel
  private readonly what: 'update' | 'transaction'
  protected readonly unknownSentence: string = 'It may have been applied.'
  /** How often it begins again without waiting. */
  protected readonly againAtOnce: number = 0
  private timesAgain = 0
  private timesOvertaken = 0
  /** From when the result is sent until it is certain that nobody took it. */
  protected mayBeApplied = false
  /** Where it is first until its end; null = nowhere. */
  private queues: KeyQueues | null = null
  private names: Names = ''

  constructor(
    context: CoordinatorContext,
    level: ConsistencyLevel,
    what: 'update' | 'transaction',
    done: Done,
  ) {
    super(context, done)
    this.required = required(level, context.replicas)
    this.level = level
    this.what = what
  }

  /** Begins as the first in these queues, and leaves them at its end. */
  startQueued(queues: KeyQueues, names: Names): void {
    this.queues = queues
    this.names = names
    this.start()
  }

  protected override finish(): boolean {
    if (!super.finish()) return false
    this.queues?.leave(this.names)
    return true
  }

  overdue(): void {
    this.end(this.overdueError())
  }

  /** What is to be said when time is over now. */
  overdueError(): RondoError {
    const { requestTimeoutMs } = this.context
    if (this.mayBeApplied || this.timesOvertaken < OFTEN) {
      return this.failure(`The ${this.what} was not confirmed within ${requestTimeoutMs} ms.`)
    }
    const keys = this.what === 'update' ? 'key' : 'keys'
    const sentence = `Other changes of the ${keys} kept coming in between for ${requestTimeoutMs} ms. It was not applied. Try again.`
    return new RondoError('OVERLOADED', sentence, this.details)
  }

  wrongType(): void {
    this.end(wrongType(this.details))
  }

  fail(why: string): void {
    this.end(this.failure(why))
  }

  /** Somebody else's newer version was met. */
  overtaken(): void {
    this.timesOvertaken++
    this.again()
  }

  /** Later each time, so that two do not chase each other; until the deadline. */
  protected again(): void {
    if (this.isFinished) return
    const times = ++this.timesAgain - this.againAtOnce
    if (times <= 0) {
      this.attempt()
      return
    }
    const waitMs = this.context.random() * Math.min(LONGEST_WAIT_MS, 2 ** times)
    this.context.timers.setTimeout(() => {
      if (!this.isFinished) this.attempt()
    }, waitMs)
  }

  /** @param stamp gives the version */
  recordOf(
    { kind, value, expiresAtMs }: Change,
    stamp: Stamp,
  ): { readonly record: NewRecord; readonly lifeMs: number } {
    const lifeMs = ownLifeMs(kind, expiresAtMs, this.context.cluster.time.nowMs())
    return { record: newRecord(kind, stamp, expiresAtMs, value), lifeMs }
  }

  protected get details(): { outcome: Outcome; required: number } {
    return { outcome: this.mayBeApplied ? 'unknown' : 'not-applied', required: this.required }
  }

  private failure(why: string): RondoError {
    const certain = this.level === 'one' ? 'UNAVAILABLE' : 'QUORUM_NOT_MET'
    const code = this.mayBeApplied ? 'OUTCOME_UNKNOWN' : certain
    const outcome = this.mayBeApplied ? this.unknownSentence : 'It was not applied.'
    return new RondoError(code, `${why} ${outcome}`, this.details)
  }
}

/** The record as a node that took it holds it. */
export function asStored({ head, value }: NewRecord): StoredRecord {
  return new StoredRecord(Buffer.concat([head, value]))
}

/** A version that is made before it is known what will have it. */
export class NewVersion implements Stamp {
  readonly version: Buffer

  /** @param versions makes it */
  constructor(versions: Stamp) {
    this.version = Buffer.allocUnsafe(VERSION_BYTES)
    versions.stamp(this.version, 0)
  }

  stamp(target: Buffer, at: number): void {
    this.version.copy(target, at)
  }
}
