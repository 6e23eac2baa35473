/** Commands on numbers: INCR and related commands, INCRBYFLOAT. */
import { INT64_MIN, integerArgument, isInt64, parseInteger, type Integer } from '../arguments.ts'
import { addLongDoubles, formatLongDouble, parseLongDouble } from './long-double.ts'
import {
  change,
  CommandError,
  defaultEnd,
  NOT_INTEGER,
  refused,
  inPlaceOf,
  type Step,
  type StepLimits,
} from '../step.ts'

const WOULD_OVERFLOW = 'ERR increment or decrement would overflow'
const NOT_FLOAT = 'ERR value is not a valid float'

export function incr(args: readonly Buffer[], nowMs: number, limits: StepLimits): Step {
  return add(args[1]!, 1, defaultEnd(limits, nowMs))
}

export function decr(args: readonly Buffer[], nowMs: number, limits: StepLimits): Step {
  return add(args[1]!, -1, defaultEnd(limits, nowMs))
}

export function incrby(args: readonly Buffer[], nowMs: number, limits: StepLimits): Step {
  return add(args[1]!, integerArgument(args[2]!), defaultEnd(limits, nowMs))
}

export function decrby(args: readonly Buffer[], nowMs: number, limits: StepLimits): Step {
  const by = integerArgument(args[2]!)
  if (by === INT64_MIN) throw new CommandError('ERR decrement would overflow')
  return add(args[1]!, -by, defaultEnd(limits, nowMs))
}

/** A missing key counts as 0; the expiry time is kept. */
function add(key: Buffer, by: Integer, newEndMs: number): Step {
  return change(key, (held) => {
    const before = held ? parseInteger(held.value) : 0
    if (before === null) return refused(NOT_INTEGER, 'NOT_INTEGER')
    const after = sum(before, by)
    if (after === null) return refused(WOULD_OVERFLOW, 'NOT_INTEGER')
    return { reply: after, next: [inPlaceOf(held, Buffer.from(String(after)), newEndMs)] }
  })
}

function sum(a: Integer, b: Integer): Integer | null {
  if (typeof a === 'number' && typeof b === 'number') return a + b // each below 10^15
  const exact = BigInt(a) + BigInt(b)
  return isInt64(exact) ? exact : null
}

export function incrbyfloat(args: readonly Buffer[], nowMs: number, limits: StepLimits): Step {
  const by = parseLongDouble(args[2]!)
  const newEndMs = defaultEnd(limits, nowMs)
  return change(args[1]!, (held) => {
    const before = held ? parseLongDouble(held.value) : { mantissa: 0n, exponent: 0 }
    // Redis looks at the key first.
    if (before === null || by === null) return refused(NOT_FLOAT)
    const after = addLongDoubles(before, by)
    if (after === null) return refused('ERR increment would produce NaN or Infinity')
    const value = Buffer.from(formatLongDouble(after))
    return { reply: value, next: [inPlaceOf(held, value, newEndMs)] }
  })
}
