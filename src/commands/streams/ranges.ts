/** XLEN, XRANGE and XREVRANGE. */
import { integerArgument, word } from '../arguments.ts'
import { lookAtCount } from '../collections/steps.ts'
import { NULL_ARRAY, type Reply } from '../reply.ts'
import { CommandError, SYNTAX_ERROR, type Step } from '../step.ts'
import { endArgument, nextId, startArgument, type StreamId } from './ids.ts'
import { entriesReply } from './replies.ts'
import { lookAtStream, STREAM } from './steps.ts'
import type { Stream } from './stream.ts'

export function xlen(args: readonly Buffer[]): Step {
  return lookAtCount(args[1]!, STREAM, (count) => count)
}

export function xrange(args: readonly Buffer[]): Step {
  return rangeStep(args, startArgument(args[2]!), () => endArgument(args[3]!), 1)
}

export function xrevrange(args: readonly Buffer[]): Step {
  return rangeStep(args, startArgument(args[3]!), () => endArgument(args[2]!), -1)
}

function rangeStep(args: readonly Buffer[], start: StreamId, endOf: () => StreamId, step: 1 | -1): Step {
  const end = endOf()
  const count = countOption(args)
  return lookAtStream(args[1]!, (stream) => {
    if (!stream) return []
    return count === 0 ? NULL_ARRAY : rangeReply(stream, start, end, count, step)
  })
}

/** Null = not given; the last one counts. @throws CommandError */
function countOption(args: readonly Buffer[]): number | null {
  let count: number | null = null
  for (let at = 4; at < args.length; at += 2) {
    if (word(args[at]!) !== 'COUNT' || at + 1 >= args.length) throw new CommandError(SYNTAX_ERROR)
    count = Math.max(Number(integerArgument(args[at + 1]!)), 0)
  }
  return count
}

/** @param count null = all */
export function rangeReply(
  stream: Stream,
  start: StreamId,
  end: StreamId,
  count: number | null,
  step: 1 | -1 = 1,
): Reply {
  const behind = nextId(end)
  const [from, to = stream.length] = stream.firstsFrom(behind ? [start, behind] : [start])
  const length = Math.min(to - from!, count ?? Infinity)
  if (length <= 0) return []
  return entriesReply(
    step === 1 ? stream.entries(from!, from! + length) : stream.entries(to - length, to),
    step,
  )
}
