/** From a flat collection to a large one, and back. */
import { inOneGo, type Sliced } from '../../../core/work.ts'
import { PartsChanged, type Parts } from '../../step.ts'
import { DamagedCollection, Entries, NewEntries } from '../entries.ts'
import { mergeSort } from '../merge-sort.ts'
import { cutInSlices, type Piece } from './cut.ts'
import { FieldHash } from './field-hash.ts'
import { readCurrentPart, readPart, writePart } from './part.ts'
import { layoutOf, Root, writeRoot, type Layout, type NewRoot, type NewRow, type Rows } from './root.ts'
import { mostPartBytes } from './sizes.ts'

/** To copy or to decode a part of the largest ones. */
const UNITS_A_PART = 64
/** Entries processed between two yields. */
const ENTRIES_A_PIECE = 1024

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
export function split(...given: Parameters<typeof splitInSlices>): Split {
  return inOneGo(splitInSlices(...given))
}

/** The same for very many entries. */
export function* splitInSlices(kind: number | undefined, flat: Buffer, generation: Buffer): Sliced<Split> {
  const { shape, orders } = layoutOf(kind)
  const entries = yield* Entries.ofInSlices(flat, shape)
  const entryBytes = entries.runBytes(0, entries.length)
  const hash = new FieldHash(generation)
  const parts = new Map<number, Buffer>()
  const indexes: NewRoot['indexes'][number][] = []
  for (const order of orders) {
    const rows: NewRow[] = []
    for (const piece of yield* cutInSlices(entries, order, hash, mostPartBytes(entryBytes))) {
      const id = parts.size
      parts.set(id, writePart({ generation, id }, 1, piece.count, piece.runs))
      rows.push(rowOfPiece(piece, id, 1))
      yield UNITS_A_PART
    }
    indexes.push({ order, before: null, splices: [{ from: 0, to: 0, rows }] })
  }
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
  return inOneGo(flattenInSlices(kind, root, parts)).bytes
}

/** Its entries, whose bytes are the flat value. */
export function* flattenInSlices(
  kind: number | undefined,
  root: Buffer,
  parts: Parts | undefined,
): Sliced<Entries> {
  const opened = new Root(kind, root)
  if (!parts) throw new PartsChanged('a root without its parts')
  const next = yield* parts.isSalvaged ? salvaged(opened, parts) : joined(opened, parts)
  return yield* Entries.ofInSlices(next.value(), opened.layout.shape)
}

/** The same; who runs the step makes it in slices, if it can. */
export function wholeOf(kind: number | undefined, root: Buffer, parts: Parts | undefined): Entries {
  return parts?.whole?.(root) ?? inOneGo(flattenInSlices(kind, root, parts))
}

function* joined({ layout, generation, indexes }: Root, parts: Parts): Sliced<NewEntries> {
  const [rows] = indexes as [Rows]
  const next = new NewEntries()
  for (const [k, part] of parts.get(rows.ids(0, rows.length)).entries()) {
    const name = { generation, id: rows.id(k) }
    const entries = readCurrentPart(part, name, rows.stamp(k), rows.count(k), layout.shape)
    next.keep(entries, 0, entries.length)
    yield UNITS_A_PART
  }
  return next
}

/**
 * Each part as it is, newer or older than the root says. An entry may be in two of them, if one of them is of a time before
 * it moved: then the newer part is right. What is missing in one index is taken from the other.
 */
function* salvaged(root: Root, parts: Parts): Sliced<NewEntries> {
  const { layout, generation, indexes } = root
  const found: Found[] = []
  const ids = indexes.flatMap((rows) => rows.ids(0, rows.length))
  for (const [place, part] of parts.get(ids).entries()) {
    const read = part && readOrNothing(part, { generation, id: ids[place]! }, layout)
    if (read) found.push({ ...read, place })
    yield UNITS_A_PART
  }
  const next = new NewEntries()
  if (layout.orders[0] === 'position') {
    for (const { entries } of found) next.keep(entries, 0, entries.length)
    return next
  }
  const newest = yield* newestOfEach(found)
  const all = layout.shape.scored ? yield* mergeSort(newest, compareFound) : newest
  for (const [at, { entries, i }] of all.entries()) {
    next.keep(entries, i, i + 1)
    if (at % ENTRIES_A_PIECE === 0) yield UNITS_A_PART
  }
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

function* newestOfEach(found: readonly Found[]): Sliced<FoundEntry[]> {
  const newest = new Map<string, FoundEntry>()
  for (const { entries } of [...found].sort((a, b) => b.stamp - a.stamp || a.place - b.place)) {
    for (let i = 0; i < entries.length; i++) {
      const name = entries.key(i).toString('latin1')
      if (!newest.has(name)) newest.set(name, { entries, i })
      if (i % ENTRIES_A_PIECE === 0) yield UNITS_A_PART
    }
  }
  return [...newest.values()]
}

function compareFound(a: FoundEntry, b: FoundEntry): number {
  return a.entries.score(a.i) - b.entries.score(b.i) || a.entries.compareKey(a.i, b.entries.key(b.i))
}
