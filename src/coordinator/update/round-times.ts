/**
 * How long two rounds take here and now. An update that was overtaken lets the other one finish before it tries again: if
 * it came back sooner, it would take the promises of the other, which then takes those back, and neither gets to its end.
 */
import type { MonotonicClock } from '../../core/clock.ts'

/** Of the latest one in the average. */
const WEIGHT = 1 / 8
const LONGEST_MS = 50
const LEAST_MS = 1

export class RoundTimes {
  private readonly clock: MonotonicClock
  private average = LEAST_MS

  constructor(clock: MonotonicClock) {
    this.clock = clock
  }

  nowMs(): number {
    return this.clock.monotonicMs()
  }

  get averageMs(): number {
    return this.average
  }

  /** Two rounds have succeeded. */
  note(beganAtMs: number): void {
    const tookMs = Math.max(LEAST_MS, Math.min(LONGEST_MS, this.nowMs() - beganAtMs))
    this.average += (tookMs - this.average) * WEIGHT
  }

  /**
   * For an attempt that was overtaken now. The time of two rounds, and a random part that grows with each time, so that
   * several coordinators come one after the other.
   *
   * @param times how often it has waited, with this time @param random in [0, 1)
   */
  waitMs(beganAtMs: number, times: number, random: number): number {
    const othersMs = Math.min(LONGEST_MS, Math.max(this.average, this.nowMs() - beganAtMs))
    return othersMs + random * Math.min(LONGEST_MS, othersMs * times)
  }
}
