/** From a stream in one piece to a large one, and back. */
import type { Split } from '../../collections/large/split.ts'
import { PartsChanged, type Parts } from '../../step.ts'
import { Group } from '../groups.ts'
import { Pending, PENDING_BYTES } from '../pending.ts'
import { FlatStream, NewStream } from '../stored.ts'
import { newIndex } from './changed-index.ts'
import { IdIndex, type IndexPlace, type Items, type ItemsOf } from './id-index.ts'
import { entriesIn, pendingIn, StreamRoot, writeStreamRoot } from './root.ts'
import { entrySizes, pendingSizes } from './sizes.ts'

/**
 * @param generation eight bytes, by chance
 * @throws DamagedCollection, RootTooLong
 */
export function splitStream(flat: Buffer, generation: Buffer): Split {
  const stream = FlatStream.of(flat)
  const { lastId, maxDeletedId, added, all, groups, pendingBytes } = stream
  let latest = 0
  const { value, changedParts } = writeStreamRoot({
    ...{ lastId, maxDeletedId, added, generation, changes: 0, nextId: 0, freed: [], pendingBytes },
    isUsed: () => false,
    count: all.length,
    entryBytes: all.run.length,
    entries: { place: null, change: newIndex(all, entriesIn, entrySizes(all.run.length)) },
    groups: groups.map((group) => {
      const change = newIndex(group.pending as Pending, pendingIn, pendingSizes(pendingBytes, latest))
      latest += change.latest.count * PENDING_BYTES
      return { group, place: null, change }
    }),
  })
  return { root: value, parts: changedParts as Map<number, Buffer> }
}

/**
 * The same stream in one piece.
 *
 * @throws NeedsParts, PartsChanged or DamagedCollection
 */
export function flatStream(value: Buffer, parts: Parts | undefined): Buffer {
  const root = new StreamRoot(value)
  if (!parts) throw new PartsChanged('a root without its parts')
  const { lastId, maxDeletedId, added } = root
  const pending = root.groups.map((group) => group.pending)
  const ids = [root.entries, ...pending].flatMap((place) => idsIn(place, parts))
  // All are asked for at once.
  parts.get(ids)
  const entries = allOf(root.entries, parts, entriesIn)
  return new NewStream({
    ...{ lastId, maxDeletedId, added },
    entries: { count: entries.count, runs: entries.runs },
    groups: root.groups.map(({ head, ...group }, i) => {
      const all = new Pending(Buffer.concat(allOf(pending[i]!, parts, pendingIn).runs))
      return new Group({ ...group, pending: all }, head)
    }),
  }).value()
}

function idsIn(place: IndexPlace<Items>, parts: Parts): number[] {
  return new IdIndex(place, parts, () => place.latest).ids(0, place.rows)
}

function allOf<T extends Items>(
  place: IndexPlace<T>,
  parts: Parts,
  itemsOf: ItemsOf<T>,
): { readonly count: number; readonly runs: Buffer[] } {
  const index = new IdIndex(place, parts, itemsOf)
  const runs: Buffer[] = []
  let count = 0
  for (let row = 0; row <= place.rows; row++) {
    const items = index.items(row)
    runs.push(items.runOf(index.goneOf(row), items.length))
    count += items.length - index.goneOf(row)
  }
  return { count, runs }
}
