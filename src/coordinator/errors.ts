/** Errors shared by several kinds of operations. */
import type { Member } from '../cluster/member.ts'
import { RondoError, type ErrorDetails } from '../core/errors.ts'

export function wrongType(details?: ErrorDetails): RondoError {
  const sentence =
    'The key holds a Redis type other than a string, stored by another program. Delete it on the node.'
  return new RondoError('WRONG_TYPE', sentence, details)
}

export function storedTooLarge(): RondoError {
  const sentence =
    'The stored value is larger than MAX_VALUE_BYTES allows to read. Raise it on all coordinators, or overwrite the key.'
  return new RondoError('VALUE_TOO_LARGE', sentence)
}

/**
 * For operations that are refused up front because they could not be confirmed.
 *
 * @param counting the number of home replicas that could confirm the operation
 */
export function tooFew(
  counting: number,
  homes: readonly Member[],
  details: ErrorDetails & { required: number },
): RondoError {
  const out = homes
    .filter((home) => home.completeness !== 'clean' || !home.takesValues)
    .map((home) => `${home.id} (${home.health.state}, ${home.unwritable ?? home.completeness})`)
  const sentence =
    `${counting} of the key's ${homes.length} replicas can confirm this now, and ${details.required} must: ` +
    `${out.join(', ')} cannot. Nothing was sent.`
  return new RondoError('QUORUM_NOT_MET', sentence, details)
}

export function crossReplicaSet(): RondoError {
  const sentence =
    'The keys do not share a replica set, so they cannot be changed together. Keys with the same {hash tag} always do.'
  return new RondoError('CROSS_REPLICA_SET', sentence, { outcome: 'not-applied' })
}

/** Of a write that must not replace newer records; some replicas may hold it. */
export function metNewer(): RondoError {
  return new RondoError('OUTCOME_UNKNOWN', 'A replica holds a newer record.', { outcome: 'unknown' })
}
