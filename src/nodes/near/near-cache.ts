/**
 * The near cache: in this process, what nodes would answer to GET of their hot keys. Reads at `one` look here first
 * (Coordinator.read); all other reads ask the nodes.
 *
 *   GET (hot) ── ask ──▶ node ──▶ record ── is the ask still there? ──▶ kept
 *                 ▲                                                       ▲
 *                 └──────── removed by each of these ─────────────────────┘
 *                   a write of the key by this process, when it is sent
 *                   an invalidation of the key by the node (redis/tracking.ts)
 *                   drop(): the connections to the node broke, or it has another marker
 *
 * What is kept is what the node held at some time not before `provenMs`:
 *
 * - Writes by this process. The data connection is first in, first out: a GET that was sent after the write sees it, and
 *   one that was sent before has lost its ask.
 * - Writes by others. Say the node executes the GET, then the write, then sends the invalidation. That arrives before the
 *   reply to the GET, and removes the ask, or after it, and removes the record. If the write came first, the reply has it.
 * - Invalidations that do not arrive. `provenMs` is the time up to which all writes are known to have arrived: the tracker
 *   moves it forward with the answers to its PINGs. Nothing is answered from here once it is NEAR_CACHE_MAX_STALENESS_MS
 *   ago, whoever is silent: the node, the network, or this process.
 *
 * Only records of Rondo are kept: their expiry stands in them. A value that another program wrote expires on its node alone.
 *
 * A name is kept once, for the node that was asked last: a key has one first home replica.
 */
import { LRUCache } from 'lru-cache'
import type { MonotonicClock } from '../../core/clock.ts'
import { isVersioned } from '../../core/codec.ts'
import { MARKER_KEY } from '../../core/keys.ts'
import type { Fence, Near } from '../node.ts'
import { HotReads } from './hot-reads.ts'

export interface NearCacheOptions {
  /** Of keys, records and ENTRY_BYTES for each, over all nodes. */
  readonly maxBytes: number
  readonly maxStalenessMs: number
  readonly clock: MonotonicClock
}

/** Why everything that was kept of a node was dropped. */
export const DROP_CAUSES = ['data-path', 'tracking', 'marker', 'flush'] as const
export type DropCause = (typeof DROP_CAUSES)[number]

/** What an entry costs beside its bytes: the entry, the buffer, the name and their places in the map. Measured. */
export const ENTRY_BYTES = 512
/** The largest entry, as a share of the cache. */
const LARGEST_SHARE = 1 / 64

interface Entry {
  readonly owner: NearNode
  readonly generation: number
  readonly bytes: Buffer
}

export class NearCache {
  readonly maxStalenessMs: number
  readonly clock: MonotonicClock
  readonly entries: LRUCache<string, Entry>
  readonly largestBytes: number
  readonly hot = new HotReads()

  // Counters since the start.
  hits = 0
  misses = 0
  /** Keys that nodes said have changed, whether they were kept or not. */
  invalidations = 0
  readonly drops: Record<DropCause, number> = { 'data-path': 0, tracking: 0, marker: 0, flush: 0 }
  /** Nodes whose invalidations arrive. */
  tracked = 0

  constructor({ maxBytes, maxStalenessMs, clock }: NearCacheOptions) {
    this.maxStalenessMs = maxStalenessMs
    this.clock = clock
    this.largestBytes = Math.floor(maxBytes * LARGEST_SHARE)
    this.entries = new LRUCache({ maxSize: maxBytes })
  }

  get size(): number {
    return this.entries.size
  }

  get bytes(): number {
    return this.entries.calculatedSize
  }

  /** What is kept of one node. */
  of(id: string): NearNode {
    return new NearNode(id, this)
  }
}

/** A GET that is under way, and whose reply may be kept. */
export class Ask {
  private readonly node: NearNode
  private readonly name: string
  private readonly generation: number

  constructor(node: NearNode, name: string, generation: number) {
    this.node = node
    this.name = name
    this.generation = generation
  }

  /** @param bytes what the node holds, as far as it counts; null = nothing that is kept */
  answered(bytes: Buffer | null, fence: Fence): void {
    this.node.answered(this, this.name, this.generation, bytes, fence)
  }

  lost(): void {
    this.node.lost(this, this.name)
  }
}

/** What is kept of one node. */
export class NearNode implements Near {
  readonly id: string
  readonly isNear = true
  private readonly cache: NearCache
  /** By name: the GETs that are under way. */
  private readonly asks = new Map<string, Ask>()
  /** Entries of former generations are of no use any more. */
  private generation = 0
  /** Under which everything was read that is kept. */
  private fence: Fence | null = null
  private isTracked = false
  /** All invalidations of writes before this have arrived. */
  private provenMs = -Infinity
  /** A hot key that was just not found here: the GET that follows in the same turn is its ask. */
  private wanted: Buffer | null = null
  private wantedName = ''

  constructor(id: string, cache: NearCache) {
    this.id = id
    this.cache = cache
  }

  // ---- for reads

  get epoch(): number {
    return this.fence?.clean === true ? this.fence.epoch : -1
  }

  find(key: Buffer): Buffer | null {
    if (!this.isTracked) return null
    const { cache } = this
    const name = key.toString('latin1')
    const entry = cache.entries.get(name)
    if (entry?.owner === this && entry.generation === this.generation && this.isProven) {
      cache.hits++
      return entry.bytes
    }
    cache.misses++
    if (cache.hot.note(key)) {
      this.wanted = key
      this.wantedName = name
    }
    return null
  }

  private get isProven(): boolean {
    return this.cache.clock.monotonicMs() - this.provenMs <= this.cache.maxStalenessMs
  }

  // ---- for the driver

  /** A GET of this key is sent. Null: its reply is not kept. */
  ask(key: Buffer): Ask | null {
    if (this.wanted !== key) return null
    this.wanted = null
    const name = this.wantedName
    if (!this.isTracked || this.asks.has(name)) return null
    const ask = new Ask(this, name, this.generation)
    this.asks.set(name, ask)
    return ask
  }

  /** For Ask. */
  answered(ask: Ask, name: string, generation: number, bytes: Buffer | null, fence: Fence): void {
    if (this.asks.get(name) !== ask) return
    this.asks.delete(name)
    if (!bytes || generation !== this.generation || !this.isUnder(fence) || !isVersioned(bytes)) return
    const { entries, largestBytes } = this.cache
    const size = name.length + bytes.length + ENTRY_BYTES
    if (size > largestBytes) return
    // A copy: the reply is a slice of whatever else arrived with it.
    const copy = Buffer.allocUnsafeSlow(bytes.length)
    bytes.copy(copy)
    entries.set(name, { owner: this, generation, bytes: copy }, { size })
  }

  /** For Ask. */
  lost(ask: Ask, name: string): void {
    if (this.asks.get(name) === ask) this.asks.delete(name)
  }

  /** A write of this key is sent, by this process. */
  changed(key: Buffer): void {
    this.forget(key.toString('latin1'))
  }

  /** The node answers under this marker from now on. */
  under(fence: Fence): void {
    if (this.fence && !this.fence.marker.equals(fence.marker)) this.drop('marker')
    this.fence = fence
  }

  private isUnder({ marker }: Fence): boolean {
    return this.fence?.marker.equals(marker) ?? false
  }

  /** The data path ended. */
  ended(): void {
    this.fence = null
  }

  // ---- for the tracker

  /** The node sends its invalidations from now on. */
  trackingBegan(): void {
    this.isTracked = true
    this.cache.tracked++
  }

  /** All invalidations of writes before this have arrived. */
  proven(sinceMs: number): void {
    this.provenMs = sinceMs
  }

  /** @param keys null = all */
  invalidated(keys: readonly Buffer[] | null): void {
    if (keys === null) {
      this.drop('flush')
      return
    }
    this.cache.invalidations += keys.length
    for (const key of keys) {
      if (key.equals(MARKER_KEY)) this.drop('marker')
      else this.forget(key.toString('latin1'))
    }
  }

  trackingEnded(cause: DropCause): void {
    if (!this.isTracked) return
    this.isTracked = false
    this.provenMs = -Infinity
    this.cache.tracked--
    this.drop(cause)
  }

  private forget(name: string): void {
    this.asks.delete(name)
    const { entries } = this.cache
    if (entries.peek(name)?.owner === this) entries.delete(name)
  }

  /** Entries stay where they are, as room that the next ones take: removing all of them at once would take long. */
  private drop(cause: DropCause): void {
    this.cache.drops[cause]++
    this.generation++
    this.asks.clear()
  }
}
