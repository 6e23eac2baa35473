/**
 * Which tracker has read which key, and when what it has read ends by itself. A key leaves when it is told, as in Redis: who
 * wants to hear of it again has to read it again.
 *
 * Bounded by the number of pairs of key and tracker: for a new one the oldest makes room, which counts as a change.
 *
 * Ends are kept by tenths of a second: an entry that is told early leaves its place at once, which a heap makes dear.
 */
import type { KeyTracker } from './api.ts'

const BUCKET_MS = 100

export class Entry {
  readonly name: string
  first: KeyTracker
  others: Set<KeyTracker> | null = null
  /** The earliest end that was seen, cluster time; 0 = none. */
  endMs = 0
  bucket = 0
  /** Names of the tags that its value had. */
  tags: string[] | null = null
  /** It was told. */
  isGone = false

  constructor(name: string, first: KeyTracker) {
    this.name = name
    this.first = first
  }

  get size(): number {
    return 1 + (this.others?.size ?? 0)
  }

  has(tracker: KeyTracker): boolean {
    return this.first === tracker || (this.others?.has(tracker) ?? false)
  }

  forEach(run: (tracker: KeyTracker) => void): void {
    run(this.first)
    if (this.others) for (const tracker of this.others) run(tracker)
  }
}

export class TrackedKeys {
  /** Pairs of key and tracker. */
  items = 0
  private readonly maxItems: number
  private readonly onEvicted: (entry: Entry) => void
  private readonly entries = new Map<string, Entry>()
  /** Goes round the map, oldest first: a new iterator would pass over all that was removed, each time. */
  private oldest: Iterator<Entry, undefined> | null = null
  private readonly byTag = new Map<string, Set<Entry>>()
  private readonly ends = new Map<number, Set<Entry>>()
  /** Buckets before this one are over. */
  private nextBucket = 0

  constructor(maxItems: number, onEvicted: (entry: Entry) => void) {
    this.maxItems = maxItems
    this.onEvicted = onEvicted
  }

  get size(): number {
    return this.entries.size
  }

  get(name: string): Entry | undefined {
    return this.entries.get(name)
  }

  all(): Iterable<Entry> {
    return this.entries.values()
  }

  add(name: string, tracker: KeyTracker): void {
    const entry = this.entries.get(name)
    if (entry?.has(tracker)) return
    if (entry) (entry.others ??= new Set()).add(tracker)
    else this.entries.set(name, new Entry(name, tracker))
    this.items++
    while (this.items > this.maxItems) this.evict()
  }

  private evict(): void {
    this.oldest ??= this.entries.values()
    const next = this.oldest.next()
    if (next.done === true) {
      this.oldest = null
      return
    }
    this.remove(next.value)
    this.onEvicted(next.value)
  }

  /** Removes it: its trackers are told. */
  take(name: string): Entry | null {
    const entry = this.entries.get(name)
    if (!entry) return null
    this.remove(entry)
    return entry
  }

  private remove(entry: Entry): void {
    entry.isGone = true
    this.entries.delete(entry.name)
    this.items -= entry.size
    if (entry.endMs !== 0) this.leaveBucket(entry)
    if (!entry.tags) return
    for (const tag of entry.tags) {
      const tagged = this.byTag.get(tag)
      tagged?.delete(entry)
      if (tagged?.size === 0) this.byTag.delete(tag)
    }
  }

  clear(): void {
    for (const entry of this.entries.values()) entry.isGone = true
    this.entries.clear()
    this.byTag.clear()
    this.ends.clear()
    this.oldest = null
    this.items = 0
  }

  // ---- ends

  /** Its value ends at this time, cluster time. */
  endsAt(entry: Entry, endMs: number): void {
    if (entry.isGone || (entry.endMs !== 0 && entry.endMs <= endMs)) return
    if (entry.endMs !== 0) this.leaveBucket(entry)
    entry.endMs = endMs
    entry.bucket = Math.max(this.nextBucket, Math.floor(endMs / BUCKET_MS))
    const bucket = this.ends.get(entry.bucket)
    if (bucket) bucket.add(entry)
    else this.ends.set(entry.bucket, new Set([entry]))
  }

  private leaveBucket(entry: Entry): void {
    const bucket = this.ends.get(entry.bucket)
    bucket?.delete(entry)
    if (bucket?.size === 0) this.ends.delete(entry.bucket)
  }

  /** Names whose values have ended by now, so many at most. */
  ended(nowMs: number, most: number): string[] {
    const names: string[] = []
    const until = Math.floor(nowMs / BUCKET_MS)
    if (this.ends.size === 0) {
      this.nextBucket = Math.max(this.nextBucket, until)
      return names
    }
    const isFar = until - this.nextBucket > this.ends.size
    const due = isFar ? [...this.ends.keys()].filter((bucket) => bucket < until) : null
    for (const bucket of due ?? this.between(until)) {
      for (const { name } of this.ends.get(bucket) ?? []) {
        if (names.push(name) >= most) return names
      }
    }
    this.nextBucket = Math.max(this.nextBucket, until)
    return names
  }

  private *between(until: number): IterableIterator<number> {
    for (let bucket = this.nextBucket; bucket < until; bucket++) yield bucket
  }

  // ---- tags

  /** Its value is one only as long as these tags stay as they are. */
  dependsOn(entry: Entry, tags: readonly string[]): void {
    if (entry.isGone) return
    for (const tag of tags) {
      const tagged = this.byTag.get(tag) ?? new Set()
      this.byTag.set(tag, tagged)
      if (tagged.has(entry)) continue
      tagged.add(entry)
      ;(entry.tags ??= []).push(tag)
    }
  }

  /** The names of keys that depend on this tag. */
  taggedWith(tag: string): string[] {
    return [...(this.byTag.get(tag) ?? [])].map(({ name }) => name)
  }
}
