/**
 * The table of the near cache: records by key, within a number of bytes.
 *
 * Looked up by the bytes of a request as they arrived: no string and no view of the key is made. A hash of 32 bits leads to
 * the first entry of a chain, and the key of each is compared. Chains are short: an entry that would make one longer than
 * MAX_CHAIN takes the place of the last in it, so keys that were chosen to collide cost hits, and no time.
 *
 * Eviction is by second chance (CLOCK): entries stand in the order in which they came, and a hit only sets a flag. When room
 * is needed, the oldest goes; if it was used since it came there, it loses the flag instead, and goes to the end. Hits are
 * nearly all that happens here, and moving an entry with each of them cost more than all the rest of looking it up.
 */
import { KIND_VALUE, type StoredRecord } from '../../core/codec.ts'
import { clientKey, TAGS_DATABASE } from '../../core/keys.ts'

/** What an entry costs beside its bytes: the entry, the buffers, and its place in the map. Measured. */
export const ENTRY_BYTES = 640
const MAX_CHAIN = 8
/** So many entries are passed over to make room for one; after that the oldest goes, used or not. */
const MAX_CHANCES = 64
/** Longer values are not answered by `reply`. */
const MAX_REPLY_BYTES = 16 * 1024
const CRLF = Buffer.from('\r\n')
const FNV_OFFSET = 0x811c9dc5
const FNV_PRIME = 0x01000193
const GOLDEN = 0x9e3779b1

/** What entries were read from. */
export interface Source {
  /** Entries of former generations are of no use any more. */
  readonly generation: number
}

export class Entry<S extends Source = Source> {
  readonly source: S
  readonly generation: number
  /** Of the clock; not later than when the node was asked. */
  readonly atMs: number
  /** The client's key, the record, CRLF: the value and what follows it are the end of a reply. */
  private readonly bytes: Buffer
  readonly database: number
  readonly keyBytes: number
  readonly hash: number
  /** The value and CRLF; null = it is not answered as it stands. */
  readonly reply: Buffer | null
  /** Cluster time, 0 = never. */
  readonly expiresAtMs: number
  /** Where it may be answered without looking (coordinator/read/near-reads.ts). */
  route: object | null = null

  // Of the table:
  isUsed = false
  chained: Entry<S> | null = null
  older: Entry<S> | null = null
  newer: Entry<S> | null = null

  constructor(source: S, atMs: number, { database, key }: Place, record: StoredRecord) {
    this.source = source
    this.generation = source.generation
    this.atMs = atMs
    this.database = database
    this.keyBytes = key.length
    this.hash = hashOf(database, key, 0, key.length)
    // A copy: the record is a slice of whatever else arrived with it.
    this.bytes = Buffer.allocUnsafeSlow(key.length + record.bytes.length + CRLF.length)
    this.bytes.set(key)
    this.bytes.set(record.bytes, key.length)
    this.bytes.set(CRLF, this.bytes.length - CRLF.length)
    this.expiresAtMs = record.expiresAtMs
    const { valueLength } = record
    const isPlain = record.kind === KIND_VALUE && !record.isTagged && valueLength <= MAX_REPLY_BYTES
    this.reply = isPlain ? this.bytes.subarray(this.bytes.length - CRLF.length - valueLength) : null
  }

  get valueBytes(): number {
    return this.reply!.length - CRLF.length
  }

  get record(): Buffer {
    return this.bytes.subarray(this.keyBytes, this.bytes.length - CRLF.length)
  }

  /** What it counts as. */
  get size(): number {
    return sizeOf(this.keyBytes, this.bytes.length - this.keyBytes - CRLF.length)
  }

  /** What it was read from has since been dropped. */
  get isGone(): boolean {
    return this.generation !== this.source.generation
  }

  has(database: number, input: Buffer, from: number, to: number): boolean {
    const { bytes, keyBytes } = this
    if (keyBytes !== to - from || this.database !== database) return false
    for (let i = 0; i < keyBytes; i++) if (bytes[i] !== input[from + i]) return false
    return true
  }
}

interface Place {
  readonly database: number
  readonly key: Buffer
}

export class NearTable<S extends Source> {
  size = 0
  /** Of all entries. */
  bytes = 0
  private readonly maxBytes: number
  /** By hash: chains. */
  private readonly chains = new Map<number, Entry<S>>()
  private oldest: Entry<S> | null = null
  private newest: Entry<S> | null = null

  constructor(maxBytes: number) {
    this.maxBytes = maxBytes
  }

  /** The client's key is the bytes from `from` to `to`. */
  find(database: number, input: Buffer, from: number, to: number): Entry<S> | null {
    let entry = this.chains.get(hashOf(database, input, from, to)) ?? null
    while (entry !== null && !entry.has(database, input, from, to)) entry = entry.chained
    return entry
  }

  /** By its name on the nodes. */
  findStored(stored: Buffer): Entry<S> | null {
    const place = placeOf(stored)
    return place && this.find(place.database, place.key, 0, place.key.length)
  }

  /** Instead of what is kept under this name. */
  add(source: S, atMs: number, stored: Buffer, record: StoredRecord): void {
    const place = placeOf(stored)
    if (!place) return
    const before = this.findStored(stored)
    if (before) this.remove(before)
    const entry = new Entry(source, atMs, place, record)
    this.makeRoom(entry.size)
    entry.chained = this.chains.get(entry.hash) ?? null
    this.chains.set(entry.hash, entry)
    this.shorten(entry)
    this.append(entry)
    this.size++
    this.bytes += entry.size
  }

  remove(entry: Entry<S>): void {
    this.unchain(entry)
    this.unlink(entry)
    this.size--
    this.bytes -= entry.size
  }

  private makeRoom(bytes: number): void {
    let chances = MAX_CHANCES
    while (this.oldest && this.bytes + bytes > this.maxBytes) {
      const entry = this.oldest
      if (entry.isUsed && !entry.isGone && chances-- > 0) {
        entry.isUsed = false
        this.unlink(entry)
        this.append(entry)
      } else this.remove(entry)
    }
  }

  private shorten(first: Entry<S>): void {
    let last = first
    let length = 1
    for (; last.chained; length++) last = last.chained
    if (length > MAX_CHAIN) this.remove(last)
  }

  private unchain(entry: Entry<S>): void {
    const { hash, chained } = entry
    let before = this.chains.get(hash)!
    if (before !== entry) {
      while (before.chained !== entry) before = before.chained!
      before.chained = chained
    } else if (chained) this.chains.set(hash, chained)
    else this.chains.delete(hash)
  }

  private append(entry: Entry<S>): void {
    entry.older = this.newest
    entry.newer = null
    if (this.newest) this.newest.newer = entry
    else this.oldest = entry
    this.newest = entry
  }

  private unlink({ older, newer }: Entry<S>): void {
    if (older) older.newer = newer
    else this.oldest = newer
    if (newer) newer.older = older
    else this.newest = older
  }
}

/** What an entry for a record of so many bytes counts as. */
export function sizeOf(keyBytes: number, recordBytes: number): number {
  return keyBytes + recordBytes + CRLF.length + ENTRY_BYTES
}

/** Null: no client reads it. */
function placeOf(stored: Buffer): Place | null {
  const place = clientKey(stored)
  return place && place.database !== TAGS_DATABASE ? place : null
}

function hashOf(database: number, bytes: Buffer, from: number, to: number): number {
  let hash = FNV_OFFSET ^ Math.imul(database, GOLDEN)
  for (let i = from; i < to; i++) hash = Math.imul(hash ^ bytes[i]!, FNV_PRIME)
  return hash
}
