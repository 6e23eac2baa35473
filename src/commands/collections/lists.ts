/** Commands on lists, without those that wait for an element. */
import { integerArgument, parseInteger, word } from '../arguments.ts'
import { NULL_ARRAY, OK, Packed, RespError, type Reply } from '../reply.ts'
import {
  CommandError,
  defaultEnd,
  distinct,
  LOWEST_INTEGER,
  NOT_INTEGER,
  refused,
  SYNTAX_ERROR,
  type Held,
  type Step,
  type StepLimits,
  type StepMaker,
  type Stepped,
} from '../step.ts'
import { EntryTexts, NewEntries, plainEntry, type Collection, type Entries } from './entries.ts'
import { without } from './hashes.ts'
import { countedKeys } from './set-operations.ts'
import { countArgument } from './sets.ts'
import {
  changeEntries,
  changeKeys,
  collectionOrRefusal,
  isRefusal,
  LIST,
  look,
  lookAtCount,
  lookAtEntries,
  rangeOf,
  storedAs,
  type CollectionType,
} from './steps.ts'

type End = 'LEFT' | 'RIGHT'

const INT64_MIN = -(2n ** 63n)

// ---- reading

export function llen(args: readonly Buffer[]): Step {
  return lookAtCount(args[1]!, LIST, (count) => count)
}

export function lrange(args: readonly Buffer[]): Step {
  const [first, last] = [integerArgument(args[2]!), integerArgument(args[3]!)]
  return look(args[1]!, LIST, (list) => {
    const range = rangeOf(first, last, list.length)
    return range ? new Packed('array', new EntryTexts(list.slice(range[0], range[1] + 1), 'keys')) : []
  })
}

export function lindex(args: readonly Buffer[]): Step {
  const index = parseInteger(args[2]!)
  return look(args[1]!, LIST, (list) => {
    // Redis looks for the key first.
    if (list.length === 0) return null
    if (index === null) return new RespError(NOT_INTEGER)
    const at = placeIn(list, Number(index))
    return at === null ? null : list.key(at)
  })
}

/** Null if there is no such element. @param index negative = counted from the right */
function placeIn(list: Collection, index: number): number | null {
  const at = index < 0 ? list.length + index : index
  return at >= 0 && at < list.length ? at : null
}

export function lpos(args: readonly Buffer[]): Step {
  const { rank, count, maxLength } = lposOptions(args)
  return lookAtEntries(args[1]!, LIST, (list) => {
    const found = placesOf(list, args[2]!, rank, count ?? 1, maxLength)
    return count === null ? (found[0] ?? null) : found
  })
}

/** @param rank the first one that counts, negative = from the right @param count 0 = all */
function placesOf(list: Entries, element: Buffer, rank: number, count: number, maxLength: number): number[] {
  const found: number[] = []
  const looked = maxLength === 0 ? list.length : Math.min(maxLength, list.length)
  let skips = Math.abs(rank) - 1
  for (let i = 0; i < looked && (count === 0 || found.length < count); i++) {
    const at = rank > 0 ? i : list.length - 1 - i
    if (!list.hasKey(at, element)) continue
    if (skips > 0) skips--
    else found.push(at)
  }
  return found
}

function lposOptions(args: readonly Buffer[]): { rank: number; count: number | null; maxLength: number } {
  let rank = 1
  let count: number | null = null
  let maxLength = 0
  for (let at = 3; at < args.length; at += 2) {
    const option = word(args[at]!)
    const value = args[at + 1]
    if (value === undefined || !['RANK', 'COUNT', 'MAXLEN'].includes(option)) {
      throw new CommandError(SYNTAX_ERROR)
    }
    const number = integerArgument(value, option === 'RANK' ? NOT_INTEGER : `ERR ${option} can't be negative`)
    if (option === 'RANK') {
      if (number === INT64_MIN) throw new CommandError(LOWEST_INTEGER)
      if (number === 0) throw new CommandError(RANK_IS_ZERO)
      rank = Number(number)
    } else if (number < 0) throw new CommandError(`ERR ${option} can't be negative`)
    else if (option === 'COUNT') count = Number(number)
    else maxLength = Number(number)
  }
  return { rank, count, maxLength }
}

const RANK_IS_ZERO =
  "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use negative to start from the end of the list"

// ---- pushing and popping

export const lpush = pushing('LEFT', false)
export const rpush = pushing('RIGHT', false)
export const lpushx = pushing('LEFT', true)
export const rpushx = pushing('RIGHT', true)

function pushing(end: End, onlyExisting: boolean): StepMaker {
  return (args, nowMs, limits) => {
    const elements = args.slice(2)
    return changeEntries(args[1]!, LIST, nowMs, limits, (list) => {
      if (onlyExisting && list.length === 0) return { reply: 0 }
      return { reply: list.length + elements.length, entries: pushed(list, elements, end) }
    })
  }
}

/** One after the other: to the left the last one comes first. */
function pushed(list: Collection, elements: readonly Buffer[], end: End): NewEntries {
  const next = new NewEntries()
  if (end === 'RIGHT') next.keep(list, 0, list.length)
  for (const element of end === 'LEFT' ? [...elements].reverse() : elements) next.add(plainEntry(element))
  return end === 'LEFT' ? next.keep(list, 0, list.length) : next
}

export const lpop = popping('LEFT')
export const rpop = popping('RIGHT')

function popping(end: End): StepMaker {
  return (args, nowMs, limits) => {
    if (args.length > 3) {
      const command = end === 'LEFT' ? 'lpop' : 'rpop'
      throw new CommandError(`ERR wrong number of arguments for '${command}' command`)
    }
    const count = args[2] === undefined ? null : countArgument(args[2])
    return changeEntries(args[1]!, LIST, nowMs, limits, (list) => {
      if (list.length === 0) return { reply: count === null ? null : NULL_ARRAY }
      if (count === 0) return { reply: [] }
      if (count === null) {
        const { elements, rest } = popped(list, 1, end)
        return { reply: elements[0]!, entries: rest }
      }
      const { elements, rest } = poppedUpTo(list, count, end)
      return { reply: elements, entries: rest }
    })
  }
}

function popped(list: Collection, count: number, end: End): { elements: Buffer[]; rest: NewEntries } {
  const { length } = list
  const most = Math.min(count, length)
  if (end === 'LEFT') return { elements: list.keys(0, most), rest: new NewEntries().keep(list, most, length) }
  const elements = list.keys(length - most, length).reverse()
  return { elements, rest: new NewEntries().keep(list, 0, length - most) }
}

const FEW_POPPED = 64

/** The same, of many without an object for each. */
function poppedUpTo(list: Collection, count: number, end: End): { elements: Reply; rest: NewEntries } {
  if (count <= FEW_POPPED) return popped(list, count, end)
  const { length } = list
  const most = Math.min(count, length)
  const [from, to] = end === 'LEFT' ? [0, most] : [length - most, length]
  const places = Array.from({ length: most }, (_, i) => (end === 'LEFT' ? i : most - 1 - i))
  const elements = new Packed('array', new EntryTexts(list.slice(from, to), 'keys', places))
  const rest = new NewEntries()
  return { elements, rest: end === 'LEFT' ? rest.keep(list, most, length) : rest.keep(list, 0, from) }
}

export function lmpop(args: readonly Buffer[]): Step {
  const names = countedKeys(args, 1, SYNTAX_ERROR)
  const [where, ...options] = args.slice(2 + names.length)
  if (where === undefined) throw new CommandError(SYNTAX_ERROR)
  const end = endArgument(where)
  const count = popCount(options)
  const { keys } = distinct(names)
  return changeKeys(keys, (held) => popFirst(keys, held, LIST, (list) => poppedUpTo(list, count, end)))
}

/** From the first of the keys that exists, as LMPOP and ZMPOP do. */
export function popFirst(
  keys: readonly Buffer[],
  held: readonly (Held | null)[],
  type: CollectionType,
  pop: (collection: Collection) => { elements: Reply; rest: NewEntries },
): Stepped {
  const place = held.findIndex((one) => one !== null)
  if (place === -1) return { reply: NULL_ARRAY }
  const collection = collectionOrRefusal(held[place]!, type)
  if ('reply' in collection) return collection
  const { elements, rest } = pop(collection)
  const stored = storedAs(type, rest, held[place]!.expiresAtMs, held[place])
  if (isRefusal(stored)) return stored
  return { reply: [keys[place]!, elements], next: keys.map((_, i) => (i === place ? stored : undefined)) }
}

/** COUNT of LMPOP and ZMPOP. @throws CommandError */
export function popCount(options: readonly Buffer[]): number {
  if (options.length === 0) return 1
  if (options.length !== 2 || word(options[0]!) !== 'COUNT') throw new CommandError(SYNTAX_ERROR)
  const count = integerArgument(options[1]!, 'ERR count should be greater than 0')
  if (count < 1) throw new CommandError('ERR count should be greater than 0')
  return Number(count)
}

function endArgument(argument: Buffer): End {
  const end = word(argument)
  if (end !== 'LEFT' && end !== 'RIGHT') throw new CommandError(SYNTAX_ERROR)
  return end
}

export function lmove(args: readonly Buffer[], nowMs: number, limits: StepLimits): Step {
  return moving(args, endArgument(args[3]!), endArgument(args[4]!), defaultEnd(limits, nowMs))
}

export function rpoplpush(args: readonly Buffer[], nowMs: number, limits: StepLimits): Step {
  return moving(args, 'RIGHT', 'LEFT', defaultEnd(limits, nowMs))
}

function moving(args: readonly Buffer[], from: End, to: End, newEndMs: number): Step {
  const { keys } = distinct([args[1]!, args[2]!])
  return changeKeys(keys, (held) => moved(held, from, to, newEndMs))
}

/** @param held of one key = it is both source and target */
function moved(held: readonly (Held | null)[], from: End, to: End, newEndMs: number): Stepped {
  const source = held[0]!
  if (!source) return { reply: null }
  const list = collectionOrRefusal(source, LIST)
  if ('reply' in list) return list
  const { elements, rest } = popped(list, 1, from)
  const reply = elements[0]!
  if (held.length === 1) {
    // A list of one element is not gone meanwhile: it keeps its expiry time.
    const stored = storedAs(LIST, rotated(list, reply, from, to), source.expiresAtMs, source)
    return isRefusal(stored) ? stored : { reply, next: [stored] }
  }
  const left = storedAs(LIST, rest, source.expiresAtMs, source)
  if (isRefusal(left)) return left
  const target = held[1]!
  const other = collectionOrRefusal(target, LIST)
  if ('reply' in other) return other
  const stored = storedAs(LIST, pushed(other, elements, to), target?.expiresAtMs ?? newEndMs, target)
  return isRefusal(stored) ? stored : { reply, next: [left, stored] }
}

function rotated(list: Collection, element: Buffer, from: End, to: End): NewEntries {
  const [first, end] = from === 'LEFT' ? [1, list.length] : [0, list.length - 1]
  const next = new NewEntries()
  if (to === 'LEFT') return next.add(plainEntry(element)).keep(list, first, end)
  return next.keep(list, first, end).add(plainEntry(element))
}

// ---- changing in the middle

export function lset(args: readonly Buffer[], nowMs: number, limits: StepLimits): Step {
  const index = parseInteger(args[2]!)
  return changeEntries(args[1]!, LIST, nowMs, limits, (list) => {
    // Redis looks for the key first.
    if (list.length === 0) return refused('ERR no such key', 'KEY_NOT_FOUND')
    if (index === null) return refused(NOT_INTEGER)
    const at = placeIn(list, Number(index))
    if (at === null) return refused('ERR index out of range')
    const entries = new NewEntries().keep(list, 0, at).add(plainEntry(args[3]!))
    return { reply: OK, entries: entries.keep(list, at + 1, list.length) }
  })
}

export function linsert(args: readonly Buffer[], nowMs: number, limits: StepLimits): Step {
  const [, key, where, pivot, element] = args as [Buffer, Buffer, Buffer, Buffer, Buffer]
  const side = word(where)
  if (side !== 'BEFORE' && side !== 'AFTER') throw new CommandError(SYNTAX_ERROR)
  return changeEntries(key, LIST, nowMs, limits, (list) => {
    if (list.length === 0) return { reply: 0 }
    const found = list.flat().indexOf(pivot)
    if (found === -1) return { reply: -1 }
    const at = side === 'BEFORE' ? found : found + 1
    const entries = new NewEntries().keep(list, 0, at).add(plainEntry(element)).keep(list, at, list.length)
    return { reply: list.length + 1, entries }
  })
}

export function lrem(args: readonly Buffer[], nowMs: number, limits: StepLimits): Step {
  const count = Number(integerArgument(args[2]!))
  return changeEntries(args[1]!, LIST, nowMs, limits, (list) =>
    without(list, placesOf(list.flat(), args[3]!, count < 0 ? -1 : 1, Math.abs(count), 0)),
  )
}

export function ltrim(args: readonly Buffer[], nowMs: number, limits: StepLimits): Step {
  const [first, last] = [integerArgument(args[2]!), integerArgument(args[3]!)]
  return changeEntries(args[1]!, LIST, nowMs, limits, (list) => {
    if (list.length === 0) return { reply: OK }
    const range = rangeOf(first, last, list.length)
    return {
      reply: OK,
      entries: range ? new NewEntries().keep(list, range[0], range[1] + 1) : new NewEntries(),
    }
  })
}
