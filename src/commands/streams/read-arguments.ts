/** The arguments of XREAD and XREADGROUP. */
import { cString, integerArgument, INT64_MAX, parseInteger, word } from '../arguments.ts'
import { CommandError, Refusal, SYNTAX_ERROR, type HalfBehind } from '../step.ts'
import { GREATEST_ID, idArgument, type StreamId } from './ids.ts'

/** Where the keys stand: XREAD [COUNT n] [BLOCK ms] STREAMS key … id …; XREADGROUP GROUP group consumer … */
export const XREAD_STREAMS: HalfBehind = streamsFrom(1)
export const XREADGROUP_STREAMS: HalfBehind = streamsFrom(4)

function streamsFrom(from: number): HalfBehind {
  const passes = new Map([
    ['BLOCK', 1],
    ['COUNT', 1],
    ['GROUP', 2],
  ])
  return { from, option: 'STREAMS', passes }
}

/** What is read of a key: what follows an id; only what comes later (`$`); what the group has not delivered yet (`>`). */
export type From = StreamId | 'later' | 'undelivered'

export interface ReadArguments {
  /** 0 = all. */
  readonly count: number
  /** How long it waits if there is nothing, 0 = without end; null = it does not. */
  readonly blockMs: number | null
  readonly keys: readonly Buffer[]
  /** Of each key; Redis looks at them after it has looked for the keys. */
  readonly from: readonly (From | Refusal)[]
  readonly group: { readonly name: Buffer; readonly consumer: Buffer; readonly noAck: boolean } | null
}

/** @param nowMs for the check that the time of BLOCK is not beyond all times @throws CommandError */
export function readArguments(args: readonly Buffer[], isGroup: boolean, nowMs: number): ReadArguments {
  let count = 0
  let blockMs: number | null = null
  let named: { name: Buffer; consumer: Buffer } | null = null
  let noAck = false
  let streamsAt = 0
  for (let at = 1; at < args.length && streamsAt === 0; at++) {
    const option = word(args[at]!)
    const left = args.length - at - 1
    if (option === 'BLOCK' && left > 0) blockMs = blockArgument(args[++at]!, nowMs)
    else if (option === 'COUNT' && left > 0) count = Math.max(Number(integerArgument(args[++at]!)), 0)
    else if (option === 'STREAMS' && left > 0) streamsAt = at + 1
    else if (option === 'GROUP' && left >= 2) {
      if (!isGroup) throw new CommandError(onlyForGroups('GROUP'))
      named = { name: args[at + 1]!, consumer: args[at + 2]! }
      at += 2
    } else if (option === 'NOACK') {
      if (!isGroup) throw new CommandError(onlyForGroups('NOACK'))
      noAck = true
    } else throw new CommandError(SYNTAX_ERROR)
  }
  if (streamsAt === 0) throw new CommandError(SYNTAX_ERROR)
  const behind = args.slice(streamsAt)
  if (behind.length % 2 !== 0) throw new CommandError(UNBALANCED)
  if (isGroup && !named) throw new CommandError('ERR Missing GROUP option for XREADGROUP')
  const keys = behind.slice(0, behind.length / 2)
  const from = behind.slice(keys.length).map((id) => fromOf(id, isGroup))
  return { count, blockMs, keys, from, group: named && { ...named, noAck } }
}

const UNBALANCED = "ERR Unbalanced XREAD list of streams: for each stream key an ID or '$' must be specified."
const MEANINGLESS =
  'ERR The $ ID is meaningless in the context of XREADGROUP: you want to read the history of this consumer by specifying ' +
  'a proper ID, or use the > ID to get new messages. The $ ID would just return an empty result set.'
const ONLY_IN_GROUPS =
  'ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer> option.'

function onlyForGroups(option: string): string {
  return `ERR The ${option} option is only supported by XREADGROUP. You called XREAD instead.`
}

function blockArgument(argument: Buffer, nowMs: number): number {
  const timeout = parseInteger(argument)
  if (timeout === null) throw new CommandError('ERR timeout is not an integer or out of range')
  if (timeout < 0) throw new CommandError('ERR timeout is negative')
  if (BigInt(timeout) > INT64_MAX - BigInt(nowMs)) throw new CommandError('ERR timeout is out of range')
  return Number(timeout)
}

function fromOf(text: Buffer, isGroup: boolean): From | Refusal {
  const given = cString(text).toString('latin1')
  if (given === '$') return isGroup ? new Refusal(MEANINGLESS) : 'later'
  if (given === '>') return isGroup ? 'undelivered' : new Refusal(ONLY_IN_GROUPS)
  try {
    const id = idArgument(text)
    // The greatest id is what Redis takes `>` for.
    return isGroup && id.equals(GREATEST_ID) ? 'undelivered' : id
  } catch (error) {
    if (error instanceof CommandError) return new Refusal(error.message)
    throw error
  }
}
