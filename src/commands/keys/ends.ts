/** Parses expiry times as Redis does: seconds and milliseconds, relative and absolute. */
import { integerArgument, isInt64, type Integer } from '../arguments.ts'
import { CommandError } from '../step.ts'

export interface TimeUnit {
  readonly ms: 1 | 1000
  /** False: counted from now. */
  readonly absolute: boolean
}

export const SECONDS: TimeUnit = { ms: 1000, absolute: false }
export const MILLISECONDS: TimeUnit = { ms: 1, absolute: false }
export const SECONDS_AT: TimeUnit = { ms: 1000, absolute: true }
export const MILLISECONDS_AT: TimeUnit = { ms: 1, absolute: true }

/** The maximum of a record's header, in the year 10889; later times, up to Redis's 64 bits, are capped to it. */
const LATEST_MS = 2 ** 48 - 1

/**
 * The expiry time from an argument of SET, GETEX or SETEX: after now, or absolute and after 1970.
 *
 * @throws CommandError
 */
export function endArgument(argument: Buffer, unit: TimeUnit, nowMs: number, command: string): number {
  const given = integerArgument(argument)
  if (given <= 0) throw invalid(command)
  return endOf(given, unit, nowMs, command)
}

/**
 * The expiry time from an argument of EXPIRE and related commands. It may be in the past, even before 1970.
 *
 * @throws CommandError
 */
export function anyEndArgument(argument: Buffer, unit: TimeUnit, nowMs: number, command: string): number {
  return endOf(integerArgument(argument), unit, nowMs, command)
}

/** As in Redis, both the argument and the expiry time must fit 64 bits. */
function endOf(given: Integer, unit: TimeUnit, nowMs: number, command: string): number {
  const time = BigInt(given) * BigInt(unit.ms)
  const end = unit.absolute ? time : time + BigInt(nowMs)
  if (!isInt64(time) || !isInt64(end)) throw invalid(command)
  return Math.min(Number(end), LATEST_MS)
}

function invalid(command: string): CommandError {
  return new CommandError(`ERR invalid expire time in '${command}' command`)
}
