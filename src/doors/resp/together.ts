/**
 * Several keys changed as one: the steps of a transaction, or of a command that changes keys together, one after the other
 * over a copy of what the keys hold. The coordinator stores the outcome only if nothing has changed meanwhile, and
 * otherwise has it made again (Coordinator.transact).
 */
import type { StoredRecord } from '../../core/codec.ts'
import { RondoError } from '../../core/errors.ts'
import { answerBytes, MAX_ANSWER_BYTES } from './answer-limit.ts'
import type { Connection } from './connection.ts'
import { heldIn, nowMs, recordOf, tooLarge } from './held.ts'
import { RespError, type Reply } from './reply.ts'
import type { Held, Step } from './step.ts'

export const CROSS_SET = "CROSSSLOT Keys in request don't hash to the same slot"
const STOPPED = new RondoError('PRECONDITION_FAILED', 'A watched key has changed.', {
  outcome: 'not-applied',
})

/** Bytes of values that the steps of one transaction may look at and make, over and over: they run in one go. */
const MAX_TOUCHED_BYTES = 256 * 1024 * 1024
const TOO_MUCH = new RondoError(
  'BAD_REQUEST',
  `The commands of this transaction would work on more than ${MAX_TOUCHED_BYTES} bytes of values, or answer with more ` +
    `than ${MAX_ANSWER_BYTES}. It was not applied.`,
  { outcome: 'not-applied' },
)

/** What is carried out in turn: a step; why there is none; or null for a command that needs no key. */
export type Queue = readonly (Step | RespError | null)[]

export function isStep(queued: Queue[number]): queued is Step {
  return queued !== null && 'apply' in queued
}

/** By key: undefined = left as it is, null = deleted. */
export type Next = readonly (Held | null | undefined)[]

/** A command on several keys, as one. */
export async function runTogether(connection: Connection, step: Step): Promise<Reply> {
  const { coordinator } = connection.door.options
  if (!coordinator.sharesReplicaSet(step.keys)) return new RespError(CROSS_SET)
  let replies: readonly Reply[] = []
  await transact(connection, step.keys, (current, now) => {
    const outcome = runSteps([step], step.keys, current, now)
    if (outcome instanceof RondoError) return outcome
    replies = outcome.replies
    return outcome.next
  })
  return replies[0]!
}

/** What the steps make of the keys, one after the other; the reply of what is no step is null. */
export function runSteps(
  steps: Queue,
  keys: readonly Buffer[],
  current: readonly (StoredRecord | null)[],
  now: number,
): { replies: Reply[]; next: Next } | RondoError {
  const names = keys.map((key) => key.toString('latin1'))
  const held = new Map(names.map((name, i) => [name, heldIn(current[i]!, now)]))
  const changed = new Set<string>()
  let touched = 0
  let answered = 0
  const replies: Reply[] = []
  for (const step of steps) {
    if (!isStep(step)) {
      replies.push(step)
      continue
    }
    const mine = step.keys.map((key) => key.toString('latin1'))
    const before = mine.map((name) => held.get(name)!)
    const { reply, next = [] } = step.apply(before, now)
    mine.forEach((name, i) => {
      const after = next[i]
      touched += (before[i]?.value.length ?? 0) + (after?.value.length ?? 0)
      if (after === undefined) return
      held.set(name, after)
      changed.add(name)
    })
    answered += answerBytes(reply)
    if (touched > MAX_TOUCHED_BYTES || answered > MAX_ANSWER_BYTES) return TOO_MUCH
    replies.push(reply)
  }
  return { replies, next: names.map((name) => (changed.has(name) ? held.get(name)! : undefined)) }
}

/**
 * @param change what the keys shall hold; null = nothing is changed, and nothing need have been there together; an error =
 * the same, and transact fails with it
 */
export function transact(
  connection: Connection,
  keys: readonly Buffer[],
  change: (current: readonly (StoredRecord | null)[], now: number) => Next | RondoError | null,
): Promise<void> {
  const { coordinator } = connection.door.options
  return new Promise((resolve, failed) => {
    if (keys.length === 0) {
      change([], nowMs(coordinator))
      resolve()
      return
    }
    const transacted = () => resolve()
    coordinator.transact(
      keys,
      (current) => {
        const next = change(current, nowMs(coordinator))
        if (!next) return { kind: 'refuse', error: STOPPED }
        if (next instanceof RondoError) return { kind: 'refuse', error: next }
        const error = next.map((held) => tooLarge(connection, held)).find((found) => found !== null)
        if (error) return { kind: 'refuse', error }
        if (next.every((held) => held === undefined)) return { kind: 'keep' }
        return {
          kind: 'write',
          records: next.map((held) => (held === undefined ? undefined : recordOf(held))),
        }
      },
      { asker: connection, transacted, failed: (error) => (error === STOPPED ? resolve() : failed(error)) },
      connection.writeLevel,
    )
  })
}
