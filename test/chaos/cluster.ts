/**
 * Four real redis-server processes, three coordinators, and between each two of them a proxy that can go wrong:
 *
 *     coordinator 0 ──▶ proxy ──▶ a (append-only, everysec)      ┐
 *                   ──▶ proxy ──▶ b (snapshots, when told to)    │ and somebody else's Redis,
 *                   ──▶ proxy ──▶ c (append-only, always)        │ which no byte may be written to
 *                   ──▶ proxy ──▶ d (snapshots, when told to)    ┘
 *     coordinator 1 ──▶ four more proxies, coordinator 2 too
 *
 * `isWhole` looks at the node itself, past proxies and coordinators: its marker says clean, in this run of its process.
 */
import { existsSync } from 'node:fs'
import { mkdtemp, readdir, rm, stat, truncate } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import { Redis } from 'ioredis'
import { pino } from 'pino'
import { decodeMarker, type Marker } from '../../src/cluster/marker.ts'
import type { Member } from '../../src/cluster/member.ts'
import { loadConfig } from '../../src/config/config.ts'
import { hintsKey, MARKER_KEY } from '../../src/core/keys.ts'
import { Rondo } from '../../src/app/rondo.ts'
import { FaultProxy } from '../support/fault-proxy.ts'
import { startRedis, type RedisServer } from '../../scripts/redis-server.ts'

export const REQUEST_TIMEOUT_MS = 1000
export const NODE_IDS = ['a', 'b', 'c', 'd'] as const
export type NodeId = (typeof NODE_IDS)[number]
export const COORDINATORS = 3
const REPLICAS = 3

const PERSISTENCE: Record<NodeId, readonly string[]> = {
  a: ['--appendonly', 'yes', '--appendfsync', 'everysec'],
  b: [],
  c: ['--appendonly', 'yes', '--appendfsync', 'always'],
  d: [],
}

/** Keys of the Redis that is not ours, as they must be at the end. */
const FOREIGN_KEYS = 20

export interface LogEntry {
  readonly atMs: number
  readonly coordinator: number
  readonly text: string
}

export class ChaosNode {
  readonly id: NodeId
  readonly server: RedisServer
  /** One per coordinator. */
  readonly proxies: readonly FaultProxy[]
  constructor(id: NodeId, server: RedisServer, proxies: readonly FaultProxy[]) {
    this.id = id
    this.server = server
    this.proxies = proxies
  }

  /** Runs commands on the server itself. Rejects when it does not answer within a second. */
  async ask<T>(commands: (client: Redis) => Promise<T>): Promise<T> {
    return withClient(this.server.port, commands)
  }

  /** Its marker, and whether the marker belongs to this run of the process; null when it has none or does not answer. */
  async marker(): Promise<{ marker: Marker; current: boolean } | null> {
    try {
      return await this.ask(async (client) => {
        const bytes = await client.getBuffer(MARKER_KEY)
        const info = await client.info('server')
        const marker = bytes && decodeMarker(bytes)
        return marker ? { marker, current: info.includes(`run_id:${marker.runId}`) } : null
      })
    } catch {
      return null // paused or down: whoever asks asks again
    }
  }

  /** Cuts some bytes off the end of the append-only file, as a crash of the machine does. The server is down. */
  async loseTail(bytes: number): Promise<void> {
    const folder = join(this.server.dir, 'appendonlydir')
    for (const name of await readdir(folder).catch(() => [] as string[])) {
      if (!name.endsWith('.incr.aof')) continue
      const { size } = await stat(join(folder, name))
      await truncate(join(folder, name), Math.max(0, size - bytes))
    }
  }
}

export class ChaosCluster {
  readonly nodes: readonly ChaosNode[]
  readonly foreign: RedisServer
  readonly rondos: readonly Rondo[]
  /** What the coordinators logged. */
  readonly log: LogEntry[]
  private readonly foreignBefore: string

  private constructor(
    nodes: readonly ChaosNode[],
    foreign: RedisServer,
    foreignBefore: string,
    rondos: readonly Rondo[],
    log: LogEntry[],
  ) {
    this.nodes = nodes
    this.foreign = foreign
    this.foreignBefore = foreignBefore
    this.rondos = rondos
    this.log = log
  }

  static async start(): Promise<ChaosCluster> {
    const undo: (() => Promise<void>)[] = []
    try {
      const nodes = await Promise.all(
        NODE_IDS.map(async (id) => {
          const dir = await mkdtemp(join(fastFolder(), `rondo-chaos-${id}-`))
          undo.push(() => rm(dir, { recursive: true, force: true }))
          const server = await startRedis({ args: PERSISTENCE[id], dir })
          undo.push(() => server.stop())
          const proxies = await Promise.all(
            Array.from({ length: COORDINATORS }, () => FaultProxy.start(server.port)),
          )
          undo.push(() => Promise.resolve(proxies.forEach((proxy) => proxy.close())))
          return new ChaosNode(id, server, proxies)
        }),
      )
      const foreign = await startRedis()
      undo.push(() => foreign.stop())
      await withClient(foreign.port, foundElsewhere)
      const foreignBefore = await fingerprint(foreign.port)
      const log: LogEntry[] = []
      const rondos = Array.from({ length: COORDINATORS }, (_, i) => newRondo(nodes, i, log))
      undo.push(async () => void (await Promise.all(rondos.map((rondo) => rondo.stop()))))
      await Promise.all(rondos.map((rondo) => rondo.start()))
      return new ChaosCluster(nodes, foreign, foreignBefore, rondos, log)
    } catch (error) {
      for (const step of undo.reverse()) await step()
      throw error
    }
  }

  async stop(): Promise<void> {
    for (const { server } of this.nodes) if (server.pid !== undefined) server.resume()
    await Promise.all(this.rondos.map((rondo) => rondo.stop()))
    for (const { proxies } of this.nodes) for (const proxy of proxies) proxy.close()
    await Promise.all([...this.nodes.map(({ server }) => server.stop()), this.foreign.stop()])
    await Promise.all(this.nodes.map(({ server }) => rm(server.dir, { recursive: true, force: true })))
  }

  node(id: NodeId): ChaosNode {
    return this.nodes.find((node) => node.id === id)!
  }

  member(coordinator: number, id: NodeId): Member {
    return this.rondos[coordinator]!.cluster.members.find((member) => member.id === id)!
  }

  /** The node holds all that was acknowledged, and every coordinator uses it and knows so. */
  async isWhole(id: NodeId): Promise<boolean> {
    const found = await this.node(id).marker()
    if (found?.marker.state !== 'clean' || !found.current) return false
    return this.rondos.every((_, i) => {
      const { marker, completeness, health, node } = this.member(i, id)
      return (
        marker?.token === found.marker.token &&
        completeness === 'clean' &&
        health.state === 'up' &&
        node.ready
      )
    })
  }

  isBehind(id: NodeId): boolean {
    return this.rondos.some((_, i) => this.member(i, id).behind)
  }

  homesOf(key: string): readonly NodeId[] {
    const members = this.rondos[0]!.cluster.placement.replicaSetOf(Buffer.from(key)).homes
    return members.map((member) => member.id as NodeId)
  }

  /** The bytes that the nodes hold under these keys, by node. */
  async rawRecords(keys: readonly string[]): Promise<Map<NodeId, (Buffer | null)[]>> {
    const held = new Map<NodeId, (Buffer | null)[]>()
    for (const node of this.nodes) {
      const records = keys.length === 0 ? [] : await node.ask((client) => client.mgetBuffer(...keys))
      held.set(node.id, records)
    }
    return held
  }

  /** Hints that wait on any node for any other. */
  async hintCount(): Promise<number> {
    let sum = 0
    for (const node of this.nodes) {
      for (const id of NODE_IDS) sum += await node.ask((client) => client.hlen(hintsKey(id)))
    }
    return sum
  }

  /** Not one key was added, changed or removed there. */
  async foreignUntouched(): Promise<boolean> {
    return (await fingerprint(this.foreign.port)) === this.foreignBefore
  }
}

/** In memory where there is such a folder: a disk that stalls would be a second fault, which nobody has recorded. */
function fastFolder(): string {
  return existsSync('/dev/shm') ? '/dev/shm' : tmpdir()
}

/** Removes what a server keeps on disk. It is down. */
export async function forgetAll(server: RedisServer): Promise<void> {
  for (const name of await readdir(server.dir))
    await rm(join(server.dir, name), { recursive: true, force: true })
}

function newRondo(nodes: readonly ChaosNode[], coordinator: number, log: LogEntry[]): Rondo {
  const loaded = loadConfig({
    REDIS_URLS: nodes.map(({ id, proxies }) => `${id}=127.0.0.1:${proxies[coordinator]!.port}`).join(','),
    REPLICATION_FACTOR: String(REPLICAS),
    PING_INTERVAL_SECONDS: '1',
    REQUEST_TIMEOUT_MS: String(REQUEST_TIMEOUT_MS),
    NODE_TIMEOUT_MS: '300',
    READ_CONSISTENCY: 'quorum',
    WRITE_CONSISTENCY: 'quorum',
    PORT: '0',
    RESP_PORT: '0',
  })
  if (!loaded.ok) throw new Error(loaded.problems.join('\n'))
  const stream = new Writable({
    write(line: Buffer, _encoding, done) {
      const { msg } = JSON.parse(line.toString('utf8')) as { msg: string }
      log.push({ atMs: performance.now(), coordinator, text: msg })
      done()
    },
  })
  return new Rondo(loaded.config, { log: pino({ level: 'info' }, stream) })
}

async function withClient<T>(port: number, use: (client: Redis) => Promise<T>): Promise<T> {
  const client = new Redis({
    port,
    host: '127.0.0.1',
    lazyConnect: true,
    retryStrategy: () => null,
    maxRetriesPerRequest: 0,
    commandTimeout: 1000,
    connectTimeout: 1000,
    enableReadyCheck: false,
  })
  client.on('error', () => undefined) // the command that failed tells
  try {
    await client.connect()
    return await use(client)
  } finally {
    client.disconnect()
  }
}

/** A node of a cluster that is not ours, with data under names that ours use too. */
async function foundElsewhere(client: Redis): Promise<void> {
  const marker = {
    cluster: 'somebody-elses',
    id: 'a',
    run_id: /run_id:(\w+)/.exec(await client.info('server'))![1]!,
    token: 'theirs',
    state: 'clean',
    epoch: 1,
  }
  await client.set(MARKER_KEY, JSON.stringify(marker))
  for (let i = 0; i < FOREIGN_KEYS; i++) await client.set(`key-${i}`, `theirs ${i}`)
}

/** Changes with every write, whatever it writes. */
async function fingerprint(port: number): Promise<string> {
  return withClient(port, async (client) => {
    const [, changes] = /rdb_changes_since_last_save:(\d+)/.exec(await client.info('persistence'))!
    const keys = (await client.keys('*')).sort()
    const values = await client.mget(...keys)
    return JSON.stringify([changes, keys.map((key, i) => [key, values[i]])])
  })
}
