/**
 * Removes parts of large collections that no root names any more.
 *
 * A change of a collection writes new parts, and then a root that names them instead of others. Those stay for a while, for
 * whoever has read the root before; then they are removed from the nodes, without a tombstone: under the name of a part only
 * one thing was ever stored, and what comes back from a node that was away is found by the next round of anti-entropy
 * (repair/round/leftovers.ts). The same finds what this coordinator has forgotten.
 *
 *   a root names other parts ──▶ LEFT_MS later ──▶ read the root ──▶ it does not name them ──▶ remove them from the home replicas
 */
import type { Cluster } from '../../cluster/cluster.ts'
import type { MonotonicClock, TimerHandle, Timers } from '../../core/clock.ts'
import type { StoredRecord } from '../../core/codec.ts'
import type { Emit } from '../../core/events.ts'
import type { Deadlines } from '../../core/deadlines.ts'
import { RondoError } from '../../core/errors.ts'
import { namedKeysIn } from '../../core/large-root.ts'
import { removeParts } from '../../cluster/remove-parts.ts'
import type { Background } from '../background.ts'
import type { LeftPart, Collections } from './api.ts'

export interface CollectionPartsOptions {
  readonly cluster: Cluster
  readonly timers: Timers
  readonly clock: MonotonicClock
  readonly deadlines: Pick<Deadlines, 'turnMs'>
  readonly background: Background
  readonly requestTimeoutMs: number
  readonly leftPartsMs?: number
  readonly emit: Emit
  /** Returns a number in [0, 1). */
  readonly random: () => number
  /** At a majority. @throws RondoError */
  readonly read: (key: Buffer) => Promise<StoredRecord | null>
}

/** Of parts that wait: what is beyond them is removed at once. */
const MOST_BYTES = 16 * 1024 * 1024
const MOST_PARTS = 16 * 1024
/** What becomes due meanwhile is removed together: a read of each root, and a call of each node. */
const LEAST_MS = 1000
/** Roots that are read at once. */
const ROOTS_AT_ONCE = 16
/** What is known of a part beside its bytes. */
const PART_BYTES = 256
/** Of large collections that are changed. */
const MOST_KNOWN = 4096
const LOST_EVERY_MS = 10_000

interface Waiting extends LeftPart {
  readonly root: Buffer
  readonly dueAtMs: number
}

export class CollectionParts implements Collections {
  private readonly options: CollectionPartsOptions
  private waiting: Waiting[] = []
  /** Names of large collections, as latin1. */
  private readonly large = new Set<string>()
  private bytes = 0
  private timer: TimerHandle | null = null
  /** The timer does not wait for what is due. */
  private isUrgent = false
  private isStopped = false
  private isRemoving = false
  private losses = 0
  private toldAtMs = -Infinity

  constructor(options: CollectionPartsOptions) {
    this.options = options
  }

  leave(root: Buffer, parts: readonly LeftPart[]): void {
    const dueAtMs = this.options.clock.monotonicMs() + this.leftMs
    for (const part of parts) {
      this.waiting.push({ ...part, root, dueAtMs })
      this.bytes += part.bytes + PART_BYTES
    }
    this.schedule()
  }

  /** What waits is left to the repair rounds of others. */
  stop(): void {
    this.isStopped = true
    if (this.timer !== null) this.options.timers.clearTimeout(this.timer)
    this.timer = null
  }

  isLarge(root: Buffer): boolean {
    return this.large.size > 0 && this.large.has(root.toString('latin1'))
  }

  noteLarge(root: Buffer, isLarge: boolean): void {
    const name = root.toString('latin1')
    if (!isLarge) {
      this.large.delete(name)
      return
    }
    this.large.add(name)
    if (this.large.size <= MOST_KNOWN) return
    for (const oldest of this.large) {
      this.large.delete(oldest)
      return
    }
  }

  dueAtMs(): number {
    return this.options.deadlines.turnMs() + this.options.requestTimeoutMs
  }

  draw(values: number): number {
    return Math.floor(this.options.random() * values)
  }

  lost(): void {
    const { clock, emit } = this.options
    this.losses++
    const nowMs = clock.monotonicMs()
    if (nowMs - this.toldAtMs < LOST_EVERY_MS) return
    this.toldAtMs = nowMs
    emit({ kind: 'collection-lost', times: this.losses })
    this.losses = 0
  }

  /** Whoever reads a collection has ended by then. */
  private get leftMs(): number {
    return this.options.leftPartsMs ?? 2 * this.options.requestTimeoutMs
  }

  private get isFull(): boolean {
    return this.bytes > MOST_BYTES || this.waiting.length > MOST_PARTS
  }

  private schedule(): void {
    if (this.isRemoving || this.isStopped || this.waiting.length === 0) return
    const { clock, timers } = this.options
    const { isFull } = this
    if (this.timer !== null) {
      if (this.isUrgent || !isFull) return
      timers.clearTimeout(this.timer)
    }
    this.isUrgent = isFull
    const inMs = isFull
      ? 0
      : Math.max(Math.min(LEAST_MS, this.leftMs), this.waiting[0]!.dueAtMs - clock.monotonicMs())
    this.timer = timers.setTimeout(() => {
      this.timer = null
      this.isRemoving = true
      this.options.background.run('removing parts of collections', () => this.removeDue())
    }, inMs)
  }

  private async removeDue(): Promise<void> {
    try {
      const nowMs = this.options.clock.monotonicMs()
      const isFull = this.isFull
      const later = this.waiting.findIndex(({ dueAtMs }) => dueAtMs > nowMs)
      const dueCount = later < 0 ? this.waiting.length : later
      const count = isFull ? Math.max(dueCount, (this.waiting.length + 1) >>> 1) : dueCount
      const due = this.waiting.splice(0, count)
      for (const { bytes } of due) this.bytes -= bytes + PART_BYTES
      const roots = byRoot(due)
      for (let i = 0; i < roots.length; i += ROOTS_AT_ONCE) {
        await Promise.all(roots.slice(i, i + ROOTS_AT_ONCE).map((parts) => this.removeOf(parts)))
      }
    } finally {
      this.isRemoving = false
      this.schedule()
    }
  }

  private async removeOf(parts: readonly Waiting[]): Promise<void> {
    const { root } = parts[0]!
    const found = await this.options.read(root).catch((error: unknown) => {
      if (error instanceof RondoError) return null
      throw error
    })
    // Nobody can say what it names, or it is deleted: a round of anti-entropy sees to them.
    if (!found) return
    const named = namedKeysIn(root, found)
    const gone = parts.map(({ key }) => key).filter((key) => named?.has(key.toString('latin1')) === false)
    const { cluster } = this.options
    await removeParts(cluster, root, gone, cluster.time.nowMs())
  }
}

function byRoot(parts: readonly Waiting[]): Waiting[][] {
  const groups = new Map<string, Waiting[]>()
  for (const part of parts) {
    const name = part.root.toString('latin1')
    const group = groups.get(name)
    if (group) group.push(part)
    else groups.set(name, [part])
  }
  return [...groups.values()]
}
