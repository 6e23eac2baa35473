/**
 * A large collection as commands see it. It asks for the parts that a command looks at, and for no others.
 *
 *   position  ── numbers of entries in the root ──▶ part, place in it
 *   key       ── its hash ──▶ part by hash; of a sorted set its score is there ── score and member ──▶ part by score
 */
import { inOneGo } from '../../../core/work.ts'
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
import { openAll, OpenedIndex, type Opened, type Point } from './opened.ts'
import { lastWhere, Root } from './root.ts'
import { flatten, wholeOf } from './split.ts'

/** Some entries of a scan, and where the next ones begin. */
export interface Page {
  readonly entries: Entries
  /** A hash; null = there are no more. */
  readonly next: number | null
}

const MARK = Buffer.from('cursor')

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
    openAll(this.parts, [{ index: byHash, rows }])
    return byHash.placesOf(keys, rows).map((at, i) => (at === -1 ? -1 : first.rows.starts[rows[i]!]! + at))
  }

  scoresOf(members: readonly Buffer[], next?: readonly number[]): (number | null)[] {
    const byHash = this.byHash!
    const rows = this.rowsOf(members)
    const places = next?.map((score, i) => this.first.rowOfPoint({ score, member: members[i]! })) ?? []
    openAll(this.parts, [
      { index: byHash, rows },
      { index: this.first, rows: places },
    ])
    return byHash
      .placesOf(members, rows)
      .map((at, i) => (at === -1 ? null : byHash.entries(rows[i]!).score(at)))
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
    const { rows } = this.first
    const separators = rows.separators!
    const found = all.map((holds) => lastWhere(rows.length, (k) => k === 0 || !holds(separators, k)))
    openAll(this.parts, [{ index: this.first, rows: found }])
    return all.map((holds, i) => rows.starts[found[i]!]! + this.first.entries(found[i]!).firstWhere(holds))
  }

  // ---- several

  keys(from: number, to: number): Buffer[] {
    const entries = this.slice(from, to)
    return entries.keys(0, entries.length)
  }

  slice(from: number, to: number): Entries {
    return from < to ? this.joined([{ from, to }]) : Entries.NONE
  }

  gather(places: readonly number[]): { entries: Entries; places: readonly number[] } {
    const runs: { from: number; to: number }[] = []
    for (const place of places) {
      const last = runs.at(-1)
      if (last?.to === place) last.to++
      else runs.push({ from: place, to: place + 1 })
    }
    return { entries: this.joined(runs), places: places.map((_, i) => i) }
  }

  flat(): Entries {
    return wholeOf(this.kind, this.root.bytes, this.parts)
  }

  private joined(runs: readonly { readonly from: number; readonly to: number }[]): Entries {
    const { rows } = this.first
    const needed = new Set<number>()
    for (const { from, to } of runs) {
      for (let row = rows.rowAt(from); row < rows.length && rows.starts[row]! < to; row++) needed.add(row)
    }
    openAll(this.parts, [{ index: this.first, rows: needed }])
    const next = new NewEntries()
    for (const { from, to } of runs) {
      for (let row = rows.rowAt(from); row < rows.length && rows.starts[row]! < to; row++) {
        const start = rows.starts[row]!
        const entries = this.first.entries(row)
        next.keep(entries, Math.max(from - start, 0), Math.min(to - start, entries.length))
      }
    }
    return Entries.of(next.value(), this.root.layout.shape)
  }

  // ---- scans and changes

  /** Tells its generation from others, but not what it is: 32 bits. */
  get mark(): number {
    return this.hash.of(MARK)
  }

  /** Entries from this hash on: about so many, and always all of one hash. */
  page(from: number, count: number): Page {
    const index = this.byHash!
    const { rows } = index
    const first = rows.rowOfHash(from)
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
    const { value, bytes, changedParts, after } = changedInParts(this, pieces)
    return after ? { value: flatten(this.kind, value, after), bytes } : { value, bytes, changedParts }
  }
}

function isBefore(entries: Entries, i: number, { score, member }: Point): boolean {
  const other = entries.score(i)
  return other === score ? entries.compareKey(i, member) < 0 : other < score
}
