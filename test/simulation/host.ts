/**
 * The machine (and process) of one coordinator: its clocks, its event loop, and its death. What it has not done when it
 * dies, it never does; what it has sent is on its way.
 *
 * A turn of its event loop takes a moment, in which more input may come: calls made in one turn travel as one batch.
 */
import type { Clock, TimerHandle, Timers } from '../../src/core/clock.ts'
import type { Random } from '../support/random.ts'
import type { ScheduledEvent, Scheduler } from './scheduler.ts'

const LONGEST_TURN_MS = 0.3
const TIMERS_LATER_MS = 0.01

interface Timer {
  isCleared: boolean
  event: ScheduledEvent | null
}

export class Host implements Clock, Timers {
  alive = true
  /** By how much the machine's clock is wrong. */
  wallOffMs = 0
  private readonly scheduler: Scheduler
  private readonly random: Random
  private readonly startedAtMs: number
  private turn: (() => void)[] = []
  private busyUntilMs = 0

  constructor(scheduler: Scheduler, random: Random) {
    this.scheduler = scheduler
    this.random = random
    this.startedAtMs = scheduler.nowMs - 1000 * (1 + random.below(1000))
  }

  monotonicMs(): number {
    return this.scheduler.nowMs - this.startedAtMs
  }

  wallMs(): number {
    return EPOCH_MS + this.scheduler.nowMs + this.wallOffMs
  }

  setTimeout(run: () => void, ms: number): TimerHandle {
    // It can be cleared as long as it has not run, also when it is late.
    const timer: Timer = { isCleared: false, event: null }
    const fire = () => {
      if (!timer.isCleared) run()
    }
    timer.event = this.scheduler.after(ms, () => this.enter(fire, TIMERS_LATER_MS))
    return timer
  }

  clearTimeout(handle: TimerHandle): void {
    const timer = handle as Timer
    timer.isCleared = true
    if (timer.event) timer.event.run = null
  }

  endOfTurn(run: () => void): void {
    if (this.turn.push(run) > 1) return
    this.scheduler.after(this.random.next() * LONGEST_TURN_MS, () => this.enter(this.finishTurn))
  }

  /**
   * Something reaches the process: handled at once, or when it is no longer busy, or never. A process that goes on after
   * a stop in its poll for input handles what has come first, and its timers then.
   */
  enter(run: () => void, laterMs = 0): void {
    if (!this.alive) return
    const { busyUntilMs } = this
    if (busyUntilMs > this.scheduler.nowMs) this.scheduler.at(busyUntilMs + laterMs, () => this.enter(run))
    else run()
  }

  /** The process does something else: a long collection of garbage, or a machine that is out of breath. */
  stall(ms: number): void {
    this.busyUntilMs = this.scheduler.nowMs + ms
  }

  private readonly finishTurn = (): void => {
    const turn = this.turn
    this.turn = []
    for (const run of turn) run()
  }
}

/** True time at the start of a run, milliseconds since 1970. */
export const EPOCH_MS = Date.UTC(2026, 0, 1)
