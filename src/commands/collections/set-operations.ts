/** SINTER, SUNION, SDIFF and what stores their results: over several sets, in slices. */
import type { Sliced } from '../../core/work.ts'
import { integerArgument, word } from '../arguments.ts'
import { RespSet, type Reply } from '../reply.ts'
import {
  changeSlowly,
  CommandError,
  defaultEnd,
  distinct,
  lookSlowly,
  SYNTAX_ERROR,
  type Held,
  type Step,
  type StepMaker,
  type Stepped,
} from '../step.ts'
import { FreshEntries, plainEntry, type Entries } from './entries.ts'
import { COLLECTION_BYTES_A_UNIT, entriesOrRefusal, SET, storedResult } from './steps.ts'

type Operation = 'intersection' | 'union' | 'difference'

/** To decode them. */
const MEMBERS_A_UNIT = 64
export const MEMBERS_A_PIECE = 256
export const UNITS_A_PIECE = 32

export const sinter = reading('intersection')
export const sunion = reading('union')
export const sdiff = reading('difference')
export const sinterstore = storing('intersection')
export const sunionstore = storing('union')
export const sdiffstore = storing('difference')

function reading(operation: Operation): StepMaker {
  return (args, _nowMs, _limits, mentions = distinct(args.slice(1))): Step => {
    const { keys, places } = mentions
    return lookSlowly(keys, costOf, function* (held): Sliced<Reply> {
      const result = yield* resultOf(operation, held, places, Infinity)
      return Array.isArray(result) ? new RespSet(result) : result.reply
    })
  }
}

function storing(operation: Operation): StepMaker {
  return (args, nowMs, limits, mentions = distinct(args.slice(1))): Step => {
    const { keys, places } = mentions
    const newEndMs = defaultEnd(limits, nowMs)
    const step = changeSlowly(keys, costOf, function* (held): Sliced<Stepped> {
      const result = yield* resultOf(operation, held, places.slice(1), Infinity)
      if (!Array.isArray(result)) return result
      const entries = new FreshEntries()
      for (const [i, member] of result.entries()) {
        entries.add(plainEntry(member))
        if (i % MEMBERS_A_PIECE === 0) yield UNITS_A_PIECE
      }
      return storedResult(SET, entries, held, 0, newEndMs)
    })
    return { ...step, lookedUp: places.slice(1) }
  }
}

export const sintercard: StepMaker = (args, _nowMs, _limits, mentions): Step => {
  const { names, limit } = cardArguments(args)
  const { keys, places } = mentions ?? distinct(names)
  return lookSlowly(keys, costOf, function* (held): Sliced<Reply> {
    const result = yield* resultOf('intersection', held, places, limit)
    return Array.isArray(result) ? result.length : result.reply
  })
}

/** @throws CommandError */
function cardArguments(args: readonly Buffer[]): { names: Buffer[]; limit: number } {
  const names = countedKeys(args, 1)
  const rest = args.slice(2 + names.length)
  let limit = 0
  for (let i = 0; i < rest.length; i += 2) {
    const value = rest[i + 1]
    if (word(rest[i]!) !== 'LIMIT' || value === undefined) throw new CommandError(SYNTAX_ERROR)
    const given = integerArgument(value, "ERR LIMIT can't be negative")
    if (given < 0) throw new CommandError("ERR LIMIT can't be negative")
    limit = Number(given)
  }
  return { names, limit: limit === 0 ? Infinity : limit }
}

/** @param at index of the argument that says how many keys follow it @throws CommandError */
export function countedKeys(
  args: readonly Buffer[],
  at: number,
  tooMany = "ERR Number of keys can't be greater than number of args",
): Buffer[] {
  const count = integerArgument(args[at]!, 'ERR numkeys should be greater than 0')
  if (count < 1) throw new CommandError('ERR numkeys should be greater than 0')
  if (count > args.length - at - 1) {
    throw new CommandError(tooMany)
  }
  return args.slice(at + 1, at + 1 + Number(count))
}

/** In work units, what the values take to decode. */
export function costOf(held: readonly (Held | null)[]): number {
  return held.reduce((sum, one) => sum + (one?.value.length ?? 0), 0) / COLLECTION_BYTES_A_UNIT
}

/** The members of the result, at most so many of an intersection; or why there is none. */
function* resultOf(
  operation: Operation,
  held: readonly (Held | null)[],
  places: readonly number[],
  limit: number,
): Sliced<Buffer[] | Stepped> {
  const [firstPlace, ...otherPlaces] = places
  const sets: Entries[] = []
  // One that is named twice counts once.
  for (const place of [firstPlace!, ...new Set(otherPlaces)]) {
    const set = entriesOrRefusal(held[place]!, SET)
    if ('reply' in set) return set
    sets.push(set)
    yield set.length / MEMBERS_A_UNIT
  }
  const [first, ...others] = sets
  if (operation === 'union') return yield* unionOf(first!, others)
  const names: Set<string>[] = []
  for (const other of others) names.push(yield* namesOf(other))
  const isWanted =
    operation === 'intersection'
      ? (name: string) => names.every((set) => set.has(name))
      : (name: string) => !names.some((set) => set.has(name))
  const result: Buffer[] = []
  for (let i = 0; i < first!.length && result.length < limit; i++) {
    const member = first!.key(i)
    if (isWanted(member.toString('latin1'))) result.push(member)
    if (i % MEMBERS_A_PIECE === 0) yield UNITS_A_PIECE * (1 + names.length / 4)
  }
  return result
}

function* unionOf(first: Entries, others: readonly Entries[]): Sliced<Buffer[]> {
  const members = new Map<string, Buffer>()
  for (const set of [first, ...others]) {
    for (let i = 0; i < set.length; i++) {
      const member = set.key(i)
      const name = member.toString('latin1')
      if (!members.has(name)) members.set(name, member)
      if (i % MEMBERS_A_PIECE === 0) yield UNITS_A_PIECE
    }
  }
  return [...members.values()]
}

function* namesOf(set: Entries): Sliced<Set<string>> {
  const names = new Set<string>()
  for (let i = 0; i < set.length; i++) {
    names.add(set.key(i).toString('latin1'))
    if (i % MEMBERS_A_PIECE === 0) yield UNITS_A_PIECE
  }
  return names
}
