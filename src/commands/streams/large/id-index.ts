/**
 * Items of a large stream by id, entries or what is pending of a group: in parts, and the latest ones in the root.
 *
 *   row ── part ┃ row ── part ┃ … ┃ latest        what is before `latestFrom` is in a part, the rest is in the root
 *    │                                            of the first part the first `trimmed` items are gone
 *    └─ first id of the part
 *
 * Items are added and read at their end mostly, and that is in the root: no part is read or written for it.
 */
import {
  ROW_BYTES,
  ROW_COUNT_AT,
  ROW_ENTRY_BYTES_AT,
  ROW_STAMP_AT,
  STAMP_BYTES,
} from '../../../core/large-root.ts'
import { partHead, PART_HEAD_BYTES } from '../../collections/large/part.ts'
import { lastWhere } from '../../collections/large/root.ts'
import { DamagedCollection } from '../../collections/texts.ts'
import { PartsChanged, type Parts } from '../../step.ts'
import { compareIdAt, ID_BYTES, type StreamId } from '../ids.ts'

/** Items in a row, by id: each begins with its own. */
export interface Items {
  readonly length: number
  readonly run: Buffer
  id(i: number): StreamId
  firstFrom(id: StreamId, from?: number): number
  isAt(i: number, id: StreamId): boolean
  runOf(from: number, to: number): Buffer
}

/** @param from where the first one begins: they go to the end of the bytes @throws DamagedCollection */
export type ItemsOf<T> = (bytes: Buffer, from: number, count: number) => T

export interface IndexPlace<T> {
  /** The bytes of the root, and where its rows and their first ids stand. */
  readonly root: Buffer
  readonly rowsAt: number
  readonly idsAt: number
  readonly rows: number
  readonly generation: Buffer
  readonly latest: T
  readonly latestFrom: StreamId
  readonly trimmed: number
}

interface Found<T> {
  readonly run: T
  readonly at: number
}

interface Span {
  readonly row: number
  readonly from: number
  readonly to: number
}

export class IdIndex<T extends Items> {
  readonly place: IndexPlace<T>
  readonly itemsOf: ItemsOf<T>
  readonly rows: number
  readonly latest: T
  readonly trimmed: number
  private readonly parts: Parts
  private readonly opened = new Map<number, T>()
  private knownStarts: Uint32Array | null = null
  /** Of the position that was asked for last. */
  private row = 0

  constructor(place: IndexPlace<T>, parts: Parts, itemsOf: ItemsOf<T>) {
    this.place = place
    this.parts = parts
    this.itemsOf = itemsOf
    this.rows = place.rows
    this.latest = place.latest
    this.trimmed = place.trimmed
  }

  // ---- rows

  id(row: number): number {
    return this.place.root.readUInt32BE(this.rowAt(row))
  }

  private stamp(row: number): number {
    return this.place.root.readUIntBE(this.rowAt(row) + ROW_STAMP_AT, STAMP_BYTES)
  }

  /** With those that are trimmed. */
  count(row: number): number {
    return this.place.root.readUInt32BE(this.rowAt(row) + ROW_COUNT_AT)
  }

  bytes(row: number): number {
    return this.place.root.readUInt32BE(this.rowAt(row) + ROW_ENTRY_BYTES_AT)
  }

  firstId(row: number): StreamId {
    const at = this.place.idsAt + row * ID_BYTES
    return this.place.root.subarray(at, at + ID_BYTES)
  }

  ids(from: number, to: number): number[] {
    return Array.from({ length: to - from }, (_, i) => this.id(from + i))
  }

  private rowAt(row: number): number {
    return this.place.rowsAt + row * ROW_BYTES
  }

  /** The row that has, or would have, this id; `rows` = the latest. */
  rowOf(id: StreamId): number {
    const { rows, place } = this
    if (rows === 0 || id.compare(place.latestFrom) >= 0) return rows
    return lastWhere(rows, (row) => compareIdAt(place.root, place.idsAt + row * ID_BYTES, id) <= 0)
  }

  /** How many items are in the parts to the left; the last one is the number of all in parts. */
  get starts(): Uint32Array {
    if (this.knownStarts) return this.knownStarts
    const starts = new Uint32Array(this.rows + 1)
    for (let row = 0, sum = -this.trimmed; row < this.rows; row++) {
      const count = this.count(row)
      sum += count
      if (count === 0 || sum <= 0) throw new DamagedCollection()
      starts[row + 1] = sum
    }
    return (this.knownStarts = starts)
  }

  get length(): number {
    return this.starts[this.rows]! + this.latest.length
  }

  /** Of the items of a row, so many are gone. */
  goneOf(row: number): number {
    return row === 0 && this.rows > 0 ? this.trimmed : 0
  }

  // ---- items

  /** Those of a row, with what is trimmed. @throws NeedsParts, PartsChanged or DamagedCollection */
  items(row: number): T {
    if (row === this.rows) return this.latest
    this.open([row])
    return this.opened.get(row)!
  }

  /** Asks for all of them at once. @throws NeedsParts, PartsChanged or DamagedCollection */
  open(rows: Iterable<number>): void {
    const missing = [...new Set(rows)].filter((row) => row < this.rows && !this.opened.has(row))
    if (missing.length === 0) return
    const found = this.parts.get(missing.map((row) => this.id(row)))
    for (const [i, row] of missing.entries()) this.opened.set(row, this.read(row, found[i]!))
  }

  private read(row: number, part: Buffer | null): T {
    const { generation } = this.place
    const head = part && partHead(part, { generation, id: this.id(row) })
    if (head?.stamp !== this.stamp(row)) throw new PartsChanged('a part is not that of its root')
    if (head.count !== this.count(row)) throw new DamagedCollection()
    return this.itemsOf(part!, PART_HEAD_BYTES, head.count)
  }

  /** Its row, and where it stands there. Who goes on and on gets more and more at once. */
  itemAt(position: number): Found<T> {
    const row = this.rowAtPosition(position)
    if (row < this.rows && !this.opened.has(row)) {
      const most = Math.min(row + 1 + this.opened.size, this.rows)
      this.open(Array.from({ length: most - row }, (_, i) => row + i))
    }
    return { run: this.items(row), at: position - this.starts[row]! + this.goneOf(row) }
  }

  /** `rows` = the latest. */
  rowAtPosition(position: number): number {
    const { starts, row } = this
    // Who goes on from item to item stays in a row.
    if (starts[row]! <= position && position < (starts[row + 1] ?? 0)) return row
    return (this.row = this.searched(position))
  }

  private searched(position: number): number {
    const { starts, rows } = this
    return lastWhere(rows + 1, (row) => starts[row]! <= position)
  }

  firstsFrom(ids: readonly StreamId[]): number[] {
    const found = ids.map((id) => this.rowOf(id))
    // Where a part begins is known without it.
    const isStart = (i: number) => {
      const row = found[i]!
      return row < this.rows && this.goneOf(row) === 0 && this.firstId(row).compare(ids[i]!) >= 0
    }
    this.open(found.filter((_, i) => !isStart(i)))
    return ids.map((id, i) => {
      const row = found[i]!
      if (isStart(i)) return this.starts[row]!
      return this.starts[row]! + Math.max(this.items(row).firstFrom(id) - this.goneOf(row), 0)
    })
  }

  find(ids: readonly StreamId[]): (Found<T> | null)[] {
    const found = this.rowsOf(ids)
    this.open(found)
    let [row, from] = [-1, 0]
    return ids.map((id, i) => {
      // In a row, those behind the last one are looked at only, if they are asked for in order.
      if (found[i] !== row || id.compare(ids[i - 1]!) <= 0) [row, from] = [found[i]!, 0]
      const run = this.items(row)
      const at = run.firstFrom(id, from)
      from = at
      return run.isAt(at, id) && at >= this.goneOf(row) ? { run, at } : null
    })
  }

  private rowsOf(ids: readonly StreamId[]): number[] {
    const { rows, place } = this
    let row = rows
    return ids.map((id) => {
      const isAfter = row < rows && compareIdAt(place.root, place.idsAt + row * ID_BYTES, id) <= 0
      const next = isAfter ? (row + 1 < rows ? this.firstId(row + 1) : place.latestFrom) : null
      if (next === null || id.compare(next) >= 0) row = this.rowOf(id)
      return row
    })
  }

  /** The items from `from` up to, without, `to`. */
  slice(from: number, to: number, view: (items: T, from: number, to: number) => T): T {
    const spans = this.spans(from, to)
    this.open(spans.map(({ row }) => row))
    const [only] = spans
    if (spans.length === 1) return view(this.items(only!.row), only!.from, only!.to)
    const runs = spans.map((span) => this.items(span.row).runOf(span.from, span.to))
    return this.itemsOf(Buffer.concat(runs), 0, Math.max(to - from, 0))
  }

  private spans(from: number, to: number): Span[] {
    const spans: Span[] = []
    if (from >= to) return spans
    for (let row = this.rowAtPosition(from); row <= this.rows && this.starts[row]! < to; row++) {
      const start = this.starts[row]! - this.goneOf(row)
      const end = row < this.rows ? this.count(row) : this.latest.length
      const span = { row, from: Math.max(from - start, this.goneOf(row)), to: Math.min(to - start, end) }
      if (span.from < span.to) spans.push(span)
    }
    return spans
  }
}
