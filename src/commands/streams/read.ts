/**
 * XREAD and XREADGROUP.
 *
 * XREAD reads each key by itself, as MGET does. XREADGROUP changes its groups, all together: its keys must share a replica
 * set.
 *
 * BLOCK: the step itself never waits, and replies a null array if there is nothing; blocking.ts tries
 * it again, with the ids of `withKnownIds` in place of `$`.
 */
import { shown } from '../arguments.ts'
import { COLLECTION_BYTES_A_UNIT } from '../collections/steps.ts'
import { inOneGo, type Sliced } from '../../core/work.ts'
import { NULL_ARRAY, RespNamed, type Reply } from '../reply.ts'
import {
  CommandError,
  defaultEnd,
  distinct,
  refused,
  Refusal,
  type Held,
  type Step,
  type StepLimits,
  type Stepped,
} from '../step.ts'
import { Delivering } from './deliver.ts'
import { withGroup } from './groups.ts'
import { idText, LEAST_ID, nextId, type StreamId } from './ids.ts'
import { readArguments, type ReadArguments } from './read-arguments.ts'
import { entriesReply } from './replies.ts'
import { guarded, guardedSlices, storedAs, streamOrRefusal } from './steps.ts'
import { firstFrom, type Stream } from './stream.ts'

export function xread(args: readonly Buffer[], nowMs: number, limits?: Pick<StepLimits, 'inScript'>): Step {
  const given = readArguments(args, false, nowMs)
  refuseWaiting(args, given, limits)
  const { keys, places } = distinct(given.keys)
  return {
    needs: 'value',
    keys,
    reads: true,
    writes: false,
    lookedUp: places,
    answersValues: true,
    bytesAUnit: COLLECTION_BYTES_A_UNIT,
    apply: (held) => guarded(() => readFrom(held, places, given)),
  }
}

function refuseWaiting(
  [name]: readonly Buffer[],
  { blockMs }: ReadArguments,
  limits?: Pick<StepLimits, 'inScript'>,
): void {
  if (blockMs === null || !limits?.inScript) return
  throw new CommandError(`ERR ${name!.toString()} command is not allowed with BLOCK option from scripts`)
}

function readFrom(
  held: readonly (Held | null)[],
  places: readonly number[],
  { keys, from, count }: ReadArguments,
): Stepped {
  const streams: (Stream | null)[] = []
  for (const [i, place] of places.entries()) {
    // Of a key that is named again, what is known already.
    const before = places.indexOf(place)
    const stream = before < i ? streams[before]! : streamOrRefusal(held[place]!)
    if (stream && 'reply' in stream) return stream
    const wrong = from[i]!
    if (wrong instanceof Refusal) return { reply: wrong }
    streams.push(stream)
  }
  const found: [Buffer, Reply][] = []
  streams.forEach((stream, i) => {
    const after = from[i]!
    if (!stream || stream.length === 0 || !Buffer.isBuffer(after)) return
    if (stream.lastId.compare(after) <= 0) return
    const first = firstFrom(stream, nextId(after)!)
    if (first === stream.length) return
    const end = count > 0 ? Math.min(first + count, stream.length) : stream.length
    found.push([keys[i]!, entriesReply(stream.entries(first, end))])
  })
  return { reply: found.length > 0 ? new RespNamed(found) : NULL_ARRAY }
}

/** The command with the last ids that the streams have now in place of `$`. @param held in the order of the step's keys */
export function withKnownIds(
  args: readonly Buffer[],
  held: readonly (Held | null)[],
  nowMs: number,
): Buffer[] {
  const { keys, from } = readArguments(args, false, nowMs)
  const { places } = distinct(keys)
  const known = [...args]
  from.forEach((one, i) => {
    if (one !== 'later') return
    const stream = streamOrRefusal(held[places[i]!]!)
    const lastId: StreamId = stream && !('reply' in stream) ? stream.lastId : LEAST_ID
    known[args.length - keys.length + i] = Buffer.from(idText(lastId))
  })
  return known
}

export function xreadgroup(args: readonly Buffer[], nowMs: number, limits: StepLimits): Step {
  const given = readArguments(args, true, nowMs)
  refuseWaiting(args, given, limits)
  const { keys, places } = distinct(given.keys)
  const newEndMs = defaultEnd(limits, nowMs)
  const slices = (held: readonly (Held | null)[], applyMs: number) =>
    guardedSlices(readWithGroup(held, places, given, newEndMs, applyMs))
  return {
    needs: 'value',
    keys,
    reads: true,
    writes: true,
    lookedUp: places,
    answersValues: true,
    bytesAUnit: COLLECTION_BYTES_A_UNIT,
    apply: (held, applyMs) => inOneGo(slices(held, applyMs)),
    // A key may be named often.
    ...(places.length > 1
      ? { slow: { cost: (held: readonly (Held | null)[]) => unitsOf(held, places), slices } }
      : {}),
  }
}

/** So many that the clock is read after each: what was delivered may be much. */
const UNITS_A_NAME = 256

function unitsOf(held: readonly (Held | null)[], places: readonly number[]): number {
  const bytes = places.reduce((sum, place) => sum + (held[place]?.value.length ?? 0), 0)
  return bytes / COLLECTION_BYTES_A_UNIT
}

function* readWithGroup(
  held: readonly (Held | null)[],
  places: readonly number[],
  { keys, from, count, group }: ReadArguments,
  newEndMs: number,
  nowMs: number,
): Sliced<Stepped> {
  const { name, consumer, noAck } = group!
  const all = held.map((): Delivering | null => null)
  for (const [i, place] of places.entries()) {
    const stream = streamOrRefusal(held[place]!)
    if (stream && 'reply' in stream) return stream
    const found = stream?.group(name)
    if (!stream || !found) return noGroup(keys[i]!, name, ' in XREADGROUP with GROUP option')
    const wrong = from[i]!
    if (wrong instanceof Refusal) return { reply: wrong }
    all[place] ??= new Delivering(stream, found, consumer, nowMs)
  }
  const replies: [Buffer, Reply][] = []
  for (const [i, place] of places.entries()) {
    const delivering = all[place]!
    const after = from[i] as StreamId | 'undelivered'
    const reply =
      after === 'undelivered'
        ? delivering.undelivered(count, noAck)
        : delivering.history(nextId(after)!, count)
    if (reply !== null) replies.push([keys[i]!, reply])
    yield UNITS_A_NAME
  }
  const next: (Held | undefined)[] = []
  for (const [place, delivering] of all.entries()) {
    const changed = delivering!.result()
    if (!changed) continue
    const { stream } = delivering!
    const stored = storedAs(stream.with({ groups: withGroup(stream.groups, changed) }), held[place], newEndMs)
    if ('reply' in stored) return stored
    next[place] = stored
  }
  const reply = replies.length > 0 ? new RespNamed(replies) : NULL_ARRAY
  return next.length === 0 ? { reply } : { reply, next: all.map((_, place) => next[place]) }
}

/** @param more what the command adds */
export function noGroup(key: Buffer, group: Buffer, more = ''): Stepped {
  return refused(
    `NOGROUP No such key '${shown(key)}' or consumer group '${shown(group)}'${more}`,
    'KEY_NOT_FOUND',
  )
}
