/**
 * Listings of all keys (SCAN, KEYS, DBSIZE, HTTP listings) cost a hundred thousand times as much as a GET, and are as
 * short to request. So they share:
 *
 *   - Pages: a limit of pages that are listed at once, for all clients; others wait in FIFO order.
 *   - KeyCount: one run counts for all who asked before it began. A call during a run waits for the next one, so a
 *     client always sees its own writes. After a run, counting pauses for as long as the run took.
 */
import type { MonotonicClock, Timers } from '../../core/clock.ts'

/** The longest pause between two counts. */
const MAX_REST_MS = 5000
/** A run this short needs no pause. */
const SHORT_WALK_MS = 10

export class Pages {
  private readonly limit: number
  private underWay = 0
  private readonly waiting: (() => void)[] = []

  constructor(limit: number) {
    this.limit = limit
  }

  async run<T>(list: () => Promise<T>): Promise<T> {
    if (this.underWay < this.limit) this.underWay++
    else await new Promise<void>((begin) => this.waiting.push(begin))
    try {
      return await list()
    } finally {
      const next = this.waiting.shift()
      if (next) next()
      else this.underWay--
    }
  }
}

export class KeyCount {
  private readonly walk: () => Promise<number>
  private readonly clock: MonotonicClock
  private readonly timers: Timers
  private underWay: Promise<number> | null = null
  /** For all calls since the current run began. */
  private next: Promise<number> | null = null
  private restsUntilMs = 0

  /** @param walk counts all keys */
  constructor(walk: () => Promise<number>, { clock, timers }: { clock: MonotonicClock; timers: Timers }) {
    this.walk = walk
    this.clock = clock
    this.timers = timers
  }

  /** The number of keys, from a run that starts after this call. */
  get(): Promise<number> {
    if (this.next) return this.next
    if (!this.underWay && this.restMs <= 0) return this.begin()
    this.next = this.whenRested().then(() => {
      this.next = null
      return this.begin()
    })
    return this.next
  }

  private get restMs(): number {
    return this.restsUntilMs - this.clock.monotonicMs()
  }

  private async whenRested(): Promise<void> {
    await this.underWay?.catch(() => undefined) // its own callers get the error
    const { restMs } = this
    if (restMs > 0) await new Promise<void>((rested) => this.timers.setTimeout(rested, restMs))
  }

  private begin(): Promise<number> {
    const beganMs = this.clock.monotonicMs()
    this.underWay = this.walk().finally(() => {
      this.underWay = null
      const nowMs = this.clock.monotonicMs()
      const tookMs = nowMs - beganMs
      this.restsUntilMs = tookMs < SHORT_WALK_MS ? 0 : nowMs + Math.min(tookMs, MAX_REST_MS)
    })
    return this.underWay
  }
}
