/**
 * Values from DUMPs of Redis: strings, collections and streams in all forms that Redis 2.6 to 8 writes, but for modules, and
 * hashes whose fields expire.
 */
import type { Sliced } from '../../core/work.ts'
import {
  Entries,
  FreshEntries,
  pairEntry,
  plainEntry,
  scoredEntry,
  type NewEntries,
} from '../collections/entries.ts'
import { inHashOrder } from '../collections/large/cut.ts'
import { FieldHash } from '../collections/large/field-hash.ts'
import { mergeSort } from '../collections/merge-sort.ts'
import {
  HASH,
  LIST,
  MAX_COLLECTION_BYTES,
  MAX_COLLECTION_ENTRIES,
  SET,
  SORTED_SET,
  type CollectionType,
} from '../collections/steps.ts'
import { parseDouble } from '../doubles.ts'
import type { StepLimits } from '../step.ts'
import { BadData, Input, TooMuchData } from './input.ts'
import { readStream, STREAM_FORMS } from './streams.ts'
import type { NewStream } from '../streams/stored.ts'
import { intsetTexts, listpackTexts, ziplistTexts, type SlicedTexts } from './packed.ts'

const TOO_LARGE = `A collection has at most ${MAX_COLLECTION_BYTES} bytes and ${MAX_COLLECTION_ENTRIES} elements (a fixed limit).`

/** A string; a stream; or a collection. */
export type Restored = Buffer | NewStream | { readonly type: CollectionType; readonly entries: NewEntries }

/** Reads the texts of a collection, one by one. */
type Texts = (input: Input, found: (text: Buffer) => void) => Sliced<void>

/** Texts that are read between two yields. */
const TEXTS_A_PIECE = 256
const UNITS_A_PIECE = 32

const counted = (each: number): Texts =>
  function* (input, found) {
    for (let left = input.length() * each; left > 0; left--) {
      found(input.plainText() ?? (yield* input.compressedText()))
      if (left % TEXTS_A_PIECE === 0) yield UNITS_A_PIECE
    }
  }
const packed = (inPacked: SlicedTexts): Texts =>
  function* (input, found) {
    yield* inPacked(yield* input.longText(), found)
  }

const PLAIN_NODE = 1
const PACKED_NODE = 2

/** A list of lists; or of elements that are too long for them. */
const quicklist2: Texts = function* (input, found) {
  for (let left = input.length(); left > 0; left--) {
    const container = input.length()
    if (container === PLAIN_NODE) found(yield* input.longText())
    else if (container === PACKED_NODE) yield* listpackTexts(yield* input.longText(), found)
    else throw new BadData()
    yield UNITS_A_PIECE
  }
}
const quicklist: Texts = function* (input, found) {
  for (let left = input.length(); left > 0; left--) {
    yield* ziplistTexts(yield* input.longText(), found)
    yield UNITS_A_PIECE
  }
}

const STRING = 0
const SCORES_AS_TEXT = 3
const SCORES_AS_DOUBLES = 5

/** By the byte that the type has in an RDB file. */
const COLLECTIONS = new Map<number, { readonly type: CollectionType; readonly texts: Texts }>([
  [1, { type: LIST, texts: counted(1) }],
  [2, { type: SET, texts: counted(1) }],
  [4, { type: HASH, texts: counted(2) }],
  [10, { type: LIST, texts: packed(ziplistTexts) }],
  [11, { type: SET, texts: packed(intsetTexts) }],
  [12, { type: SORTED_SET, texts: packed(ziplistTexts) }],
  [13, { type: HASH, texts: packed(ziplistTexts) }],
  [14, { type: LIST, texts: quicklist }],
  [16, { type: HASH, texts: packed(listpackTexts) }],
  [17, { type: SORTED_SET, texts: packed(listpackTexts) }],
  [18, { type: LIST, texts: quicklist2 }],
  [20, { type: SET, texts: packed(listpackTexts) }],
])

/**
 * @param bytes without version and checksum
 * @throws BadData, TooMuchData
 */
export function* readValue(
  bytes: Buffer,
  { maxValueBytes, random }: Pick<StepLimits, 'maxValueBytes' | 'random'>,
): Sliced<Restored> {
  const budget = { left: Math.max(maxValueBytes, MAX_COLLECTION_BYTES) }
  const input = new Input(bytes, budget)
  const form = input.byte()
  const restored: Restored =
    form === STRING
      ? yield* input.longText()
      : STREAM_FORMS.has(form)
        ? yield* readStream(form, input)
        : yield* collectionIn(form, input, random)
  if (!input.isAtEnd) throw new BadData()
  return restored
}

/** @throws BadData if it is none, is empty, or has an entry twice */
function* collectionIn(form: number, input: Input, random: () => number): Sliced<Restored> {
  const scored = form === SCORES_AS_TEXT || form === SCORES_AS_DOUBLES
  const { type, texts } = COLLECTIONS.get(form) ?? { type: SORTED_SET, texts: null }
  if (!scored && !texts) throw new BadData()
  const read = new FreshEntries()
  const add = (entry: Buffer) => {
    read.add(entry)
    if (read.count > MAX_COLLECTION_ENTRIES || read.bytes > MAX_COLLECTION_BYTES) {
      throw new TooMuchData(TOO_LARGE)
    }
  }
  if (texts) yield* entriesIn(input, type, texts, add)
  else yield* membersIn(input, form === SCORES_AS_DOUBLES, add)
  if (read.count === 0) throw new BadData()
  if (type === LIST) return { type, entries: read }
  const entries = yield* Entries.ofInSlices(read.value(), type.shape)
  if (!(yield* areDistinct(entries, random))) throw new BadData()
  return { type, entries: type === SORTED_SET ? yield* inOrder(entries) : read }
}

/** @throws BadData if half of a pair is missing */
function* entriesIn(
  input: Input,
  type: CollectionType,
  texts: Texts,
  add: (entry: Buffer) => void,
): Sliced<void> {
  let first: Buffer | null = null
  yield* texts(input, (text) => {
    if (type === LIST || type === SET) add(plainEntry(text))
    else if (first === null) first = text
    else {
      add(type === HASH ? pairEntry(first, text) : scoredEntry(scoreIn(text), first))
      first = null
    }
  })
  if (first !== null) throw new BadData()
}

const KEY_BYTES = 8
const BYTE_VALUES = 256

/** Without a table of them, which would take more memory than they do. */
function* areDistinct(entries: Entries, random: () => number): Sliced<boolean> {
  const key = Buffer.from(Array.from({ length: KEY_BYTES }, () => Math.floor(random() * BYTE_VALUES)))
  const { hashes, places } = yield* inHashOrder(entries, new FieldHash(key))
  const hashAt = (i: number) => hashes[places[i]!]
  for (let i = 1; i < places.length; i++) {
    for (let j = i - 1; j >= 0 && hashAt(j) === hashAt(i); j--) {
      if (entries.hasKey(places[i]!, entries.key(places[j]!))) return false
    }
    if (i % TEXTS_A_PIECE === 0) yield UNITS_A_PIECE
  }
  return true
}

/** As a sorted set has them: Redis dumps a large one backwards. */
function* inOrder(entries: Entries): Sliced<NewEntries> {
  const { length } = entries
  // The difference of two infinities is no number.
  const compare = (a: number, b: number) =>
    entries.score(a) === entries.score(b)
      ? entries.compareKey(a, entries.key(b))
      : entries.score(a) - entries.score(b)
  const places = Array.from({ length }, (_, i) => length - 1 - i)
  let isBackward = true
  for (let i = 1; i < length && isBackward; i++) {
    isBackward = compare(places[i - 1]!, places[i]!) < 0
    if (i % TEXTS_A_PIECE === 0) yield UNITS_A_PIECE
  }
  const sorted = isBackward ? places : yield* mergeSort(places, compare)
  const next = new FreshEntries()
  for (const [i, place] of sorted.entries()) {
    next.keep(entries, place, place + 1)
    if (i % TEXTS_A_PIECE === 0) yield UNITS_A_PIECE
  }
  return next
}

function scoreIn(text: Buffer): number {
  const score = parseDouble(text)
  if (score === null) throw new BadData()
  return score
}

const NAN_LENGTH = 253
const INFINITE_LENGTHS = new Map([
  [254, Infinity],
  [255, -Infinity],
])

function* membersIn(input: Input, areDoubles: boolean, add: (entry: Buffer) => void): Sliced<void> {
  for (let left = input.length(); left > 0; left--) {
    const member = input.plainText() ?? (yield* input.compressedText())
    const score = areDoubles ? input.take(8).readDoubleLE() : scoreAsText(input)
    if (Number.isNaN(score)) throw new BadData()
    add(scoredEntry(score, member))
    if (left % TEXTS_A_PIECE === 0) yield UNITS_A_PIECE
  }
}

function scoreAsText(input: Input): number {
  const length = input.byte()
  if (length === NAN_LENGTH) throw new BadData()
  return INFINITE_LENGTHS.get(length) ?? scoreIn(input.take(length))
}
