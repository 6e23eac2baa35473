/**
 * Listings of all keys (SCAN, KEYS, DBSIZE, HTTP listings) cost a hundred thousand times as much as a GET, and are as
 * short to request. So they share:
 *
 *   - Pages: a limit of pages that are listed at once, for all clients; others wait in FIFO order.
 *   - KeyCount: one run counts for all who asked before it began. A call during a run waits for the next one, so a
 *     client always sees its own writes. After a run, counting pauses for as long as the run took. For clients that poll
 *     (DBSIZE, INFO) it also keeps the latest count, and renews it now and then.
 */
import type { MonotonicClock, Timers } from '../../core/clock.ts'

/** The longest pause between two counts. */
const MAX_REST_MS = 5000
/** A run this short needs no pause. */
const SHORT_WALK_MS = 10
/** A count is renewed when it is older than this, and than so many runs. */
const RECENT_MS = 60_000
const RECENT_RUNS = 20

/** By database; databases without keys are omitted. */
export type KeyCounts = ReadonlyMap<number, number>

export interface RoughCounts {
  readonly counts: KeyCounts
  readonly isExact: boolean
}

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

/** False: who asked does not wait for the answer any more. */
export type IsWanted = () => boolean

const ALWAYS: IsWanted = () => true

export class KeyCount<T> {
  private readonly walk: (isWanted: IsWanted) => Promise<T>
  private readonly clock: MonotonicClock
  private readonly timers: Timers
  private underWay: Promise<T> | null = null
  /** For all calls since the current run began. */
  private next: Promise<T> | null = null
  /** Of those calls. */
  private nextAskers: IsWanted[] = []
  private restsUntilMs = 0
  private latest: { readonly counts: T; readonly atMs: number; readonly tookMs: number } | null = null

  /** @param walk counts all keys, and fails when nobody wants to know any more */
  constructor(
    walk: (isWanted: IsWanted) => Promise<T>,
    { clock, timers }: { clock: MonotonicClock; timers: Timers },
  ) {
    this.walk = walk
    this.clock = clock
    this.timers = timers
  }

  /** The number of keys, from a run that starts after this call. A run ends early when none of its callers wants it. */
  get(isWanted = ALWAYS): Promise<T> {
    if (!this.next && !this.underWay && this.restMs <= 0) return this.begin([isWanted])
    this.nextAskers.push(isWanted)
    this.next ??= this.whenRested().then(() => {
      const askers = this.nextAskers
      this.next = null
      this.nextAskers = []
      return this.begin(askers)
    })
    return this.next
  }

  /**
   * The count of the latest run, which costs nothing; null before the first. Starts a new run if that one is older than
   * twenty times its length, and a minute.
   */
  recent(): T | null {
    const { latest } = this
    const ageMs = latest ? this.clock.monotonicMs() - latest.atMs : Infinity
    const isOld = ageMs > Math.max(RECENT_MS, RECENT_RUNS * (latest?.tookMs ?? 0))
    // If it fails, the next call starts another.
    if (isOld && !this.underWay && !this.next) this.begin([ALWAYS]).catch(() => undefined)
    return latest?.counts ?? null
  }

  get hasCounted(): boolean {
    return this.latest !== null
  }

  /** The latest count is known to have changed. */
  change(changed: (counts: T) => T): void {
    if (this.latest) this.latest = { ...this.latest, counts: changed(this.latest.counts) }
  }

  private get restMs(): number {
    return this.restsUntilMs - this.clock.monotonicMs()
  }

  private async whenRested(): Promise<void> {
    await this.underWay?.catch(() => undefined) // its own callers get the error
    const { restMs } = this
    if (restMs > 0) await new Promise<void>((rested) => this.timers.setTimeout(rested, restMs))
  }

  private begin(askers: readonly IsWanted[]): Promise<T> {
    const beganMs = this.clock.monotonicMs()
    const run = this.walk(() => askers.some((isWanted) => isWanted()))
    const keep = (counts: T) => {
      this.latest = { counts, atMs: beganMs, tookMs: this.clock.monotonicMs() - beganMs }
    }
    run.then(keep, () => undefined) // the callers get the error
    this.underWay = run.finally(() => {
      this.underWay = null
      const nowMs = this.clock.monotonicMs()
      const tookMs = nowMs - beganMs
      this.restsUntilMs = tookMs < SHORT_WALK_MS ? 0 : nowMs + Math.min(tookMs, MAX_REST_MS)
    })
    return this.underWay
  }
}
