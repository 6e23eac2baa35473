/**
 * Time that passes only when it is told to, for tests that neither sleep nor flicker.
 *
 *   const time = new VirtualTime()
 *   const answer = slowThing(time)      // sets a timer for 300 ms
 *   await time.advance(300)             // runs it, and everything that follows from it
 *
 * Timers run in the order of their times, then in the order in which they were set, and the clock stands at a timer's
 * time while it runs. Before and after each one everything that is ready runs out: promises, and the ends of turns,
 * whose order is that in which they were asked for; what an end of turn asks for comes at the next one.
 *
 * It is deterministic as long as nothing under test waits for real input or output.
 */
import type { Clock, TimerHandle, Timers } from '../../src/core/clock.ts'

interface Timer {
  readonly atMs: number
  readonly run: () => void
}

/** So many timers or turns without an end are a loop. */
const MAX_STEPS = 1_000_000

export class VirtualTime implements Clock, Timers {
  private nowMs = 0
  private wallAheadMs: number
  private timers: Timer[] = []
  private endsOfTurn: (() => void)[] = []

  constructor(startWallMs = Date.UTC(2026, 0, 1)) {
    this.wallAheadMs = startWallMs
  }

  monotonicMs(): number {
    return this.nowMs
  }

  wallMs(): number {
    return this.nowMs + this.wallAheadMs
  }

  /** Somebody sets this machine's clock; the monotonic one does not notice. */
  stepWall(byMs: number): void {
    this.wallAheadMs += byMs
  }

  setTimeout(run: () => void, ms: number): TimerHandle {
    const timer: Timer = { atMs: this.nowMs + Math.max(0, ms), run }
    // Behind all that are due no later: a timer that was set later never overtakes one for the same time.
    const place = this.timers.findLastIndex((other) => other.atMs <= timer.atMs) + 1
    this.timers.splice(place, 0, timer)
    return timer
  }

  clearTimeout(handle: TimerHandle): void {
    this.timers = this.timers.filter((timer) => timer !== handle)
  }

  endOfTurn(run: () => void): void {
    this.endsOfTurn.push(run)
  }

  get pendingTimers(): number {
    return this.timers.length
  }

  /** Lets `ms` pass, and everything happen that is due until then. */
  async advance(ms: number): Promise<void> {
    await this.runUntil(this.nowMs + ms)
  }

  /** Lets time pass until nothing is left to happen. */
  async run(): Promise<void> {
    await this.runUntil(Infinity)
  }

  /** Runs what is ready now, without letting any time pass. */
  async settle(): Promise<void> {
    for (let step = 0; ; step++) {
      if (step > MAX_STEPS) throw new Error('turns follow each other without an end')
      await untilPromisesRest()
      if (this.endsOfTurn.length === 0) return
      const turn = this.endsOfTurn
      this.endsOfTurn = []
      for (const run of turn) run()
    }
  }

  private async runUntil(endMs: number): Promise<void> {
    await this.settle()
    for (let step = 0; this.timers.length > 0 && this.timers[0]!.atMs <= endMs; step++) {
      if (step > MAX_STEPS) throw new Error('timers follow each other without an end')
      const timer = this.timers.shift()!
      this.nowMs = Math.max(this.nowMs, timer.atMs)
      timer.run()
      await this.settle()
    }
    if (endMs !== Infinity) this.nowMs = endMs
  }
}

/** A whole turn of the real event loop: all promises that can go on have gone on. */
function untilPromisesRest(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}
