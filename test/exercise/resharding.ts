/** Nodes join and leave one after the other, while clients do all that clients do: what was lost, refused, slow or moved. */
import { setTimeout as delay } from 'node:timers/promises'
import { ExerciseCluster, type Report } from './cluster.ts'
import { Load } from './load.ts'
import { Scanner } from './scanner.ts'
import type { Level } from './steps.ts'

export interface ReshardingOptions {
  readonly keys: number
  readonly operations: number
  readonly operationsPerSecond: number
  readonly seed: number
  readonly onProgress?: (line: string) => void
}

export interface ChangeDone {
  readonly kind: 'join' | 'leave'
  readonly id: string
  readonly report: Report
  readonly tookMs: number
  /** Copies on the node that joined or left, and what would be an equal share of all. */
  readonly copies: number
  readonly ideal: number
}

export interface Latency {
  readonly level: Level
  readonly p99BeforeMs: number
  readonly p99DuringMs: number
  readonly during: number
}

export interface ReshardingResult {
  readonly load: Load
  readonly changes: readonly ChangeDone[]
  readonly latencies: readonly Latency[]
  readonly scans: number
  readonly scansFailed: number
  readonly leftOut: readonly string[]
  /** Keys with other than so many copies, when all is over. */
  readonly copiesWrong: readonly string[]
  readonly tookMs: number
}

const MEMBERS = 4
const SPARES = 2
const CLIENTS = 48
const CALM_SHARE = 0.15
const LOOK_EVERY_MS = 50

export async function runResharding(options: ReshardingOptions): Promise<ReshardingResult> {
  const { keys, operations, operationsPerSecond, seed, onProgress } = options
  const startMs = performance.now()
  const cluster = await ExerciseCluster.start(MEMBERS, SPARES)
  try {
    const load = new Load(cluster, { keys, clients: CLIENTS, operationsPerSecond, seed })
    await load.fill()
    onProgress?.(`${keys} keys are there after ${((performance.now() - startMs) / 1000).toFixed(0)} s`)
    load.start()
    // Before the changes as well, so that what clients wait for before and during them is of the same load.
    const scanner = new Scanner(cluster, load.staying)
    const changes: ChangeDone[] = []
    try {
      while (load.operations < operations * CALM_SHARE) await delay(LOOK_EVERY_MS)
      for (let i = 0; load.operations < operations || changes.length < 2; i++) {
        const change = await changed(cluster, load, i)
        changes.push(change)
        onProgress?.(`${change.kind} ${change.id}: ${load.operations} of ${operations} operations`)
      }
    } finally {
      await scanner.stop()
      await load.stop()
    }
    await load.readAll()
    // Clients went on while the leftovers were dropped; what stood in for a slow node goes home later.
    await cluster.repair()
    return {
      load,
      changes,
      latencies: (['one', 'quorum', 'all'] as const).map((level) => latencyAt(load, level)),
      scans: scanner.scans,
      scansFailed: scanner.failed,
      leftOut: scanner.leftOut,
      copiesWrong: await cluster.wrongCopies(),
      tookMs: performance.now() - startMs,
    }
  } finally {
    await cluster.stop()
  }
}

/** Two nodes join, then the two that have been members for longest leave, and so on. */
async function changed(cluster: ExerciseCluster, load: Load, i: number): Promise<ChangeDone> {
  const joins = i % 4 < 2
  const { members, servers } = cluster
  const server = joins ? [...servers.keys()].find((one) => !members.has(one))! : [...members][0]!
  const kind = joins ? 'join' : 'leave'
  const leaving = joins ? null : await share(cluster, server)
  load.isDuring = true
  const fromMs = performance.now()
  const begun = await cluster.change(kind, server, i % 3)
  await cluster.ended(begun)
  const tookMs = performance.now() - fromMs
  load.isDuring = false
  const report = await cluster.report(begun)
  return { kind, id: cluster.idOf(server), report, tookMs, ...(leaving ?? (await share(cluster, server))) }
}

async function share(cluster: ExerciseCluster, server: number): Promise<{ copies: number; ideal: number }> {
  const held = await cluster.sizes([...cluster.members])
  const [copies] = await cluster.sizes([server])
  const all = held.reduce((sum, count) => sum + count, 0)
  return { copies: copies!, ideal: all / held.length }
}

function latencyAt({ measured }: Load, level: Level): Latency {
  const of = (isDuring: boolean) =>
    measured.filter((one) => one.level === level && one.isDuring === isDuring).map(({ ms }) => ms)
  const p99 = (all: number[]) => all.sort((a, b) => a - b)[Math.floor(0.99 * all.length)] ?? 0
  const during = of(true)
  return { level, p99BeforeMs: p99(of(false)), p99DuringMs: p99(during), during: during.length }
}
