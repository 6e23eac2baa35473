/**
 * The bytes that a node is busy with for this coordinator: values on their way to it, and replies that are expected from
 * it. Large and small ones are counted apart, so that small calls can pass when no more large ones are sent.
 *
 * Kept by the node, so that every call counts, whoever makes it: reads, writes, their copies, retries, hedged reads and
 * repairs. Read by whoever decides whether more may be sent (coordinator/admission/admission.ts).
 */

/** A batch that takes longer tells that less should be under way; one that takes less, that there may be more. */
const SLOW_MS = 100
const QUICK_MS = 50
const SLOWEST_PACE = 1 / 32

/** Values above this are large. */
export const SMALL_BYTES = 16 * 1024

export class NodeLoad {
  largeBytes = 0
  smallBytes = 0
  /** Operations that wait until there is room for a large or a small value; kept by whoever makes them wait. */
  largeWaiting = 0
  smallWaiting = 0
  /** Which part of a window is used, at most 1: less where the node is slow, so that nothing waits there until its deadline. */
  pace = 1
  /** Called after the load has become less, while operations wait. */
  onLess: (() => void) | null = null

  /** A batch was answered after so long. */
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
