/**
 * How long two rounds take here and now. An update that was overtaken lets the other one finish before it tries again: if
 * it came back sooner, it would take the promises of the other, which then takes those back, and neither gets to its end.
 */
import { LONGEST_LEAP_MS, type MonotonicClock } from '../../core/clock.ts'

/** Of the latest one in the average. */
const WEIGHT = 1 / 8
const LONGEST_MS = 50
const LEAST_MS = 1
/** Between two knocks: a part of the average. */
const LEAST_OF_A_WAIT = 0.3
/** What two rounds hardly take longer than, in their average; at least what clocks of coordinators differ by as a rule. */
const LONG = 2
const LEAST_LONG_MS = 25
const FURTHEST_AHEAD_MS = 3 * LONGEST_LEAP_MS

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

  /** Who is not done after this time, or has not answered, is not waited for any longer. */
  get longMs(): number {
    return Math.min(LONGEST_MS, Math.max(LEAST_LONG_MS, LONG * this.average))
  }

  /**
   * A promise of another coordinator whose version has this time, or a later one, may be of rounds that are under way. Of an
   * older one the coordinator has died, or has needed no second round.
   *
   * @param ballotMs the time of the version that asks: where that is further ahead than leaps make it, the clocks of the nodes
   *   were set back, and promises of before would be spared until these times have come
   * @param nowMs cluster time
   * @param isFirst nobody has been met yet; later they have been waited for already
   * @returns Infinity = none
   */
  sparedFromMs(ballotMs: number, nowMs: number, isFirst: boolean): number {
    if (ballotMs > nowMs + FURTHEST_AHEAD_MS) return Infinity
    return Math.floor(nowMs - (isFirst ? LONGEST_MS : this.longMs))
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

  /**
   * For one who was refused when he knocked. Whoever has waited for long comes more often, and so before others.
   *
   * @param times how often it has waited, with this time @param random in [0, 1)
   */
  knockAgainMs(times: number, random: number): number {
    return (this.average * (LEAST_OF_A_WAIT + (1 - LEAST_OF_A_WAIT) * random)) / (1 + times / 2)
  }
}
