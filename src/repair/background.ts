/** What the background work of a coordinator has in common. */
import type { Cluster } from '../cluster/cluster.ts'
import type { TimerHandle, Timers } from '../core/clock.ts'
import { sentenceOf } from '../core/sentence.ts'
import { NodeCallFailed } from '../nodes/failures.ts'
import type { RepairContext } from './context.ts'
import { RepairStopped } from './round/copy.ts'

/** Checks again and again, each time a pause after the last check has ended. */
export class Periodic {
  private readonly timers: Timers
  private readonly pauseMs: () => number
  private readonly check: () => Promise<void>
  private timer: TimerHandle | null = null
  private running: Promise<void> | null = null
  private stopped = false

  /** @param check never rejects */
  constructor(timers: Timers, pauseMs: () => number, check: () => Promise<void>) {
    this.timers = timers
    this.pauseMs = pauseMs
    this.check = check
  }

  start(): void {
    if (this.stopped) return
    this.timer = this.timers.setTimeout(() => {
      this.running = this.check().finally(() => {
        this.running = null
        this.start()
      })
    }, this.pauseMs())
  }

  /** Resolves when the running check has ended. */
  async stop(): Promise<void> {
    this.stopped = true
    if (this.timer) this.timers.clearTimeout(this.timer)
    await this.running
  }
}

/** Takes or renews a lease on the first reachable member. If coordinators see different ones, both may get it: harmless. */
export async function leaseOnFirst(
  cluster: Cluster,
  name: string,
  owner: string,
  forMs: number,
): Promise<boolean> {
  for (const { node } of cluster.members) {
    if (!node.ready) continue
    try {
      return await node.lease(name, owner, forMs)
    } catch {
      continue // about to be marked down: try the next one
    }
  }
  return false
}

/** Tells of what went wrong, unless a node failed: that shows in its health. Anything else is a bug. */
export function reportFailure({ emit }: RepairContext, what: string, error: unknown): void {
  if (error instanceof RepairStopped || error instanceof NodeCallFailed) return
  emit({ kind: 'background-failed', what, why: sentenceOf(error) })
}
