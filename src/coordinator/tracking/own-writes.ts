/**
 * Whether a change that a node tells of is the tracker's own (NOLOOP). A node does not say who has changed a key, and tells of
 * changes of the same turn once. So the tracker's own writes are known by their versions for a while, and when a node tells of
 * such a key, it is read: only if something later is there, the tracker is told.
 */
import { compareVersions, type Version } from '../../core/clock.ts'
import type { RecordHead } from '../../core/codec.ts'

/** The last of its replicas has got a write by then, unless it missed it: then the tracker is told of its own write. */
const KNOWN_MS = 10_000
const MAX_KNOWN = 10_000

interface OwnWrite {
  readonly version: Version
  readonly untilMs: number
  isChecking: boolean
  mustCheckAgain: boolean
}

export interface OwnWritesOptions {
  readonly nowMs: () => number
  readonly look: (name: string, then: (head: RecordHead | null, failed: boolean) => void) => void
}

export class OwnWrites {
  private readonly options: OwnWritesOptions
  private readonly writes = new Map<string, OwnWrite>()

  constructor(options: OwnWritesOptions) {
    this.options = options
  }

  add(name: string, version: Version): void {
    this.writes.delete(name)
    const untilMs = this.options.nowMs() + KNOWN_MS
    const own = { version: Uint8Array.from(version), untilMs, isChecking: false, mustCheckAgain: false }
    this.writes.set(name, own)
    for (const [oldest, write] of this.writes) {
      if (this.writes.size <= MAX_KNOWN && write.untilMs > this.options.nowMs()) break
      this.writes.delete(oldest)
    }
  }

  /** @param tell called unless the change is its own @returns false if it has not written this key: tell at once */
  check(name: string, tell: () => void): boolean {
    const own = this.writes.get(name)
    if (!own || own.untilMs <= this.options.nowMs()) return false
    own.mustCheckAgain = own.isChecking
    if (!own.isChecking) this.look(name, own, tell)
    return true
  }

  private look(name: string, own: OwnWrite, tell: () => void): void {
    own.isChecking = true
    this.options.look(name, (head, failed) => {
      own.isChecking = false
      const isLater = failed || (head !== null && compareVersions(head.version, own.version) > 0)
      if (isLater || this.writes.get(name) !== own) {
        // A later write of its own has its own notices.
        if (isLater) tell()
        return
      }
      if (!own.mustCheckAgain) return
      own.mustCheckAgain = false
      this.look(name, own, tell)
    })
  }
}
