/**
 * The owner of work that no caller waits for. Nothing detached is lost from sight: it is counted, its failures are told,
 * and a coordinator that stops can wait until it is done.
 */
import type { Timers } from '../core/clock.ts'
import type { Emit } from '../core/events.ts'

export class Background {
  private readonly timers: Timers
  private readonly emit: Emit
  private running = 0
  private waiting: (() => void)[] = []

  constructor(timers: Timers, emit: Emit) {
    this.timers = timers
    this.emit = emit
  }

  /** One piece of work has begun; every one of them must end. */
  begin(): void {
    this.running++
  }

  end(): void {
    if (--this.running === 0) this.wake()
  }

  /** Runs detached work to its end; a failure becomes an event. */
  run(what: string, work: () => Promise<void>): void {
    this.begin()
    work()
      .catch((error: unknown) => this.emit({ kind: 'background-failed', what, why: String(error) }))
      .finally(() => this.end())
      .catch(() => undefined) // end() and emit() do not throw; this only satisfies the promise
  }

  /** Resolves when nothing runs, or after the limit; tells how much was still running. */
  async drain(limitMs: number): Promise<number> {
    let late = false
    const timer = this.timers.setTimeout(() => {
      late = true
      this.wake()
    }, limitMs)
    // The end of one piece may have begun another: look again.
    while (this.running > 0 && !late) await new Promise<void>((resolve) => this.waiting.push(resolve))
    this.timers.clearTimeout(timer)
    return this.running
  }

  private wake(): void {
    const waiting = this.waiting
    this.waiting = []
    for (const wake of waiting) wake()
  }
}
