/**
 * Cluster time: the median of the nodes' clocks, advanced by our monotonic clock.
 *
 * Each probe reads a node's TIME. The reading is off by at most half of the round trip:
 *
 *     offset(node) = node's time − monotonic time at the middle of the round trip      ± round trip / 2
 *
 * Cluster time = monotonic time + the median offset. One wrong clock of three has no effect, and neither has ours: a
 * coordinator's wall clock is used only until the first node has answered.
 */
import type { Clock } from '../core/clock.ts'

/** A clock that is off by more than this is reported. */
export const CLOCK_SKEW_MS = 1000
/** By then every coordinator has read the clocks again. */
const NOTICED_INTERVALS = 2.5

interface Sample {
  readonly offsetMs: number
  readonly errorMs: number
}

export class ClusterTime {
  private readonly clock: Clock
  private readonly noticedMs: number
  private readonly samples = new Map<string, Sample>()
  private offsetMs: number
  private latest = -Infinity

  constructor(clock: Clock, pingIntervalMs: number) {
    this.clock = clock
    this.noticedMs = NOTICED_INTERVALS * pingIntervalMs
    this.offsetMs = clock.wallMs() - clock.monotonicMs()
  }

  /** Milliseconds since 1970. */
  nowMs(): number {
    return this.clock.monotonicMs() + this.offsetMs
  }

  /**
   * No coordinator's time is later than this. It is ahead of our own only after clocks were set back, until everybody has
   * noticed it, and the versions that were made meanwhile are not ahead any more.
   */
  get latestMs(): number {
    return Math.max(this.nowMs(), this.latest)
  }

  /** @param nodeMs the node's clock, read between `sentAtMs` and `receivedAtMs` of the monotonic clock */
  sample(node: string, nodeMs: number, sentAtMs: number, receivedAtMs: number): void {
    // NaN would break the sort behind the median.
    if (!Number.isFinite(nodeMs)) return
    const isKnown = this.samples.has(node)
    this.samples.set(node, {
      offsetMs: nodeMs - (sentAtMs + receivedAtMs) / 2,
      errorMs: (receivedAtMs - sentAtMs) / 2,
    })
    const beforeMs = this.nowMs()
    this.settle()
    if (isKnown && beforeMs - this.nowMs() > CLOCK_SKEW_MS)
      this.latest = Math.max(this.latest, beforeMs + this.noticedMs)
  }

  /** Removes the node's clock from the median. */
  forget(node: string): void {
    if (this.samples.delete(node) && this.samples.size > 0) this.settle()
  }

  private settle(): void {
    this.offsetMs = median([...this.samples.values()].map((sample) => sample.offsetMs))
  }

  /** A node's clock skew against cluster time, and the error of that measurement; null = not measured. */
  distance(node: string): { offMs: number; errorMs: number } | null {
    const sample = this.samples.get(node)
    return sample ? { offMs: sample.offsetMs - this.offsetMs, errorMs: sample.errorMs } : null
  }
}

/** The lower middle of an even number: a mean would let one wrong clock of two shift it. */
function median(values: readonly number[]): number {
  const sorted = Float64Array.from(values).sort()
  return sorted[Math.floor((sorted.length - 1) / 2)]!
}
