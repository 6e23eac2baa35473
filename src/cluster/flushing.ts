/**
 * FLUSHALL and FLUSHDB: one step of the topology (core/topology.ts), however many keys there are.
 *
 *   raise      what has no later version than the floor does not exist from this epoch on, and whoever works by it makes later
 *              ones
 *   stand      so many nodes are marked that no coordinator is answered from before any more: at `quorum` a majority of each
 *              replica set, at `one` all that can be reached
 *
 * The floor is ahead of all clocks by more than they may differ: what was acknowledged before is below it. So for that long,
 * versions are ahead of the time. It still has to be ahead when all have heard of it; otherwise a later one is raised.
 *
 * A write that was under way meanwhile is below the floor, too. If nobody can have seen it, it is made again (coordinator/write).
 *
 * A floor that could not be decided may have been accepted by some members, and the next change finds and ends it. So whoever
 * gives up waits until nobody makes versions below it any more.
 */
import type { Clock, Timers, VersionClock } from '../core/clock.ts'
import { VERSION_BYTES, versionMs, type Version } from '../core/clock.ts'
import { RondoError } from '../core/errors.ts'
import type { Floor } from '../core/floors.ts'
import type { Placement } from '../core/placement.ts'
import { floorSince, raiseFloor, StepRefused, type Topology } from '../core/topology.ts'
import { epochOf } from './marker.ts'
import type { Member } from './member.ts'
import type { Membership } from './membership.ts'
import { CLOCK_SKEW_MS, type ClusterTime } from './time.ts'

export interface FlushingOptions {
  readonly membership: Membership
  readonly placement: () => Placement<Member>
  readonly reprobeAll: () => Promise<void>
  readonly versions: VersionClock
  readonly time: ClusterTime
  readonly clock: Clock
  readonly timers: Timers
  readonly requestTimeoutMs: number
}

/** A clock that is further ahead is wrong, and versions do not follow it for a flush. */
const MOST_AHEAD_MS = 60_000
/** Between two attempts, while nodes are marked. */
const AGAIN_MS = 5

export class Flushing {
  private readonly options: FlushingOptions
  private last: Promise<unknown> = Promise.resolve()
  /** By database: the flush that begins when the present one has ended. */
  private readonly next = new Map<number | null, Promise<boolean>>()

  constructor(options: FlushingOptions) {
    this.options = options
  }

  /**
   * Deletes all keys of a database, or of all. One at a time; those that wait for it, and delete the same, are one.
   *
   * @returns false if the members cannot agree on it now: then nothing was deleted, or is yet to be
   * @throws RondoError OUTCOME_UNKNOWN if it was decided, and some coordinators may still be answered from before
   */
  flush(database: number | null): Promise<boolean> {
    const same = this.next.get(database)
    if (same) return same
    const flushed = this.last.then(() => {
      this.next.delete(database)
      return this.run(database)
    })
    this.next.set(database, flushed)
    this.last = flushed.catch(() => undefined) // who asked for it hears of it
    return flushed
  }

  private async run(database: number | null): Promise<boolean> {
    // Clocks may have been set since the last ping.
    await this.options.reprobeAll()
    const untilMs = this.nowMs + this.options.requestTimeoutMs
    for (let isFirst = true; isFirst || this.nowMs < untilMs; isFirst = false) {
      const floor = { database, version: this.floorVersion() }
      const since = await this.decide(floor, untilMs)
      if (since === null && isFirst) return false
      if (since === null || !(await this.stand(since, untilMs))) break
      if (this.isAhead(floor)) return true
    }
    const sentence =
      'All keys were deleted, but too late: some nodes or coordinators had not heard of it, and may still find or change some of them. Try again, and see /status.'
    throw new RondoError('OUTCOME_UNKNOWN', sentence, { outcome: 'unknown' })
  }

  /** If not, a coordinator that had not heard of it may have made a later version from what is below it. */
  private isAhead({ version }: Floor): boolean {
    return Math.ceil(this.latestMs) < versionMs(version)
  }

  /** @returns the epoch since which the floor is in force; null = it could not be decided */
  private async decide(floor: Floor, untilMs: number): Promise<number | null> {
    const { membership } = this.options
    let mayBeAccepted = false
    // Another flush may have done it for this one, too.
    const step = (now: Topology) => (floorSince(now, floor) === null ? raiseFloor(now, floor) : now)
    for (;;) {
      const { topology } = membership
      const since = topology && floorSince(topology, floor)
      if (since) return since
      if (!topology || !this.isPossible(topology) || this.nowMs >= untilMs) break
      try {
        if (await membership.change(step)) continue
        mayBeAccepted = true
        await this.pause(AGAIN_MS)
      } catch (error) {
        if (!(error instanceof StepRefused)) throw error
        break
      }
    }
    if (mayBeAccepted) await this.pass(floor.version)
    return null
  }

  /** Resolves when the time is later than this version, by every clock; where clocks were set back, after as long as usual. */
  private async pass(version: Version): Promise<void> {
    const leftMs = versionMs(version) + CLOCK_SKEW_MS - this.options.time.nowMs()
    if (leftMs > 0) await this.pause(Math.min(leftMs, 2 * CLOCK_SKEW_MS))
  }

  /** In the first epoch every node has to take part (register.ts). */
  private isPossible({ epoch, phase }: Topology): boolean {
    if (phase !== 'stable') return false
    return epoch > 1 || this.members.every(({ health }) => health.state === 'up')
  }

  /** Resolves with false if too few nodes have the epoch in time. */
  private async stand(epoch: number, untilMs: number): Promise<boolean> {
    while (!this.stands(epoch)) {
      if (this.nowMs >= untilMs) return false
      await this.options.reprobeAll()
      if (!this.stands(epoch)) await this.pause(AGAIN_MS)
    }
    return true
  }

  private stands(epoch: number): boolean {
    const isMarked = ({ marker }: Member) => marker !== null && epochOf(marker) >= epoch
    const isReached = ({ health, completeness }: Member) =>
      health.state === 'up' && completeness !== 'refused'
    if (this.members.some((member) => isReached(member) && !isMarked(member))) return false
    for (const set of this.options.placement().replicaSets()) {
      const marked = [...set.homes.keys()].filter((place) => isMarked(set.homes[place]!))
      if (!set.isHeld(marked, 'quorum')) return false
    }
    return true
  }

  /**
   * Later than whatever any clock of now has made. Not one of this coordinator's own: its versions go on below it until the
   * floor is in force.
   */
  private floorVersion(): Version {
    const own = Buffer.alloc(VERSION_BYTES)
    this.options.versions.stamp(own, 0)
    const version = Buffer.alloc(VERSION_BYTES, 0xff)
    const ms = Math.max(Math.ceil(this.latestMs + CLOCK_SKEW_MS), versionMs(own) + 1)
    version.writeUIntBE(ms, 0, 6)
    return version
  }

  /** By any clock that coordinators may go by. */
  private get latestMs(): number {
    const { time } = this.options
    const ahead = this.members.map(({ id }) => time.distance(id)?.offMs ?? 0)
    return time.latestMs + Math.max(0, ...ahead.filter((offMs) => offMs <= MOST_AHEAD_MS))
  }

  private get members(): readonly Member[] {
    return this.options.placement().members
  }

  private get nowMs(): number {
    return this.options.clock.monotonicMs()
  }

  private pause(ms: number): Promise<void> {
    return new Promise((resolve) => void this.options.timers.setTimeout(resolve, ms))
  }
}
