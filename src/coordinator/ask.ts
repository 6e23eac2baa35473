/** One node's record of a key, as a promise: for listings and explanations, not for requests. */
import type { Member } from '../cluster/member.ts'
import { StoredRecord } from '../core/codec.ts'
import { RondoError } from '../core/errors.ts'
import { wrongType } from './errors.ts'

/** @throws RondoError UNAVAILABLE when the node gives no answer, WRONG_TYPE where another type is under the key */
export function askNode(member: Member, key: Buffer): Promise<StoredRecord | null> {
  return new Promise((resolve, reject) => {
    member.node.get(key, {
      onRecord: (_node, bytes) => resolve(bytes ? new StoredRecord(bytes) : null),
      onFailure: (_node, failure) => {
        if (failure.reason === 'wrong-type') reject(wrongType())
        else reject(new RondoError('UNAVAILABLE', `Node ${member.id} gave no answer: ${failure.message}.`))
      },
    })
  })
}
