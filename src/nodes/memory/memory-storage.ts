/**
 * The storage of a memory node: byte strings under byte keys, each with a TTL, on lru-cache.
 *
 * - Users' keys are limited in bytes; the least recently used are evicted. Internal keys are stored separately without a
 *   limit: a node must never evict its marker.
 * - Expiry uses the monotonic clock passed in, exactly and without timers: an expired entry is never returned, and its
 *   memory is freed when it is found by a read, by eviction, or by the check of two keys on every write. That does not
 *   count as an eviction.
 * - Hints are kept apart: they are not listed, and end only when they are dropped.
 * - Keys are listed from newest to oldest, by a number that a key gets when it is added and keeps until it is removed.
 *   So a key that exists during the whole listing is returned exactly once, and a listing ends however fast keys are
 *   added.
 */
import { LRUCache } from 'lru-cache'
import type { MonotonicClock } from '../../core/clock.ts'
import type { Announcements } from '../node.ts'
import { isInternalName } from '../../core/keys.ts'
import { KeyOrder } from './key-order.ts'
import { MemoryHints } from './memory-hints.ts'
import { MemoryNotes } from './memory-notes.ts'

/** Overhead of an entry beside key and value: measured 310 to 380 bytes of heap on Node 20. */
export const ENTRY_OVERHEAD_BYTES = 400
const UNBOUNDED = Number.MAX_SAFE_INTEGER
const SWEPT_PER_WRITE = 2

interface Entry {
  /** Never modified once stored. */
  readonly bytes: Buffer
  readonly number: number
}

export interface StoragePage {
  /** Where to continue, 0 = the end. */
  readonly cursor: number
  readonly entries: readonly { readonly key: Buffer; readonly bytes: Buffer }[]
}

export class MemoryStorage {
  evictedKeys = 0
  /** Number of times that all data was lost, as with the process. */
  wipes = 0

  /** Who listens to announcements. */
  readonly listeners = new Set<Announcements>()
  /** Of the coordinators. */
  readonly notes = new MemoryNotes()

  private readonly maxBytes: number
  private readonly time: Pick<LRUCache.OptionsBase<string, Entry, unknown>, 'perf' | 'ttlResolution'>
  private readonly users: LRUCache<string, Entry>
  private readonly internals: LRUCache<string, Entry>
  private readonly order = new KeyOrder()
  private readonly hints = new Map<string, MemoryHints>()

  /** @param maxBytes limit for users' keys and values with their overhead */
  constructor(maxBytes: number, clock: MonotonicClock) {
    this.maxBytes = maxBytes
    // lru-cache takes a start of 0 as "no TTL", and a clock may begin at 0: hence + 1. With a resolution other than 0 it
    // would cache the time, with its own timer.
    this.time = { perf: { now: () => clock.monotonicMs() + 1 }, ttlResolution: 0 }
    this.users = this.newCache(maxBytes)
    this.internals = this.newCache(UNBOUNDED)
  }

  /** Keys that have expired count until they are swept. */
  get size(): number {
    return this.users.size + this.internals.size
  }

  get usedBytes(): number {
    return this.users.calculatedSize + this.internals.calculatedSize
  }

  /** The bytes must not be modified. */
  get(key: Buffer): Buffer | null {
    const name = nameOf(key)
    return this.cacheOf(name).get(name)?.bytes ?? null
  }

  /** Milliseconds left: Infinity without an end, -2 when there is no such key. */
  lifeMs(key: Buffer): number {
    const name = nameOf(key)
    const cache = this.cacheOf(name)
    return cache.has(name) ? cache.getRemainingTTL(name) : -2
  }

  /**
   * @param bytes stored without a copy: the caller must not modify them
   * @param lifeMs Infinity = without an end
   * @returns false if this entry alone exceeds the limit; then nothing changes
   */
  set(key: Buffer, bytes: Buffer, lifeMs: number): boolean {
    const name = nameOf(key)
    const cache = this.cacheOf(name)
    if (cache === this.users && costOf(name, bytes) > this.maxBytes) return false
    this.sweep()
    const number = cache.get(name)?.number ?? this.order.append(name)
    // A ttl of 0 would mean "no TTL"; an entry with no time left expires when the clock moves.
    const ttl = lifeMs === Infinity ? 0 : Math.max(lifeMs, Number.MIN_VALUE)
    cache.set(name, { bytes, number }, { ttl })
    return true
  }

  /** Whether all of these fit at the same time. */
  fits(entries: readonly { readonly key: Buffer; readonly bytes: Buffer }[]): boolean {
    const cost = entries.reduce((sum, { key, bytes }) => sum + costOf(nameOf(key), bytes), 0)
    return cost <= this.maxBytes
  }

  delete(key: Buffer): void {
    const name = nameOf(key)
    this.cacheOf(name).delete(name)
  }

  clear(): void {
    this.users.clear()
    this.internals.clear()
    this.hints.clear()
    this.notes.clear()
  }

  wipe(): void {
    this.clear()
    this.evictedKeys = 0
    this.wipes++
  }

  /** The hints for one node. */
  hintsFor(target: string): MemoryHints {
    const hints = this.hints.get(target) ?? new MemoryHints()
    this.hints.set(target, hints)
    return hints
  }

  /** Scans `count` keys from the cursor on; 0 = from the start. */
  page(cursor: number, count: number): StoragePage {
    const { names, next } = this.order.below(cursor === 0 ? Infinity : cursor, count)
    const entries = names.flatMap((name) => {
      const entry = this.cacheOf(name).peek(name)
      return entry ? [{ key: Buffer.from(name, 'latin1'), bytes: entry.bytes }] : []
    })
    return { cursor: next, entries }
  }

  private newCache(maxSize: number): LRUCache<string, Entry> {
    const cache = new LRUCache<string, Entry>({
      ...this.time,
      maxSize,
      sizeCalculation: (entry, name) => costOf(name, entry.bytes),
      dispose: (entry, name, reason) => {
        if (reason === 'set') return // replaced: it keeps its number
        if (reason === 'evict' && cache.getRemainingTTL(name) >= 0) this.evictedKeys++
        this.order.remove(entry.number)
      },
    })
    return cache
  }

  private cacheOf(name: string): LRUCache<string, Entry> {
    return isInternalName(name) ? this.internals : this.users
  }

  private sweep(): void {
    for (let i = 0; i < SWEPT_PER_WRITE; i++) {
      const name = this.order.roam()
      if (name === undefined) continue
      const cache = this.cacheOf(name)
      if (!cache.has(name)) cache.delete(name)
    }
  }
}

/** A key as a string: latin1, one character per byte. */
function nameOf(key: Buffer): string {
  return key.toString('latin1')
}

function costOf(name: string, bytes: Buffer): number {
  return name.length + bytes.length + ENTRY_OVERHEAD_BYTES
}
