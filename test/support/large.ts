/** Large collections without nodes: their parts in a Map, and what runs a step on them. */
import type { Entries } from '../../src/commands/collections/entries.ts'
import { FieldHash } from '../../src/commands/collections/large/field-hash.ts'
import { readCurrentPart } from '../../src/commands/collections/large/part.ts'
import { Root, type Rows } from '../../src/commands/collections/large/root.ts'
import { mostPartBytes, sizes } from '../../src/commands/collections/large/sizes.ts'
import type { EntryRun } from '../../src/commands/streams/entry-run.ts'
import type { Pending } from '../../src/commands/streams/pending.ts'
import { IdIndex } from '../../src/commands/streams/large/id-index.ts'
import { entriesIn, pendingIn, StreamRoot } from '../../src/commands/streams/large/root.ts'
import { flatStream } from '../../src/commands/streams/large/split.ts'
import { checkStream, FlatStream } from '../../src/commands/streams/stored.ts'
import { partsNamedIn } from '../../src/core/large-root.ts'
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

/** Streams of a dozen short entries have a few parts of several. */
export const SMALL = { largeFrom: 128, partBytes: 64 }

/** What a node holds; a step gets what it has asked for, and no more. */
export class PartsInMap implements Parts {
  /** Ids that were asked for, in rounds. */
  readonly rounds: number[][] = []
  readonly #root: Buffer
  readonly all: ReadonlyMap<number, Buffer>
  readonly #read = new Set<number>()

  constructor(root: Buffer, all: ReadonlyMap<number, Buffer>) {
    this.#root = root
    this.all = all
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
  const ids = [...partsNamedIn(kind, value).keys()]
  check(
    ids.length === parts.size && ids.every((id) => parts.has(id) && id < root.nextId),
    'the parts that it names',
  )
  const hash = new FieldHash(generation)
  const keys = indexes.map((rows) => {
    const found: string[] = []
    let bytes = 0
    for (let k = 0; k < rows.length; k++) {
      const name = { generation, id: rows.id(k) }
      const entries = readCurrentPart(parts.get(name.id)!, name, rows.stamp(k), rows.count(k), layout.shape)
      check(rows.bytes(k) === entries.runBytes(0, entries.length), 'the bytes of a part')
      check(rows.count(k) === 1 || rows.bytes(k) <= mostPartBytes(root.entryBytes), 'the size of a part')
      bytes += rows.bytes(k)
      for (let i = 0; i < entries.length; i++) {
        found.push(entries.run(i, i + 1).toString('latin1'))
        check(isInPlace(rows, k, entries, i, hash), `the place of entry ${i} of part ${k} of ${rows.length}`)
      }
    }
    check(bytes === root.entryBytes, 'the bytes of all')
    return found
  })
  check(keys[0]!.length === root.count, 'the number of entries')
  if (keys[1]) check(keys[1].sort().join() === [...keys[0]!].sort().join(), 'both indexes')
  if (layout.orders[0] !== 'position') check(new Set(keys[0]).size === root.count, 'each entry once')
}

/** The same of a stream. */
export function expectWholeStream(value: Buffer, parts: ReadonlyMap<number, Buffer>): void {
  const root = new StreamRoot(value)
  const read = new PartsInMap(value, parts)
  const flat = read.while(() => flatStream(value, read))
  checkStream(flat)
  check(
    parts.size === read.read && [...parts.keys()].every((id) => root.hasPart(id)),
    'the parts that it names',
  )
  check(FlatStream.of(flat).length === root.count, 'the number of entries')
  const pending = FlatStream.of(flat).pendingBytes
  check(pending === root.pendingBytes, 'the bytes of what is pending')
  for (const place of [root.entries, ...root.groups.map((group) => group.pending)]) {
    const ofEntries = place === root.entries
    const index = new IdIndex<EntryRun | Pending>(place, read, ofEntries ? entriesIn : pendingIn)
    for (let row = 0; row < index.rows; row++) {
      const items = index.items(row)
      check(index.bytes(row) === items.run.length, 'the bytes of a part')
      check(index.firstId(row).equals(items.id(0)), 'the first id of a part')
      check(index.rowOf(items.id(items.length - 1)) === row, 'the place of the last one of a part')
    }
    if (index.latest.length > 0)
      check(index.rowOf(index.latest.id(0)) === index.rows, 'the place of the latest')
  }
}

function check(holds: boolean, what: string): void {
  if (!holds) throw new Error(`not as it should be: ${what}`)
}

function isInPlace(rows: Rows, k: number, entries: Entries, i: number, hash: FieldHash): boolean {
  if (rows.order === 'hash') return rows.rowOfHash(hash.of(entries.key(i))) === k
  if (rows.order === 'position') return true
  const isBefore = (one: Entries, at: number) =>
    one.score(at) < entries.score(i) ||
    (one.score(at) === entries.score(i) && one.compareKey(at, entries.key(i)) <= 0)
  const { separators } = rows
  return (
    (k === 0 || isBefore(separators!, k)) &&
    (k + 1 === rows.length || !isBefore(separators!, k + 1)) &&
    (i === 0 || isBefore(entries, i - 1))
  )
}
