/** XADD, XTRIM, XDEL and XSETID. */
import { integerArgument, word } from '../arguments.ts'
import { OK } from '../reply.ts'
import { CommandError, Refusal, SYNTAX_ERROR, type Step, type StepLimits } from '../step.ts'
import {
  GREATEST_ID,
  idArgument,
  idText,
  isZero,
  LEAST_ID,
  msOf,
  nextId,
  streamId,
  type PartialId,
  type StreamId,
} from './ids.ts'
import { changeStream, NO_STREAM } from './steps.ts'
import { entryOf } from './entry-run.ts'
import { trimArguments, trimmed } from './trim.ts'

const NOT_ABOVE_ZERO = 'ERR The ID specified in XADD must be greater than 0-0'
const NOT_ABOVE = new Refusal(
  'ERR The ID specified in XADD is equal or smaller than the target stream top item',
)
/** What Redis says if no counter is left for `5-*`. */
const TOO_LARGE = new Refusal('ERR Elements are too large to be stored')
const EXHAUSTED = new Refusal('ERR The stream has exhausted the last possible ID, unable to add more items')

export function xadd(args: readonly Buffer[], nowMs: number, limits: StepLimits): Step {
  const { trim, onlyExisting, id: given, idAt } = trimArguments(args, true)
  const texts = args.slice(idAt + 1)
  if (texts.length < 2 || texts.length % 2 !== 0)
    throw new CommandError("ERR wrong number of arguments for 'xadd' command")
  if (given?.hasCounter && isZero(given.id)) throw new CommandError(NOT_ABOVE_ZERO)
  return changeStream(args[1]!, nowMs, limits, (there, applyMs) => {
    if (!there && onlyExisting) return { reply: null }
    const stream = there ?? NO_STREAM
    if (stream.lastId.equals(GREATEST_ID)) return { reply: EXHAUSTED }
    const id = newId(stream.lastId, given, applyMs)
    if (id instanceof Refusal) return { reply: id }
    const added = {
      lastId: id,
      added: stream.added + 1n,
      // It may go itself.
      trimmed: trim ? trimmed(stream, trim, id) : 0,
      entry: { id, bytes: entryOf(id, texts) },
    }
    return { reply: Buffer.from(idText(id)), stream: stream.with(added) }
  })
}

/** The id of a new entry, or why there is none. @param lastId not the greatest one */
function newId(lastId: StreamId, given: PartialId | null, nowMs: number): StreamId | Refusal {
  if (!given) return nowMs > msOf(lastId) ? streamId(nowMs, 0) : nextId(lastId)!
  const { id, hasCounter } = given
  if (hasCounter || msOf(id) !== msOf(lastId)) return id.compare(lastId) > 0 ? id : NOT_ABOVE
  const next = nextId(lastId)!
  return msOf(next) === msOf(lastId) ? next : TOO_LARGE
}

export function xtrim(args: readonly Buffer[], nowMs: number, limits: StepLimits): Step {
  const { trim } = trimArguments(args, false)
  return changeStream(args[1]!, nowMs, limits, (stream) => {
    const gone = stream ? trimmed(stream, trim!) : 0
    if (!stream || gone === 0) return { reply: 0 }
    return { reply: gone, stream: stream.with({ trimmed: gone }) }
  })
}

export function xdel(args: readonly Buffer[], nowMs: number, limits: StepLimits): Step {
  return changeStream(args[1]!, nowMs, limits, (stream) => {
    if (!stream) return { reply: 0 }
    const ids = idsOrRefusal(args.slice(2))
    if (ids instanceof Refusal) return { reply: ids }
    const found = stream.find(ids)
    const there = ids.filter((_, i) => found[i]).sort((a, b) => a.compare(b))
    const deleted = there.filter((id, i) => i === 0 || !there[i - 1]!.equals(id))
    const greatest = deleted.at(-1)
    if (!greatest) return { reply: 0 }
    const maxDeletedId = greatest.compare(stream.maxDeletedId) > 0 ? greatest : stream.maxDeletedId
    return { reply: deleted.length, stream: stream.with({ deleted, maxDeletedId }) }
  })
}

/** Each is looked up and may change what is stored, all of them in one step. */
export const MOST_IDS = 10_000
export const TOO_MANY_IDS = `ERR a command takes at most ${MOST_IDS} ids (a fixed limit)`

/** Redis looks at ids after it has found the key. */
export function idsOrRefusal(texts: readonly Buffer[]): StreamId[] | Refusal {
  if (texts.length > MOST_IDS) return new Refusal(TOO_MANY_IDS)
  try {
    return texts.map((text) => idArgument(text))
  } catch (error) {
    if (error instanceof CommandError) return new Refusal(error.message)
    throw error
  }
}

const NO_KEY = new Refusal('ERR no such key', 'KEY_NOT_FOUND')
const SETID = 'ERR The ID specified in XSETID is smaller than'
const BELOW_DELETED = new Refusal(`${SETID} current max_deleted_entry_id`)
const BELOW_TOP = new Refusal(`${SETID} the target stream top item`)
const BELOW_LENGTH = new Refusal(
  'ERR The entries_added specified in XSETID is smaller than the target stream length',
)

export function xsetid(args: readonly Buffer[], nowMs: number, limits: StepLimits): Step {
  const lastId = idArgument(args[2]!)
  let added: bigint | null = null
  let deletedId = LEAST_ID
  for (let at = 3; at < args.length; at += 2) {
    const option = word(args[at]!)
    const value = args[at + 1]
    if (option === 'ENTRIESADDED' && value) {
      added = BigInt(integerArgument(value))
      if (added < 0n) throw new CommandError('ERR entries_added must be positive')
    } else if (option === 'MAXDELETEDID' && value) {
      deletedId = idArgument(value)
      if (lastId.compare(deletedId) < 0) throw new CommandError(`${SETID} the provided max_deleted_entry_id`)
    } else throw new CommandError(SYNTAX_ERROR)
  }
  return changeStream(args[1]!, nowMs, limits, (stream) => {
    if (!stream) return { reply: NO_KEY }
    if (lastId.compare(stream.maxDeletedId) < 0) return { reply: BELOW_DELETED }
    if (stream.length > 0 && lastId.compare(stream.topId) < 0) return { reply: BELOW_TOP }
    if (stream.length > 0 && added !== null && added < BigInt(stream.length)) return { reply: BELOW_LENGTH }
    const changed = {
      lastId,
      ...(added !== null && { added }),
      ...(!isZero(deletedId) && { maxDeletedId: deletedId }),
    }
    return { reply: OK, stream: stream.with(changed) }
  })
}
