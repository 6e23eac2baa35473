/**
 * The bytes of a record, as stored in Redis under the user's own key. Final: changing it means migrating users' data.
 *
 *   0    3 magic FF 52 44
 *   3    1 format 01
 *   4    1 flags: low four bits kind (of which bit 3: tags follow the value, tags.ts), bit 4: a promise follows the head,
 *          bit 5: a lasting copy (lifetime.ts), bit 6: a fill, which may be served for a while after its expiry, and of a
 *          tombstone: a client may be loading the key (loader/)
 *   5   12 version: milliseconds 6, counter 2, coordinator 4
 *   17   8 milliseconds and counter of the version that this record replaced on this node
 *   25   6 logical expiry in milliseconds of cluster time, 0 = none
 *   31     [12 promise] then the value's bytes [tags]
 *
 * All numbers are big-endian. The node fills the replaced field (nodes/redis/store.lua, core/store.ts); a coordinator
 * sends zeros there. Anything that does not parse is a value at version 0, stored by another program, and readable as
 * is. A collection that another program stored has no bytes: the node's driver makes a record at version 0 of it
 * (foreignRecord).
 */
import { VERSION_BYTES, VERSION_ZERO, type Version } from './clock.ts'
import { cut, placesIn, type ByteRange, type Part } from './part.ts'
import type { Patch } from './patch.ts'
import { tagBytesIn } from './tags.ts'

export const HEAD_BYTES = 31
export const PROMISE_BYTES = 12
/** The number of bytes that contain everything but the value. */
export const HEAD_WITH_PROMISE_BYTES = HEAD_BYTES + PROMISE_BYTES
export const FLAGS_AT = 4
export const VERSION_AT = 5
export const REPLACED_AT = 17
export const REPLACED_BYTES = 8
export const EXPIRY_AT = 25

export const KIND_VALUE = 0
export const KIND_TOMBSTONE = 1
/** A record with a promise that never had a value. */
export const KIND_NOTHING = 2
/** Collections: the value is a list of entries (commands/collections/entries.ts). */
export const KIND_HASH = 3
export const KIND_SET = 4
export const KIND_SORTED_SET = 5
export const KIND_LIST = 6
/** Its value has a form of its own (commands/streams/stored.ts). The last kind: bit 3 tells of tags. */
export const KIND_STREAM = 7

/** Beside the kind of a value: its tags follow it. Earlier releases take the sum for a kind that they do not know: no value. */
export const TAGGED = 0x08

const MAGIC_AND_FORMAT = 0xff524401
export const KIND_MASK = 0x0f
/** The first byte of a version from 2^47 ms on, the year 6429 (LATEST_MS in clock.ts). */
const IMPOSSIBLE_BYTE = 0x80
export const PROMISE_FLAG = 0x10
export const LASTING_FLAG = 0x20
export const FILLED_FLAG = 0x40
/** Of the flags, what goes with the record from node to node. */
export const MOVING_FLAGS = KIND_MASK | LASTING_FLAG | FILLED_FLAG

const EMPTY = Buffer.alloc(0)
/** A version begins with its time. */
const VERSION_MS_BYTES = 6

/**
 * Also false for what looks like a record and cannot be one: its version or promise is from 2^47 ms on, and nothing could
 * ever replace it. The scripts judge alike (store.lua).
 */
export function isVersioned(bytes: Buffer): boolean {
  if (bytes.length < HEAD_BYTES || bytes.readUInt32BE(0) !== MAGIC_AND_FORMAT) return false
  const flags = bytes[FLAGS_AT]!
  if (bytes[VERSION_AT]! >= IMPOSSIBLE_BYTE) return false
  if ((flags & PROMISE_FLAG) === 0) return true
  return bytes.length >= HEAD_WITH_PROMISE_BYTES && bytes[HEAD_BYTES]! < IMPOSSIBLE_BYTE
}

/**
 * Whether both are the same version of a value without end, with no flag set since it was stored: then their copies differ
 * in nothing. Creates no object: it is asked for every key that a repair looks at.
 *
 * @param one the head at least, as `other`; shorter bytes are none
 */
export function isSameEndless(one: Buffer, other: Buffer): boolean {
  if (!isVersioned(one) || other.length < HEAD_BYTES || one[FLAGS_AT] !== KIND_VALUE) return false
  for (let i = 0; i < REPLACED_AT; i++) if (one[i] !== other[i]) return false
  for (let i = EXPIRY_AT; i < HEAD_BYTES; i++) if (one[i] !== 0 || other[i] !== 0) return false
  return true
}

/** A stored record without its value: a view of its bytes, without copying. */
export abstract class RecordHead {
  /** The first HEAD_WITH_PROMISE_BYTES, or more. */
  readonly bytes: Buffer
  /** False for a value that Rondo did not write. */
  readonly versioned: boolean

  constructor(bytes: Buffer) {
    this.bytes = bytes
    this.versioned = isVersioned(bytes)
  }

  /** KIND_VALUE, KIND_HASH and so on, KIND_TOMBSTONE, KIND_NOTHING, or a kind of a later Rondo. */
  get kind(): number {
    return this.versioned ? kindIn(this.bytes[FLAGS_AT]!) : KIND_VALUE
  }

  /** Whether it is a value is for its tags to say as well (coordinator/tags/). */
  get isTagged(): boolean {
    return this.versioned && isTaggedKind(this.bytes[FLAGS_AT]! & KIND_MASK)
  }

  get version(): Version {
    return this.versioned ? this.bytes.subarray(VERSION_AT, VERSION_AT + VERSION_BYTES) : VERSION_ZERO
  }

  /**
   * A value that Rondo did not write, also one that got a head for a promise (nodes/redis/prepare.lua), or because it is a
   * collection (nodes/redis/foreign.ts). Only its node knows its TTL.
   */
  get isForeign(): boolean {
    if (!this.versioned) return true
    return holdsValue(this.kind) && this.bytes.readUIntBE(VERSION_AT, VERSION_MS_BYTES) === 0
  }

  /** Milliseconds of cluster time, 0 = none. See isForeign. */
  get expiresAtMs(): number {
    return this.versioned ? this.bytes.readUIntBE(EXPIRY_AT, 6) : 0
  }

  /** Kept as long as any older copy could come back: set by the node, or by the coordinator that extended its life. */
  get isLasting(): boolean {
    return this.versioned && (this.bytes[FLAGS_AT]! & LASTING_FLAG) !== 0
  }

  /** A fill that may be served for a while after its expiry. */
  get isFilled(): boolean {
    return this.versioned && (this.bytes[FLAGS_AT]! & FILLED_FLAG) !== 0
  }

  /** It holds nothing, and a client may be loading what it is to hold (loader/). */
  get isAwaited(): boolean {
    return this.isFilled && this.kind === KIND_TOMBSTONE
  }

  /** A string without expiry, with no flag set since it was stored: its key has the far end. */
  get isEndless(): boolean {
    return this.versioned && this.bytes[FLAGS_AT] === KIND_VALUE && this.expiresAtMs === 0
  }

  get replaced(): Buffer {
    return this.versioned
      ? this.bytes.subarray(REPLACED_AT, REPLACED_AT + REPLACED_BYTES)
      : Buffer.alloc(REPLACED_BYTES)
  }

  /** The promised version: older writes are refused; or null. */
  get promise(): Version | null {
    return this.hasPromise ? this.bytes.subarray(HEAD_BYTES, HEAD_WITH_PROMISE_BYTES) : null
  }

  /** Whether clients can see a value: it is one, and has not expired. */
  isLive(clusterMs: number): boolean {
    if (!holdsValue(this.kind)) return false
    const expiresAtMs = this.expiresAtMs
    return expiresAtMs === 0 || expiresAtMs > clusterMs
  }

  /** Where the value begins. */
  protected get valueAt(): number {
    if (!this.versioned) return 0
    return this.hasPromise ? HEAD_WITH_PROMISE_BYTES : HEAD_BYTES
  }

  private get hasPromise(): boolean {
    return this.versioned && (this.bytes[FLAGS_AT]! & PROMISE_FLAG) !== 0
  }
}

/** A stored record. */
export class StoredRecord extends RecordHead {
  get value(): Buffer {
    return this.versioned ? this.bytes.subarray(this.valueAt, this.valueEnd) : this.bytes
  }

  get valueLength(): number {
    return this.valueEnd - this.valueAt
  }

  /** As they are stored (tags.ts); undefined = none. */
  get tags(): Buffer | undefined {
    return this.isTagged ? this.bytes.subarray(this.valueEnd) : undefined
  }

  /** All that follows the head: the value, and its tags. */
  get content(): Buffer {
    return this.versioned ? this.bytes.subarray(this.valueAt) : this.bytes
  }

  private get valueEnd(): number {
    return this.isTagged ? this.bytes.length - tagBytesIn(this.bytes, this.valueAt) : this.bytes.length
  }
}

/** A record whose value was not fetched, or not completely. */
export class PeekedRecord extends RecordHead {
  /** Size of the whole record; null = not requested. */
  private readonly storedBytes: number | null
  private readonly partBytes: Buffer
  private readonly range: ByteRange | null

  /**
   * @param head the record's first HEAD_WITH_PROMISE_BYTES, or all of a shorter one
   * @param partBytes the bytes of the requested range
   */
  constructor(
    head: Buffer,
    storedBytes: number | null = null,
    partBytes: Buffer = EMPTY,
    part: Part = 'head',
  ) {
    super(head)
    this.storedBytes = storedBytes
    this.partBytes = partBytes
    this.range = typeof part === 'string' ? null : part
  }

  /** Makes the same from a whole record, as a node does: tags count as a part of the value. */
  static of({ bytes, content }: StoredRecord, part: Part): PeekedRecord {
    return PeekedRecord.cutFrom(bytes, content, part)
  }

  /** The same of the value alone, for clients. */
  static ofValue({ bytes, value, tags }: StoredRecord, part: Part): PeekedRecord {
    return PeekedRecord.cutFrom(bytes, value, part, tags?.length)
  }

  private static cutFrom(bytes: Buffer, value: Buffer, part: Part, tagBytes = 0): PeekedRecord {
    const head = bytes.subarray(0, HEAD_WITH_PROMISE_BYTES)
    if (part === 'head') return new PeekedRecord(head)
    return new PeekedRecord(head, bytes.length - tagBytes, part === 'length' ? EMPTY : cut(value, part), part)
  }

  /** @throws Error if it was not requested */
  get valueLength(): number {
    if (this.storedBytes === null) throw new Error('only the head of the record was requested')
    return this.storedBytes - this.valueAt
  }

  get partLength(): number {
    return this.partBytes.length
  }

  /** Whether it contains exactly what was requested. */
  get isWhole(): boolean {
    if (this.storedBytes === null) return true
    if (this.bytes.length !== Math.min(this.storedBytes, HEAD_WITH_PROMISE_BYTES)) return false
    const places = this.range && placesIn(this.range, this.valueLength)
    return this.partBytes.length === (places ? places[1] - places[0] + 1 : 0)
  }

  /**
   * Bytes of the value within the requested range.
   *
   * @throws Error if they were not requested
   */
  part(range: ByteRange): Buffer {
    const length = this.valueLength
    const wanted = placesIn(range, length)
    if (!wanted) return EMPTY
    const known = this.range && placesIn(this.range, length)
    if (!known || wanted[0] < known[0] || wanted[1] > known[1]) {
      throw new Error('these bytes of the value were not requested')
    }
    return this.partBytes.subarray(wanted[0] - known[0], wanted[1] - known[0] + 1)
  }
}

/** A record to be sent: head and value are separate, so that a large value is never copied. */
export interface NewRecord {
  /** 31 bytes, the replaced field zero. */
  readonly head: Buffer
  readonly value: Buffer
  /** Where its value differs from one that the node may hold: nodes need not look at it. */
  readonly patch?: Patch
}

export interface Stamp {
  stamp(target: Buffer, at: number): void
}

/** @param kind with FILLED_FLAG for a fill @param expiresAtMs cluster time, 0 = none */
export function newRecord(kind: number, clock: Stamp, expiresAtMs: number, value: Buffer = EMPTY): NewRecord {
  const head = Buffer.allocUnsafe(HEAD_BYTES)
  head.writeUInt32BE(MAGIC_AND_FORMAT, 0)
  head[FLAGS_AT] = kind
  clock.stamp(head, VERSION_AT)
  head.fill(0, REPLACED_AT, REPLACED_AT + REPLACED_BYTES)
  head.writeUIntBE(expiresAtMs, EXPIRY_AT, 6)
  return { head, value }
}

/** A record at version zero: a collection that Rondo did not write, as far as it is known. */
export function foreignRecord(kind: number, value: Buffer = EMPTY): Buffer {
  const head = Buffer.alloc(HEAD_BYTES)
  head.writeUInt32BE(MAGIC_AND_FORMAT, 0)
  head[FLAGS_AT] = kind
  return Buffer.concat([head, value])
}

/**
 * A stored record, prepared to be sent to another node: the same version, without promise and replaced field. The
 * lasting flag is copied, because the life is too, and that of a fill.
 */
export function recordToSend(stored: StoredRecord): NewRecord {
  const head = Buffer.from(stored.bytes.subarray(0, HEAD_BYTES))
  head[FLAGS_AT] = stored.bytes[FLAGS_AT]! & MOVING_FLAGS
  head.fill(0, REPLACED_AT, REPLACED_AT + REPLACED_BYTES)
  return { head, value: stored.content }
}

/** The same version of a value whose tags are gone: as if it had been deleted. */
export function asDeleted({ bytes }: StoredRecord): StoredRecord {
  const head = Buffer.from(bytes.subarray(0, HEAD_BYTES))
  head[FLAGS_AT] = KIND_TOMBSTONE
  head.fill(0, EXPIRY_AT, HEAD_BYTES)
  return new StoredRecord(head)
}

/** What somebody wants a key to hold. */
export interface Content {
  readonly kind: number
  readonly value: Buffer
  /** Cluster time, 0 = never. */
  readonly expiresAtMs: number
  /** As they are stored (tags.ts). */
  readonly tags?: Buffer | undefined
}

/** Of a collection that another program stored: what Rondo would have stored in its place. */
export type ForeignValue = Pick<Content, 'kind' | 'value'>

/** @param flags FILLED_FLAG for a fill, or a tombstone that waits for one */
export function newRecordOf({ kind, value, expiresAtMs, tags }: Content, clock: Stamp, flags = 0): NewRecord {
  if (!tags) return newRecord(kind | flags, clock, expiresAtMs, value)
  return newRecord(kind | TAGGED | flags, clock, expiresAtMs, Buffer.concat([value, tags]))
}

export function contentOf({ head, value }: NewRecord): Content {
  const { kind, expiresAtMs, isTagged } = new StoredRecord(head)
  if (!isTagged) return { kind, value, expiresAtMs }
  const end = value.length - tagBytesIn(value, 0)
  return { kind, value: value.subarray(0, end), expiresAtMs, tags: value.subarray(end) }
}

/** The same record, for a copy whose life is extended. */
export function lastingCopy({ head, value }: NewRecord): NewRecord {
  const lasting = Buffer.from(head)
  lasting[FLAGS_AT]! |= LASTING_FLAG
  return { head: lasting, value }
}

/** A string or a collection: something that clients can see. */
export function holdsValue(kind: number): boolean {
  return kind === KIND_VALUE || (kind >= KIND_HASH && kind <= KIND_STREAM)
}

export function kindOf(record: NewRecord): number {
  return kindIn(record.head[FLAGS_AT]!)
}

function kindIn(flags: number): number {
  const kind = flags & KIND_MASK
  return isTaggedKind(kind) ? kind ^ TAGGED : kind
}

function isTaggedKind(kind: number): boolean {
  return (kind & TAGGED) !== 0 && holdsValue(kind ^ TAGGED)
}

/** Cluster time, 0 = never. */
export function expiresAtOf(record: NewRecord): number {
  return record.head.readUIntBE(EXPIRY_AT, 6)
}

export function versionOf(record: NewRecord): Buffer {
  return record.head.subarray(VERSION_AT, VERSION_AT + VERSION_BYTES)
}
