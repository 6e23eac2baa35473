/** What updates and transactions have in common: what is stored of a change, and what is said when it fails. */
import { newRecord, StoredRecord, type NewRecord, type Stamp } from '../core/codec.ts'
import { required, type ConsistencyLevel } from '../core/consistency.ts'
import { RondoError, type Outcome } from '../core/errors.ts'
import { ownLifeMs } from '../core/lifetime.ts'
import type { CoordinatorContext, Failing } from './context.ts'
import { wrongType } from './errors.ts'
import { Operation } from './operation.ts'

/** What is to stand there instead. */
export interface Change {
  readonly kind: number
  readonly value: Buffer
  /** Cluster time, 0 = never. */
  readonly expiresAtMs: number
}

export abstract class ReadModifyWrite<Done extends Failing> extends Operation<Done> {
  readonly required: number
  private readonly level: ConsistencyLevel
  private readonly what: 'update' | 'transaction'
  protected readonly unknownSentence: string = 'It may have been applied.'
  protected attempts = 0
  /** From when the result is sent until it is certain that nobody took it. */
  protected mayBeApplied = false

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

  overdue(): void {
    this.fail(`The ${this.what} was not confirmed within ${this.context.requestTimeoutMs} ms.`)
  }

  wrongType(): void {
    this.end(wrongType(this.details))
  }

  fail(why: string): void {
    const certain = this.level === 'one' ? 'UNAVAILABLE' : 'QUORUM_NOT_MET'
    const code = this.mayBeApplied ? 'OUTCOME_UNKNOWN' : certain
    const outcome = this.mayBeApplied ? this.unknownSentence : 'It was not applied.'
    this.end(new RondoError(code, `${why} ${outcome}`, this.details))
  }

  /** @param stamp gives the version */
  recordOf(
    { kind, value, expiresAtMs }: Change,
    stamp: Stamp,
  ): { readonly record: NewRecord; readonly lifeMs: number } {
    const lifeMs = ownLifeMs(kind, expiresAtMs, this.context.cluster.time.nowMs())
    return { record: newRecord(kind, stamp, expiresAtMs, value), lifeMs }
  }

  protected tooOften(): void {
    const keys = this.what === 'update' ? 'key' : 'keys'
    this.fail(`Other updates of the ${keys} kept coming in between.`)
  }

  protected get details(): { outcome: Outcome; required: number } {
    return { outcome: this.mayBeApplied ? 'unknown' : 'not-applied', required: this.required }
  }
}

/** The record as a node that took it holds it. */
export function asStored({ head, value }: NewRecord): StoredRecord {
  return new StoredRecord(Buffer.concat([head, value]))
}
