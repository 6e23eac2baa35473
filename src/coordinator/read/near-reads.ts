/**
 * Reads at `one` from the near cache (nodes/near/near-cache.ts), without an operation and without a completion object: a server
 * asks for the end of a reply by the bytes of a request.
 *
 * It answers what Coordinator.read would answer from there. Which node a key's reads go to, and that its copy counts, was
 * worked out by a read that was answered from the copy: it leaves a route at the entry, which counts while the placement is
 * the same. All that can change meanwhile is looked at each time: the node's health and marker, the age of what it has said
 * last, the end of the value.
 *
 * For a connection without a command under way: nothing of it waits at the node, so there is no order to keep.
 */
import type { MonotonicClock } from '../../core/clock.ts'
import { storedKey } from '../../core/keys.ts'
import type { Placement } from '../../core/placement.ts'
import { READ_FIRST } from '../../core/plan.ts'
import type { Cluster } from '../../cluster/cluster.ts'
import type { Member } from '../../cluster/member.ts'
import type { NearCache } from '../../nodes/near/near-cache.ts'
import type { NearRecord } from '../../nodes/node.ts'
import type { HotKeys } from '../usage/hot-keys.ts'

export interface NearReadsOptions {
  readonly cluster: Cluster
  readonly clock: MonotonicClock
  readonly hotKeys: HotKeys | null
}

/** What a route is. */
class Route {
  readonly placement: Placement<Member>
  readonly member: Member

  constructor(placement: Placement<Member>, member: Member) {
    this.placement = placement
    this.member = member
  }
}

export class NearReads {
  private readonly cache: NearCache
  private readonly options: NearReadsOptions
  /** Of the clock. */
  private nowMs = 0
  private clusterMs = 0
  /** Those of the placement of now. */
  private routes = new Map<Member, Route>()
  private placement: Placement<Member> | null = null

  constructor(cache: NearCache, options: NearReadsOptions) {
    this.cache = cache
    this.options = options
  }

  /** Takes the time, for the calls of `find` that follow at once. */
  begin(): void {
    const { clock, cluster } = this.options
    this.nowMs = clock.monotonicMs()
    this.clusterMs = cluster.time.nowMs()
  }

  /**
   * The key of this database, in bytes of `input` that the caller may change afterwards.
   *
   * @returns the value followed by CRLF, or null: read it by Coordinator.read
   */
  find(database: number, input: Buffer, from: number, to: number): Buffer | null {
    const { cache } = this
    const entry = cache.table.find(database, input, from, to)
    if (entry === null) return null
    const { reply, route, expiresAtMs, source } = entry
    if (reply === null || !(route instanceof Route)) return null
    const { placement, member } = route
    if (placement !== this.options.cluster.placement || member.readRank !== READ_FIRST) return null
    if (source.epoch !== placement.epoch || !source.mayServe(entry, this.nowMs)) return null
    if (expiresAtMs !== 0 && expiresAtMs <= this.clusterMs) return null
    const { hotKeys } = this.options
    if (hotKeys?.isDue) hotKeys.note(storedKey(database, input.subarray(from, to)), false)
    else hotKeys?.pass()
    entry.isUsed = true
    cache.hits++
    return reply
  }

  /** A read was answered with this, of the first home replica under this placement. */
  found(record: NearRecord, placement: Placement<Member>, member: Member): void {
    if (record.route instanceof Route && record.route.placement === placement) return
    if (this.placement !== placement) {
      this.placement = placement
      this.routes = new Map()
    }
    let route = this.routes.get(member)
    if (!route) this.routes.set(member, (route = new Route(placement, member)))
    record.route = route
  }
}
