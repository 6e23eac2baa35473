/** Commands on sorted sets, without ranges (sorted-ranges.ts) and operations on several (sorted-operations.ts). */
import { word } from '../arguments.ts'
import { formatDouble, parseDouble } from '../doubles.ts'
import { Double, Lazy, NULL_ARRAY, Packed, RespPairs, type LazyItems, type Reply } from '../reply.ts'
import { CommandError, distinct, refused, SYNTAX_ERROR, type Step, type StepMaker } from '../step.ts'
import { EntryTexts, NewEntries, scoredEntry, type Entries } from './entries.ts'
import { without } from './hashes.ts'
import { popCount, popFirst } from './lists.ts'
import { CHOICE_BYTES_A_UNIT, picksOf } from './picks.ts'
import { scanStep } from './scan.ts'
import { countedKeys } from './set-operations.ts'
import { countArgument } from './sets.ts'
import { changeEntries, changeKeys, lookAtCount, lookAtEntries, SORTED_SET, type Changed } from './steps.ts'

export interface Scored {
  readonly score: number
  readonly member: Buffer
}

/** The order of a sorted set. */
export function compareScored(a: Scored, b: Scored): number {
  if (a.score !== b.score) return a.score < b.score ? -1 : 1
  return a.member.compare(b.member)
}

/** A member and its score, as replies have them. */
export function pairAt(zset: Entries, i: number): [Buffer, Double] {
  return [zset.key(i), new Double(zset.score(i))]
}

/** Members and their scores, in this order. */
export class ScoredMembers implements LazyItems {
  private readonly zset: Entries
  private readonly chosen: readonly number[]

  constructor(zset: Entries, chosen: readonly number[]) {
    this.zset = zset
    this.chosen = chosen
  }

  get length(): number {
    return this.chosen.length
  }

  item(i: number): Reply {
    return pairAt(this.zset, this.chosen[i]!)
  }
}

/** The first entry for which this holds, if it holds for all behind it as well; their number if for none. */
export function firstWhere({ length }: Entries, holds: (i: number) => boolean): number {
  let [from, to] = [0, length]
  while (from < to) {
    const middle = (from + to) >>> 1
    if (holds(middle)) to = middle
    else from = middle + 1
  }
  return from
}

// ---- reading

const scoreAt = (zset: Entries, at: number): Double | null => (at === -1 ? null : new Double(zset.score(at)))

export function zscore(args: readonly Buffer[]): Step {
  return lookAtEntries(args[1]!, SORTED_SET, (zset) => scoreAt(zset, zset.indexOf(args[2]!)))
}

export function zmscore(args: readonly Buffer[]): Step {
  const members = args.slice(2)
  const answer = (zset: Entries) => zset.indexesOf(members).map((at) => scoreAt(zset, at))
  return lookAtEntries(args[1]!, SORTED_SET, answer)
}

export function zcard(args: readonly Buffer[]): Step {
  return lookAtCount(args[1]!, SORTED_SET, (count) => count)
}

export const zrank = ranking('zrank', (_zset, at) => at)
export const zrevrank = ranking('zrevrank', (zset, at) => zset.length - 1 - at)

function ranking(command: string, rankOf: (zset: Entries, at: number) => number): StepMaker {
  return (args) => {
    if (args.length > 4) throw new CommandError(`ERR wrong number of arguments for '${command}' command`)
    const withScore = args.length === 4
    if (withScore && word(args[3]!) !== 'WITHSCORE') throw new CommandError(SYNTAX_ERROR)
    return lookAtEntries(args[1]!, SORTED_SET, (zset) => {
      const at = zset.indexOf(args[2]!)
      if (at === -1) return withScore ? NULL_ARRAY : null
      const rank = rankOf(zset, at)
      return withScore ? [rank, new Double(zset.score(at))] : rank
    })
  }
}

export const zrandmember: StepMaker = (args, _nowMs, limits): Step => {
  const picks = picksOf(args, limits, 'WITHSCORES')
  const answer = (zset: Entries): Reply => {
    const chosen = picks.places(zset.length)
    if (picks.isSingle) return chosen.length > 0 ? zset.key(chosen[0]!) : null
    if (!picks.withValues) return new Packed('array', new EntryTexts(zset, 'keys', chosen))
    return new Lazy('pairs', new ScoredMembers(zset, chosen))
  }
  return lookAtEntries(args[1]!, SORTED_SET, answer, {
    answersValues: true,
    bytesAUnit: CHOICE_BYTES_A_UNIT,
  })
}

export function zscan(args: readonly Buffer[]): Step {
  return scanStep(args, SORTED_SET, (zset, chosen) =>
    chosen.flatMap((i) => [zset.key(i), formatDouble(zset.score(i))]),
  )
}

// ---- adding

interface AddOptions {
  readonly onlyNew: boolean
  readonly onlyExisting: boolean
  readonly onlyGreater: boolean
  readonly onlyLess: boolean
  /** Changed scores are counted as well. */
  readonly countChanged: boolean
  readonly increments: boolean
}

export const zadd = adding(false)
export const zincrby = adding(true)

function adding(increments: boolean): StepMaker {
  return (args, nowMs, limits) => {
    const { options, pairsAt } = addOptions(args, increments)
    const pairs = scoredPairs(args, pairsAt)
    return changeEntries(args[1]!, SORTED_SET, nowMs, limits, (zset) =>
      options.increments ? incremented(zset, pairs[0]!, options) : added(zset, pairs, options),
    )
  }
}

/** @throws CommandError */
function addOptions(args: readonly Buffer[], increments: boolean): { options: AddOptions; pairsAt: number } {
  const given = new Set<string>(increments ? ['INCR'] : [])
  let pairsAt = 2
  while (pairsAt < args.length && ADD_OPTIONS.has(word(args[pairsAt]!))) given.add(word(args[pairsAt++]!))
  const rest = args.length - pairsAt
  const [onlyNew, onlyExisting, onlyGreater, onlyLess] = ['NX', 'XX', 'GT', 'LT'].map((one) => given.has(one))
  if (rest === 0 || rest % 2 !== 0) throw new CommandError(SYNTAX_ERROR)
  if (onlyNew && onlyExisting) {
    throw new CommandError('ERR XX and NX options at the same time are not compatible')
  }
  if ([onlyNew, onlyGreater, onlyLess].filter(Boolean).length > 1) {
    throw new CommandError('ERR GT, LT, and/or NX options at the same time are not compatible')
  }
  if (given.has('INCR') && rest > 2) {
    throw new CommandError('ERR INCR option supports a single increment-element pair')
  }
  const options = {
    ...{ onlyNew: onlyNew!, onlyExisting: onlyExisting!, onlyGreater: onlyGreater!, onlyLess: onlyLess! },
    ...{ countChanged: given.has('CH'), increments: given.has('INCR') },
  }
  return { options, pairsAt }
}

const ADD_OPTIONS = new Set(['NX', 'XX', 'GT', 'LT', 'CH', 'INCR'])

function scoredPairs(args: readonly Buffer[], from: number): Scored[] {
  return Array.from({ length: (args.length - from) / 2 }, (_, i) => {
    const score = parseDouble(args[from + 2 * i]!)
    if (score === null) throw new CommandError('ERR value is not a valid float')
    return { score, member: args[from + 2 * i + 1]! }
  })
}

/** One after the other: a member may be named more than once. */
function added(zset: Entries, pairs: readonly Scored[], options: AddOptions): Changed {
  const places = zset.indexesOf(pairs.map(({ member }) => member))
  /** Those that are new, or whose score changes. */
  const next = new Map<string, Scored & { readonly at: number }>()
  let [fresh, changed] = [0, 0]
  pairs.forEach(({ score, member }, i) => {
    const at = places[i]!
    const name = member.toString('latin1')
    const before = next.get(name)?.score ?? (at === -1 ? null : zset.score(at))
    if (!isWanted(before, score, options) || before === score) return
    next.set(name, { score, member, at })
    if (before === null) fresh++
    else changed++
  })
  const reply = options.countChanged ? fresh + changed : fresh
  return next.size === 0 ? { reply } : { reply, entries: moved(zset, [...next.values()]) }
}

function isWanted(before: number | null, score: number, options: AddOptions): boolean {
  if (before === null) return !options.onlyExisting
  if (options.onlyNew) return false
  return !(options.onlyLess && score >= before) && !(options.onlyGreater && score <= before)
}

function incremented(zset: Entries, { score: by, member }: Scored, options: AddOptions): Changed {
  const at = zset.indexOf(member)
  const before = at === -1 ? null : zset.score(at)
  if (before !== null && options.onlyNew) return { reply: null }
  const score = before === null ? by : before + by
  if (Number.isNaN(score)) return refused('ERR resulting score is not a number (NaN)')
  if (!isWanted(before, score, options)) return { reply: null }
  const reply = new Double(score)
  return before === score ? { reply } : { reply, entries: moved(zset, [{ score, member, at }]) }
}

/** Puts members where they belong. @param members each once; `at` is where it was, -1 = nowhere */
function moved(zset: Entries, members: (Scored & { readonly at: number })[]): NewEntries {
  const gone = members.flatMap(({ at }) => (at === -1 ? [] : [at])).sort((a, b) => a - b)
  const next = new NewEntries()
  let from = 0
  let passed = 0
  const keepUpTo = (to: number) => {
    for (; passed < gone.length && gone[passed]! < to; passed++) {
      next.keep(zset, from, gone[passed]!)
      from = gone[passed]! + 1
    }
    next.keep(zset, from, to)
    from = to
  }
  for (const one of members.sort(compareScored)) {
    keepUpTo(firstWhere(zset, (i) => isBehind(zset, i, one)))
    next.add(scoredEntry(one.score, one.member))
  }
  keepUpTo(zset.length)
  return next
}

function isBehind(zset: Entries, i: number, { score, member }: Scored): boolean {
  const other = zset.score(i)
  return other === score ? zset.compareKey(i, member) >= 0 : other > score
}

// ---- removing

export const zrem: StepMaker = (args, nowMs, limits) => {
  const members = args.slice(2)
  return changeEntries(args[1]!, SORTED_SET, nowMs, limits, (zset) => without(zset, zset.indexesOf(members)))
}

type End = 'MIN' | 'MAX'

export const zpopmin = popping('MIN')
export const zpopmax = popping('MAX')

function popping(end: End): StepMaker {
  return (args, nowMs, limits) => {
    if (args.length > 3) throw new CommandError(SYNTAX_ERROR)
    const count = args[2] === undefined ? null : countArgument(args[2])
    return changeEntries(args[1]!, SORTED_SET, nowMs, limits, (zset) => {
      if (zset.length === 0 || count === 0) return { reply: [] }
      const { pairs, rest } = popped(zset, count ?? 1, end)
      // Without a count it is flat in RESP3, too.
      return { reply: count === null ? pairs[0]! : new RespPairs(pairs), entries: rest }
    })
  }
}

function popped(zset: Entries, count: number, end: End): { pairs: [Buffer, Double][]; rest: NewEntries } {
  const { length } = zset
  const most = Math.min(count, length)
  const pairs = Array.from({ length: most }, (_, i) => pairAt(zset, end === 'MIN' ? i : length - 1 - i))
  const [from, to] = end === 'MIN' ? [most, length] : [0, length - most]
  return { pairs, rest: new NewEntries().keep(zset, from, to) }
}

export const zmpop: StepMaker = (args): Step => {
  const names = countedKeys(args, 1, SYNTAX_ERROR)
  const [where, ...options] = args.slice(2 + names.length)
  const end = where && word(where)
  if (end !== 'MIN' && end !== 'MAX') throw new CommandError(SYNTAX_ERROR)
  const count = popCount(options)
  const { keys } = distinct(names)
  return changeKeys(keys, (held) =>
    popFirst(keys, held, SORTED_SET, (zset) => {
      const { pairs, rest } = popped(zset, count, end)
      return { elements: pairs, rest }
    }),
  )
}
