/**
 * The bytes that a node is busy with for this coordinator: values being sent to it, and expected replies. Large and
 * small ones are counted separately, so that small calls can pass while large ones wait.
 *
 * Maintained by the node, so that every call counts: reads, writes, copies, retries, hedged reads and repairs. Admission
 * control reads it (coordinator/admission/admission.ts).
 */

/** A batch that takes longer shrinks the windows; one that takes less grows them. */
const SLOW_MS = 100
const QUICK_MS = 50
const SLOWEST_PACE = 1 / 32

/** Values above this are large. */
export const SMALL_BYTES = 16 * 1024

export class NodeLoad {
  largeBytes = 0
  smallBytes = 0
  /** Operations that wait for room for a large or a small value; maintained by Admission. */
  largeWaiting = 0
  smallWaiting = 0
  /** The usable share of a window, at most 1: less for a slow node, so that no call waits there until its deadline. */
  pace = 1
  /** Called when the load has fallen while operations wait. */
  onLess: (() => void) | null = null

  /** A batch was answered after this time. */
  answeredAfter(ms: number): void {
    if (ms > SLOW_MS) this.pace = Math.max(SLOWEST_PACE, this.pace / 2)
    else if (this.pace < 1 && ms < QUICK_MS) this.pace = Math.min(1, this.pace * 1.1)
  }

  less(largeBytes: number, smallBytes: number): void {
    this.largeBytes -= largeBytes
    this.smallBytes -= smallBytes
    if (this.largeWaiting + this.smallWaiting > 0) this.onLess?.()
  }
}
