/** How long a change takes, by the keys that nodes hold: a node joins, and is brought what it gains by the repair itself. */
import { KIND_VALUE, newRecord } from '../../../src/core/codec.ts'
import { REPORT } from '../../../src/repair/progress.ts'
import { World } from '../world.ts'

const VALUE_BYTES = 100
/** The change is over in the fourth epoch. */
const LAST_EPOCH = 4
const LONGEST_MS = 600_000

export interface Change {
  readonly nodes: number
  readonly keys: number
  /** From the request until a coordinator works by the new members alone; virtual. */
  readonly seconds: number
  /** What this machine took to compute that, with the nodes. */
  readonly cpuSeconds: number
  /** Copies that were read for it, by both passes, and those that were sent. */
  readonly checked: number
  readonly moved: number
}

/** @param keys different ones, of which each has three copies */
export async function changeOf(nodes: number, keys: number): Promise<Change> {
  const world = new World({
    ...{ seed: 1, servers: nodes, spares: 1, replicas: 3, coordinators: 2 },
    ...{ durable: false, tracing: false, antiEntropyMs: 0 },
    maxEvents: Infinity,
  })
  await world.found()
  fillWith(world, keys)
  const { cluster } = world.coordinators[0]!
  const { id } = world.servers.at(-1)!
  const startMs = world.scheduler.nowMs
  const cpu = process.cpuUsage()
  let failure: string | null = null
  cluster.changes
    .request({ join: [{ id, url: `redis://${id}:6379`, weight: 1, zone: null }] })
    .catch((error: unknown) => (failure = String(error)))
  const isDone = () => failure !== null || world.topologies.epoch >= LAST_EPOCH
  await world.scheduler.runUntil(startMs + LONGEST_MS, isDone)
  if (failure !== null) throw new Error(`the change was not begun: ${failure as string}`)
  if (!isDone()) throw new Error(`the change did not end within ${LONGEST_MS / 1000} s`)
  const seconds = (world.scheduler.nowMs - startMs) / 1000
  const { user, system } = process.cpuUsage(cpu)
  const reading = REPORT.read(cluster)
  await world.scheduler.runUntil(world.scheduler.nowMs + 1000)
  const report = await reading
  const cpuSeconds = (user + system) / 1e6
  return { nodes, keys, seconds, cpuSeconds, checked: report?.checked ?? 0, moved: report?.moved ?? 0 }
}

function fillWith(world: World, keys: number): void {
  const value = Buffer.alloc(VALUE_BYTES)
  const { versions } = world.coordinators[0]!.cluster
  for (let i = 0; i < keys; i++) {
    const key = `key-${i}`
    const { head } = newRecord(KIND_VALUE, versions, 0)
    for (const { process } of world.homesOf(key)) {
      process!.engine.storage.set(Buffer.from(key), Buffer.concat([head, value]), Infinity)
    }
  }
}
