/**
 * Commands on keys that are written as steps (step.ts): how a step gets what its keys hold, and how what it makes of it
 * is stored.
 *
 *   reads only              all keys are read, and the step answers
 *   writes only             (SETEX, MSET) a write a key
 *   changes one key         one atomic update
 *   changes each key alone  (DEL, UNLINK) a step a key, and the answers are added up
 *   changes keys together   (RENAME, COPY, MSETNX) as a transaction, where they share a replica set
 *
 * Keys live on different nodes: MSET and DEL change every key atomically, but not all of them together. They walk their
 * keys in slices (slices.ts), and begin no further one once one has failed.
 *
 * A key that could not be asked makes the whole command fail: it never becomes "there is none".
 */
import type { Modified, Modify } from '../../coordinator/update/update.ts'
import { RondoError } from '../../core/errors.ts'
import type { Need } from '../../core/part.ts'
import { claimEverything, claimKeys } from '../../servers/resp/connection/claims.ts'
import { MANY_ARGUMENTS, type Command } from '../../servers/resp/command.ts'
import type { Connection } from '../../servers/resp/connection/connection.ts'
import { errorOf, replyOf } from '../errors.ts'
import { nowMs, readNeeded, recordOf, tooLarge } from './held.ts'
import { applyTo, bytesOf, knownIn, knownOf, wholesOf, type Known } from './known.ts'
import { RespError, type Reply } from '../reply.ts'
import { allInSlices, inSlices } from './slices.ts'
import { ReplySlot } from '../../servers/resp/connection/slot.ts'
import {
  CommandError,
  distinctInSlices,
  KEYS_A_PIECE,
  UNITS_A_PIECE,
  type Held,
  type Mentions,
  type Step,
  type StepMaker,
  type Stepped,
} from '../step.ts'
import { runTogether } from './together.ts'
import { inOnePiece, type Sliced } from '../../core/work.ts'

/** How a command that reads and changes several keys does it. */
export type Several = 'together' | 'each'

/** What a command that only reads may hold of values, while it reads. */
const MAX_HELD_BYTES = 256 * 1024 * 1024
/** To look at values of fewer bytes takes no time. */
const SHORT_BYTES = 16 * 1024
const BYTES_A_UNIT = 4096
const TOO_MUCH_HELD = `ERR the values under the keys of one command may have ${MAX_HELD_BYTES} bytes together`

export function runKeyed(
  connection: Connection,
  command: Command,
  args: readonly Buffer[],
  make: StepMaker,
  several: Several,
): void {
  if (args.length > MANY_ARGUMENTS) {
    const slot = new ReplySlot(connection, command)
    connection.add(slot)
    const released = claimEverything(connection)
    slot.answerWith(runAlone(connection, args, make, several).finally(released))
    return
  }
  const step = stepOf(connection, args, make)
  if (step instanceof RespError) {
    connection.say(step, command)
    return
  }
  const slot = new ReplySlot(connection, command)
  connection.add(slot)
  let released = claimKeys(connection, step.writes ? step.keys : [], command)
  // What is asked for now is read before what comes behind is written. Only if that is not all, it has to be claimed.
  const heldUp = () => void (released = claimKeys(connection, step.keys))
  const answer = step.writes
    ? carryOut(connection, step, args, make, several)
    : readStep(connection, step, heldUp)
  slot.answerWith(answer.finally(() => released()))
}

/** The command by itself, without a place in the order of replies. */
export async function runAlone(
  connection: Connection,
  args: readonly Buffer[],
  make: StepMaker,
  several: Several,
): Promise<Reply> {
  try {
    const step =
      args.length > MANY_ARGUMENTS
        ? await connection.door.work.outcomeOf(stepInSlices(connection, args, make))
        : stepOf(connection, args, make)
    return step instanceof RespError ? step : await carryOut(connection, step, args, make, several)
  } catch (error) {
    return replyOf(error)
  }
}

/** The step, or why there is none: its arguments are wrong, or a key cannot be used. */
export function stepOf(connection: Connection, args: readonly Buffer[], make: StepMaker): Step | RespError {
  const { coordinator } = connection.door.options
  const step = made(connection, args, make)
  if (step instanceof RespError) return step
  for (const key of step.keys) {
    const unusable = coordinator.checkKey(key)
    if (unusable) return errorOf(unusable)
  }
  return step
}

/** The same for very many keys: every argument is one, or every second. */
export function* stepInSlices(
  connection: Connection,
  args: readonly Buffer[],
  make: StepMaker,
): Sliced<Step | RespError> {
  const { coordinator } = connection.door.options
  const { keyStep } = connection.door.lookUp(args[0]!)!
  const mentions = yield* distinctInSlices(args.filter((_, i) => i > 0 && (i - 1) % keyStep === 0))
  const step = made(connection, args, make, mentions)
  if (step instanceof RespError) return step
  for (const [i, key] of step.keys.entries()) {
    const unusable = coordinator.checkKey(key)
    if (unusable) return errorOf(unusable)
    if (i % KEYS_A_PIECE === 0) yield UNITS_A_PIECE
  }
  return step
}

function made(
  { door }: Connection,
  args: readonly Buffer[],
  make: StepMaker,
  mentions?: Mentions,
): Step | RespError {
  try {
    return make(args, nowMs(door.options.coordinator), door.limits, mentions)
  } catch (error) {
    if (error instanceof CommandError) return new RespError(error.message)
    throw error
  }
}

async function readStep(connection: Connection, step: Step, heldUp?: () => void): Promise<Reply> {
  const { coordinator } = connection.door.options
  let bytes = 0
  const read = async (i: number) => {
    const one = await knownAt(connection, step.keys[i]!, step.needs)
    const length = bytesOf(one)
    bytes += length
    connection.account.add(length)
    if (bytes > MAX_HELD_BYTES) throw new CommandError(TOO_MUCH_HELD)
    if (step.keys.length > 1 && connection.account.isRefused) throw connection.account.refusal()
    return one
  }
  try {
    const held = await allInSlices(connection, step.keys.length, read, heldUp)
    const now = nowMs(coordinator)
    if (step.needs !== 'value' || !step.slow) {
      if (bytes <= SHORT_BYTES) return applyTo(step, held, now).reply
      // Many of them may have their values in the same turn.
      const look = () => applyTo(step, held, now)
      return (await connection.door.work.outcomeOf(inOnePiece(look, bytes / BYTES_A_UNIT))).reply
    }
    // Its table is large: one at a time, or a pipeline of them would hold as many.
    const job = step.slow.slices(wholesOf(held), now)
    return (await connection.door.work.outcomeAlone(connection, job)).reply
  } finally {
    connection.account.add(-bytes)
  }
}

async function knownAt(connection: Connection, key: Buffer, need: Need): Promise<Known | null> {
  const { coordinator } = connection.door.options
  const record = await readNeeded(connection, key, need, connection.readLevel)
  if (!coordinator.isLive(record)) return null
  return knownOf(record, await coordinator.expiresAtMs(key, record))
}

async function carryOut(
  connection: Connection,
  step: Step,
  args: readonly Buffer[],
  make: StepMaker,
  several: Several,
): Promise<Reply> {
  if (!step.writes) return readStep(connection, step)
  if (!step.reads) return writeEach(connection, step)
  if (step.keys.length === 1) return updateStep(connection, step)
  if (several === 'together') return runTogether(connection, step)
  return eachKey(connection, step, (key) => stepOf(connection, [args[0]!, key], make) as Step)
}

/** A step a key; how many keys they changed. */
async function eachKey(
  connection: Connection,
  { keys }: Step,
  stepFor: (key: Buffer) => Step,
): Promise<Reply> {
  const settled = await inSlices(connection, keys.length, (i) => updateStep(connection, stepFor(keys[i]!)))
  const counts = settled as PromiseSettledResult<number>[]
  const changed = counts.reduce((sum, one) => sum + (one.status === 'fulfilled' ? one.value : 0), 0)
  throwFailure(keys.length, changed, settled)
  return changed
}

/**
 * One word for all of them: what some keys have become decides on it, too.
 *
 * @param changed how many keys certainly were
 * @throws if one has failed
 */
function throwFailure(
  count: number,
  changed: number,
  settled: readonly PromiseSettledResult<unknown>[],
): void {
  const reasons = settled.filter((one) => one.status === 'rejected').map((one) => one.reason as unknown)
  if (reasons.length === 0) return
  const [first] = reasons
  if (!(first instanceof RondoError)) throw first
  const unknown = reasons.filter((one) => one instanceof RondoError && one.details.outcome === 'unknown')
  if (count === 1 || changed + unknown.length === 0) throw first
  const told = `${changed} of ${count} keys were changed, ${unknown.length} may have been, and the others were not.`
  throw new RondoError('OUTCOME_UNKNOWN', `${told} Of the first that failed: ${first.message}`, {
    outcome: 'unknown',
  })
}

/** One key, atomically: what the step makes of what is there. */
function updateStep(connection: Connection, step: Step): Promise<Reply> {
  const { coordinator } = connection.door.options
  let stepped: Stepped = { reply: null }
  const modify: Modify = (current) => {
    const now = nowMs(coordinator)
    stepped = applyTo(step, [knownIn(current, now)], now)
    const next = stepped.next?.[0]
    const error = tooLarge(connection, next)
    return error ? { kind: 'refuse', error } : modifiedBy(next)
  }
  return new Promise((resolve, reject) => {
    const updated = () => resolve(stepped.reply)
    coordinator.update(
      step.keys[0]!,
      modify,
      { asker: connection, updated, failed: reject },
      connection.writeLevel,
    )
  })
}

/** What does not depend on what was there. */
async function writeEach(connection: Connection, step: Step): Promise<Reply> {
  const { coordinator } = connection.door.options
  const nothing = step.keys.map(() => null)
  const { reply, next = [] } = applyTo(step, nothing, nowMs(coordinator))
  for (const held of next) {
    const error = tooLarge(connection, held)
    if (error) throw error
  }
  const settled = await inSlices(connection, step.keys.length, (i) =>
    writeKey(connection, step.keys[i]!, next[i]),
  )
  const changed = settled.filter(({ status }) => status === 'fulfilled').length
  throwFailure(step.keys.length, changed, settled)
  return reply
}

function writeKey(connection: Connection, key: Buffer, held: Held | null | undefined): Promise<void> {
  const { coordinator } = connection.door.options
  return new Promise((resolve, failed) => {
    const done = { asker: connection, written: () => resolve(), failed }
    if (held === undefined) resolve()
    else if (held === null) coordinator.remove(key, done, connection.writeLevel)
    else coordinator.write(key, held.value, held.expiresAtMs, done, connection.writeLevel)
  })
}

function modifiedBy(next: Held | null | undefined): Modified {
  return next === undefined ? { kind: 'keep' } : { kind: 'write', record: recordOf(next) }
}
