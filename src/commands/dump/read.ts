/**
 * Values from DUMPs of Redis: strings, collections and streams in all forms that Redis 2.6 to 8 writes, but for modules, and
 * hashes whose fields expire.
 */
import type { Sliced } from '../../core/work.ts'
import { NewEntries, pairEntry, plainEntry, scoredEntry } from '../collections/entries.ts'
import { compareScored, type Scored } from '../collections/sorted-sets.ts'
import { HASH, LIST, SET, SORTED_SET, type CollectionType } from '../collections/steps.ts'
import { parseDouble } from '../doubles.ts'
import { BadData, Input, TooMuchData } from './input.ts'
import { readStream, STREAM_FORMS } from './streams.ts'
import type { NewStream } from '../streams/stored.ts'
import { inIntset, inListpack, inZiplist, type ForEachText } from './packed.ts'

/** No collection that can be stored takes so many bytes in any of the forms. */
const MAX_COLLECTION_BYTES_DUMPED = 2 * 1024 * 1024
/** Each of its texts is an object while it is read. */
const MAX_ENTRIES_DUMPED = 32_768

const TOO_LARGE = `A collection has at most ${MAX_COLLECTION_BYTES_DUMPED} bytes and ${MAX_ENTRIES_DUMPED} elements in a payload (a fixed limit).`

/** A string; a stream; or a collection. */
export type Restored = Buffer | NewStream | { readonly type: CollectionType; readonly entries: NewEntries }

/** Reads the texts of a collection, one by one. */
type Texts = (input: Input, found: (text: Buffer) => void) => void

const counted =
  (each: number): Texts =>
  (input, found) => {
    for (let left = input.length() * each; left > 0; left--) found(input.text())
  }
const packed =
  (inPacked: ForEachText): Texts =>
  (input, found) =>
    inPacked(input.text(), found)

const PLAIN_NODE = 1
const PACKED_NODE = 2

/** A list of lists; or of elements that are too long for them. */
const quicklist2: Texts = (input, found) => {
  for (let left = input.length(); left > 0; left--) {
    const container = input.length()
    if (container === PLAIN_NODE) found(input.text())
    else if (container === PACKED_NODE) inListpack(input.text(), found)
    else throw new BadData()
  }
}
const quicklist: Texts = (input, found) => {
  for (let left = input.length(); left > 0; left--) inZiplist(input.text(), found)
}

const STRING = 0
const SCORES_AS_TEXT = 3
const SCORES_AS_DOUBLES = 5

/** By the byte that the type has in an RDB file. */
const COLLECTIONS = new Map<number, { readonly type: CollectionType; readonly texts: Texts }>([
  [1, { type: LIST, texts: counted(1) }],
  [2, { type: SET, texts: counted(1) }],
  [4, { type: HASH, texts: counted(2) }],
  [10, { type: LIST, texts: packed(inZiplist) }],
  [11, { type: SET, texts: packed(inIntset) }],
  [12, { type: SORTED_SET, texts: packed(inZiplist) }],
  [13, { type: HASH, texts: packed(inZiplist) }],
  [14, { type: LIST, texts: quicklist }],
  [16, { type: HASH, texts: packed(inListpack) }],
  [17, { type: SORTED_SET, texts: packed(inListpack) }],
  [18, { type: LIST, texts: quicklist2 }],
  [20, { type: SET, texts: packed(inListpack) }],
])

/**
 * @param bytes without version and checksum
 * @throws BadData, TooMuchData
 */
export function* readValue(bytes: Buffer, maxStringBytes: number): Sliced<Restored> {
  const budget = { left: Math.max(maxStringBytes, MAX_COLLECTION_BYTES_DUMPED) }
  const input = new Input(bytes, budget)
  const form = input.byte()
  const restored: Restored =
    form === STRING
      ? yield* input.longText()
      : STREAM_FORMS.has(form)
        ? yield* streamIn(form, input, bytes.length, budget)
        : collectionIn(form, input, bytes.length, budget)
  if (!input.isAtEnd) throw new BadData()
  return restored
}

function streamIn(form: number, input: Input, length: number, budget: { left: number }): Sliced<NewStream> {
  if (length > MAX_COLLECTION_BYTES_DUMPED) throw new TooMuchData(TOO_LARGE)
  budget.left = MAX_COLLECTION_BYTES_DUMPED
  return readStream(form, input)
}

function collectionIn(form: number, input: Input, length: number, budget: { left: number }): Restored {
  const scored = form === SCORES_AS_TEXT || form === SCORES_AS_DOUBLES
  const collection = COLLECTIONS.get(form)
  if (!scored && !collection) throw new BadData()
  if (length > MAX_COLLECTION_BYTES_DUMPED) throw new TooMuchData(TOO_LARGE)
  budget.left = MAX_COLLECTION_BYTES_DUMPED
  if (!collection) {
    return { type: SORTED_SET, entries: sortedEntries(membersIn(input, form === SCORES_AS_DOUBLES)) }
  }
  const { type, texts } = collection
  const most = MAX_ENTRIES_DUMPED * (type === HASH || type === SORTED_SET ? 2 : 1)
  const found: Buffer[] = []
  texts(input, (text) => {
    if (found.push(text) > most) throw new TooMuchData(TOO_LARGE)
  })
  return { type, entries: entriesOf(type, found) }
}

/** @throws BadData if there are none, or one twice */
function entriesOf(type: CollectionType, texts: readonly Buffer[]): NewEntries {
  if (texts.length === 0) throw new BadData()
  const entries = new NewEntries()
  if (type === LIST || type === SET) {
    if (type === SET) checkDistinct(texts)
    for (const text of texts) entries.add(plainEntry(text))
    return entries
  }
  if (texts.length % 2 !== 0) throw new BadData()
  const pairs = Array.from(
    { length: texts.length / 2 },
    (_, i) => [texts[2 * i]!, texts[2 * i + 1]!] as const,
  )
  if (type === SORTED_SET) {
    return sortedEntries(pairs.map(([member, score]) => ({ member, score: scoreIn(score) })))
  }
  checkDistinct(pairs.map(([field]) => field))
  for (const [field, value] of pairs) entries.add(pairEntry(field, value))
  return entries
}

function checkDistinct(texts: readonly Buffer[]): void {
  if (new Set(texts.map((text) => text.toString('latin1'))).size < texts.length) throw new BadData()
}

function sortedEntries(members: Scored[]): NewEntries {
  if (members.length === 0) throw new BadData()
  checkDistinct(members.map(({ member }) => member))
  const entries = new NewEntries()
  for (const { score, member } of members.sort(compareScored)) entries.add(scoredEntry(score, member))
  return entries
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

function membersIn(input: Input, areDoubles: boolean): Scored[] {
  const members: Scored[] = []
  const count = input.length()
  if (count > MAX_ENTRIES_DUMPED) throw new TooMuchData(TOO_LARGE)
  for (let left = count; left > 0; left--) {
    const member = input.text()
    const score = areDoubles ? input.take(8).readDoubleLE() : scoreAsText(input)
    if (Number.isNaN(score)) throw new BadData()
    members.push({ member, score })
  }
  return members
}

function scoreAsText(input: Input): number {
  const length = input.byte()
  if (length === NAN_LENGTH) throw new BadData()
  return INFINITE_LENGTHS.get(length) ?? scoreIn(input.take(length))
}
