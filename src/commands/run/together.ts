/**
 * Changes several keys atomically: runs the steps of a transaction, or of a command that changes keys together, in order
 * over a copy of the values. The coordinator stores the result only if nothing has changed meanwhile, and otherwise retries
 * (Coordinator.transact).
 */
import type { AllModified, ClientCall, ModifyAll, ModifyAllSlowly, NewPart } from '../../coordinator/api.ts'
import { transactKeys, transactKeysSlowly, type CallOptions } from '../../coordinator/promises.ts'
import { KIND_STREAM, type StoredRecord } from '../../core/codec.ts'
import { RondoError } from '../../core/errors.ts'
import { answerBytes } from './answer-limit.ts'
import type { Caller, CommandSettings } from '../model.ts'
import { nowMs, recordOf, tooLarge, writeOptions } from './held.ts'
import { unlessAbsent } from './absent.ts'
import { UNKNOWN_END, withForeignEnds, type ForeignEnds } from './foreign-ends.ts'
import { applyTo, bytesOf, wholesOf, type Known } from './known.ts'
import { countLookups, lookupsOf, NO_LOOKUPS, type Lookups } from './lookups.ts'
import {
  isLarge,
  leaveParts,
  MEETS_PARTS,
  needsParts,
  oneCall,
  PartsAreNeeded,
  runWithParts,
  wantsParts,
  withParts,
  withPartsBefore,
  PartsOf,
} from './parts.ts'
import type { RespError, Reply } from '../reply.ts'
import { Refusal, type Held, type Publication, type Step, type Stepped } from '../step.ts'
import { crossSetOf, MoreKeys, runScript, withMoreKeys } from './more-keys.ts'
import { publicationBytes, publish } from './publications.ts'
import { inOneGo, type Sliced } from '../../core/work.ts'
import { sentenceOf } from '../../core/sentence.ts'

export const CROSS_SET = "CROSSSLOT Keys in request don't hash to the same slot"
const STOPPED = new RondoError('PRECONDITION_FAILED', 'A watched key has changed.', {
  outcome: 'not-applied',
})

/** Total cost of the slow steps of a transaction (work.ts), checked before the first one starts. */
const MAX_SLOW_UNITS = 32 * 1024
/** From this many steps on, they run in slices. */
const MANY_STEPS = 16
const UNITS_A_STEP = 0.5
const UNITS_TO_ESTIMATE = 0.1
const BYTES_A_UNIT = 32 * 1024

/** What the limits are for, and which setting has it, if one does. */
const TOO_MUCH = {
  values: ({ maxCommandBytes }: Limits) =>
    `work on more than ${maxCommandBytes} bytes of values (MAX_COMMAND_BYTES)`,
  answer: ({ maxReplyBytes }: Limits) => `answer with more than ${maxReplyBytes} bytes (MAX_REPLY_BYTES)`,
  time: () => 'compute for too long (a fixed limit)',
} as const

function tooMuch(limits: Limits, steps: Queue, what: keyof typeof TOO_MUCH): RondoError {
  const [subject, advice] =
    steps.length === 1
      ? ['This command', 'send fewer elements or keys at once, or use shorter values or smaller collections']
      : ['The commands of this transaction', 'send fewer at once']
  const sentence = `${subject} would ${TOO_MUCH[what](limits)}: ${advice}. Nothing was applied.`
  return new RondoError('BAD_REQUEST', sentence, { outcome: 'not-applied' })
}

/** The bytes of values that the steps of one transaction may read and produce in total, because they run without a pause. */
type Limits = Pick<CommandSettings, 'maxCommandBytes' | 'maxReplyBytes'>

/** The commands in order: a step; the reason why there is none; or null for a command without keys. */
export type Queue = readonly (Step | RespError | null)[]

export function isStep(queued: Queue[number]): queued is Step {
  return queued !== null && 'apply' in queued
}

/** By key: undefined = unchanged, null = deleted. */
export type Next = readonly (Held | null | undefined)[]

/** Computes new values from the current ones; see transact(). */
type Change = (
  current: readonly (StoredRecord | null)[],
  now: number,
  ends: ForeignEnds,
  parts: PartsOf | null,
) => Sliced<Next | RondoError | null>

/**
 * Runs a command on several keys atomically.
 *
 * @param command its name
 * @param isPutOff an update has just been put off for it
 * @param given the time that it has, if some of it has passed already
 * @param meetsParts it is known to need parts of large collections
 */
export async function runTogether(
  caller: Caller,
  step: Step,
  command: string,
  level = caller.writeLevel,
  given: ClientCall | null = null,
  isPutOff = false,
  meetsParts = given !== null,
): Promise<Reply> {
  const { store } = caller
  const { maxBatchKeys } = caller.settings
  if (step.keys.length > maxBatchKeys) {
    return new Refusal(`ERR at most ${maxBatchKeys} keys can be changed together (MAX_BATCH_KEYS)`)
  }
  if (!store.sharesReplicaSet(step.keys)) {
    const isScript = step.needs === 'value' && step.script !== undefined
    return new Refusal(isScript ? crossSetOf(store, step.keys) : CROSS_SET, 'CROSS_REPLICA_SET')
  }
  let done: Omit<Ran, 'next'> = { replies: [], published: [], lookups: [] }
  await withMoreKeys(caller, [step], step.keys, {
    attempt: (steps, keys, call) =>
      transact(
        caller,
        keys,
        paceOf(steps),
        function* (current, now, ends, parts) {
          const outcome = yield* runSteps(caller.settings, steps, keys, { current, now, ends, parts })
          if (outcome instanceof RondoError) return outcome
          done = outcome
          return outcome.next
        },
        { call: call ?? given ?? undefined, level, meetsParts, isPutOff },
      ),
    rehearse: (steps, keys, current, call) => rehearse(caller, steps, keys, current, call),
  })
  countLookups(caller, command, done.lookups[0]!)
  await publish(caller, done.published)
  return done.replies[0]!
}

/** How steps run: many in slices, and those that need much memory alone as well. */
export type Pace = 'at-once' | 'in-slices' | 'alone'

export function paceOf(steps: Queue): Pace {
  // It waits for another thread, and whoever runs alone must not wait.
  if (steps.some((step) => isStep(step) && step.script !== undefined)) return 'in-slices'
  if (steps.some((step) => isStep(step) && step.slow !== undefined)) return 'alone'
  // Each may take long on a large collection.
  const perElement = steps.length > 1 && steps.some((step) => isStep(step) && step.bytesAUnit !== undefined)
  return perElement || steps.length > MANY_STEPS ? 'in-slices' : 'at-once'
}

/** What the steps have done; the reply for a command without a step is null. */
interface Ran {
  readonly replies: Reply[]
  readonly published: readonly Publication[]
  readonly lookups: readonly Lookups[]
  readonly next: Next
}

/** What one attempt of a transaction works on. */
export interface Attempted {
  readonly current: readonly (StoredRecord | null)[]
  readonly now: number
  readonly ends: ForeignEnds
  /** Null: it cannot wait for parts of large collections, and fails with MEETS_PARTS where it had to. */
  readonly parts: PartsOf | null
  /** Nothing is stored. */
  readonly isRehearsal?: boolean
}

/** Applies the steps to the keys in order. */
export function* runSteps(
  limits: Limits,
  steps: Queue,
  keys: readonly Buffer[],
  { current, now, ends, parts, isRehearsal = false }: Attempted,
): Sliced<Ran | RondoError> {
  const names = keys.map((key) => key.toString('latin1'))
  const known = keys.map((key, i) => ends.knownIn(key, current[i]!, now))
  if (known.includes('unknown')) return UNKNOWN_END
  const held = new Map(names.map((name, i) => [name, withParts(keys[i]!, known[i] as Known | null)]))
  const changed = new Map<string, Held | null>()
  const awaited = new Set(names.filter((_, i) => current[i]?.isAwaited))
  let touched = 0
  let answered = 0
  let slowUnits = 0
  const ran = { replies: [] as Reply[], published: [] as Publication[], lookups: [] as Lookups[] }
  const excess = yield* excessOf(limits, steps, held, parts)
  if (excess instanceof RondoError) return excess
  if (excess) return tooMuch(limits, steps, excess)
  for (const step of steps) {
    if (!isStep(step)) {
      ran.replies.push(step)
      ran.lookups.push(NO_LOOKUPS)
      continue
    }
    const mine = step.keys.map((key) => key.toString('latin1'))
    const before = mine.map((name) => held.get(name)!)
    const cost = yield* costOf(step, before, parts)
    if (cost instanceof RondoError) return cost
    slowUnits += cost
    if (slowUnits > MAX_SLOW_UNITS) return tooMuch(limits, steps, 'time')
    const touchedBefore = touched
    const stepped = yield* parts ? parts.applied(step, before, now) : applied(step, before, now)
    if (stepped instanceof RondoError) return stepped
    const { reply, next = [] } = stepped
    if (stepped.published) {
      ran.published.push(...stepped.published)
      answered += publicationBytes(stepped.published)
    }
    mine.forEach((name, i) => {
      const after = unlessAbsent(step, before[i]!, next[i], awaited.has(name))
      touched += bytesOf(before[i]!) + bytesOf(after ?? null)
      if (after === undefined) return
      held.set(name, after)
      changed.set(name, after)
    })
    answered += answerBytes(reply)
    if (touched > limits.maxCommandBytes) return tooMuch(limits, steps, 'values')
    if (answered > limits.maxReplyBytes) return tooMuch(limits, steps, 'answer')
    ran.replies.push(reply)
    ran.lookups.push(lookupsOf(step, before))
    yield UNITS_A_STEP + (touched - touchedBefore) / (step.bytesAUnit ?? BYTES_A_UNIT)
  }
  const next = names.map((name) => changed.get(name))
  return { ...ran, next: isRehearsal ? next : yield* stored(next, parts) }
}

/**
 * Applies the steps to these values, for what it tells about them alone. Parts of large collections are read at `one`, as the
 * values were, and none is stored. @returns an error, or what would be done
 */
export function rehearse(
  caller: Caller,
  steps: Queue,
  keys: readonly Buffer[],
  current: readonly (StoredRecord | null)[],
  call = oneCall(caller),
): Promise<Ran | RondoError> {
  const { store, work, settings } = caller
  return withForeignEnds(store, async (ends) => {
    const parts = new PartsOf(caller, 'one', 1, call)
    try {
      const attempted = { current, now: nowMs(store), ends, parts, isRehearsal: true }
      const outcome = await work.outcomeOf(runSteps(settings, steps, keys, attempted))
      if (outcome === UNKNOWN_END) throw UNKNOWN_END
      return outcome
    } finally {
      parts.release()
    }
  })
}

/** With their parts, which are stored by then. */
function* stored(next: Next, parts: PartsOf | null): Sliced<Next> {
  if (!parts) return next
  const roots: (Held | null | undefined)[] = []
  for (const one of next) roots.push(one ? yield* parts.store(one) : one)
  return roots
}

/** Where it cannot wait for parts. */
function* applied(step: Step, before: readonly (Known | null)[], now: number): Sliced<Stepped | RondoError> {
  try {
    const stepped = yield* appliedAtOnce(step, before, now)
    if (stepped instanceof MoreKeys || !stepped.next) return stepped
    const meets = stepped.next.some((one, i) => one && needsParts(before[i]!, one))
    if (meets) return MEETS_PARTS
    return { ...stepped, next: stepped.next.map((one, i) => one && withPartsBefore(before[i]!, one)) }
  } catch (error) {
    if (wantsParts(error)) return MEETS_PARTS
    throw error
  }
}

function* appliedAtOnce(
  step: Step,
  before: readonly (Known | null)[],
  now: number,
): Sliced<Stepped | MoreKeys> {
  if (step.needs === 'value' && step.script) {
    const wholes = wholesOf(before)
    if (wholes.some((one) => one?.parts)) throw new PartsAreNeeded()
    return yield* runScript(step, wholes, now)
  }
  if (step.needs === 'value' && step.slow) return yield* step.slow.slices(wholesOf(before), now)
  return applyTo(step, before, now)
}

/** In work units; 0 for a fast step. */
function* costOf(
  step: Step,
  known: readonly (Known | null)[],
  parts: PartsOf | null,
): Sliced<number | RondoError> {
  const slow = step.needs === 'value' && step.slow
  if (!slow) return 0
  const cost = () => slow.cost(wholesOf(known))
  if (parts) return yield* parts.computed(cost)
  try {
    return cost()
  } catch (error) {
    if (wantsParts(error)) return MEETS_PARTS
    throw error
  }
}

/** Of what the steps would need too much, assuming that the values do not change; then nothing is started. */
function* excessOf(
  limits: Limits,
  steps: Queue,
  held: ReadonlyMap<string, Known | null>,
  parts: PartsOf | null,
): Sliced<keyof typeof TOO_MUCH | RondoError | null> {
  let touched = 0
  let slowUnits = 0
  for (const step of steps) {
    if (!isStep(step) || !step.reads) continue
    const before = step.keys.map((key) => held.get(key.toString('latin1'))!)
    const cost = yield* costOf(step, before, parts)
    if (cost instanceof RondoError) return cost
    slowUnits += cost
    for (const one of before) touched += bytesOf(one)
    if (slowUnits > MAX_SLOW_UNITS) return 'time'
    if (touched > limits.maxCommandBytes) return 'values'
    yield UNITS_TO_ESTIMATE
  }
  return null
}

interface TransactOptions extends Partial<Pick<CallOptions, 'call' | 'level' | 'isPutOff'>> {
  readonly meetsParts?: boolean
}

/**
 * @param change computes the new values; null = nothing is changed, and the values need not be consistent with each other;
 * an error = the same, and transact fails with it
 */
export async function transact(
  caller: Caller,
  keys: readonly Buffer[],
  pace: Pace,
  change: Change,
  { meetsParts = false, ...options }: TransactOptions = {},
): Promise<void> {
  const call = options.call ?? oneCall(caller)
  const run = (pace: Pace, parts: PartsOf | null) =>
    withForeignEnds(caller.store, (ends) => {
      const attempt = (current: Parameters<Change>[0], now: number) => change(current, now, ends, parts)
      return transactOnce(caller, keys, pace, attempt, parts, parts ? { ...options, call } : options)
    })
  try {
    // What runs in slices can wait for parts as well.
    if (meetsParts || pace === 'in-slices') throw MEETS_PARTS
    await run(pace, null)
  } catch (error) {
    if (error !== MEETS_PARTS) throw error
    await runWithParts(caller, keys, { ...options, call }, (parts) => run('in-slices', parts))
  }
}

async function transactOnce(
  caller: Caller,
  keys: readonly Buffer[],
  pace: Pace,
  change: (current: readonly (StoredRecord | null)[], now: number) => ReturnType<Change>,
  parts: PartsOf | null,
  more: Partial<Pick<CallOptions, 'call' | 'level' | 'isPutOff'>>,
): Promise<void> {
  const { store, work, account } = caller
  const decided = (next: Next | RondoError | null) => decidedBy(caller, next, parts?.takeTogether())
  let heldBytes = 0
  const hold = (bytes: number) => {
    account.add(bytes - heldBytes)
    heldBytes = bytes
  }
  /** The values stay in memory until the result is stored. */
  const overloaded = (current: readonly (StoredRecord | null)[]): RondoError | null => {
    hold(current.reduce((sum, record) => sum + (record?.value.length ?? 0), 0))
    return account.isRefused ? account.refusal() : null
  }
  const slowly: ModifyAllSlowly = (current, then) => {
    const refused = overloaded(current)
    if (refused) {
      then(decided(refused))
      return
    }
    const failedHere = (error: unknown) => {
      then({ kind: 'refuse', error: error instanceof RondoError ? error : fault(error) })
    }
    const job = change(current, nowMs(store))
    const made = (next: Next | RondoError | null) => then(decided(next))
    if (pace === 'alone') work.carryOutAlone(caller, job, made, failedHere)
    else work.run(job, made, failedHere)
  }
  const atOnce: ModifyAll = (current) =>
    decided(overloaded(current) ?? inOneGo(change(current, nowMs(store))))
  const options: CallOptions = { ...writeOptions(caller), ...more }
  try {
    if (keys.length === 0) {
      const outcome = await work.outcomeOf(change([], nowMs(store)))
      if (outcome instanceof RondoError) throw outcome
      return
    }
    const { before, after } = await (pace === 'at-once'
      ? transactKeys(store, keys, atOnce, options)
      : transactKeysSlowly(store, keys, slowly, options))
    for (const [i, key] of keys.entries()) {
      leaveParts(store, key, before[i]!, after[i]!, parts)
      // A change of a stream needs no parts as a rule.
      if (parts) store.collections.noteLarge(key, isLarge(after[i]!) && after[i]!.kind !== KIND_STREAM)
    }
  } catch (error) {
    if (error !== STOPPED) throw error
  } finally {
    hold(0)
  }
}

function decidedBy(
  caller: Caller,
  next: Next | RondoError | null,
  parts: readonly NewPart[] = [],
): AllModified {
  if (!next) return { kind: 'refuse', error: STOPPED }
  if (next instanceof RondoError) return { kind: 'refuse', error: next }
  const error = next.map((held) => tooLarge(caller.store, held)).find((found) => found !== null)
  if (error) return { kind: 'refuse', error }
  if (next.every((held) => held === undefined)) return { kind: 'keep' }
  return {
    kind: 'write',
    records: next.map((held) => (held === undefined ? undefined : recordOf(held))),
    ...(parts.length > 0 && { parts }),
  }
}

function fault(error: unknown): RondoError {
  return new RondoError('INTERNAL', `A fault of Rondo's own: ${sentenceOf(error)}.`, {
    outcome: 'not-applied',
  })
}
