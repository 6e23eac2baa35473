/**
 * The common part of updates and transactions at `one`: the first healthy home replica decides. They read as any read at
 * `one`; the result is stored there only if the replica still holds what was read.
 *
 * Once the result may have been applied there, it is not sent again: a second result could count twice. The replica checks
 * the epoch as well: where it has heard of another change of members, another one may decide by now, and the operation
 * begins again.
 */
import { StoredRecord } from '../../core/codec.ts'
import { RondoError } from '../../core/errors.ts'
import { READ_NEVER } from '../../core/plan.ts'
import { newestOf } from '../../core/votes.ts'
import type { NodeFailure } from '../../nodes/node.ts'
import type { Failing, Replicas, ServedBy } from '../context.ts'
import { ReadModifyWrite } from './read-modify-write.ts'
import { ReadOne } from '../read/read.ts'
import { inWords } from '../../core/sentence.ts'

type Then = (record: StoredRecord | null, by?: ServedBy) => void

export abstract class DecidedByOne<Done extends Failing> extends ReadModifyWrite<Done> {
  protected override readonly againAtOnce = 3

  protected readFirst(key: Buffer, replicas: Replicas, then: Then): void {
    const expectedBytes = this.context.sizes.expected(key)
    ReadOne.ofValue(this.context, key, replicas, expectedBytes, {
      read: (record, by) => {
        if (!this.isFinished) this.besideFormer(key, replicas, record, (found) => then(found, by))
      },
      failed: (error) => this.end(new RondoError(error.code, error.message, this.details)),
    }).start()
  }

  /**
   * Once the next home replicas vote, the first of the former ones may hold what it has decided and they do not have yet.
   * What it holds is final only when it refuses further decisions, that is, has this epoch. One that is away cannot be
   * asked, as in any fault.
   */
  private besideFormer(
    key: Buffer,
    replicas: Replicas,
    record: StoredRecord | null,
    then: (record: StoredRecord | null) => void,
  ): void {
    const former = replicas.formerFirst
    if (!former || former === replicas.homes[0] || former.readRank === READ_NEVER) {
      then(record)
      return
    }
    this.context.background.begin()
    former.node.get(key, {
      onRecord: (_node, bytes, { epoch }) => {
        this.context.background.end()
        if (this.isFinished) return
        if (epoch < replicas.epoch) this.attemptSoon()
        else {
          const newest = newestOf([record, bytes ? new StoredRecord(bytes) : null])
          if (newest === record || !newest?.isTagged) then(newest)
          else this.context.tags.judge(newest, 'one', then, (error) => this.fail(error.message))
        }
      },
      onFailure: () => {
        this.context.background.end()
        if (!this.isFinished) then(record)
      },
    })
  }

  /** The deciding replica did not answer, or refused it. */
  protected decidingFailed(failure: NodeFailure): void {
    if (this.isFinished) return
    if (failure.reason === 'other-epoch') {
      this.mayBeApplied = false
      this.attemptSoon()
      return
    }
    if (failure.reason !== 'wrong-type' && failure.kind === 'unknown' && this.mayBeApplied) {
      this.fail(`The replica that decides failed: ${inWords(failure.message)}.`)
      return
    }
    this.mayBeApplied = false
    if (failure.reason === 'wrong-type') this.wrongType(failure)
    else this.again()
  }
}
