/**
 * While a change of members is in the phase `both`, every write also needs a majority of the next layout: members that join
 * and are away then cost what the present members alone could acknowledge. A change that does so for long enough is undone.
 */
import { lossWithout, type Layout, type Topology, type TopologyMember } from '../core/topology.ts'
import type { RepairContext } from './context.ts'

/** A node that restarts is back before. */
const PATIENCE_MS = 10_000

export class Hindrance {
  private readonly context: RepairContext
  private found: { readonly epoch: number; readonly sinceMs: number } | null = null
  /** Of these members that are away in this epoch: walking the ring for it takes long where members are many. */
  private known: { readonly away: string; readonly hindering: readonly string[] } | null = null

  constructor(context: RepairContext) {
    this.context = context
  }

  /** Why the change is to be undone; null = it is not. */
  whyUndo(topology: Topology): string | null {
    const hindering = this.hindering(topology)
    const nowMs = this.context.clock.monotonicMs()
    if (hindering.length === 0) {
      this.found = null
      return null
    }
    if (this.found?.epoch !== topology.epoch) this.found = { epoch: topology.epoch, sinceMs: nowMs }
    if (nowMs - this.found.sinceMs < PATIENCE_MS) return null
    return `${hindering.join(', ')} took no writes for ${PATIENCE_MS / 1000} s, and writes of some keys could not be acknowledged because of that.`
  }

  /** Ids of those that join and take no writes, if keys have no majority only because of them. */
  private hindering(topology: Topology): readonly string[] {
    const { layout, next, phase, epoch } = topology
    // What was given up cannot be taken back.
    if (phase !== 'both' || !next || layout.lost) return []
    const { members } = this.context.cluster
    const isAway = ({ id }: TopologyMember) => !members.some((one) => one.id === id && one.takesValues)
    const away = next.members.filter(isAway)
    const joining = away.filter(
      (one) => !layout.members.some(({ id, life }) => id === one.id && life === one.life),
    )
    if (joining.length === 0) return []
    const ids = away.map(({ id }) => id)
    const name = `${epoch} ${ids.join(' ')}`
    if (this.known?.away !== name) {
      const isLost = (held: Layout) => lossWithout({ ...topology, layout: held }, ids).ranges > 0
      const hinder = isLost(next) && !isLost(layout)
      this.known = { away: name, hindering: hinder ? joining.map(({ id }) => id) : [] }
    }
    return this.known.hindering
  }
}
