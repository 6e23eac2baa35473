/** The common part of updates and transactions: retries, the stored record, and errors. */
import { VERSION_BYTES } from '../../core/clock.ts'
import {
  FILLED_FLAG,
  FLAGS_AT,
  HEAD_BYTES,
  newRecordOf,
  StoredRecord,
  type Content,
  type NewRecord,
  type Stamp,
} from '../../core/codec.ts'
import type { ConsistencyLevel } from '../../core/consistency.ts'
import { RondoError, type Outcome } from '../../core/errors.ts'
import { editsBetween } from '../../core/patch.ts'
import { tokenOf } from '../../core/token.ts'
import { ownLifeMs } from '../../core/lifetime.ts'
import type { NodeFailure } from '../../nodes/node.ts'
import type { CoordinatorContext, Failing, Replicas } from '../context.ts'
import { wrongType } from '../errors.ts'
import type { KeyQueues, Names } from './key-queues.ts'
import { Operation } from '../operation.ts'

/** The new content of a key. */
export interface Change extends Content {
  /** A fill: for how long it may be served after its expiry, and so is kept. */
  readonly staleMs?: number
}

const LONGEST_WAIT_MS = 50
/** After so many conflicts, a timeout is reported as contention. */
const OFTEN = 4

export abstract class ReadModifyWrite<Done extends Failing> extends Operation<Done> {
  required: number
  readonly level: ConsistencyLevel
  private readonly what: 'update' | 'transaction'
  protected readonly unknownSentence: string = 'It may have been applied.'
  /** How often it retries without waiting. */
  protected readonly againAtOnce: number = 0
  private timesAgain = 0
  protected timesOvertaken = 0
  /** True from when the result is sent until it is certain that no replica stored it. */
  protected mayBeApplied = false
  /** The queues in which it is first until it finishes; null = none. */
  private queues: KeyQueues | null = null
  private names: Names = ''

  constructor(
    context: CoordinatorContext,
    replicas: Replicas,
    level: ConsistencyLevel,
    what: 'update' | 'transaction',
    done: Done,
  ) {
    super(context, done)
    this.required = replicas.required(level)
    this.level = level
    this.what = what
  }

  /** Starts as the first in these queues, and leaves them when it finishes. */
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

  /** The error if the deadline passes now. */
  overdueError(): RondoError {
    const { requestTimeoutMs } = this.context
    if (this.mayBeApplied || this.timesOvertaken < OFTEN) {
      return this.failure(`The ${this.what} was not confirmed within ${requestTimeoutMs} ms.`)
    }
    const keys = this.what === 'update' ? 'key' : 'keys'
    const sentence = `Other changes of the ${keys} kept interfering for ${requestTimeoutMs} ms. It was not applied. Try again.`
    return new RondoError('OVERLOADED', sentence, this.details)
  }

  wrongType(failure: NodeFailure): void {
    this.end(wrongType(failure, this.details))
  }

  fail(why: string): void {
    this.end(this.failure(why))
  }

  /** Another client's newer version was found. */
  overtaken(): void {
    this.timesOvertaken++
    this.again()
  }

  /** Retries after a random, growing delay, so that two updates do not keep colliding; until the deadline. */
  protected again(): void {
    if (this.isFinished) return
    const times = ++this.timesAgain - this.againAtOnce
    if (times <= 0) {
      this.attempt()
      return
    }
    this.context.timers.setTimeout(() => {
      if (!this.isFinished) this.attempt()
    }, this.waitMs(times))
  }

  /** @param times how often it has waited, with this time */
  protected waitMs(times: number): number {
    return this.context.random() * Math.min(LONGEST_WAIT_MS, 2 ** times)
  }

  /** @param stamp gives the version */
  recordOf(
    key: Buffer,
    change: Change,
    stamp: Stamp,
  ): { readonly record: NewRecord; readonly lifeMs: number } {
    const { kind, value, expiresAtMs, tags, staleMs = 0 } = change
    const token = tokenOf(key)
    this.context.sizes.learn(key, HEAD_BYTES + value.length + (tags?.length ?? 0), token)
    if (tags) this.context.tags.lengthen(tags, expiresAtMs + staleMs)
    this.context.bigKeys?.written(key, token, kind, value.length, expiresAtMs)
    const ownMs = ownLifeMs(kind, expiresAtMs, this.context.cluster.time.nowMs())
    const flags = staleMs > 0 ? FILLED_FLAG : 0
    return { record: newRecordOf(change, stamp, flags), lifeMs: ownMs + staleMs }
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

/** Smaller ones are sent as they are. */
const PATCHED_FROM_BYTES = 128

/** The same, with what it changes of the record that it replaces, if that is worth it. */
export function patching(next: NewRecord, before: StoredRecord | null): NewRecord {
  const { head, value } = next
  if (!before?.versioned || value.length < PATCHED_FROM_BYTES) return next
  if (before.bytes[FLAGS_AT] !== head[FLAGS_AT] || before.expiresAtMs !== 0) return next
  const edits = editsBetween(before.content, value)
  return edits ? { head, value, patch: { base: before.version, edits } } : next
}

/** The record in its stored form. */
export function asStored({ head, value }: NewRecord): StoredRecord {
  return new StoredRecord(Buffer.concat([head, value]))
}

/** A version that is made before its record. */
export class NewVersion implements Stamp {
  readonly version: Buffer

  /** @param versions makes the version */
  constructor(versions: Stamp) {
    this.version = Buffer.allocUnsafe(VERSION_BYTES)
    versions.stamp(this.version, 0)
  }

  stamp(target: Buffer, at: number): void {
    this.version.copy(target, at)
  }
}
