/**
 * Keys that other coordinators write, too, at this moment: a plain write has met a later version of somebody else. For a
 * second, writes of such a key take their turn with its updates: at `quorum` plain writes that compete end on some of the
 * replicas each, and nobody can say what became of them (docs/decisions/0043, 0062).
 */
import type { MonotonicClock } from '../../core/clock.ts'
import { nameOf } from '../update/key-queues.ts'

const LASTS_MS = 1000
const MOST_KEYS = 1000

export class Contention {
  private readonly clock: MonotonicClock
  /** By the name of the key: until when. The one that was met last is at the end. */
  private readonly untilMs = new Map<string, number>()

  constructor(clock: MonotonicClock) {
    this.clock = clock
  }

  note(key: Buffer): void {
    const name = nameOf(key)
    this.untilMs.delete(name)
    if (this.untilMs.size === MOST_KEYS) this.untilMs.delete(this.untilMs.keys().next().value!)
    this.untilMs.set(name, this.clock.monotonicMs() + LASTS_MS)
  }

  has(key: Buffer): boolean {
    if (this.untilMs.size === 0) return false // nearly always
    const name = nameOf(key)
    const untilMs = this.untilMs.get(name)
    if (untilMs === undefined) return false
    if (this.clock.monotonicMs() < untilMs) return true
    this.untilMs.delete(name)
    return false
  }
}
