/**
 * Positions as sorted sets (geohash.ts). Of a search Redis looks at the type of the key first and at the options then, so
 * options are read where the value is known.
 */
import type { Sliced } from '../../core/work.ts'
import { integerArgument, word } from '../arguments.ts'
import { parseDouble } from '../doubles.ts'
import { storeOptionAt } from '../key-places.ts'
import { Double, Lazy, NULL_ARRAY, Packed, type LazyItems, type Reply } from '../reply.ts'
import {
  changeSlowly,
  CommandError,
  defaultEnd,
  distinct,
  refused,
  resultOrError,
  SYNTAX_ERROR,
  type Held,
  type Step,
  type StepMaker,
  type Stepped,
  type StoreOption,
} from '../step.ts'
import { Entries, EntryTexts, NewEntries, scoredEntry, type Collection, type Holds } from './entries.ts'
import {
  distanceBetween,
  distanceWithin,
  geohashOf,
  LATITUDES,
  LONGITUDES,
  positionOf,
  rangesAround,
  scoreOf,
  type Area,
  type Position,
} from './geohash.ts'
import { mergeSort } from './merge-sort.ts'
import { MEMBERS_A_PIECE, UNITS_A_PIECE } from './set-operations.ts'
import { compareScored, zadd, type Scored } from './sorted-sets.ts'
import { collectionOrRefusal, look, SORTED_SET, storedResult, undamaged } from './steps.ts'

/** A search computes the distance of each member that it finds. */
const SEARCH_BYTES_A_UNIT = 64
const DISTANCE_DECIMALS = 4
/** As C prints a long double. */
const COORDINATE_DECIMALS = 17

const UNITS: Readonly<Record<string, number>> = { M: 1, KM: 1000, FT: 0.3048, MI: 1609.34 }

// ---- members

export const geoadd: StepMaker = (args, nowMs, limits) => {
  let at = 2
  const options = new Set<string>()
  while (at < args.length && ['NX', 'XX', 'CH'].includes(word(args[at]!))) options.add(word(args[at++]!))
  if ((args.length - at) % 3 !== 0 || (options.has('NX') && options.has('XX'))) {
    throw new CommandError(SYNTAX_ERROR)
  }
  const added = args.slice(0, at)
  for (; at < args.length; at += 3) {
    added.push(Buffer.from(String(scoreOf(positionArgument(args, at)))), args[at + 2]!)
  }
  return zadd(added, nowMs, limits)
}

/** @throws CommandError */
function positionArgument(args: readonly Buffer[], at: number): Position {
  const [longitude, latitude] = [args[at]!, args[at + 1]!].map((argument) =>
    numberArgument(argument, 'ERR value is not a valid float'),
  ) as [number, number]
  const isWithin = (value: number, { min, max }: typeof LATITUDES) => value >= min && value <= max
  if (isWithin(longitude, LONGITUDES) && isWithin(latitude, LATITUDES)) return { longitude, latitude }
  throw new CommandError(`ERR invalid longitude,latitude pair ${printed(longitude)},${printed(latitude)}`)
}

function numberArgument(argument: Buffer, error: string): number {
  const value = parseDouble(argument)
  if (value === null) throw new CommandError(error)
  return value
}

/** C's %f. */
function printed(value: number): string {
  if (!Number.isFinite(value)) return value > 0 ? 'inf' : '-inf'
  if (Object.is(value, -0)) return '-0.000000'
  return Math.abs(value) < 1e21 ? value.toFixed(6) : `${BigInt(value)}.000000`
}

export function geopos(args: readonly Buffer[]): Step {
  return lookAtMembers(args, (position) => (position ? coordinatesOf(position) : NULL_ARRAY))
}

function coordinatesOf({ longitude, latitude }: Position): Reply {
  return [longitude, latitude].map((value) => {
    return new Double(value, value.toFixed(COORDINATE_DECIMALS).replace(/\.?0+$/, ''))
  })
}

export function geohash(args: readonly Buffer[]): Step {
  return lookAtMembers(args, (position) => position && geohashOf(position))
}

function lookAtMembers(args: readonly Buffer[], answer: (position: Position | null) => Reply): Step {
  const members = args.slice(2)
  return look(args[1]!, SORTED_SET, (zset) =>
    zset.scoresOf(members).map((score) => answer(score === null ? null : positionOf(score))),
  )
}

export function geodist(args: readonly Buffer[]): Step {
  if (args.length > 5) throw new CommandError(SYNTAX_ERROR)
  const unit = args[4] === undefined ? 1 : unitArgument(args[4])
  return look(args[1]!, SORTED_SET, (zset) => {
    const [one, other] = zset.scoresOf([args[2]!, args[3]!]) as [number | null, number | null]
    if (one === null || other === null) return null
    const metres = distanceBetween(positionOf(one), positionOf(other))
    return (metres / unit).toFixed(DISTANCE_DECIMALS)
  })
}

function unitArgument(argument: Buffer): number {
  const named = word(argument)
  if (!Object.hasOwn(UNITS, named)) {
    throw new CommandError('ERR unsupported unit provided. please use M, KM, FT, MI')
  }
  return UNITS[named]!
}

// ---- searches

/** What a command fixes. */
interface Form {
  readonly command: string
  readonly from: 'position' | 'member' | 'options'
  /** Index of the first option. */
  readonly optionsAt: number
  /** GEOSEARCHSTORE: its first argument is where the result is stored. */
  readonly stores?: boolean
  readonly storeOption?: StoreOption
}

interface Search {
  readonly area: Area
  readonly order: 'none' | 'ascending' | 'descending'
  /** 0 = all. */
  readonly count: number
  /** The first ones that are found are enough. */
  readonly any: boolean
  /** What the reply has of a member besides its name. */
  readonly shows: ReadonlySet<string>
  readonly storesDistance: boolean
}

/** Members in the order of the reply, and how far away each is, in metres. */
interface Found {
  readonly places: readonly number[]
  readonly metres: readonly number[]
}

const NOTHING: Found = { places: [], metres: [] }

const BY_POSITION = { from: 'position', optionsAt: 6 } as const
const BY_MEMBER = { from: 'member', optionsAt: 5 } as const
const STORE_NAMES = ['STORE', 'STOREDIST']
export const RADIUS_STORES: StoreOption = { from: 6, names: STORE_NAMES }
export const MEMBER_RADIUS_STORES: StoreOption = { from: 5, names: STORE_NAMES }

export const georadius = searching({ ...BY_POSITION, command: 'georadius', storeOption: RADIUS_STORES })
export const georadiusRo = searching({ ...BY_POSITION, command: 'georadius_ro' })
export const georadiusbymember = searching({
  ...BY_MEMBER,
  command: 'georadiusbymember',
  storeOption: MEMBER_RADIUS_STORES,
})
export const georadiusbymemberRo = searching({ ...BY_MEMBER, command: 'georadiusbymember_ro' })
export const geosearch = searching({ command: 'geosearch', from: 'options', optionsAt: 2 })
export const geosearchstore = searching({
  command: 'geosearchstore',
  from: 'options',
  optionsAt: 3,
  stores: true,
})

function searching(form: Form): StepMaker {
  return (args, nowMs, limits): Step => {
    const storeAt = form.storeOption ? storeOptionAt(form.storeOption, args) : form.stores ? 1 : null
    const source = args[form.stores ? 2 : 1]!
    // In the order in which they are named.
    const isTargetFirst = form.stores ?? false
    const target = storeAt === null ? [] : [args[storeAt]!]
    const { keys, places } = distinct(isTargetFirst ? [...target, source] : [source, ...target])
    const [sourcePlace, targetPlace] = isTargetFirst ? [places[1]!, places[0]] : [places[0]!, places[1]]
    const newEndMs = defaultEnd(limits, nowMs)
    function* slices(held: readonly (Held | null)[]): Sliced<Stepped> {
      const one = held[sourcePlace]!
      const opened = undamaged(() => {
        const zset = collectionOrRefusal(one, SORTED_SET)
        if ('reply' in zset) return zset
        const search = resultOrError(() => searchOf(args, form, one && zset, storeAt !== null))
        if (search instanceof CommandError) return refused(search.message)
        return { search, near: nearTo(zset, search) }
      })
      if ('reply' in opened) return opened
      const { search, near } = opened
      const found = one ? yield* foundIn(near, search) : NOTHING
      if (storeAt === null) return { reply: replyOf(near.entries, search, found) }
      const entries = yield* entriesOf(near.entries, search, found)
      return storedResult(SORTED_SET, entries, held, targetPlace!, newEndMs)
    }
    const cost = (held: readonly (Held | null)[]) =>
      (held[sourcePlace]?.value.length ?? 0) / SEARCH_BYTES_A_UNIT
    return { ...changeSlowly(keys, cost, slices), writes: storeAt !== null, lookedUp: [sourcePlace] }
  }
}

/** Members around an area, and where they are among these entries. */
interface Near {
  readonly entries: Entries
  readonly places: readonly number[]
}

function nearTo(zset: Collection, { area }: Search): Near {
  if (zset.length === 0) return { entries: Entries.NONE, places: [] }
  const bounds = rangesAround(area).flat()
  const found = zset.firstsWhere(
    bounds.map(
      (bound): Holds =>
        (entries, i) =>
          entries.score(i) >= bound,
    ),
  )
  const places: number[] = []
  for (let range = 0; range < found.length; range += 2) {
    for (let i = found[range]!; i < found[range + 1]!; i++) places.push(i)
  }
  return zset.gather(places)
}

function* foundIn({ entries, places: near }: Near, { area, order, count, any }: Search): Sliced<Found> {
  const places: number[] = []
  const metres: number[] = []
  const most = any ? count : Infinity
  for (let i = 0; i < near.length && places.length < most; i++) {
    if (i % MEMBERS_A_PIECE === 0) yield UNITS_A_PIECE
    const distance = distanceWithin(area, positionOf(entries.score(near[i]!)))
    if (distance === null) continue
    places.push(near[i]!)
    metres.push(distance)
  }
  if (order === 'none') return { places, metres }
  const sign = order === 'ascending' ? 1 : -1
  const sorted = yield* mergeSort(
    places.map((_, i) => i),
    (a, b) => sign * (metres[a]! - metres[b]!),
  )
  const chosen = count === 0 ? sorted : sorted.slice(0, count)
  return { places: chosen.map((i) => places[i]!), metres: chosen.map((i) => metres[i]!) }
}

function replyOf(zset: Entries, search: Search, found: Found): Reply {
  return search.shows.size === 0
    ? new Packed('array', new EntryTexts(zset, 'keys', found.places))
    : new Lazy('array', new FoundMembers(zset, search, found))
}

class FoundMembers implements LazyItems {
  readonly length: number
  private readonly zset: Entries
  private readonly search: Search
  private readonly found: Found

  constructor(zset: Entries, search: Search, found: Found) {
    this.zset = zset
    this.search = search
    this.found = found
    this.length = found.places.length
  }

  item(i: number): Reply {
    const { area, shows } = this.search
    const place = this.found.places[i]!
    const score = this.zset.score(place)
    const item: Reply[] = [this.zset.key(place)]
    if (shows.has('WITHDIST')) item.push((this.found.metres[i]! / area.unit).toFixed(DISTANCE_DECIMALS))
    if (shows.has('WITHHASH')) item.push(Math.floor(score))
    if (shows.has('WITHCOORD')) item.push(coordinatesOf(positionOf(score)))
    return item
  }
}

function* entriesOf(
  zset: Entries,
  { area, storesDistance }: Search,
  { places, metres }: Found,
): Sliced<NewEntries> {
  const scored = places.map((place, i): Scored => {
    return { score: storesDistance ? metres[i]! / area.unit : zset.score(place), member: zset.key(place) }
  })
  const entries = new NewEntries()
  const sorted = yield* mergeSort(scored, compareScored)
  for (const { score, member } of sorted) entries.add(scoredEntry(score, member))
  return entries
}

// ---- options of searches

/** Nowhere: of a key that does not exist. */
const NO_AREA: Area = { longitude: 0, latitude: 0, unit: 1, radius: 0, box: [0, 0] }
const SHOWN = ['WITHDIST', 'WITHHASH', 'WITHCOORD']

function searchOf(args: readonly Buffer[], form: Form, zset: Collection | null, isStored: boolean): Search {
  let area = NO_AREA
  if (form.from === 'position') area = { ...positionArgument(args, 2), ...radiusArguments(args, 4) }
  if (form.from === 'member' && zset) area = { ...positionIn(zset, args[2]!), ...radiusArguments(args, 3) }
  const given = new Set<string>()
  const shows = new Set<string>()
  let order: Search['order'] = 'none'
  let count = 0
  let storesDistance = false
  for (let at = form.optionsAt; at < args.length; at++) {
    const option = word(args[at]!)
    const left = args.length - 1 - at
    if (SHOWN.includes(option)) shows.add(option)
    else if (option === 'ANY') given.add(option)
    else if (option === 'ASC') order = 'ascending'
    else if (option === 'DESC') order = 'descending'
    else if (option === 'COUNT' && left >= 1) {
      count = Number(integerArgument(args[++at]!))
      if (count <= 0) throw new CommandError('ERR COUNT must be > 0')
    } else if (form.storeOption?.names.includes(option) && left >= 1) {
      storesDistance = option === 'STOREDIST'
      at++
    } else if (form.stores && option === 'STOREDIST') storesDistance = true
    else {
      const found = form.from === 'options' ? areaOption(args, at, given, zset) : null
      if (!found) throw new CommandError(SYNTAX_ERROR)
      area = { ...area, ...found.part }
      given.add(option)
      at += found.length
    }
  }
  checkOptions(form, given, isStored && shows.size > 0, count)
  if (count > 0 && order === 'none' && !given.has('ANY')) order = 'ascending'
  return { area, order, count, any: given.has('ANY'), shows, storesDistance }
}

/** @throws CommandError */
function checkOptions(form: Form, given: ReadonlySet<string>, storesMore: boolean, count: number): void {
  const { command, stores = false } = form
  if (storesMore) {
    const what = stores ? 'GEOSEARCHSTORE' : 'STORE option in GEORADIUS'
    throw new CommandError(`ERR ${what} is not compatible with WITHDIST, WITHHASH and WITHCOORD options`)
  }
  const needs = (one: string, other: string, text: string) => {
    if (form.from !== 'options' || given.has(one) || given.has(other)) return
    throw new CommandError(`ERR exactly one of ${text} can be specified for ${command}`)
  }
  needs('FROMMEMBER', 'FROMLONLAT', 'FROMMEMBER or FROMLONLAT')
  needs('BYRADIUS', 'BYBOX', 'BYRADIUS and BYBOX')
  if (given.has('ANY') && count === 0) {
    throw new CommandError('ERR the ANY argument requires COUNT argument')
  }
}

/** What an option of GEOSEARCH says of the area, and how many arguments follow it; null = it is none. */
function areaOption(
  args: readonly Buffer[],
  at: number,
  given: ReadonlySet<string>,
  zset: Collection | null,
): { readonly part: Partial<Area>; readonly length: number } | null {
  const option = word(args[at]!)
  const left = args.length - 1 - at
  if (option === 'FROMMEMBER' && left >= 1 && !given.has('FROMLONLAT')) {
    return { part: zset ? positionIn(zset, args[at + 1]!) : {}, length: 1 }
  }
  if (option === 'FROMLONLAT' && left >= 2 && !given.has('FROMMEMBER')) {
    return { part: positionArgument(args, at + 1), length: 2 }
  }
  if (option === 'BYRADIUS' && left >= 2 && !given.has('BYBOX')) {
    return { part: radiusArguments(args, at + 1), length: 2 }
  }
  if (option === 'BYBOX' && left >= 3 && !given.has('BYRADIUS')) {
    return { part: boxArguments(args, at + 1), length: 3 }
  }
  return null
}

function positionIn(zset: Collection, member: Buffer): Position {
  const [score] = zset.scoresOf([member]) as [number | null]
  if (score === null) throw new CommandError('ERR could not decode requested zset member')
  return positionOf(score)
}

function radiusArguments(args: readonly Buffer[], at: number): Omit<Area, keyof Position> {
  const radius = numberArgument(args[at]!, 'ERR need numeric radius')
  if (radius < 0) throw new CommandError('ERR radius cannot be negative')
  return { radius, box: [0, 0], unit: unitArgument(args[at + 1]!) }
}

function boxArguments(args: readonly Buffer[], at: number): Omit<Area, keyof Position> {
  const width = numberArgument(args[at]!, 'ERR need numeric width')
  const height = numberArgument(args[at + 1]!, 'ERR need numeric height')
  if (width < 0 || height < 0) throw new CommandError('ERR height or width cannot be negative')
  return { radius: null, box: [width, height], unit: unitArgument(args[at + 2]!) }
}
