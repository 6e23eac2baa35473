/**
 * SORT and SORT_RO, over a list, a set or a sorted set, in slices.
 *
 *   step on the source ──▶ follow: which keys do the patterns name? ──▶ step on all of them ──▶ reply
 *
 * Patterns (BY weight_*, GET data_*->field) name keys that are known only when the elements are. So the step on the source
 * is followed by one on all keys, which begins again if the elements have changed. All must have the hash tag of the source,
 * before the `*`: others are refused with the words of a Redis Cluster, and so are all inside MULTI.
 */
import { KIND_LIST, KIND_SET, KIND_SORTED_SET } from '../../core/codec.ts'
import type { Sliced } from '../../core/work.ts'
import { cString, integerArgument, word, type Integer } from '../arguments.ts'
import { parseSortWeight } from '../doubles.ts'
import { storeOptionAt } from '../key-places.ts'
import { Lazy, Packed, type LazyItems, type Reply } from '../reply.ts'
import {
  changeSlowly,
  CommandError,
  defaultEnd,
  distinct,
  KEYS_CHANGED,
  lookSlowly,
  refused,
  SYNTAX_ERROR,
  WRONG_TYPE,
  type Held,
  type Step,
  type StepMaker,
  type Stepped,
  type StepOf,
  type StoreOption,
} from '../step.ts'
import { EntryTexts, FreshEntries, plainEntry, type Entries, type NewEntries } from './entries.ts'
import { mergeSort } from './merge-sort.ts'
import { MEMBERS_A_PIECE, UNITS_A_PIECE } from './set-operations.ts'
import { NamedValues, namedBy, Pattern } from './sort-patterns.ts'
import {
  COLLECTION_BYTES_A_UNIT,
  entriesOrRefusal,
  LIST,
  MAX_COLLECTION_BYTES,
  SET,
  SORTED_SET,
  storedResult,
  type CollectionType,
} from './steps.ts'

/** With several GETs each element stands in the reply several times. */
const MAX_TEXTS = 256 * 1024
/** Keys that patterns name. */
const MAX_NAMED_KEYS = 16_384
/** Sorting compares each element with many others. */
const SORT_BYTES_A_UNIT = COLLECTION_BYTES_A_UNIT / 4
const NOT_NUMBERS = "ERR One or more scores can't be converted into double"

const TYPES = new Map<number | undefined, CollectionType>([
  [KIND_LIST, LIST],
  [KIND_SET, SET],
  [KIND_SORTED_SET, SORTED_SET],
])

export const SORT_STORES: StoreOption = {
  from: 2,
  names: ['STORE'],
  passes: new Map([
    ['LIMIT', 2],
    ['BY', 1],
    ['GET', 1],
  ]),
}

interface Options {
  readonly descending: boolean
  readonly alphabetic: boolean
  /** Null = the elements themselves. */
  readonly by: Pattern | null
  /** BY with a constant: the order is that of the collection. */
  readonly unsorted: boolean
  readonly first: Integer
  readonly count: Integer
  /** What the reply has of each element; `nothing` is of a pattern that names no key. */
  readonly gets: readonly (Pattern | 'element' | 'nothing')[]
}

export const sortRo = sorting(false)
export const sort = sorting(true)

function sorting(mayStore: boolean): StepMaker {
  return (args, nowMs, limits): Step => {
    const options = optionsOf(args, mayStore)
    const storeAt = mayStore ? storeOptionAt(SORT_STORES, args) : null
    const source = args[1]!
    const { keys, places } = distinct(storeAt === null ? [source] : [source, args[storeAt]!])
    const targetPlace = places[1] ?? null
    const isFixed = targetPlace !== null || limits.inScript === true
    const form = { options, targetPlace, isFixed, newEndMs: defaultEnd(limits, nowMs) }
    const patterns = [options.by, ...options.gets].filter((one) => one instanceof Pattern)
    if (patterns.length === 0) return stepOn(keys, form, () => new NamedValues([], []))
    for (const pattern of patterns) if (!pattern.sharesTagWith(source)) throw pattern.denied()
    return {
      ...refusing(keys, patterns[0]!.denied().message),
      writes: targetPlace !== null,
      follow(held: readonly (Held | null)[]) {
        const elements = sourceIn(held[0]!)
        if ('reply' in elements) return elements
        const named = namedBy(patterns, elements, MAX_NAMED_KEYS)
        if (named.length > MAX_NAMED_KEYS) {
          return refused(`ERR The patterns name more than ${MAX_NAMED_KEYS} keys.`)
        }
        const all = distinct([...keys, ...named]).keys
        return stepOn(all, form, (values) => new NamedValues(all, values))
      },
    }
  }
}

interface Form {
  readonly options: Options
  /** Index of the key where the result is stored, which may be that of the collection, 0. Null = it is the reply. */
  readonly targetPlace: number | null
  /** Without an order the result is the same, however a set is stored: it is kept, or a script depends on it. */
  readonly isFixed: boolean
  readonly newEndMs: number
}

function stepOn(
  keys: readonly Buffer[],
  form: Form,
  namedIn: (held: readonly (Held | null)[]) => NamedValues,
): StepOf<'value', Held> {
  const { targetPlace, newEndMs } = form
  if (targetPlace === null) {
    const step = lookSlowly(keys, costOf, function* (held): Sliced<Reply> {
      const found = yield* sortedIn(held[0]!, form, namedIn(held))
      return 'reply' in found ? found.reply : replyOf(found)
    })
    // An element, or what is named for it, may stand in the reply again and again.
    return { ...step, answersValues: true }
  }
  const step = changeSlowly(keys, costOf, function* (held): Sliced<Stepped> {
    const found = yield* sortedIn(held[0]!, form, namedIn(held))
    if ('reply' in found) return found
    return storedResult(LIST, yield* entriesOf(found), held, targetPlace, newEndMs)
  })
  const others = keys.flatMap((_, i) => (i === targetPlace && i > 0 ? [] : [i]))
  return { ...step, lookedUp: others }
}

/** Inside MULTI, where nothing can follow. */
function refusing(keys: readonly Buffer[], text: string): StepOf<'value', Held> {
  return { needs: 'value', keys, reads: true, writes: true, apply: () => refused(text) }
}

function costOf(held: readonly (Held | null)[]): number {
  return held.reduce((sum, one) => sum + (one?.value.length ?? 0), 0) / SORT_BYTES_A_UNIT
}

// ---- options

/** @throws CommandError */
function optionsOf(args: readonly Buffer[], mayStore: boolean): Options {
  let [descending, alphabetic, unsorted] = [false, false, false]
  let by: Pattern | null = null
  let first: Integer = 0
  let count: Integer = -1
  const gets: (Pattern | 'element' | 'nothing')[] = []
  for (let at = 2; at < args.length; at++) {
    const option = word(args[at]!)
    const left = args.length - 1 - at
    if (option === 'ASC' || option === 'DESC') descending = option === 'DESC'
    else if (option === 'ALPHA') alphabetic = true
    else if (option === 'LIMIT' && left >= 2) {
      first = integerArgument(args[++at]!)
      count = integerArgument(args[++at]!)
    } else if (option === 'STORE' && mayStore && left >= 1) at++
    else if (option === 'BY' && left >= 1) {
      by = Pattern.of(args[++at]!, 'BY')
      unsorted ||= by === null
    } else if (option === 'GET' && left >= 1) {
      const text = args[++at]!
      gets.push(cString(text).equals(ELEMENT) ? 'element' : (Pattern.of(text, 'GET') ?? 'nothing'))
    } else throw new CommandError(SYNTAX_ERROR)
  }
  // As in Redis, a constant is not taken back by a pattern behind it.
  return { descending, alphabetic, by: unsorted ? null : by, unsorted, first, count, gets }
}

const ELEMENT = Buffer.from('#')

// ---- results

/** The collection to be sorted. */
function sourceIn(held: Held | null): Entries | Stepped {
  const type = held ? TYPES.get(held.kind) : LIST
  return type ? entriesOrRefusal(held, type) : WRONG_TYPE
}

/** Texts of the result: elements, what is named for them, and null. */
class SortedTexts implements LazyItems {
  readonly entries: Entries
  readonly places: readonly number[]
  readonly gets: Options['gets']
  private readonly named: NamedValues

  constructor(entries: Entries, places: readonly number[], gets: Options['gets'], named: NamedValues) {
    this.entries = entries
    this.places = places
    this.gets = gets
    this.named = named
  }

  get length(): number {
    return this.places.length * Math.max(this.gets.length, 1)
  }

  item(i: number): Buffer | null {
    const many = Math.max(this.gets.length, 1)
    const element = this.entries.key(this.places[Math.floor(i / many)]!)
    const get = this.gets[i % many] ?? 'element'
    if (get === 'element') return element
    return get === 'nothing' ? null : this.named.valueOf(get, element)
  }
}

function replyOf(found: SortedTexts): Reply {
  const { entries, places, gets } = found
  return gets.length === 0
    ? new Packed('array', new EntryTexts(entries, 'keys', places))
    : new Lazy('array', found)
}

function* entriesOf(found: SortedTexts): Sliced<NewEntries> {
  const next = new FreshEntries()
  // What is too much is not made first.
  for (let i = 0; i < found.length && next.bytes <= MAX_COLLECTION_BYTES; i++) {
    next.add(plainEntry(found.item(i) ?? NOTHING))
    if (i % MEMBERS_A_PIECE === 0) yield UNITS_A_PIECE
  }
  return next
}

const NOTHING = Buffer.alloc(0)

function* sortedIn(
  held: Held | null,
  { options, targetPlace, isFixed }: Form,
  named: NamedValues,
): Sliced<SortedTexts | Stepped> {
  const entries = sourceIn(held)
  if ('reply' in entries) return entries
  const { unsorted, descending, gets } = options
  const [from, to] = rangeOf(options, entries.length)
  const texts = (to - from) * gets.length
  if (texts > MAX_TEXTS) {
    return refused(`ERR The result would have ${texts} elements; at most ${MAX_TEXTS} are allowed.`)
  }
  if (!(yield* areNamed(entries, options, named))) return { reply: KEYS_CHANGED }
  const isForced = unsorted && isFixed && held?.kind === KIND_SET
  if (unsorted && !isForced) {
    const last = entries.length - 1
    const places = Array.from({ length: to - from }, (_, i) => (descending ? last - from - i : from + i))
    return new SortedTexts(entries, places, gets, named)
  }
  const order = yield* orderOf(
    entries,
    isForced ? { ...options, alphabetic: true } : options,
    targetPlace !== null,
    named,
  )
  return order
    ? new SortedTexts(entries, to - from < order.length ? order.slice(from, to) : order, gets, named)
    : refused(NOT_NUMBERS)
}

/** All keys that patterns name are among those that were read: the elements are those of then. */
function* areNamed(entries: Entries, { by, gets }: Options, named: NamedValues): Sliced<boolean> {
  const patterns = [by, ...gets].filter((one) => one instanceof Pattern)
  if (patterns.length === 0) return true
  for (let i = 0; i < entries.length; i++) {
    const element = entries.key(i)
    if (!patterns.every((pattern) => named.has(pattern, element))) return false
    if (i % MEMBERS_A_PIECE === 0) yield UNITS_A_PIECE * patterns.length
  }
  return true
}

/** Null if the elements, or what is named for them, are not numbers. */
function* orderOf(
  entries: Entries,
  { by, alphabetic, descending }: Options,
  isStored: boolean,
  named: NamedValues,
): Sliced<number[] | null> {
  const { length } = entries
  const places = new Array<number>(length)
  const weights = new Float64Array(alphabetic ? 0 : length)
  /** Where elements are not compared as they are: null comes first. */
  const texts: (Buffer | null)[] = []
  // The order of a locale ends at a NUL; that of what is stored does not.
  const isCut = alphabetic && !isStored && (yield* hasNul(entries))
  for (let place = 0; place < length; place++) {
    places[place] = place
    const shown = by ? named.valueOf(by, entries.key(place)) : entries.key(place)
    if (!alphabetic) {
      const weight = shown === null ? 0 : parseSortWeight(cString(shown))
      if (weight === null) return null
      weights[place] = weight
    } else if (by || isCut) texts.push(shown === null || isStored ? shown : cString(shown))
    if (place % MEMBERS_A_PIECE === 0) yield UNITS_A_PIECE
  }
  const sign = descending ? -1 : 1
  const compare =
    texts.length > 0
      ? (a: number, b: number) => sign * compareTexts(texts[a]!, texts[b]!)
      : alphabetic
        ? (a: number, b: number) => sign * entries.compareKeys(a, b)
        : (a: number, b: number) => sign * compareWeights(weights, entries, a, b)
  return yield* mergeSort(places, compare)
}

function* hasNul(entries: Entries): Sliced<boolean> {
  for (let place = 0; place < entries.length; place++) {
    if (entries.key(place).includes(0)) return true
    if (place % MEMBERS_A_PIECE === 0) yield UNITS_A_PIECE
  }
  return false
}

function compareTexts(one: Buffer | null, other: Buffer | null): number {
  if (one === null || other === null) return (one === null ? 0 : 1) - (other === null ? 0 : 1)
  return one.compare(other)
}

function compareWeights(weights: Float64Array, entries: Entries, a: number, b: number): number {
  const [one, other] = [weights[a]!, weights[b]!]
  if (one !== other) return one < other ? -1 : 1
  return entries.compareKeys(a, b)
}

/** From this one up to, without, that one. */
function rangeOf({ first, count }: Options, length: number): [number, number] {
  const from = Math.min(Math.max(Number(first), 0), length)
  const to = count < 0 ? length : Math.min(from + Number(count), length)
  return [from, Math.max(from, to)]
}
