/**
 * A node and all that this coordinator knows about it. What requests need (readRank, takesValues, takesDeletes) is
 * computed when something changes, not per request. Every change of state is emitted once, where it happens.
 */
import type { Completeness, Emit } from '../core/events.ts'
import { READ_COMPARED, READ_FIRST, READ_LATER, READ_NEVER, type Candidate } from '../core/plan.ts'
import type { Located, Node, NodeReport, UnwritableReason } from '../nodes/node.ts'
import { Health } from './health.ts'
import type { Marker } from './marker.ts'

export interface MemberOptions {
  readonly emit: Emit
  readonly weight?: number | undefined
  readonly zone?: string | undefined
  /** redis://host:port without credentials; null = it has none. */
  readonly url?: string | null | undefined
  /** Where its primary is, if Sentinels decide that. */
  readonly sentinel?: Located | null
  /** For a node that refuses them: where its user and password come from. */
  readonly credentials?: string
}

export class Member implements Candidate {
  readonly id: string
  readonly node: Node
  readonly weight: number
  readonly zone: string | undefined
  readonly url: string | null
  readonly sentinel: Located | null
  readonly credentials: string | null
  readonly health = new Health()

  completeness: Completeness = 'unknown'
  /** This coordinator has seen it clean. */
  wasClean = false
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
  /**
   * Keys on it that Rondo did not write and that reads at `one` look for on another node, as of the last round of
   * anti-entropy; null = unknown.
   */
  misplacedKeys: number | null = null
  unwritable: UnwritableReason | null = null
  /** A sentence that names the commands that Rondo needs and may not run there. */
  forbidden: string | null = null
  report: NodeReport | null = null
  lastError: string | null = null

  readRank: number = READ_NEVER
  takesValues = false
  takesDeletes = false

  private readonly emit: Emit

  constructor(
    node: Node,
    { emit, weight = 1, zone, url = null, sentinel = null, credentials }: MemberOptions,
  ) {
    this.id = node.id
    this.node = node
    this.weight = weight
    this.zone = zone
    this.url = url
    this.sentinel = sentinel
    this.credentials = credentials ?? null
    this.emit = emit
  }

  // ---- health

  onProbeSucceeded(): void {
    const from = this.health.state
    this.health.onSuccess()
    if (!this.unwritable) this.lastError = null
    this.emitStateChange(from, 'it answers')
  }

  /** A probe or the data path failed. @param certain the connection was refused: down at once */
  onFailed(why: string, certain: boolean): void {
    const from = this.health.state
    this.health.onFailure(certain)
    this.lastError = why
    if (this.health.state === 'down') {
      this.node.shut(`the node is down: ${why}`)
      if (from !== 'down') this.markBehind('it was unreachable and may have missed writes')
    }
    this.emitStateChange(from, why)
  }

  private emitStateChange(from: Health['state'], why: string): void {
    this.refresh()
    const to = this.health.state
    if (from !== to) this.emit({ kind: 'node-state', node: this.id, from, to, why })
  }

  // ---- what it holds

  setCompleteness(to: Completeness, why: string): void {
    const from = this.completeness
    this.completeness = to
    if (to === 'clean') this.wasClean = true
    this.refresh()
    if (from !== to) this.emit({ kind: 'node-completeness', node: this.id, from, to, why })
  }

  /** The marker that the node has now. */
  setMarker(marker: Marker): void {
    if (this.marker && this.marker.token !== marker.token) this.formerTokens.add(this.marker.token)
    this.marker = marker
  }

  /** It missed a write, or may have: from now on reads compare its answers. */
  markBehind(why: string): void {
    this.misses++
    if (this.behind) return
    this.behind = true
    this.refresh()
    this.emit({ kind: 'node-behind', node: this.id, why })
  }

  /** All that it had missed was sent to it; false if it has missed something since. */
  caughtUp(missesThen: number): boolean {
    if (this.misses !== missesThen) return false
    this.missedUnnoted = false
    if (!this.behind) return true
    this.behind = false
    this.refresh()
    this.emit({ kind: 'node-caught-up', node: this.id })
    return true
  }

  /** Its node holds another marker than this coordinator expects, or is of another cluster. */
  shut(why: string): void {
    this.node.shut(why)
    this.refresh()
  }

  /** Its node is not ours: nothing that has an effect is sent to it. */
  refuse(why: string): void {
    this.node.shut(why)
    this.lastError = `refused: ${why}`
    this.setCompleteness('refused', why)
  }

  /** The coordinator leaves the cluster that it belongs to. */
  forgetMarker(why: string): void {
    this.marker = null
    this.completeness = 'unknown'
    this.shut(why)
  }

  /** It has evicted keys: what it lacks, it may have held. */
  get evicts(): boolean {
    return (this.report?.evictedKeys ?? 0) > 0
  }

  // ---- writes

  /** @returns false if that was known */
  setUnwritable(reason: UnwritableReason, why: string): boolean {
    if (this.unwritable === reason) return false
    if (this.unwritable === null) this.emitWritable(false, why)
    this.unwritable = reason
    this.refresh()
    return true
  }

  /** It lacks permissions: it stays readable but gets no writes, because some would fail. Null = it has them. */
  setForbidden(sentence: string | null): void {
    const before = this.forbidden
    this.forbidden = sentence
    if (sentence === null) return
    this.lastError = sentence
    this.unwritable = 'no-permission'
    this.refresh()
    if (sentence !== before) this.emitWritable(false, sentence)
  }

  setWritable(): void {
    this.unwritable = null
    this.emitWritable(true, 'it accepted a test write')
  }

  private emitWritable(writable: boolean, why: string): void {
    this.emit({ kind: 'node-writable', node: this.id, writable, why })
  }

  // ---- for plans

  private refresh(): void {
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
