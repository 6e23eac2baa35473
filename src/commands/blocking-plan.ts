/** A command that waits until a key has something for it, as run/blocking.ts runs it. */
import { parseInteger } from './arguments.ts'
import type { Reply } from './reply.ts'
import { CommandError, type Step, type StepLimits } from './step.ts'
import { parseLongDouble } from './strings/long-double.ts'

export interface BlockingPlan {
  /** Each once, in the order in which they are looked at. */
  readonly keys: readonly Buffer[]
  /** What it waits for: KIND_LIST and so on. */
  readonly kind: number
  /** See Waiting of the coordinator: who takes turns; null = it takes nothing away. */
  readonly line: string | null
  /** 0 = for ever. */
  readonly timeoutMs: number
  /** When nothing came in time. */
  readonly nothing: Reply
  /**
   * What is tried, again and again, at this key; without a line: at all of them. It replies null or NULL_ARRAY as long as there
   * is nothing.
   *
   * @throws CommandError
   */
  stepAt(place: number): Step
  /** Puts back what this reply has taken from this key; null = it is somewhere else now. */
  giveBack(place: number, reply: Reply): Step | null
}

/**
 * Null = with these arguments it does not wait.
 *
 * @throws CommandError
 */
export type PlanMaker = (args: readonly Buffer[], nowMs: number, limits: StepLimits) => BlockingPlan | null

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
