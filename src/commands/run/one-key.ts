/**
 * Changes one key by a step (step.ts): one atomic update, for a caller of any kind. A connection is not needed; the
 * operations of HTTP run here, as INCR of the Redis protocol does.
 *
 *   record ──▶ changeBy(step) ──▶ record to store, or none        again for each attempt of the update (Modify)
 *                   └──────────▶ reply                            of the attempt that was confirmed
 *
 * A step that refuses (INCR of text) changes nothing: its error is the reply (errors.ts renders it). What keeps the
 * update from being confirmed (too few replicas) rejects.
 */
import type { KeyStore, Modified } from '../../coordinator/api.ts'
import { updateKey, type CallOptions, type Updated } from '../../coordinator/promises.ts'
import type { StoredRecord } from '../../core/codec.ts'
import type { RondoError } from '../../core/errors.ts'
import type { Reply } from '../reply.ts'
import type { Step, Stepped } from '../step.ts'
import { nowMs, recordOf, tooLarge } from './held.ts'
import { unlessAbsent } from './absent.ts'
import { UNKNOWN_END, withForeignEnds, type ForeignEnds } from './foreign-ends.ts'
import { applyTo } from './known.ts'
import { lookupsOf, NO_LOOKUPS, type Lookups } from './lookups.ts'
import { leaveParts, MEETS_PARTS, needsParts, wantsParts, withParts } from './parts.ts'

/** What a step did to its key. */
export interface KeyChanged extends Updated {
  readonly reply: Reply
  readonly lookups: Lookups
}

/**
 * @param step of one key, which has passed checkKey
 * @throws RondoError, which is MEETS_PARTS if it has to be a transaction (together.ts): nothing was changed
 */
export async function changeKey(store: KeyStore, step: Step, options: CallOptions): Promise<KeyChanged> {
  let reply: Reply = null
  let lookups = NO_LOOKUPS
  const { before, after } = await withForeignEnds(store, (ends) => {
    const modify = (current: StoredRecord | null) => {
      const changed = changeBy(step, current, ends, store)
      reply = changed.reply
      lookups = changed.lookups
      return changed.modified
    }
    return updateKey(store, step.keys[0]!, modify, options, step.leastBytes)
  })
  leaveParts(store, step.keys[0]!, before, after)
  return { reply, lookups, before, after }
}

interface ChangedBy {
  readonly reply: Reply
  readonly lookups: Lookups
  readonly modified: Modified
}

function refusing(error: RondoError): ChangedBy {
  const isPutOff = error === MEETS_PARTS
  return { reply: null, lookups: NO_LOOKUPS, modified: { kind: 'refuse', error, isPutOff } }
}

/** What the step makes of the key's record. */
export function changeBy(
  step: Step,
  current: StoredRecord | null,
  ends: ForeignEnds,
  store: Pick<KeyStore, 'nowMs' | 'checkValue'>,
): ChangedBy {
  const now = nowMs(store)
  const found = ends.knownIn(step.keys[0]!, current, now)
  if (found === 'unknown') return refusing(UNKNOWN_END)
  const known = withParts(step.keys[0]!, found)
  let stepped: Stepped
  try {
    stepped = applyTo(step, [known], now)
  } catch (error) {
    if (wantsParts(error)) return refusing(MEETS_PARTS)
    throw error
  }
  const { reply, next } = stepped
  const lookups = lookupsOf(step, [known])
  const held = unlessAbsent(step, known, next?.[0], current?.isAwaited ?? false)
  if (held === undefined) return { reply, lookups, modified: { kind: 'keep' } }
  if (held && needsParts(known, held)) return refusing(MEETS_PARTS)
  const error = tooLarge(store, held)
  const modified: Modified = error ? { kind: 'refuse', error } : { kind: 'write', record: recordOf(held) }
  return { reply, lookups, modified }
}
