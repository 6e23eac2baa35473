/** A large stream as commands see it (root.ts). It asks for the parts that a command looks at, and for no others. */
import { PartsAfter } from '../../collections/large/overlay.ts'
import { becomesFlat } from '../../collections/large/sizes.ts'
import { DamagedCollection } from '../../collections/texts.ts'
import type { Parts } from '../../step.ts'
import type { EntryRun } from '../entry-run.ts'
import { Group } from '../groups.ts'
import { LEAST_ID, type Edit, type StreamId } from '../ids.ts'
import { Pending, PENDING_BYTES } from '../pending.ts'
import { pendingBytesOf } from '../stored.ts'
import {
  groupNamed,
  type ChangedStream,
  type FoundEntry,
  type Stream,
  type StreamChange,
  type StreamHead,
} from '../stream.ts'
import { changedIndex, newIndex, type ChangedIndex } from './changed-index.ts'
import { IdIndex } from './id-index.ts'
import { LargePending } from './pending.ts'
import { entriesIn, StreamRoot, writeStreamRoot, type GroupToWrite } from './root.ts'
import { entrySizes, pendingSizes } from './sizes.ts'
import { flatStream } from './split.ts'

export class LargeStream implements Stream {
  readonly root: StreamRoot
  readonly parts: Parts
  readonly index: IdIndex<EntryRun>
  private knownGroups: readonly Group[] | null = null

  /** A step is applied again with the parts that it has asked for: what it has opened is still there. */
  private static readonly known = new WeakMap<Parts, LargeStream>()

  /** @throws DamagedCollection */
  static of(value: Buffer, parts: Parts): LargeStream {
    let opened = LargeStream.known.get(parts)
    if (opened?.root.bytes !== value) {
      opened = new LargeStream(value, parts)
      LargeStream.known.set(parts, opened)
    }
    return opened
  }

  private constructor(value: Buffer, parts: Parts) {
    this.root = new StreamRoot(value)
    this.parts = parts
    this.index = new IdIndex(this.root.entries, parts, entriesIn)
  }

  get length(): number {
    return this.root.count
  }

  get lastId(): StreamId {
    return this.root.lastId
  }

  get maxDeletedId(): StreamId {
    return this.root.maxDeletedId
  }

  get added(): bigint {
    return this.root.added
  }

  get pendingBytes(): number {
    return this.root.pendingBytes
  }

  get firstId(): StreamId {
    const { index } = this
    if (this.length === 0) return LEAST_ID
    return index.rows > 0 && index.trimmed === 0 ? index.firstId(0) : this.idAt(0)
  }

  get topId(): StreamId {
    return this.length === 0 ? LEAST_ID : this.idAt(this.length - 1)
  }

  private idAt(position: number): StreamId {
    const { run, at } = this.index.itemAt(position)
    return run.id(at)
  }

  get groups(): readonly Group[] {
    return (this.knownGroups ??= this.readGroups())
  }

  private readGroups(): Group[] {
    const { root, parts } = this
    const latest = root.groups.reduce((sum, { pending }) => sum + pending.latest.run.length, 0)
    return root.groups.map(({ head, pending, ...known }) => {
      const others = latest - pending.latest.run.length
      const all = LargePending.of(pending, parts, pendingSizes(root.pendingBytes, others))
      return new Group({ ...known, pending: all }, head)
    })
  }

  group(name: Buffer): Group | null {
    return groupNamed(this.groups, name)
  }

  firstsFrom(ids: readonly StreamId[]): number[] {
    const { lastId, length } = this
    const looked = ids.filter((id) => id.compare(lastId) <= 0)
    const found = this.index.firstsFrom(looked).values()
    return ids.map((id) => (id.compare(lastId) <= 0 ? found.next().value! : length))
  }

  entries(from: number, to: number): EntryRun {
    return this.index.slice(from, to, (items, first, end) => items.slice(first, end))
  }

  find(ids: readonly StreamId[]): (FoundEntry | null)[] {
    return this.index.find(ids)
  }

  with(change: StreamChange): ChangedStream {
    return new ChangedLargeStream(this, change)
  }
}

class ChangedLargeStream implements ChangedStream {
  readonly count: number
  readonly entryBytes: number
  readonly groupBytes: number
  readonly pendingBytes: number
  private readonly before: LargeStream
  private readonly head: StreamHead
  private readonly groups: readonly Group[] | undefined
  private readonly entries: ChangedIndex | null

  constructor(before: LargeStream, change: StreamChange) {
    const { root } = before
    this.before = before
    const { lastId = root.lastId, maxDeletedId = root.maxDeletedId, added = root.added, groups } = change
    this.head = { lastId, maxDeletedId, added }
    this.groups = groups
    this.entries = entriesAfter(before, change)
    this.count = root.count + (this.entries?.more.count ?? 0)
    this.entryBytes = root.entryBytes + (this.entries?.more.bytes ?? 0)
    this.pendingBytes = groups ? pendingBytesOf(groups) : root.pendingBytes
    if (this.count < 0 || this.entryBytes < 0) throw new DamagedCollection()
    // What is not changed was within its bound.
    this.groupBytes = groups ? groups.reduce((sum, { head }) => sum + head.length, 0) : 0
  }

  stored(): { readonly value: Buffer; readonly changedParts?: ReadonlyMap<number, Buffer | null> } {
    const { before, entries, head, count, entryBytes, pendingBytes, groups } = this
    const { root, parts } = before
    const { generation, changes, nextId } = root
    const { value, changedParts } = writeStreamRoot({
      ...{ ...head, generation, changes, nextId, count, entryBytes, pendingBytes },
      entries: { place: before.index.place, change: entries },
      groups: groups ? groups.map(toWrite) : { asIn: root },
      freed: groups ? idsOfGone(before.groups, groups) : [],
      isUsed: (id) => root.hasPart(id),
    })
    const least = entryBytes + pendingBytes
    if (becomesFlat(least) && becomesFlat(value.length)) {
      return { value: flatStream(value, new PartsAfter(parts, changedParts)) }
    }
    return changedParts.size > 0 ? { value, changedParts } : { value }
  }
}

function entriesAfter(
  { length, index, root }: LargeStream,
  { trimmed = 0, entry, deleted = [] }: StreamChange,
): ChangedIndex | null {
  // What is added may be trimmed as well.
  const isGone = trimmed > length
  const edits: Edit[] = deleted.map((id) => ({ id, item: null }))
  if (entry && !isGone) edits.push({ id: entry.id, item: entry.bytes })
  if (trimmed === 0 && edits.length === 0) return null
  return changedIndex(index, { trimmed: isGone ? length : trimmed, edits }, entrySizes(root.entryBytes))
}

function toWrite(group: Group): GroupToWrite {
  const { pending } = group
  if (pending instanceof LargePending) return { group, place: pending.place, change: pending.change }
  if (!(pending instanceof Pending)) throw new Error('pending entries of an unknown form')
  const sizes = pendingSizes(pending.length * PENDING_BYTES)
  return { group, place: null, change: newIndex(pending, sizes) }
}

function idsOfGone(before: readonly Group[], after: readonly Group[]): number[] {
  return before
    .filter(({ name }) => groupNamed(after, name) === null)
    .flatMap(({ pending }) => (pending as LargePending).freed)
}
