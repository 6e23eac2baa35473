/**
 * ZINTER, ZUNION, ZDIFF and what stores their results: over several sorted sets, or sets, whose members have the score 1.
 * In slices.
 *
 * Scores are added up in Redis's order, from the smallest set to the largest: a sum of doubles depends on it.
 */
import type { Sliced } from '../../core/work.ts'
import { KIND_SET } from '../../core/codec.ts'
import { integerArgument, word } from '../arguments.ts'
import { parseDouble } from '../doubles.ts'
import { Double, RespPairs, type Reply } from '../reply.ts'
import {
  changeSlowly,
  CommandError,
  defaultEnd,
  distinct,
  lookSlowly,
  refused,
  resultOrError,
  SYNTAX_ERROR,
  type Held,
  type StepMaker,
  type Stepped,
} from '../step.ts'
import { FreshEntries, scoredEntry, type Entries, type NewEntries } from './entries.ts'
import { mergeSort } from './merge-sort.ts'
import { costOf, MEMBERS_A_PIECE, UNITS_A_PIECE } from './set-operations.ts'
import { compareScored, type Scored } from './sorted-sets.ts'
import { entriesOrRefusal, SET, SORTED_SET, storedResult } from './steps.ts'

type Operation = 'intersection' | 'union' | 'difference'
type Combine = (one: number, other: number) => number

/** To decode them. */
const MEMBERS_A_UNIT = 64

const COMBINE: Readonly<Record<string, Combine>> = {
  // Of the infinities the sum is no number.
  SUM: (one, other) => (Number.isNaN(one + other) ? 0 : one + other),
  MIN: (one, other) => (other < one ? other : one),
  MAX: (one, other) => (other > one ? other : one),
}

export const zinter = reading('zinter', 'intersection')
export const zunion = reading('zunion', 'union')
export const zdiff = reading('zdiff', 'difference')
export const zinterstore = storing('zinterstore', 'intersection')
export const zunionstore = storing('zunionstore', 'union')
export const zdiffstore = storing('zdiffstore', 'difference')

function reading(command: string, operation: Operation): StepMaker {
  return (args, _nowMs, _limits, mentions) => {
    const { names, rest } = sourcesOf(args, 1, command)
    const { keys, places } = mentions ?? distinct(names)
    const options = optionsOf(rest, names.length, operation === 'difference' ? [SCORES] : [...SCORED, SCORES])
    return lookSlowly(keys, costOfAll(places), function* (held): Sliced<Reply> {
      const result = yield* resultOf(operation, held, places, options)
      if (!Array.isArray(result)) return result.reply
      const { withScores } = options as Options
      return withScores
        ? new RespPairs(result.map(({ score, member }): [Buffer, Double] => [member, new Double(score)]))
        : result.map(({ member }) => member)
    })
  }
}

function storing(command: string, operation: Operation): StepMaker {
  return (args, nowMs, limits, mentions) => {
    const { names, rest } = sourcesOf(args, 2, command)
    const { keys, places } = mentions ?? distinct([args[1]!, ...names])
    const options = optionsOf(rest, names.length, operation === 'difference' ? [] : SCORED)
    const newEndMs = defaultEnd(limits, nowMs)
    const step = changeSlowly(keys, costOfAll(places), function* (held): Sliced<Stepped> {
      const result = yield* resultOf(operation, held, places.slice(1), options)
      if (!Array.isArray(result)) return result
      return storedResult(SORTED_SET, yield* entriesOf(result), held, 0, newEndMs)
    })
    return { ...step, lookedUp: places.slice(1) }
  }
}

function* entriesOf(members: readonly Scored[]): Sliced<NewEntries> {
  const entries = new FreshEntries()
  for (const [i, { score, member }] of members.entries()) {
    entries.add(scoredEntry(score, member))
    if (i % MEMBERS_A_PIECE === 0) yield UNITS_A_PIECE
  }
  return entries
}

export const zintercard: StepMaker = (args, _nowMs, _limits, mentions) => {
  const { names, rest } = sourcesOf(args, 1, 'zintercard')
  const { keys, places } = mentions ?? distinct(names)
  const options = optionsOf(rest, names.length, ['LIMIT'])
  return lookSlowly(keys, costOfAll(places), function* (held): Sliced<Reply> {
    const result = yield* resultOf('intersection', held, places, options)
    return Array.isArray(result) ? result.length : result.reply
  })
}

// ---- arguments

const SCORED: readonly OptionName[] = ['WEIGHTS', 'AGGREGATE']
const SCORES = 'WITHSCORES'
type OptionName = 'WEIGHTS' | 'AGGREGATE' | 'WITHSCORES' | 'LIMIT'

interface Options {
  /** Of each source. */
  readonly weights: readonly number[]
  readonly combine: Combine
  readonly withScores: boolean
  /** Most members of an intersection. */
  readonly limit: number
}

/** @param at index of the argument that says how many keys follow it @throws CommandError */
function sourcesOf(
  args: readonly Buffer[],
  at: number,
  command: string,
): { names: Buffer[]; rest: Buffer[] } {
  const count = integerArgument(args[at]!)
  if (count < 1) throw new CommandError(`ERR at least 1 input key is needed for '${command}' command`)
  if (count > args.length - at - 1) throw new CommandError(SYNTAX_ERROR)
  const end = at + 1 + Number(count)
  return { names: args.slice(at + 1, end), rest: args.slice(end) }
}

/** The options; or what is wrong with them: Redis looks at the types of the keys before. */
function optionsOf(...asked: Parameters<typeof parsedOptions>): Options | CommandError {
  return resultOrError(() => parsedOptions(...asked))
}

function parsedOptions(rest: readonly Buffer[], sources: number, allowed: readonly OptionName[]): Options {
  let weights = new Array<number>(sources).fill(1)
  let combine = COMBINE.SUM!
  let withScores = false
  let limit = 0
  let at = 0
  while (at < rest.length) {
    const option = word(rest[at++]!) as OptionName
    const left = rest.length - at
    if (!allowed.includes(option)) throw new CommandError(SYNTAX_ERROR)
    if (option === 'WITHSCORES') withScores = true
    else if (option === 'WEIGHTS' && left >= sources) {
      weights = rest.slice(at, at + sources).map(weightArgument)
      at += sources
    } else if (option === 'AGGREGATE' && left >= 1) {
      const named = word(rest[at++]!)
      if (!Object.hasOwn(COMBINE, named)) throw new CommandError(SYNTAX_ERROR)
      combine = COMBINE[named]!
    } else if (option === 'LIMIT' && left >= 1) {
      const given = integerArgument(rest[at++]!, "ERR LIMIT can't be negative")
      if (given < 0) throw new CommandError("ERR LIMIT can't be negative")
      limit = Number(given)
    } else throw new CommandError(SYNTAX_ERROR)
  }
  return { weights, combine, withScores, limit: limit === 0 ? Infinity : limit }
}

function weightArgument(argument: Buffer): number {
  const weight = parseDouble(argument)
  if (weight === null) throw new CommandError('ERR weight value is not a float')
  return weight
}

// ---- results

/** Of all sources together; one that is named repeatedly counts each time, as it is gone through each time. */
const MAX_MEMBERS = 2_000_000

/** The same, in work units. */
function costOfAll(places: readonly number[]): (held: readonly (Held | null)[]) => number {
  return (held) => costOf(places.map((place) => held[place]!))
}

interface Source {
  readonly entries: Entries
  readonly weight: number
  readonly score: (i: number) => number
}

/** The members of the result, in order; or why there is none. */
function* resultOf(
  operation: Operation,
  held: readonly (Held | null)[],
  places: readonly number[],
  options: Options | CommandError,
): Sliced<Scored[] | Stepped> {
  const sources: Source[] = []
  const entriesAt = new Map<number, Entries>()
  let members = 0
  for (const [i, place] of places.entries()) {
    const one = held[place]!
    const isSet = one?.kind === KIND_SET
    const entries = entriesAt.get(place) ?? entriesOrRefusal(one, isSet ? SET : SORTED_SET)
    if ('reply' in entries) return entries
    if (!entriesAt.has(place)) yield entries.length / MEMBERS_A_UNIT
    entriesAt.set(place, entries)
    members += entries.length
    const weight = options instanceof CommandError ? 1 : options.weights[i]!
    sources.push({ entries, weight, score: isSet ? () => 1 : (at) => entries.score(at) })
  }
  if (options instanceof CommandError) return refused(options.message)
  if (members > MAX_MEMBERS) {
    return refused(`ERR The sets have ${members} members; at most ${MAX_MEMBERS} can be combined at once.`)
  }
  if (operation === 'difference') return yield* mergeSort(yield* differenceOf(sources), compareScored)
  sources.sort((a, b) => a.entries.length - b.entries.length)
  if (operation === 'union') return yield* mergeSort(yield* unionOf(sources, options.combine), compareScored)
  return yield* mergeSort(yield* intersectionOf(sources, options), compareScored)
}

/** 0 times infinity is no number. */
function weighted({ weight, score }: Source, i: number): number {
  const product = weight * score(i)
  return Number.isNaN(product) ? 0 : product
}

function* unionOf(sources: readonly Source[], combine: Combine): Sliced<Scored[]> {
  const members = new Map<string, Scored>()
  for (const source of sources) {
    const { entries } = source
    for (let i = 0; i < entries.length; i++) {
      const member = entries.key(i)
      const name = member.toString('latin1')
      const before = members.get(name)
      const score = weighted(source, i)
      members.set(name, { member, score: before ? combine(before.score, score) : score })
      if (i % MEMBERS_A_PIECE === 0) yield UNITS_A_PIECE
    }
  }
  return [...members.values()]
}

function* intersectionOf(
  [first, ...others]: readonly Source[],
  { combine, limit }: Options,
): Sliced<Scored[]> {
  const places = yield* placesOf(others)
  const result: Scored[] = []
  const { entries } = first!
  for (let i = 0; i < entries.length && result.length < limit; i++) {
    if (i % MEMBERS_A_PIECE === 0) yield UNITS_A_PIECE * (1 + others.length / 4)
    const member = entries.key(i)
    const name = member.toString('latin1')
    if (!places.every((place) => place.has(name))) continue
    let score = weighted(first!, i)
    for (const [j, other] of others.entries()) {
      score = combine(score, other.weight * other.score(places[j]!.get(name)!))
    }
    result.push({ score, member })
  }
  return result
}

function* differenceOf([first, ...others]: readonly Source[]): Sliced<Scored[]> {
  const places = yield* placesOf(others)
  const result: Scored[] = []
  const { entries, score } = first!
  for (let i = 0; i < entries.length; i++) {
    if (i % MEMBERS_A_PIECE === 0) yield UNITS_A_PIECE * (1 + others.length / 4)
    const member = entries.key(i)
    const name = member.toString('latin1')
    if (!places.some((place) => place.has(name))) result.push({ score: score(i), member })
  }
  return result
}

/** Of each source where its members are; of one that is named twice it is made once. */
function* placesOf(sources: readonly Source[]): Sliced<ReadonlyMap<string, number>[]> {
  const made = new Map<Entries, Map<string, number>>()
  for (const { entries } of sources) {
    if (made.has(entries)) continue
    const places = new Map<string, number>()
    for (let i = 0; i < entries.length; i++) {
      places.set(entries.key(i).toString('latin1'), i)
      if (i % MEMBERS_A_PIECE === 0) yield UNITS_A_PIECE
    }
    made.set(entries, places)
  }
  return sources.map(({ entries }) => made.get(entries)!)
}
