/** Large collections without nodes: their parts in a Map, and what runs a step on them. */
import { expect } from 'chai'
import type { Entries } from '../../src/commands/collections/entries.ts'
import { FieldHash } from '../../src/commands/collections/large/field-hash.ts'
import { readCurrentPart } from '../../src/commands/collections/large/part.ts'
import { partIdsIn, Root, type Rows } from '../../src/commands/collections/large/root.ts'
import { sizes } from '../../src/commands/collections/large/sizes.ts'
import { NeedsParts, type Parts } from '../../src/commands/step.ts'

/** Collections of a few entries have many parts meanwhile. */
export function withSizes<T>(small: Partial<typeof sizes>, run: () => T): T {
  const before = { ...sizes }
  Object.assign(sizes, small)
  const restore = () => void Object.assign(sizes, before)
  let result: T
  try {
    result = run()
  } catch (error) {
    restore()
    throw error
  }
  if (result instanceof Promise) return result.finally(restore) as T
  restore()
  return result
}

export const TINY = { largeFrom: 64, partBytes: 32 }
/** So that even collections of three or four short entries have parts. */
export const SMALLEST = { largeFrom: 16, partBytes: 8 }

/** What a node holds; a step gets what it has asked for, and no more. */
export class PartsInMap implements Parts {
  readonly isSalvaged: boolean
  /** Ids that were asked for, in rounds. */
  readonly rounds: number[][] = []
  readonly #root: Buffer
  readonly all: ReadonlyMap<number, Buffer>
  readonly #read = new Set<number>()

  constructor(root: Buffer, all: ReadonlyMap<number, Buffer>, isSalvaged = false) {
    this.#root = root
    this.all = all
    this.isSalvaged = isSalvaged
  }

  get(ids: readonly number[]): (Buffer | null)[] {
    const missing = ids.filter((id) => !this.#read.has(id))
    if (missing.length > 0) throw new NeedsParts([...new Set(missing)], this.#root)
    return ids.map((id) => this.all.get(id) ?? null)
  }

  /** Runs it again and again, with the parts that it has asked for. */
  while<T>(run: () => T): T {
    for (;;) {
      try {
        return run()
      } catch (error) {
        if (!(error instanceof NeedsParts) || error.value !== this.#root) throw error
        this.rounds.push([...error.ids])
        for (const id of error.ids) this.#read.add(id)
        if (this.rounds.length > 20) throw new Error('it asks again and again', { cause: error })
      }
    }
  }

  get read(): number {
    return this.#read.size
  }
}

/** Root and parts say the same, and each entry is where it is looked for. */
export function expectWhole(kind: number, value: Buffer, parts: ReadonlyMap<number, Buffer>): void {
  const root = new Root(kind, value)
  const { generation, layout, indexes } = root
  expect([...parts.keys()].sort((a, b) => a - b)).to.deep.equal(partIdsIn(kind, value).sort((a, b) => a - b))
  const hash = new FieldHash(generation)
  const keys = indexes.map((rows) => {
    const found: string[] = []
    let bytes = 0
    for (let k = 0; k < rows.length; k++) {
      const name = { generation, id: rows.id(k) }
      expect(name.id).to.be.lessThan(root.nextId)
      const entries = readCurrentPart(parts.get(name.id)!, name, rows.stamp(k), rows.count(k), layout.shape)
      const long = entries.runBytes(0, entries.length)
      expect(rows.bytes(k)).to.equal(long)
      bytes += long
      for (let i = 0; i < entries.length; i++) {
        found.push(entries.run(i, i + 1).toString('latin1'))
        expectPlace(rows, k, entries, i, hash)
      }
    }
    expect(bytes).to.equal(root.entryBytes)
    return found
  })
  expect(keys[0]).to.have.length(root.count)
  if (keys[1]) expect([...keys[1]].sort()).to.deep.equal([...keys[0]!].sort())
  if (layout.orders[0] !== 'position') expect(new Set(keys[0]).size).to.equal(root.count)
}

function expectPlace(rows: Rows, k: number, entries: Entries, i: number, hash: FieldHash): void {
  if (rows.order === 'hash') expect(rows.rowOfHash(hash.of(entries.key(i)))).to.equal(k)
  if (rows.order !== 'score') return
  const isBefore = (one: Entries, at: number) =>
    one.score(at) < entries.score(i) ||
    (one.score(at) === entries.score(i) && one.compareKey(at, entries.key(i)) <= 0)
  if (k > 0) expect(isBefore(rows.separators!, k)).to.equal(true)
  if (k + 1 < rows.length) expect(isBefore(rows.separators!, k + 1)).to.equal(false)
  if (i > 0) expect(isBefore(entries, i - 1)).to.equal(true)
}
