/**
 * What an update and a transaction at `one` have in common: the first healthy home replica decides. They read as any read
 * at `one`, and what is made from that is stored there only if it still holds what was read.
 *
 * What was sent to it and may have been applied is not sent again: made once more, it might count twice.
 */
import type { Member } from '../../cluster/member.ts'
import type { StoredRecord } from '../../core/codec.ts'
import { RondoError } from '../../core/errors.ts'
import { tokenOf } from '../../core/token.ts'
import type { NodeFailure } from '../../nodes/node.ts'
import type { Failing } from '../context.ts'
import { ReadModifyWrite } from './read-modify-write.ts'
import { ReadOne } from '../read/read.ts'

export abstract class DecidedByOne<Done extends Failing> extends ReadModifyWrite<Done> {
  protected override readonly againAtOnce = 3

  protected readFirst(
    key: Buffer,
    preference: readonly Member[],
    then: (record: StoredRecord | null) => void,
  ): void {
    const expectedBytes = this.context.sizes.expected(tokenOf(key))
    ReadOne.ofValue(this.context, key, preference, expectedBytes, {
      read: (record) => {
        if (!this.isFinished) then(record)
      },
      failed: (error) => this.end(new RondoError(error.code, error.message, this.details)),
    }).start()
  }

  /** The replica that decides gave no answer to what it was sent. */
  protected decidingFailed(failure: NodeFailure): void {
    if (this.isFinished) return
    if (failure.reason !== 'wrong-type' && failure.kind === 'unknown' && this.mayBeApplied) {
      this.fail(`The replica that decides failed: ${failure.message}.`)
      return
    }
    this.mayBeApplied = false
    if (failure.reason === 'wrong-type') this.wrongType()
    else this.again()
  }
}
