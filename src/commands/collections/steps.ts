/**
 * Steps on collections: they decode what a key holds (entries.ts), refuse what is of another type, and encode the result.
 *
 * A collection that has become empty is deleted. A changed one keeps its expiry time, and a new one gets the default.
 *
 * A collection that is stored in parts (large/) is one to a command as well (Collection): it reads the parts that it looks
 * at, and its result has those that it has changed. What looks at all entries has them flat (Entries), and a flat result is
 * cut by what runs the step.
 */
import { KIND_HASH, KIND_LIST, KIND_SET, KIND_SORTED_SET } from '../../core/codec.ts'
import { byteRange } from '../../core/part.ts'
import type { Integer } from '../arguments.ts'
import type { Reply } from '../reply.ts'
import {
  defaultEnd,
  refused,
  taggedAs,
  WRONG_TYPE,
  type Held,
  type Seen,
  type SeenPart,
  type Step,
  type StepLimits,
  type Stepped,
} from '../step.ts'
import {
  COLLECTION_HEAD_BYTES,
  countIn,
  DamagedCollection,
  Entries,
  HASH_SHAPE,
  PLAIN_SHAPE,
  SORTED_SET_SHAPE,
  type Collection,
  type NewEntries,
  type Shape,
  valueInPairs,
} from './entries.ts'
import { LargeCollection } from './large/collection.ts'
import { isLarge, RootTooLong } from './large/root.ts'
import { wholeOf } from './large/split.ts'

export interface CollectionType {
  readonly kind: number
  readonly shape: Shape
  readonly name: string
}

export const HASH: CollectionType = { kind: KIND_HASH, shape: HASH_SHAPE, name: 'hash' }
export const SET: CollectionType = { kind: KIND_SET, shape: PLAIN_SHAPE, name: 'set' }
export const SORTED_SET: CollectionType = {
  kind: KIND_SORTED_SET,
  shape: SORTED_SET_SHAPE,
  name: 'sorted set',
}
export const LIST: CollectionType = { kind: KIND_LIST, shape: PLAIN_SHAPE, name: 'list' }

/** What a root can name the parts of, with some room (large/sizes.ts). */
export const MAX_COLLECTION_BYTES = 32 * 1024 * 1024
export const MAX_COLLECTION_ENTRIES = 2 * 1024 * 1024

/** Decoding and encoding take longer than reading a string of as many bytes. */
export const COLLECTION_BYTES_A_UNIT = 256

export const DAMAGED = refused('ERR the stored collection is damaged', 'INTERNAL')

/** What a change makes of a collection; omitted when nothing is to be stored. */
export interface Changed {
  readonly reply: Reply
  readonly entries?: NewEntries
}

/** A step that reads its collections, and may replace each of them. */
export function changeKeys(
  keys: readonly Buffer[],
  apply: (held: readonly (Held | null)[], nowMs: number) => Stepped,
): Step {
  return {
    needs: 'value',
    keys,
    reads: true,
    writes: true,
    bytesAUnit: COLLECTION_BYTES_A_UNIT,
    apply: (held, nowMs) => undamaged(() => apply(held, nowMs)),
  }
}

interface LookOptions {
  readonly answersValues?: boolean
  readonly bytesAUnit?: number
}

/** A read-only step that looks at a few of the entries; an absent key is an empty collection. */
export function look(
  key: Buffer,
  type: CollectionType,
  answer: (collection: Collection) => Reply,
  options: LookOptions = {},
): Step {
  return reading(key, options, (held) => {
    const collection = collectionOrRefusal(held, type)
    return 'reply' in collection ? collection : { reply: answer(collection) }
  })
}

/** The same, for the value of one field of a hash (HGET): one that is stored flat is walked once. */
export function lookAtField(key: Buffer, field: Buffer, answer: (value: Buffer | null) => Reply): Step {
  return reading(key, {}, (held) => {
    if (held && isOf(held, HASH) && !isLarge(held.value)) {
      return { reply: answer(valueInPairs(held.value, field)) }
    }
    const hash = collectionOrRefusal(held, HASH)
    if ('reply' in hash) return hash
    const at = hash.indexOf(field)
    return { reply: answer(at === -1 ? null : hash.value(at)) }
  })
}

function reading(
  key: Buffer,
  { answersValues = false, bytesAUnit = COLLECTION_BYTES_A_UNIT }: LookOptions,
  apply: (held: Held | null) => Stepped,
): Step {
  return {
    bytesAUnit,
    answersValues,
    needs: 'value',
    keys: [key],
    reads: true,
    writes: false,
    apply: ([held = null]) => undamaged(() => apply(held)),
  }
}

/** The same, for one that looks at all of them. */
export function lookAtEntries(
  key: Buffer,
  type: CollectionType,
  answer: (entries: Entries) => Reply,
  options: LookOptions = {},
): Step {
  return look(key, type, (collection) => answer(collection.flat()), options)
}

/** The same, but only the number of entries is read. */
export function lookAtCount(
  key: Buffer,
  type: Pick<CollectionType, 'kind'>,
  answer: (count: number) => Reply,
): Step {
  return {
    needs: byteRange(0, COLLECTION_HEAD_BYTES - 1),
    keys: [key],
    reads: true,
    writes: false,
    apply([seen = null]: readonly (SeenPart | null)[]): Stepped {
      if (!isOf(seen, type)) return WRONG_TYPE
      const count = seen ? countIn(seen.part) : 0
      return count === null ? DAMAGED : { reply: answer(count) }
    },
  }
}

/** A step that changes one collection; an absent key is an empty one. */
export function changeEntries(
  key: Buffer,
  type: CollectionType,
  nowMs: number,
  limits: StepLimits,
  change: (collection: Collection) => Changed,
): Step {
  const newEndMs = defaultEnd(limits, nowMs)
  return changeKeys([key], ([held = null]) => {
    const collection = collectionOrRefusal(held, type)
    if ('reply' in collection) return collection
    const { reply, entries: after } = change(collection)
    if (!after) return { reply }
    const stored = storedAs(type, after, held?.expiresAtMs ?? newEndMs, held)
    return isRefusal(stored) ? stored : { reply, next: [stored] }
  })
}

/**
 * What the key holds of it: null = nothing, because it is empty; or why it is refused.
 *
 * @param changed what the key has held of it before
 */
export function storedAs(
  type: CollectionType,
  next: NewEntries,
  expiresAtMs: number,
  changed?: Held | null,
): Held | null | Stepped {
  const { count } = next
  if (count === 0) return null
  if (count > MAX_COLLECTION_ENTRIES) return tooMuch(type, `${count} elements`, MAX_COLLECTION_ENTRIES)
  if (next.bytes > MAX_COLLECTION_BYTES) return tooMuch(type, `${next.bytes} bytes`, MAX_COLLECTION_BYTES)
  try {
    const { bytes, value, changedParts } = next.changed()
    if (bytes > MAX_COLLECTION_BYTES) return tooMuch(type, `${bytes} bytes`, MAX_COLLECTION_BYTES)
    const { kind } = type
    if (!changedParts && !changed?.tags) return { value, expiresAtMs, kind }
    return { ...taggedAs(changed), value, expiresAtMs, kind, ...(changedParts && { changedParts }) }
  } catch (error) {
    if (error instanceof RootTooLong) return ROOT_TOO_LONG
    throw error
  }
}

/** The result of a command in place of what its target holds, which is gone if that is empty. The reply is the count. */
export function storedResult(
  type: CollectionType,
  result: NewEntries,
  held: readonly (Held | null)[],
  target: number,
  expiresAtMs: number,
): Stepped {
  const stored = storedAs(type, result, expiresAtMs)
  if (isRefusal(stored)) return stored
  if (stored === null && !held[target]) return { reply: 0 }
  return { reply: result.count, next: held.map((_, i) => (i === target ? stored : undefined)) }
}

export function isRefusal(stored: Held | null | Stepped): stored is Stepped {
  return stored !== null && 'reply' in stored
}

const TOO_LONG = 'The collection would have too many long members (a fixed limit: use several keys).'
export const ROOT_TOO_LONG = refused(`ERR ${TOO_LONG}`, 'VALUE_TOO_LARGE')

export function tooMuch({ name }: Pick<CollectionType, 'name'>, what: string, most: number): Stepped {
  const sentence = `The ${name} would have ${what}; at most ${most} are allowed (a fixed limit: use several keys).`
  return refused(`ERR ${sentence}`, 'VALUE_TOO_LARGE')
}

/** What a key holds; or why it cannot be used. What is asked of it may throw DamagedCollection (see undamaged). */
export function collectionOrRefusal(held: Held | null, type: CollectionType): Collection | Stepped {
  if (!held?.parts || !isOf(held, type) || !isLarge(held.value)) {
    return entriesOrRefusal(held, type)
  }
  return LargeCollection.of(held.kind, held.value, held.parts)
}

export function undamaged<T>(apply: () => T): T | Stepped {
  try {
    return apply()
  } catch (error) {
    if (error instanceof DamagedCollection) return DAMAGED
    throw error
  }
}

/** All of what a key holds; or why it cannot be used: it is of another type, or not what Rondo has written. */
export function entriesOrRefusal(held: Held | null, type: CollectionType): Entries | Stepped {
  if (!held) return Entries.NONE
  if (!isOf(held, type)) return WRONG_TYPE
  try {
    const { kind, value, parts } = held
    return isLarge(value) ? wholeOf(kind, value, parts) : Entries.of(value, type.shape)
  } catch (error) {
    if (error instanceof DamagedCollection) return DAMAGED
    throw error
  }
}

/** It is of this type, or there is nothing. */
export function isOf(seen: Seen | null, { kind }: Pick<CollectionType, 'kind'>): boolean {
  return seen === null || seen.kind === kind
}

/** Inclusive positions; negative ones count from the end. Null = empty, also if the last one is before the first entry. */
export function rangeOf(first: Integer, last: Integer, length: number): readonly [number, number] | null {
  const from = Math.max(first < 0 ? length + Number(first) : Number(first), 0)
  const to = Math.min(last < 0 ? length + Number(last) : Number(last), length - 1)
  return from > to ? null : [from, to]
}
