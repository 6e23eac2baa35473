/**
 * Pending entries of a group: what was delivered and not acknowledged, by id. They stay bytes (groups.ts): they are found by
 * halving, and a change copies runs of them.
 */
import { DamagedCollection } from '../collections/texts.ts'
import { compareIdAt, ID_BYTES, type Edit, type StreamId } from './ids.ts'

const TIME_BYTES = 6
const CONSUMER_AT = ID_BYTES
const TIME_AT = CONSUMER_AT + 2
const DELIVERIES_AT = TIME_AT + TIME_BYTES
export const PENDING_BYTES = DELIVERIES_AT + 8

/** An entry that was delivered and not acknowledged. */
export interface Delivery {
  /** Index of its consumer. */
  readonly consumer: number
  readonly deliveredMs: number
  readonly deliveries: bigint
}

/** In one piece, or in parts (large/pending.ts). */
export interface PendingEntries {
  readonly length: number
  id(i: number): StreamId
  /** Index of its consumer. */
  consumer(i: number): number
  at(i: number): Delivery
  /** The first one with this id or a greater one. */
  firstFrom(id: StreamId): number
  /** In the order of the ids; null = it is not pending. */
  find(ids: readonly StreamId[]): (Delivery | null)[]
  /** How many each consumer has. */
  countsOf(consumers: number): Uint32Array
  /** The same, of which some can be replaced. */
  copy(): ReplaceablePending
  /** @param edits by id, each once */
  changed(edits: readonly Edit[]): PendingEntries
  /** Without those of a consumer, whose index the ones behind it take. */
  withoutConsumer(gone: number): PendingEntries
}

export interface ReplaceablePending extends PendingEntries {
  put(i: number, delivery: Delivery): void
}

/** In one piece: a view of bytes. */
export class Pending implements ReplaceablePending {
  static readonly NONE = new Pending(Buffer.alloc(0))

  readonly bytes: Buffer

  constructor(bytes: Buffer) {
    this.bytes = bytes
  }

  get length(): number {
    return this.bytes.length / PENDING_BYTES
  }

  get run(): Buffer {
    return this.bytes
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

  /** @param from where to begin */
  firstFrom(id: StreamId, from = 0): number {
    let [low, high] = [from, this.length]
    while (low < high) {
      const middle = (low + high) >>> 1
      if (compareIdAt(this.bytes, middle * PENDING_BYTES, id) < 0) low = middle + 1
      else high = middle
    }
    return low
  }

  isAt(i: number, id: StreamId): boolean {
    return i < this.length && compareIdAt(this.bytes, i * PENDING_BYTES, id) === 0
  }

  find(ids: readonly StreamId[]): (Delivery | null)[] {
    return ids.map((id) => {
      const at = this.firstFrom(id)
      return this.isAt(at, id) ? this.at(at) : null
    })
  }

  runOf(from: number, to: number): Buffer {
    return this.bytes.subarray(from * PENDING_BYTES, to * PENDING_BYTES)
  }

  slice(from: number, to: number): Pending {
    return new Pending(this.runOf(from, to))
  }

  countsOf(consumers: number): Uint32Array {
    const counts = new Uint32Array(consumers)
    for (let i = 0; i < this.length; i++) counts[this.consumer(i)]!++
    return counts
  }

  copy(): Pending {
    return new Pending(Buffer.from(this.bytes))
  }

  changed(edits: readonly Edit[]): Pending {
    const runs: Buffer[] = []
    let from = 0
    for (const { id, item } of edits) {
      const at = this.firstFrom(id, from)
      runs.push(this.runOf(from, at))
      if (item) runs.push(item)
      from = this.isAt(at, id) ? at + 1 : at
    }
    runs.push(this.runOf(from, this.length))
    return new Pending(Buffer.concat(runs))
  }

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

/** For what comes from outside. @throws DamagedCollection */
export function checkPending(pending: PendingEntries, consumers: number): void {
  for (let i = 0; i < pending.length; i++) {
    const isAfter = i === 0 || pending.id(i - 1).compare(pending.id(i)) < 0
    if (!isAfter || pending.consumer(i) >= consumers) throw new DamagedCollection()
  }
}

/** Changes of pending entries, one after the other; the group's stay as they are. */
export class PendingChanges {
  private before: PendingEntries
  private replaceable: ReplaceablePending | null = null
  private isReplaced = false
  /** By id, since `before`; null = acknowledged. */
  private readonly changed = new Map<string, { readonly id: StreamId; readonly delivery: Delivery | null }>()

  constructor(before: PendingEntries) {
    this.before = before
  }

  get isEmpty(): boolean {
    return !this.isReplaced && this.changed.size === 0
  }

  /** Null = it is not pending. */
  get(id: StreamId): Delivery | null {
    const changed = this.changed.size === 0 ? undefined : this.changed.get(id.toString('latin1'))
    return changed ? changed.delivery : this.before.find([id])[0]!
  }

  /** They will be asked for: those in parts are read together. */
  expect(ids: readonly StreamId[]): void {
    this.before.find(ids)
  }

  put(id: StreamId, delivery: Delivery | null): void {
    this.changed.set(id.toString('latin1'), { id, delivery })
  }

  /**
   * What one consumer has pending, from an id on, in the order of the ids: they may be thousands.
   *
   * @returns the ids, and where each stands; -1 = it was delivered by this command
   */
  ofConsumer(consumer: number, start: StreamId, most: number): { ids: StreamId[]; places: number[] } {
    const { before } = this
    const ids: StreamId[] = []
    const places: number[] = []
    const fresh = this.edits().filter(({ id }) => id.compare(start) >= 0)
    let next = 0
    const addFresh = (upTo: StreamId | null) => {
      for (; next < fresh.length && ids.length < most; next++) {
        const { id } = fresh[next]!
        if (upTo && id.compare(upTo) > 0) return
        if (this.get(id)?.consumer !== consumer) continue
        ids.push(id)
        places.push(-1)
      }
    }
    for (let i = before.firstFrom(start); i < before.length && ids.length < most; i++) {
      if (next < fresh.length) {
        addFresh(before.id(i))
        if (this.changed.has(before.id(i).toString('latin1'))) continue
        if (ids.length >= most) break
      }
      if (before.consumer(i) !== consumer) continue
      ids.push(before.id(i))
      places.push(i)
    }
    addFresh(null)
    return { ids, places }
  }

  /** Delivers one of these to its consumer once more: it is changed where it stands. */
  deliverAgain(id: StreamId, place: number, consumer: number, nowMs: number): void {
    if (place === -1) {
      const { deliveries } = this.get(id)!
      this.put(id, { consumer, deliveredMs: nowMs, deliveries: deliveries + 1n })
      return
    }
    this.before = this.replaceable ??= this.before.copy()
    this.isReplaced = true
    const { deliveries } = this.before.at(place)
    this.replaceable.put(place, { consumer, deliveredMs: nowMs, deliveries: deliveries + 1n })
  }

  result(): PendingEntries {
    const isAsBefore = this.isEmpty || (this.changed.size === 0 && this.before instanceof Pending)
    return isAsBefore ? this.before : this.before.changed(this.edits())
  }

  private edits(): Edit[] {
    return [...this.changed.values()]
      .sort((one, other) => one.id.compare(other.id))
      .map(({ id, delivery }) => ({ id, item: delivery && pendingBytes(id, delivery) }))
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
