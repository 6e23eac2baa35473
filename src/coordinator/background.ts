/**
 * Owns work that no caller waits for. It counts detached work, reports its failures, and lets a stopping coordinator
 * wait until all of it is done.
 */
import type { Timers } from '../core/clock.ts'
import type { Emit } from '../core/events.ts'
import { sentenceOf } from '../core/sentence.ts'

export class Background {
  private readonly timers: Timers
  private readonly emit: Emit
  private running = 0
  private waiting: (() => void)[] = []

  constructor(timers: Timers, emit: Emit) {
    this.timers = timers
    this.emit = emit
  }

  /** A task has started; each one must call end(). */
  begin(): void {
    this.running++
  }

  end(): void {
    if (--this.running === 0) this.wake()
  }

  /** Runs a detached task; a failure becomes an event. */
  run(what: string, work: () => Promise<void>): void {
    this.begin()
    work()
      .catch((error: unknown) => this.emit({ kind: 'background-failed', what, why: sentenceOf(error) }))
      .finally(() => this.end())
      .catch(() => undefined) // end() and emit() do not throw; this only satisfies the promise
  }

  /** Resolves when nothing runs, or after the limit, with the number of tasks that still run. */
  async drain(limitMs: number): Promise<number> {
    let late = false
    const timer = this.timers.setTimeout(() => {
      late = true
      this.wake()
    }, limitMs)
    // The end of one task may have started another: check again.
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
