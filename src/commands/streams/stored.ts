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
 * An entry is found by halving and copied without looking into it; XADD does not look at the entries at all. A change makes
 * a new value of runs of the old one. A stream that has lost all its entries stays, as in Redis: it has a last id, and groups.
 */
import {
  bodyOf,
  DamagedCollection,
  endOf,
  endOfString,
  stringBytes,
  writeLength,
  writeString,
} from '../collections/texts.ts'
import { groupsBytes, readGroups, type Group } from './groups.ts'
import { compareIdAt, ID_BYTES, LEAST_ID, type StreamId } from './ids.ts'

const FORMAT = 1
const COUNT_AT = 1
const LAST_AT = 5
const DELETED_AT = 21
const ADDED_AT = 37
const SIZE_AT = 45
const ENTRIES_AT = 49
const GROUP_COUNT_BYTES = 4
const FEW_ENTRIES = 100

/** What a stream knows beside its entries and groups. */
export interface StreamHead {
  readonly lastId: StreamId
  /** Of those that XDEL has deleted. */
  readonly maxDeletedId: StreamId
  /** Entries added so far, 64 bits without sign. */
  readonly added: bigint
}

/** Its entries: runs of bytes. */
export interface EntryRuns {
  readonly count: number
  readonly runs: readonly Buffer[]
}

/** What becomes of a stream; what is left out stays. */
export interface StreamChange extends Partial<StreamHead> {
  readonly entries?: EntryRuns
  readonly groups?: readonly Group[]
}

export class Stream implements StreamHead {
  /** Views of these bytes are returned. */
  readonly bytes: Buffer
  readonly length: number
  private readonly entriesEnd: number
  private knownStarts: Uint32Array | null = null
  private knownGroups: readonly Group[] | null = null
  private isChecked = false

  private constructor(bytes: Buffer, length: number, entriesEnd: number) {
    this.bytes = bytes
    this.length = length
    this.entriesEnd = entriesEnd
  }

  /** Looks at the head alone. @throws DamagedCollection */
  static of(bytes: Buffer): Stream {
    if (bytes.length < ENTRIES_AT + GROUP_COUNT_BYTES || bytes[0] !== FORMAT) throw new DamagedCollection()
    const count = bytes.readUInt32BE(COUNT_AT)
    const size = bytes.readUInt32BE(SIZE_AT)
    const end = ENTRIES_AT + size
    if (end + GROUP_COUNT_BYTES > bytes.length || count > size) throw new DamagedCollection()
    return new Stream(bytes, count, end)
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

  /** Of the first entry, 0-0 = there is none. */
  get firstId(): StreamId {
    return this.length === 0 ? LEAST_ID : this.bytes.subarray(ENTRIES_AT, ENTRIES_AT + ID_BYTES)
  }

  /** Of the last entry that is still there, 0-0 = there is none. @throws DamagedCollection */
  get topId(): StreamId {
    return this.length === 0 ? LEAST_ID : this.id(this.length - 1)
  }

  /** All entries as they are stored. */
  get run(): Buffer {
    return this.bytes.subarray(ENTRIES_AT, this.entriesEnd)
  }

  /** As they are stored, with their number. */
  get groupsRun(): Buffer {
    return this.bytes.subarray(this.entriesEnd)
  }

  /** By name. @throws DamagedCollection */
  get groups(): readonly Group[] {
    return (this.knownGroups ??= readGroups(this.groupsRun))
  }

  /** @throws DamagedCollection */
  group(name: Buffer): Group | null {
    return this.groups.find((group) => group.name.equals(name)) ?? null
  }

  /** @throws DamagedCollection */
  id(i: number): StreamId {
    const at = this.startOf(i)
    return this.bytes.subarray(at, at + ID_BYTES)
  }

  /** Where the entry begins: with its id. @throws DamagedCollection */
  startOf(i: number): number {
    return this.starts[i]!
  }

  /** The first entry with this id or a greater one. @param first where to begin @throws DamagedCollection */
  firstFrom(id: StreamId, first = 0): number {
    let [from, to] = [first, this.length]
    // Often it is the next one.
    if (from < to && compareIdAt(this.bytes, this.starts[from]!, id) >= 0) return from
    while (from < to) {
      const middle = (from + to) >>> 1
      if (compareIdAt(this.bytes, this.starts[middle]!, id) < 0) from = middle + 1
      else to = middle
    }
    return from
  }

  /** -1 = there is none. @throws DamagedCollection */
  indexOf(id: StreamId): number {
    const at = this.firstFrom(id)
    return at < this.length && compareIdAt(this.bytes, this.starts[at]!, id) === 0 ? at : -1
  }

  /** The bytes of the entries from `from` up to, without, `to`. @throws DamagedCollection */
  runOf(from: number, to: number): Buffer {
    return this.bytes.subarray(this.starts[from], this.starts[to])
  }

  /** Looks at the fields of entries, once at those of all if they are many. @throws DamagedCollection */
  checkTexts(from: number, to: number): void {
    if (this.isChecked) return
    const isMany = to - from > FEW_ENTRIES
    const [first, end] = isMany ? [0, this.length] : [from, to]
    for (let i = first; i < end; i++) this.textCount(i)
    this.isChecked = isMany
  }

  /** Number of fields and values of an entry. @throws DamagedCollection */
  textCount(i: number): number {
    const at = this.starts[i]! + ID_BYTES
    const end = endOf(this.bytes, at)
    let count = 0
    for (let text = bodyOf(this.bytes, at); text < end; count++) text = endOfString(this.bytes, text, end)
    return count
  }

  /** Where each of them begins, and where the last one ends. */
  textsOf(i: number): number[] {
    const { bytes } = this
    const at = this.starts[i]! + ID_BYTES
    const end = endOf(bytes, at)
    let text = bodyOf(bytes, at)
    const places = [text]
    while (text < end) places.push((text = endOf(bytes, text)))
    return places
  }

  /** Where the bytes of a text begin, which stands at this place. */
  textFrom(at: number): number {
    return bodyOf(this.bytes, at)
  }

  with(change: StreamChange): NewStream {
    return new NewStream(
      { lastId: this.lastId, maxDeletedId: this.maxDeletedId, added: this.added, ...change },
      this,
    )
  }

  private get starts(): Uint32Array {
    return (this.knownStarts ??= this.findStarts())
  }

  private findStarts(): Uint32Array {
    const { bytes, length, entriesEnd } = this
    const starts = new Uint32Array(length + 1)
    let at = ENTRIES_AT
    for (let i = 0; i < length; i++) {
      starts[i] = at
      at = endOfString(bytes, at + ID_BYTES, entriesEnd)
    }
    if (at !== entriesEnd) throw new DamagedCollection()
    starts[length] = at
    return starts
  }
}

const NO_GROUPS = Buffer.alloc(GROUP_COUNT_BYTES)

/** A stream to be stored. */
export class NewStream {
  readonly count: number
  /** Of the entries alone. */
  readonly entryBytes: number
  /** Of the groups alone. */
  readonly groupBytes: number
  private readonly parts: readonly Buffer[]

  /** @param before what is not changed is of this one */
  constructor({ entries, groups, ...head }: StreamHead & StreamChange, before?: Stream) {
    const runs = entries ? entries.runs : before ? [before.run] : []
    const groupParts = groups ? groupsBytes(groups) : [before ? before.groupsRun : NO_GROUPS]
    this.count = entries?.count ?? before?.length ?? 0
    this.entryBytes = bytesOf(runs)
    this.groupBytes = bytesOf(groupParts)
    this.parts = [this.headBytes(head), ...runs, ...groupParts]
  }

  /** The value to store. */
  value(): Buffer {
    return Buffer.concat(this.parts, ENTRIES_AT + this.entryBytes + this.groupBytes)
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
export const NO_STREAM = Stream.of(
  new NewStream({ lastId: LEAST_ID, maxDeletedId: LEAST_ID, added: 0n }).value(),
)

function bytesOf(parts: readonly Buffer[]): number {
  let bytes = 0
  for (const part of parts) bytes += part.length
  return bytes
}

/** @param texts fields and values in turn */
export function entryOf(id: StreamId, texts: readonly Buffer[]): Buffer {
  let bodyBytes = 0
  for (const text of texts) bodyBytes += stringBytes(text)
  const entry = Buffer.allocUnsafe(ID_BYTES + stringBytes({ length: bodyBytes }))
  id.copy(entry, 0)
  let at = writeLength(entry, ID_BYTES, bodyBytes)
  for (const text of texts) at = writeString(entry, at, text)
  return entry
}

/** Looks at all of it, for what comes from outside. @throws DamagedCollection */
export function checkStream(bytes: Buffer): void {
  const stream = Stream.of(bytes)
  for (let i = 0; i < stream.length; i++) {
    const texts = stream.textCount(i)
    if (texts === 0 || texts % 2 !== 0) throw new DamagedCollection()
    if (i > 0 && compareIdAt(bytes, stream.startOf(i - 1), stream.id(i)) >= 0) throw new DamagedCollection()
  }
  if (stream.topId.compare(stream.lastId) > 0) throw new DamagedCollection()
  for (const group of stream.groups) group.check()
}
