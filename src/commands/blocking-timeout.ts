/** For how long a command waits. */
import { parseInteger } from './arguments.ts'
import { CommandError } from './step.ts'
import { parseLongDouble } from './strings/long-double.ts'

const MAX_MS = 2 ** 63
const OUT_OF_RANGE = 'ERR timeout is out of range'

/** Whole milliseconds. @throws CommandError */
export function secondsArgument(argument: Buffer): number {
  const seconds = parseLongDouble(argument)
  if (seconds === null) throw new CommandError('ERR timeout is not a float or out of range')
  if (seconds === 'infinite') throw new CommandError(OUT_OF_RANGE)
  return checked(Math.ceil(Number(seconds.mantissa) * 2 ** seconds.exponent * 1000))
}

/** The same for BLOCK of XREAD. @throws CommandError */
export function millisecondsArgument(argument: Buffer): number {
  const ms = parseInteger(argument)
  if (ms === null) throw new CommandError('ERR timeout is not an integer or out of range')
  return checked(Number(ms))
}

function checked(ms: number): number {
  if (ms >= MAX_MS) throw new CommandError(OUT_OF_RANGE)
  if (ms < 0) throw new CommandError('ERR timeout is negative')
  return ms
}
