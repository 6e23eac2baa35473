/**
 * Whether a change that a node tells of is the tracker's own (NOLOOP). A node does not say who has changed a key, and tells of
 * changes of the same turn once. So the tracker's own writes are known by their versions for a while, and when a node tells of
 * such a key, it is read: only if something later is there, the tracker is told.
 */
import { compareVersions, type Version } from '../../core/clock.ts'
import type { RecordHead } from '../../core/codec.ts'
import type { Requester } from '../requester.ts'

/** The last of its replicas has got a write by then, unless it missed it: then the tracker is told of its own write. */
const KNOWN_MS = 10_000
const MAX_KNOWN = 10_000

interface OwnWrite {
  /** Of the last one; null = none has ended yet. */
  version: Version | null
  untilMs: number
  /** Writes that have begun. A node may tell of them before it answers. */
  underWay: number
  isLooking: boolean
  /** A node has told of the key since it was looked at; it is called unless that was its own. */
  tell: (() => void) | null
}

export interface OwnWritesOptions {
  /** Whose they are. */
  readonly by: Requester
  readonly nowMs: () => number
  /** @param then null = nothing is stored, or it could not be read */
  readonly look: (name: string, then: (head: RecordHead | null, failed: boolean) => void) => void
}

export class OwnWrites {
  private readonly options: OwnWritesOptions
  private readonly writes = new Map<string, OwnWrite>()

  constructor(options: OwnWritesOptions) {
    this.options = options
  }

  get by(): Requester {
    return this.options.by
  }

  began(name: string): void {
    const untilMs = this.options.nowMs() + KNOWN_MS
    const own = this.writes.get(name) ?? { version: null, untilMs, underWay: 0, isLooking: false, tell: null }
    own.underWay++
    own.untilMs = untilMs
    // The latest last.
    this.writes.delete(name)
    this.writes.set(name, own)
    this.forgetOld()
  }

  /** Those that are too old, and the oldest of too many. */
  forgetOld(): void {
    const nowMs = this.options.nowMs()
    for (const [oldest, write] of this.writes) {
      if (this.writes.size <= MAX_KNOWN && write.untilMs > nowMs) break
      this.writes.delete(oldest)
      write.tell?.()
    }
  }

  /** @param version of what is stored now; null = it was not stored, or perhaps not */
  ended(name: string, version: Version | null): void {
    const own = this.writes.get(name)
    if (!own) return
    own.underWay = Math.max(0, own.underWay - 1)
    if (version && (own.version === null || compareVersions(version, own.version) > 0)) {
      own.version = Uint8Array.from(version)
    }
    this.lookIfTold(name, own)
  }

  /**
   * A node tells of this key.
   *
   * @param tell called unless the change is its own
   * @returns false if it has not written this key: tell at once
   */
  check(name: string, tell: () => void): boolean {
    const own = this.writes.get(name)
    if (!own || own.untilMs <= this.options.nowMs()) return false
    own.tell = tell
    this.lookIfTold(name, own)
    return true
  }

  private lookIfTold(name: string, own: OwnWrite): void {
    const { tell } = own
    if (!tell || own.isLooking || own.underWay > 0) return
    own.tell = null
    own.isLooking = true
    this.options.look(name, (head, failed) => {
      own.isLooking = false
      const isLater = head !== null && (!own.version || compareVersions(head.version, own.version) > 0)
      // Another one of its own may have begun since: it is looked at again when that has ended.
      if ((failed || isLater) && own.underWay > 0) own.tell ??= tell
      else if (failed || isLater) tell()
      this.lookIfTold(name, own)
    })
  }
}
