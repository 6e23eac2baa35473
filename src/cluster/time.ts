/**
 * Cluster time: the median of the nodes' clocks, carried on by our monotonic clock.
 *
 * Each probe reads a node's TIME. Half of the round trip is the most by which that reading can be wrong, so
 *
 *     offset(node) = node's time − monotonic time at the middle of the round trip      ± round trip / 2
 *
 * and cluster time = monotonic time + the median offset. One wrong clock of three changes nothing, nor does ours: a
 * coordinator's wall clock counts only until the first node has answered.
 */
import type { Clock } from '../core/clock.ts'

/** A clock this far from the median is reported. */
export const CLOCK_SKEW_MS = 1000

interface Sample {
  readonly offsetMs: number
  readonly errorMs: number
}

export class ClusterTime {
  private readonly clock: Clock
  private readonly samples = new Map<string, Sample>()
  private offsetMs: number

  constructor(clock: Clock) {
    this.clock = clock
    this.offsetMs = clock.wallMs() - clock.monotonicMs()
  }

  /** Milliseconds since 1970. */
  nowMs(): number {
    return this.clock.monotonicMs() + this.offsetMs
  }

  /** @param nodeMs the node's clock, read between `sentAtMs` and `receivedAtMs` of the monotonic clock */
  sample(node: string, nodeMs: number, sentAtMs: number, receivedAtMs: number): void {
    // What is no time has no place in a median: it would come before or behind every other, as the sort likes.
    if (!Number.isFinite(nodeMs)) return
    this.samples.set(node, {
      offsetMs: nodeMs - (sentAtMs + receivedAtMs) / 2,
      errorMs: (receivedAtMs - sentAtMs) / 2,
    })
    this.settle()
  }

  /** Its clock counts no longer. */
  forget(node: string): void {
    if (this.samples.delete(node) && this.samples.size > 0) this.settle()
  }

  private settle(): void {
    this.offsetMs = median([...this.samples.values()].map((sample) => sample.offsetMs))
  }

  /** How far a node's clock is from cluster time, and by how much that measurement may be wrong; null = not measured. */
  distance(node: string): { offMs: number; errorMs: number } | null {
    const sample = this.samples.get(node)
    return sample ? { offMs: sample.offsetMs - this.offsetMs, errorMs: sample.errorMs } : null
  }

  /** How far our own wall clock is from cluster time. */
  ownDistanceMs(): number {
    return this.clock.wallMs() - this.nowMs()
  }
}

/** Of an even number the lower middle: a mean would let one wrong clock of two pull. */
function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.floor((sorted.length - 1) / 2)]!
}
