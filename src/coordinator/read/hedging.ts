/**
 * Hedged reads at `one`: a read that takes longer than usual asks a second replica, and the first answer counts (Dean
 * and Barroso, "The Tail at Scale", 2013). One slow node then delays reads of its keys only a little.
 *
 * "Usual" is the 95th percentile of the reads so far, tracked by a running estimate: up by 0.95 of a step when a read
 * took longer than the estimate, down by 0.05 when it did not, so it settles where 5 % take longer. A budget keeps the
 * extra reads below 5 % of all, so that a node that is slow because it is busy does not get busier.
 */
import type { TimerHandle, Timers } from '../../core/clock.ts'
import type { Deadlines } from '../../core/deadlines.ts'

const QUANTILE = 0.95
const EXTRA_READS = 0.05
/** Burst size of extra reads after a time without any. */
const BURST = 20
/** Never hedge sooner than this: the answer is likely to arrive anyway. */
const SHORTEST_MS = 3
const LONGEST_MS = 200
const STEP = 0.05

export class Hedging {
  private readonly deadlines: Deadlines
  private readonly timers: Timers
  private usualMs = 20
  private budget = BURST
  private timer: TimerHandle | null = null

  constructor(deadlines: Deadlines, deps: { timers: Timers }) {
    this.deadlines = deadlines
    this.timers = deps.timers
  }

  /** A read that takes longer than this is hedged. */
  get afterMs(): number {
    return Math.min(LONGEST_MS, Math.max(SHORTEST_MS, this.usualMs))
  }

  /** A read has started. Adds to the budget and arms the timer that finds late reads. */
  begun(): void {
    if (this.budget < BURST) this.budget += EXTRA_READS
    this.timer ??= this.timers.setTimeout(this.look, this.afterMs)
  }

  /** A read was answered. */
  answered(startedAtMs: number): void {
    const step = STEP * Math.max(this.usualMs, 0.1)
    const ms = this.deadlines.turnMs() - startedAtMs
    this.usualMs += ms > this.usualMs ? step * QUANTILE : -step * (1 - QUANTILE)
  }

  /** Whether an extra read is allowed now; if so, takes it from the budget. */
  spend(): boolean {
    if (this.budget < 1) return false
    this.budget--
    return true
  }

  private readonly look = (): void => {
    this.timer = null
    this.deadlines.notifyLate(this.afterMs)
    if (this.deadlines.size > 0) this.timer = this.timers.setTimeout(this.look, this.afterMs)
  }
}
