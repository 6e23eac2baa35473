/**
 * Deadlines of many operations that all may take as long, with one timer: the list is in order of arrival, so the first
 * is due first. Adding and removing cost a few pointer writes; a finished operation is let go of at once.
 */
import type { MonotonicClock, TimerHandle, Timers } from './clock.ts'

/** An operation with a deadline; extend it. */
export abstract class Deadline {
  dueAtMs = 0
  previousDue: Deadline | null = null
  nextDue: Deadline | null = null

  abstract overdue(): void

  /** It takes longer than usual; may be told more than once. */
  late(): void {
    // Most operations can do nothing about it.
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

  constructor(timeoutMs: number, deps: { clock: MonotonicClock; timers: Timers }) {
    this.timeoutMs = timeoutMs
    this.clock = deps.clock
    this.timers = deps.timers
  }

  /** How many are under way. */
  get size(): number {
    return this.count
  }

  add(entry: Deadline): void {
    this.count++
    entry.dueAtMs = this.clock.monotonicMs() + this.timeoutMs
    entry.previousDue = this.last
    entry.nextDue = null
    if (this.last) this.last.nextDue = entry
    else this.first = entry
    this.last = entry
    this.timer ??= this.timers.setTimeout(this.check, this.timeoutMs)
  }

  /** True from the deadline on, also where the timer had no chance to run: after a pause of the whole process. */
  isPast(entry: Deadline): boolean {
    return this.clock.monotonicMs() >= entry.dueAtMs
  }

  /** Harmless for an entry that is not there. */
  remove(entry: Deadline): void {
    if (entry.previousDue) entry.previousDue.nextDue = entry.nextDue
    else if (this.first === entry) this.first = entry.nextDue
    else return
    this.count--
    if (entry.nextDue) entry.nextDue.previousDue = entry.previousDue
    else this.last = entry.previousDue
    entry.previousDue = null
    entry.nextDue = null
  }

  /** Tells all that have been under way for longer than this. */
  tellLate(afterMs: number): void {
    const before = this.clock.monotonicMs() + this.timeoutMs - afterMs
    for (let entry = this.first; entry && entry.dueAtMs < before; entry = entry.nextDue) entry.late()
  }

  /** When an entry was added. */
  startOf(entry: Deadline): number {
    return entry.dueAtMs - this.timeoutMs
  }

  private readonly check = (): void => {
    this.timer = null
    const now = this.clock.monotonicMs()
    while (this.first && this.first.dueAtMs <= now) {
      const entry = this.first
      this.remove(entry)
      entry.overdue()
    }
    // Whoever was told may have begun something new, and with it set the timer.
    if (this.first) this.timer ??= this.timers.setTimeout(this.check, Math.max(1, this.first.dueAtMs - now))
  }
}
