/** Commands on hashes. New fields come behind those that a hash has; a field that is set again keeps its place. */
import { integerArgument, isInt64, parseInteger } from '../arguments.ts'
import { Lazy, OK, Packed, type Reply } from '../reply.ts'
import { CommandError, refused, type Step, type StepLimits, type StepMaker } from '../step.ts'
import { addLongDoubles, formatLongDouble, parseLongDouble } from '../strings/long-double.ts'
import { EntryTexts, NewEntries, pairEntry, type Collection, type Entries } from './entries.ts'
import { CHOICE_BYTES_A_UNIT, picksOf, type Picks } from './picks.ts'
import { scanStep } from './scan.ts'
import { changeEntries, HASH, look, lookAtCount, lookAtEntries, lookAtField, type Changed } from './steps.ts'

const NOT_FLOAT = 'ERR hash value is not a float'

/** A field or its value. */
const valueAt = (entries: Collection, at: number): Buffer | null => (at === -1 ? null : entries.value(at))

// ---- reading

export function hget(args: readonly Buffer[]): Step {
  return lookAtField(args[1]!, args[2]!, (value) => value)
}

export function hmget(args: readonly Buffer[]): Step {
  const answer = (hash: Collection) => hash.indexesOf(args.slice(2)).map((at) => valueAt(hash, at))
  return look(args[1]!, HASH, answer, { answersValues: true })
}

export function hgetall(args: readonly Buffer[]): Step {
  return lookAtEntries(args[1]!, HASH, (hash) => new Packed('map', new EntryTexts(hash, 'both')))
}

export function hkeys(args: readonly Buffer[]): Step {
  return lookAtEntries(args[1]!, HASH, (hash) => new Packed('array', new EntryTexts(hash, 'keys')))
}

export function hvals(args: readonly Buffer[]): Step {
  return lookAtEntries(args[1]!, HASH, (hash) => new Packed('array', new EntryTexts(hash, 'values')))
}

export function hlen(args: readonly Buffer[]): Step {
  return lookAtCount(args[1]!, HASH, (count) => count)
}

export function hexists(args: readonly Buffer[]): Step {
  return look(args[1]!, HASH, (hash) => (hash.indexOf(args[2]!) === -1 ? 0 : 1))
}

export function hstrlen(args: readonly Buffer[]): Step {
  return lookAtField(args[1]!, args[2]!, (value) => value?.length ?? 0)
}

export const hrandfield: StepMaker = (args, _nowMs, limits): Step => {
  const picks = picksOf(args, limits, 'WITHVALUES')
  return look(args[1]!, HASH, (hash) => fieldsPicked(hash, picks), {
    answersValues: true,
    bytesAUnit: CHOICE_BYTES_A_UNIT,
  })
}

function fieldsPicked(hash: Collection, picks: Picks): Reply {
  const { isSingle, withValues } = picks
  const chosen = picks.places(hash)
  if (isSingle) return chosen.length > 0 ? hash.key(chosen[0]!) : null
  const { entries, places } = hash.gather(chosen)
  if (!withValues) return new Packed('array', new EntryTexts(entries, 'keys', places))
  return new Lazy('pairs', {
    length: places.length,
    bytes: runBytesAt(entries, places),
    item: (i) => [entries.key(places[i]!), entries.value(places[i]!)],
  })
}

/** Of the entries at these places, with the lengths of their texts. */
export function runBytesAt(entries: Entries, places: readonly number[]): number {
  let bytes = 0
  for (const place of places) bytes += entries.runBytes(place, place + 1)
  return bytes
}

export function hscan(args: readonly Buffer[]): Step {
  return scanStep(args, HASH, (hash, chosen) => new Packed('array', new EntryTexts(hash, 'both', chosen)))
}

// ---- changing

export function hset(args: readonly Buffer[], nowMs: number, limits: StepLimits): Step {
  return setFields(args, nowMs, limits, 'hset', (added) => added)
}

export function hmset(args: readonly Buffer[], nowMs: number, limits: StepLimits): Step {
  return setFields(args, nowMs, limits, 'hmset', () => OK)
}

function setFields(
  args: readonly Buffer[],
  nowMs: number,
  limits: StepLimits,
  command: string,
  answer: (added: number) => Reply,
): Step {
  if (args.length % 2 !== 0) throw new CommandError(`ERR wrong number of arguments for '${command}' command`)
  const [fields, values] = lastOfEach(args)
  return changeEntries(args[1]!, HASH, nowMs, limits, (hash) => {
    const places = hash.indexesOf(fields)
    const entries = put(
      hash,
      places,
      fields.map((field, i) => pairEntry(field, values[i]!)),
    )
    return { reply: answer(places.filter((at) => at === -1).length), entries }
  })
}

/** The fields, each once, and the last value of each. */
function lastOfEach(args: readonly Buffer[]): [fields: Buffer[], values: Buffer[]] {
  if (args.length === 4) return [[args[2]!], [args[3]!]]
  const placeOf = new Map<string, number>()
  const fields: Buffer[] = []
  const values: Buffer[] = []
  for (let at = 2; at < args.length; at += 2) {
    const name = args[at]!.toString('latin1')
    const place = placeOf.get(name) ?? fields.push(args[at]!) - 1
    placeOf.set(name, place)
    values[place] = args[at + 1]!
  }
  return [fields, values]
}

/** Puts each new entry in its place; those without one (-1) come last. */
function put(hash: Collection, places: readonly number[], added: readonly Buffer[]): NewEntries {
  const next = new NewEntries()
  const replaced = places.map((at, i) => [at, added[i]!] as const).filter(([at]) => at !== -1)
  let from = 0
  for (const [at, entry] of replaced.sort(([a], [b]) => a - b)) {
    next.keep(hash, from, at).add(entry)
    from = at + 1
  }
  next.keep(hash, from, hash.length)
  places.forEach((at, i) => void (at === -1 && next.add(added[i]!)))
  return next
}

export function hsetnx(args: readonly Buffer[], nowMs: number, limits: StepLimits): Step {
  const [, key, field, value] = args as [Buffer, Buffer, Buffer, Buffer]
  return changeEntries(key, HASH, nowMs, limits, (hash) => {
    if (hash.indexOf(field) !== -1) return { reply: 0 }
    return { reply: 1, entries: put(hash, [-1], [pairEntry(field, value)]) }
  })
}

export function hdel(args: readonly Buffer[], nowMs: number, limits: StepLimits): Step {
  const fields = args.slice(2)
  return changeEntries(args[1]!, HASH, nowMs, limits, (hash) => without(hash, hash.indexesOf(fields)))
}

/** Removes entries, and replies with their number. @param places in any order and repeatedly; -1 = none */
export function without(entries: Collection, places: readonly number[]): Changed {
  // Places of typed arrays are sorted as numbers, and several times as fast.
  const sorted = Float64Array.from(places).sort()
  const next = new NewEntries()
  let gone = 0
  let from = 0
  for (const at of sorted) {
    if (at < from) continue
    next.keep(entries, from, at)
    from = at + 1
    gone++
  }
  if (gone === 0) return { reply: 0 }
  return { reply: gone, entries: next.keep(entries, from, entries.length) }
}

export function hincrby(args: readonly Buffer[], nowMs: number, limits: StepLimits): Step {
  const [, key, field, amount] = args as [Buffer, Buffer, Buffer, Buffer]
  const by = BigInt(integerArgument(amount))
  return changeEntries(key, HASH, nowMs, limits, (hash) => {
    const at = hash.indexOf(field)
    const before = at === -1 ? 0 : parseInteger(hash.value(at))
    if (before === null) return refused('ERR hash value is not an integer', 'NOT_INTEGER')
    const after = BigInt(before) + by
    if (!isInt64(after)) return refused('ERR increment or decrement would overflow', 'NOT_INTEGER')
    return { reply: after, entries: put(hash, [at], [pairEntry(field, Buffer.from(String(after)))]) }
  })
}

export function hincrbyfloat(args: readonly Buffer[], nowMs: number, limits: StepLimits): Step {
  const [, key, field, amount] = args as [Buffer, Buffer, Buffer, Buffer]
  const by = parseLongDouble(amount)
  if (by === null) throw new CommandError('ERR value is not a valid float')
  if (by === 'infinite') throw new CommandError('ERR value is NaN or Infinity')
  return changeEntries(key, HASH, nowMs, limits, (hash) => {
    const at = hash.indexOf(field)
    const before = at === -1 ? { mantissa: 0n, exponent: 0 } : parseLongDouble(hash.value(at))
    if (before === null) return refused(NOT_FLOAT)
    const after = addLongDoubles(before, by)
    if (after === null) return refused('ERR increment would produce NaN or Infinity')
    const value = Buffer.from(formatLongDouble(after))
    return { reply: value, entries: put(hash, [at], [pairEntry(field, value)]) }
  })
}
