/**
 * Commands that wait for an element of a list or a sorted set. Each is two things:
 *
 * - a step on all its keys, which takes from the first one that has something, and does not wait: inside MULTI;
 * - a plan (step.ts): what is tried at one key until it has something.
 *
 * Both are LMPOP, ZMPOP or LMOVE in other words. BLMOVE waits at its source. What was moved stays where it is when the client
 * is gone.
 */
import { KIND_LIST, KIND_SORTED_SET } from '../../core/codec.ts'
import { word } from '../arguments.ts'
import { secondsArgument } from '../blocking-timeout.ts'
import { itemsOf, NULL_ARRAY, type Double, type Reply } from '../reply.ts'
import {
  afterwards,
  distinct,
  type BlockingPlan,
  type PlanMaker,
  type Step,
  type StepLimits,
  type StepMaker,
} from '../step.ts'
import { lmove, lmpop, lpush, rpoplpush, rpush } from './lists.ts'
import { zadd, zmpop } from './sorted-sets.ts'

export interface Blocking {
  /** Without waiting. */
  readonly make: StepMaker
  readonly plan: PlanMaker
}

/** A key, and what was taken from it. */
type Taken = readonly [key: Buffer, elements: Reply]
type Scored = readonly [member: Buffer, score: Double]

function takenIn<One extends Reply>(elements: Reply): readonly One[] {
  return itemsOf(elements, 3) as readonly One[]
}

const bytes = (text: string) => Buffer.from(text)

// ---- lists

export const blpop = poppingOne('LEFT')
export const brpop = poppingOne('RIGHT')

function poppingOne(end: 'LEFT' | 'RIGHT'): Blocking {
  const words = (keys: readonly Buffer[]) => [
    ...[bytes('lmpop'), bytes(`${keys.length}`)],
    ...keys,
    bytes(end),
  ]
  const onlyOne = ([key, elements]: Taken): Reply => [key, takenIn<Buffer>(elements)[0]!]
  const step = (keys: readonly Buffer[]) => answering(lmpop(words(keys)), onlyOne)
  return {
    make: (args) => {
      secondsArgument(args.at(-1)!)
      return step(args.slice(1, -1))
    },
    plan: (args, nowMs, limits) => {
      const timeoutMs = secondsArgument(args.at(-1)!)
      return poppingPlan(args.slice(1, -1), timeoutMs, KIND_LIST, {
        step: (key) => step([key]),
        giveBack: ([key, element]: [Buffer, Buffer]) => pushedBack(key, [element], end, nowMs, limits),
      })
    },
  }
}

export const blmpop: Blocking = {
  make: (args) => {
    const step = lmpop(args.slice(1))
    secondsArgument(args[1]!)
    return step
  },
  plan: (args, nowMs, limits) => {
    const { keys, options } = countedParts(args, lmpop(args.slice(1)))
    const end = word(options[0]!) as 'LEFT' | 'RIGHT'
    return poppingPlan(keys, secondsArgument(args[1]!), KIND_LIST, {
      step: (key) => lmpop([bytes('lmpop'), bytes('1'), key, ...options]),
      giveBack: ([key, elements]: Taken) => pushedBack(key, takenIn(elements), end, nowMs, limits),
    })
  },
}

/** @param elements in the order in which they were taken */
function pushedBack(
  key: Buffer,
  elements: readonly Buffer[],
  end: 'LEFT' | 'RIGHT',
  nowMs: number,
  limits: StepLimits,
): Step {
  const push = end === 'LEFT' ? lpush : rpush
  return push([bytes('push'), key, ...[...elements].reverse()], nowMs, limits)
}

export const blmove = moving((args) => [bytes('lmove'), ...args.slice(1, 5)], lmove)
export const brpoplpush = moving((args) => [bytes('rpoplpush'), ...args.slice(1, 3)], rpoplpush)

function moving(words: (args: readonly Buffer[]) => Buffer[], make: StepMaker): Blocking {
  return {
    make: (args, nowMs, limits) => {
      const step = make(words(args), nowMs, limits)
      secondsArgument(args.at(-1)!)
      return step
    },
    plan: (args, nowMs, limits) => {
      const step = make(words(args), nowMs, limits)
      return {
        keys: [args[1]!],
        kind: KIND_LIST,
        line: 'list',
        timeoutMs: secondsArgument(args.at(-1)!),
        nothing: NULL_ARRAY,
        stepAt: () => step,
        giveBack: () => null,
      }
    },
  }
}

// ---- sorted sets

export const bzpopmin = poppingMember('MIN')
export const bzpopmax = poppingMember('MAX')

function poppingMember(end: 'MIN' | 'MAX'): Blocking {
  const words = (keys: readonly Buffer[]) => [
    ...[bytes('zmpop'), bytes(`${keys.length}`)],
    ...keys,
    bytes(end),
  ]
  const flat = ([key, pairs]: Taken): Reply => [key, ...takenIn<Scored>(pairs)[0]!]
  const step = (keys: readonly Buffer[], nowMs: number, limits: StepLimits) =>
    answering(zmpop(words(keys), nowMs, limits), flat)
  return {
    make: (args, nowMs, limits) => {
      secondsArgument(args.at(-1)!)
      return step(args.slice(1, -1), nowMs, limits)
    },
    plan: (args, nowMs, limits) => {
      const timeoutMs = secondsArgument(args.at(-1)!)
      return poppingPlan(args.slice(1, -1), timeoutMs, KIND_SORTED_SET, {
        step: (key) => step([key], nowMs, limits),
        giveBack: ([key, ...pair]: [Buffer, Buffer, Double]) => addedBack(key, [pair], nowMs, limits),
      })
    },
  }
}

export const bzmpop: Blocking = {
  make: (args, nowMs, limits) => {
    const step = zmpop(args.slice(1), nowMs, limits)
    secondsArgument(args[1]!)
    return step
  },
  plan: (args, nowMs, limits) => {
    const { keys, options } = countedParts(args, zmpop(args.slice(1), nowMs, limits))
    return poppingPlan(keys, secondsArgument(args[1]!), KIND_SORTED_SET, {
      step: (key) => zmpop([bytes('zmpop'), bytes('1'), key, ...options], nowMs, limits),
      giveBack: ([key, pairs]: Taken) => addedBack(key, takenIn(pairs), nowMs, limits),
    })
  },
}

/** A member that was added meanwhile has its new score. */
function addedBack(key: Buffer, pairs: readonly Scored[], nowMs: number, limits: StepLimits): Step {
  const words = pairs.flatMap(([member, score]) => [bytes(score.text), member])
  return zadd([bytes('zadd'), key, bytes('NX'), ...words], nowMs, limits)
}

// ---- both

interface Popping<Popped> {
  readonly step: (key: Buffer) => Step
  /** @param reply of the step */
  readonly giveBack: (reply: Popped) => Step
}

function poppingPlan<Popped>(
  names: readonly Buffer[],
  timeoutMs: number,
  kind: number,
  { step, giveBack }: Popping<Popped>,
): BlockingPlan {
  const { keys } = distinct(names)
  return {
    ...{ keys, kind, timeoutMs, line: kind === KIND_LIST ? 'list' : 'sorted set', nothing: NULL_ARRAY },
    stepAt: (place) => step(keys[place]!),
    giveBack: (_place, reply) => giveBack(reply as Popped),
  }
}

/** The keys of BLMPOP and BZMPOP, and what follows them. @param step of them, which has checked the arguments */
function countedParts(
  args: readonly Buffer[],
  { keys }: Step,
): { keys: readonly Buffer[]; options: Buffer[] } {
  return { keys, options: args.slice(3 + Number(args[2]!.toString())) }
}

/** The same step, with another reply when it has taken something. */
function answering<Popped>(step: Step, answer: (popped: Popped) => Reply): Step {
  return afterwards(step, (stepped) =>
    Array.isArray(stepped.reply) ? { ...stepped, reply: answer(stepped.reply as Popped) } : stepped,
  )
}
