/**
 * A large collection as commands see it. It asks for the parts that a command looks at, and for no others.
 *
 *   position  ── numbers of entries in the root ──▶ part, place in it
 *   key       ── its hash ──▶ part by hash; of a sorted set its score is there ── score and member ──▶ part by score
 */
import { inOneGo, type Sliced } from '../../../core/work.ts'
import type { Parts } from '../../step.ts'
import {
  DamagedCollection,
  Entries,
  NewEntries,
  type Changed,
  type ChangedInParts,
  type ChangedPiece,
  type Holds,
} from '../entries.ts'
import { inHashOrder } from './cut.ts'
import { changedInParts } from './change.ts'
import { FieldHash } from './field-hash.ts'
import { openAll, OpenedIndex, openInSlices, type Opened, type Point } from './opened.ts'
import { lastWhere, Root } from './root.ts'
import { flatten, wholeOf } from './split.ts'

/** Some entries of a scan, and where the next ones begin. */
export interface Page {
  readonly entries: Entries
  /** A hash; null = there are no more. */
  readonly next: number | null
}

interface Run {
  readonly from: number
  readonly to: number
}

const MARK = Buffer.from('cursor')
/** What looks at more is computed in slices. */
const FEW_ENTRIES = 256
/** Entries looked for between two yields. */
const ENTRIES_A_PIECE = 64
const UNITS_A_PIECE = 32
/** A client that asks for more gets several pages. */
const MOST_OF_A_PAGE = 4096

export class LargeCollection implements ChangedInParts, Opened {
  readonly root: Root
  readonly hash: FieldHash
  readonly parts: Parts
  readonly first: OpenedIndex
  readonly byHash: OpenedIndex | null
  private readonly kind: number | undefined

  /** A step is applied again with the parts that it has asked for: what it has opened is still there. */
  private static readonly known = new WeakMap<Parts, LargeCollection>()

  /** @throws DamagedCollection */
  static of(kind: number | undefined, value: Buffer, parts: Parts): LargeCollection {
    let opened = LargeCollection.known.get(parts)
    if (opened?.root.bytes !== value) {
      opened = new LargeCollection(kind, value, parts)
      LargeCollection.known.set(parts, opened)
    }
    return opened
  }

  private constructor(kind: number | undefined, value: Buffer, parts: Parts) {
    this.kind = kind
    this.root = new Root(kind, value)
    this.hash = new FieldHash(this.root.generation)
    this.parts = parts
    const opened = this.root.indexes.map((rows) => new OpenedIndex(this.root, rows, parts))
    this.first = opened[0]!
    this.byHash = opened.find(({ rows }) => rows.order === 'hash') ?? null
  }

  get length(): number {
    return this.root.count
  }

  key(i: number): Buffer {
    const row = this.first.rows.rowAt(i)
    return this.first.entries(row).key(i - this.first.rows.starts[row]!)
  }

  value(i: number): Buffer {
    const row = this.first.rows.rowAt(i)
    return this.first.entries(row).value(i - this.first.rows.starts[row]!)
  }

  score(i: number): number {
    const row = this.first.rows.rowAt(i)
    return this.first.entries(row).score(i - this.first.rows.starts[row]!)
  }

  // ---- by key

  indexOf(key: Buffer): number {
    return this.indexesOf([key])[0]!
  }

  indexesOf(keys: readonly Buffer[]): number[] {
    const { byHash, first } = this
    if (!byHash) return this.flat().indexesOf(keys)
    if (byHash !== first) return this.ranksOf(keys)
    const rows = this.rowsOf(keys)
    const places = this.computed(keys.length, () => this.placesAt(byHash, keys, rows))
    return places.map((at, i) => (at === -1 ? -1 : first.rows.starts[rows[i]!]! + at))
  }

  private *placesAt(index: OpenedIndex, keys: readonly Buffer[], rows: readonly number[]): Sliced<number[]> {
    yield* openInSlices(this.parts, [{ index, rows }])
    return yield* index.placesOf(keys, rows)
  }

  computed<T>(entries: number, compute: () => Sliced<T>): T {
    const { parts } = this
    return entries > FEW_ENTRIES && parts.inSlices ? parts.inSlices(compute) : inOneGo(compute())
  }

  scoresOf(members: readonly Buffer[], next?: readonly number[]): (number | null)[] {
    const byHash = this.byHash!
    const rows = this.rowsOf(members)
    const places = next?.map((score, i) => this.first.rowOfPoint({ score, member: members[i]! })) ?? []
    const looked = [
      { index: byHash, rows },
      { index: this.first, rows: places },
    ]
    const { parts } = this
    const found = this.computed(members.length, function* () {
      yield* openInSlices(parts, looked)
      return yield* byHash.placesOf(members, rows)
    })
    return found.map((at, i) => (at === -1 ? null : byHash.entries(rows[i]!).score(at)))
  }

  /** The parts by hash in which these are, or would be. */
  rowsOf(keys: readonly Buffer[]): number[] {
    return keys.map((key) => this.byHash!.rows.rowOfHash(this.hash.of(key)))
  }

  private ranksOf(members: readonly Buffer[]): number[] {
    const scores = this.scoresOf(members)
    const points = members.flatMap((member, i) => (scores[i] === null ? [] : [{ score: scores[i]!, member }]))
    const places = this.firstsWhere(
      points.map((point) => (entries, i) => !isBefore(entries, i, point)),
    ).values()
    return members.map((member, i) => {
      if (scores[i] === null) return -1
      const at = places.next().value!
      if (at === this.length || !this.key(at).equals(member)) throw new DamagedCollection()
      return at
    })
  }

  // ---- by score

  firstsWhere(all: readonly Holds[]): number[] {
    return this.computed(all.length, () => this.firstsInSlices(all))
  }

  private *firstsInSlices(all: readonly Holds[]): Sliced<number[]> {
    const { rows } = this.first
    const separators = rows.separators!
    const found: number[] = []
    for (const holds of all) {
      found.push(lastWhere(rows.length, (k) => k === 0 || !holds(separators, k)))
      if (found.length % ENTRIES_A_PIECE === 0) yield UNITS_A_PIECE
    }
    yield* openInSlices(this.parts, [{ index: this.first, rows: found }])
    const places: number[] = []
    for (const [i, holds] of all.entries()) {
      places.push(rows.starts[found[i]!]! + this.first.entries(found[i]!).firstWhere(holds))
      if (i % ENTRIES_A_PIECE === 0) yield UNITS_A_PIECE
    }
    return places
  }

  // ---- several

  keys(from: number, to: number): Buffer[] {
    const entries = this.slice(from, to)
    return entries.keys(0, entries.length)
  }

  slice(from: number, to: number): Entries {
    if (from >= to) return Entries.NONE
    return from === 0 && to === this.length ? this.flat() : this.joined([{ from, to }])
  }

  gather(places: readonly number[]): { entries: Entries; places: readonly number[] } {
    if (places.length > FEW_ENTRIES) return this.gatherMany(places)
    const runs: { from: number; to: number }[] = []
    for (const place of places) {
      const last = runs.at(-1)
      if (last?.to === place) last.to++
      else runs.push({ from: place, to: place + 1 })
    }
    return { entries: this.joined(runs), places: places.map((_, i) => i) }
  }

  /** A run of them, in either order; or most parts have one of them. */
  private gatherMany(places: readonly number[]): { entries: Entries; places: readonly number[] } {
    let [least, most] = [places[0]!, places[0]!]
    for (const place of places) {
      least = Math.min(least, place)
      most = Math.max(most, place)
    }
    if (most - least >= 2 * places.length) return { entries: this.flat(), places }
    return { entries: this.slice(least, most + 1), places: places.map((place) => place - least) }
  }

  flat(): Entries {
    return wholeOf(this.kind, this.root.bytes, this.parts)
  }

  private joined(runs: readonly Run[]): Entries {
    const length = runs.reduce((sum, { from, to }) => sum + to - from, 0)
    return this.computed(length, () => this.joinedInSlices(runs))
  }

  private *joinedInSlices(runs: readonly Run[]): Sliced<Entries> {
    const { rows } = this.first
    const needed = new Set<number>()
    for (const { from, to } of runs) {
      for (let row = rows.rowAt(from); row < rows.length && rows.starts[row]! < to; row++) needed.add(row)
    }
    yield* openInSlices(this.parts, [{ index: this.first, rows: needed }])
    const next = new NewEntries()
    for (const { from, to } of runs) {
      for (let row = rows.rowAt(from); row < rows.length && rows.starts[row]! < to; row++) {
        const start = rows.starts[row]!
        const entries = this.first.entries(row)
        next.keep(entries, Math.max(from - start, 0), Math.min(to - start, entries.length))
      }
    }
    return yield* Entries.ofInSlices(next.value(), this.root.layout.shape)
  }

  // ---- scans and changes

  /** Tells its generation from others, but not what it is: 32 bits. */
  get mark(): number {
    return this.hash.of(MARK)
  }

  /** Entries from this hash on: about so many, and always all of one hash. */
  page(from: number, asked: number): Page {
    const index = this.byHash!
    const { rows } = index
    const first = rows.rowOfHash(from)
    const count = Math.min(asked, MOST_OF_A_PAGE)
    let end = first
    for (let left = count; left > 0 && end < rows.length; end++) left -= rows.count(end)
    const needed = Array.from({ length: end - first }, (_, i) => first + i)
    openAll(this.parts, [{ index, rows: needed }])
    const next = new NewEntries()
    for (const row of needed) {
      const entries = index.entries(row)
      const { hashes, places } = inOneGo(inHashOrder(entries, this.hash))
      let last = -1
      for (const place of places) {
        const hash = hashes[place]!
        if (hash < from) continue
        if (next.count >= count && hash !== last) return this.pageOf(next, hash)
        next.keep(entries, place, place + 1)
        last = hash
      }
    }
    return this.pageOf(next, end < rows.length ? rows.hashAt(end) : null)
  }

  private pageOf(found: NewEntries, next: number | null): Page {
    return { entries: Entries.of(found.value(), this.root.layout.shape), next }
  }

  changed(pieces: readonly ChangedPiece[]): Changed {
    const kept = pieces.reduce((sum, piece) => sum + (Buffer.isBuffer(piece) ? 0 : piece.to - piece.from), 0)
    const { value, bytes, changedParts, after } = this.computed(this.length - kept + pieces.length, () =>
      changedInParts(this, pieces),
    )
    return after ? { value: flatten(this.kind, value, after), bytes } : { value, bytes, changedParts }
  }
}

function isBefore(entries: Entries, i: number, { score, member }: Point): boolean {
  const other = entries.score(i)
  return other === score ? entries.compareKey(i, member) < 0 : other < score
}
