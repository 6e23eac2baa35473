/**
 * Steps on streams: they decode what a key holds (stored.ts), refuse what is of another type, and encode the result.
 *
 * Limits: each change rewrites the whole value on every replica, so a stream is bounded as the collections are. Its groups
 * have a bound of their own: a stream that is full can still be read by a group, and acknowledged.
 */
import { KIND_STREAM } from '../../core/codec.ts'
import type { Sliced } from '../../core/work.ts'
import { DamagedCollection } from '../collections/texts.ts'
import { COLLECTION_BYTES_A_UNIT, DAMAGED, isOf, tooMuch } from '../collections/steps.ts'
import type { Reply } from '../reply.ts'
import {
  defaultEnd,
  taggedAs,
  WRONG_TYPE,
  type Held,
  type Step,
  type StepLimits,
  type Stepped,
} from '../step.ts'
import { NO_STREAM, Stream, type NewStream } from './stored.ts'

export const STREAM = { kind: KIND_STREAM, name: 'stream' } as const
/** Each change rewrites the whole value on every replica, so a stream is bounded well below other values. */
const MAX_STREAM_BYTES = 256 * 1024
const MAX_STREAM_ENTRIES = 32_768
/** Of all groups of a stream: 32 bytes for each pending entry, and the names. */
export const MAX_GROUP_BYTES = MAX_STREAM_BYTES
const GROUPS = { name: 'groups of the stream' }

/** What a change makes of a stream; omitted when nothing is to be stored. */
export interface Changed {
  readonly reply: Reply
  readonly stream?: NewStream
}

/** A read-only step. @param answer gets null for a key that does not exist */
export function lookAtStream(
  key: Buffer,
  answer: (stream: Stream | null, nowMs: number) => Reply,
  options: { readonly answersValues?: boolean } = {},
): Step {
  return {
    bytesAUnit: COLLECTION_BYTES_A_UNIT,
    ...options,
    needs: 'value',
    keys: [key],
    reads: true,
    writes: false,
    apply: ([held = null], nowMs) =>
      guarded(() => {
        const stream = streamOrRefusal(held)
        return stream && 'reply' in stream ? stream : { reply: answer(stream, nowMs) }
      }),
  }
}

/** As Redis counts it: of commands that look at a group before they change it. */
export const LOOKED_UP = { lookedUp: [0] } as const

/** A step that changes one stream. @param change gets null for a key that does not exist */
export function changeStream(
  key: Buffer,
  nowMs: number,
  limits: StepLimits,
  change: (stream: Stream | null, nowMs: number) => Changed,
  options: Pick<Step, 'lookedUp'> = {},
): Step {
  const newEndMs = defaultEnd(limits, nowMs)
  return {
    bytesAUnit: COLLECTION_BYTES_A_UNIT,
    ...options,
    needs: 'value',
    keys: [key],
    reads: true,
    writes: true,
    apply: ([held = null], applyMs) =>
      guarded(() => {
        const stream = streamOrRefusal(held)
        if (stream && 'reply' in stream) return stream
        const { reply, stream: after } = change(stream, applyMs)
        if (!after) return { reply }
        const stored = storedAs(after, held, newEndMs)
        return 'reply' in stored ? stored : { reply, next: [stored] }
      }),
  }
}

/** What the key holds of it, or why it is refused. @param held what it held before @param newEndMs of a new one */
export function storedAs(next: NewStream, held: Held | null, newEndMs: number): Held | Stepped {
  const { count, entryBytes, groupBytes } = next
  if (entryBytes > MAX_STREAM_BYTES) return tooMuch(STREAM, `${entryBytes} bytes`, MAX_STREAM_BYTES)
  if (count > MAX_STREAM_ENTRIES) return tooMuch(STREAM, `${count} elements`, MAX_STREAM_ENTRIES)
  if (groupBytes > MAX_GROUP_BYTES) return tooMuch(GROUPS, `${groupBytes} bytes`, MAX_GROUP_BYTES)
  return {
    ...taggedAs(held),
    value: next.value(),
    expiresAtMs: held?.expiresAtMs ?? newEndMs,
    kind: KIND_STREAM,
  }
}

/** What a key holds, null = nothing; or why it cannot be used. @throws DamagedCollection */
export function streamOrRefusal(held: Held | null): Stream | null | Stepped {
  if (!held) return null
  return isOf(held, STREAM) ? Stream.of(held.value) : WRONG_TYPE
}

/** What the work on a stream replies if it finds that what is stored is damaged. */
export function guarded(apply: () => Stepped): Stepped {
  try {
    return apply()
  } catch (error) {
    if (error instanceof DamagedCollection) return DAMAGED
    throw error
  }
}

/** The same in slices. */
export function* guardedSlices(job: Sliced<Stepped>): Sliced<Stepped> {
  try {
    return yield* job
  } catch (error) {
    if (error instanceof DamagedCollection) return DAMAGED
    throw error
  }
}

export { NO_STREAM }
