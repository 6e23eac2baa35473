/**
 * Changes of an index by id (id-index.ts). The parts that are touched are written anew, and all others stay.
 *
 *   trimmed ──▶ parts that go as a whole are not read; of the next one the root says how many of its items are gone
 *   edits   ──▶ of parts: these are written anew, joined with a neighbour if they have become small, cut if long
 *           └─▶ of the latest: they stay in the root, until they are so many that the older half becomes a part
 */
import { inOneGo, type Sliced } from '../../../core/work.ts'
import { GREATEST_ID, LEAST_ID, nextId, type Edit, type StreamId } from '../ids.ts'
import { isSmall, roomyBytes } from '../../collections/large/sizes.ts'
import type { IdIndex, Items, ItemsOf } from './id-index.ts'

/** Items that are passed between two yields. */
const ITEMS_A_PIECE = 512
const UNITS_A_PIECE = 32

export interface KeptRows {
  readonly from: number
  readonly to: number
}

export interface NewPart {
  /** Of the parts in whose place it comes. */
  readonly ids: readonly number[]
  readonly count: number
  readonly bytes: number
  readonly runs: readonly Buffer[]
}

/** An index that is to be written. */
export interface ChangedIndex {
  /** From left to right. */
  readonly pieces: readonly (KeptRows | NewPart)[]
  /** Ids of parts that are gone. */
  readonly freed: readonly number[]
  readonly latest: { readonly count: number; readonly runs: readonly Buffer[] }
  readonly latestFrom: StreamId
  readonly trimmed: number
  /** How many more items and bytes there are than before. */
  readonly more: { readonly count: number; readonly bytes: number }
}

export interface IndexSizes {
  /** Of a part of more than one item. */
  readonly part: number
  /** Of the latest. */
  readonly latest: number
}

export interface IndexChange {
  readonly trimmed?: number
  /** By id, each once. */
  readonly edits: readonly Edit[]
  /** What is there instead of some rows: it is written as well. */
  readonly replaced?: ReadonlyMap<number, Items>
}

/** @throws NeedsParts, PartsChanged or DamagedCollection */
export function changedIndex<T extends Items>(
  index: IdIndex<T>,
  change: IndexChange,
  sizes: IndexSizes,
): ChangedIndex {
  const { rows } = index
  const start = startAfter(index, change.trimmed ?? 0)
  const edits = editsByRow(index, change.edits)
  const items = (row: number): Items => change.replaced?.get(row) ?? index.items(row)
  const latestBefore = items(rows)
  const after = merged(latestBefore, start.latestGone, edits.get(rows) ?? [])
  const { latest, spilled } = divided(after, index.itemsOf, sizes)

  const rewritten = new Map<number, NewPart>()
  const rewrite = (row: number, own: readonly Edit[]) => {
    const part = merged(items(row), row === start.row ? start.trimmed : 0, own)
    rewritten.set(row, { ...part, ids: [index.id(row)] })
  }
  const touched = new Set([...edits.keys(), ...(change.replaced?.keys() ?? [])])
  const rowsTouched = [...touched].filter((row) => row >= start.row && row < rows)
  const isFilled = spilled && rows > start.row && index.bytes(rows - 1) + spilled.bytes <= sizes.part
  index.open(isFilled ? [...rowsTouched, rows - 1] : rowsTouched)
  for (const row of rowsTouched) rewrite(row, edits.get(row) ?? [])
  if (isFilled && !rewritten.has(rows - 1)) rewrite(rows - 1, [])
  const neighbours = neighboursOf(index, rewritten, start.row, sizes)
  index.open(neighbours)
  for (const row of neighbours) rewrite(row, [])

  const pieces = piecesOf(start.row, rows, rewritten, sizes)
  if (spilled) addSpilled(pieces, spilled, sizes)
  const { kept, freed } = cutPieces(pieces, index.itemsOf, sizes)
  const more = { count: 0, bytes: 0 }
  const counted = (one: { readonly count: number; readonly bytes: number }, by: 1 | -1) => {
    more.count += by * one.count
    more.bytes += by * one.bytes
  }
  for (const row of [...Array(start.row).keys(), ...rewritten.keys()]) {
    counted({ count: index.count(row) - index.goneOf(row), bytes: index.bytes(row) }, -1)
  }
  for (const piece of kept) if ('runs' in piece) counted(piece, 1)
  if (start.row < rows && !rewritten.has(start.row)) more.count -= start.trimmed - index.goneOf(start.row)
  counted({ count: latestBefore.length, bytes: latestBefore.run.length }, -1)
  counted(latest, 1)
  return {
    pieces: kept,
    freed: [...index.ids(0, start.row), ...freed],
    latest,
    latestFrom: kept.length === 0 ? LEAST_ID : (spilled?.behind ?? index.place.latestFrom),
    trimmed: start.row < rows && !rewritten.has(start.row) ? start.trimmed : 0,
    more,
  }
}

/** A whole index of these items. @param freed ids of the parts in whose place they come */
export function newIndex(items: Items, sizes: IndexSizes, freed: readonly number[] = []): ChangedIndex {
  return inOneGo(newIndexInSlices(items, sizes, freed))
}

/** The same of very many. */
export function* newIndexInSlices(
  items: Items,
  sizes: IndexSizes,
  freed: readonly number[] = [],
): Sliced<ChangedIndex> {
  const { latest, spilled } = halved(items, sizes)
  const kept: NewPart[] = []
  const left = [...freed]
  if (spilled) {
    for (const part of yield* cutItems(items, spilled.count, sizes))
      kept.push({ ...part, ids: left.splice(0, 1) })
  }
  return {
    ...{ pieces: kept, freed: left, latest, trimmed: 0 },
    latestFrom: spilled?.behind ?? LEAST_ID,
    more: { count: items.length, bytes: items.run.length },
  }
}

interface Bytes {
  readonly count: number
  readonly bytes: number
  readonly runs: readonly Buffer[]
}

/** The first row that stays, and how many of its items, or of the latest, are gone by then. */
function startAfter(
  index: IdIndex<Items>,
  trimmed: number,
): { readonly row: number; readonly trimmed: number; readonly latestGone: number } {
  const { rows } = index
  if (trimmed === 0) return { row: 0, trimmed: index.trimmed, latestGone: 0 }
  const row = index.rowAtPosition(trimmed)
  const gone = trimmed - index.starts[row]!
  return row === rows
    ? { row, trimmed: 0, latestGone: gone }
    : { row, trimmed: gone + index.goneOf(row), latestGone: 0 }
}

function editsByRow(index: IdIndex<Items>, edits: readonly Edit[]): Map<number, Edit[]> {
  const byRow = new Map<number, Edit[]>()
  for (const edit of edits) {
    const row = index.rowOf(edit.id)
    const own = byRow.get(row)
    if (own) own.push(edit)
    else byRow.set(row, [edit])
  }
  return byRow
}

function merged(items: Items, gone: number, edits: readonly Edit[]): Bytes {
  const runs: Buffer[] = []
  let at = gone
  let count = items.length - gone
  const keepUpTo = (to: number) => {
    if (at < to) runs.push(items.runOf(at, to))
    at = to
  }
  for (const { id, item } of edits) {
    keepUpTo(items.firstFrom(id, at))
    if (item) {
      runs.push(item)
      count++
    }
    if (!items.isAt(at, id)) continue
    at++
    count--
  }
  keepUpTo(items.length)
  return { count, bytes: runs.reduce((sum, run) => sum + run.length, 0), runs }
}

interface Divided {
  readonly latest: Bytes
  readonly spilled: (Bytes & { readonly behind: StreamId }) | null
}

/** What stays in the root of the latest: if they are too many, the newer half. */
function divided<T extends Items>(all: Bytes, itemsOf: ItemsOf<T>, sizes: IndexSizes): Divided {
  if (all.bytes <= sizes.latest) return { latest: all, spilled: null }
  return halved(itemsOf(Buffer.concat(all.runs), 0, all.count), sizes)
}

function halved(items: Items, sizes: IndexSizes): Divided {
  const all = { count: items.length, bytes: items.run.length, runs: [items.run] }
  if (all.bytes <= sizes.latest) return { latest: all, spilled: null }
  let from = items.length
  let bytes = 0
  while (from > 0) {
    bytes += items.runOf(from - 1, from).length
    if (bytes > sizes.latest / 2) break
    from--
  }
  // Nothing is behind the greatest id.
  if (from > 0 && items.id(from - 1).equals(GREATEST_ID)) from--
  if (from === 0) return { latest: all, spilled: null }
  const behind = nextId(items.id(from - 1))!
  const [older, newer] = [items.runOf(0, from), items.runOf(from, items.length)]
  return {
    latest: { count: items.length - from, bytes: newer.length, runs: [newer] },
    spilled: { count: from, bytes: older.length, runs: [older], behind },
  }
}

/** Rows beside those that have become small, which are joined with them. */
function neighboursOf(
  index: IdIndex<Items>,
  rewritten: ReadonlyMap<number, NewPart>,
  first: number,
  sizes: IndexSizes,
): Set<number> {
  const neighbours = new Set<number>()
  for (const [row, { count, bytes }] of rewritten) {
    if (count === 0 || !isSmall(bytes, sizes.part)) continue
    const fitting = [row - 1, row + 1].find(
      (beside) =>
        beside >= first &&
        beside < index.rows &&
        !rewritten.has(beside) &&
        index.bytes(beside) + bytes <= roomyBytes(sizes.part),
    )
    if (fitting !== undefined) neighbours.add(fitting)
  }
  return neighbours
}

function piecesOf(
  first: number,
  rows: number,
  rewritten: ReadonlyMap<number, NewPart>,
  sizes: IndexSizes,
): (KeptRows | NewPart)[] {
  const pieces: (KeptRows | NewPart)[] = []
  let at = first
  for (const [row, part] of [...rewritten].sort(([a], [b]) => a - b)) {
    const last = pieces.at(-1)
    if (at < row) pieces.push({ from: at, to: row }, part)
    else if (last && 'runs' in last && areJoined(last, part, sizes))
      pieces[pieces.length - 1] = both(last, part)
    else pieces.push(part)
    at = row + 1
  }
  if (at < rows) pieces.push({ from: at, to: rows })
  return pieces
}

function areJoined(a: NewPart, b: NewPart, { part }: IndexSizes): boolean {
  if (a.count === 0 || b.count === 0) return true
  return (isSmall(a.bytes, part) || isSmall(b.bytes, part)) && a.bytes + b.bytes <= roomyBytes(part)
}

function both(a: NewPart, b: Bytes & { readonly ids?: readonly number[] }): NewPart {
  return {
    ids: [...a.ids, ...(b.ids ?? [])],
    count: a.count + b.count,
    bytes: a.bytes + b.bytes,
    runs: [...a.runs, ...b.runs],
  }
}

function addSpilled(pieces: (KeptRows | NewPart)[], spilled: Bytes, { part }: IndexSizes): void {
  const last = pieces.at(-1)
  if (last && 'runs' in last && last.bytes + spilled.bytes <= part)
    pieces[pieces.length - 1] = both(last, spilled)
  else pieces.push({ ...spilled, ids: [] })
}

/** Without those that are empty, and with the long ones cut. */
function cutPieces<T extends Items>(
  pieces: readonly (KeptRows | NewPart)[],
  itemsOf: ItemsOf<T>,
  sizes: IndexSizes,
): { readonly kept: (KeptRows | NewPart)[]; readonly freed: number[] } {
  const kept: (KeptRows | NewPart)[] = []
  const freed: number[] = []
  for (const piece of pieces) {
    if (!('runs' in piece)) kept.push(piece)
    else if (piece.count === 0) freed.push(...piece.ids)
    else {
      const cut =
        piece.bytes <= sizes.part
          ? [piece]
          : inOneGo(cutItems(itemsOf(Buffer.concat(piece.runs), 0, piece.count), piece.count, sizes))
      const left = [...piece.ids]
      for (const one of cut) kept.push({ ...one, ids: left.splice(0, 1) })
      freed.push(...left)
    }
  }
  return { kept, freed }
}

/** The first `count` of them, into parts of about the same size. */
function* cutItems(items: Items, count: number, { part }: IndexSizes): Sliced<Bytes[]> {
  const all = items.runOf(0, count).length
  const most = Math.ceil(all / Math.ceil(all / part))
  const cut: Bytes[] = []
  let from = 0
  let bytes = 0
  const end = (to: number) => {
    const run = items.runOf(from, to)
    cut.push({ count: to - from, bytes: run.length, runs: [run] })
  }
  for (let i = 0; i < count; i++) {
    if (i % ITEMS_A_PIECE === ITEMS_A_PIECE - 1) yield UNITS_A_PIECE
    const next = items.runOf(i, i + 1).length
    if (i > from && (bytes >= most || bytes + next > part)) {
      end(i)
      from = i
      bytes = 0
    }
    bytes += next
  }
  end(count)
  return cut
}
