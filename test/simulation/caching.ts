/**
 * Clients that keep what they have read, one at each coordinator, and are told what has changed (CLIENT TRACKING), by the
 * coordinator's own tracking. What one keeps may be old by as much as a node may be silent.
 */
import { compareVersions } from '../../src/core/clock.ts'
import type { StoredRecord } from '../../src/core/codec.ts'
import { readRecord } from '../../src/coordinator/promises.ts'
import type { Requester } from '../../src/coordinator/api.ts'
import { MAX_STALENESS_MS } from './changes.ts'
import { nameOf, type Done } from './workload.ts'
import type { Running, World } from './world.ts'

/** A PING every third, and one more until it is missed; a look at the sources; and a turn or two. */
const OLDEST_MS = (4 / 3) * MAX_STALENESS_MS + 100 + 50

interface Keeper {
  readonly kept: Map<string, StoredRecord | null>
  /** Keys that it is told of before it has its answer: the answer is not kept. */
  readonly reading: Set<string>
  readonly ready: Promise<void> | null
}

export class Caching {
  private readonly world: World
  private readonly keepers = new WeakMap<Running, Keeper>()

  constructor(world: World) {
    this.world = world
  }

  /** @param history what was done until now @param stalledMs by how much a coordinator may be late */
  async read(
    running: Running,
    done: Done,
    requester: Requester,
    history: readonly Done[],
    stalledMs: number,
  ): Promise<StoredRecord | null> {
    const { key, level } = done.operation
    const keeper = this.keeperOf(running)
    const kept = keeper.kept.get(key)
    if (kept !== undefined) {
      this.world.counters.count('read from what a client keeps')
      this.check(done, kept, history, OLDEST_MS + stalledMs)
      return kept
    }
    if (keeper.ready) await keeper.ready
    const bytes = Buffer.from(key)
    keeper.reading.add(key)
    running.coordinator.tracking.remember(this.trackerOf(keeper), [bytes])
    const record = await readRecord(running.coordinator, bytes, { requester, level })
    if (keeper.reading.delete(key)) keeper.kept.set(key, record)
    return record
  }

  private readonly trackers = new WeakMap<Keeper, Tracker>()

  private trackerOf(keeper: Keeper): Tracker {
    return this.trackers.get(keeper)!
  }

  private keeperOf(running: Running): Keeper {
    let keeper = this.keepers.get(running)
    if (keeper) return keeper
    const kept = new Map<string, StoredRecord | null>()
    const reading = new Set<string>()
    const tracker: Tracker = {
      ignores: null,
      changed: (keys) => {
        this.world.counters.count(keys ? 'told what has changed' : 'told that all may have changed')
        for (const name of keys?.map(String) ?? [...kept.keys(), ...reading]) {
          kept.delete(name)
          reading.delete(name)
        }
      },
    }
    keeper = { kept, reading, ready: running.coordinator.tracking.begin(tracker, null) }
    this.trackers.set(keeper, tracker)
    this.keepers.set(running, keeper)
    return keeper
  }

  /** What was confirmed longer ago is known to whoever keeps something older. */
  private check(done: Done, kept: StoredRecord | null, history: readonly Done[], oldestMs: number): void {
    const { nowMs } = this.world.scheduler
    for (const other of history) {
      if (other.operation.key !== done.operation.key || other.outcome !== 'ok' || !other.version) continue
      const isNewer = !kept || compareVersions(other.version, kept.version) > 0
      if (!isNewer || nowMs - other.endMs <= oldestMs || other.operation.kind === 'cached-read') continue
      const ms = (nowMs - other.endMs).toFixed(0)
      this.world.fault(`${nameOf(done)} keeps a value from before ${nameOf(other)}, ${ms} ms ago`)
      return
    }
  }
}

type Tracker = Parameters<Running['coordinator']['tracking']['begin']>[0]
