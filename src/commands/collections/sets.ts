/** Commands on sets. Members are kept in the order in which they came, which nobody may rely on. */
import { integerArgument } from '../arguments.ts'
import { Packed, type Reply } from '../reply.ts'
import { CommandError, defaultEnd, type Step, type StepLimits, type StepMaker } from '../step.ts'
import { EntryTexts, NewEntries, plainEntry, type Collection } from './entries.ts'
import { without } from './hashes.ts'
import { chooser, picksOf } from './picks.ts'
import { scanStep } from './scan.ts'
import {
  changeEntries,
  changeKeys,
  collectionOrRefusal,
  isRefusal,
  look,
  lookAtCount,
  lookAtEntries,
  SET,
  storedAs,
  type Changed,
} from './steps.ts'

const NOT_POSITIVE = 'ERR value is out of range, must be positive'

// ---- reading

export function smembers(args: readonly Buffer[]): Step {
  return lookAtEntries(args[1]!, SET, (set) => new Packed('set', new EntryTexts(set, 'keys')))
}

export function sismember(args: readonly Buffer[]): Step {
  return look(args[1]!, SET, (set) => (set.indexOf(args[2]!) === -1 ? 0 : 1))
}

export function smismember(args: readonly Buffer[]): Step {
  const members = args.slice(2)
  return look(args[1]!, SET, (set) => set.indexesOf(members).map((at) => (at === -1 ? 0 : 1)))
}

export function scard(args: readonly Buffer[]): Step {
  return lookAtCount(args[1]!, SET, (count) => count)
}

export const srandmember: StepMaker = (args, _nowMs, limits): Step => {
  const picks = picksOf(args, limits, null)
  const answer = (set: Collection): Reply => {
    const chosen = picks.places(set)
    if (picks.isSingle) return chosen.length > 0 ? set.key(chosen[0]!) : null
    const { entries, places } = set.gather(chosen)
    return new Packed('array', new EntryTexts(entries, 'keys', places))
  }
  return look(args[1]!, SET, answer, { answersValues: true })
}

export function sscan(args: readonly Buffer[]): Step {
  return scanStep(args, SET, (set, chosen) => new Packed('array', new EntryTexts(set, 'keys', chosen)))
}

// ---- changing

export function sadd(args: readonly Buffer[], nowMs: number, limits: StepLimits): Step {
  const members = withoutRepeats(args.slice(2))
  return changeEntries(args[1]!, SET, nowMs, limits, (set) => added(set, members))
}

export function withoutRepeats(members: readonly Buffer[]): Buffer[] {
  if (members.length === 1) return [...members]
  return [...new Map(members.map((member) => [member.toString('latin1'), member])).values()]
}

function added(set: Collection, members: readonly Buffer[]): Changed {
  const places = set.indexesOf(members)
  const fresh = members.filter((_, i) => places[i] === -1)
  if (fresh.length === 0) return { reply: 0 }
  const entries = new NewEntries().keep(set, 0, set.length)
  for (const member of fresh) entries.add(plainEntry(member))
  return { reply: fresh.length, entries }
}

export function srem(args: readonly Buffer[], nowMs: number, limits: StepLimits): Step {
  const members = args.slice(2)
  return changeEntries(args[1]!, SET, nowMs, limits, (set) => without(set, set.indexesOf(members)))
}

export function spop(args: readonly Buffer[], nowMs: number, limits: StepLimits): Step {
  if (args.length > 3) throw new CommandError('ERR syntax error')
  const count = args[2] === undefined ? 1 : countArgument(args[2])
  const choose = chooser(count, limits)
  return changeEntries(args[1]!, SET, nowMs, limits, (set) => {
    const places = choose(set)
    const { entries: popped, places: at } = set.gather(places)
    const single = () => (at.length > 0 ? popped.key(at[0]!) : null)
    const reply = args[2] === undefined ? single() : new Packed('set', new EntryTexts(popped, 'keys', at))
    const { entries } = without(set, places)
    return entries ? { reply, entries } : { reply }
  })
}

/** @throws CommandError */
export function countArgument(argument: Buffer): number {
  const count = integerArgument(argument, NOT_POSITIVE)
  if (count < 0) throw new CommandError(NOT_POSITIVE)
  return Number(count)
}

export function smove(args: readonly Buffer[], nowMs: number, limits: StepLimits): Step {
  const [, from, to, member] = args as [Buffer, Buffer, Buffer, Buffer]
  if (from.equals(to)) {
    return { ...look(from, SET, (set) => (set.indexOf(member) === -1 ? 0 : 1)), lookedUp: [] }
  }
  const newEndMs = defaultEnd(limits, nowMs)
  return changeKeys([from, to], ([source = null, target = null]) => {
    if (!source) return { reply: 0 }
    const sourceSet = collectionOrRefusal(source, SET)
    const targetSet = collectionOrRefusal(target, SET)
    if ('reply' in sourceSet) return sourceSet
    if ('reply' in targetSet) return targetSet
    const { entries: rest } = without(sourceSet, [sourceSet.indexOf(member)])
    if (!rest) return { reply: 0 }
    const left = storedAs(SET, rest, source.expiresAtMs, source)
    const { entries: more } = added(targetSet, [member])
    const moved = more ? storedAs(SET, more, target?.expiresAtMs ?? newEndMs, target) : undefined
    if (isRefusal(left)) return left
    if (moved && isRefusal(moved)) return moved
    return { reply: 1, next: [left, moved] }
  })
}
