/**
 * Drives a change of members to its end (core/topology.ts), one coordinator at a time:
 *
 *   both       each member that gains keys is brought them by the repairer (fill.ts), which notes it in its marker;
 *              once all have them, the next layout votes: advance
 *   switched   once more what the former home replicas hold, so that what only they took is not lost; then advance
 *   stable     nothing: copies on former home replicas are moved home and dropped by the next round of anti-entropy
 *
 * A lease keeps coordinators from doing the same work. Nothing breaks if two do, or if one stops anywhere: every step can
 * be repeated, and the register decides each epoch once.
 */
import { advance, type Topology } from '../core/topology.ts'
import { leaseOnFirst, Periodic, reportFailure } from './background.ts'
import { LEASE_MS, type RepairContext } from './context.ts'
import { RepairStopped } from './round/copy.ts'
import { merge, sourcesFor, type MergeProgress } from './round/merge.ts'

export interface RebalanceState {
  readonly state: 'idle' | 'running'
  readonly phase: Topology['phase'] | null
  readonly epoch: number
  /** Ids of members that have not received all that they gain. */
  readonly receiving: readonly string[]
  /** Keys checked and records sent, by this coordinator, in this change. */
  readonly checked: number
  readonly sent: number
}

const PAUSE_MS = 250
const LEASE = 'rebalance'

export class Rebalance {
  private readonly context: RepairContext
  private readonly periodic: Periodic
  private readonly progress: MergeProgress = { checked: 0, sent: 0 }
  /** The epoch whose former home replicas were read to the end. */
  private verifiedEpoch = 0

  constructor(context: RepairContext) {
    this.context = context
    const failed = (error: unknown) => reportFailure(context, 'rebalancing', error)
    this.periodic = new Periodic(
      context.timers,
      () => PAUSE_MS,
      () => this.check().catch(failed),
    )
  }

  start(): void {
    this.periodic.start()
  }

  /** Resolves when the running step has ended; another coordinator goes on. */
  stop(): Promise<void> {
    return this.periodic.stop()
  }

  get state(): RebalanceState {
    const { membership } = this.context.cluster
    const { topology, epoch } = membership
    const phase = topology?.phase ?? null
    const state = phase === null || phase === 'stable' ? 'idle' : 'running'
    const receiving = state === 'running' ? this.receiving(topology!) : []
    return { ...{ state, phase, epoch, receiving }, ...this.progress }
  }

  private async check(): Promise<void> {
    const { cluster } = this.context
    const { topology } = cluster.membership
    if (!topology || topology.phase === 'stable') return
    const { membership } = cluster
    if (topology.phase === 'both' && this.receiving(topology).length > 0) return
    if (!(await this.keepLease())) return
    if (topology.phase === 'switched' && !(await this.readFormer(topology))) return
    await membership.change((from) => {
      // Another coordinator may have been faster, or a member has lost what it had received.
      if (from.epoch !== topology.epoch) return from
      return from.phase === 'both' && this.receiving(from).length > 0 ? from : advance(from)
    })
  }

  /** Ids of the members that have not received all that they gain, as far as is known: not yet in use, too. */
  private receiving({ gained }: Topology): readonly string[] {
    const { members, membership } = this.context.cluster
    const received = members.filter((member) => membership.hasReceived(member)).map(({ id }) => id)
    return gained.filter((id) => !received.includes(id))
  }

  /** What the former home replicas hold, to those that have taken their place. False while one must be waited for. */
  private async readFormer({ epoch, gained }: Topology): Promise<boolean> {
    if (this.verifiedEpoch === epoch) return true
    const { cluster } = this.context
    if (cluster.placement.epoch !== epoch) return false
    for (const member of cluster.members.filter(({ id }) => gained.includes(id))) {
      const sources = sourcesFor(cluster.placement, member, 'gained')
      if (!sources) return false
      await merge(this.context, member, sources, this.progress, async () => {
        if (!(await this.keepLease())) throw new RepairStopped(member.node, 'another coordinator goes on')
      })
    }
    if (cluster.membership.epoch !== epoch) return false
    this.verifiedEpoch = epoch
    return true
  }

  private keepLease(): Promise<boolean> {
    const { cluster, owner } = this.context
    return leaseOnFirst(cluster, LEASE, owner, LEASE_MS)
  }
}
