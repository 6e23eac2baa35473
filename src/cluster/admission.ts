/**
 * Admission of a node after a probe: decides by its marker whether it is ours, marks it if necessary, and opens its data
 * path under that marker.
 *
 *   marker of another cluster or node   → refused: no command that has an effect is sent to it
 *   permissions missing                 → readable, no writes
 *   marker kept or written              → the data path opens; clean only if the marker says so, and not stale
 */
import { StoredRecord } from '../core/codec.ts'
import type { Emit } from '../core/events.ts'
import type { Floors } from '../core/floors.ts'
import { isInternal } from '../core/keys.ts'
import type { Fence, NodeReport } from '../nodes/node.ts'
import { forbiddenSentence } from '../nodes/permissions.ts'
import type { Freshness } from './freshness.ts'
import { floorsAt, membersOf, type Topology } from '../core/topology.ts'
import { LEFT, type Identity } from './identity.ts'
import { decodeMarker, encodeMarker, epochOf, judgeMarker, type Marker } from './marker.ts'
import type { Member } from './member.ts'
import type { ClusterTime } from './time.ts'

export interface NodeAdmissionOptions {
  readonly identity: Identity
  readonly time: ClusterTime
  readonly freshness: Freshness
  /** What this coordinator uses, with its bytes for the nodes; null = the first epoch. */
  readonly topology: () => AdoptedTopology | null
  /** Returns a new random string of at least 64 bits. */
  readonly randomId: () => string
  readonly emit: Emit
  /** The node changed while it was admitted: it has to be probed again at once. */
  readonly probeAgain: (member: Member) => void
}

/** A topology that is decided: a marker names it, or it was decided by this coordinator. */
export interface AdoptedTopology {
  readonly topology: Topology
  readonly epoch: number
  readonly sum: string
  readonly bytes: Buffer
  readonly floors: Floors | null
}

/** More keys than Rondo itself may have on a node that is not marked. */
const MOST_INTERNAL_KEYS = 32
/** Looked at to tell whether keys on a node that is not marked are of Rondo: it may have lost its marker only. */
const SAMPLED_KEYS = 1000
const STALE_WHY = 'it was not compared with other nodes for longer than tombstones are kept'

export class NodeAdmission {
  private readonly options: NodeAdmissionOptions
  /** The process that was named as one with foreign keys: it may evict its marker again and again. */
  private readonly named = new WeakMap<Member, string>()

  constructor(options: NodeAdmissionOptions) {
    this.options = options
  }

  /** Checks which commands the node forbids, if it may be ours. */
  async checkPermissions(member: Member): Promise<void> {
    if (!this.mayBeOurs(member)) return
    const commands = await member.node.forbidden()
    member.setForbidden(commands.length > 0 ? forbiddenSentence(commands) : null)
  }

  /** Not marked, or marked as ours. */
  private mayBeOurs({ id, report }: Member): boolean {
    if (report!.marker === null) return true
    const marker = decodeMarker(report!.marker)
    return marker?.cluster === this.options.identity.cluster && marker?.id === id
  }

  /** Verifies that the node is ours and marked, then opens its data path. False while it must not be used. */
  async admit(member: Member): Promise<boolean> {
    const { identity } = this.options
    const { cluster } = identity
    const report = member.report!
    if (cluster === null || identity.waitsForFounder(member)) return false
    const topology = this.options.topology()
    const verdict = judgeMarker(report.marker, {
      cluster,
      id: member.id,
      runId: report.runId,
      ...(member.sentinel && { replid: report.replid }),
      durable: report.durable,
      freshToken: this.options.randomId,
      founding: identity.takeFounded(member),
      former: member.formerTokens,
      topology: topology && { ...topology, life: lifeOf(topology, member) },
    })
    if (verdict.kind === 'later') {
      member.lastError = 'it has later members than this coordinator, which could not read them there'
      return false
    }
    if (verdict.kind === 'refuse') {
      await this.refuse(member, verdict.why)
      return false
    }
    let bytes = report.marker
    if (verdict.kind === 'write') {
      bytes = encodeMarker(verdict.marker)
      // Another coordinator was faster: probe again at once.
      if (!(await member.node.swapMarker(report.marker, bytes, topology?.bytes))) {
        this.options.probeAgain(member)
        return false
      }
      if (identity.cluster !== cluster) return false
    }
    member.setMarker(verdict.marker)
    const stale = this.options.freshness.isStale(member)
    const { state } = verdict.marker
    await member.node.open(this.fenceOf(member, verdict.marker, bytes!))
    if (identity.cluster !== cluster) {
      member.shut(LEFT)
      return false
    }
    if (stale) member.setCompleteness('stale', STALE_WHY)
    else member.setCompleteness(state, verdict.kind === 'write' ? verdict.why : 'its marker says so')
    if (report.syncedAt === null) await this.beginSyncedAt(member, bytes!)
    if (report.marker === null) await this.reportForeignKeys(member, report)
    return true
  }

  /** The fence of a marker that the member has, and its bytes. */
  fenceOf(member: Member, marker: Marker, bytes: Buffer): Fence {
    const clean = marker.state === 'clean' && !this.options.freshness.isStale(member)
    const epoch = epochOf(marker)
    const topology = this.options.topology()
    const floors = topology && floorsAt(topology.topology, epoch)
    const { runId, replid } = marker
    const isWatched = member.sentinel !== null && replid !== undefined
    return { marker: bytes, runId, ...(isWatched && { replid }), clean, epoch, floors }
  }

  private async refuse(member: Member, why: string): Promise<void> {
    this.options.time.forget(member.id)
    member.refuse(why)
    await this.options.identity.leaveIfOutvoted()
  }

  /** Keys with a record of Rondo are none: the node has lost its marker, by eviction or by hand. */
  private async reportForeignKeys(member: Member, { keys, runId }: NodeReport): Promise<void> {
    if (keys <= MOST_INTERNAL_KEYS || this.named.get(member) === runId) return
    const page = await member.node.scan('0', null, SAMPLED_KEYS).catch(() => null) // repair counts them, too
    if (!page) return
    const strings = page.entries.filter(({ key }) => !isInternal(key))
    const foreign = strings.filter(({ head }) => new StoredRecord(head).isForeign).length
    const isWhole = page.cursor === '0'
    if (foreign === 0) return
    this.named.set(member, runId)
    const estimate = isWhole ? foreign : Math.ceil((keys * foreign) / strings.length)
    this.options.emit({ kind: 'node-had-keys', node: member.id, keys: estimate, about: !isWhole })
  }

  /** A node without synced_at was never compared, or that was not recorded: start counting now. */
  private async beginSyncedAt({ node }: Member, marker: Buffer): Promise<void> {
    const syncedAt = { atMs: this.options.time.nowMs(), assumed: true, settled: null }
    await node.stamp(marker, syncedAt).catch(() => undefined) // it may accept no writes now; the next probe tries again
  }
}

function lifeOf({ topology }: AdoptedTopology, { id }: Member): number {
  return membersOf(topology).find((one) => one.id === id)?.life ?? 1
}
