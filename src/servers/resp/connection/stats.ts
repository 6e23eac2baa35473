/**
 * Latency histograms of the commands, counted without allocating: one row of buckets per command, for the time from reading
 * its bytes to writing its reply to the socket.
 */
import type { Slot } from './slot.ts'

/** Upper bounds in microseconds; slower ones are in the last bucket. */
export const BUCKETS_US = [
  100, 250, 500, 1000, 2500, 5000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
]
const COLUMNS = BUCKETS_US.length + 1

export interface CommandStats {
  readonly command: string
  readonly errors: number
  readonly seconds: number
  /** Not cumulative; in the order of BUCKETS_US, then the slower ones. */
  readonly buckets: readonly number[]
}

interface Counted {
  readonly name: string
  readonly index: number
}

export class Stats {
  private readonly commands: readonly Counted[]
  private readonly counts: Float64Array
  private readonly micros: Float64Array
  private readonly errors: Float64Array

  constructor(commands: readonly Counted[]) {
    this.commands = commands
    this.counts = new Float64Array(commands.length * COLUMNS)
    this.micros = new Float64Array(commands.length)
    this.errors = new Float64Array(commands.length)
  }

  ended(slot: Slot, nowUs: number): void {
    const { index } = slot
    const us = Math.max(0, (nowUs - slot.startedUs) | 0)
    let column = 0
    while (column < BUCKETS_US.length && us > BUCKETS_US[column]!) column++
    this.counts[index * COLUMNS + column]!++
    this.micros[index]! += us
    if (slot.isError) this.errors[index]!++
  }

  /** Commands that were sent at least once. */
  *rows(): Generator<CommandStats> {
    for (const { name, index } of this.commands) {
      const buckets = [...this.counts.subarray(index * COLUMNS, (index + 1) * COLUMNS)]
      if (!buckets.some((count) => count > 0)) continue
      yield { command: name, errors: this.errors[index]!, seconds: this.micros[index]! / 1e6, buckets }
    }
  }
}
