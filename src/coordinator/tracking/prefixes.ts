/**
 * Who is told of all keys that begin with a prefix (BCAST). A key is looked up by the lengths that prefixes have, however many
 * there are. What changes in one turn of the event loop is told once, at its end, as in Redis.
 */
import type { KeyTracker } from './api.ts'

export class Prefixes {
  private readonly byPrefix = new Map<string, Set<KeyTracker>>()
  private readonly ofTracker = new Map<KeyTracker, Set<string>>()
  /** How many prefixes have it, by length. */
  private readonly ofLength = new Map<number, number>()
  private lengths: number[] = []

  get size(): number {
    return this.byPrefix.size
  }

  add(tracker: KeyTracker, prefixes: readonly Buffer[]): void {
    const own = this.ofTracker.get(tracker) ?? new Set()
    this.ofTracker.set(tracker, own)
    for (const prefix of prefixes) {
      const text = prefix.toString('latin1')
      own.add(text)
      const all = this.byPrefix.get(text)
      if (all) all.add(tracker)
      else {
        this.byPrefix.set(text, new Set([tracker]))
        this.count(text.length, 1)
      }
    }
  }

  remove(tracker: KeyTracker): void {
    for (const prefix of this.ofTracker.get(tracker) ?? []) {
      const all = this.byPrefix.get(prefix)
      all?.delete(tracker)
      if (all?.size !== 0) continue
      this.byPrefix.delete(prefix)
      this.count(prefix.length, -1)
    }
    this.ofTracker.delete(tracker)
  }

  private count(length: number, by: 1 | -1): void {
    const before = this.ofLength.get(length) ?? 0
    if (before + by === 0) this.ofLength.delete(length)
    else this.ofLength.set(length, before + by)
    if (before === 0 || before + by === 0) this.lengths = [...this.ofLength.keys()]
  }

  has(tracker: KeyTracker): boolean {
    return this.ofTracker.has(tracker)
  }

  trackers(): Iterable<KeyTracker> {
    return this.ofTracker.keys()
  }

  /** @param name by which clients know the key, as latin1 */
  forEach(name: string, run: (tracker: KeyTracker) => void): void {
    for (const length of this.lengths) {
      if (length > name.length) continue
      const all = this.byPrefix.get(name.slice(0, length))
      if (all) for (const tracker of all) run(tracker)
    }
  }
}
