/**
 * How a stream is stored: as the value of one record (kind 7). Final, as the record's head is (core/codec.ts): changing it
 * means migrating users' data.
 *
 *   0    1 format 01
 *   1    4 number of entries                    where every collection has it: XLEN reads no more
 *   5   16 last id that was given
 *   21  16 greatest id that XDEL has deleted    0-0 = none
 *   37   8 entries added so far
 *   45   4 bytes of all entries
 *   49     the entries, by id: id (16), and a string that holds the fields and values, each a string
 *          number of groups (4), and the groups (groups.ts)
 *
 * Strings follow their length (collections/texts.ts). All numbers are big-endian.
 *
 * XADD does not look at the entries (entry-run.ts). A change makes a new value of runs of the old one. What is longer than
 * 16 KiB is stored in parts (large/). A stream that has lost all its entries stays, as in Redis: it has a last id, and groups.
 */
import { DamagedCollection } from '../collections/texts.ts'
import { EntryRun } from './entry-run.ts'
import { groupsBytes, PENDING_BYTES, readGroups, type Group } from './groups.ts'
import { compareIdAt, ID_BYTES, LEAST_ID, type StreamId } from './ids.ts'
import {
  groupNamed,
  type ChangedStream,
  type FoundEntry,
  type Stream,
  type StreamChange,
  type StreamHead,
} from './stream.ts'

const FORMAT = 1
const COUNT_AT = 1
const LAST_AT = 5
const DELETED_AT = 21
const ADDED_AT = 37
const SIZE_AT = 45
const ENTRIES_AT = 49
const GROUP_COUNT_BYTES = 4

/** Its entries: runs of bytes. */
export interface EntryRuns {
  readonly count: number
  readonly runs: readonly Buffer[]
}

export class FlatStream implements Stream {
  /** Views of these bytes are returned. */
  readonly bytes: Buffer
  readonly all: EntryRun
  private readonly entriesEnd: number
  private knownGroups: readonly Group[] | null = null

  private constructor(bytes: Buffer, length: number, entriesEnd: number) {
    this.bytes = bytes
    this.entriesEnd = entriesEnd
    this.all = new EntryRun(bytes, ENTRIES_AT, entriesEnd, length)
  }

  /** Looks at the head alone. @throws DamagedCollection */
  static of(bytes: Buffer): FlatStream {
    if (bytes.length < ENTRIES_AT + GROUP_COUNT_BYTES || bytes[0] !== FORMAT) throw new DamagedCollection()
    const count = bytes.readUInt32BE(COUNT_AT)
    const size = bytes.readUInt32BE(SIZE_AT)
    const end = ENTRIES_AT + size
    if (end + GROUP_COUNT_BYTES > bytes.length || count > size) throw new DamagedCollection()
    return new FlatStream(bytes, count, end)
  }

  get length(): number {
    return this.all.length
  }

  get lastId(): StreamId {
    return this.bytes.subarray(LAST_AT, LAST_AT + ID_BYTES)
  }

  get maxDeletedId(): StreamId {
    return this.bytes.subarray(DELETED_AT, DELETED_AT + ID_BYTES)
  }

  get added(): bigint {
    return this.bytes.readBigUInt64BE(ADDED_AT)
  }

  get firstId(): StreamId {
    return this.length === 0 ? LEAST_ID : this.bytes.subarray(ENTRIES_AT, ENTRIES_AT + ID_BYTES)
  }

  get topId(): StreamId {
    return this.length === 0 ? LEAST_ID : this.all.id(this.length - 1)
  }

  /** As they are stored, with their number. */
  get groupsRun(): Buffer {
    return this.bytes.subarray(this.entriesEnd)
  }

  get groups(): readonly Group[] {
    return (this.knownGroups ??= readGroups(this.groupsRun))
  }

  get pendingBytes(): number {
    return pendingBytesOf(this.groups)
  }

  group(name: Buffer): Group | null {
    return groupNamed(this.groups, name)
  }

  firstsFrom(ids: readonly StreamId[]): number[] {
    return ids.map((id) => this.all.firstFrom(id))
  }

  entries(from: number, to: number): EntryRun {
    return this.all.slice(from, to)
  }

  find(ids: readonly StreamId[]): (FoundEntry | null)[] {
    const { all } = this
    let at = 0
    return ids.map((id, i) => {
      // Mostly they are in order.
      const isBehind = i > 0 && ids[i - 1]!.compare(id) <= 0
      at = all.firstFrom(id, isBehind ? at : 0)
      return all.isAt(at, id) ? { run: all, at } : null
    })
  }

  with(change: StreamChange): NewStream {
    const { lastId, maxDeletedId, added } = this
    const { trimmed, entry, deleted, groups, ...head } = change
    const entries = trimmed || entry || deleted ? this.runsAfter(change) : undefined
    return new NewStream(
      { ...{ lastId, maxDeletedId, added }, ...head, ...(entries && { entries }), ...(groups && { groups }) },
      this,
    )
  }

  private runsAfter({ trimmed = 0, entry, deleted = [] }: StreamChange): EntryRuns {
    const { all, length } = this
    const runs: Buffer[] = []
    let from = trimmed
    for (const id of deleted) {
      const at = all.firstFrom(id, from)
      runs.push(all.runOf(from, at))
      from = at + 1
    }
    if (from < length) runs.push(from === 0 ? all.run : all.runOf(from, length))
    const count = length - trimmed - deleted.length
    if (!entry || count < 0) return { count: Math.max(count, 0), runs }
    return { count: count + 1, runs: [...runs, entry.bytes] }
  }
}

const NO_GROUPS = Buffer.alloc(GROUP_COUNT_BYTES)

/** One to be stored in one piece. */
export class NewStream implements ChangedStream {
  readonly count: number
  readonly entryBytes: number
  readonly groupBytes: number
  readonly pendingBytes: number
  private readonly pieces: readonly Buffer[]

  /** @param before what is not changed is of this one */
  constructor(
    {
      entries,
      groups,
      ...head
    }: StreamHead & { readonly entries?: EntryRuns; readonly groups?: readonly Group[] },
    before?: FlatStream,
  ) {
    const runs = entries ? entries.runs : before ? [before.all.run] : []
    const groupPieces = groups ? groupsBytes(groups) : [before ? before.groupsRun : NO_GROUPS]
    this.count = entries?.count ?? before?.length ?? 0
    this.entryBytes = bytesOf(runs)
    // What is not changed was within its bounds.
    this.pendingBytes = groups ? pendingBytesOf(groups) : 0
    this.groupBytes = groups ? bytesOf(groupPieces) - this.pendingBytes : 0
    this.pieces = [this.headBytes(head), ...runs, ...groupPieces]
  }

  /** The value to store. */
  value(): Buffer {
    return Buffer.concat(this.pieces)
  }

  stored(): { readonly value: Buffer } {
    return { value: this.value() }
  }

  private headBytes({ lastId, maxDeletedId, added }: StreamHead): Buffer {
    const head = Buffer.allocUnsafe(ENTRIES_AT)
    head[0] = FORMAT
    head.writeUInt32BE(this.count, COUNT_AT)
    lastId.copy(head, LAST_AT)
    maxDeletedId.copy(head, DELETED_AT)
    head.writeBigUInt64BE(BigInt.asUintN(64, added), ADDED_AT)
    head.writeUInt32BE(this.entryBytes, SIZE_AT)
    return head
  }
}

/** What a new stream begins with. */
export const NO_STREAM = FlatStream.of(
  new NewStream({ lastId: LEAST_ID, maxDeletedId: LEAST_ID, added: 0n }).value(),
)

export function bytesOf(pieces: readonly Buffer[]): number {
  let bytes = 0
  for (const piece of pieces) bytes += piece.length
  return bytes
}

export function pendingBytesOf(groups: readonly Group[]): number {
  return groups.reduce((sum, { pending }) => sum + pending.length * PENDING_BYTES, 0)
}

/** Looks at all of it, for what comes from outside. @throws DamagedCollection */
export function checkStream(bytes: Buffer): void {
  const stream = FlatStream.of(bytes)
  const { all } = stream
  for (let i = 0; i < all.length; i++) {
    const texts = all.textCount(i)
    if (texts === 0 || texts % 2 !== 0) throw new DamagedCollection()
    if (i > 0 && compareIdAt(bytes, all.startOf(i - 1), all.id(i)) >= 0) throw new DamagedCollection()
  }
  if (stream.topId.compare(stream.lastId) > 0) throw new DamagedCollection()
  for (const group of stream.groups) group.check()
}
