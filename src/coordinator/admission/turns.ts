/**
 * Fair queue of the operations that wait for one node: connections take turns.
 *
 *   few    connections with a few waiting operations (a GET, a SET): round robin, one operation each
 *   many   connections with many (an MGET of large values): in order of arrival; the first MAX_ACTIVE of them are active,
 *          and take turns among themselves
 *
 * The two kinds alternate. If all connections with many were served in turn, all would be half done most of the time,
 * and the partial results of all of them would be held in memory at once.
 */
import type { Requester } from '../requester.ts'

const MAX_FEW = 4
const MAX_ACTIVE = 4

type Queues<T> = Map<Requester, T[]>

export class Turns<T extends { readonly requester: Requester }> {
  private readonly few: Queues<T> = new Map()
  private readonly many: Queues<T> = new Map()
  private readonly active: Queues<T> = new Map()
  private fewWereLast = false

  /** FIFO per connection. */
  add(waiting: T): void {
    const { requester } = waiting
    const queue = this.few.get(requester) ?? this.many.get(requester) ?? this.active.get(requester) ?? []
    queue.push(waiting)
    if (requester.waiting > MAX_FEW) {
      this.few.delete(requester)
      if (!this.active.has(requester)) this.many.set(requester, queue)
    } else if (queue.length === 1) this.few.set(requester, queue)
  }

  /** Must not be called when empty. */
  next(): T {
    for (const [requester, queue] of this.many) {
      if (this.active.size >= MAX_ACTIVE) break
      this.many.delete(requester)
      this.active.set(requester, queue)
    }
    this.fewWereLast = this.few.size > 0 && (this.active.size === 0 || !this.fewWereLast)
    return takeTurn(this.fewWereLast ? this.few : this.active)
  }
}

function takeTurn<T>(queues: Queues<T>): T {
  const [requester, queue] = queues.entries().next().value!
  const next = queue.shift()!
  queues.delete(requester)
  if (queue.length > 0) queues.set(requester, queue)
  return next
}
