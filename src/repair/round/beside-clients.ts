/**
 * While clients are served, a merge works on one page at a time, whichever source it is of, and rests after each for as long
 * as the work on it took: half of the time is theirs (docs/decisions/0066). Otherwise it does not hold back.
 */
import type { RepairContext } from '../context.ts'

const MAX_REST_MS = 250

export class BesideClients {
  private readonly context: Pick<RepairContext, 'clock' | 'timers' | 'isServing'>
  /** Resolves when the work on the last page, and the rest after it, have ended. */
  private last: Promise<void> = Promise.resolve()

  constructor(context: Pick<RepairContext, 'clock' | 'timers' | 'isServing'>) {
    this.context = context
  }

  /** Rejects as the work does. */
  async run(work: () => Promise<void>): Promise<void> {
    const { clock, isServing } = this.context
    if (!isServing()) return work()
    const before = this.last
    let ended: () => void = () => undefined
    this.last = new Promise((resolve) => (ended = resolve))
    try {
      await before
      const fromMs = clock.monotonicMs()
      await work()
      if (isServing()) await this.rest(Math.min(MAX_REST_MS, clock.monotonicMs() - fromMs))
    } finally {
      ended()
    }
  }

  private rest(ms: number): Promise<void> {
    return new Promise((resolve) => this.context.timers.setTimeout(resolve, ms))
  }
}
