/** Commands on sorted sets, without ranges (sorted-ranges.ts) and operations on several (sorted-operations.ts). */
import { word } from '../arguments.ts'
import { formatDouble, parseDouble } from '../doubles.ts'
import { Double, Lazy, NULL_ARRAY, Packed, type LazyItems, type Reply } from '../reply.ts'
import { CommandError, distinct, refused, SYNTAX_ERROR, type Step, type StepMaker } from '../step.ts'
import {
  DamagedCollection,
  EntryTexts,
  NewEntries,
  scoredEntry,
  type Collection,
  type Entries,
  type Holds,
} from './entries.ts'
import { runBytesAt, without } from './hashes.ts'
import { popCount, popFirst } from './lists.ts'
import { CHOICE_BYTES_A_UNIT, picksOf } from './picks.ts'
import { scanStep } from './scan.ts'
import { countedKeys } from './set-operations.ts'
import { countArgument } from './sets.ts'
import { changeEntries, changeKeys, look, lookAtCount, SORTED_SET, type Changed } from './steps.ts'

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
function pairAt(zset: Entries, i: number): [Buffer, Double] {
  return [zset.key(i), new Double(zset.score(i))]
}

/** Members and their scores, in this order. */
class ScoredMembers implements LazyItems {
  private readonly zset: Entries
  private readonly chosen: readonly number[]

  constructor(zset: Entries, chosen: readonly number[]) {
    this.zset = zset
    this.chosen = chosen
  }

  get length(): number {
    return this.chosen.length
  }

  get bytes(): number {
    return runBytesAt(this.zset, this.chosen)
  }

  item(i: number): Reply {
    return pairAt(this.zset, this.chosen[i]!)
  }
}

/** The members at these places. */
export function membersReply(zset: Collection, chosen: readonly number[], withScores: boolean): Reply {
  const { entries, places } = zset.gather(chosen)
  return withScores
    ? new Lazy('pairs', new ScoredMembers(entries, places))
    : new Packed('array', new EntryTexts(entries, 'keys', places))
}

// ---- reading

const shown = (score: number | null): Double | null => (score === null ? null : new Double(score))

export function zscore(args: readonly Buffer[]): Step {
  return look(args[1]!, SORTED_SET, (zset) => shown(zset.scoresOf([args[2]!])[0]!))
}

export function zmscore(args: readonly Buffer[]): Step {
  const members = args.slice(2)
  return look(args[1]!, SORTED_SET, (zset) => zset.scoresOf(members).map(shown))
}

export function zcard(args: readonly Buffer[]): Step {
  return lookAtCount(args[1]!, SORTED_SET, (count) => count)
}

export const zrank = ranking('zrank', (_zset, at) => at)
export const zrevrank = ranking('zrevrank', (zset, at) => zset.length - 1 - at)

function ranking(command: string, rankOf: (zset: Collection, at: number) => number): StepMaker {
  return (args) => {
    if (args.length > 4) throw new CommandError(`ERR wrong number of arguments for '${command}' command`)
    const withScore = args.length === 4
    if (withScore && word(args[3]!) !== 'WITHSCORE') throw new CommandError(SYNTAX_ERROR)
    return look(args[1]!, SORTED_SET, (zset) => {
      const at = zset.indexOf(args[2]!)
      if (at === -1) return withScore ? NULL_ARRAY : null
      const rank = rankOf(zset, at)
      return withScore ? [rank, new Double(zset.score(at))] : rank
    })
  }
}

export const zrandmember: StepMaker = (args, _nowMs, limits): Step => {
  const picks = picksOf(args, limits, 'WITHSCORES')
  const answer = (zset: Collection): Reply => {
    const chosen = picks.places(zset)
    if (picks.isSingle) return chosen.length > 0 ? zset.key(chosen[0]!) : null
    return membersReply(zset, chosen, picks.withValues)
  }
  return look(args[1]!, SORTED_SET, answer, {
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

/** A member that is to be where its score says; before it had that one, or null = it is new. */
interface Moved extends Scored {
  readonly before: number | null
}

/** One after the other: a member may be named more than once. */
function added(zset: Collection, pairs: readonly Scored[], options: AddOptions): Changed {
  const held = zset.scoresOf(
    pairs.map(({ member }) => member),
    pairs.map(({ score }) => score),
  )
  /** Those that are new, or whose score changes. */
  const next = new Map<string, Moved>()
  let [fresh, changed] = [0, 0]
  pairs.forEach(({ score, member }, i) => {
    const name = member.toString('latin1')
    const before = next.get(name)?.score ?? held[i]!
    if (!isWanted(before, score, options) || before === score) return
    next.set(name, { score, member, before: held[i]! })
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

function incremented(zset: Collection, { score: by, member }: Scored, options: AddOptions): Changed {
  const [before] = zset.scoresOf([member]) as [number | null]
  if (before !== null && options.onlyNew) return { reply: null }
  const score = before === null ? by : before + by
  if (Number.isNaN(score)) return refused('ERR resulting score is not a number (NaN)')
  if (!isWanted(before, score, options)) return { reply: null }
  const reply = new Double(score)
  return before === score ? { reply } : { reply, entries: moved(zset, [{ score, member, before }]) }
}

/** Puts members where they belong. @param members each once */
function moved(zset: Collection, members: Moved[]): NewEntries {
  members.sort(compareScored)
  const held = members.flatMap(({ before, member }) => (before === null ? [] : [{ score: before, member }]))
  const places = zset.firstsWhere(
    [...held, ...members].map(
      (one): Holds =>
        (entries, i) =>
          isBehind(entries, i, one),
    ),
  )
  // What is in one index of a large one is in the other as well.
  if (held.some(({ member }, i) => places[i] === zset.length || !zset.key(places[i]!).equals(member))) {
    throw new DamagedCollection()
  }
  const gone = places.slice(0, held.length).sort((a, b) => a - b)
  const next = new NewEntries()
  let from = 0
  let passed = 0
  const keepUpTo = (to: number) => {
    for (; passed < gone.length && gone[passed]! < to; passed++) {
      next.keep(zset, from, gone[passed]!)
      from = gone[passed]! + 1
    }
    next.keep(zset, from, to)
    from = Math.max(from, to)
  }
  for (const [i, { score, member }] of members.entries()) {
    keepUpTo(places[held.length + i]!)
    next.add(scoredEntry(score, member))
  }
  keepUpTo(zset.length)
  return next
}

/** Not before it. */
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
      const { taken, places, rest } = popped(zset, count ?? 1, end)
      // Without a count it is flat in RESP3, too.
      const reply =
        count === null ? pairAt(taken, places[0]!) : new Lazy('pairs', new ScoredMembers(taken, places))
      return { reply, entries: rest }
    })
  }
}

interface Popped {
  readonly taken: Entries
  /** In the order in which they are taken. */
  readonly places: readonly number[]
  readonly rest: NewEntries
}

function popped(zset: Collection, count: number, end: End): Popped {
  const { length } = zset
  const most = Math.min(count, length)
  const taken = end === 'MIN' ? zset.slice(0, most) : zset.slice(length - most, length)
  const places = Array.from({ length: most }, (_, i) => (end === 'MIN' ? i : most - 1 - i))
  const [from, to] = end === 'MIN' ? [most, length] : [0, length - most]
  return { taken, places, rest: new NewEntries().keep(zset, from, to) }
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
      const { taken, places, rest } = popped(zset, count, end)
      return { elements: new Lazy('array', new ScoredMembers(taken, places)), rest }
    }),
  )
}
