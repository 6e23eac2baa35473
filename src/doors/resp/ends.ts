/** When a value ends: how Redis reads seconds and milliseconds, relative and absolute. */
import { integerArgument } from './arguments.ts'
import { CommandError } from './step.ts'

export interface TimeUnit {
  readonly ms: 1 | 1000
  /** False: counted from now. */
  readonly absolute: boolean
}

export const SECONDS: TimeUnit = { ms: 1000, absolute: false }
export const MILLISECONDS: TimeUnit = { ms: 1, absolute: false }
export const SECONDS_AT: TimeUnit = { ms: 1000, absolute: true }
export const MILLISECONDS_AT: TimeUnit = { ms: 1, absolute: true }

/** What a record's head can hold: the year 10889. Redis itself goes up to 64 bits. */
const LATEST_MS = 2 ** 48 - 1
/** Redis refuses what a signed number of 64 bits cannot hold in milliseconds. */
const EARLIEST_SECONDS = -(2n ** 63n) / 1000n

/**
 * The end that an argument of SET, GETEX or SETEX gives: after now, or absolute and after 1970.
 *
 * @throws CommandError
 */
export function endArgument(argument: Buffer, unit: TimeUnit, nowMs: number, command: string): number {
  const given = integerArgument(argument)
  if (given <= 0) throw invalid(command)
  return notTooLate(given, unit, nowMs, command)
}

/**
 * The end that EXPIRE and its kin give. It may lie in the past, before 1970 too.
 *
 * @throws CommandError
 */
export function anyEndArgument(argument: Buffer, unit: TimeUnit, nowMs: number, command: string): number {
  const given = integerArgument(argument)
  if (unit.ms === 1000 && given < EARLIEST_SECONDS) throw invalid(command)
  return notTooLate(given, unit, nowMs, command)
}

function notTooLate(given: number | bigint, unit: TimeUnit, nowMs: number, command: string): number {
  const end = Number(given) * unit.ms + (unit.absolute ? 0 : nowMs)
  if (end > LATEST_MS) throw invalid(command)
  return end
}

function invalid(command: string): CommandError {
  return new CommandError(`ERR invalid expire time in '${command}' command`)
}
