/** When a value ends: how Redis reads seconds and milliseconds, relative and absolute. */
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

/** What a record's head can hold, the year 10889: later ends, up to Redis's own 64 bits, become this one. */
const LATEST_MS = 2 ** 48 - 1

/**
 * The end that an argument of SET, GETEX or SETEX gives: after now, or absolute and after 1970.
 *
 * @throws CommandError
 */
export function endArgument(argument: Buffer, unit: TimeUnit, nowMs: number, command: string): number {
  const given = integerArgument(argument)
  if (given <= 0) throw invalid(command)
  return endOf(given, unit, nowMs, command)
}

/**
 * The end that EXPIRE and its kin give. It may lie in the past, before 1970 too.
 *
 * @throws CommandError
 */
export function anyEndArgument(argument: Buffer, unit: TimeUnit, nowMs: number, command: string): number {
  return endOf(integerArgument(argument), unit, nowMs, command)
}

/** As in Redis, both the time and the end must fit 64 bits. */
function endOf(given: Integer, unit: TimeUnit, nowMs: number, command: string): number {
  const time = BigInt(given) * BigInt(unit.ms)
  const end = unit.absolute ? time : time + BigInt(nowMs)
  if (!isInt64(time) || !isInt64(end)) throw invalid(command)
  return Math.min(Number(end), LATEST_MS)
}

function invalid(command: string): CommandError {
  return new CommandError(`ERR invalid expire time in '${command}' command`)
}
