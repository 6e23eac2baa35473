/**
 * Deadlines of many operations with the same timeout, with one timer: the list is in order of arrival, so the first is
 * due first. Adding and removing cost an object and a few pointer writes; a finished operation is released at once.
 */
import type { MonotonicClock, TimerHandle, Timers } from './clock.ts'

/** An operation with a deadline. */
export interface Timed {
  overdue(): void
  /** It takes longer than usual; may be called more than once. */
  late?(): void
}

/**
 * The list entry of an operation. A separate object: links in the operations themselves, which have many classes, would
 * be three times as slow.
 */
export class Deadline {
  readonly operation: Timed
  readonly dueAtMs: number
  previous: Deadline | null
  next: Deadline | null = null
  /** Ends the operation earlier. */
  earlier: TimerHandle | null = null

  constructor(operation: Timed, dueAtMs: number, previous: Deadline | null) {
    this.operation = operation
    this.dueAtMs = dueAtMs
    this.previous = previous
  }
}

export class Deadlines {
  private readonly timeoutMs: number
  private readonly clock: MonotonicClock
  private readonly timers: Timers
  private first: Deadline | null = null
  private last: Deadline | null = null
  private timer: TimerHandle | null = null
  private count = 0
  /** True while overdue() is being called on operations. */
  private expiring = false
  private stopping = false
  /** -1 = not read in this turn of the event loop. */
  private turnAtMs = -1

  constructor(timeoutMs: number, deps: { clock: MonotonicClock; timers: Timers }) {
    this.timeoutMs = timeoutMs
    this.clock = deps.clock
    this.timers = deps.timers
  }

  /** The number of operations in flight. */
  get size(): number {
    return this.count
  }

  /** @param dueAtMs ends it before the timeout that all have, if that is later */
  add(operation: Timed, dueAtMs?: number): Deadline {
    this.count++
    const entry = new Deadline(operation, this.turnMs() + this.timeoutMs, this.last)
    if (this.last) this.last.next = entry
    else this.first = entry
    this.last = entry
    this.timer ??= this.timers.setTimeout(this.check, this.timeoutMs)
    if (dueAtMs !== undefined && dueAtMs < entry.dueAtMs) this.endAt(entry, dueAtMs)
    return entry
  }

  /** Few have one of their own, so a timer for each does. */
  private endAt(entry: Deadline, dueAtMs: number): void {
    entry.earlier = this.timers.setTimeout(
      () => {
        entry.earlier = null
        this.remove(entry)
        entry.operation.overdue()
      },
      Math.max(0, dueAtMs - this.clock.monotonicMs()),
    )
  }

  /**
   * The time of the first call in this turn of the event loop: close to when an operation began, and much cheaper than
   * reading the clock for each.
   */
  turnMs(): number {
    if (this.turnAtMs < 0) {
      this.turnAtMs = this.clock.monotonicMs()
      this.timers.endOfTurn(this.endTurn)
    }
    return this.turnAtMs
  }

  private readonly endTurn = (): void => {
    this.turnAtMs = -1
  }

  /** True from the deadline on, even if the timer could not fire, as after a pause of the whole process. */
  isPast(entry: Deadline): boolean {
    return this.clock.monotonicMs() >= entry.dueAtMs
  }

  /** No effect if already removed. */
  remove(entry: Deadline): void {
    const { previous, next } = entry
    if (previous) previous.next = next
    else if (this.first === entry) this.first = next
    else return
    this.count--
    if (entry.earlier !== null) this.timers.clearTimeout(entry.earlier)
    if (next) next.previous = previous
    else this.last = previous
    entry.previous = null
    entry.next = null
    if (this.stopping) this.rest()
  }

  /** From now on no timer keeps the process alive while nothing is in flight. */
  stop(): void {
    this.stopping = true
    this.rest()
  }

  /** If nothing is in flight, clears the timer, so that it does not keep the process alive. */
  rest(): void {
    if (this.first !== null || this.timer === null || this.expiring) return
    this.timers.clearTimeout(this.timer)
    this.timer = null
  }

  /** Calls late() on all operations that have run longer than this. */
  notifyLate(afterMs: number): void {
    const before = this.clock.monotonicMs() + this.timeoutMs - afterMs
    for (let entry = this.first; entry && entry.dueAtMs < before; entry = entry.next) entry.operation.late?.()
  }

  /** When an entry was added. */
  startOf(entry: Deadline): number {
    return entry.dueAtMs - this.timeoutMs
  }

  private readonly check = (): void => {
    const now = this.clock.monotonicMs()
    this.expiring = true
    try {
      while (this.first && this.first.dueAtMs <= now) {
        const entry = this.first
        this.remove(entry)
        entry.operation.overdue()
      }
    } finally {
      this.expiring = false
      // Not before: an operation started by overdue() must not set a timer that delays those behind it.
      const next = this.first
      this.timer = next && this.timers.setTimeout(this.check, Math.max(1, next.dueAtMs - now))
    }
  }
}
