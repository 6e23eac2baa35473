/**
 * The choice of HRANDFIELD, SRANDMEMBER, ZRANDMEMBER and SPOP: so many entries at random.
 *
 * The step draws one number when it is made, and every attempt chooses from that: so a step is pure, and an attempt that
 * finds another collection chooses from what it finds.
 */
import { chanceFrom } from '../../core/chance.ts'
import type { Sliced } from '../../core/work.ts'
import { integerArgument, word } from '../arguments.ts'
import { CommandError, LOWEST_INTEGER, SYNTAX_ERROR, type StepLimits } from '../step.ts'
import type { Collection } from './entries.ts'

/** Choices that may repeat an entry; the reply is held in memory. */
const MAX_CHOICES = 8192
/** Choosing, too, takes its time. */
export const CHOICE_BYTES_A_UNIT = 64
/** Places that are chosen between two yields. */
const PLACES_A_PIECE = 256
const UNITS_A_PIECE = 16
/** A map of so many takes as much as an array of this many times as many. */
const MAP_SHARE = 16
const INT64_MAX = 2n ** 63n - 1n

export interface Picks {
  /** No count was given: the reply is one entry, or null. */
  readonly isSingle: boolean
  /** WITHVALUES, WITHSCORES. */
  readonly withValues: boolean
  /** Indexes of the chosen entries. */
  places(collection: Collection): number[]
}

/**
 * A count of entries, or, if negative, of choices, which may repeat an entry.
 *
 * @param option which may follow the count; null = none
 * @throws CommandError
 */
export function picksOf(args: readonly Buffer[], limits: StepLimits, option: string | null): Picks {
  if (args.length === 2) return { isSingle: true, withValues: false, places: chooser(1, limits) }
  if (option === null && args.length > 3) throw new CommandError(SYNTAX_ERROR)
  const count = integerArgument(args[2]!)
  if (count < -INT64_MAX) throw new CommandError(LOWEST_INTEGER)
  if (args.length > 4 || (args.length === 4 && word(args[3]!) !== option)) {
    throw new CommandError(SYNTAX_ERROR)
  }
  const withValues = args.length === 4
  // Redis doubles it then.
  const most = INT64_MAX / 2n
  if (withValues && (count < -most || count > most)) throw new CommandError('ERR value is out of range')
  if (count < -MAX_CHOICES) throw new CommandError(`ERR At most ${MAX_CHOICES} can be chosen at once.`)
  return { isSingle: false, withValues, places: chooser(Number(count), limits) }
}

/** @param count negative = an entry may be chosen repeatedly */
export function chooser(count: number, { random }: StepLimits): (collection: Collection) => number[] {
  const seed = Math.floor(random() * 2 ** 32)
  return (collection) => {
    const { length } = collection
    if (length === 0) return []
    const next = generator(seed)
    if (count < 0) return Array.from({ length: -count }, () => next(length))
    if (count >= length) return Array.from({ length }, (_, i) => i)
    return collection.computed(count, () => distinctPlaces(count, length, next))
  }
}

/** The beginning of a shuffle; if few are chosen, with a map in place of the array of all places. */
function* distinctPlaces(count: number, length: number, next: (below: number) => number): Sliced<number[]> {
  if (count > length / MAP_SHARE) return yield* shuffled(count, length, next)
  const moved = new Map<number, number>()
  const chosen: number[] = []
  for (let i = 0; i < count; i++) {
    const at = i + next(length - i)
    const place = moved.get(at) ?? at
    moved.set(at, moved.get(i) ?? i)
    if (chosen.push(place) % PLACES_A_PIECE === 0) yield UNITS_A_PIECE
  }
  return chosen
}

/** The same places. */
function* shuffled(count: number, length: number, next: (below: number) => number): Sliced<number[]> {
  const places = new Uint32Array(length)
  for (let i = 0; i < length; i++) places[i] = i
  for (let i = 0; i < count; i++) {
    const at = i + next(length - i)
    const chosen = places[at]!
    places[at] = places[i]!
    places[i] = chosen
    if (i % PLACES_A_PIECE === PLACES_A_PIECE - 1) yield UNITS_A_PIECE
  }
  return Array.from(places.subarray(0, count))
}

/** Whole numbers below a limit, the same for the same seed. */
function generator(seed: number): (below: number) => number {
  const next = chanceFrom(seed)
  return (below) => Math.floor(next() * below)
}
