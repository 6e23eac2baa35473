/**
 * The coordinator that works on a change is killed with SIGKILL, at a random point of the change: another one goes on,
 * nothing is lost, and nothing is left over.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { seeded } from '../support/random.ts'
import { ExerciseCluster, type Begun } from './cluster.ts'
import { Load } from './load.ts'

export interface KillsOptions {
  readonly kills: number
  readonly keys: number
  readonly operationsPerSecond: number
  readonly seed: number
  readonly onProgress?: (line: string) => void
}

export interface Killed {
  readonly kind: 'join' | 'leave'
  /** From the answer to the request on. */
  readonly afterMs: number
  readonly phase: string
  /** Until another coordinator worked on it, or it had ended. */
  readonly carriedOnMs: number
  /** Until it had ended. */
  readonly endedMs: number
}

export interface KillsResult {
  readonly load: Load
  readonly kills: readonly Killed[]
  readonly undisturbedMs: number
  /** Keys with other than so many copies, when all is over. */
  readonly copiesWrong: readonly string[]
}

const MEMBERS = 4
const SPARES = 1
const CLIENTS = 12
const LOOK_EVERY_MS = 10

export async function runKills(options: KillsOptions): Promise<KillsResult> {
  const { kills: wanted, keys, operationsPerSecond, seed, onProgress } = options
  const random = seeded(seed)
  const cluster = await ExerciseCluster.start(MEMBERS, SPARES)
  try {
    const load = new Load(cluster, { keys, clients: CLIENTS, operationsPerSecond, seed })
    await load.fill()
    load.start()
    const kills: Killed[] = []
    let undisturbedMs = 0
    try {
      const fromMs = performance.now()
      await cluster.ended(await cluster.change('join', MEMBERS))
      undisturbedMs = performance.now() - fromMs
      while (kills.length < wanted) {
        const kind = cluster.members.has(MEMBERS) ? 'leave' : 'join'
        const killed = await killDuring(cluster, load, kind, random.next() * undisturbedMs)
        if (!killed) continue
        kills.push(killed)
        onProgress?.(
          `${kills.length}: ${kind}, killed in ${killed.phase} after ${killed.afterMs.toFixed(0)} ms, another one after ${killed.carriedOnMs.toFixed(0)} ms, ended after ${killed.endedMs.toFixed(0)} ms`,
        )
      }
    } finally {
      await load.stop()
    }
    await load.readAll()
    await cluster.repair()
    return { load, kills, undisturbedMs, copiesWrong: await cluster.wrongCopies() }
  } finally {
    await cluster.stop()
  }
}

/** Null: it had ended before. */
async function killDuring(
  cluster: ExerciseCluster,
  load: Load,
  kind: 'join' | 'leave',
  afterMs: number,
): Promise<Killed | null> {
  const asked = cluster.up[0]!
  const begun = await cluster.change(kind, MEMBERS, asked)
  await delay(afterMs)
  const [[work, driver] = ['', asked] as const] = [...(await cluster.leases())]
  const { epoch, phase } = await cluster.clusterAt(driver)
  const isOver = phase === 'stable' && epoch >= begun.waitFor
  load.isCutOff = true
  const killedAtMs = performance.now()
  await cluster.killCoordinator(driver)
  await untilCarriedOn(cluster, begun, work, epoch)
  const carriedOnMs = performance.now() - killedAtMs
  await cluster.ended(begun)
  const endedMs = performance.now() - killedAtMs
  await cluster.report(begun)
  await cluster.startCoordinator(driver)
  load.isCutOff = false
  return isOver ? null : { kind, afterMs, phase, carriedOnMs, endedMs }
}

/** @param work the lease that was held; '' = nobody had begun: then any. Until another one has it, or it is done. */
async function untilCarriedOn(
  cluster: ExerciseCluster,
  { waitFor }: Begun,
  work: string,
  epochThen: number,
): Promise<void> {
  for (;;) {
    const leases = await cluster.leases()
    if (work === '' ? leases.size > 0 : leases.has(work)) return
    if (await cluster.hasEnded(waitFor)) return
    const epochs = await Promise.all(cluster.up.map((i) => cluster.clusterAt(i)))
    if (epochs.some(({ epoch }) => epoch > epochThen)) return
    await delay(LOOK_EVERY_MS)
  }
}
