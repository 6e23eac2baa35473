/** Expiry of keys: EXPIRE, TTL and related commands, PERSIST. */
import { shown, word } from '../arguments.ts'
import { anyEndArgument, MILLISECONDS, MILLISECONDS_AT, SECONDS, SECONDS_AT, type TimeUnit } from './ends.ts'
import { changeAny, CommandError, lookAtHead, type Seen, type Step, type StepMaker } from '../step.ts'

const NO_KEY = -2
const NO_END = -1

// ---- setting

export const expire = expiring('expire', SECONDS)
export const pexpire = expiring('pexpire', MILLISECONDS)
export const expireat = expiring('expireat', SECONDS_AT)
export const pexpireat = expiring('pexpireat', MILLISECONDS_AT)

function expiring(command: string, unit: TimeUnit): StepMaker {
  return (args, nowMs) => {
    const allowed = conditionOf(args)
    const endMs = anyEndArgument(args[2]!, unit, nowMs, command)
    return changeAny(args[1]!, (held, applyMs) => {
      if (!held || !allowed(held.expiresAtMs, endMs)) return { reply: 0 }
      if (endMs <= applyMs) return { reply: 1, next: [null] }
      return { reply: 1, next: [{ ...held, expiresAtMs: endMs }] }
    })
  }
}

/** Whether the expiry time `current` (0 = never) may be changed to `endMs`. */
type EndCondition = (current: number, endMs: number) => boolean

const CONDITIONS: Readonly<Record<string, EndCondition>> = {
  NX: (current) => current === 0,
  XX: (current) => current !== 0,
  GT: (current, endMs) => current !== 0 && endMs > current,
  LT: (current, endMs) => current === 0 || endMs < current,
}

function conditionOf(args: readonly Buffer[]): EndCondition {
  const names = new Set<string>()
  for (const argument of args.slice(3)) {
    const name = word(argument)
    if (!Object.hasOwn(CONDITIONS, name)) {
      throw new CommandError(`ERR Unsupported option ${shown(argument)}`)
    }
    names.add(name)
  }
  if (names.has('NX') && names.size > 1) {
    throw new CommandError('ERR NX and XX, GT or LT options at the same time are not compatible')
  }
  if (names.has('GT') && names.has('LT')) {
    throw new CommandError('ERR GT and LT options at the same time are not compatible')
  }
  const conditions = [...names].map((name) => CONDITIONS[name]!)
  return (current, endMs) => conditions.every((allows) => allows(current, endMs))
}

export function persist(args: readonly Buffer[]): Step {
  return changeAny(args[1]!, (held) => {
    if (!held || held.expiresAtMs === 0) return { reply: 0 }
    return { reply: 1, next: [{ ...held, expiresAtMs: 0 }] }
  })
}

// ---- reading

export const ttl = asking((endMs, nowMs) => inSeconds(endMs - nowMs))
export const pttl = asking((endMs, nowMs) => endMs - nowMs)
export const expiretime = asking(inSeconds)
export const pexpiretime = asking((endMs) => endMs)

function asking(answer: (endMs: number, nowMs: number) => number): StepMaker {
  const reply = (seen: Seen | null, nowMs: number) => {
    if (!seen) return NO_KEY
    return seen.expiresAtMs === 0 ? NO_END : answer(seen.expiresAtMs, nowMs)
  }
  return (args) => ({ ...lookAtHead(args[1]!, reply), answersEnd: true })
}

/** Rounded to the nearest, as Redis does. */
function inSeconds(ms: number): number {
  return Math.floor((ms + 500) / 1000)
}
