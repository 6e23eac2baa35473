/**
 * How a stream of more than 16 KiB is stored. Final, as the record's head is (core/codec.ts).
 *
 * Its key holds a root, which has everything but the older entries and the older ones of what is pending: these are in parts
 * (collections/large/part.ts), records of their own beside it. A part never changes; a change stores new ones.
 *
 *   0   1 format 02
 *   1   4 number of entries            where every collection has it: XLEN reads no more
 *   5   8 generation                   random, as of the other collections (collections/large/root.ts)
 *   13  6 changes                      so far
 *   19  4 next id                      of a part
 *   23  4 bytes                        of all entries, and of all that is pending
 *   27  4 rows of the entries
 *   31  4 rows of what is pending
 *   35    the rows, one for each part: of the entries, then of each group in its turn
 *           id (4), stamp (6), number of entries (4), their bytes (4)
 *         of each row, in this order, the id of the first entry in its part (16)
 *     + 16 last id that was given
 *       16 greatest id that XDEL has deleted
 *        8 entries added so far
 *        4 bytes of all that is pending
 *        4 of the entries of the first part, so many are trimmed
 *       16 the latest entries: from this id on; what is before it is in a part
 *        4 number, 4 bytes
 *          the latest entries, as a stream in one piece has them (stored.ts)
 *        4 number of groups, and of each: everything before the pending entries (groups.ts), number of its rows (4), and the
 *          latest pending entries: from this id on (16), number (4), and these
 */
import { KIND_STREAM } from '../../../core/codec.ts'
import {
  generationOf,
  isRoot,
  ROOT_BYTES_AT,
  ROOT_CHANGES_AT,
  ROOT_COUNT_AT,
  ROOT_HEAD_BYTES,
  ROOT_NEXT_ID_AT,
  ROOT_ROWS_AT,
  rootHead,
  ROW_BYTES,
  STAMP_BYTES,
  writeRow,
} from '../../../core/large-root.ts'
import { writePart } from '../../collections/large/part.ts'
import { RootTooLong } from '../../collections/large/root.ts'
import { DamagedCollection } from '../../collections/texts.ts'
import { EntryRun } from '../entry-run.ts'
import { checkRoom, countBytes, groupHeadAt, type Group, type GroupParts } from '../groups.ts'
import { ID_BYTES, type StreamId } from '../ids.ts'
import { Pending, PENDING_BYTES } from '../pending.ts'
import type { StreamHead } from '../stream.ts'
import type { ChangedIndex, NewPart } from './changed-index.ts'
import type { IndexPlace } from './id-index.ts'

const HEAD_BYTES = 3 * ID_BYTES + 8 + 4 + 4 + 4 + 4
const MOST_PARTS = 2 ** 32
/** It is read by every command, and written by every change. */
const MAX_STREAM_ROOT_BYTES = 640 * 1024

/** Of entries. @throws DamagedCollection */
export function entriesIn(bytes: Buffer, from: number, count: number): EntryRun {
  return new EntryRun(bytes, from, bytes.length, count)
}

/** The same of pending entries. */
export function pendingIn(bytes: Buffer, from: number, count: number): Pending {
  if (bytes.length - from !== count * PENDING_BYTES) throw new DamagedCollection()
  return new Pending(bytes.subarray(from))
}

/** A group as the root has it. */
export interface StoredGroup extends Omit<GroupParts, 'pending'> {
  readonly head: Buffer
  readonly pending: IndexPlace<Pending>
}

export class StreamRoot implements StreamHead {
  readonly bytes: Buffer
  readonly count: number
  readonly changes: number
  readonly nextId: number
  readonly generation: Buffer
  readonly pendingBytes: number
  /** Of the entries. */
  readonly entryBytes: number
  readonly entries: IndexPlace<EntryRun>
  private readonly rows: number
  private readonly headAt: number
  private readonly groupsAt: number
  private knownGroups: readonly StoredGroup[] | null = null

  /** @throws DamagedCollection */
  constructor(bytes: Buffer) {
    if (!isRoot(KIND_STREAM, bytes)) throw new DamagedCollection()
    this.bytes = bytes
    const own = bytes.readUInt32BE(ROOT_ROWS_AT)
    this.rows = own + bytes.readUInt32BE(ROOT_ROWS_AT + 4)
    const idsAt = ROOT_HEAD_BYTES + this.rows * ROW_BYTES
    const at = idsAt + this.rows * ID_BYTES
    checkRoom(bytes, at + HEAD_BYTES)
    this.headAt = at
    this.count = bytes.readUInt32BE(ROOT_COUNT_AT)
    this.changes = bytes.readUIntBE(ROOT_CHANGES_AT, STAMP_BYTES)
    this.nextId = bytes.readUInt32BE(ROOT_NEXT_ID_AT)
    this.generation = generationOf(bytes)
    const numbersAt = at + 2 * ID_BYTES + 8
    this.pendingBytes = bytes.readUInt32BE(numbersAt)
    this.entryBytes = bytes.readUInt32BE(ROOT_BYTES_AT) - this.pendingBytes
    const latestAt = at + HEAD_BYTES
    this.groupsAt = latestAt + bytes.readUInt32BE(latestAt - 4)
    checkRoom(bytes, this.groupsAt + 4)
    const latestCount = bytes.readUInt32BE(latestAt - 8)
    this.entries = {
      ...{ root: bytes, rowsAt: ROOT_HEAD_BYTES, idsAt, rows: own, generation: this.generation },
      latest: new EntryRun(bytes, latestAt, this.groupsAt, latestCount),
      latestFrom: bytes.subarray(numbersAt + 8, numbersAt + 8 + ID_BYTES),
      trimmed: bytes.readUInt32BE(numbersAt + 4),
    }
  }

  get lastId(): StreamId {
    return this.bytes.subarray(this.headAt, this.headAt + ID_BYTES)
  }

  get maxDeletedId(): StreamId {
    return this.bytes.subarray(this.headAt + ID_BYTES, this.headAt + 2 * ID_BYTES)
  }

  get added(): bigint {
    return this.bytes.readBigUInt64BE(this.headAt + 2 * ID_BYTES)
  }

  /** @throws DamagedCollection */
  get groups(): readonly StoredGroup[] {
    return (this.knownGroups ??= this.readGroups())
  }

  /** Whether it names a part with this id. */
  hasPart(id: number): boolean {
    for (let row = 0, at = ROOT_HEAD_BYTES; row < this.rows; row++, at += ROW_BYTES) {
      if (this.bytes.readUInt32BE(at) === id) return true
    }
    return false
  }

  /** As they are stored, with their number. */
  get groupsRun(): Buffer {
    return this.bytes.subarray(this.groupsAt)
  }

  /** The rows of all groups, and the ids that begin their parts. */
  get groupRows(): IndexRows {
    const { entries, rows, bytes } = this
    return rowsOf(entries, entries.rows, rows, bytes)
  }

  private readGroups(): StoredGroup[] {
    const { bytes, entries, rows, generation } = this
    const groups: StoredGroup[] = []
    let row = entries.rows
    let at = this.groupsAt + 4
    for (let left = bytes.readUInt32BE(this.groupsAt); left > 0; left--) {
      const { end, ...head } = groupHeadAt(bytes, at)
      const latestAt = end + 4 + ID_BYTES + 4
      checkRoom(bytes, latestAt)
      const own = bytes.readUInt32BE(end)
      const latestEnd = latestAt + bytes.readUInt32BE(latestAt - 4) * PENDING_BYTES
      checkRoom(bytes, latestEnd)
      const pending = {
        ...{ root: bytes, rowsAt: ROOT_HEAD_BYTES + row * ROW_BYTES, idsAt: entries.idsAt + row * ID_BYTES },
        ...{ rows: own, generation, trimmed: 0 },
        latest: new Pending(bytes.subarray(latestAt, latestEnd)),
        latestFrom: bytes.subarray(end + 4, end + 4 + ID_BYTES),
      }
      groups.push({ ...head, head: bytes.subarray(at, end), pending })
      row += own
      at = latestEnd
    }
    if (at !== bytes.length || row !== rows) throw new DamagedCollection()
    return groups
  }
}

// ---- writing

interface IndexRows {
  readonly rows: readonly Buffer[]
  readonly ids: readonly Buffer[]
  readonly count: number
}

/** The rows from `from` up to, without, `to`, counted from those of this index. */
function rowsOf(
  { rowsAt, idsAt }: Pick<IndexPlace<unknown>, 'rowsAt' | 'idsAt'>,
  from: number,
  to: number,
  root: Buffer,
): IndexRows {
  return {
    rows: [root.subarray(rowsAt + from * ROW_BYTES, rowsAt + to * ROW_BYTES)],
    ids: [root.subarray(idsAt + from * ID_BYTES, idsAt + to * ID_BYTES)],
    count: to - from,
  }
}

/** Where an index comes from, and what becomes of it; null = it stays. */
export interface IndexToWrite {
  readonly place: IndexPlace<unknown> | null
  readonly change: ChangedIndex | null
}

export interface GroupToWrite extends IndexToWrite {
  readonly group: Pick<Group, 'head'>
}

export interface RootToWrite extends StreamHead {
  readonly generation: Buffer
  readonly changes: number
  readonly nextId: number
  readonly count: number
  readonly entryBytes: number
  readonly pendingBytes: number
  readonly entries: IndexToWrite
  /** Null = as they are in this root. */
  readonly groups: readonly GroupToWrite[] | { readonly asIn: StreamRoot }
  /** Whether a part has this id. */
  readonly isUsed: (id: number) => boolean
  /** Ids of parts of groups that are gone. */
  readonly freed: readonly number[]
}

/** @throws RootTooLong */
export function writeStreamRoot(next: RootToWrite): {
  readonly value: Buffer
  readonly changedParts: Map<number, Buffer | null>
} {
  const writer = new PartWriter(next)
  const entries = writer.index(next.entries)
  const all = [entries]
  const groups: Buffer[] = []
  if ('asIn' in next.groups) {
    all.push(next.groups.asIn.groupRows)
    groups.push(next.groups.asIn.groupsRun)
  } else {
    groups.push(countBytes(next.groups.length))
    for (const { group, ...index } of next.groups) {
      const own = writer.index(index)
      all.push(own)
      groups.push(
        group.head,
        countBytes(own.count),
        ...latestOf(index).slice(0, 2),
        ...latestOf(index).slice(3),
      )
    }
  }
  const rows = all.reduce((sum, { count }) => sum + count, 0)
  const head = rootHead({
    ...{ count: next.count, bytes: next.entryBytes + next.pendingBytes },
    ...{ generation: next.generation, changes: writer.stamp, nextId: writer.nextId },
  })
  head.writeUInt32BE(entries.count, ROOT_ROWS_AT)
  head.writeUInt32BE(rows - entries.count, ROOT_ROWS_AT + 4)
  const value = Buffer.concat([
    head,
    ...all.flatMap((index) => index.rows),
    ...all.flatMap((index) => index.ids),
    ...[next.lastId, next.maxDeletedId, addedBytes(next.added), countBytes(next.pendingBytes)],
    countBytes(next.entries.change?.trimmed ?? next.entries.place?.trimmed ?? 0),
    ...latestOf(next.entries),
    ...groups,
  ])
  if (value.length > MAX_STREAM_ROOT_BYTES) throw new RootTooLong('the root of a stream is too long')
  return { value, changedParts: writer.parts }
}

function addedBytes(added: bigint): Buffer {
  const bytes = Buffer.allocUnsafe(8)
  bytes.writeBigUInt64BE(BigInt.asUintN(64, added))
  return bytes
}

/** From which id on, how many, how many bytes, and these. */
function latestOf({ place, change }: IndexToWrite): Buffer[] {
  if (change) {
    const { count, runs } = change.latest
    return [
      change.latestFrom,
      countBytes(count),
      countBytes(runs.reduce((sum, run) => sum + run.length, 0)),
      ...runs,
    ]
  }
  const { latest, latestFrom } = place as IndexPlace<EntryRun | Pending>
  return [latestFrom, countBytes(latest.length), countBytes(latest.run.length), latest.run]
}

/** Gives new parts their ids. */
class PartWriter {
  readonly parts = new Map<number, Buffer | null>()
  readonly stamp: number
  nextId: number
  private readonly generation: Buffer
  private readonly isUsed: (id: number) => boolean

  constructor({ generation, changes, nextId, freed, isUsed }: RootToWrite) {
    this.generation = generation
    this.isUsed = isUsed
    this.stamp = changes + 1
    this.nextId = nextId
    for (const id of freed) this.parts.set(id, null)
  }

  index({ place, change }: IndexToWrite): IndexRows {
    if (!change) return rowsOf(place!, 0, place!.rows, place!.root)
    for (const id of change.freed) this.parts.set(id, null)
    const written: { rows: Buffer[]; ids: Buffer[]; count: number } = { rows: [], ids: [], count: 0 }
    for (const piece of change.pieces) {
      const next = 'runs' in piece ? this.part(piece) : rowsOf(place!, piece.from, piece.to, place!.root)
      written.rows.push(...next.rows)
      written.ids.push(...next.ids)
      written.count += next.count
    }
    return written
  }

  private part({ ids: [given], count, bytes, runs }: NewPart): IndexRows {
    const id = given ?? this.newId()
    this.parts.set(id, writePart({ generation: this.generation, id }, this.stamp, count, runs))
    const row = Buffer.allocUnsafe(ROW_BYTES)
    writeRow(row, { id, stamp: this.stamp, count, bytes })
    return { rows: [row], ids: [runs[0]!.subarray(0, ID_BYTES)], count: 1 }
  }

  private newId(): number {
    for (;;) {
      const id = this.nextId
      this.nextId = (id + 1) % MOST_PARTS
      // After very many changes they begin again.
      if (!this.parts.has(id) && !this.isUsed(id)) return id
    }
  }
}
