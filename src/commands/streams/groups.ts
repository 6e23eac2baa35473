/**
 * The consumer groups of a stream, as they are stored behind its entries (stored.ts):
 *
 *   number of groups (4), then of each group, in the order of their names:
 *     name (string), last delivered id (16), entries read (8, FF… = not known)
 *     number of consumers (4), of each: name (string), seen (6), active (6, 0 = never), in the order in which they came
 *     number of pending entries (4), of each, by id: id (16), index of its consumer (2: more have no room in a stream), delivered (6), deliveries (8)
 *
 * Times are milliseconds of cluster time. A group that is not changed is copied as it is.
 */
import { DamagedCollection, endOfString, stringAt, stringBytes, writeString } from '../collections/texts.ts'
import { ID_BYTES, type StreamId } from './ids.ts'
import { checkPending, Pending, PENDING_BYTES, type PendingEntries } from './pending.ts'

export { PENDING_BYTES }
const COUNT_BYTES = 4
const TIME_BYTES = 6
const READ_BYTES = 8
/** As Redis shows a number of entries that is not known. */
export const UNKNOWN_READ = -1n

export interface Consumer {
  readonly name: Buffer
  /** When it last asked for something. */
  readonly seenMs: number
  /** When it last got something; 0 = never. */
  readonly activeMs: number
}

export interface GroupParts {
  readonly name: Buffer
  readonly lastId: StreamId
  /** UNKNOWN_READ, or how many entries of the stream it has read. */
  readonly read: bigint
  readonly consumers: readonly Consumer[]
  readonly pending: PendingEntries
}

export class Group implements GroupParts {
  readonly name: Buffer
  readonly lastId: StreamId
  readonly read: bigint
  readonly consumers: readonly Consumer[]
  readonly pending: PendingEntries
  /** Everything before the pending entries, as it is stored; null = it is new. */
  private readonly storedHead: Buffer | null

  constructor({ name, lastId, read, consumers, pending }: GroupParts, storedHead: Buffer | null = null) {
    this.name = name
    this.lastId = lastId
    this.read = read
    this.consumers = consumers
    this.pending = pending
    this.storedHead = storedHead
  }

  /** Index of the consumer with this name, -1 = there is none. */
  consumer(name: Buffer): number {
    return this.consumers.findIndex((one) => one.name.equals(name))
  }

  with(change: Partial<GroupParts>): Group {
    const { name, lastId, read, consumers, pending } = this
    return new Group({ name, lastId, read, consumers, pending, ...change })
  }

  /** Everything before the pending entries. */
  get head(): Buffer {
    return this.storedHead ?? headOf(this)
  }

  /** For what comes from outside. @throws DamagedCollection */
  check(): void {
    checkPending(this.pending, this.consumers.length)
  }
}

/** The groups with this one, in the place of the one of the same name or at its own. */
export function withGroup(groups: readonly Group[], group: Group): Group[] {
  const others = groups.filter(({ name }) => !name.equals(group.name))
  const at = others.findIndex(({ name }) => name.compare(group.name) > 0)
  return others.toSpliced(at === -1 ? others.length : at, 0, group)
}

export function countBytes(count: number): Buffer {
  const bytes = Buffer.allocUnsafe(COUNT_BYTES)
  bytes.writeUInt32BE(count)
  return bytes
}

/** Everything before the pending entries. */
function headOf({ name, lastId, read, consumers }: Group): Buffer {
  let bytes = stringBytes(name) + ID_BYTES + READ_BYTES + COUNT_BYTES
  for (const consumer of consumers) bytes += stringBytes(consumer.name) + 2 * TIME_BYTES
  const head = Buffer.allocUnsafe(bytes)
  let at = writeString(head, 0, name)
  at += lastId.copy(head, at)
  at = head.writeBigInt64BE(BigInt.asIntN(64, read), at)
  at = head.writeUInt32BE(consumers.length, at)
  for (const { name, seenMs, activeMs } of consumers) {
    at = writeString(head, at, name)
    at = head.writeUIntBE(seenMs, at, TIME_BYTES)
    at = head.writeUIntBE(activeMs, at, TIME_BYTES)
  }
  return head
}

/** Of a stream in one piece. */
export function groupsBytes(groups: readonly Group[]): Buffer[] {
  const pieces = [countBytes(groups.length)]
  for (const { head, pending } of groups) {
    if (!(pending instanceof Pending)) throw new Error('pending entries in parts are stored in parts')
    pieces.push(head, countBytes(pending.length), pending.bytes)
  }
  return pieces
}

/** @throws DamagedCollection */
export function readGroups(bytes: Buffer): Group[] {
  const count = bytes.readUInt32BE(0)
  const groups: Group[] = []
  let at = COUNT_BYTES
  for (let i = 0; i < count; i++) {
    const { group, end } = groupAt(bytes, at)
    groups.push(group)
    at = end
  }
  if (at !== bytes.length) throw new DamagedCollection()
  return groups
}

function groupAt(bytes: Buffer, from: number): { group: Group; end: number } {
  const { end: countAt, ...head } = groupHeadAt(bytes, from)
  checkRoom(bytes, countAt + COUNT_BYTES)
  const pendingAt = countAt + COUNT_BYTES
  const end = pendingAt + bytes.readUInt32BE(countAt) * PENDING_BYTES
  checkRoom(bytes, end)
  const pending = new Pending(bytes.subarray(pendingAt, end))
  return { group: new Group({ ...head, pending }, bytes.subarray(from, countAt)), end }
}

/** Everything before the pending entries, and where that ends. @throws DamagedCollection */
export function groupHeadAt(bytes: Buffer, from: number): Omit<GroupParts, 'pending'> & { end: number } {
  const name = stringIn(bytes, from)
  const lastAt = endOfString(bytes, from)
  const readAt = lastAt + ID_BYTES
  const countAt = readAt + READ_BYTES
  checkRoom(bytes, countAt + COUNT_BYTES)
  const consumers: Consumer[] = []
  let at = countAt + COUNT_BYTES
  for (let left = bytes.readUInt32BE(countAt); left > 0; left--) {
    const timesAt = endOfString(bytes, at)
    checkRoom(bytes, timesAt + 2 * TIME_BYTES)
    const seenMs = bytes.readUIntBE(timesAt, TIME_BYTES)
    const activeMs = bytes.readUIntBE(timesAt + TIME_BYTES, TIME_BYTES)
    consumers.push({ name: stringIn(bytes, at), seenMs, activeMs })
    at = timesAt + 2 * TIME_BYTES
  }
  const lastId = bytes.subarray(lastAt, readAt)
  return { name, lastId, read: bytes.readBigInt64BE(readAt), consumers, end: at }
}

function stringIn(bytes: Buffer, at: number): Buffer {
  endOfString(bytes, at)
  return stringAt(bytes, at)
}

/** @throws DamagedCollection */
export function checkRoom(bytes: Buffer, end: number): void {
  if (end > bytes.length) throw new DamagedCollection()
}
