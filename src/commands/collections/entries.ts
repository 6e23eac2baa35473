/**
 * How a collection is stored: as the value of one record, a flat list of entries. Final, as the record's head is
 * (core/codec.ts): changing it means migrating users' data.
 *
 *   0   1 format 01
 *   1   4 number of entries
 *   5     the entries
 *
 *   hash         field, value                 in the order in which the fields came
 *   set          member                       in that order, too
 *   sorted set   score (double, 8), member    by score, then by member
 *   list         element                      from left to right
 *
 * Each of these strings follows its length (texts.ts). All numbers are big-endian. An empty collection is not stored: its
 * key is deleted.
 *
 * A change makes a new value of runs of the old one and of new entries, and so costs about as much as copying it; a search
 * compares lengths before bytes. Neither makes an object for each entry.
 */
import { ROOT_FORMAT } from '../../core/large-root.ts'
import { inOneGo, type Sliced } from '../../core/work.ts'
import type { PackedTexts } from '../reply.ts'
import { ByteChunks, copied } from './chunks.ts'
import {
  bodyOf,
  DamagedCollection,
  endOf,
  endOfString,
  lengthAt,
  stringAt,
  stringBytes,
  writeString,
} from './texts.ts'

export { DamagedCollection } from './texts.ts'

export interface Shape {
  /** A score is before the key. */
  readonly scored: boolean
  /** A value is behind it. */
  readonly paired: boolean
}

export const HASH_SHAPE: Shape = { scored: false, paired: true }
/** Of a set, and of a list. */
export const PLAIN_SHAPE: Shape = { scored: false, paired: false }
export const SORTED_SET_SHAPE: Shape = { scored: true, paired: false }

const FORMAT = 1
/** Everything before the entries. */
export const COLLECTION_HEAD_BYTES = 5
const COUNT_AT = 1
const SCORE_BYTES = 8
/** Entries that are decoded between two yields. */
const ENTRIES_A_PIECE = 4096
/** Compared here: a call costs more. */
const SHORT_KEY_BYTES = 64
const UNITS_A_PIECE = 32

/** The number of entries, from the value's first COLLECTION_HEAD_BYTES, flat or large; null = it is no collection. */
export function countIn(head: Buffer): number | null {
  // A root has it at the same place (large/root.ts).
  if (head.length < COLLECTION_HEAD_BYTES || (head[0] !== FORMAT && head[0] !== ROOT_FORMAT)) return null
  return head.readUInt32BE(COUNT_AT)
}

/** Whether this holds for an entry; and if so, for all behind it. */
export type Holds = (entries: Entries, i: number) => boolean

/** A piece of a changed collection: a run of what it held; or new entries. */
export type ChangedPiece = Buffer | { readonly from: number; readonly to: number }

/**
 * A collection as commands see it: flat (Entries), or in parts (large/collection.ts), of which those are read that a command
 * looks at. What is looked at together is asked for together: each question may cost a round trip.
 *
 * The order of a hash or set is that of its entries, whatever it is.
 */
export interface Collection {
  readonly length: number
  /** The field, member or element. */
  key(i: number): Buffer
  value(i: number): Buffer
  score(i: number): number
  /** The first entry with this key; -1 = none. */
  indexOf(key: Buffer): number
  indexesOf(keys: readonly Buffer[]): number[]
  /** Of members; null = it is not there. @param next the scores that they will have */
  scoresOf(members: readonly Buffer[], next?: readonly number[]): (number | null)[]
  /** In a sorted set: for each of them the first entry for which it holds; their number if for none. */
  firstsWhere(all: readonly Holds[]): number[]
  keys(from: number, to: number): Buffer[]
  /** The entries from `from` up to, without, `to`. */
  slice(from: number, to: number): Entries
  /** Entries that contain those at these places, and where they are there. */
  gather(places: readonly number[]): { readonly entries: Entries; readonly places: readonly number[] }
  flat(): Entries
  /** What takes long for so many entries; the same is asked for again when the step is applied again. */
  computed<T>(entries: number, compute: () => Sliced<T>): T
}

/** One that is not changed by writing it anew. */
export interface ChangedInParts extends Collection {
  /** @param pieces what becomes of it: its runs from left to right, and between them new entries */
  changed(pieces: readonly ChangedPiece[]): Changed
}

/** The value to store, and the parts to store with it. */
export interface Changed {
  readonly value: Buffer
  /** Of all entries. */
  readonly bytes: number
  readonly changedParts?: ReadonlyMap<number, Buffer | null>
}

interface Place {
  readonly from: number
  readonly end: number
  readonly length: number
  /** Where the last entry begins. */
  readonly lastAt: number
}

/**
 * The value of a key of a hash that is stored flat, in one pass over it: what Entries.of() and indexOf() do.
 *
 * @returns null = it has none @throws DamagedCollection
 */
export function valueInPairs(bytes: Buffer, key: Buffer): Buffer | null {
  const count = countIn(bytes)
  if (count === null || bytes[0] !== FORMAT || count > bytes.length) throw new DamagedCollection()
  let found = -1
  let at = COLLECTION_HEAD_BYTES
  for (let i = 0; i < count; i++) {
    const behindKey = endOfString(bytes, at)
    if (found === -1 && isStringAt(bytes, at, key)) found = behindKey
    at = endOfString(bytes, behindKey)
  }
  if (at !== bytes.length) throw new DamagedCollection()
  return found === -1 ? null : stringAt(bytes, found)
}

function isStringAt(bytes: Buffer, at: number, key: Buffer): boolean {
  const { length } = key
  if (lengthAt(bytes, at) !== length) return false
  const from = bodyOf(bytes, at)
  if (length > SHORT_KEY_BYTES) return key.compare(bytes, from, from + length) === 0
  // Names often begin alike, and end differently.
  for (let i = length - 1; i >= 0; i--) if (bytes[from + i] !== key[i]) return false
  return true
}

export class Entries implements Collection {
  static readonly NONE = new Entries(
    Buffer.alloc(0),
    { from: 0, end: 0, length: 0, lastAt: 0 },
    SORTED_SET_SHAPE,
    new Uint32Array(1),
  )

  /** Views of these bytes are returned. */
  readonly bytes: Buffer
  readonly length: number
  /** Where the last one ends. */
  readonly end: number
  private readonly from: number
  private readonly keyOffset: number
  private readonly shape: Shape
  /** Where each entry begins, and where the last one ends; null as long as nothing needs it: most look at one entry. */
  private starts: Uint32Array | null
  /** An entry that was found, and where it begins; at first the last one. */
  private foundIndex: number
  private foundAt: number

  private constructor(bytes: Buffer, place: Place, shape: Shape, starts: Uint32Array | null) {
    this.bytes = bytes
    this.from = place.from
    this.end = place.end
    this.length = place.length
    this.foundIndex = place.length - 1
    this.foundAt = place.lastAt
    this.shape = shape
    this.keyOffset = shape.scored ? SCORE_BYTES : 0
    this.starts = starts
  }

  /** @throws DamagedCollection */
  static of(bytes: Buffer, shape: Shape): Entries {
    const count = countIn(bytes)
    if (count === null || bytes[0] !== FORMAT) throw new DamagedCollection()
    const entries = Entries.within(bytes, COLLECTION_HEAD_BYTES, count, shape)
    if (entries.end !== bytes.length) throw new DamagedCollection()
    return entries
  }

  /** The same for very many. @throws DamagedCollection */
  static *ofInSlices(bytes: Buffer, shape: Shape): Sliced<Entries> {
    const count = countIn(bytes)
    if (count === null || bytes[0] !== FORMAT || count > bytes.length) throw new DamagedCollection()
    const starts = new Uint32Array(count + 1)
    starts[0] = COLLECTION_HEAD_BYTES
    for (let from = 0, at = COLLECTION_HEAD_BYTES; from < count; from += ENTRIES_A_PIECE) {
      const some = Entries.within(bytes, at, Math.min(count - from, ENTRIES_A_PIECE), shape)
      starts.set(some.allStarts(), from)
      at = some.end
      yield UNITS_A_PIECE
    }
    if (starts[count] !== bytes.length) throw new DamagedCollection()
    const place = { from: COLLECTION_HEAD_BYTES, end: bytes.length, length: count }
    return new Entries(bytes, { ...place, lastAt: starts[Math.max(0, count - 1)]! }, shape, starts)
  }

  /** So many entries from `at` on. @throws DamagedCollection */
  static within(bytes: Buffer, from: number, count: number, shape: Shape): Entries {
    if (count > bytes.length) throw new DamagedCollection()
    const ahead = shape.scored ? SCORE_BYTES : 0
    let at = from
    let lastAt = from
    for (let i = 0; i < count; i++) {
      lastAt = at
      at = endOfString(bytes, at + ahead)
      if (shape.paired) at = endOfString(bytes, at)
    }
    return new Entries(bytes, { from, end: at, length: count, lastAt }, shape, null)
  }

  /** Where an entry begins; of their number, where the last one ends. */
  private startOf(i: number): number {
    if (this.starts) return this.starts[i]!
    if (i === 0) return this.from
    if (i === this.length) return this.end
    if (i === this.foundIndex) return this.foundAt
    if (i === this.foundIndex + 1) return this.behind(this.foundAt)
    return this.allStarts()[i]!
  }

  private allStarts(): Uint32Array {
    if (this.starts) return this.starts
    const starts = new Uint32Array(this.length + 1)
    let at = this.from
    for (let i = 0; i < this.length; i++) {
      starts[i] = at
      at = this.behind(at)
    }
    starts[this.length] = at
    this.starts = starts
    return starts
  }

  /** Where the entry that begins here ends. */
  private behind(at: number): number {
    const end = endOf(this.bytes, at + this.keyOffset)
    return this.shape.paired ? endOf(this.bytes, end) : end
  }

  get isPaired(): boolean {
    return this.shape.paired
  }

  /** The field, member or element. */
  key(i: number): Buffer {
    return stringAt(this.bytes, this.startOf(i) + this.keyOffset)
  }

  value(i: number): Buffer {
    return stringAt(this.bytes, this.valueAt(i))
  }

  /** Where the key's length stands. */
  keyAt(i: number): number {
    return this.startOf(i) + this.keyOffset
  }

  /** The same of the value. */
  valueAt(i: number): number {
    return endOf(this.bytes, this.keyAt(i))
  }

  score(i: number): number {
    return this.bytes.readDoubleBE(this.startOf(i))
  }

  /** How the key of an entry compares with another one: < 0 = before it. */
  compareKey(i: number, other: Buffer): number {
    const at = this.keyAt(i)
    const from = bodyOf(this.bytes, at)
    return -other.compare(this.bytes, from, from + lengthAt(this.bytes, at))
  }

  /** The same of two of them. */
  compareKeys(a: number, b: number): number {
    const { bytes } = this
    const [one, other] = [this.keyAt(a), this.keyAt(b)]
    return bytes.compare(
      bytes,
      bodyOf(bytes, other),
      endOf(bytes, other),
      bodyOf(bytes, one),
      endOf(bytes, one),
    )
  }

  /** The first entry with this key, from `from` on; -1 = none. */
  indexOf(key: Buffer, from = 0): number {
    let at = this.startOf(from)
    for (let i = from; i < this.length; i++) {
      if (isStringAt(this.bytes, at + this.keyOffset, key)) {
        this.foundIndex = i
        this.foundAt = at
        return i
      }
      at = this.behind(at)
    }
    return -1
  }

  hasKey(i: number, key: Buffer): boolean {
    return isStringAt(this.bytes, this.keyAt(i), key)
  }

  /** For each of the keys, the index of its entry, or -1. */
  indexesOf(keys: readonly Buffer[]): number[] {
    if (keys.length <= FEW_KEYS) return keys.map((key) => this.indexOf(key))
    const found = new Map<string, number>(keys.map((key) => [key.toString('latin1'), -1]))
    const lengths = new Set(keys.map((key) => key.length))
    for (let i = 0; i < this.length; i++) {
      const at = this.keyAt(i)
      if (!lengths.has(lengthAt(this.bytes, at))) continue
      const name = stringAt(this.bytes, at).toString('latin1')
      if (found.has(name)) found.set(name, i)
    }
    return keys.map((key) => found.get(key.toString('latin1'))!)
  }

  scoresOf(members: readonly Buffer[]): (number | null)[] {
    return this.indexesOf(members).map((at) => (at === -1 ? null : this.score(at)))
  }

  firstWhere(holds: Holds): number {
    let [from, to] = [0, this.length]
    while (from < to) {
      const middle = (from + to) >>> 1
      if (holds(this, middle)) to = middle
      else from = middle + 1
    }
    return from
  }

  firstsWhere(all: readonly Holds[]): number[] {
    return all.map((holds) => this.firstWhere(holds))
  }

  keys(from: number, to: number): Buffer[] {
    return Array.from({ length: to - from }, (_, i) => this.key(from + i))
  }

  slice(from: number, to: number): Entries {
    const starts = this.allStarts().subarray(from, to + 1)
    const length = to - from
    const place = { from: starts[0]!, end: starts[length]!, length, lastAt: starts[Math.max(length - 1, 0)]! }
    return new Entries(this.bytes, place, this.shape, starts)
  }

  gather(places: readonly number[]): { entries: Entries; places: readonly number[] } {
    return { entries: this, places }
  }

  flat(): this {
    return this
  }

  computed<T>(_entries: number, compute: () => Sliced<T>): T {
    return inOneGo(compute())
  }

  /** The bytes of the entries from `from` up to, without, `to`. */
  run(from: number, to: number): Buffer {
    return this.bytes.subarray(this.startOf(from), this.startOf(to))
  }

  runBytes(from: number, to: number): number {
    return this.startOf(to) - this.startOf(from)
  }

  /** The bytes of the entries at these places, one after the other. */
  gathered(places: Uint32Array): Buffer {
    const { bytes } = this
    const starts = this.allStarts()
    let length = 0
    for (const place of places) length += starts[place + 1]! - starts[place]!
    const gathered = Buffer.allocUnsafeSlow(length)
    let to = 0
    for (const place of places) {
      to += copied(bytes, starts[place]!, starts[place + 1]!, gathered, to)
    }
    return gathered
  }
}

type Told = 'keys' | 'values' | 'both'
/** Indexes of entries; or a run of them, without the last. */
type Chosen = readonly number[] | { readonly from: number; readonly to: number }

/** The texts of entries, as a reply has them. */
export class EntryTexts implements PackedTexts {
  readonly length: number
  private readonly entries: Entries
  private readonly what: Told
  private readonly chosen: Chosen

  constructor(entries: Entries, what: Told, chosen: Chosen = { from: 0, to: entries.length }) {
    this.entries = entries
    this.what = what
    this.chosen = chosen
    const count = 'from' in chosen ? chosen.to - chosen.from : chosen.length
    this.length = what === 'both' ? 2 * count : count
  }

  get bytes(): Buffer {
    return this.entries.bytes
  }

  /** With their lengths, where nothing else stands in the entries. */
  get textBytes(): number | undefined {
    const { entries, what, chosen } = this
    if (what !== (entries.isPaired ? 'both' : 'keys')) return undefined
    if ('from' in chosen) return entries.runBytes(chosen.from, chosen.to)
    let bytes = 0
    for (const place of chosen) bytes += entries.runBytes(place, place + 1)
    return bytes
  }

  from(i: number): number {
    return bodyOf(this.bytes, this.at(i))
  }

  to(i: number): number {
    return endOf(this.bytes, this.at(i))
  }

  private at(i: number): number {
    const { entries, what, chosen } = this
    const nth = what === 'both' ? i >>> 1 : i
    const place = 'from' in chosen ? chosen.from + nth : chosen[nth]!
    const isValue = what === 'values' || (what === 'both' && i % 2 === 1)
    return isValue ? entries.valueAt(place) : entries.keyAt(place)
  }
}

/** Up to so many are searched for one by one. */
const FEW_KEYS = 4

/** A new collection, from runs of others and new entries. */
export class NewEntries {
  count = 0
  /** As a flat value, without what is kept of a large collection. */
  bytes = COLLECTION_HEAD_BYTES
  private readonly pieces: ChangedPiece[] = []
  /** The large collection of which it keeps runs: of one at most, and then of no other. */
  private base: ChangedInParts | null = null

  keep(collection: Collection, from: number, to: number): this {
    if (from >= to) return this
    this.count += to - from
    if (collection instanceof Entries) this.put(collection.run(from, to))
    else {
      this.base = collection as ChangedInParts
      this.pieces.push({ from, to })
    }
    return this
  }

  add(entry: Buffer): this {
    this.count++
    this.put(entry)
    return this
  }

  /** The value to store in place of the collection that it keeps runs of. */
  changed(): Changed {
    if (this.base) return this.base.changed(this.pieces)
    return { value: this.value(), bytes: this.bytes }
  }

  /** All of it, flat. */
  value(): Buffer {
    const head = Buffer.allocUnsafe(COLLECTION_HEAD_BYTES)
    head[0] = FORMAT
    head.writeUInt32BE(this.count, COUNT_AT)
    return Buffer.concat([head, ...this.pieces.map((piece) => this.runOf(piece))])
  }

  private runOf(piece: ChangedPiece): Buffer {
    if (Buffer.isBuffer(piece)) return piece
    const entries = this.base!.slice(piece.from, piece.to)
    return entries.run(0, entries.length)
  }

  protected put(piece: Buffer): void {
    this.pieces.push(piece)
    this.bytes += piece.length
  }
}

/** One that is made all at once, of runs of flat ones alone: of very many entries it holds no object for each. */
export class FreshEntries extends NewEntries {
  private readonly chunks = new ByteChunks()

  override value(): Buffer {
    const head = Buffer.allocUnsafe(COLLECTION_HEAD_BYTES)
    head[0] = FORMAT
    head.writeUInt32BE(this.count, COUNT_AT)
    return Buffer.concat([head, ...this.chunks.all()], this.bytes)
  }

  protected override put(piece: Buffer): void {
    this.chunks.add(piece)
    this.bytes += piece.length
  }
}

// ---- entries

export function pairEntry(field: Buffer, value: Buffer): Buffer {
  const entry = Buffer.allocUnsafe(stringBytes(field) + stringBytes(value))
  writeString(entry, writeString(entry, 0, field), value)
  return entry
}

export function plainEntry(member: Buffer): Buffer {
  const entry = Buffer.allocUnsafe(stringBytes(member))
  writeString(entry, 0, member)
  return entry
}

export function scoredEntry(score: number, member: Buffer): Buffer {
  const entry = Buffer.allocUnsafe(SCORE_BYTES + stringBytes(member))
  // -0 becomes 0, as in a small sorted set of Redis.
  entry.writeDoubleBE(score + 0, 0)
  writeString(entry, SCORE_BYTES, member)
  return entry
}
