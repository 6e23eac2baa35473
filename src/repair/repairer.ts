/**
 * The background worker of a coordinator: checks its members periodically, and repairs the one that needs it most.
 *
 *   stale                                    → drop its data, or keep it (stale.ts)
 *   filling                                  → fill (fill.ts)
 *   clean, but may have missed writes:
 *     hints are stored for it                → deliver them (hints.ts)
 *     a miss without a hint                  → merge all that the others hold (merge.ts)
 *   then reads ask it first again
 *
 * One repair at a time, with a pause between two attempts; every step can be interrupted at any point and repeated, here
 * or by another coordinator.
 */
import type { Member } from '../cluster/member.ts'
import type { TimerHandle } from '../core/clock.ts'
import type { RepairContext } from './context.ts'
import { NodeCallFailed } from '../nodes/failures.ts'
import { RepairStopped } from './round/copy.ts'
import { Filling, lacksKeys } from './fill.ts'
import { deliverHints } from './hints.ts'
import { merge, sourcesFor } from './round/merge.ts'
import { settleStale } from './stale.ts'
import { sentenceOf } from '../core/sentence.ts'

const PAUSE_MS = 250

export class Repairer {
  private readonly context: RepairContext
  private readonly filling: Filling
  private timer: TimerHandle | null = null
  private running: Promise<void> | null = null
  private stopped = false

  constructor(context: RepairContext) {
    this.context = context
    this.filling = new Filling(context)
  }

  start(): void {
    this.schedule()
  }

  /** Resolves when the running repair has ended. */
  async stop(): Promise<void> {
    this.stopped = true
    if (this.timer) this.context.timers.clearTimeout(this.timer)
    await this.running
  }

  private schedule(): void {
    if (this.stopped) return
    this.timer = this.context.timers.setTimeout(() => {
      this.running = this.check().finally(() => {
        this.running = null
        this.schedule()
      })
    }, PAUSE_MS)
  }

  /** Checks every member. Never throws: a failed repair is retried at the next check. */
  private async check(): Promise<void> {
    for (const member of this.context.cluster.members) {
      if (this.stopped || !member.node.ready || member.health.state === 'down' || !member.marker) continue
      try {
        if (member.completeness === 'stale') await settleStale(this.context, member)
        else if (lacksKeys(this.context, member)) await this.filling.tryFill(member)
        else if (member.behind && member.takesValues) await this.catchUp(member)
      } catch (error) {
        // Node failures show in its health. Anything else is a bug.
        if (!(error instanceof RepairStopped || error instanceof NodeCallFailed)) {
          this.context.emit({
            kind: 'background-failed',
            what: `repair of ${member.id}`,
            why: sentenceOf(error),
          })
        }
      }
    }
  }

  private async catchUp(member: Member): Promise<void> {
    const { cluster } = this.context
    // A node that is about to connect may hold a hint, or a copy. One that is down could not be compared either. Records
    // behind the hints of a stale one may have been deleted.
    const awaited = (other: Member) =>
      other.completeness === 'stale' || (!other.node.ready && other.health.state !== 'down')
    if (cluster.members.some((other) => other !== member && awaited(other))) return
    const missesThen = member.misses
    const delivered = await deliverHints(this.context, member)
    if (member.missedUnnoted) {
      const sources = sourcesFor(cluster.placement, member, 'all')
      if (!sources) return
      await merge(this.context, member, sources, { checked: 0, sent: 0 }, () => Promise.resolve())
    }
    if (member.caughtUp(missesThen) && delivered > 0) {
      this.context.emit({ kind: 'hints-delivered', node: member.id, hints: delivered })
    }
  }
}
