/** Questions about a key to one node, as promises; not for the hot path. */
import type { Member } from '../cluster/member.ts'
import type { PeekedRecord } from '../core/codec.ts'
import { RondoError } from '../core/errors.ts'
import type { Part } from '../core/part.ts'
import { wrongType } from './errors.ts'
import { inWords, sentenceOf } from '../core/sentence.ts'

/** @throws RondoError UNAVAILABLE if the node does not answer, WRONG_TYPE if the key holds another Redis type */
export function askNode(member: Member, key: Buffer, part: Part): Promise<PeekedRecord | null> {
  return new Promise((resolve, reject) => {
    member.node.peek(key, part, {
      onPeeked: (_node, record) => resolve(record),
      onFailure: (_node, failure) => {
        if (failure.reason === 'wrong-type') reject(wrongType(failure))
        else reject(noAnswer(member, inWords(failure.message)))
      },
    })
  })
}

/**
 * Milliseconds that a value which Rondo did not write has left on this node, below 0 = without end; null = the node holds
 * none.
 *
 * @throws RondoError as askNode
 */
export async function foreignLifeMs(member: Member, key: Buffer): Promise<number | null> {
  const record = await askNode(member, key, 'head')
  if (!record?.isForeign) return null
  const lifeMs = await member.node.lifeMs(key).catch((error: unknown) => {
    throw noAnswer(member, sentenceOf(error))
  })
  return lifeMs === ABSENT ? null : lifeMs
}

function noAnswer({ id }: Member, why: string): RondoError {
  return new RondoError('UNAVAILABLE', `Node ${id} gave no answer: ${why}.`)
}

/** Node.lifeMs of a key that the node does not hold. */
const ABSENT = -2
