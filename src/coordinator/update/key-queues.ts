/**
 * Per-key FIFO queue of updates and transactions within one coordinator: one runs, the others wait. Without it each
 * would read, be superseded by another one, and start again; on a hot key most would never finish.
 *
 *   update ──▶ is the key's queue empty? ──yes──▶ runs ──▶ finishes, leave() ──▶ onTurn() of the first that waits
 *                         └──no──▶ wait()
 *
 * - A transaction enters the queues of all its keys at once, at their ends. So two transactions that share several keys
 *   have the same order in all of these queues, and there is no deadlock.
 * - The running one leaves when it finishes, and everything finishes at its deadline, so no queue blocks for longer.
 * - Entries that finished while they waited (their deadline has passed) are skipped.
 *
 * Not queued: other coordinators, plain writes of keys that nobody competes for (write/contention.ts), repairs, and reads
 * that settle a record. Correctness comes from what the
 * nodes compare (update.ts), never from a queue.
 */
import type { Timers } from '../../core/clock.ts'

/** The text of one key, or of several: see nameOf. */
export type Names = string | readonly string[]

export interface Waiting {
  /** It has already finished. */
  readonly isFinished: boolean
  /** It is first in this queue now, until it leaves. */
  onTurn(name: string): void
}

/** One character per byte. Not the key's token: all keys with the same hash tag would share one queue. */
export function nameOf(key: Buffer): string {
  return key.toString('latin1')
}

export class KeyQueues {
  /** By key: those that wait behind the running one, in order; null = none waits. */
  private readonly queues = new Map<string, Waiting[] | null>()
  private readonly timers: Timers

  constructor(timers: Timers) {
    this.timers = timers
  }

  /** Enters an empty queue as the first; false = it is not empty. */
  enter(name: string): boolean {
    if (this.queues.has(name)) return false
    this.queues.set(name, null)
    return true
  }

  /** Enters all of these queues as the first, or none. */
  enterAll(names: readonly string[]): boolean {
    if (names.some((name) => this.queues.has(name))) return false
    for (const name of names) this.queues.set(name, null)
    return true
  }

  /** Enters a queue that is not empty, at its end. */
  wait(name: string, waiting: Waiting): void {
    const queue = this.queues.get(name)
    if (queue) queue.push(waiting)
    else this.queues.set(name, [waiting])
  }

  /** The first one leaves. */
  leave(names: Names): void {
    if (typeof names === 'string') this.leaveOne(names)
    else for (const name of names) this.leaveOne(name)
  }

  /** Removes the next entries as long as they fit; the first one runs them too. */
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

  /** Puts entries back at the front, in this order. */
  putBack(name: string, waiting: readonly Waiting[]): void {
    this.queues.set(name, [...waiting, ...(this.queues.get(name) ?? [])])
  }

  private leaveOne(name: string): void {
    if (this.queues.get(name) === null) {
      this.queues.delete(name)
      return
    }
    // Deferred: the one that leaves reports its result first, and updates that arrive in this turn may join the next.
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
