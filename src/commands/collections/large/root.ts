/**
 * How a large collection is stored. Final, as the record's head is (core/codec.ts).
 *
 * Its key holds a root, which says where everything is; the entries are in parts, which are records of their own
 * (part.ts). A change rewrites the root and the few parts that it touches, together.
 *
 *   0   1 format 02
 *   1   4 number of entries           where every collection has it (entries.ts)
 *   5   8 generation                  random: parts of another collection at this key are not taken for its own
 *   13  6 changes                     so far
 *   19  4 next id                     of a part; an id is given once
 *   23  4 bytes of all entries        in the first index
 *   27  4 rows of the first index
 *   31  4 rows of the second index    0 = there is none
 *   35    the indexes
 *
 *   index: its rows, one for each part, in the order of the index; and their separators, if that is by score
 *   row:   id (4), stamp (6), number of entries (4), their bytes (4); and in an index by hash the separator (4)
 *
 *   hash, set    one index, by the hash of the field or member (field-hash.ts)
 *   list         one index, by position; it has no separators
 *   sorted set   an index by score and member, and one by the hash of the member; each holds all members with their scores
 *
 * The stamp of a part is the number of the change that wrote it last. Who has read a root and a part knows by it whether
 * both are of the same moment.
 *
 * A separator is where its part begins: what is in the part is not before it, and what is in the parts to the left is. It
 * need not be there itself. That of the first part does not matter.
 */
import {
  DamagedCollection,
  Entries,
  HASH_SHAPE,
  PLAIN_SHAPE,
  SORTED_SET_SHAPE,
  type Shape,
} from '../entries.ts'
import { MAX_ROOT_BYTES } from './sizes.ts'
import { KIND_HASH, KIND_LIST, KIND_SET, KIND_SORTED_SET } from '../../../core/codec.ts'
import {
  generationOf,
  HASH_ROW_BYTES,
  ROOT_BYTES_AT,
  ROOT_CHANGES_AT,
  ROOT_COUNT_AT,
  ROOT_FORMAT,
  ROOT_HEAD_BYTES,
  ROOT_NEXT_ID_AT,
  ROOT_ROWS_AT,
  rootHead,
  ROW_BYTES,
  ROW_COUNT_AT,
  ROW_ENTRY_BYTES_AT,
  ROW_STAMP_AT,
  STAMP_BYTES,
  writeRow,
} from '../../../core/large-root.ts'

export type Order = 'position' | 'hash' | 'score'

export interface Layout {
  readonly shape: Shape
  /** Of its indexes. */
  readonly orders: readonly Order[]
}

const LAYOUTS = new Map<number | undefined, Layout>([
  [KIND_HASH, { shape: HASH_SHAPE, orders: ['hash'] }],
  [KIND_SET, { shape: PLAIN_SHAPE, orders: ['hash'] }],
  [KIND_SORTED_SET, { shape: SORTED_SET_SHAPE, orders: ['score', 'hash'] }],
  [KIND_LIST, { shape: PLAIN_SHAPE, orders: ['position'] }],
])

/** Of a hash, set, sorted set or list. */
export function layoutOf(kind: number | undefined): Layout {
  const layout = LAYOUTS.get(kind)
  if (!layout) throw new DamagedCollection()
  return layout
}

/** What only commands read; the rest is in core/large-root.ts. */
const ROW_HASH_AT = 18

/** Whether the value of a hash, set, sorted set or list is a root. */
export function isLarge(value: Buffer): boolean {
  return value[0] === ROOT_FORMAT
}

/** @throws DamagedCollection */
export function generationIn(root: Buffer): Buffer {
  if (!isLarge(root) || root.length < ROOT_HEAD_BYTES) throw new DamagedCollection()
  return generationOf(root)
}

/** Bytes of the entries, as a flat collection has them. */
export function bytesIn(root: Buffer): number {
  return generationIn(root) && root.readUInt32BE(ROOT_BYTES_AT)
}

export class Root {
  readonly bytes: Buffer
  readonly layout: Layout
  readonly count: number
  readonly changes: number
  readonly nextId: number
  readonly entryBytes: number
  readonly indexes: readonly Rows[]

  /** @throws DamagedCollection */
  constructor(kind: number | undefined, bytes: Buffer) {
    this.layout = layoutOf(kind)
    this.bytes = bytes
    if (!isLarge(bytes) || bytes.length < ROOT_HEAD_BYTES) throw new DamagedCollection()
    this.count = bytes.readUInt32BE(ROOT_COUNT_AT)
    this.changes = bytes.readUIntBE(ROOT_CHANGES_AT, STAMP_BYTES)
    this.nextId = bytes.readUInt32BE(ROOT_NEXT_ID_AT)
    this.entryBytes = bytes.readUInt32BE(ROOT_BYTES_AT)
    let at = ROOT_HEAD_BYTES
    this.indexes = this.layout.orders.map((order, i) => {
      const rows = new Rows(bytes, at, bytes.readUInt32BE(ROOT_ROWS_AT + 4 * i), order)
      if (rows.starts[rows.length] !== this.count || rows.length === 0) throw new DamagedCollection()
      at = rows.end
      return rows
    })
    if (at !== bytes.length) throw new DamagedCollection()
  }

  get generation(): Buffer {
    return generationIn(this.bytes)
  }
}

/** A row that is to be written. */
export interface NewRow {
  readonly id: number
  readonly stamp: number
  readonly count: number
  readonly bytes: number
  readonly separator: Separator
}

/** A hash; score and member, as an entry; or nothing. */
export type Separator = number | Buffer | null

/** The rows of an index: a view of the root's bytes, without an object for each. */
export class Rows {
  readonly length: number
  readonly order: Order
  /** How many entries are in the parts to the left; the last one is the number of all. */
  readonly starts: Uint32Array
  /** In an index by score. */
  readonly separators: Entries | null
  /** Where the index ends. */
  readonly end: number
  private readonly root: Buffer
  private readonly at: number
  private readonly rowBytes: number

  /** @throws DamagedCollection */
  constructor(root: Buffer, at: number, length: number, order: Order) {
    this.root = root
    this.at = at
    this.length = length
    this.order = order
    this.rowBytes = order === 'hash' ? HASH_ROW_BYTES : ROW_BYTES
    const rowsEnd = at + length * this.rowBytes
    if (rowsEnd > root.length) throw new DamagedCollection()
    this.starts = new Uint32Array(length + 1)
    for (let k = 0, sum = 0; k < length; k++) {
      const count = this.count(k)
      if (count === 0) throw new DamagedCollection()
      this.starts[k + 1] = sum += count
    }
    this.separators = order === 'score' ? Entries.within(root, rowsEnd, length, SORTED_SET_SHAPE) : null
    this.end = this.separators?.end ?? rowsEnd
  }

  id(k: number): number {
    return this.root.readUInt32BE(this.at + k * this.rowBytes)
  }

  stamp(k: number): number {
    return this.root.readUIntBE(this.at + k * this.rowBytes + ROW_STAMP_AT, STAMP_BYTES)
  }

  count(k: number): number {
    return this.root.readUInt32BE(this.at + k * this.rowBytes + ROW_COUNT_AT)
  }

  bytes(k: number): number {
    return this.root.readUInt32BE(this.at + k * this.rowBytes + ROW_ENTRY_BYTES_AT)
  }

  ids(from: number, to: number): number[] {
    return Array.from({ length: to - from }, (_, i) => this.id(from + i))
  }

  separator(k: number): Separator {
    if (this.order === 'position') return null
    return this.separators ? this.separators.run(k, k + 1) : this.hashAt(k)
  }

  /** The part that has, or would have, what this hash belongs to. */
  rowOfHash(hash: number): number {
    return lastWhere(this.length, (k) => this.hashAt(k) <= hash)
  }

  /** The part that has the entry at this position; of the position behind all of them, the last one. */
  rowAt(position: number): number {
    return lastWhere(this.length, (k) => this.starts[k]! <= position)
  }

  hashAt(k: number): number {
    return this.root.readUInt32BE(this.at + k * this.rowBytes + ROW_HASH_AT)
  }

  /** The rows from `from` up to, without, `to`, as they are stored. */
  run(from: number, to: number): Buffer {
    return this.root.subarray(this.at + from * this.rowBytes, this.at + to * this.rowBytes)
  }
}

/** The last one for which this holds, if it holds for all before it as well; the first if for none. */
export function lastWhere(length: number, holds: (i: number) => boolean): number {
  let [from, to] = [0, length - 1]
  while (from < to) {
    const middle = (from + to + 1) >>> 1
    if (holds(middle)) from = middle
    else to = middle - 1
  }
  return from
}

// ---- writing

/** Rows that take the place of others: from `from` up to, without, `to`. */
export interface Splice {
  readonly from: number
  readonly to: number
  readonly rows: readonly NewRow[]
}

export interface NewRoot {
  readonly generation: Buffer
  readonly changes: number
  readonly nextId: number
  readonly count: number
  readonly entryBytes: number
  /** Of each index: the rows before, and what takes their place, from left to right. */
  readonly indexes: readonly {
    readonly order: Order
    readonly before: Rows | null
    readonly splices: readonly Splice[]
  }[]
}

/** There are too many parts, or their separators are too long. */
export class RootTooLong extends Error {}

/** @throws RootTooLong */
export function writeRoot({ generation, changes, nextId, count, entryBytes, indexes }: NewRoot): Buffer {
  const head = rootHead({ generation, changes, nextId, count, bytes: entryBytes })
  const pieces: Buffer[] = [head]
  for (const [i, { order, before, splices }] of indexes.entries()) {
    const separators: Buffer[] = []
    let rows = 0
    let from = 0
    const keepUpTo = (to: number) => {
      if (!before || from === to) return
      pieces.push(before.run(from, to))
      if (before.separators) separators.push(before.separators.run(from, to))
      rows += to - from
    }
    for (const splice of splices) {
      keepUpTo(splice.from)
      for (const row of splice.rows) {
        pieces.push(rowOf(row))
        if (order === 'score') separators.push(row.separator as Buffer)
      }
      rows += splice.rows.length
      from = splice.to
    }
    if (before) keepUpTo(before.length)
    head.writeUInt32BE(rows, ROOT_ROWS_AT + 4 * i)
    pieces.push(...separators)
  }
  const root = Buffer.concat(pieces)
  if (root.length > MAX_ROOT_BYTES) throw new RootTooLong('the root of a collection is too long')
  return root
}

function rowOf(one: NewRow): Buffer {
  const { separator } = one
  const row = Buffer.allocUnsafe(typeof separator === 'number' ? HASH_ROW_BYTES : ROW_BYTES)
  writeRow(row, one)
  if (typeof separator === 'number') row.writeUInt32BE(separator, ROW_HASH_AT)
  return row
}
