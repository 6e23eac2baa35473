/**
 * Timeout for incomplete input: a command, or an HTTP request.
 *
 * It measures progress, not the total time. A client has ten seconds, and every byte that it sends adds ten milliseconds,
 * up to a minute: a client that sends at least a hundred bytes a second never times out, and one that has sent some
 * kilobytes may pause in the middle of a command, as a producer behind a buffered pipe does. A trickle of single bytes
 * times out after ten seconds. A complete request restores the ten seconds.
 *
 * There is no cost per request: a check about once a second compares the bytes received since the last one.
 */
export interface InputTimeoutLimits {
  /** Initial time, restored after each complete request. */
  readonly firstMs: number
  readonly mostMs: number
  readonly bytesPerSecond: number
}

export const INPUT_TIMEOUT: InputTimeoutLimits = { firstMs: 10_000, mostMs: 60_000, bytesPerSecond: 100 }

export class InputTimeout {
  private leftMs: number
  private readonly limits: InputTimeoutLimits
  private atMs: number
  private bytes: number
  private whole = 0

  /** @param bytes received until now */
  constructor(nowMs: number, limits: InputTimeoutLimits = INPUT_TIMEOUT, bytes = 0) {
    this.bytes = bytes
    this.limits = limits
    this.leftMs = limits.firstMs
    this.atMs = nowMs
  }

  /**
   * @param isInside the input is incomplete, and the client has to send the rest
   * @param bytes received so far
   * @param whole complete requests received so far
   * @returns true when the client has used up its time
   */
  isSpent(nowMs: number, isInside: boolean, bytes: number, whole: number): boolean {
    const { firstMs, mostMs, bytesPerSecond } = this.limits
    const earnedMs = ((bytes - this.bytes) * 1000) / bytesPerSecond
    this.leftMs = Math.min(Math.max(mostMs, firstMs), this.leftMs + earnedMs)
    if (isInside && whole === this.whole) this.leftMs -= nowMs - this.atMs
    else this.leftMs = Math.max(this.leftMs, firstMs)
    this.atMs = nowMs
    this.bytes = bytes
    this.whole = whole
    return this.leftMs <= 0
  }
}
