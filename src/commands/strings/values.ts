/** Commands on whole values and parts of them: GET, SET and related commands, APPEND, SETRANGE. */
import { byteRange } from '../../core/part.ts'
import { integerArgument, isBackward, parseInteger } from '../arguments.ts'
import { endArgument, MILLISECONDS, SECONDS, type TimeUnit } from '../keys/ends.ts'
import { OK, type Reply } from '../reply.ts'
import { badComparison, isMet, type Comparison } from './conditions.ts'
import {
  getexOptions,
  msetexOptions,
  setOptions,
  type MsetexOptions,
  type Presence,
  type SetOptions,
} from './set-options.ts'
import {
  areStrings,
  change,
  CommandError,
  defaultEnd,
  distinct,
  look,
  lookAtPart,
  refused,
  inPlaceOf,
  taggedAs,
  tooLong,
  until,
  WRONG_TYPE,
  type Held,
  type Mentions,
  type Seen,
  type Step,
  type StepLimits,
  type StepMaker,
  type Stepped,
} from '../step.ts'

const EMPTY = Buffer.alloc(0)
const INT32_MAX = 2 ** 31 - 1
/** Beyond this Redis refuses it, too, with its defaults. */
const REDIS_MAX_BYTES = 512 * 1024 * 1024
const REDIS_TOO_LONG = 'ERR string exceeds maximum allowed size (proto-max-bulk-len)'

const valueOf = (held: Held | null) => held?.value ?? null
/** MGET: a key of another type counts as absent. */
const stringOf = (held: Held | null) => (held?.kind === undefined ? valueOf(held) : null)

export function get(args: readonly Buffer[]): Step {
  return { ...look(args[1]!, valueOf), loads: true }
}

export function strlen(args: readonly Buffer[]): Step {
  return lookAtPart(args[1]!, 'length', (seen) => seen?.length ?? 0)
}

export function getrange(args: readonly Buffer[]): Step {
  const start = integerArgument(args[2]!)
  const end = integerArgument(args[3]!)
  if (isBackward(start, end)) return lookAtPart(args[1]!, 'length', () => EMPTY)
  return lookAtPart(args[1]!, byteRange(Number(start), Number(end)), (seen) => seen?.part ?? EMPTY)
}

export const mget: StepMaker = (args, _nowMs, _limits, mentions = distinct(args.slice(1))): Step => {
  const { keys, places } = mentions
  return {
    needs: 'value',
    keys,
    reads: true,
    writes: false,
    answersValues: true,
    loads: true,
    lookedUp: places,
    apply: (held) => ({ reply: places.map((place) => stringOf(held[place]!)) }),
  }
}

// ---- whole values

export function set(args: readonly Buffer[], nowMs: number, limits: StepLimits): Step {
  return setStep(args[1]!, args[2]!, setOptions(args, nowMs, limits))
}

export function getset(args: readonly Buffer[], nowMs: number, limits: StepLimits): Step {
  const endMs = defaultEnd(limits, nowMs)
  return setStep(args[1]!, args[2]!, { condition: null, answersOld: true, keepsEnd: false, endMs })
}

export function setex(args: readonly Buffer[], nowMs: number): Step {
  return setWithEnd(args, SECONDS, nowMs, 'setex')
}

export function psetex(args: readonly Buffer[], nowMs: number): Step {
  return setWithEnd(args, MILLISECONDS, nowMs, 'psetex')
}

function setWithEnd(args: readonly Buffer[], unit: TimeUnit, nowMs: number, command: string): Step {
  const endMs = endArgument(args[2]!, unit, nowMs, command)
  return setStep(args[1]!, args[3]!, { condition: null, answersOld: false, keepsEnd: false, endMs })
}

function setStep(key: Buffer, value: Buffer, options: SetOptions): Step {
  const { condition, answersOld, keepsEnd, endMs } = options
  const reads = condition !== null || answersOld || keepsEnd
  const step = {
    keys: [key],
    reads,
    writes: true,
    leastBytes: value.length,
    lookedUp: answersOld ? [0] : [],
  }
  const next = (seen: Seen | null, nowMs: number) => [
    until(value, keepsEnd && seen ? seen.expiresAtMs : endMs, nowMs),
  ]
  if (answersOld || isComparison(condition)) {
    const apply = ([held = null]: readonly (Held | null)[], nowMs: number): Stepped => {
      if (!areStrings([held])) return WRONG_TYPE
      const bad = held && isComparison(condition) ? badComparison(condition) : null
      if (bad !== null) return refused(bad)
      const made = holds(condition, held) ? next(held, nowMs) : undefined
      return stepped(answersOld ? valueOf(held) : made ? OK : null, made)
    }
    return { ...step, needs: 'value', apply }
  }
  const apply = ([seen = null]: readonly (Seen | null)[], nowMs: number) => {
    const made = isThere(condition, seen) ? next(seen, nowMs) : undefined
    return stepped(made ? OK : null, made)
  }
  return { ...step, needs: 'head', apply }
}

function isComparison(condition: SetOptions['condition']): condition is Comparison {
  return typeof condition === 'object' && condition !== null
}

function holds(condition: SetOptions['condition'], held: Held | null): boolean {
  return isComparison(condition) ? isMet(condition, held) : isThere(condition, held)
}

function isThere(wanted: Presence | null, seen: Seen | null): boolean {
  return wanted === null || (wanted === 'absent') === (seen === null)
}

function stepped(reply: Reply, next: Stepped['next']): Stepped {
  return next ? { reply, next } : { reply }
}

export function setnx(args: readonly Buffer[], nowMs: number, limits: StepLimits): Step {
  const next = [{ value: args[2]!, expiresAtMs: defaultEnd(limits, nowMs) }]
  return {
    needs: 'head',
    keys: [args[1]!],
    reads: true,
    writes: true,
    apply: ([seen = null]) => (seen ? { reply: 0 } : { reply: 1, next }),
  }
}

export const mset: StepMaker = (args, nowMs, limits, mentions): Step => {
  const { keys, next } = pairs(args, 'mset', defaultEnd(limits, nowMs), mentions)
  return { needs: 'head', keys, reads: false, writes: true, apply: () => ({ reply: OK, next }) }
}

export const msetnx: StepMaker = (args, nowMs, limits, mentions): Step => {
  const { keys, next } = pairs(args, 'msetnx', defaultEnd(limits, nowMs), mentions)
  return {
    needs: 'head',
    keys,
    reads: true,
    writes: true,
    apply: (held) => (held.some((one) => one !== null) ? { reply: 0 } : { reply: 1, next }),
  }
}

/** If a key is named twice, the last value counts. */
function pairs(
  args: readonly Buffer[],
  command: string,
  expiresAtMs: number,
  mentions?: Mentions,
): { keys: Buffer[]; next: Held[] } {
  if (args.length % 2 === 0) {
    throw new CommandError(`ERR wrong number of arguments for '${command}' command`)
  }
  const { keys, places } = mentions ?? distinct(args.filter((_, i) => i % 2 === 1))
  const next = lastValues(places, args, 2).map((value) => ({ value, expiresAtMs }))
  return { keys, next }
}

/**
 * @param places of each mention of a key, its index among the keys
 * @param first index of the first value among the arguments
 */
function lastValues(places: readonly number[], args: readonly Buffer[], first: number): Buffer[] {
  const values: Buffer[] = []
  places.forEach((place, i) => (values[place] = args[first + 2 * i]!))
  return values
}

/**
 * With NX or XX all keys are set, or none. They must share a replica set then, and so they must with KEEPTTL, because each
 * key's time is read first. Otherwise it is MSET with an expiry time: each key by itself.
 */
export const msetex: StepMaker = (args, nowMs, limits, mentions): Step => {
  const count = parseInteger(args[1]!)
  if (count === null || count < 1 || count > INT32_MAX) throw new CommandError('ERR invalid numkeys value')
  const optionsAt = 2 + 2 * Number(count)
  if (optionsAt > args.length) throw new CommandError('ERR wrong number of key-value pairs')
  const options = msetexOptions(args, optionsAt, nowMs, limits)
  const pairs = args.slice(0, optionsAt)
  const { keys, places } = mentions ?? distinct(pairs.filter((_, i) => i >= 2 && i % 2 === 0))
  return msetexStep(keys, lastValues(places, pairs, 3), options)
}

function msetexStep(keys: Buffer[], values: readonly Buffer[], options: MsetexOptions): Step {
  const { condition, keepsEnd, endMs } = options
  return {
    needs: 'head',
    keys,
    reads: condition !== null || keepsEnd,
    writes: true,
    apply(held, nowMs) {
      if (!held.every((one) => isThere(condition, one))) return { reply: 0 }
      const ends = held.map((one) => (keepsEnd && one ? one.expiresAtMs : endMs))
      return { reply: 1, next: values.map((value, i) => until(value, ends[i]!, nowMs)) }
    },
  }
}

export function getdel(args: readonly Buffer[], _nowMs: number, limits: StepLimits): Step {
  const step = change(args[1]!, (held) => ({ reply: held?.value ?? null, next: [null] }))
  return answering({ ...step, leavesAbsent: !limits.loads })
}

export function getex(args: readonly Buffer[], nowMs: number): Step {
  const newEnd = getexOptions(args, nowMs)
  if (newEnd === 'same') return look(args[1]!, valueOf)
  const step = change(args[1]!, (held, applyMs) => {
    if (!held) return { reply: null }
    // Redis checks the key before the expiry time.
    if (newEnd instanceof CommandError) return refused(newEnd.message)
    // As Redis does, it stores a time that the key has already.
    if (newEnd === 0 && held.expiresAtMs === 0) return { reply: held.value }
    const next = until(held.value, newEnd, applyMs)
    return { reply: held.value, next: [next && { ...taggedAs(held), ...next }] }
  })
  return answering(step)
}

/** Its client gets what the key holds. */
function answering(step: Step): Step {
  return { ...step, lookedUp: [0] }
}

// ---- parts of values

export function append(args: readonly Buffer[], nowMs: number, limits: StepLimits): Step {
  const tail = args[2]!
  const newEndMs = defaultEnd(limits, nowMs)
  return change(
    args[1]!,
    (held) => {
      const length = (held?.value.length ?? 0) + tail.length
      if (held && length > limits.maxValueBytes) return refusedAsTooLong(length, limits)
      const value = held ? Buffer.concat([held.value, tail]) : tail
      return { reply: length, next: [inPlaceOf(held, value, newEndMs)] }
    },
    tail.length,
  )
}

export function setrange(args: readonly Buffer[], nowMs: number, limits: StepLimits): Step {
  const offset = integerArgument(args[2]!)
  if (offset < 0) throw new CommandError('ERR offset is out of range')
  const at = Number(offset)
  const part = args[3]!
  const newEndMs = defaultEnd(limits, nowMs)
  return change(
    args[1]!,
    (held) => {
      const before = held?.value ?? EMPTY
      if (part.length === 0) return { reply: before.length }
      if (at + part.length > limits.maxValueBytes) return refusedAsTooLong(at + part.length, limits)
      const value = Buffer.alloc(Math.max(before.length, at + part.length))
      before.copy(value)
      part.copy(value, at)
      return { reply: value.length, next: [inPlaceOf(held, value, newEndMs)] }
    },
    part.length > 0 ? Math.min(at + part.length, limits.maxValueBytes) : 0,
  )
}

function refusedAsTooLong(bytes: number, limits: StepLimits): Stepped {
  const sentence = tooLong(bytes, limits)
  return refused(bytes > REDIS_MAX_BYTES ? REDIS_TOO_LONG : `ERR ${sentence}`, 'VALUE_TOO_LARGE', sentence)
}
