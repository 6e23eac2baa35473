/** Steps of commands as updates, for tests that call a coordinator without a server. */
import { refusalIn } from '../../src/commands/errors.ts'
import { pexpireat } from '../../src/commands/keys/expiry.ts'
import { ForeignEnds } from '../../src/commands/run/foreign-ends.ts'
import { changeBy } from '../../src/commands/run/one-key.ts'
import type { StepMaker } from '../../src/commands/step.ts'
import { incr } from '../../src/commands/strings/numbers.ts'
import { append as appendStep, getdel } from '../../src/commands/strings/values.ts'
import type { Modify } from '../../src/coordinator/api.ts'

/** For steps without a coordinator. */
export const LIMITS = {
  maxValueBytes: 1024 * 1024,
  defaultTtlMs: 0,
  database: 0,
  databases: 16,
  random: Math.random,
}
const NAME_AND_KEY = [Buffer.from('command'), Buffer.from('key')]

export function increment(nowMs: () => number): Modify {
  return updateBy(incr, [], nowMs)
}

export function append(bytes: Buffer, nowMs: () => number): Modify {
  return updateBy(appendStep, [bytes], nowMs)
}

export function take(nowMs: () => number): Modify {
  return updateBy(getdel, [], nowMs)
}

export function expireAt(expiresAtMs: number, nowMs: () => number): Modify {
  return updateBy(pexpireat, [Buffer.from(String(expiresAtMs))], nowMs)
}

/**
 * If the step refuses, the update fails, with the code that HTTP answers.
 *
 * @param nowMs cluster time
 */
function updateBy(make: StepMaker, args: readonly Buffer[], nowMs: () => number): Modify {
  const step = make([...NAME_AND_KEY, ...args], 0, LIMITS)
  return (current) => {
    const { reply, modified } = changeBy(step, current, new ForeignEnds(), { nowMs, checkValue: () => null })
    const error = refusalIn(reply)
    return error ? { kind: 'refuse', error } : modified
  }
}
