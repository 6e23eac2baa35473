/** From a flat collection to a large one, and back. */
import { inOneGo, type Sliced } from '../../../core/work.ts'
import { PartsChanged, type Parts } from '../../step.ts'
import { Entries, NewEntries } from '../entries.ts'
import { cutInSlices, type Piece } from './cut.ts'
import { FieldHash } from './field-hash.ts'
import { readCurrentPart, writePart } from './part.ts'
import { layoutOf, Root, writeRoot, type NewRoot, type NewRow, type Rows } from './root.ts'
import { mostPartBytes } from './sizes.ts'

/** To copy or to decode a part of the largest ones. */
const UNITS_A_PART = 64

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
 * The same collection as a flat value.
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
  const next = yield* joined(opened, parts)
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
