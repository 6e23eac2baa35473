/**
 * Entries of a stream in a row, by id, as they are stored: of each its id (16), and a string that holds its fields and
 * values, each a string. They are found by halving, and copied without looking into them.
 */
import { inOneGo, type Sliced } from '../../core/work.ts'
import {
  bodyOf,
  DamagedCollection,
  endOf,
  endOfString,
  stringBytes,
  writeLength,
  writeString,
} from '../collections/texts.ts'
import { compareIdAt, ID_BYTES, type StreamId } from './ids.ts'

const FEW_ENTRIES = 100
/** Entries that are passed between two yields. */
const ENTRIES_A_PIECE = 1024
const UNITS_A_PIECE = 32

/** Where entries begin, found once for all views of them. */
interface Places {
  starts: Uint32Array | null
}

export class EntryRun {
  /** Views of these bytes are returned. */
  readonly bytes: Buffer
  readonly length: number
  private readonly from: number
  private readonly to: number
  private readonly places: Places
  /** Of a view, where it begins among the entries that the places are of. */
  private readonly first: number
  private isChecked = false

  /** @param from where the first entry begins @param to where the last one ends @param length number of entries */
  constructor(bytes: Buffer, from: number, to: number, length: number, whole?: EntryRun, first = 0) {
    this.bytes = bytes
    this.from = from
    this.to = to
    this.length = length
    this.places = whole ? whole.places : { starts: null }
    this.first = first
  }

  /** All of them. */
  get run(): Buffer {
    return this.bytes.subarray(this.from, this.to)
  }

  /** @throws DamagedCollection */
  id(i: number): StreamId {
    const at = this.startOf(i)
    return this.bytes.subarray(at, at + ID_BYTES)
  }

  /** Where the entry begins: with its id. @throws DamagedCollection */
  startOf(i: number): number {
    return this.starts[this.first + i]!
  }

  /** The first entry with this id or a greater one. @param first where to begin @throws DamagedCollection */
  firstFrom(id: StreamId, first = 0): number {
    let [from, to] = [first, this.length]
    // Often it is the next one.
    if (from < to && compareIdAt(this.bytes, this.startOf(from), id) >= 0) return from
    while (from < to) {
      const middle = (from + to) >>> 1
      if (compareIdAt(this.bytes, this.startOf(middle), id) < 0) from = middle + 1
      else to = middle
    }
    return from
  }

  /** Whether the entry at this place, if there is one, has this id. */
  isAt(i: number, id: StreamId): boolean {
    return i < this.length && compareIdAt(this.bytes, this.startOf(i), id) === 0
  }

  /** The bytes of the entries from `from` up to, without, `to`. @throws DamagedCollection */
  runOf(from: number, to: number): Buffer {
    return this.bytes.subarray(this.startOf(from), this.startOf(to))
  }

  /** The same as a view. @throws DamagedCollection */
  slice(from: number, to: number): EntryRun {
    if (from === 0 && to === this.length) return this
    return new EntryRun(this.bytes, this.startOf(from), this.startOf(to), to - from, this, this.first + from)
  }

  /** Looks at the fields of entries, once at those of all if they are many. @throws DamagedCollection */
  checkTexts(from: number, to: number): void {
    if (this.isChecked) return
    const isMany = to - from > FEW_ENTRIES
    const [first, end] = isMany ? [0, this.length] : [from, to]
    for (let i = first; i < end; i++) this.textCount(i)
    this.isChecked = isMany
  }

  /** Number of fields and values of an entry. @throws DamagedCollection */
  textCount(i: number): number {
    const at = this.startOf(i) + ID_BYTES
    const end = endOf(this.bytes, at)
    let count = 0
    for (let text = bodyOf(this.bytes, at); text < end; count++) text = endOfString(this.bytes, text, end)
    return count
  }

  /** Where each of them begins, and where the last one ends. */
  textsOf(i: number): number[] {
    const { bytes } = this
    const at = this.startOf(i) + ID_BYTES
    const end = endOf(bytes, at)
    let text = bodyOf(bytes, at)
    const places = [text]
    while (text < end) places.push((text = endOf(bytes, text)))
    return places
  }

  /** Where the bytes of a text begin, which stands at this place. */
  textFrom(at: number): number {
    return bodyOf(this.bytes, at)
  }

  /** Finds where each begins, which takes long for very many. @throws DamagedCollection */
  *placed(): Sliced<this> {
    this.places.starts ??= yield* this.findStarts()
    return this
  }

  private get starts(): Uint32Array {
    return (this.places.starts ??= inOneGo(this.findStarts()))
  }

  private *findStarts(): Sliced<Uint32Array> {
    const { bytes, length, from, to } = this
    const starts = new Uint32Array(length + 1)
    let at = from
    for (let i = 0; i < length; i++) {
      starts[i] = at
      at = endOfString(bytes, at + ID_BYTES, to)
      if (i % ENTRIES_A_PIECE === ENTRIES_A_PIECE - 1) yield UNITS_A_PIECE
    }
    if (at !== to) throw new DamagedCollection()
    starts[length] = at
    return starts
  }
}

/** @param texts fields and values in turn */
export function entryOf(id: StreamId, texts: readonly Buffer[]): Buffer {
  let bodyBytes = 0
  for (const text of texts) bodyBytes += stringBytes(text)
  const entry = Buffer.allocUnsafe(ID_BYTES + stringBytes({ length: bodyBytes }))
  id.copy(entry, 0)
  let at = writeLength(entry, ID_BYTES, bodyBytes)
  for (const text of texts) at = writeString(entry, at, text)
  return entry
}
