/**
 * Steps on streams: they decode what a key holds (stored.ts), refuse what is of another type, and encode the result.
 *
 * A stream that is stored in parts (large/) is one to a command as well. Its groups have bounds of their own: a stream that is
 * full can still be read by a group, and acknowledged.
 */
import { KIND_STREAM } from '../../core/codec.ts'
import type { Sliced } from '../../core/work.ts'
import { DamagedCollection } from '../collections/texts.ts'
import { isLarge, RootTooLong } from '../collections/large/root.ts'
import {
  COLLECTION_BYTES_A_UNIT,
  DAMAGED,
  isOf,
  MAX_COLLECTION_BYTES,
  MAX_COLLECTION_ENTRIES,
  ROOT_TOO_LONG,
  tooMuch,
} from '../collections/steps.ts'
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
import { LargeStream } from './large/stream.ts'
import { flatStream } from './large/split.ts'
import { FlatStream, NO_STREAM } from './stored.ts'
import type { ChangedStream, Stream } from './stream.ts'

export const STREAM = { kind: KIND_STREAM, name: 'stream' } as const
/** Of the names of all groups and consumers, which each change rewrites. */
export const MAX_GROUP_BYTES = 256 * 1024
/** Of all groups together: 65,536 entries. */
export const MAX_PENDING_BYTES = 2 * 1024 * 1024
const GROUPS = { name: 'groups of the stream' }
const PENDING = { name: 'pending entries of the stream' }

/** What a change makes of a stream; omitted when nothing is to be stored. */
export interface Changed {
  readonly reply: Reply
  readonly stream?: ChangedStream
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
export function storedAs(
  next: ChangedStream,
  held: Held | null | undefined,
  newEndMs: number,
): Held | Stepped {
  const { count, entryBytes, groupBytes, pendingBytes } = next
  if (entryBytes > MAX_COLLECTION_BYTES) return tooMuch(STREAM, `${entryBytes} bytes`, MAX_COLLECTION_BYTES)
  if (count > MAX_COLLECTION_ENTRIES) return tooMuch(STREAM, `${count} elements`, MAX_COLLECTION_ENTRIES)
  if (groupBytes > MAX_GROUP_BYTES) return tooMuch(GROUPS, `${groupBytes} bytes`, MAX_GROUP_BYTES)
  if (pendingBytes > MAX_PENDING_BYTES) return tooMuch(PENDING, `${pendingBytes} bytes`, MAX_PENDING_BYTES)
  try {
    return {
      ...taggedAs(held),
      ...next.stored(),
      expiresAtMs: held?.expiresAtMs ?? newEndMs,
      kind: KIND_STREAM,
    }
  } catch (error) {
    if (error instanceof RootTooLong) return ROOT_TOO_LONG
    throw error
  }
}

/** What a key holds, null = nothing; or why it cannot be used. @throws DamagedCollection */
export function streamOrRefusal(held: Held | null): Stream | null | Stepped {
  if (!held) return null
  if (!isOf(held, STREAM)) return WRONG_TYPE
  const { value, parts } = held
  if (!isLarge(value)) return FlatStream.of(value)
  return parts ? LargeStream.of(value, parts) : FlatStream.of(flatStream(value, parts))
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
