/**
 * What goes wrong in the middle of a change, at each of its phases, while clients go on. Each case ends with the change
 * over, nothing lost, and every key on as many members as it should be.
 *
 * The change is held in a phase by a limit of its speed. In `early` nothing has been moved yet: it is paused at once.
 */
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { ExerciseCluster, type Begun } from './cluster.ts'
import { Load } from './load.ts'

export type Phase = 'early' | 'both' | 'switched'

const MEMBERS = 4
/** The one that joins. */
const JOINER = MEMBERS
const SOURCE = 1
const KEYS = 600
const CLIENTS = 12
const OPERATIONS_PER_SECOND = 100
/** So that each pass takes some seconds. */
const KEYS_PER_SECOND = 300
const FOR_MS = 1200
const LONGER_MS = 2500
const OPTIONS: Readonly<Record<string, readonly string[]>> = {
  full: ['maxmemory', '1'],
  'read-only': ['min-replicas-to-write', '1'],
}
const NORMAL: Readonly<Record<string, readonly string[]>> = {
  full: ['maxmemory', '0'],
  'read-only': ['min-replicas-to-write', '0'],
}

interface Situation {
  readonly cluster: ExerciseCluster
  readonly load: Load
  readonly begun: Begun
  readonly phase: Phase
}

export interface Fault {
  readonly name: string
  readonly phases: readonly Phase[]
  readonly run: (now: Situation) => Promise<void>
  /** It ends in the former members, with another epoch. */
  readonly isUndone?: (phase: Phase) => boolean
}

const WHERE = { source: SOURCE, target: JOINER } as const
const ALL: readonly Phase[] = ['early', 'both', 'switched']
const MIDDLE: readonly Phase[] = ['both', 'switched']

/** What is done to a server, and undone. */
const HARM: Readonly<Record<string, (cluster: ExerciseCluster, server: number) => Promise<void>>> = {
  'is killed and comes back empty': async ({ servers }, server) => {
    await servers[server]!.kill()
    await delay(FOR_MS)
    await servers[server]!.restart({ wipe: true })
  },
  'is paused': async ({ servers }, server) => {
    await servers[server]!.pause()
    await delay(LONGER_MS)
    servers[server]!.resume()
  },
  'is flushed': async (cluster, server) => {
    await cluster.server(server).flushall()
  },
  'is full': (cluster, server) => configured(cluster, server, 'full'),
  'takes no writes': (cluster, server) => configured(cluster, server, 'read-only'),
  'cannot write to its disk': brokenDisk,
  'becomes a replica': async (cluster, server) => {
    await cluster.server(server).replicaof('127.0.0.1', 1)
    await delay(FOR_MS)
    await cluster.server(server).replicaof('NO', 'ONE')
  },
}

async function configured(cluster: ExerciseCluster, server: number, how: string): Promise<void> {
  const [name, value] = OPTIONS[how]!
  await cluster.server(server).config('SET', name!, value!)
  await delay(FOR_MS)
  const [, normal] = NORMAL[how]!
  await cluster.server(server).config('SET', name!, normal!)
}

/** Its snapshots fail, and it refuses writes because of that (MISCONF). */
async function brokenDisk(cluster: ExerciseCluster, server: number): Promise<void> {
  const redis = cluster.server(server)
  const place = join(cluster.servers[server]!.dir, 'dump.rdb')
  await rm(place, { force: true })
  await mkdir(place)
  await redis.config('SET', 'save', '3600 1000000')
  await redis.bgsave()
  while (!(await redis.info('persistence')).includes('rdb_last_bgsave_status:err')) await delay(20)
  await delay(FOR_MS)
  await redis.config('SET', 'save', '')
  await rm(place, { recursive: true })
}

const serverFaults: Fault[] = Object.entries(WHERE).flatMap(([where, server]) =>
  Object.entries(HARM).map(([name, harm]) => ({
    name: `the ${where} ${name}`,
    phases: MIDDLE,
    run: ({ cluster }: Situation) => harm(cluster, server),
  })),
)

const coordinatorFaults: Fault[] = [
  {
    name: 'all coordinators are killed and started again',
    phases: MIDDLE,
    run: async ({ cluster, load }) => {
      load.isCutOff = true
      const up = [...cluster.up]
      await Promise.all(up.map((i) => cluster.killCoordinator(i)))
      // With the members that they were first given: they find the others by themselves.
      cluster.members.delete(JOINER)
      for (const i of up) await cluster.startCoordinator(i)
      cluster.members.add(JOINER)
      load.isCutOff = false
    },
  },
  {
    name: 'the coordinator that works is paused, and wakes with batches in its sockets',
    phases: MIDDLE,
    run: async ({ cluster, load, begun }) => {
      const driver = (await cluster.driver()) ?? cluster.up[0]!
      const { program } = cluster.coordinator(driver)!
      load.isCutOff = true
      program.signal('SIGSTOP')
      cluster.setAside(driver)
      await throttled(cluster, 0)
      await cluster.ended(begun)
      await delay(FOR_MS)
      program.signal('SIGCONT')
      cluster.takeBack(driver)
      load.isCutOff = false
    },
  },
]

const steering: Fault[] = [
  {
    name: 'it is paused, and goes on',
    phases: ALL,
    run: async ({ cluster }) => {
      await asked(cluster, '/rebalance/pause')
      await delay(FOR_MS)
      await asked(cluster, '/rebalance/resume')
    },
  },
  {
    name: 'it is cancelled',
    phases: ALL,
    isUndone: (phase) => phase !== 'switched',
    run: async ({ cluster, phase }) => {
      const { status } = await cluster.ask('POST', '/rebalance/cancel', {})
      const wanted = phase === 'switched' ? 409 : 202
      if (status !== wanted) throw new Error(`cancelled in ${phase}: ${status} instead of ${wanted}`)
    },
  },
]

export const FAULTS: readonly Fault[] = [...serverFaults, ...coordinatorFaults, ...steering]

export interface Case {
  readonly fault: Fault
  readonly phase: Phase
}

export const CASES: readonly Case[] = FAULTS.flatMap((fault) =>
  fault.phases.map((phase) => ({ fault, phase })),
)

export interface CaseResult {
  readonly load: Load
  readonly copiesWrong: readonly string[]
  readonly members: readonly string[]
  readonly expected: readonly string[]
  readonly tookMs: number
}

/** @throws Error if the change does not end */
export async function runCase({ fault, phase }: Case, seed: number): Promise<CaseResult> {
  const startMs = performance.now()
  const cluster = await ExerciseCluster.start(MEMBERS, 1)
  const options = { keys: KEYS, clients: CLIENTS, operationsPerSecond: OPERATIONS_PER_SECOND, seed }
  const load = new Load(cluster, options)
  try {
    await load.fill()
    load.start()
    await throttled(cluster, KEYS_PER_SECOND)
    const begun = await cluster.change('join', JOINER)
    if (phase === 'early') await asked(cluster, '/rebalance/pause')
    else await cluster.until(`it is in ${phase}`, () => isMoving(cluster, phase))
    await fault.run({ cluster, load, begun, phase })
    const isUndone = fault.isUndone?.(phase) ?? false
    if (isUndone) cluster.members.delete(JOINER)
    else if (phase === 'early') await asked(cluster, '/rebalance/resume')
    await throttled(cluster, 0)
    await cluster.ended({ ...begun, waitFor: isUndone ? begun.epoch + 1 : begun.waitFor })
    await allClean(cluster)
    await load.stop()
    await load.readAll()
    await cluster.repair()
    const members = await cluster.coordinator(cluster.up.at(-1)!)!.members()
    return {
      load,
      copiesWrong: await cluster.wrongCopies(),
      members: members.sort(),
      expected: [...cluster.members].map((server) => cluster.idOf(server)).sort(),
      tookMs: performance.now() - startMs,
    }
  } finally {
    await load.stop()
    await cluster.stop()
  }
}

async function isMoving(cluster: ExerciseCluster, phase: Phase): Promise<boolean> {
  const { json } = await cluster.ask('GET', '/rebalance')
  return json.phase === phase && json.rate !== null
}

/** Also asked of a member that cannot be written to for the moment. */
async function throttled(cluster: ExerciseCluster, keysPerSecond: number): Promise<void> {
  await cluster.until(`at most ${keysPerSecond} keys a second`, async () => {
    return (await cluster.ask('POST', '/rebalance/throttle', { keysPerSecond })).status < 300
  })
}

async function asked(cluster: ExerciseCluster, path: string): Promise<void> {
  const { status, json } = await cluster.ask('POST', path, {})
  // It may have ended by itself.
  if (status >= 300 && status !== 409) throw new Error(`${path}: ${status} ${JSON.stringify(json)}`)
}

async function allClean(cluster: ExerciseCluster): Promise<void> {
  await cluster.until('all members are clean', async () => {
    for (const i of cluster.up) {
      const { json } = await cluster.coordinator(i)!.call('GET', '/members')
      const members = json.members as { completeness: string; health: string }[]
      if (!members.every(({ completeness, health }) => completeness === 'clean' && health === 'alive'))
        return false
    }
    return true
  })
}
