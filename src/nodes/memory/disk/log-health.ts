import type { NodeFailure } from '../../node.ts'

/** What is wrong with a log, if anything: recovery.ts decides that, and whoever writes keeps to it. */
export class LogHealth {
  /** Why the node takes no writes; null = it does. */
  failure: NodeFailure | null = null
  /** Number of failures. */
  failures = 0
  /** The log may lack what it should have: only a new one can be used, after a new snapshot. */
  isBroken = false
  /** The log is sound, and what is before it is not: it counts when its snapshot is there. */
  lacksSnapshot = false
  /** A way back is tried: what waits is written in spite of the failure. */
  isRecovering = false

  /** Only a whole snapshot leads out of the failure. */
  get needsSnapshot(): boolean {
    return this.isBroken || this.lacksSnapshot
  }
}
