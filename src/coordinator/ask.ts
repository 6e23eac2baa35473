/** Reads the record of a key on one node and returns a promise; for listings and explain, not for the hot path. */
import type { Member } from '../cluster/member.ts'
import type { PeekedRecord } from '../core/codec.ts'
import { RondoError } from '../core/errors.ts'
import type { Part } from '../core/part.ts'
import { wrongType } from './errors.ts'

/** @throws RondoError UNAVAILABLE if the node does not answer, WRONG_TYPE if the key holds another Redis type */
export function askNode(member: Member, key: Buffer, part: Part): Promise<PeekedRecord | null> {
  return new Promise((resolve, reject) => {
    member.node.peek(key, part, {
      onPeeked: (_node, record) => resolve(record),
      onFailure: (_node, failure) => {
        if (failure.reason === 'wrong-type') reject(wrongType())
        else reject(new RondoError('UNAVAILABLE', `Node ${member.id} gave no answer: ${failure.message}.`))
      },
    })
  })
}
