/**
 * What everybody below the commands needs to know of large collections: which parts a root names, so that the others can be
 * removed, and how a change gets parts of its own. The whole format is in commands/collections/large/root.ts, and that of
 * streams in commands/streams/large/root.ts.
 */
import { KIND_HASH, KIND_SET, KIND_SORTED_SET, KIND_STREAM } from './codec.ts'
import { GENERATION_BYTES, partKey, type PartName } from './part-keys.ts'

export const ROOT_FORMAT = 2
export const ROOT_COUNT_AT = 1
export const ROOT_GENERATION_AT = 5
export const ROOT_CHANGES_AT = 13
export const ROOT_NEXT_ID_AT = 19
/** Of all entries. */
export const ROOT_BYTES_AT = 23
export const ROOT_ROWS_AT = 27
export const ROOT_HEAD_BYTES = 35
/** Of a row: its id stands before it. */
export const ROW_STAMP_AT = 4
export const ROW_COUNT_AT = 10
/** Of the entries of its part. */
export const ROW_ENTRY_BYTES_AT = 14
export const ROW_BYTES = 18
export const HASH_ROW_BYTES = 22
export const PART_STAMP_AT = 13
export const STAMP_BYTES = 6

export interface RootHead {
  /** Of its entries, and their bytes. */
  readonly count: number
  readonly bytes: number
  readonly generation: Buffer
  /** Stamp of the change that wrote it. */
  readonly changes: number
  /** Of the next new part. */
  readonly nextId: number
}

/** What a root begins with. From ROOT_ROWS_AT on it is empty: how many rows follow differs by type. */
export function rootHead({ count, bytes, generation, changes, nextId }: RootHead): Buffer {
  const head = Buffer.alloc(ROOT_HEAD_BYTES)
  head[0] = ROOT_FORMAT
  head.writeUInt32BE(count, ROOT_COUNT_AT)
  generation.copy(head, ROOT_GENERATION_AT)
  head.writeUIntBE(changes, ROOT_CHANGES_AT, STAMP_BYTES)
  head.writeUInt32BE(nextId, ROOT_NEXT_ID_AT)
  head.writeUInt32BE(bytes, ROOT_BYTES_AT)
  return head
}

export interface Row {
  readonly id: number
  readonly stamp: number
  /** Of the entries of its part, and their bytes. */
  readonly count: number
  readonly bytes: number
}

/** The first ROW_BYTES of a row. */
export function writeRow(row: Buffer, { id, stamp, count, bytes }: Row): void {
  row.writeUInt32BE(id)
  row.writeUIntBE(stamp, ROW_STAMP_AT, STAMP_BYTES)
  row.writeUInt32BE(count, ROW_COUNT_AT)
  row.writeUInt32BE(bytes, ROW_ENTRY_BYTES_AT)
}

/** Whether this is the root of a large collection. */
export function isRoot(kind: number | undefined, value: Buffer): boolean {
  return isCollection(kind) && value[0] === ROOT_FORMAT && value.length >= ROOT_HEAD_BYTES
}

/** A hash, set, sorted set, list or stream. */
export function isCollection(kind: number | undefined): boolean {
  return kind !== undefined && kind >= KIND_HASH && kind <= KIND_STREAM
}

export function generationOf(root: Buffer): Buffer {
  return root.subarray(ROOT_GENERATION_AT, ROOT_GENERATION_AT + GENERATION_BYTES)
}

export interface NamedPart extends PartName {
  /** Of its entries. */
  readonly bytes: number
}

/** All parts that a root names, by id. @throws DamagedRoot */
export function partsNamedIn(kind: number | undefined, root: Buffer): Map<number, NamedPart> {
  const named = new Map<number, NamedPart>()
  eachRow(kind, root, (at) => named.set(root.readUInt32BE(at), partIn(root, at)))
  return named
}

/** Those of these ids. @throws DamagedRoot */
export function someNamedIn(
  kind: number | undefined,
  root: Buffer,
  ids: { has(id: number): boolean },
): Map<number, NamedPart> {
  const named = new Map<number, NamedPart>()
  eachRow(kind, root, (at) => {
    const id = root.readUInt32BE(at)
    if (ids.has(id)) named.set(id, partIn(root, at))
  })
  return named
}

/** The parts that a root names and its successor, possibly of another collection, does not. @throws DamagedRoot */
export function partsLeftBy(before: Recorded, after: Recorded | null): NamedPart[] {
  const stamps = new Map<number, number>()
  const { value: root } = before
  if (after && isRoot(after.kind, after.value) && generationOf(after.value).equals(generationOf(root))) {
    const { kind, value } = after
    eachRow(kind, value, (at) => stamps.set(value.readUInt32BE(at), stampAt(value, at)))
  }
  const left: NamedPart[] = []
  eachRow(before.kind, root, (at) => {
    if (stamps.get(root.readUInt32BE(at)) !== stampAt(root, at)) left.push(partIn(root, at))
  })
  return left
}

export interface Recorded {
  readonly kind: number
  readonly value: Buffer
}

function partIn(root: Buffer, at: number): NamedPart {
  const bytes = root.readUInt32BE(at + ROW_ENTRY_BYTES_AT)
  return { id: root.readUInt32BE(at), stamp: stampAt(root, at), bytes }
}

function stampAt(root: Buffer, at: number): number {
  return root.readUIntBE(at + ROW_STAMP_AT, STAMP_BYTES)
}

/** The same root, whose latest change, and the rows of these parts, have another stamp. */
export function restamped(
  kind: number | undefined,
  root: Buffer,
  parts: { has(id: number): boolean },
  stamp: number,
): Buffer {
  const bytes = Buffer.from(root)
  bytes.writeUIntBE(stamp, ROOT_CHANGES_AT, STAMP_BYTES)
  eachRow(kind, root, (at) => {
    if (parts.has(root.readUInt32BE(at))) bytes.writeUIntBE(stamp, at + ROW_STAMP_AT, STAMP_BYTES)
  })
  return bytes
}

/** The same part with another stamp. */
export function restampedPart(part: Buffer, stamp: number): Buffer {
  const bytes = Buffer.from(part)
  bytes.writeUIntBE(stamp, PART_STAMP_AT, STAMP_BYTES)
  return bytes
}

/** Calls it with where each row of a root begins. @throws DamagedRoot */
function eachRow(kind: number | undefined, root: Buffer, visit: (at: number) => void): void {
  if (!isRoot(kind, root)) throw new DamagedRoot()
  if (kind === KIND_STREAM) return eachRowOfStream(root, visit)
  const isByHash = kind === KIND_HASH || kind === KIND_SET
  const first = root.readUInt32BE(ROOT_ROWS_AT)
  const second = kind === KIND_SORTED_SET ? root.readUInt32BE(ROOT_ROWS_AT + 4) : 0
  const rowBytes = isByHash ? HASH_ROW_BYTES : ROW_BYTES
  const secondAt = root.length - second * HASH_ROW_BYTES
  const firstEnd = ROOT_HEAD_BYTES + first * rowBytes
  // Between the two indexes of a sorted set stand the separators of the first one.
  if (kind === KIND_SORTED_SET ? firstEnd > secondAt : firstEnd !== root.length) throw new DamagedRoot()
  for (let at = ROOT_HEAD_BYTES; at < firstEnd; at += rowBytes) visit(at)
  for (let at = secondAt; at < root.length; at += HASH_ROW_BYTES) visit(at)
}

/** Those of its entries, and of what is pending, are beside each other. */
function eachRowOfStream(root: Buffer, visit: (at: number) => void): void {
  const rows = root.readUInt32BE(ROOT_ROWS_AT) + root.readUInt32BE(ROOT_ROWS_AT + 4)
  const end = ROOT_HEAD_BYTES + rows * ROW_BYTES
  if (end > root.length) throw new DamagedRoot()
  for (let at = ROOT_HEAD_BYTES; at < end; at += ROW_BYTES) visit(at)
}

export class DamagedRoot extends Error {}

/** The names of the parts that a record names, as latin1; null = it is damaged, and may name any. */
export function namedKeysIn(key: Buffer, record: Recorded | null): ReadonlySet<string> | null {
  if (!record || !isRoot(record.kind, record.value)) return new Set()
  const { kind, value } = record
  try {
    const generation = generationOf(value)
    const named = [...partsNamedIn(kind, value).values()]
    return new Set(named.map((part) => partKey(key, generation, part).toString('latin1')))
  } catch (error) {
    if (error instanceof DamagedRoot) return null
    throw error
  }
}
