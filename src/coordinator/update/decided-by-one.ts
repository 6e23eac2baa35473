/**
 * The common part of updates and transactions at `one`: the first healthy home replica decides. They read as any read at
 * `one`; the result is stored there only if the replica still holds what was read.
 *
 * Once the result may have been applied there, it is not sent again: a second result could count twice.
 */
import type { StoredRecord } from '../../core/codec.ts'
import { RondoError } from '../../core/errors.ts'
import type { Fence, NodeFailure } from '../../nodes/node.ts'
import type { Failing, Replicas } from '../context.ts'
import { ReadModifyWrite } from './read-modify-write.ts'
import { ReadOne } from '../read/read.ts'
import { inWords } from '../../core/sentence.ts'

export abstract class DecidedByOne<Done extends Failing> extends ReadModifyWrite<Done> {
  protected override readonly againAtOnce = 3

  protected readFirst(key: Buffer, replicas: Replicas, then: (record: StoredRecord | null) => void): void {
    const expectedBytes = this.context.sizes.expected(key)
    ReadOne.ofValue(this.context, key, replicas, expectedBytes, {
      read: (record) => {
        if (!this.isFinished) then(record)
      },
      failed: (error) => this.end(new RondoError(error.code, error.message, this.details)),
    }).start()
  }

  /**
   * The deciding replica applied it under another epoch than this attempt's. It counts where the key's home replicas are
   * the same under both; elsewhere another replica decides by now.
   *
   * @param replicas of the attempt @param key one of its keys
   */
  protected appliedUnderOtherEpoch(key: Buffer, replicas: Replicas, fence: Fence, applied: () => void): void {
    const now = this.context.cluster.placement.replicaSetOf(key)
    if (now.epoch < fence.epoch) {
      this.attemptSoon(() => this.appliedUnderOtherEpoch(key, replicas, fence, applied))
    } else if (now.isLike(replicas) && !now.isJoint) applied()
    else this.fail('The members changed meanwhile.')
  }

  /** The deciding replica did not answer. */
  protected decidingFailed(failure: NodeFailure): void {
    if (this.isFinished) return
    if (failure.reason !== 'wrong-type' && failure.kind === 'unknown' && this.mayBeApplied) {
      this.fail(`The replica that decides failed: ${inWords(failure.message)}.`)
      return
    }
    this.mayBeApplied = false
    if (failure.reason === 'wrong-type') this.wrongType()
    else this.again()
  }
}
