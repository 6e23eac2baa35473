/**
 * The storage of a memory node: byte strings under byte keys, each with a TTL, on lru-cache.
 *
 * - Users' keys are limited in bytes and in number; the least recently used are evicted. Internal keys are stored separately without a
 *   limit: a node must never evict its marker.
 * - Expiry uses the monotonic clock passed in, exactly and without timers: an expired entry is never returned, and its
 *   memory is freed when it is found by a read, by eviction, or by the check of two keys on every write. That does not
 *   count as an eviction.
 * - Hints are kept apart: they are not listed, and end only when they are dropped.
 * - Keys are listed from newest to oldest, by a number that a key gets when it is added and keeps until it is removed.
 *   So a key that exists during the whole listing is returned exactly once, and a listing ends however fast keys are
 *   added.
 * - Every change is told to a recorder, if there is one (disk/journal.ts): here, and nowhere else, the map changes.
 */
import { LRUCache } from 'lru-cache'
import type { MonotonicClock } from '../../core/clock.ts'
import type { Announcements } from '../node.ts'
import { isInternalName } from '../../core/keys.ts'
import { KeyOrder } from './key-order.ts'
import { MemoryHints } from './memory-hints.ts'
import { MemoryMessages } from './memory-messenger.ts'
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

export interface Limits {
  /** For users' keys and values with their overhead. */
  readonly maxBytes: number
  /** Of users' keys; 0 = any number. */
  readonly maxEntries: number
}

/** Is told of every change, when it has happened. */
export interface Recorder {
  /** @param undo takes it back, if nothing has replaced it */
  set(name: string, bytes: Buffer, lifeMs: number, undo: () => void): void
  /** @param evicted there was no room for it */
  remove(name: string, evicted: boolean): void
  clear(): void
  hint(target: string, name: string, version: Buffer): void
  dropHint(target: string, name: string): void
  note(id: string, text: string, atMs: number): void
}

/** Is told which names change, whatever the reason: by writes, by the clock, or for want of room. */
export interface Watcher {
  changed(name: string): void
  cleared(): void
}

export interface StoredEntry {
  readonly name: string
  readonly bytes: Buffer
  readonly lifeMs: number
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
  readonly watchers = new Set<Watcher>()
  readonly messages = new MemoryMessages()
  /** Of the coordinators. */
  readonly notes = new MemoryNotes((...note) => this.recorder?.note(...note))

  recorder: Recorder | null = null

  private readonly limits: Limits
  private readonly time: Pick<LRUCache.OptionsBase<string, Entry, unknown>, 'perf' | 'ttlResolution'>
  private readonly users: LRUCache<string, Entry>
  private readonly internals: LRUCache<string, Entry>
  private readonly order = new KeyOrder()
  private readonly hints = new Map<string, MemoryHints>()
  private isClearing = false

  constructor(limits: Limits, clock: MonotonicClock) {
    this.limits = limits
    // lru-cache takes a start of 0 as "no TTL", and a clock may begin at 0: hence + 1. With a resolution other than 0 it
    // would cache the time, with its own timer.
    this.time = { perf: { now: () => clock.monotonicMs() + 1 }, ttlResolution: 0 }
    this.users = this.newCache(limits.maxBytes)
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
    const { recorder } = this
    const undo = recorder && this.undoOf(name)
    if (!this.put(name, bytes, lifeMs)) return false
    recorder?.set(name, bytes, lifeMs, undo!)
    return true
  }

  /** Something that was there before: nobody is told. @returns false if there is no room */
  restore(name: string, bytes: Buffer, lifeMs: number): boolean {
    return this.put(name, bytes, lifeMs)
  }

  private put(name: string, bytes: Buffer, lifeMs: number): boolean {
    const cache = this.cacheOf(name)
    if (cache === this.users && costOf(name, bytes) > this.limits.maxBytes) return false
    this.sweep()
    const number = cache.get(name)?.number ?? this.order.append(name)
    // A ttl of 0 would mean "no TTL"; an entry with no time left expires when the clock moves.
    const ttl = lifeMs === Infinity ? 0 : Math.max(lifeMs, Number.MIN_VALUE)
    cache.set(name, { bytes, number }, { ttl })
    const { maxEntries } = this.limits
    if (maxEntries > 0) while (this.users.size > maxEntries) this.users.pop()
    this.tell(name)
    return true
  }

  /** What a key holds may be put back as long as it keeps its number: a key that was removed meanwhile stays away. */
  private undoOf(name: string): () => void {
    const cache = this.cacheOf(name)
    const before = cache.peek(name)
    const leftMs = before ? cache.getRemainingTTL(name) : 0
    const newest = this.order.last
    return () => {
      const now = cache.peek(name)
      if (!now) return
      if (before?.number === now.number) {
        cache.set(name, before, { ttl: leftMs === Infinity ? 0 : Math.max(leftMs, Number.MIN_VALUE) })
        this.tell(name)
      } else if (now.number > newest) this.withoutRecord(() => void cache.delete(name))
    }
  }

  private withoutRecord(run: () => void): void {
    const { recorder } = this
    this.recorder = null
    run()
    this.recorder = recorder
  }

  /** Whether all of these fit at the same time. */
  fits(entries: readonly { readonly key: Buffer; readonly bytes: Buffer }[]): boolean {
    const cost = entries.reduce((sum, { key, bytes }) => sum + costOf(nameOf(key), bytes), 0)
    const { maxBytes, maxEntries } = this.limits
    return cost <= maxBytes && (maxEntries === 0 || entries.length <= maxEntries)
  }

  delete(key: Buffer): void {
    const name = nameOf(key)
    this.cacheOf(name).delete(name)
  }

  private tell(name: string): void {
    if (this.watchers.size === 0 || this.isClearing) return
    for (const watcher of this.watchers) watcher.changed(name)
  }

  clear(): void {
    this.isClearing = true
    this.withoutRecord(() => {
      this.users.clear()
      this.internals.clear()
    })
    this.isClearing = false
    for (const watcher of this.watchers) watcher.cleared()
    this.hints.clear()
    this.notes.clear()
    this.recorder?.clear()
  }

  wipe(): void {
    this.clear()
    this.evictedKeys = 0
    this.wipes++
  }

  /** The hints for one node. */
  hintsFor(target: string): MemoryHints {
    const found = this.hints.get(target)
    if (found) return found
    const hints = new MemoryHints({
      noted: (name, version) => this.recorder?.hint(target, name, version),
      dropped: (name) => this.recorder?.dropHint(target, name),
    })
    this.hints.set(target, hints)
    return hints
  }

  /** The nodes that hints are for, and those hints. */
  allHints(): Iterable<readonly [string, MemoryHints]> {
    return this.hints
  }

  /** Up to `count` keys that were added after the one of this number, oldest first; 0 = from the first one on. */
  pageAbove(number: number, count: number): { next: number; entries: (StoredEntry | null)[] } {
    const { names, next } = this.order.above(number, count)
    const entries = names.map((name) => {
      const cache = this.cacheOf(name)
      const entry = cache.peek(name)
      return entry ? { name, bytes: entry.bytes, lifeMs: cache.getRemainingTTL(name) } : null
    })
    return { next, entries }
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
        const isEvicted = reason === 'evict' && cache.getRemainingTTL(name) >= 0
        if (isEvicted) this.evictedKeys++
        this.order.remove(entry.number)
        this.recorder?.remove(name, isEvicted)
        this.tell(name)
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
export function nameOf(key: Buffer): string {
  return key.toString('latin1')
}

function costOf(name: string, bytes: Buffer): number {
  return name.length + bytes.length + ENTRY_OVERHEAD_BYTES
}
