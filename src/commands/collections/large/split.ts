/** From a flat collection to a large one, and back. */
import { PartsChanged, type Parts } from '../../step.ts'
import { DamagedCollection, Entries, NewEntries } from '../entries.ts'
import { cut, type Piece } from './cut.ts'
import { FieldHash } from './field-hash.ts'
import { readCurrentPart, readPart, writePart } from './part.ts'
import { layoutOf, Root, writeRoot, type Layout, type NewRow, type Rows } from './root.ts'
import { mostPartBytes } from './sizes.ts'

export interface Split {
  readonly root: Buffer
  /** By id. */
  readonly parts: Map<number, Buffer>
}

/**
 * @param flat the value of a flat collection with at least one entry
 * @param generation eight bytes, by chance
 * @throws DamagedCollection, RootTooLong
 */
export function split(kind: number | undefined, flat: Buffer, generation: Buffer): Split {
  const { shape, orders } = layoutOf(kind)
  const entries = Entries.of(flat, shape)
  const entryBytes = entries.runBytes(0, entries.length)
  const hash = new FieldHash(generation)
  const parts = new Map<number, Buffer>()
  const indexes = orders.map((order) => {
    const rows = cut(entries, order, hash, mostPartBytes(entryBytes)).map((piece) => {
      const id = parts.size
      parts.set(id, writePart({ generation, id }, 1, piece.count, piece.runs))
      return rowOfPiece(piece, id, 1)
    })
    return { order, before: null, splices: [{ from: 0, to: 0, rows }] }
  })
  const counts = { count: entries.length, entryBytes }
  return { root: writeRoot({ generation, changes: 1, nextId: parts.size, ...counts, indexes }), parts }
}

export function rowOfPiece({ count, bytes, separator }: Piece, id: number, stamp: number): NewRow {
  return { id, stamp, count, bytes, separator }
}

/**
 * The same collection as a flat value. If the parts are salvaged, with what there is of it.
 *
 * @throws NeedsParts, PartsChanged or DamagedCollection
 */
export function flatten(kind: number | undefined, root: Buffer, parts: Parts | undefined): Buffer {
  const opened = new Root(kind, root)
  if (!parts) throw new PartsChanged('a root without its parts')
  return (parts.isSalvaged ? salvaged(opened, parts) : joined(opened, parts)).value()
}

function joined({ layout, generation, indexes }: Root, parts: Parts): NewEntries {
  const [rows] = indexes as [Rows]
  const next = new NewEntries()
  parts.get(rows.ids(0, rows.length)).forEach((part, k) => {
    const name = { generation, id: rows.id(k) }
    const entries = readCurrentPart(part, name, rows.stamp(k), rows.count(k), layout.shape)
    next.keep(entries, 0, entries.length)
  })
  return next
}

/**
 * Each part as it is, newer or older than the root says. An entry may be in two of them, if one of them is of a time before
 * it moved: then the newer part is right. What is missing in one index is taken from the other.
 */
function salvaged(root: Root, parts: Parts): NewEntries {
  const { layout, generation, indexes } = root
  const found: Found[] = []
  const ids = indexes.flatMap((rows) => rows.ids(0, rows.length))
  parts.get(ids).forEach((part, place) => {
    const read = part && readOrNothing(part, { generation, id: ids[place]! }, layout)
    if (read) found.push({ ...read, place })
  })
  const next = new NewEntries()
  if (layout.orders[0] === 'position') {
    for (const { entries } of found) next.keep(entries, 0, entries.length)
    return next
  }
  const all = newestOfEach(found)
  if (layout.shape.scored) all.sort(compareFound)
  for (const { entries, i } of all) next.keep(entries, i, i + 1)
  return next
}

interface Found {
  readonly stamp: number
  readonly entries: Entries
  /** Among all parts. */
  readonly place: number
}

/** One that is damaged is as good as none. */
function readOrNothing(part: Buffer, name: Parameters<typeof readPart>[1], { shape }: Layout) {
  try {
    return readPart(part, name, shape)
  } catch (error) {
    if (error instanceof DamagedCollection) return null
    throw error
  }
}

interface FoundEntry {
  readonly entries: Entries
  readonly i: number
}

function newestOfEach(found: readonly Found[]): FoundEntry[] {
  const newest = new Map<string, FoundEntry>()
  for (const { entries } of [...found].sort((a, b) => b.stamp - a.stamp || a.place - b.place)) {
    for (let i = 0; i < entries.length; i++) {
      const name = entries.key(i).toString('latin1')
      if (!newest.has(name)) newest.set(name, { entries, i })
    }
  }
  return [...newest.values()]
}

function compareFound(a: FoundEntry, b: FoundEntry): number {
  return a.entries.score(a.i) - b.entries.score(b.i) || a.entries.compareKey(a.i, b.entries.key(b.i))
}
