/**
 * The background worker of a coordinator: checks its members periodically, and repairs the one that needs it most.
 *
 *   stale                                    → drop its data, or keep it (stale.ts)
 *   filling                                  → fill (fill.ts)
 *   clean, but may have missed writes:
 *     hints are stored for it                → deliver them (hints.ts)
 *     a miss without a hint                  → merge all that the others hold (merge.ts)
 *   then reads ask it first again
 *   hints are stored for one that has left   → bring what it missed to those that hold the keys now (hints.ts)
 *
 * One repair at a time, with a pause between two attempts; every step can be interrupted at any point and repeated, here
 * or by another coordinator.
 */
import type { Member } from '../cluster/member.ts'
import { Periodic, reportFailure } from './background.ts'
import type { RepairContext } from './context.ts'
import { Filling, lacksKeys } from './fill.ts'
import { deliverHints } from './hints.ts'
import { DEPARTED } from './progress.ts'
import { NO_PROGRESS } from './round/merge-work.ts'
import { merge } from './round/merge.ts'
import { sourcesFor } from './round/sources.ts'
import { settleStale } from './stale.ts'

const PAUSE_MS = 250

export class Repairer {
  private readonly context: RepairContext
  private readonly filling: Filling
  private readonly periodic: Periodic
  private stopped = false
  private knowsDeparted = false

  constructor(context: RepairContext) {
    this.context = context
    this.filling = new Filling(context)
    this.periodic = new Periodic(
      context.timers,
      () => PAUSE_MS,
      () => this.check(),
    )
  }

  start(): void {
    this.periodic.start()
  }

  /** Resolves when the running repair has ended. */
  stop(): Promise<void> {
    this.stopped = true
    return this.periodic.stop()
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
        reportFailure(this.context, `repair of ${member.id}`, error)
      }
    }
    await this.learnDeparted()
    await this.settleDeparted()
  }

  /** Those that left before this coordinator started, as soon as a member can tell. */
  private async learnDeparted(): Promise<void> {
    const { cluster } = this.context
    if (this.knowsDeparted || !cluster.ready) return
    const departed = (await DEPARTED.read(cluster)) ?? []
    for (const id of departed)
      if (!cluster.members.some((member) => member.id === id)) cluster.departed.add(id)
    this.knowsDeparted = true
  }

  /** What nodes that have left had missed goes to the members that hold the keys now. */
  private async settleDeparted(): Promise<void> {
    const { cluster } = this.context
    for (const id of cluster.departed) {
      if (this.stopped || !cluster.members.some(({ report }) => report?.hints.has(id))) continue
      const failed = (error: unknown) => reportFailure(this.context, `repair of what ${id} had missed`, error)
      await deliverHints(this.context, id).catch(failed)
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
    const delivered = await deliverHints(this.context, member.id)
    if (member.missedUnnoted) {
      const sources = sourcesFor(cluster.placement, member, 'all')
      if (!sources) return
      await merge(this.context, [{ member, sources, progress: { ...NO_PROGRESS } }])
    }
    if (member.caughtUp(missesThen) && delivered > 0) {
      this.context.emit({ kind: 'hints-delivered', node: member.id, hints: delivered })
    }
  }
}
