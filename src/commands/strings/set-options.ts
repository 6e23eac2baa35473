/** The options of SET, MSETEX and GETEX, with Redis's rules for combining them. */
import { word } from '../arguments.ts'
import {
  endArgument,
  MILLISECONDS,
  MILLISECONDS_AT,
  SECONDS,
  SECONDS_AT,
  type TimeUnit,
} from '../keys/ends.ts'
import { CommandError, defaultEnd, resultOrError, SYNTAX_ERROR, type StepLimits } from '../step.ts'
import { isComparisonOption, type Comparison } from './conditions.ts'

/** NX, XX. */
export type Presence = 'absent' | 'present'

export interface SetOptions {
  /** NX and XX; or IFEQ, IFNE, IFDEQ, IFDNE. */
  readonly condition: Presence | Comparison | null
  /** GET. */
  readonly answersOld: boolean
  /** KEEPTTL. */
  readonly keepsEnd: boolean
  /** 0 = none. With KEEPTTL, that of a key that did not exist. */
  readonly endMs: number
}

const UNITS: ReadonlyMap<string, TimeUnit> = new Map([
  ['EX', SECONDS],
  ['PX', MILLISECONDS],
  ['EXAT', SECONDS_AT],
  ['PXAT', MILLISECONDS_AT],
])

/** @throws CommandError */
export function setOptions(args: readonly Buffer[], nowMs: number, limits: StepLimits): SetOptions {
  let condition: SetOptions['condition'] = null
  let answersOld = false
  const life = new LifeOption('KEEPTTL')
  for (let at = 3; at < args.length; at++) {
    const option = word(args[at]!)
    if (option === 'NX' && (condition === null || condition === 'absent')) condition = 'absent'
    else if (option === 'XX' && (condition === null || condition === 'present')) condition = 'present'
    else if (option === 'GET') answersOld = true
    else if (isComparisonOption(option)) condition = comparisonAfter(condition, option, args[++at])
    else at += life.take(option, args[at + 1])
  }
  return { condition, answersOld, ...life.endOf('set', nowMs, limits) }
}

/** The same option may be repeated; the last one counts. */
function comparisonAfter(
  before: SetOptions['condition'],
  option: Comparison['option'],
  operand: Buffer | undefined,
): Comparison {
  const isOther = before !== null && (typeof before === 'string' || before.option !== option)
  if (isOther || operand === undefined) throw new CommandError(SYNTAX_ERROR)
  return { option, operand }
}

export interface MsetexOptions extends Pick<SetOptions, 'keepsEnd' | 'endMs'> {
  readonly condition: Presence | null
}

/** Of MSETEX; they may be repeated, but nobody needs to repeat them more often. */
const MAX_MSETEX_OPTIONS = 64

/**
 * @param from where the options begin
 * @throws CommandError
 */
export function msetexOptions(
  args: readonly Buffer[],
  from: number,
  nowMs: number,
  limits: StepLimits,
): MsetexOptions {
  if (args.length - from > MAX_MSETEX_OPTIONS) throw new CommandError(SYNTAX_ERROR)
  let condition: Presence | null = null
  const life = new LifeOption('KEEPTTL')
  for (let at = from; at < args.length; at++) {
    const option = word(args[at]!)
    if (option === 'NX' && condition !== 'present') condition = 'absent'
    else if (option === 'XX' && condition !== 'absent') condition = 'present'
    else at += life.take(option, args[at + 1])
  }
  return { condition, ...life.endOf('msetex', nowMs, limits) }
}

/**
 * The expiry time that GETEX sets (0 = none, from PERSIST), 'same' if it only reads, or the error in the time, which is
 * returned only if the key exists.
 *
 * @throws CommandError for bad syntax
 */
export function getexOptions(args: readonly Buffer[], nowMs: number): number | 'same' | CommandError {
  const life = new LifeOption('PERSIST')
  for (let at = 2; at < args.length; at++) at += life.take(word(args[at]!), args[at + 1])
  const { end, withoutTime: persists } = life
  if (end === null) return persists ? 0 : 'same'
  return resultOrError(() => endArgument(end.argument, end.unit, nowMs, 'getex'))
}

/** EX, PX, EXAT, PXAT, and the option that excludes them. The same option may be repeated; the last one counts. */
class LifeOption {
  end: { unit: TimeUnit; argument: Buffer } | null = null
  withoutTime = false
  readonly #withoutTime: 'KEEPTTL' | 'PERSIST'

  constructor(withoutTime: 'KEEPTTL' | 'PERSIST') {
    this.#withoutTime = withoutTime
  }

  /** @returns the number of the option's own arguments */
  take(option: string, argument: Buffer | undefined): number {
    if (option === this.#withoutTime && this.end === null) {
      this.withoutTime = true
      return 0
    }
    const unit = UNITS.get(option)
    const other = this.withoutTime || (this.end !== null && this.end.unit !== unit)
    if (unit === undefined || argument === undefined || other) throw new CommandError(SYNTAX_ERROR)
    this.end = { unit, argument }
    return 1
  }

  /** What the options of a command say that stores a value. */
  endOf(command: string, nowMs: number, limits: StepLimits): Pick<SetOptions, 'keepsEnd' | 'endMs'> {
    const { end, withoutTime: keepsEnd } = this
    const endMs =
      end === null ? defaultEnd(limits, nowMs) : endArgument(end.argument, end.unit, nowMs, command)
    return { keepsEnd, endMs }
  }
}
