/** The parts of a large collection that a command looks at, opened once. */
import { inOneGo, type Sliced } from '../../../core/work.ts'
import type { Parts } from '../../step.ts'
import type { Entries } from '../entries.ts'
import type { FieldHash } from './field-hash.ts'
import { readCurrentPart } from './part.ts'
import { lastWhere, type Root, type Rows } from './root.ts'

/** To decode or to search one of the largest. */
const UNITS_A_PART = 64

/** Of an index, the rows whose parts are looked at. */
export interface Looked {
  readonly index: OpenedIndex
  readonly rows: Iterable<number>
}

/** A large collection of which parts are open. */
export interface Opened {
  readonly root: Root
  readonly hash: FieldHash
  readonly parts: Parts
  /** By position, by hash, or by score. */
  readonly first: OpenedIndex
  /** Null = a list. */
  readonly byHash: OpenedIndex | null
}

/** A place in a sorted set. */
export interface Point {
  readonly score: number
  readonly member: Buffer
}

export class OpenedIndex {
  readonly rows: Rows
  private readonly root: Root
  private readonly parts: Parts
  private readonly opened = new Map<number, Entries>()

  constructor(root: Root, rows: Rows, parts: Parts) {
    this.root = root
    this.rows = rows
    this.parts = parts
  }

  /** The part by score that has, or would have, this entry. */
  rowOfPoint({ score, member }: Point): number {
    const { length, separators } = this.rows
    return lastWhere(length, (k) => {
      const other = separators!.score(k)
      return k === 0 || other < score || (other === score && separators!.compareKey(k, member) <= 0)
    })
  }

  /** @throws NeedsParts, PartsChanged or DamagedCollection */
  entries(row: number): Entries {
    return this.opened.get(row) ?? this.open(row, this.parts.get([this.rows.id(row)])[0]!)
  }

  /** Of each key, its place in the part of its row, or -1. Each part is searched once. */
  *placesOf(keys: readonly Buffer[], rowOf: readonly number[]): Sliced<number[]> {
    const byRow = new Map<number, number[]>()
    for (const [i, row] of rowOf.entries()) {
      const own = byRow.get(row)
      if (own) own.push(i)
      else byRow.set(row, [i])
    }
    const places = new Array<number>(keys.length)
    for (const [row, own] of byRow) {
      const found = this.entries(row).indexesOf(own.map((i) => keys[i]!))
      for (const [j, i] of own.entries()) places[i] = found[j]!
      yield UNITS_A_PART
    }
    return places
  }

  has(row: number): boolean {
    return this.opened.has(row)
  }

  open(row: number, part: Buffer | null): Entries {
    const { generation, layout } = this.root
    const { rows } = this
    const name = { generation, id: rows.id(row) }
    const entries = readCurrentPart(part, name, rows.stamp(row), rows.count(row), layout.shape)
    this.opened.set(row, entries)
    return entries
  }
}

/** Opens all of them, which are asked for at once. @throws NeedsParts, PartsChanged or DamagedCollection */
export function openAll(parts: Parts, looked: readonly Looked[]): void {
  inOneGo(openInSlices(parts, looked))
}

/** The same for many. */
export function* openInSlices(parts: Parts, looked: readonly Looked[]): Sliced<void> {
  const missing = looked.flatMap(({ index, rows }) =>
    [...new Set(rows)]
      .filter((row) => !index.has(row))
      .map((row) => ({ index, row, id: index.rows.id(row) })),
  )
  if (missing.length === 0) return
  const found = parts.get(missing.map(({ id }) => id))
  for (const [i, { index, row }] of missing.entries()) {
    index.open(row, found[i]!)
    yield UNITS_A_PART
  }
}
