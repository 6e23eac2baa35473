/**
 * XREAD and XREADGROUP with BLOCK. What is tried again and again is the command itself, on all its keys: XREAD with the ids
 * that the streams had when it was first tried in place of `$`.
 *
 * All XREADs of a key are tried when something was added. Those of XREADGROUP that read for the same group take turns. What was
 * delivered to a client that has gone is pending, as in Redis.
 */
import { KIND_STREAM } from '../../core/codec.ts'
import { NULL_ARRAY } from '../reply.ts'
import { afterwards, distinct, type BlockingPlan, type PlanMaker, type Step } from '../step.ts'
import { withKnownIds, xread, xreadgroup } from './read.ts'
import { readArguments, type ReadArguments } from './read-arguments.ts'

function planFor(given: ReadArguments, line: string | null, stepAt: () => Step): BlockingPlan | null {
  if (given.blockMs === null) return null
  const { keys } = distinct(given.keys)
  return {
    ...{ keys, kind: KIND_STREAM, line, isWhole: true, timeoutMs: given.blockMs, nothing: NULL_ARRAY },
    stepAt,
    giveBack: () => null,
  }
}

export const planXread: PlanMaker = (args, nowMs) => {
  let known: readonly Buffer[] | null = null
  const stepAt = () => {
    if (known) return xread(known, nowMs)
    return afterwards(xread(args, nowMs), (stepped, held, now) => {
      if (stepped.reply === NULL_ARRAY) known = withKnownIds(args, held, now)
      return stepped
    })
  }
  return planFor(readArguments(args, false, nowMs), null, stepAt)
}

export const planXreadgroup: PlanMaker = (args, nowMs, limits) => {
  const given = readArguments(args, true, nowMs)
  let isFirst = true
  const stepAt = () =>
    afterwards(xreadgroup(args, nowMs, limits), (stepped) => {
      // That the consumer has asked is noted once.
      if (stepped.reply === NULL_ARRAY && !isFirst) return { reply: NULL_ARRAY }
      return stepped
    })
  const plan = planFor(given, `group ${given.group!.name.toString('latin1')}`, stepAt)
  return plan && { ...plan, missed: () => (isFirst = false) }
}
