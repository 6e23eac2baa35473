/**
 * When this process stood still, because the machine had other things to do or a turn of the event loop took long. The
 * coordinators and their clients live in it, so what it slept through counts for nobody.
 */
const LOOK_EVERY_MS = 5
/** A late timer is no stall yet. */
const STALL_MS = 20

export class Stalls {
  private readonly found: { readonly fromMs: number; readonly toMs: number }[] = []
  private lastMs = performance.now()
  private readonly timer = setInterval(() => this.look(), LOOK_EVERY_MS)

  stop(): void {
    this.look()
    clearInterval(this.timer)
  }

  /** How much of this time the process stood still. */
  betweenMs(fromMs: number, toMs: number): number {
    this.look()
    return this.found.reduce(
      (sum, stall) => sum + Math.max(0, Math.min(toMs, stall.toMs) - Math.max(fromMs, stall.fromMs)),
      0,
    )
  }

  get longestMs(): number {
    return this.found.reduce((longest, { fromMs, toMs }) => Math.max(longest, toMs - fromMs), 0)
  }

  private look(): void {
    const nowMs = performance.now()
    if (nowMs - this.lastMs > STALL_MS) this.found.push({ fromMs: this.lastMs, toMs: nowMs })
    this.lastMs = nowMs
  }
}
