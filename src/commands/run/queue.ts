/**
 * Runs the commands of a transaction: as one, if their keys share a replica set, and otherwise as RESP_CROSS_SET_MULTI says.
 * Both MULTI of the Redis protocol and transactions over HTTP end here.
 *
 * Commands on keys are steps, and run over one copy of the values (together.ts). Those without keys run after them, once,
 * when the transaction cannot fail any more.
 */
import type { StoredRecord } from '../../core/codec.ts'
import { RondoError } from '../../core/errors.ts'
import type { CrossSetOutcome } from '../../core/events.ts'
import type { Caller } from '../model.ts'
import { NULL_ARRAY, RespError, type Reply } from '../reply.ts'
import { Refusal, type Publication } from '../step.ts'
import { answerBytes, leftOut } from './answer-limit.ts'
import type { Lookups } from './lookups.ts'
import { withMoreKeys } from './more-keys.ts'
import { publish } from './publications.ts'
import { oneByOne, type ByThemselves } from './one-by-one.ts'
import { CROSS_SET, paceOf, rehearse, runSteps, transact, type Queue } from './together.ts'

/** Cost of a command without keys. */
const UNITS_WITHOUT_KEYS = 16
const CROSS_SET_WATCH =
  `${CROSS_SET} (after WATCH, the watched keys and those of the transaction need to share a replica set: ` +
  'give them the same {hash tag}; nothing was done)'

export interface QueuedCommands extends ByThemselves {
  readonly steps: Queue
  /** Of all steps, and those that are watched; each once. */
  readonly keys: readonly Buffer[]
  /** Counts what the command at this place has looked up. */
  readonly lookedUp: (place: number, found: Lookups) => void
  /** Counts the memory of replies, until the caller releases it. */
  readonly hold: (bytes: number) => void
}

export interface CrossSetPolicy {
  readonly crossSetMulti: 'refuse' | 'unordered'
  onCrossSet(then: CrossSetOutcome): void
}

/** @returns whether a watched key has changed; `current` is in the order of the keys */
export type HasChanged = (current: readonly (StoredRecord | null)[], nowMs: number) => boolean

/** @param watch resolves with the check, if keys are watched */
export async function runQueue(
  caller: Caller,
  queued: QueuedCommands,
  policy: CrossSetPolicy,
  watch: (() => Promise<HasChanged>) | null = null,
): Promise<Reply> {
  const { store, settings } = caller
  const { maxBatchKeys } = settings
  const { keys, steps } = queued
  const isTooLarge = keys.length > maxBatchKeys
  if (!isTooLarge && store.sharesReplicaSet(keys)) {
    return asOne(caller, queued, watch === null ? () => false : await watch())
  }
  if (isTooLarge && (watch !== null || policy.crossSetMulti === 'refuse')) {
    return new RespError(
      `ERR this transaction touches ${keys.length} keys; at most ${maxBatchKeys} are allowed (MAX_BATCH_KEYS)`,
    )
  }
  policy.onCrossSet(watch === null ? policy.crossSetMulti : 'refuse-watch')
  if (watch !== null) return new Refusal(CROSS_SET_WATCH, 'CROSS_REPLICA_SET')
  if (policy.crossSetMulti === 'refuse') {
    return new Refusal(`${CROSS_SET} (RESP_CROSS_SET_MULTI is refuse)`, 'CROSS_REPLICA_SET')
  }
  return oneByOne(caller, steps, queued)
}

async function asOne(
  caller: Caller,
  { steps, keys, execute, lookedUp, hold }: QueuedCommands,
  hasChanged: HasChanged,
): Promise<Reply> {
  const done: {
    replies: Reply[] | null
    lookups: readonly Lookups[]
    published: readonly Publication[]
  } = { replies: null, lookups: [], published: [] }
  await withMoreKeys(caller, steps, keys, {
    attempt: (steps, keys, call) =>
      transact(
        caller,
        keys,
        paceOf(steps),
        function* (current, now, ends, parts) {
          done.replies = null
          if (hasChanged(current, now)) return null
          const outcome = yield* runSteps(caller.settings, steps, keys, { current, now, ends, parts })
          if (outcome instanceof RondoError) return outcome
          done.replies = outcome.replies
          done.lookups = outcome.lookups
          done.published = outcome.published
          return outcome.next
        },
        { call },
      ),
    rehearse: (steps, keys, current, call) => rehearse(caller, steps, keys, current, call),
  })
  const { replies } = done
  if (!replies) return NULL_ARRAY
  for (const [i, found] of done.lookups.entries()) lookedUp(i, found)
  await publish(caller, done.published)
  // Once, although the steps may have run several times; and only now that the transaction cannot fail any more.
  let bytes = 0
  for (const [i, step] of steps.entries()) {
    if (step !== null) continue
    const reply = await execute(i)
    const replyBytes = answerBytes(reply)
    bytes += replyBytes
    const isLeftOut = bytes > caller.settings.maxReplyBytes
    if (!isLeftOut) hold(replyBytes)
    replies[i] = isLeftOut ? new RespError(leftOut(caller.settings)) : reply
    await caller.work.yieldTurn(UNITS_WITHOUT_KEYS)
  }
  return replies
}
