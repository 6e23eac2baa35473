/** Errors shared by several kinds of operations. */
import type { ConsistencyLevel } from '../core/consistency.ts'
import { RondoError, type ErrorDetails } from '../core/errors.ts'
import type { NodeFailure } from '../nodes/node.ts'
import type { Replicas } from './context.ts'

/** The node holds what another program stored, and it cannot be read in place (nodes/redis/foreign.ts). */
export function wrongType({ message }: NodeFailure, details?: ErrorDetails): RondoError {
  const what = `${message.charAt(0).toUpperCase()}${message.slice(1)}`
  const sentence = `${what}. Move it in with DUMP and RESTORE, or delete it on the node.`
  return new RondoError('WRONG_TYPE', sentence, details)
}

export function storedTooLarge(): RondoError {
  const sentence =
    'The stored value is larger than MAX_VALUE_BYTES allows to read. Raise it on all coordinators, or overwrite the key.'
  return new RondoError('VALUE_TOO_LARGE', sentence)
}

const REPLICAS = {
  now: 'replicas',
  before: 'replicas before the change of members',
  after: 'replicas after the change of members',
} as const

/**
 * For operations that are refused up front because they could not be confirmed.
 *
 * @param counting the home replicas that could confirm the operation, by their index
 */
export function tooFew(
  counting: readonly number[],
  replicas: Replicas,
  level: ConsistencyLevel,
  details: ErrorDetails,
): RondoError {
  const { set, when, held, required } = replicas.lacking(counting, level)
  const out = set
    .filter((home) => !counting.includes(replicas.homes.indexOf(home)))
    .map((home) => `${home.id} (${home.health.state}, ${home.unwritable ?? home.completeness})`)
  const sentence =
    `${held} of the key's ${set.length} ${REPLICAS[when]} can confirm this now, and ${required} must: ` +
    `${out.join(', ')} cannot. Nothing was sent.`
  return new RondoError('QUORUM_NOT_MET', sentence, { ...details, required })
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
