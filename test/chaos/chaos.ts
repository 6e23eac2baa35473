/**
 * One run of real chaos: found a cluster, let clients and faults loose on it, wait until the replicas agree, read every
 * key once more, and judge.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { seeded } from '../support/random.ts'
import type { ChangeRun, CoordinatorDown } from './changes.ts'
import { ChaosCluster, REQUEST_TIMEOUT_MS, type LogEntry } from './cluster.ts'
import { Faults, planRun, type Detection, type Incident } from './faults.ts'
import { differences, faultsDuring, judgeHistory, type Difference, type KeyVerdict } from './verdict.ts'
import { Collections, type CollectionsVerdict } from './collections.ts'
import { Stalls } from './stalls.ts'
import { Workload, type Operation } from './workload.ts'

export interface ChaosOptions {
  readonly seed: number
  readonly faults: number
  /** How many of the faults, in percent, are changes of the members. */
  readonly changesPercent: number
  readonly operationsPerSecond: number
  /** No new fault begins after this. */
  readonly limitMs: number
  /** Operations go on until there were this many. */
  readonly operations: number
  readonly onProgress?: (line: string) => void
}

export interface ChaosResult {
  readonly startedAtMs: number
  readonly history: readonly Operation[]
  readonly incidents: readonly Incident[]
  readonly detections: readonly Detection[]
  readonly changes: readonly ChangeRun[]
  /** By reason: requests for a change that were refused. */
  readonly refusals: ReadonlyMap<string, number>
  /** Servers with the data of a member that they were, which were refused as they have to be. */
  readonly usedRefused: number
  /** Coordinators that were killed. */
  readonly downs: readonly CoordinatorDown[]
  readonly complaints: readonly string[]
  readonly verdicts: readonly KeyVerdict[]
  readonly keys: number
  readonly collections: CollectionsVerdict
  /** Operations that took longer than the request timeout and a little. */
  readonly stuck: readonly Operation[]
  /** Null: not within the time. */
  readonly convergedAfterMs: number | null
  readonly differences: readonly Difference[]
  readonly hintsLeft: number
  readonly behind: readonly string[]
  readonly longestStallMs: number
  readonly log: readonly LogEntry[]
  readonly tookMs: number
}

export const LATE_MS = 250
export const CONVERGED_WITHIN_MS = 60_000
const WARM_UP_MS = 300

export async function runChaos(options: ChaosOptions): Promise<ChaosResult> {
  const { seed, faults: count, changesPercent, operationsPerSecond, limitMs, onProgress } = options
  const startedAtMs = performance.now()
  const plan = planRun(count, changesPercent, seed)
  const stalls = new Stalls()
  const cluster = await ChaosCluster.start()
  try {
    const workload = new Workload(
      cluster,
      { clientsPerCoordinator: 4, operationsPerSecond, keys: 30, operationsPerKey: 150 },
      seeded(seed + 1),
    )
    const collections = new Collections(cluster, seeded(seed + 2))
    await collections.start()
    workload.start()
    await delay(WARM_UP_MS)
    const faults = new Faults(cluster, stalls, performance.now() + limitMs)
    const ticker = setInterval(() => {
      const begun = faults.incidents.length + faults.changes.runs.length
      onProgress?.(`${begun} of ${count} faults, ${workload.history.length} operations`)
    }, 10_000)
    try {
      await faults.run(plan)
      while (workload.history.length < options.operations && faults.complaints.length === 0) await delay(100)
    } finally {
      clearInterval(ticker)
      await Promise.all([workload.stop(), collections.stop()])
    }
    const convergence = await converge(cluster, workload.keys)
    const finalFrom = workload.history.length
    await workload.readAll()
    if (!(await cluster.foreignUntouched())) faults.complaints.push("somebody else's Redis was written to")
    const { history } = workload
    const became = await collections.judge()
    return {
      startedAtMs,
      history,
      incidents: faults.incidents,
      detections: faults.detections,
      changes: faults.changes.runs,
      refusals: faults.changes.refusals,
      usedRefused: faults.changes.usedRefused,
      downs: faults.changes.downs,
      complaints: faults.complaints,
      verdicts: judgeHistory(history, finalFrom),
      keys: workload.keys.length,
      collections: became,
      stuck: history.filter(
        ({ startMs, endMs }) =>
          endMs - startMs > REQUEST_TIMEOUT_MS + LATE_MS &&
          endMs - startMs - stalls.betweenMs(startMs, endMs) > REQUEST_TIMEOUT_MS + LATE_MS,
      ),
      ...convergence,
      longestStallMs: stalls.longestMs,
      log: cluster.log,
      tookMs: performance.now() - startedAtMs,
    }
  } finally {
    stalls.stop()
    await cluster.stop()
  }
}

/** Waits until every node is whole and not behind, and replicas are equal. */
async function converge(
  cluster: ChaosCluster,
  keys: readonly string[],
): Promise<Pick<ChaosResult, 'convergedAfterMs' | 'differences' | 'hintsLeft' | 'behind'>> {
  const fromMs = performance.now()
  for (;;) {
    const { members } = cluster
    const whole = await Promise.all(members.map((node) => cluster.isWhole(node)))
    const behind = members.filter((node, i) => !whole[i] || cluster.isBehind(node)).map(({ id }) => id!)
    const found = await differences(cluster, keys)
    const hintsLeft = await cluster.hintCount()
    const tookMs = performance.now() - fromMs
    const done = behind.length === 0 && found.length === 0 && hintsLeft === 0
    if (done || tookMs > CONVERGED_WITHIN_MS) {
      return { convergedAfterMs: done ? tookMs : null, differences: found, hintsLeft, behind }
    }
    await delay(50)
  }
}

export function failedOperations({ history }: ChaosResult): Operation[] {
  return history.filter(({ outcome }) => outcome !== 'ok')
}

/** Operations during which exactly one node was at fault, and the members and coordinators stayed as they were. */
export function withOneNodeAtFault(result: ChaosResult): Operation[] {
  return result.history.filter(
    (operation) =>
      new Set(faultsDuring(operation, result.incidents).map(({ node }) => node)).size === 1 &&
      !isDuringChange(operation, result) &&
      !wasCutOff(operation, result),
  )
}

export function isDuringChange({ startMs, endMs }: Operation, { changes }: ChaosResult): boolean {
  return changes.some(({ fromMs, endedMs }) => fromMs <= endMs && endedMs >= startMs)
}

/** Its coordinator was killed meanwhile. */
export function wasCutOff({ coordinator, startMs, endMs }: Operation, { downs }: ChaosResult): boolean {
  return downs.some(
    (down) => down.coordinator === coordinator && down.fromMs <= endMs && down.untilMs >= startMs,
  )
}
