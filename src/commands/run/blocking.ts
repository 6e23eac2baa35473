/**
 * Runs a command that waits (step.ts): what it tries at a key is an ordinary step, run as LPOP is. The coordinator
 * says when (coordinator/waiting/), and has what was taken given back if nobody gets it.
 *
 * An attempt does not belong to the connection: it is not dropped halfway when the connection closes.
 */
import type { Attempt, Turn, Wait, Waiting } from '../../coordinator/api.ts'
import { KIND_STREAM } from '../../core/codec.ts'
import { storedKey } from '../../core/keys.ts'
import type { Caller } from '../model.ts'
import { NULL_ARRAY, RespError, type Reply } from '../reply.ts'
import {
  afterwards,
  CommandError,
  WRONG_TYPE,
  type BlockingPlan,
  type Held,
  type PlanMaker,
  type Step,
} from '../step.ts'
import { nowMs } from './held.ts'
import { runStep, stepOf, type KeyedCommand } from './keyed.ts'

export interface BlockingCommand extends KeyedCommand {
  readonly plan: PlanMaker
}

/** Null = with these arguments it does not wait; an error = they are wrong. */
export function planOf(
  caller: Caller,
  args: readonly Buffer[],
  { plan }: BlockingCommand,
): BlockingPlan | RespError | null {
  const { settings, store } = caller
  try {
    const made = plan(args, nowMs(store), settings)
    if (!made || made.keys.length <= settings.maxBatchKeys) return made
    return new RespError(`ERR a command can wait at ${settings.maxBatchKeys} keys at most (MAX_BATCH_KEYS)`)
  } catch (error) {
    if (error instanceof CommandError) return new RespError(error.message)
    throw error
  }
}

/**
 * @param args which nobody else changes
 * @param isGone the client does not get an answer any more
 * @returns an error if one of its keys cannot be used
 */
export function beginWaiting(
  client: Caller,
  args: readonly Buffer[],
  command: BlockingCommand,
  plan: BlockingPlan,
  isGone: () => boolean,
): Wait<Reply> | RespError {
  const caller = detached(client)
  for (const place of plan.isWhole ? [0] : plan.keys.keys()) {
    const step = stepOf(caller, args, { make: () => plan.stepAt(place) })
    if (step instanceof RespError) return step
  }
  const { database } = client.settings
  const waiting: Waiting<Reply> = {
    keys: plan.keys.map((key) => storedKey(database, key)),
    kind: plan.kind,
    line: plan.line,
    isWhole: plan.isWhole ?? false,
    level: plan.line === null ? client.readLevel : client.writeLevel,
    timeoutMs: plan.timeoutMs,
    timedOut: plan.nothing,
    isGone,
    attempt: (place, turn) => attempt({ caller, args, command, plan, place, turn }),
  }
  return client.store.waiters.wait(waiting)
}

/** The same caller, whose operations are not dropped when its connection closes. */
function detached(client: Caller): Caller {
  const own = { waiting: 0, begunAtMs: 0, gone: false, unheard: false, noneWaits: () => undefined }
  return Object.defineProperties(Object.create(client) as Caller, Object.getOwnPropertyDescriptors(own))
}

interface Attempted {
  readonly caller: Caller
  readonly args: readonly Buffer[]
  readonly command: BlockingCommand
  readonly plan: BlockingPlan
  readonly place: number
  readonly turn: Turn
}

async function attempt({ caller, args, command, plan, place, turn }: Attempted): Promise<Attempt<Reply>> {
  let before: Held | null = null
  const made = stepOf(caller, args, { make: () => plan.stepAt(place) })
  if (made instanceof RespError) return { kind: 'answer', answer: made, giveBack: null }
  const step = inTurn(made, turn, (held) => (before = held))
  const reply = await runStep(caller, step, args, command)
  if (isNothing(reply)) {
    plan.missed?.()
    return { kind: 'nothing' }
  }
  const source = before as Held | null
  // Who waits for a group does not go on when its stream is gone.
  const isOfGroup = plan.kind === KIND_STREAM && plan.line !== null
  if (reply === WRONG_TYPE.reply && !isOfGroup && (plan.isWhole || source?.kind !== plan.kind))
    return { kind: 'other-type', answer: reply }
  if (reply instanceof RespError) return { kind: 'answer', answer: reply, giveBack: null }
  const back = plan.giveBack(place, reply)
  const giveBack = back && (() => putBack(caller, args, command, inPlaceAsBefore(back, source)))
  return { kind: 'answer', answer: reply, giveBack }
}

async function putBack(
  caller: Caller,
  args: readonly Buffer[],
  command: BlockingCommand,
  back: Step,
): Promise<void> {
  const step = stepOf(caller, args, { make: () => back })
  const reply = step instanceof RespError ? step : await runStep(caller, step, args, command)
  if (reply instanceof RespError) throw new Error(reply.text)
}

function isNothing(reply: Reply): boolean {
  return reply === null || reply === NULL_ARRAY
}

/** Takes nothing when it is not its turn. Calls `seen` with what the first key holds, whenever the step is applied. */
function inTurn(step: Step, turn: Turn, seen: (held: Held | null) => void): Step {
  return afterwards(step, (stepped, [first = null]) => {
    seen(first)
    if (!turn.mayTake()) return { reply: null }
    turn.hasFound(!isNothing(stepped.reply))
    return stepped
  })
}

/** Where nothing is left, what is put back expires when it would have, and has its tags. */
function inPlaceAsBefore(step: Step, before: Held | null): Step {
  return afterwards(step, (stepped, held, now) => {
    const [made] = stepped.next ?? []
    if (held[0] || !made || !before) return stepped
    const { expiresAtMs, tags } = before
    const hasExpired = expiresAtMs !== 0 && expiresAtMs <= now
    return { ...stepped, next: [hasExpired ? undefined : { ...made, expiresAtMs, ...(tags && { tags }) }] }
  })
}
