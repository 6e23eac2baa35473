/**
 * Ranges of sorted sets: by rank, by score or by member, in either direction. Arguments are checked before the key is
 * looked for, as Redis does.
 *
 * A range by member means something only where all scores are the same. Where they differ, a range is what Redis answers for
 * a small sorted set: it looks from the end where it begins, and stops at the first member outside.
 */
import { cString, integerArgument, word } from '../arguments.ts'
import { parseBound } from '../doubles.ts'
import { CommandError, defaultEnd, distinct, SYNTAX_ERROR, type Step, type StepMaker } from '../step.ts'
import { NewEntries, type Collection, type Entries, type Holds } from './entries.ts'
import { membersReply } from './sorted-sets.ts'
import {
  changeEntries,
  changeKeys,
  collectionOrRefusal,
  look,
  rangeOf,
  SORTED_SET,
  storedResult,
} from './steps.ts'

type By = 'RANK' | 'SCORE' | 'LEX'

/** From this entry up to, without, that one; the two are the same if it is empty. */
type Range = readonly [from: number, to: number]

/** @param reverse looks from the last entry on */
type FindRange = (zset: Collection, reverse: boolean) => Range

const EMPTY: Range = [0, 0]

// ---- bounds

/** @throws CommandError */
function findBy(by: By, first: Buffer, last: Buffer): FindRange {
  if (by === 'RANK') return byRank(first, last)
  return by === 'SCORE' ? byScore(first, last) : byLex(first, last)
}

function byRank(first: Buffer, last: Buffer): FindRange {
  const [start, stop] = [integerArgument(first), integerArgument(last)]
  return ({ length }, reverse) => {
    const range = rangeOf(start, stop, length)
    if (!range) return EMPTY
    const [from, to] = range
    return reverse ? [length - 1 - to, length - from] : [from, to + 1]
  }
}

const OPEN = 0x28
const CLOSED = 0x5b
const PLUS = 0x2b
const MINUS = 0x2d

function byScore(first: Buffer, last: Buffer): FindRange {
  const [min, max] = [scoreBound(first), scoreBound(last)]
  return (zset) => {
    const [from, to] = zset.firstsWhere([
      (entries, i) => (min.open ? entries.score(i) > min.score : entries.score(i) >= min.score),
      (entries, i) => (max.open ? entries.score(i) >= max.score : entries.score(i) > max.score),
    ]) as [number, number]
    return from < to ? [from, to] : EMPTY
  }
}

function scoreBound(bytes: Buffer): { readonly score: number; readonly open: boolean } {
  const open = bytes[0] === OPEN
  const score = parseBound(cString(open ? bytes.subarray(1) : bytes))
  if (score === null) throw new CommandError('ERR min or max is not a float')
  return { score, open }
}

/** How a member compares with a bound: < 0 = before it, 0 = it is the bound. */
interface LexBound {
  readonly compare: (zset: Entries, i: number) => number
  readonly open: boolean
  /** Null = before, or behind, every member. */
  readonly member: Buffer | null
}

function lexBound(bytes: Buffer): LexBound {
  const [first, second] = bytes
  if ((first === PLUS || first === MINUS) && (second === undefined || second === 0)) {
    const side = first === PLUS ? -1 : 1
    return { compare: () => side, open: false, member: null }
  }
  if (first !== OPEN && first !== CLOSED) throw new CommandError('ERR min or max not valid string range item')
  const member = bytes.subarray(1)
  return { compare: (zset, i) => zset.compareKey(i, member), open: first === OPEN, member }
}

function byLex(first: Buffer, last: Buffer): FindRange {
  const [min, max] = [lexBound(first), lexBound(last)]
  const isAbove = (zset: Entries, i: number) => {
    const compared = min.compare(zset, i)
    return min.open ? compared > 0 : compared >= 0
  }
  const isBelow = (zset: Entries, i: number) => {
    const compared = max.compare(zset, i)
    return max.open ? compared < 0 : compared <= 0
  }
  const isEmpty = isBackward(first, last, min, max)
  return (zset, reverse) => {
    const { length } = zset
    if (isEmpty || length === 0) return EMPTY
    const { entries: ends, places } = zset.gather([0, length - 1])
    const [first, last] = places as [number, number]
    if (!isAbove(ends, last) || !isBelow(ends, first)) return EMPTY
    if (ends.score(first) !== ends.score(last)) return walk(zset.flat(), reverse, isAbove, isBelow)
    const isBehind: Holds = (entries, i) => !isBelow(entries, i)
    const [from, to] = zset.firstsWhere([isAbove, isBehind]) as [number, number]
    return from < to ? [from, to] : EMPTY
  }
}

/** In the order of scores those within need not be side by side: up to the first one outside. */
function walk(zset: Entries, reverse: boolean, isAbove: Holds, isBelow: Holds): Range {
  const { length } = zset
  if (reverse) {
    let to = length
    while (to > 0 && !isBelow(zset, to - 1)) to--
    let from = to
    while (from > 0 && isAbove(zset, from - 1)) from--
    return [from, to]
  }
  let from = 0
  while (from < length && !isAbove(zset, from)) from++
  let to = from
  while (to < length && isBelow(zset, to)) to++
  return [from, to]
}

/** No member can be within. */
function isBackward(first: Buffer, last: Buffer, min: LexBound, max: LexBound): boolean {
  if (min.member && max.member) {
    const compared = min.member.compare(max.member)
    return compared > 0 || (compared === 0 && (min.open || max.open))
  }
  // Two that are the same sign are equal, and closed.
  if (!min.member && !max.member && first[0] === last[0]) return false
  return (!min.member && first[0] === PLUS) || (!max.member && last[0] === MINUS)
}

// ---- reading and removing

export const zcount = counting('SCORE')
export const zlexcount = counting('LEX')

function counting(by: By): StepMaker {
  return (args) => {
    const find = findBy(by, args[2]!, args[3]!)
    return look(args[1]!, SORTED_SET, (zset) => {
      const [from, to] = find(zset, false)
      return to - from
    })
  }
}

export const zremrangebyrank = removing('RANK')
export const zremrangebyscore = removing('SCORE')
export const zremrangebylex = removing('LEX')

function removing(by: By): StepMaker {
  return (args, nowMs, limits) => {
    const find = findBy(by, args[2]!, args[3]!)
    return changeEntries(args[1]!, SORTED_SET, nowMs, limits, (zset) => {
      const [from, to] = find(zset, false)
      if (from === to) return { reply: 0 }
      const entries = new NewEntries().keep(zset, 0, from).keep(zset, to, zset.length)
      return { reply: to - from, entries }
    })
  }
}

/** What a command fixes; what it leaves open its options may say. */
interface Form {
  readonly by?: By
  readonly reverse?: boolean
  /** The result is stored. */
  readonly stores?: boolean
}

interface Selection {
  readonly withScores: boolean
  /** The indexes of the entries, in the order of the reply. */
  places(zset: Collection): number[]
}

export const zrange = selecting({})
export const zrevrange = selecting({ by: 'RANK', reverse: true })
export const zrangebyscore = selecting({ by: 'SCORE', reverse: false })
export const zrevrangebyscore = selecting({ by: 'SCORE', reverse: true })
export const zrangebylex = selecting({ by: 'LEX', reverse: false })
export const zrevrangebylex = selecting({ by: 'LEX', reverse: true })

function selecting(form: Form): StepMaker {
  return (args) => {
    const selection = selectionOf(args.slice(2), form)
    return look(args[1]!, SORTED_SET, (zset) =>
      membersReply(zset, selection.places(zset), selection.withScores),
    )
  }
}

export const zrangestore: StepMaker = (args, nowMs, limits): Step => {
  const selection = selectionOf(args.slice(3), { stores: true })
  const { keys, places } = distinct([args[1]!, args[2]!])
  const newEndMs = defaultEnd(limits, nowMs)
  const step = changeKeys(keys, (held) => {
    const zset = collectionOrRefusal(held[places[1]!]!, SORTED_SET)
    if ('reply' in zset) return zset
    // They are beside each other, in either order.
    const chosen = selection.places(zset)
    const from = Math.min(chosen[0] ?? 0, chosen.at(-1) ?? 0)
    const run = zset.slice(from, from + chosen.length)
    const entries = new NewEntries().keep(run, 0, run.length)
    return storedResult(SORTED_SET, entries, held, 0, newEndMs)
  })
  return { ...step, lookedUp: [places[1]!] }
}

/** @param args from the first bound on @throws CommandError */
function selectionOf(args: readonly Buffer[], form: Form): Selection {
  const { by, reverse, withScores, offset, count } = optionsOf(args, form)
  if (count !== -1 && by === 'RANK') {
    throw new CommandError(
      'ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX',
    )
  }
  if (withScores && by === 'LEX') {
    throw new CommandError('ERR syntax error, WITHSCORES not supported in combination with BYLEX')
  }
  const [first, last] = reverse && by !== 'RANK' ? [args[1]!, args[0]!] : [args[0]!, args[1]!]
  const find = findBy(by, first, last)
  const limits = by === 'RANK' ? { offset: 0, count: -1 } : { offset, count }
  return {
    withScores,
    places(zset) {
      const [from, to] = find(zset, reverse)
      if (limits.offset < 0) return []
      const most = Math.max(to - from - limits.offset, 0)
      const length = limits.count < 0 ? most : Math.min(limits.count, most)
      const start = reverse ? to - 1 - limits.offset : from + limits.offset
      return Array.from({ length }, (_, i) => (reverse ? start - i : start + i))
    },
  }
}

function optionsOf(args: readonly Buffer[], form: Form) {
  let { by, reverse } = form
  let withScores = false
  let [offset, count] = [0, -1]
  for (let at = 2; at < args.length; at++) {
    const option = word(args[at]!)
    if (option === 'WITHSCORES' && !form.stores) withScores = true
    else if (option === 'LIMIT' && at + 2 < args.length) {
      offset = Number(integerArgument(args[++at]!))
      count = Number(integerArgument(args[++at]!))
    } else if (option === 'REV' && reverse === undefined) reverse = true
    else if (option === 'BYLEX' && by === undefined) by = 'LEX'
    else if (option === 'BYSCORE' && by === undefined) by = 'SCORE'
    else throw new CommandError(SYNTAX_ERROR)
  }
  return { by: by ?? 'RANK', reverse: reverse ?? false, withScores, offset, count } as const
}
