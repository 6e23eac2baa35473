/**
 * Rate limiter for background work, in keys per second; also yields to requests.
 *
 *   spend(256) … work … spend(256)      at 50,000 keys/s the second call resolves 5.12 ms after the first, or later
 *
 * Unused budget is lost: there is no burst after a slow node. Without a limit it still waits for the end of the turn, so
 * that work on nodes that answer at once does not block the event loop.
 */
import type { MonotonicClock, TimerHandle, Timers } from '../../core/clock.ts'

/** A batch is at most this share of a second's keys, so that no wait is long. */
const PIECES_A_SECOND = 10

export class Pace {
  /** 0 = no limit. */
  keysPerSecond: number
  private readonly clock: MonotonicClock
  private readonly timers: Timers
  private freeAtMs = 0
  private readonly sleeping = new Map<TimerHandle, () => void>()
  private stopped = false

  /** @param keysPerSecond 0 = no limit */
  constructor(keysPerSecond: number, clock: MonotonicClock, timers: Timers) {
    this.keysPerSecond = keysPerSecond
    this.clock = clock
    this.timers = timers
  }

  /** The number of keys for the next batch, at most `most`. */
  piece(most: number): number {
    if (this.keysPerSecond === 0) return most
    return Math.max(1, Math.min(most, Math.floor(this.keysPerSecond / PIECES_A_SECOND)))
  }

  /** Resolves when work on so many keys may start. */
  async spend(keys: number): Promise<void> {
    if (this.stopped) return
    const nowMs = this.clock.monotonicMs()
    const fromMs = Math.max(nowMs, this.freeAtMs)
    if (this.keysPerSecond > 0) this.freeAtMs = fromMs + (keys * 1000) / this.keysPerSecond
    if (fromMs > nowMs) await this.sleep(fromMs - nowMs)
    else await new Promise<void>((resolve) => this.timers.endOfTurn(resolve))
  }

  /** Ends all waits, now and later. */
  stop(): void {
    this.stopped = true
    for (const [timer, wake] of this.sleeping) {
      this.timers.clearTimeout(timer)
      wake()
    }
    this.sleeping.clear()
  }

  private sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = this.timers.setTimeout(() => {
        this.sleeping.delete(timer)
        resolve()
      }, ms)
      this.sleeping.set(timer, resolve)
    })
  }
}
