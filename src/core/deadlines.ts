/**
 * Deadlines of many operations that all may take as long, with one timer: the list is in order of arrival, so the first
 * is due first. Adding and removing cost an object and a few pointer writes; a finished operation is let go of at once.
 */
import type { MonotonicClock, TimerHandle, Timers } from './clock.ts'

/** An operation with a deadline. */
export interface Timed {
  overdue(): void
  /** It takes longer than usual; may be told more than once. */
  late?(): void
}

/**
 * One operation's place in the list. An object of its own: operations are of many kinds, and a list through all of them
 * would cost each of them three times as much.
 */
export class Deadline {
  readonly operation: Timed
  readonly dueAtMs: number
  previous: Deadline | null
  next: Deadline | null = null

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
  /** Operations are being told that their time is over. */
  private telling = false
  /** -1 = nobody has asked in this turn of the event loop. */
  private turnAtMs = -1

  constructor(timeoutMs: number, deps: { clock: MonotonicClock; timers: Timers }) {
    this.timeoutMs = timeoutMs
    this.clock = deps.clock
    this.timers = deps.timers
  }

  /** How many are under way. */
  get size(): number {
    return this.count
  }

  add(operation: Timed): Deadline {
    this.count++
    const entry = new Deadline(operation, this.turnMs() + this.timeoutMs, this.last)
    if (this.last) this.last.next = entry
    else this.first = entry
    this.last = entry
    this.timer ??= this.timers.setTimeout(this.check, this.timeoutMs)
    return entry
  }

  /**
   * When somebody first asked in this turn of the event loop: near enough to when an operation began, and much cheaper than
   * to read the clock for each.
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

  /** True from the deadline on, also where the timer had no chance to run: after a pause of the whole process. */
  isPast(entry: Deadline): boolean {
    return this.clock.monotonicMs() >= entry.dueAtMs
  }

  /** Harmless for an entry that is no longer there. */
  remove(entry: Deadline): void {
    const { previous, next } = entry
    if (previous) previous.next = next
    else if (this.first === entry) this.first = next
    else return
    this.count--
    if (next) next.previous = previous
    else this.last = previous
    entry.previous = null
    entry.next = null
  }

  /** Where nothing is under way: no timer keeps the process alive. Costs a new timer at the next operation. */
  rest(): void {
    if (this.first !== null || this.timer === null || this.telling) return
    this.timers.clearTimeout(this.timer)
    this.timer = null
  }

  /** Tells all that have been under way for longer than this. */
  tellLate(afterMs: number): void {
    const before = this.clock.monotonicMs() + this.timeoutMs - afterMs
    for (let entry = this.first; entry && entry.dueAtMs < before; entry = entry.next) entry.operation.late?.()
  }

  /** When an entry was added. */
  startOf(entry: Deadline): number {
    return entry.dueAtMs - this.timeoutMs
  }

  private readonly check = (): void => {
    const now = this.clock.monotonicMs()
    this.telling = true
    try {
      while (this.first && this.first.dueAtMs <= now) {
        const entry = this.first
        this.remove(entry)
        entry.operation.overdue()
      }
    } finally {
      this.telling = false
      // Not before: what begins while others are told must not set a timer that those which follow would wait for.
      const next = this.first
      this.timer = next && this.timers.setTimeout(this.check, Math.max(1, next.dueAtMs - now))
    }
  }
}
