/** From a stream in one piece to a large one, and back. */
import { inOneGo, type Sliced } from '../../../core/work.ts'
import { isLarge } from '../../collections/large/root.ts'
import type { Split } from '../../collections/large/split.ts'
import { PartsChanged, type Parts } from '../../step.ts'
import type { EntryRun } from '../entry-run.ts'
import { Group } from '../groups.ts'
import { Pending, PENDING_BYTES } from '../pending.ts'
import { FlatStream, NewStream } from '../stored.ts'
import type { StreamHead } from '../stream.ts'
import { newIndexInSlices } from './changed-index.ts'
import { IdIndex, type IndexPlace, type Items, type ItemsOf } from './id-index.ts'
import { entriesIn, pendingIn, StreamRoot, writeStreamRoot, type GroupToWrite } from './root.ts'
import { entrySizes, pendingSizes } from './sizes.ts'

/** To decode a part, or to copy it. */
const UNITS_A_PART = 64

/**
 * @param generation eight bytes, by chance
 * @throws DamagedCollection, RootTooLong
 */
export function* splitStream(flat: Buffer, generation: Buffer): Sliced<Split> {
  const stream = FlatStream.of(flat)
  const { lastId, maxDeletedId, added, pendingBytes } = stream
  const all = yield* stream.all.placed()
  const groups: GroupToWrite[] = []
  let latest = 0
  for (const group of stream.groups) {
    const pending = group.pending as Pending
    const change = yield* newIndexInSlices(pending, pendingSizes(pendingBytes, latest))
    latest += change.latest.count * PENDING_BYTES
    groups.push({ group, place: null, change })
  }
  const change = yield* newIndexInSlices(all, entrySizes(all.run.length))
  const { value, changedParts } = writeStreamRoot({
    ...{ lastId, maxDeletedId, added, generation, changes: 0, nextId: 0, freed: [], pendingBytes },
    isUsed: () => false,
    ...{ count: all.length, entryBytes: all.run.length },
    entries: { place: null, change },
    groups,
  })
  return { root: value, parts: changedParts as Map<number, Buffer> }
}

/** All of a stream, in runs. */
export interface OpenedStream extends StreamHead {
  /** One after the other. */
  readonly runs: readonly EntryRun[]
  readonly groups: readonly Group[]
}

/** @throws NeedsParts, PartsChanged or DamagedCollection */
export function* openedStream(value: Buffer, parts: Parts | undefined): Sliced<OpenedStream> {
  if (!isLarge(value)) {
    const { lastId, maxDeletedId, added, all, groups } = FlatStream.of(value)
    return { lastId, maxDeletedId, added, runs: [all], groups }
  }
  const root = new StreamRoot(value)
  if (!parts) throw new PartsChanged('a root without its parts')
  const { lastId, maxDeletedId, added } = root
  const pending = root.groups.map((group) => group.pending)
  const ids = [root.entries, ...pending].flatMap((place) => idsIn(place, parts))
  // All are asked for at once.
  parts.get(ids)
  const runs: EntryRun[] = []
  yield* each(root.entries, parts, entriesIn, (run, gone) => runs.push(run.slice(gone, run.length)))
  const groups: Group[] = []
  for (const [i, { head, ...group }] of root.groups.entries()) {
    const own: Buffer[] = []
    yield* each(pending[i]!, parts, pendingIn, (run, gone) => own.push(run.runOf(gone, run.length)))
    groups.push(new Group({ ...group, pending: new Pending(Buffer.concat(own)) }, head))
  }
  return { lastId, maxDeletedId, added, runs, groups }
}

/**
 * The same stream in one piece.
 *
 * @throws NeedsParts, PartsChanged or DamagedCollection
 */
export function* flatStreamInSlices(value: Buffer, parts: Parts | undefined): Sliced<Buffer> {
  const { runs, groups, ...head } = yield* openedStream(value, parts)
  const count = runs.reduce((sum, { length }) => sum + length, 0)
  return new NewStream({ ...head, entries: { count, runs: runs.map(({ run }) => run) }, groups }).value()
}

export function flatStream(value: Buffer, parts: Parts | undefined): Buffer {
  return inOneGo(flatStreamInSlices(value, parts))
}

function idsIn(place: IndexPlace<Items>, parts: Parts): number[] {
  return new IdIndex(place, parts, () => place.latest).ids(0, place.rows)
}

/** Calls `found` with the items of each row, of the first of which so many are gone. */
function* each<T extends Items>(
  place: IndexPlace<T>,
  parts: Parts,
  itemsOf: ItemsOf<T>,
  found: (items: T, gone: number) => void,
): Sliced<void> {
  const index = new IdIndex(place, parts, itemsOf)
  for (let row = 0; row <= place.rows; row++) {
    found(index.items(row), index.goneOf(row))
    yield UNITS_A_PART
  }
}
