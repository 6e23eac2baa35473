/**
 * MAXLEN and MINID of XADD and XTRIM. With `~` Redis removes whole nodes of its tree, of a hundred entries: so does this, as
 * far as it can be told without one, and a stream is not trimmed for each entry that is added.
 */
import { integerArgument, word } from '../arguments.ts'
import { CommandError, SYNTAX_ERROR } from '../step.ts'
import { idArgument, newIdArgument, type PartialId, type StreamId } from './ids.ts'
import { firstFrom, type Stream } from './stream.ts'

const NODE_ENTRIES = 100
/** Of `~` without LIMIT. */
const DEFAULT_LIMIT = 100 * NODE_ENTRIES

export interface Trim {
  /** How many entries stay, or the id of the first that does. */
  readonly by: { readonly most: number } | { readonly firstId: StreamId }
  readonly isApproximate: boolean
  /** At most so many are removed; 0 = no matter how many. */
  readonly limit: number
}

export interface TrimArguments {
  readonly trim: Trim | null
  /** XADD: NOMKSTREAM. */
  readonly onlyExisting: boolean
  /** XADD: null = `*`. */
  readonly id: PartialId | null
  /** Where the argument with the id stands. */
  readonly idAt: number
}

/** @param isXadd it has an id behind the options @throws CommandError */
export function trimArguments(args: readonly Buffer[], isXadd: boolean): TrimArguments {
  let by: Trim['by'] | null = null
  let isApproximate = false
  let limit: number | null = null
  let onlyExisting = false
  let id: PartialId | null = null
  let at = 2
  for (; at < args.length; at++) {
    const option = word(args[at]!)
    const left = args.length - 1 - at
    if (isXadd && option === '*') break
    if ((option === 'MAXLEN' || option === 'MINID') && left > 0) {
      if (by) throw new CommandError(BOTH)
      const operator = left >= 2 ? word(args[at + 1]!) : ''
      if (operator === '~' || operator === '=') at++
      isApproximate = operator === '~'
      by =
        option === 'MAXLEN'
          ? { most: notNegative(args[++at]!, option) }
          : { firstId: idArgument(args[++at]!) }
    } else if (option === 'LIMIT' && left > 0) limit = notNegative(args[++at]!, option)
    else if (isXadd && option === 'NOMKSTREAM') onlyExisting = true
    else if (isXadd) {
      id = newIdArgument(args[at]!)
      break
    } else throw new CommandError(SYNTAX_ERROR)
  }
  if (limit && !by) throw new CommandError(NO_STRATEGY)
  if (!isXadd && !by)
    throw new CommandError('ERR syntax error, XTRIM must be called with a trimming strategy')
  if (limit !== null && !isApproximate) throw new CommandError(NOT_APPROXIMATE)
  const trim = by && { by, isApproximate, limit: limit ?? (isApproximate ? DEFAULT_LIMIT : 0) }
  return { trim, onlyExisting, id, idAt: at }
}

const BOTH = 'ERR syntax error, MAXLEN and MINID options at the same time are not compatible'
const NO_STRATEGY = 'ERR syntax error, LIMIT cannot be used without specifying a trimming strategy'
const NOT_APPROXIMATE = 'ERR syntax error, LIMIT cannot be used without the special ~ option'

function notNegative(argument: Buffer, option: string): number {
  const value = Number(integerArgument(argument))
  if (value < 0) throw new CommandError(`ERR The ${option} argument must be >= 0.`)
  return value
}

/**
 * How many entries go, from the first on.
 *
 * @param added the id of an entry that is added, which may go, too
 * @throws DamagedCollection
 */
export function trimmed(
  stream: Stream,
  { by, isApproximate, limit }: Trim,
  added: StreamId | null = null,
): number {
  const length = stream.length + (added ? 1 : 0)
  const excess = 'most' in by ? length - by.most : before(by.firstId, stream, added)
  if (!isApproximate) return Math.max(excess, 0)
  let gone = 0
  while (gone < length) {
    const next = Math.min(gone + NODE_ENTRIES, length)
    if (next > excess || (limit > 0 && next > limit)) break
    gone = next
  }
  return gone
}

/** How many entries have a smaller id. */
function before(firstId: StreamId, stream: Stream, added: StreamId | null): number {
  if (added && added.compare(firstId) < 0) return stream.length + 1
  return firstFrom(stream, firstId)
}

/** As many as the tree of Redis would have. */
export function nodesOf(length: number): number {
  return Math.ceil(length / NODE_ENTRIES)
}
