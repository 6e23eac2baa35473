/**
 * A node and all that this coordinator knows about it. What requests need (readRank, takesValues, takesDeletes) is
 * computed when something changes, not per request.
 */
import type { Completeness } from '../core/events.ts'
import { READ_COMPARED, READ_FIRST, READ_LATER, READ_NEVER, type Candidate } from '../core/plan.ts'
import type { Node, NodeReport, UnwritableReason } from '../nodes/node.ts'
import { Health } from './health.ts'
import type { Marker } from './marker.ts'

export class Member implements Candidate {
  readonly id: string
  readonly node: Node
  readonly weight: number
  readonly zone: string | undefined
  readonly health = new Health()

  completeness: Completeness = 'unknown'
  marker: Marker | null = null
  /** Marker tokens that were replaced: a node that returns with one of them missed the writes in between. */
  readonly formerTokens = new Set<string>()
  /** Missed a write that this coordinator knows of, or was unreachable: some of its copies may be old. */
  behind = false
  /** Number of misses, so that a repair notices a miss that happens while it runs. */
  misses = 0
  /** A write was missed, and no node could store a hint for it. */
  missedUnnoted = false
  /** Progress of its fill by this coordinator. */
  filling: { checked: number; sent: number } | null = null
  unwritable: UnwritableReason | null = null
  /** A sentence that names the commands that Rondo needs and may not run there. */
  forbidden: string | null = null
  report: NodeReport | null = null
  lastError: string | null = null

  readRank: number = READ_NEVER
  takesValues = false
  takesDeletes = false

  constructor(node: Node, place: { weight?: number; zone?: string } = {}) {
    this.id = node.id
    this.node = node
    this.weight = place.weight ?? 1
    this.zone = place.zone
  }

  /** Call after any change of the fields above. */
  refresh(): void {
    const reachable = this.node.ready && this.health.state !== 'down'
    this.readRank = this.rank(reachable)
    this.takesValues = reachable && this.unwritable === null
    this.takesDeletes = reachable && (this.unwritable === null || this.unwritable === 'out-of-memory')
  }

  private rank(reachable: boolean): number {
    if (!reachable || this.unwritable === 'loading' || this.unwritable === 'busy') return READ_NEVER
    if (this.completeness !== 'clean' || this.behind) return READ_COMPARED
    return this.health.state === 'up' ? READ_FIRST : READ_LATER
  }
}
