/**
 * Who changes a key next. Within one coordinator, updates and transactions of a key stand in a queue: one is under way, the
 * others wait. Without it each would read, be overtaken by another one, and begin again, and on a key that many change
 * most would never come to their end.
 *
 *   update ──▶ is the key's queue empty? ──yes──▶ under way ──▶ its end, leave() ──▶ the first that waits, first()
 *                        └──no──▶ wait()
 *
 * - Who enters several queues enters them in one go, behind all that stand there. So of two that meet in several queues, the
 *   same one is before the other in all of them, and nobody waits in a circle.
 * - Whoever is first leaves at its end, and everything ends at its deadline: a queue never stands still for longer.
 * - Who has ended while it waited (its deadline has passed) is passed over.
 *
 * What it does not do: other coordinators, plain writes, repairs and reads that settle a record do not stand here. What is
 * correct rests on what the nodes compare (update.ts), never on a queue.
 */
import type { Timers } from '../../core/clock.ts'

/** The text of one key, or of several: see nameOf. */
export type Names = string | readonly string[]

export interface Waiting {
  /** Nobody waits for it any more. */
  readonly isFinished: boolean
  /** From now on it is first in this queue, until it leaves. */
  onTurn(name: string): void
}

/** One character a byte. Not the key's token: all keys with the same hash tag would stand in one queue. */
export function nameOf(key: Buffer): string {
  return key.toString('latin1')
}

export class KeyQueues {
  /** By key: those that wait, in order, behind the one that is first; null = nobody does. */
  private readonly queues = new Map<string, Waiting[] | null>()
  private readonly timers: Timers

  constructor(timers: Timers) {
    this.timers = timers
  }

  /** Enters at the first place; false = somebody is there. */
  enter(name: string): boolean {
    if (this.queues.has(name)) return false
    this.queues.set(name, null)
    return true
  }

  /** Enters all of these at the first place, or none. */
  enterAll(names: readonly string[]): boolean {
    if (names.some((name) => this.queues.has(name))) return false
    for (const name of names) this.queues.set(name, null)
    return true
  }

  /** Enters behind all others in a queue that is not empty. */
  wait(name: string, waiting: Waiting): void {
    const queue = this.queues.get(name)
    if (queue) queue.push(waiting)
    else this.queues.set(name, [waiting])
  }

  /** Whoever is first leaves. */
  leave(names: Names): void {
    if (typeof names === 'string') this.leaveOne(names)
    else for (const name of names) this.leaveOne(name)
  }

  /** Takes out of a queue those that are next as long as they fit. Whoever is first carries them out as well. */
  takeNext<T extends Waiting>(name: string, most: number, fits: (waiting: Waiting) => waiting is T): T[] {
    const queue = this.queues.get(name) ?? []
    const taken: T[] = []
    let passed = 0
    for (const waiting of queue) {
      if (taken.length === most) break
      if (!waiting.isFinished) {
        if (!fits(waiting)) break
        taken.push(waiting)
      }
      passed++
    }
    queue.splice(0, passed)
    return taken
  }

  /** They are next again, in this order. */
  putBack(name: string, waiting: readonly Waiting[]): void {
    this.queues.set(name, [...waiting, ...(this.queues.get(name) ?? [])])
  }

  private leaveOne(name: string): void {
    if (this.queues.get(name) === null) {
      this.queues.delete(name)
      return
    }
    // Not at once: whoever has left is told its end first, and what comes in this turn may be carried out with the next.
    this.timers.endOfTurn(() => this.callNext(name))
  }

  private callNext(name: string): void {
    const queue = this.queues.get(name)!
    let next = queue.shift()
    while (next?.isFinished) next = queue.shift()
    if (next) next.onTurn(name)
    else this.queues.delete(name)
  }
}
