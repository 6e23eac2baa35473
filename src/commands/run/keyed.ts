/**
 * Runs commands on keys, which are written as steps (step.ts): reads the values that a step needs, and stores its result.
 *
 *   reads only              reads all keys, then applies the step
 *   writes only             (SETEX, MSET) one write per key
 *   changes one key         one atomic update (one-key.ts); a transaction, if computing the result takes long (PFADD)
 *   changes each key alone  (DEL, UNLINK) one step per key; the replies are added up
 *   changes keys together   (RENAME, COPY, MSETNX, BITOP) a transaction, if the keys share a replica set
 *
 * Keys live on different nodes: MSET and DEL change each key atomically, but not all of them together. They process their
 * keys in slices (slices.ts), and start no further slice after a failure.
 *
 * A key that cannot be read fails the whole command: it is never treated as absent.
 */
import type { ClientCall, KeyStore } from '../../coordinator/api.ts'
import { liveWithEnd, removeKey, writeValue } from '../../coordinator/promises.ts'
import type { PeekedRecord, StoredRecord } from '../../core/codec.ts'
import { RondoError, stopped } from '../../core/errors.ts'
import { storedKey } from '../../core/keys.ts'
import { isRoot } from '../../core/large-root.ts'
import { loadRecord } from '../../loader/api.ts'
import { keysAmong } from '../key-places.ts'
import { MANY_ARGUMENTS, type Caller, type CommandSettings } from '../model.ts'
import { errorOf, replyOf } from '../errors.ts'
import { nowMs, readNeeded, tooLarge, writeOptions } from './held.ts'
import { applyTo, bytesOf, knownOf, wholesOf, type Known } from './known.ts'
import { onlyAt } from './only-at.ts'
import { changeKey } from './one-key.ts'
import { RespError, type Reply } from '../reply.ts'
import { countLookups, lookupsOf } from './lookups.ts'
import { answerBytes, replyTooLarge, tooMuchWork } from './answer-limit.ts'
import { MEETS_PARTS, oneCall, runWithParts, withParts, type PartsOf } from './parts.ts'
import { allInSlices, inSlices } from './slices.ts'
import {
  CommandError,
  distinctInSlices,
  KEYS_A_PIECE,
  KEYS_CHANGED,
  UNITS_A_PIECE,
  type Held,
  type KeyPlaces,
  type Mentions,
  type Step,
  type StepLimits,
  type StepMaker,
  type StepOf,
  type Stepped,
} from '../step.ts'
import { runTogether } from './together.ts'
import { inOnePiece, type Sliced } from '../../core/work.ts'

/** A command on keys: its step, and how to run it. */
export interface KeyedCommand extends KeyPlaces {
  /** Lower case. */
  readonly name: string
  readonly make: StepMaker
  /** How it changes several keys that it has read: as a transaction, or one by one. */
  readonly several: 'together' | 'each'
  /** It stores nothing under a key that does not exist. */
  readonly onlyExisting?: boolean
}

/** Values of fewer bytes are processed at once. */
const SHORT_BYTES = 16 * 1024
const BYTES_A_UNIT = 4096

/** What the steps of a caller's commands depend on. */
export interface StepContext {
  readonly settings: StepLimits & Pick<CommandSettings, 'maxKeyBytes'>
  readonly store: Pick<KeyStore, 'checkKey' | 'nowMs'>
}

/** Runs the command by itself, without a reply slot. */
export async function runAlone(
  caller: Caller,
  args: readonly Buffer[],
  command: KeyedCommand,
  inTransaction = false,
): Promise<Reply> {
  try {
    const step =
      args.length > MANY_ARGUMENTS
        ? await caller.work.outcomeOf(stepInSlices(caller, args, command))
        : stepOf(caller, args, command)
    if (step instanceof RespError) return step
    return await runStep(caller, inTransaction ? { ...step, loads: false } : step, args, command)
  } catch (error) {
    return replyOf(error)
  }
}

/** The step, or the reason why there is none: bad arguments, or an invalid key. */
export function stepOf(
  caller: StepContext,
  args: readonly Buffer[],
  command: Pick<KeyedCommand, 'make' | 'onlyExisting'>,
): Step | RespError {
  const step = made(caller, args, command.make)
  return step instanceof RespError ? step : usable(caller, step, command)
}

/** The step with the names that its keys have on the nodes, without those that cannot exist; or why one cannot be used. */
export function usable(
  caller: StepContext,
  step: Step,
  command: Pick<KeyedCommand, 'onlyExisting'>,
): Step | RespError {
  let possible = 0
  for (const key of step.keys) {
    const refused = refusalOf(caller, key, step, command)
    if (refused) return refused
    if (isPossible(caller, key)) possible++
  }
  return stored(caller, possible === step.keys.length ? step : withoutImpossible(caller, step))
}

/** No such key can be stored. */
function isPossible({ settings }: StepContext, key: Buffer): boolean {
  return key.length <= settings.maxKeyBytes
}

/** Why a step cannot have this key. For one that stores nothing under a new key, one that is too long is absent. */
function refusalOf(
  caller: StepContext,
  key: Buffer,
  { writes }: Step,
  { onlyExisting }: Pick<KeyedCommand, 'onlyExisting'>,
): RespError | null {
  if ((!writes || onlyExisting) && !isPossible(caller, key)) return null
  const unusable = caller.store.checkKey(key)
  return unusable && errorOf(unusable)
}

/** The same step, which does not ask for the keys that are too long to exist. */
function withoutImpossible(caller: StepContext, step: Step): Step {
  const places = step.keys.flatMap((key, i) => (isPossible(caller, key) ? [i] : []))
  return onlyAt(places, step)
}

/** The step with the names that its keys have on the nodes. */
function stored({ settings }: StepContext, step: Step): Step {
  const { keys, databases } = step
  if (settings.database === 0 && databases === undefined) return step
  return { ...step, keys: keys.map((key, i) => storedKey(databases?.[i] ?? settings.database, key)) }
}

/** The same for very many keys. */
export function* stepInSlices(
  caller: StepContext,
  args: readonly Buffer[],
  command: KeyedCommand,
): Sliced<Step | RespError> {
  const mentions = yield* distinctInSlices(keysAmong(command, args))
  const step = made(caller, args, command.make, mentions)
  if (step instanceof RespError) return step
  let possible = 0
  for (const [i, key] of step.keys.entries()) {
    const refused = refusalOf(caller, key, step, command)
    if (refused) return refused
    if (isPossible(caller, key)) possible++
    if (i % KEYS_A_PIECE === 0) yield UNITS_A_PIECE
  }
  return stored(caller, possible === step.keys.length ? step : withoutImpossible(caller, step))
}

function made(
  caller: StepContext,
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

/** @param command its name @param heldUp called synchronously if not all keys can be read at once */
export async function readStep(
  caller: Caller,
  step: Step,
  command: string,
  heldUp?: () => void,
): Promise<Reply> {
  let bytes = 0
  /** Of the last key that is read: of many keys each has its own time. */
  let dueAtMs = 0
  const read = async (i: number) => {
    if (i > 0 && caller.unheard) throw stopped('command')
    dueAtMs = caller.store.collections.dueAtMs()
    const one = await knownAt(caller, step.keys[i]!, step)
    const length = bytesOf(one)
    bytes += length
    caller.account.add(length)
    refuseTooMuch(caller, step, bytes)
    if (step.keys.length > 1 && caller.account.isRefused) throw caller.account.refusal()
    return withParts(step.keys[i]!, one)
  }
  try {
    const held = await allInSlices(caller, step.keys.length, read, heldUp)
    return await replyToHeld(caller, step, command, held, { bytes, dueAtMs })
  } finally {
    caller.account.add(-bytes)
  }
}

/** @param bytes of all values that it has read so far @throws CommandError */
function refuseTooMuch({ settings }: Caller, step: Step, bytes: number): void {
  if (step.answersValues && bytes > settings.maxReplyBytes) throw new CommandError(replyTooLarge(settings))
  if (bytes > settings.maxCommandBytes) throw new CommandError(tooMuchWork(settings))
}

/** @param held what its keys hold, of so many bytes @param dueAtMs when it has to be answered: monotonic */
async function replyToHeld(
  caller: Caller,
  step: Step,
  command: string,
  held: readonly (Known | null)[],
  { bytes, dueAtMs }: { readonly bytes: number; readonly dueAtMs: number },
): Promise<Reply> {
  const { settings } = caller
  countLookups(caller, command, lookupsOf(step, held))
  const now = nowMs(caller.store)
  if (held.some((one) => one && 'parts' in one))
    return readInParts(caller, step, held, oneCall(caller, dueAtMs))
  if (step.needs !== 'value' || !step.slow) {
    if (bytes <= SHORT_BYTES) return replyWithin(settings, step, applyTo(step, held, now).reply)
    // The values of many such commands may arrive in the same turn.
    const look = () => replyWithin(settings, step, applyTo(step, held, now).reply)
    const units = bytes / (step.bytesAUnit ?? BYTES_A_UNIT)
    return caller.work.outcomeOf(inOnePiece(look, units))
  }
  // It needs a large table: one at a time, or a pipeline of them would hold many tables.
  const job = step.slow.slices(wholesOf(held), now)
  return replyWithin(settings, step, (await caller.work.outcomeAlone(caller, job)).reply)
}

/** Whether it is one read of one key, which replies to what that holds: see shortReply. */
export function isOneRead({ loader }: Caller, step: Step): boolean {
  if (step.writes || step.keys.length !== 1 || step.answersEnd || (step.loads && loader !== null))
    return false
  return step.needs !== 'value' || !(step.slow ?? step.follow ?? step.script)
}

/**
 * What such a step replies to a short record, at once and without a promise; `undefined` = it may take longer, and is
 * replied to by replyToRecord.
 *
 * @param record alive; null = nothing
 */
export function shortReply(
  caller: Caller,
  step: Step,
  record: StoredRecord | PeekedRecord | null,
): Reply | undefined {
  const one = record && knownOf(record)
  const bytes = bytesOf(one)
  if (bytes > SHORT_BYTES || (one && 'value' in one && isRoot(one.kind, one.value))) return undefined
  refuseTooMuch(caller, step, bytes)
  return replyWithin(caller.settings, step, applyTo(step, [one], nowMs(caller.store)).reply)
}

/** The same for a record of any length. @param dueAtMs when it has to be answered: monotonic */
export async function replyToRecord(
  caller: Caller,
  step: Step,
  command: string,
  record: StoredRecord | PeekedRecord | null,
  dueAtMs: number,
): Promise<Reply> {
  const one = record && withParts(step.keys[0]!, knownOf(record))
  const bytes = bytesOf(one)
  caller.account.add(bytes)
  try {
    refuseTooMuch(caller, step, bytes)
    return await replyToHeld(caller, step, command, [one], { bytes, dueAtMs })
  } finally {
    caller.account.add(-bytes)
  }
}

/** Of large collections. @param held what was read of the keys: at later tries they are read again */
function readInParts(
  caller: Caller,
  step: Step,
  held: readonly (Known | null)[],
  call: ClientCall,
): Promise<Reply> {
  return readWithParts(caller, step.keys, call, async (parts) => {
    const known = parts.tries === 1 ? held : await rootsAt(caller, step, call)
    const job = parts.applied(step, known, nowMs(caller.store))
    return replyWithin(caller.settings, step, ((await caller.work.outcomeOf(job)) as Stepped).reply)
  })
}

function readWithParts<T>(
  caller: Caller,
  keys: readonly Buffer[],
  call: ClientCall,
  run: (parts: PartsOf) => Promise<T>,
): Promise<T> {
  return runWithParts(caller, keys, { level: caller.readLevel, call }, run)
}

/** What the keys of a step hold, with what is known of the parts. */
function rootsAt(caller: Caller, step: Step, call: ClientCall): Promise<(Known | null)[]> {
  return allInSlices(caller, step.keys.length, async (i) => {
    const key = step.keys[i]!
    return withParts(key, await knownAt(caller, key, step, call))
  })
}

/** The values fit, but a key may be named more than once. */
function replyWithin(settings: CommandSettings, { answersValues }: Step, reply: Reply): Reply {
  if (!answersValues || answerBytes(reply) <= settings.maxReplyBytes) return reply
  return new RespError(replyTooLarge(settings))
}

async function knownAt(caller: Caller, key: Buffer, step: Step, call?: ClientCall): Promise<Known | null> {
  const { needs, answersEnd, loads } = step
  const read = () => readNeeded(caller, key, needs, caller.readLevel, call)
  if (!answersEnd) {
    const record = await read()
    if (caller.store.isLive(record)) return knownOf(record)
    if (!loads || caller.loader === null) return null
    const loaded = await loadRecord(caller.loader, key, record, caller.readLevel)
    return loaded && knownOf(loaded)
  }
  const live = await liveWithEnd(caller.store, key, read)
  return live && knownOf(live.record, live.expiresAtMs)
}

export async function runStep(
  caller: Caller,
  step: Step,
  args: readonly Buffer[],
  command: KeyedCommand,
): Promise<Reply> {
  if (step.needs === 'value' && step.follow) return runFollowed(caller, step, command)
  if (!step.writes || step.keys.length === 0) return readStep(caller, step, command.name)
  if (!step.reads) return writeEach(caller, step)
  const { make, several, name } = command
  const isSlow = step.needs === 'value' && step.slow !== undefined
  if (step.keys.length === 1 && !isSlow) return updateStep(caller, step, name)
  if (several === 'together') return runTogether(caller, step, name)
  return eachKey(caller, step, name, (key) => ({
    ...(made(caller, [args[0]!, key], make) as Step),
    keys: [key],
  }))
}

const MOST_TRIES = 5

/** Reads the keys of the first step, and runs the one that follows on all keys; again if these are others by then. */
async function runFollowed(
  caller: Caller,
  first: StepOf<'value', Held>,
  command: KeyedCommand,
): Promise<Reply> {
  for (let tries = 1; ; tries++) {
    const next = await followed(caller, first)
    if (!('keys' in next)) return next.reply
    const step = usable(caller, next, command)
    if (step instanceof RespError) return step
    const reply = step.writes
      ? await runTogether(caller, step, command.name)
      : await readStep(caller, step, command.name)
    if (reply !== KEYS_CHANGED || tries === MOST_TRIES) return reply
  }
}

/** What follows from what the keys of this step hold. */
function followed(caller: Caller, first: StepOf<'value', Held>): Promise<Step | Stepped> {
  const call = oneCall(caller)
  return readWithParts(caller, first.keys, call, async (parts) => {
    const held = await rootsAt(caller, first, call)
    return caller.work.outcomeOf(parts.computed(() => first.follow!(wholesOf(held))))
  })
}

/** Runs one step per key. @returns how many keys were changed */
async function eachKey(
  caller: Caller,
  { keys }: Step,
  command: string,
  stepFor: (key: Buffer) => Step,
): Promise<Reply> {
  const settled = await inSlices(caller, keys.length, (i) => updateStep(caller, stepFor(keys[i]!), command))
  const counts = settled as PromiseSettledResult<number>[]
  const changed = counts.reduce((sum, one) => sum + (one.status === 'fulfilled' ? one.value : 0), 0)
  throwFailure(keys.length, changed, settled)
  return changed
}

/**
 * Combines the failures of several keys into one error, which also says how many keys were changed.
 *
 * @param changed how many keys were certainly changed
 * @throws if one failed
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

/** Applies the step to one key atomically. */
async function updateStep(caller: Caller, step: Step, command: string): Promise<Reply> {
  const call = oneCall(caller)
  if (caller.store.collections.isLarge(step.keys[0]!)) {
    return runTogether(caller, step, command, caller.writeLevel, call)
  }
  try {
    const { reply, lookups } = await changeKey(caller.store, step, writeOptions(caller))
    countLookups(caller, command, lookups)
    return reply
  } catch (error) {
    if (error === MEETS_PARTS) return runTogether(caller, step, command, caller.writeLevel, call, true)
    throw error
  }
}

/** Writes keys without reading them. */
async function writeEach(caller: Caller, step: Step): Promise<Reply> {
  const { store } = caller
  const nothing = step.keys.map(() => null)
  const { reply, next = [] } = applyTo(step, nothing, nowMs(store))
  for (const held of next) {
    const error = tooLarge(store, held)
    if (error) throw error
  }
  const settled = await inSlices(caller, step.keys.length, (i) => writeKey(caller, step.keys[i]!, next[i]))
  const changed = settled.filter(({ status }) => status === 'fulfilled').length
  throwFailure(step.keys.length, changed, settled)
  return reply
}

function writeKey(caller: Caller, key: Buffer, held: Held | null | undefined): Promise<unknown> {
  const { store } = caller
  if (held === undefined) return Promise.resolve()
  if (held === null) return removeKey(store, key, writeOptions(caller))
  return writeValue(store, key, held.value, held.expiresAtMs, writeOptions(caller))
}
