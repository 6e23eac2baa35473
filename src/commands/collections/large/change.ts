/**
 * Changes of large collections. The parts that are touched are written anew, and so is the root; all others stay.
 *
 *   pieces ──▶ what goes and what comes, in each index and row ──▶ rows as they become ──▶ joined, if small; cut, if long
 *
 * A part from which all is taken is not read. The order of the entries within a part by hash means nothing.
 */
import type { Sliced } from '../../../core/work.ts'
import type { Parts } from '../../step.ts'
import { DamagedCollection, Entries, type ChangedPiece } from '../entries.ts'
import { cutInSlices, type Filling, type Piece } from './cut.ts'
import { openInSlices, type Opened, type OpenedIndex } from './opened.ts'
import { PartsAfter } from './overlay.ts'
import { writePart } from './part.ts'
import { writeRoot, type NewRoot, type NewRow, type Splice } from './root.ts'
import { becomesFlat, isSmall, mostPartBytes, roomyBytes } from './sizes.ts'
import { rowOfPiece } from './split.ts'

export interface Result {
  readonly value: Buffer
  readonly bytes: number
  readonly changedParts: ReadonlyMap<number, Buffer | null>
  /** If it is to be flat again: its parts. */
  readonly after: Parts | null
}

interface Range {
  readonly from: number
  readonly to: number
}

interface Added {
  /** In front of the entry that is there. */
  readonly at: number
  readonly entry: Buffer
}

/** What goes from a part, and what comes to it; from left to right. */
interface Edit {
  readonly gone: Range[]
  readonly added: Added[]
}

type IndexEdits = Map<number, Edit>

/** Entries processed between two yields, and what that costs. */
const ENTRIES_A_PIECE = 64
const UNITS_A_PIECE = 32
/** To write a part, or to read one. */
const UNITS_A_PART = 64

/** @throws NeedsParts, PartsChanged, DamagedCollection or RootTooLong */
export function* changedInParts(opened: Opened, pieces: readonly ChangedPiece[]): Sliced<Result> {
  const { root, first, byHash, parts } = opened
  const { gone, added } = differences(pieces, root.count)
  const indexes = [first]
  const edits = [yield* firstEdits(opened, gone, added)]
  if (byHash && byHash !== first) {
    indexes.push(byHash)
    edits.push(yield* hashEdits(opened, byHash, gone, added))
  }
  yield* openInSlices(
    parts,
    indexes.map((index, i) => ({ index, rows: rowsToOpen(index, edits[i]!) })),
  )
  const rebuilt: NewRows[][] = []
  for (const [i, index] of indexes.entries()) rebuilt.push(yield* rebuiltRows(index, edits[i]!))
  const entryBytes = rebuilt[0]!.reduce(
    (sum, { bytes, bytesBefore }) => sum + bytes - bytesBefore,
    root.entryBytes,
  )
  const most = mostPartBytes(entryBytes)
  const joined = indexes.map((index, i) => joinedWithNeighbours(index, rebuilt[i]!, most))
  yield* openInSlices(
    parts,
    indexes.map((index, i) => ({ index, rows: joined[i]!.flatMap(({ neighbours }) => neighbours) })),
  )
  const writer = new Writer(opened, most)
  const count = root.count - gone.reduce((sum, { from, to }) => sum + to - from, 0) + added.length
  const changed: NewRoot['indexes'][number][] = []
  for (const [i, index] of indexes.entries()) {
    const splices = yield* writer.splices(index, joined[i]!)
    changed.push({ order: index.rows.order, before: index.rows, splices })
  }
  const value = writeRoot({
    generation: root.generation,
    changes: writer.stamp,
    indexes: changed,
    nextId: writer.nextId,
    count,
    entryBytes,
  })
  const changedParts = writer.parts
  return {
    value,
    bytes: entryBytes,
    changedParts,
    after: becomesFlat(entryBytes) ? new PartsAfter(parts, changedParts) : null,
  }
}

// ---- what goes and what comes

function differences(pieces: readonly ChangedPiece[], length: number): { gone: Range[]; added: Added[] } {
  const gone: Range[] = []
  const added: Added[] = []
  let at = 0
  const leaveUpTo = (to: number) => {
    if (to < at) throw new Error('the runs of a changed collection are not in order')
    if (at < to) gone.push({ from: at, to })
  }
  for (const piece of pieces) {
    if (Buffer.isBuffer(piece)) {
      added.push({ at, entry: piece })
      continue
    }
    leaveUpTo(piece.from)
    at = piece.to
  }
  leaveUpTo(length)
  return { gone, added }
}

function editOf(edits: IndexEdits, row: number): Edit {
  let edit = edits.get(row)
  if (!edit) edits.set(row, (edit = { gone: [], added: [] }))
  return edit
}

function* firstEdits(
  { first, hash, root }: Opened,
  gone: readonly Range[],
  added: readonly Added[],
): Sliced<IndexEdits> {
  const { rows } = first
  const edits: IndexEdits = new Map()
  let seen = 0
  for (const { from, to } of gone) {
    for (let row = rows.rowAt(from); row < rows.length && rows.starts[row]! < to; row++) {
      const start = rows.starts[row]!
      const range = { from: Math.max(from - start, 0), to: Math.min(to - start, rows.count(row)) }
      editOf(edits, row).gone.push(range)
    }
    if (++seen % ENTRIES_A_PIECE === 0) yield UNITS_A_PIECE
  }
  for (const { at, entry } of added) {
    if (++seen % ENTRIES_A_PIECE === 0) yield UNITS_A_PIECE
    const one = Entries.within(entry, 0, 1, root.layout.shape)
    const row =
      rows.order === 'position'
        ? rows.rowAt(at)
        : rows.order === 'hash'
          ? rows.rowOfHash(hash.of(one.key(0)))
          : first.rowOfPoint({ score: one.score(0), member: one.key(0) })
    const place = at - rows.starts[row]!
    const count = rows.count(row)
    // By hash, what is new comes last in its part.
    const isWithin = place >= 0 && place < count
    const end = rows.order === 'hash' || place > 0 ? count : 0
    editOf(edits, row).added.push({ at: isWithin ? place : end, entry })
  }
  return edits
}

/** Of the members of a sorted set in the index by hash. */
function* hashEdits(
  { first, hash, parts, root }: Opened,
  byHash: OpenedIndex,
  gone: readonly Range[],
  added: readonly Added[],
): Sliced<IndexEdits> {
  const edits: IndexEdits = new Map()
  const members = yield* membersWithin(first, parts, gone)
  const rowsOfMembers: number[] = []
  for (const member of members) {
    const row = byHash.rows.rowOfHash(hash.of(member))
    if (rowsOfMembers.push(row) % ENTRIES_A_PIECE === 0) yield UNITS_A_PIECE
  }
  yield* openInSlices(parts, [{ index: byHash, rows: rowsOfMembers }])
  for (const [i, at] of (yield* byHash.placesOf(members, rowsOfMembers)).entries()) {
    if (at === -1) throw new DamagedCollection()
    editOf(edits, rowsOfMembers[i]!).gone.push({ from: at, to: at + 1 })
    if (i % ENTRIES_A_PIECE === 0) yield UNITS_A_PIECE / 4
  }
  for (const { gone } of edits.values()) {
    gone.sort((a, b) => a.from - b.from)
    yield UNITS_A_PART
  }
  for (const [i, { entry }] of added.entries()) {
    const member = Entries.within(entry, 0, 1, root.layout.shape).key(0)
    const row = byHash.rows.rowOfHash(hash.of(member))
    editOf(edits, row).added.push({ at: byHash.rows.count(row), entry })
    if (i % ENTRIES_A_PIECE === 0) yield UNITS_A_PIECE
  }
  return edits
}

function* membersWithin(first: OpenedIndex, parts: Parts, gone: readonly Range[]): Sliced<Buffer[]> {
  const { rows } = first
  const all = gone.flatMap(({ from, to }) => {
    const found: (Range & { row: number })[] = []
    for (let row = rows.rowAt(from); row < rows.length && rows.starts[row]! < to; row++) {
      const start = rows.starts[row]!
      found.push({ row, from: Math.max(from - start, 0), to: Math.min(to - start, rows.count(row)) })
    }
    return found
  })
  yield* openInSlices(parts, [{ index: first, rows: all.map(({ row }) => row) }])
  const members: Buffer[] = []
  for (const { row, from, to } of all) {
    const entries = first.entries(row)
    for (let i = from; i < to; i++) members.push(entries.key(i))
    yield 1 + ((to - from) / ENTRIES_A_PIECE) * UNITS_A_PIECE * 0.25
  }
  return members
}

// ---- rows as they become

/** What takes the place of the rows from `from` up to, without, `to`. */
interface NewRows extends Range {
  readonly count: number
  readonly bytes: number
  readonly bytesBefore: number
  readonly runs: readonly Buffer[]
  readonly filling: Filling
  /** Rows beside the changed ones that become one with them. */
  readonly neighbours: readonly number[]
}

function isEmptied({ rows }: OpenedIndex, row: number, { gone, added }: Edit): boolean {
  return added.length === 0 && gone.reduce((sum, { from, to }) => sum + to - from, 0) === rows.count(row)
}

function rowsToOpen(index: OpenedIndex, edits: IndexEdits): number[] {
  return [...edits].filter(([row, edit]) => !isEmptied(index, row, edit)).map(([row]) => row)
}

function* rebuiltRows(index: OpenedIndex, edits: IndexEdits): Sliced<NewRows[]> {
  const { rows } = index
  const rebuilt: NewRows[] = []
  for (const [row, edit] of [...edits].sort(([a], [b]) => a - b)) {
    const [from, to, bytesBefore] = [row, row + 1, rows.bytes(row)]
    const runs = isEmptied(index, row, edit) ? [] : runsOf(index.entries(row), edit)
    const bytes = runs.reduce((sum, run) => sum + run.length, 0)
    const gone = edit.gone.reduce((sum, { from, to }) => sum + to - from, 0)
    const count = rows.count(row) - gone + edit.added.length
    const filling = fillingOf(index, row, edit)
    rebuilt.push({ from, to, count, bytes, bytesBefore, runs, neighbours: [], filling })
    yield UNITS_A_PART
  }
  return rebuilt
}

function fillingOf({ rows }: OpenedIndex, row: number, { added }: Edit): Filling {
  if (row === rows.length - 1 && added.every(({ at }) => at === rows.count(row))) return 'from the left'
  return row === 0 && added.every(({ at }) => at === 0) ? 'from the right' : 'evenly'
}

function runsOf(entries: Entries, { gone, added }: Edit): Buffer[] {
  const runs: Buffer[] = []
  let at = 0
  let passed = 0
  const keepUpTo = (to: number) => {
    for (; passed < gone.length && gone[passed]!.from < to; passed++) {
      if (at < gone[passed]!.from) runs.push(entries.run(at, gone[passed]!.from))
      at = gone[passed]!.to
    }
    if (at < to) runs.push(entries.run(at, to))
    at = Math.max(at, to)
  }
  for (const one of added) {
    keepUpTo(one.at)
    runs.push(one.entry)
  }
  keepUpTo(entries.length)
  return runs
}

/** Rows that have become small are joined with what is beside them, if there is room. */
function joinedWithNeighbours(index: OpenedIndex, changed: readonly NewRows[], most: number): NewRows[] {
  const { rows } = index
  const fit = (a: number, b: number) => (isSmall(a, most) || isSmall(b, most)) && a + b <= roomyBytes(most)
  const joined: NewRows[] = []
  for (const next of changed) {
    const last = joined.at(-1)
    const isBeside = last?.to === next.from
    if (isBeside && (last.count === 0 || next.count === 0 || fit(last.bytes, next.bytes))) {
      joined[joined.length - 1] = both(last, next)
    } else joined.push(next)
  }
  const result: NewRows[] = []
  for (const [i, one] of joined.entries()) {
    const [left, right] = [one.from - 1, one.to]
    const isAlone = one.count === 0 || !isSmall(one.bytes, most)
    if (isAlone) result.push(one)
    else if (left >= (result.at(-1)?.to ?? 0) && fit(one.bytes, rows.bytes(left))) {
      result.push(withNeighbour(index, one, left))
    } else {
      const end = joined[i + 1]?.from ?? rows.length
      const fits = right < end && fit(one.bytes, rows.bytes(right))
      result.push(fits ? withNeighbour(index, one, right) : one)
    }
  }
  return result
}

function both(a: NewRows, b: NewRows): NewRows {
  return {
    ...{ from: a.from, to: b.to, count: a.count + b.count, bytes: a.bytes + b.bytes },
    ...{ bytesBefore: a.bytesBefore + b.bytesBefore, runs: [...a.runs, ...b.runs] },
    ...{ filling: 'evenly', neighbours: [] },
  }
}

/** Its entries are added once its part has been read. */
function withNeighbour({ rows }: OpenedIndex, one: NewRows, row: number): NewRows {
  return {
    ...one,
    ...{ from: Math.min(one.from, row), to: Math.max(one.to, row + 1), neighbours: [row] },
    ...{ count: one.count + rows.count(row), bytes: one.bytes + rows.bytes(row) },
  }
}

// ---- writing

class Writer {
  readonly parts = new Map<number, Buffer | null>()
  readonly stamp: number
  nextId: number
  private readonly opened: Opened
  private readonly most: number

  constructor(opened: Opened, most: number) {
    this.opened = opened
    this.most = most
    this.stamp = opened.root.changes + 1
    this.nextId = opened.root.nextId
  }

  *splices(index: OpenedIndex, changed: readonly NewRows[]): Sliced<Splice[]> {
    const splices: Splice[] = []
    for (const rows of changed) {
      splices.push(yield* this.splice(index, rows))
      yield UNITS_A_PART
    }
    return splices
  }

  private *splice(index: OpenedIndex, changed: NewRows): Sliced<Splice> {
    const { rows } = index
    const { from, to } = changed
    const ids = rows.ids(from, to)
    for (const id of ids) this.parts.set(id, null)
    const pieces = changed.count === 0 ? [] : yield* this.piecesOf(index, changed)
    const next = pieces.map((piece, i): NewRow => {
      const id = ids[i] ?? this.nextId++
      const name = { generation: this.opened.root.generation, id }
      this.parts.set(id, writePart(name, this.stamp, piece.count, piece.runs))
      return rowOfPiece(piece, id, this.stamp)
    })
    return { from, to, rows: next }
  }

  private *piecesOf(index: OpenedIndex, changed: NewRows): Sliced<Piece[]> {
    const { rows } = index
    const { from, count, bytes } = changed
    const runs = withNeighbours(index, changed)
    const separator = rows.separator(from)
    if (bytes <= this.most) return [{ count, bytes, runs, separator }]
    const { shape } = this.opened.root.layout
    const entries = Entries.within(Buffer.concat(runs), 0, count, shape)
    const [first, ...others] = yield* cutInSlices(
      entries,
      rows.order,
      this.opened.hash,
      this.most,
      changed.filling,
    )
    return [{ ...first!, separator }, ...others]
  }
}

function withNeighbours(index: OpenedIndex, { from, runs, neighbours: [row] }: NewRows): readonly Buffer[] {
  if (row === undefined) return runs
  const entries = index.entries(row)
  const run = entries.run(0, entries.length)
  return row === from ? [run, ...runs] : [...runs, run]
}
