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
import type { Modified, Modify } from '../../coordinator/api.ts'
import { RondoError } from '../../core/errors.ts'
import type { Need } from '../../core/part.ts'
import { MANY_ARGUMENTS, type Caller } from '../model.ts'
import { errorOf, replyOf } from '../errors.ts'
import { nowMs, readNeeded, recordOf, tooLarge } from './held.ts'
import { applyTo, bytesOf, knownIn, knownOf, wholesOf, type Known } from './known.ts'
import { RespError, type Reply } from '../reply.ts'
import { allInSlices, inSlices } from './slices.ts'
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

/** A command on keys: its step, and how it is run. */
export interface KeyedCommand {
  readonly make: StepMaker
  readonly keyStep: number
  /** How it changes several keys that it has read: as a transaction, or one by one. */
  readonly several: 'together' | 'each'
}

/** What a command that only reads may hold of values, while it reads. */
const MAX_HELD_BYTES = 256 * 1024 * 1024
/** To look at values of fewer bytes takes no time. */
const SHORT_BYTES = 16 * 1024
const BYTES_A_UNIT = 4096
const TOO_MUCH_HELD = `ERR the values under the keys of one command may have ${MAX_HELD_BYTES} bytes together`

/** The command by itself, without a place in the order of replies. */
export async function runAlone(
  caller: Caller,
  args: readonly Buffer[],
  command: KeyedCommand,
): Promise<Reply> {
  try {
    const step =
      args.length > MANY_ARGUMENTS
        ? await caller.work.outcomeOf(stepInSlices(caller, args, command))
        : stepOf(caller, args, command.make)
    return step instanceof RespError ? step : await carryOut(caller, step, args, command)
  } catch (error) {
    return replyOf(error)
  }
}

/** The step, or why there is none: its arguments are wrong, or a key cannot be used. */
export function stepOf(caller: Caller, args: readonly Buffer[], make: StepMaker): Step | RespError {
  const { store } = caller
  const step = made(caller, args, make)
  if (step instanceof RespError) return step
  for (const key of step.keys) {
    const unusable = store.checkKey(key)
    if (unusable) return errorOf(unusable)
  }
  return step
}

/** The same for very many keys: every argument is one, or every second. */
export function* stepInSlices(
  caller: Caller,
  args: readonly Buffer[],
  { make, keyStep }: KeyedCommand,
): Sliced<Step | RespError> {
  const { store } = caller
  const mentions = yield* distinctInSlices(args.filter((_, i) => i > 0 && (i - 1) % keyStep === 0))
  const step = made(caller, args, make, mentions)
  if (step instanceof RespError) return step
  for (const [i, key] of step.keys.entries()) {
    const unusable = store.checkKey(key)
    if (unusable) return errorOf(unusable)
    if (i % KEYS_A_PIECE === 0) yield UNITS_A_PIECE
  }
  return step
}

function made(
  caller: Caller,
  args: readonly Buffer[],
  make: StepMaker,
  mentions?: Mentions,
): Step | RespError {
  try {
    return make(args, nowMs(caller.store), caller.settings, mentions)
  } catch (error) {
    if (error instanceof CommandError) return new RespError(error.message)
    throw error
  }
}

export async function readStep(caller: Caller, step: Step, heldUp?: () => void): Promise<Reply> {
  const { store } = caller
  let bytes = 0
  const read = async (i: number) => {
    const one = await knownAt(caller, step.keys[i]!, step.needs)
    const length = bytesOf(one)
    bytes += length
    caller.account.add(length)
    if (bytes > MAX_HELD_BYTES) throw new CommandError(TOO_MUCH_HELD)
    if (step.keys.length > 1 && caller.account.isRefused) throw caller.account.refusal()
    return one
  }
  try {
    const held = await allInSlices(caller, step.keys.length, read, heldUp)
    const now = nowMs(store)
    if (step.needs !== 'value' || !step.slow) {
      if (bytes <= SHORT_BYTES) return applyTo(step, held, now).reply
      // Many of them may have their values in the same turn.
      const look = () => applyTo(step, held, now)
      return (await caller.work.outcomeOf(inOnePiece(look, bytes / BYTES_A_UNIT))).reply
    }
    // Its table is large: one at a time, or a pipeline of them would hold as many.
    const job = step.slow.slices(wholesOf(held), now)
    return (await caller.work.outcomeAlone(caller, job)).reply
  } finally {
    caller.account.add(-bytes)
  }
}

async function knownAt(caller: Caller, key: Buffer, need: Need): Promise<Known | null> {
  const { store } = caller
  const record = await readNeeded(caller, key, need, caller.readLevel)
  if (!store.isLive(record)) return null
  return knownOf(record, await store.expiresAtMs(key, record))
}

export async function carryOut(
  caller: Caller,
  step: Step,
  args: readonly Buffer[],
  { make, several }: KeyedCommand,
): Promise<Reply> {
  if (!step.writes) return readStep(caller, step)
  if (!step.reads) return writeEach(caller, step)
  if (step.keys.length === 1) return updateStep(caller, step)
  if (several === 'together') return runTogether(caller, step)
  return eachKey(caller, step, (key) => stepOf(caller, [args[0]!, key], make) as Step)
}

/** A step a key; how many keys they changed. */
async function eachKey(caller: Caller, { keys }: Step, stepFor: (key: Buffer) => Step): Promise<Reply> {
  const settled = await inSlices(caller, keys.length, (i) => updateStep(caller, stepFor(keys[i]!)))
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
function updateStep(caller: Caller, step: Step): Promise<Reply> {
  const { store } = caller
  let stepped: Stepped = { reply: null }
  const modify: Modify = (current) => {
    const now = nowMs(store)
    stepped = applyTo(step, [knownIn(current, now)], now)
    const next = stepped.next?.[0]
    const error = tooLarge(caller, next)
    return error ? { kind: 'refuse', error } : modifiedBy(next)
  }
  return new Promise((resolve, reject) => {
    const updated = () => resolve(stepped.reply)
    store.update(step.keys[0]!, modify, { asker: caller, updated, failed: reject }, caller.writeLevel)
  })
}

/** What does not depend on what was there. */
async function writeEach(caller: Caller, step: Step): Promise<Reply> {
  const { store } = caller
  const nothing = step.keys.map(() => null)
  const { reply, next = [] } = applyTo(step, nothing, nowMs(store))
  for (const held of next) {
    const error = tooLarge(caller, held)
    if (error) throw error
  }
  const settled = await inSlices(caller, step.keys.length, (i) => writeKey(caller, step.keys[i]!, next[i]))
  const changed = settled.filter(({ status }) => status === 'fulfilled').length
  throwFailure(step.keys.length, changed, settled)
  return reply
}

function writeKey(caller: Caller, key: Buffer, held: Held | null | undefined): Promise<void> {
  const { store } = caller
  return new Promise((resolve, failed) => {
    const done = { asker: caller, written: () => resolve(), failed }
    if (held === undefined) resolve()
    else if (held === null) store.remove(key, done, caller.writeLevel)
    else store.write(key, held.value, held.expiresAtMs, done, caller.writeLevel)
  })
}

function modifiedBy(next: Held | null | undefined): Modified {
  return next === undefined ? { kind: 'keep' } : { kind: 'write', record: recordOf(next) }
}
