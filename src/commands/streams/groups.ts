/**
 * The consumer groups of a stream, as they are stored behind its entries (stored.ts):
 *
 *   number of groups (4), then of each group, in the order of their names:
 *     name (string), last delivered id (16), entries read (8, FF… = not known)
 *     number of consumers (4), of each: name (string), seen (6), active (6, 0 = never), in the order in which they came
 *     number of pending entries (4), of each, by id: id (16), index of its consumer (2: more have no room in a stream), delivered (6), deliveries (8)
 *
 * Times are milliseconds of cluster time. Pending entries are found by halving, and stay bytes: a change copies runs of them,
 * and a group that is not changed is copied as it is.
 */
import { DamagedCollection, endOfString, stringAt, stringBytes, writeString } from '../collections/texts.ts'
import { compareIdAt, ID_BYTES, type StreamId } from './ids.ts'

const COUNT_BYTES = 4
const TIME_BYTES = 6
const READ_BYTES = 8
const CONSUMER_AT = ID_BYTES
const TIME_AT = CONSUMER_AT + 2
const DELIVERIES_AT = TIME_AT + TIME_BYTES
export const PENDING_BYTES = DELIVERIES_AT + 8
/** As Redis shows a number of entries that is not known. */
export const UNKNOWN_READ = -1n

export interface Consumer {
  readonly name: Buffer
  /** When it last asked for something. */
  readonly seenMs: number
  /** When it last got something; 0 = never. */
  readonly activeMs: number
}

/** An entry that was delivered and not acknowledged. */
export interface Delivery {
  /** Index of its consumer. */
  readonly consumer: number
  readonly deliveredMs: number
  readonly deliveries: bigint
}

/** The pending entries of a group: views of bytes. */
export class Pending {
  static readonly NONE = new Pending(Buffer.alloc(0))

  readonly bytes: Buffer

  constructor(bytes: Buffer) {
    this.bytes = bytes
  }

  get length(): number {
    return this.bytes.length / PENDING_BYTES
  }

  /** Where the pending entry begins: with its id. */
  startOf(i: number): number {
    return i * PENDING_BYTES
  }

  id(i: number): StreamId {
    return this.bytes.subarray(i * PENDING_BYTES, i * PENDING_BYTES + ID_BYTES)
  }

  consumer(i: number): number {
    return this.bytes.readUInt16BE(i * PENDING_BYTES + CONSUMER_AT)
  }

  at(i: number): Delivery {
    const from = i * PENDING_BYTES
    return {
      consumer: this.consumer(i),
      deliveredMs: this.bytes.readUIntBE(from + TIME_AT, TIME_BYTES),
      deliveries: this.bytes.readBigInt64BE(from + DELIVERIES_AT),
    }
  }

  /** Only of bytes that nobody else has. */
  put(i: number, delivery: Delivery): void {
    writeDelivery(this.bytes, i * PENDING_BYTES, delivery)
  }

  /** The first one with this id or a greater one. @param from where to begin */
  firstFrom(id: StreamId, from = 0): number {
    let [low, high] = [from, this.length]
    while (low < high) {
      const middle = (low + high) >>> 1
      if (compareIdAt(this.bytes, middle * PENDING_BYTES, id) < 0) low = middle + 1
      else high = middle
    }
    return low
  }

  /** -1 = there is none. */
  indexOf(id: StreamId): number {
    const at = this.firstFrom(id)
    return at < this.length && compareIdAt(this.bytes, at * PENDING_BYTES, id) === 0 ? at : -1
  }

  /** How many each consumer has. */
  countsOf(consumers: number): Uint32Array {
    const counts = new Uint32Array(consumers)
    for (let i = 0; i < this.length; i++) counts[this.consumer(i)]!++
    return counts
  }

  /** Without those of a consumer, whose index the ones behind it take. */
  withoutConsumer(gone: number): Pending {
    const bytes = Buffer.from(this.bytes)
    let to = 0
    for (let i = 0; i < this.length; i++) {
      const consumer = this.consumer(i)
      if (consumer === gone) continue
      const start = i * PENDING_BYTES
      bytes.copyWithin(to, start, start + PENDING_BYTES)
      if (consumer > gone) bytes.writeUInt16BE(consumer - 1, to + CONSUMER_AT)
      to += PENDING_BYTES
    }
    return new Pending(bytes.subarray(0, to))
  }
}

/** Changes of pending entries, one after the other; the group's stay as they are. */
export class PendingChanges {
  private before: Pending
  private isMoved = false
  /** By id, since `before`; null = acknowledged. */
  private readonly changed = new Map<string, { readonly id: StreamId; readonly delivery: Delivery | null }>()

  constructor(before: Pending) {
    this.before = before
  }

  get isEmpty(): boolean {
    return !this.isMoved && this.changed.size === 0
  }

  /** Null = it is not pending. */
  get(id: StreamId): Delivery | null {
    const changed = this.changed.size === 0 ? undefined : this.changed.get(id.toString('latin1'))
    if (changed) return changed.delivery
    const at = this.before.indexOf(id)
    return at === -1 ? null : this.before.at(at)
  }

  put(id: StreamId, delivery: Delivery | null): void {
    this.changed.set(id.toString('latin1'), { id, delivery })
  }

  /**
   * Delivers what one consumer has pending once more: they may be thousands, and are changed where they stand.
   *
   * @param isThere whether the entry exists; asked in the order of the ids
   * @returns the ids, those without entries included, which stay as they are
   */
  deliverAgain(
    { consumer, start, most, nowMs }: { consumer: number; start: StreamId; most: number; nowMs: number },
    isThere: (id: StreamId) => boolean,
  ): StreamId[] {
    const pending = new Pending(Buffer.from(this.result().bytes))
    const ids: StreamId[] = []
    for (let i = pending.firstFrom(start); i < pending.length && ids.length < most; i++) {
      if (pending.consumer(i) !== consumer) continue
      const id = pending.id(i)
      ids.push(id)
      if (!isThere(id)) continue
      this.isMoved = true
      const { deliveries } = pending.at(i)
      pending.put(i, { consumer, deliveredMs: nowMs, deliveries: deliveries + 1n })
    }
    this.before = pending
    this.isMoved ||= this.changed.size > 0
    this.changed.clear()
    return ids
  }

  result(): Pending {
    const { before } = this
    if (this.changed.size === 0) return before
    const edits = [...this.changed.values()].sort((one, other) => one.id.compare(other.id))
    const parts: Buffer[] = []
    let from = 0
    for (const { id, delivery } of edits) {
      const at = before.firstFrom(id, from)
      parts.push(before.bytes.subarray(from * PENDING_BYTES, at * PENDING_BYTES))
      if (delivery) parts.push(pendingBytes(id, delivery))
      const isThere = at < before.length && compareIdAt(before.bytes, at * PENDING_BYTES, id) === 0
      from = isThere ? at + 1 : at
    }
    parts.push(before.bytes.subarray(from * PENDING_BYTES))
    return new Pending(Buffer.concat(parts))
  }
}

export function pendingBytes(id: StreamId, delivery: Delivery): Buffer {
  const bytes = Buffer.allocUnsafe(PENDING_BYTES)
  id.copy(bytes, 0)
  writeDelivery(bytes, 0, delivery)
  return bytes
}

function writeDelivery(bytes: Buffer, at: number, { consumer, deliveredMs, deliveries }: Delivery): void {
  bytes.writeUInt16BE(consumer, at + CONSUMER_AT)
  bytes.writeUIntBE(deliveredMs, at + TIME_AT, TIME_BYTES)
  bytes.writeBigInt64BE(BigInt.asIntN(64, deliveries), at + DELIVERIES_AT)
}

interface GroupParts {
  readonly name: Buffer
  readonly lastId: StreamId
  /** UNKNOWN_READ, or how many entries of the stream it has read. */
  readonly read: bigint
  readonly consumers: readonly Consumer[]
  readonly pending: Pending
}

export class Group implements GroupParts {
  readonly name: Buffer
  readonly lastId: StreamId
  readonly read: bigint
  readonly consumers: readonly Consumer[]
  readonly pending: Pending
  /** As it is stored; null = it is new. */
  private readonly stored: Buffer | null

  constructor({ name, lastId, read, consumers, pending }: GroupParts, stored: Buffer | null = null) {
    this.name = name
    this.lastId = lastId
    this.read = read
    this.consumers = consumers
    this.pending = pending
    this.stored = stored
  }

  /** Index of the consumer with this name, -1 = there is none. */
  consumer(name: Buffer): number {
    return this.consumers.findIndex((one) => one.name.equals(name))
  }

  with(change: Partial<GroupParts>): Group {
    const { name, lastId, read, consumers, pending } = this
    return new Group({ name, lastId, read, consumers, pending, ...change })
  }

  parts(): Buffer[] {
    return this.stored ? [this.stored] : [headOf(this), countOf(this.pending.length), this.pending.bytes]
  }

  /** For what comes from outside. @throws DamagedCollection */
  check(): void {
    const { pending, consumers } = this
    for (let i = 0; i < pending.length; i++) {
      const isAfter = i === 0 || compareIdAt(pending.bytes, pending.startOf(i - 1), pending.id(i)) < 0
      if (!isAfter || pending.consumer(i) >= consumers.length) throw new DamagedCollection()
    }
  }
}

/** The groups with this one, in the place of the one of the same name or at its own. */
export function withGroup(groups: readonly Group[], group: Group): Group[] {
  const others = groups.filter(({ name }) => !name.equals(group.name))
  const at = others.findIndex(({ name }) => name.compare(group.name) > 0)
  return others.toSpliced(at === -1 ? others.length : at, 0, group)
}

function countOf(count: number): Buffer {
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

export function groupsBytes(groups: readonly Group[]): Buffer[] {
  return [countOf(groups.length), ...groups.flatMap((group) => group.parts())]
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
  checkRoom(bytes, at + COUNT_BYTES)
  const pendingAt = at + COUNT_BYTES
  const end = pendingAt + bytes.readUInt32BE(at) * PENDING_BYTES
  checkRoom(bytes, end)
  const lastId = bytes.subarray(lastAt, readAt)
  const read = bytes.readBigInt64BE(readAt)
  const pending = new Pending(bytes.subarray(pendingAt, end))
  return { group: new Group({ name, lastId, read, consumers, pending }, bytes.subarray(from, end)), end }
}

function stringIn(bytes: Buffer, at: number): Buffer {
  endOfString(bytes, at)
  return stringAt(bytes, at)
}

function checkRoom(bytes: Buffer, end: number): void {
  if (end > bytes.length) throw new DamagedCollection()
}
