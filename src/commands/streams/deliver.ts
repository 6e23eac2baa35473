/** Delivers entries of a stream to a consumer of a group: first deliveries, and its own pending entries again. */
import { NULL_ARRAY, type Reply } from '../reply.ts'
import type { Consumer, Group } from './groups.ts'
import { idText, nextId, type StreamId } from './ids.ts'
import { PENDING_BYTES, PendingChanges } from './pending.ts'
import { readAfter } from './progress.ts'
import { chosenReply, entriesReply } from './replies.ts'
import { MAX_PENDING_BYTES } from './steps.ts'
import { firstFrom, type Stream } from './stream.ts'

/** A consumer that asks in vain is not noted again so soon: each time, the whole stream would be written. */
const SEEN_STEP_MS = 1000
/** More entries than that are not delivered at once: each of them is noted. */
const MOST_DELIVERED = 10_000

/** The changes of one group for one consumer, who asked now. */
export class Claimant {
  readonly stream: Stream
  readonly pending: PendingChanges
  readonly nowMs: number
  /** Index of the consumer. */
  readonly place: number
  protected group: Group
  private readonly before: Group
  private readonly consumer: Consumer
  private isActive = false

  constructor(stream: Stream, group: Group, name: Buffer, nowMs: number) {
    this.stream = stream
    this.before = group
    this.group = group
    this.nowMs = nowMs
    this.pending = new PendingChanges(group.pending)
    const known = group.consumer(name)
    this.place = known === -1 ? group.consumers.length : known
    this.consumer = group.consumers[this.place] ?? { name, seenMs: 0, activeMs: 0 }
  }

  /** It got something. */
  active(): void {
    this.isActive = true
  }

  /** The group as it is now; null = nothing has to be stored. */
  result(): Group | null {
    const { before, group, nowMs, consumer } = this
    const isSeen = nowMs - consumer.seenMs < SEEN_STEP_MS && nowMs >= consumer.seenMs
    if (group === before && this.pending.isEmpty && !this.isActive && isSeen) return null
    const activeMs = this.isActive ? nowMs : consumer.activeMs
    const consumers = group.consumers.toSpliced(this.place, 1, {
      name: consumer.name,
      seenMs: nowMs,
      activeMs,
    })
    return group.with({ consumers, pending: this.pending.result() })
  }

  /** How many more pending entries have room. */
  protected get room(): number {
    return Math.floor((MAX_PENDING_BYTES - this.stream.pendingBytes) / PENDING_BYTES)
  }
}

export class Delivering extends Claimant {
  /**
   * Entries that the group has not delivered yet, at most as many as can be pending; null = there are none.
   *
   * @param count 0 = all
   * @throws DamagedCollection
   */
  undelivered(count: number, noAck: boolean): Reply | null {
    const { stream, group, nowMs, place } = this
    const start = nextId(group.lastId)
    if (!start || stream.length === 0 || stream.lastId.compare(start) < 0) return null
    const first = firstFrom(stream, start)
    if (first === stream.length) return null
    // With no room at all the one that is too much is refused, with the reason.
    const most = noAck ? Infinity : Math.max(this.room, 1)
    const length = Math.min(stream.length - first, count > 0 ? count : Infinity, most, MOST_DELIVERED)
    const run = stream.entries(first, first + length)
    let { read } = group
    for (let i = 0; i < length; i++) {
      const id = run.id(i)
      read = readAfter(stream, id, read)
      if (!noAck) this.pending.put(id, { consumer: place, deliveredMs: nowMs, deliveries: 1n })
    }
    this.group = group.with({ read, lastId: run.id(length - 1) })
    if (!noAck) this.active()
    return entriesReply(run)
  }

  /** Pending entries of this consumer, which are delivered once more. @param count 0 = all @throws DamagedCollection */
  history(start: StreamId, count: number): Reply {
    const { stream, place, nowMs, pending } = this
    const { ids, places } = pending.ofConsumer(place, start, count > 0 ? count : Infinity)
    const entries = stream.find(ids)
    for (const [i, entry] of entries.entries()) {
      if (!entry) continue
      entry.run.checkTexts(entry.at, entry.at + 1)
      pending.deliverAgain(ids[i]!, places[i]!, place, nowMs)
    }
    return chosenReply(entries, (i) => [idText(ids[i]!), NULL_ARRAY])
  }
}
