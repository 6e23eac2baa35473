/**
 * A node and all that this coordinator knows of it. What a request needs (readRank, takesValues, takesDeletes) is worked
 * out when something changes, not when a request comes.
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
  /** Tokens that it had, and had no longer: whoever comes back with one has missed what was written in between. */
  readonly formerTokens = new Set<string>()
  /** Missed a write that this coordinator knows of, or was away: its copy of some key may be old. */
  behind = false
  /** Counts the misses, so that whoever repairs them notices when another comes in between. */
  misses = 0
  /** A miss of which no hint tells, because nobody could keep one. */
  missedUnnoted = false
  /** How far its filling by this coordinator has come. */
  filling: { checked: number; sent: number } | null = null
  unwritable: UnwritableReason | null = null
  /** What Rondo needs of it and may not do, in a sentence. */
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
