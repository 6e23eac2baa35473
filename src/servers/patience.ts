/**
 * How long a client may keep the rest of what it has begun: a command, or an HTTP request.
 *
 * Progress counts, not the whole. A client has ten seconds, and every byte that it sends earns it ten milliseconds more, up
 * to a minute: whoever sends a hundred bytes a second or more may go on for ever, and one that has sent some kilobytes may
 * pause in the middle of a command, as a producer behind a pipe with a buffer does. A drip of single bytes ends after
 * ten seconds. A request that is whole gives back the ten seconds.
 *
 * Nothing happens on the way of a request: the client is looked at about once a second, and what it has sent since is
 * compared.
 */
export interface PatienceLimits {
  /** What a client begins with, and has again after each whole request. */
  readonly firstMs: number
  readonly mostMs: number
  readonly bytesPerSecond: number
}

export const PATIENCE: PatienceLimits = { firstMs: 10_000, mostMs: 60_000, bytesPerSecond: 100 }

export class Patience {
  private leftMs: number
  private readonly limits: PatienceLimits
  private atMs: number
  private bytes: number
  private whole = 0

  /** @param bytes received until now */
  constructor(nowMs: number, limits: PatienceLimits = PATIENCE, bytes = 0) {
    this.bytes = bytes
    this.limits = limits
    this.leftMs = limits.firstMs
    this.atMs = nowMs
  }

  /**
   * @param isInside something has begun and is not whole, and it is the client who has to go on
   * @param bytes received so far
   * @param whole requests received so far
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
