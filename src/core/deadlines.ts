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
}

export class Deadlines {
  private readonly timeoutMs: number
  private readonly clock: MonotonicClock
  private readonly timers: Timers
  private first: Deadline | null = null
  private last: Deadline | null = null
  private timer: TimerHandle | null = null

  constructor(timeoutMs: number, deps: { clock: MonotonicClock; timers: Timers }) {
    this.timeoutMs = timeoutMs
    this.clock = deps.clock
    this.timers = deps.timers
  }

  add(entry: Deadline): void {
    entry.dueAtMs = this.clock.monotonicMs() + this.timeoutMs
    entry.previousDue = this.last
    entry.nextDue = null
    if (this.last) this.last.nextDue = entry
    else this.first = entry
    this.last = entry
    this.timer ??= this.timers.setTimeout(this.check, this.timeoutMs)
  }

  /** Harmless for an entry that is not there. */
  remove(entry: Deadline): void {
    if (entry.previousDue) entry.previousDue.nextDue = entry.nextDue
    else if (this.first === entry) this.first = entry.nextDue
    else return
    if (entry.nextDue) entry.nextDue.previousDue = entry.previousDue
    else this.last = entry.previousDue
    entry.previousDue = null
    entry.nextDue = null
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
