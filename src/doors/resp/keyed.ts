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
 * Keys live on different nodes: MSET and DEL change every key atomically, but not all of them together.
 *
 * A key that could not be asked makes the whole command fail: it never becomes "there is none".
 */
import type { Modified, Modify } from '../../coordinator/update.ts'
import { RondoError } from '../../core/errors.ts'
import { tokenOf } from '../../core/token.ts'
import type { Command } from './command.ts'
import type { Connection } from './connection.ts'
import { errorOf, replyOf } from './errors.ts'
import { heldIn, nowMs, readRecord, recordOf, tooLarge } from './held.ts'
import { RespError, type Reply } from './reply.ts'
import { ReplySlot } from './slot.ts'
import { CommandError, type Held, type Step, type StepMaker, type Stepped } from './step.ts'
import { runTogether } from './together.ts'

/** How a command that reads and changes several keys does it. */
export type Several = 'together' | 'each'

export function runKeyed(
  connection: Connection,
  command: Command,
  args: readonly Buffer[],
  make: StepMaker,
  several: Several,
): void {
  const step = stepOf(connection, args, make)
  if (step instanceof RespError) {
    connection.say(step, command)
    return
  }
  const slot = new ReplySlot(connection, command)
  connection.add(slot)
  const tokens = step.writes ? step.keys.map((key) => tokenOf(key)) : []
  for (const token of tokens) connection.claim(token)
  const answer = carryOut(connection, step, args, make, several).finally(() => {
    for (const token of tokens) connection.released(token)
  })
  slot.answerWith(answer)
}

/** The command by itself, without a place in the order of replies. */
export async function runAlone(
  connection: Connection,
  args: readonly Buffer[],
  make: StepMaker,
  several: Several,
): Promise<Reply> {
  const step = stepOf(connection, args, make)
  if (step instanceof RespError) return step
  return carryOut(connection, step, args, make, several).catch(replyOf)
}

/** The step, or why there is none: its arguments are wrong, or a key cannot be used. */
export function stepOf(connection: Connection, args: readonly Buffer[], make: StepMaker): Step | RespError {
  const { coordinator } = connection.door.options
  const { limits } = connection.door
  let step: Step
  try {
    step = make(args, nowMs(coordinator), limits)
  } catch (error) {
    if (error instanceof CommandError) return new RespError(error.message)
    throw error
  }
  for (const key of step.keys) {
    const unusable = coordinator.checkKey(key)
    if (unusable) return errorOf(unusable)
  }
  return step
}

async function readStep(connection: Connection, step: Step): Promise<Reply> {
  const { coordinator } = connection.door.options
  const held = await Promise.all(step.keys.map((key) => heldAt(connection, key)))
  return step.apply(held, nowMs(coordinator)).reply
}

async function heldAt(connection: Connection, key: Buffer): Promise<Held | null> {
  const { coordinator } = connection.door.options
  const record = await readRecord(connection, key, connection.readLevel)
  if (!coordinator.isLive(record)) return null
  return { value: record.value, expiresAtMs: await coordinator.expiresAtMs(key, record) }
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
  const replies = await allOf(
    step.keys.map((key) => updateStep(connection, stepOf(connection, [args[0]!, key], make) as Step)),
  )
  return (replies as number[]).reduce((sum, count) => sum + count, 0)
}

/**
 * Waits for all of them, also when one fails. If one did, and another did not, the whole has an outcome that nobody can
 * name in one word.
 */
async function allOf<T>(writes: readonly Promise<T>[]): Promise<T[]> {
  const settled = await Promise.allSettled(writes)
  const failure = settled.find((one) => one.status === 'rejected')
  if (!failure) return settled.map((one) => (one as PromiseFulfilledResult<T>).value)
  const { reason } = failure as { reason: unknown }
  if (!(reason instanceof RondoError) || settled.length === 1) throw reason
  const sentence = `${reason.message} Other keys of the same command may have been changed.`
  throw new RondoError(reason.code, sentence, { ...reason.details, outcome: 'unknown' })
}

/** One key, atomically: what the step makes of what is there. */
function updateStep(connection: Connection, step: Step): Promise<Reply> {
  const { coordinator } = connection.door.options
  let stepped: Stepped = { reply: null }
  const modify: Modify = (current) => {
    const now = nowMs(coordinator)
    stepped = step.apply([heldIn(current, now)], now)
    const next = stepped.next?.[0]
    const error = tooLarge(connection, next)
    return error ? { kind: 'refuse', error } : modifiedBy(next)
  }
  return new Promise((resolve, reject) => {
    const updated = () => resolve(stepped.reply)
    coordinator.update(step.keys[0]!, modify, { updated, failed: reject }, connection.writeLevel)
  })
}

/** What does not depend on what was there. */
async function writeEach(connection: Connection, step: Step): Promise<Reply> {
  const { coordinator } = connection.door.options
  const nothing = step.keys.map(() => null)
  const { reply, next = [] } = step.apply(nothing, nowMs(coordinator))
  for (const held of next) {
    const error = tooLarge(connection, held)
    if (error) throw error
  }
  await allOf(
    step.keys.map((key, i) => {
      const held = next[i]
      return new Promise<void>((resolve, failed) => {
        const done = { written: () => resolve(), failed }
        if (held === undefined) resolve()
        else if (held === null) coordinator.remove(key, done, connection.writeLevel)
        else coordinator.write(key, held.value, held.expiresAtMs, done, connection.writeLevel)
      })
    }),
  )
  return reply
}

function modifiedBy(next: Held | null | undefined): Modified {
  return next === undefined ? { kind: 'keep' } : { kind: 'write', record: recordOf(next) }
}
