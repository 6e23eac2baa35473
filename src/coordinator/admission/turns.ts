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
import type { Asker } from '../asker.ts'

const MAX_FEW = 4
const MAX_ACTIVE = 4

type Queues<T> = Map<Asker, T[]>

export class Turns<T extends { readonly asker: Asker }> {
  private readonly few: Queues<T> = new Map()
  private readonly many: Queues<T> = new Map()
  private readonly active: Queues<T> = new Map()
  private fewWereLast = false

  /** FIFO per connection. */
  add(waiting: T): void {
    const { asker } = waiting
    const queue = this.few.get(asker) ?? this.many.get(asker) ?? this.active.get(asker) ?? []
    queue.push(waiting)
    if (asker.waiting > MAX_FEW) {
      this.few.delete(asker)
      if (!this.active.has(asker)) this.many.set(asker, queue)
    } else if (queue.length === 1) this.few.set(asker, queue)
  }

  /** Must not be called when empty. */
  next(): T {
    for (const [asker, queue] of this.many) {
      if (this.active.size >= MAX_ACTIVE) break
      this.many.delete(asker)
      this.active.set(asker, queue)
    }
    this.fewWereLast = this.few.size > 0 && (this.active.size === 0 || !this.fewWereLast)
    return takeTurn(this.fewWereLast ? this.few : this.active)
  }
}

function takeTurn<T>(queues: Queues<T>): T {
  const [asker, queue] = queues.entries().next().value!
  const next = queue.shift()!
  queues.delete(asker)
  if (queue.length > 0) queues.set(asker, queue)
  return next
}
