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
import type { MonotonicClock } from '../../core/clock.ts'
import { StoredRecord } from '../../core/codec.ts'
import { MARKER_KEY } from '../../core/keys.ts'
import type { Fence, Near } from '../node.ts'
import { HotReads } from './hot-reads.ts'
import { NearTable, sizeOf, type Entry } from './near-table.ts'

export interface NearCacheOptions {
  /** Of keys, records and ENTRY_BYTES for each, over all nodes. */
  readonly maxBytes: number
  readonly maxStalenessMs: number
  readonly clock: MonotonicClock
}

/** Why everything that was kept of a node was dropped. */
export const DROP_CAUSES = ['data-path', 'tracking', 'marker', 'flush'] as const
export type DropCause = (typeof DROP_CAUSES)[number]

/** The largest entry, as a share of the cache. */
const LARGEST_SHARE = 1 / 64

export class NearCache {
  readonly maxStalenessMs: number
  readonly clock: MonotonicClock
  readonly table: NearTable<NearNode>
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
    this.table = new NearTable(maxBytes)
  }

  get size(): number {
    return this.table.size
  }

  get bytes(): number {
    return this.table.bytes
  }

  /** What is kept of one node. */
  of(id: string): NearNode {
    return new NearNode(id, this)
  }
}

/** A GET that is under way, and whose reply may be kept. */
export class Ask {
  readonly name: string
  readonly generation: number
  /** Of the clock. */
  readonly atMs: number
  private readonly node: NearNode

  constructor(node: NearNode, name: string, generation: number, atMs: number) {
    this.node = node
    this.name = name
    this.generation = generation
    this.atMs = atMs
  }

  /** @param bytes what the node holds, as far as it counts; null = nothing that is kept */
  answered(bytes: Buffer | null, fence: Fence): void {
    this.node.answered(this, bytes, fence)
  }

  lost(): void {
    this.node.lost(this, this.name)
  }
}

/** What is kept of one node. */
export class NearNode implements Near {
  readonly id: string
  private readonly cache: NearCache
  /** By name: the GETs that are under way. */
  private readonly asks = new Map<string, Ask>()
  /** Entries of former generations are of no use any more. */
  generation = 0
  /** Under which everything was read that is kept. */
  private fence: Fence | null = null
  private isTracked = false
  /** All invalidations of writes before this have arrived. */
  private provenMs = -Infinity
  /** A hot key that was just not found here: the GET that follows in the same turn is its ask. */
  private wanted: Buffer | null = null

  constructor(id: string, cache: NearCache) {
    this.id = id
    this.cache = cache
  }

  // ---- for reads

  get epoch(): number {
    return this.fence?.clean === true ? this.fence.epoch : -1
  }

  find(key: Buffer): Entry | null {
    if (!this.isTracked) return null
    const { cache } = this
    const entry = cache.table.findStored(key)
    if (entry && this.mayServe(entry, cache.clock.monotonicMs())) {
      entry.isUsed = true
      cache.hits++
      return entry
    }
    cache.misses++
    if (cache.hot.note(key)) this.wanted = key
    return null
  }

  /** @param nowMs of the clock */
  mayServe({ source, generation }: Entry, nowMs: number): boolean {
    return (
      source === this &&
      generation === this.generation &&
      this.isTracked &&
      nowMs - this.provenMs <= this.cache.maxStalenessMs
    )
  }

  // ---- for the driver

  /** A GET of this key is sent. Null: its reply is not kept. */
  ask(key: Buffer): Ask | null {
    if (this.wanted !== key) return null
    this.wanted = null
    if (!this.isTracked) return null
    const name = key.toString('latin1')
    if (this.asks.has(name)) return null
    const ask = new Ask(this, name, this.generation, this.cache.clock.monotonicMs())
    this.asks.set(name, ask)
    return ask
  }

  /** For Ask. */
  answered(ask: Ask, bytes: Buffer | null, fence: Fence): void {
    const { name, generation, atMs } = ask
    if (this.asks.get(name) !== ask) return
    this.asks.delete(name)
    if (!bytes || generation !== this.generation || !this.isUnder(fence)) return
    const { table, largestBytes } = this.cache
    const record = new StoredRecord(bytes)
    if (record.isForeign || sizeOf(name.length, bytes.length) > largestBytes) return
    table.add(this, atMs, Buffer.from(name, 'latin1'), record)
  }

  /** For Ask. */
  lost(ask: Ask, name: string): void {
    if (this.asks.get(name) === ask) this.asks.delete(name)
  }

  /** A write of this key is sent, by this process. */
  changed(key: Buffer): void {
    this.forget(key)
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
      else this.forget(key)
    }
  }

  trackingEnded(cause: DropCause): void {
    if (!this.isTracked) return
    this.isTracked = false
    this.provenMs = -Infinity
    this.cache.tracked--
    this.drop(cause)
  }

  private forget(key: Buffer): void {
    if (this.asks.size > 0) this.asks.delete(key.toString('latin1'))
    const { table } = this.cache
    const entry = table.findStored(key)
    if (entry?.source === this) table.remove(entry)
  }

  /** Entries stay where they are, as room that the next ones take: removing all of them at once would take long. */
  private drop(cause: DropCause): void {
    this.cache.drops[cause]++
    this.generation++
    this.asks.clear()
  }
}
