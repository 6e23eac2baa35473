/**
 * Four real redis-server processes, three coordinators, and between each two of them a proxy that can go wrong:
 *
 *     coordinator 0 ──▶ proxy ──▶ a (append-only, everysec)      ┐
 *                   ──▶ proxy ──▶ b (snapshots, when told to)    │ and somebody else's Redis,
 *                   ──▶ proxy ──▶ c (append-only, always)        │ which no byte may be written to
 *                   ──▶ proxy ──▶ d (snapshots, when told to)    ┘
 *     coordinator 1 ──▶ four more proxies, coordinator 2 too
 *
 * And three spare servers, which join and take the place of members. A member that has joined has one address for all
 * coordinators, so one proxy stands before it: what goes wrong there goes wrong for all of them.
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
import type { Topology } from '../../src/core/topology.ts'
import { Rondo } from '../../src/app/rondo.ts'
import { FaultProxy } from '../support/fault-proxy.ts'
import { freePort, startRedis, type RedisServer } from '../../scripts/redis-server.ts'

export const REQUEST_TIMEOUT_MS = 1000
const NODE_IDS = ['a', 'b', 'c', 'd'] as const
/** Servers that are no members at first. */
const SPARE_NAMES = ['e', 'f', 'g'] as const
type Name = (typeof NODE_IDS)[number] | (typeof SPARE_NAMES)[number]
/** Ids that members may have: of servers at first, and of whichever server takes them later. */
export const ALL_IDS: readonly string[] = [...NODE_IDS, ...SPARE_NAMES]
export const COORDINATORS = 3
const REPLICAS = 3

type Persistence = 'everysec' | 'always' | 'snapshots'
const PERSISTENCE: Record<Name, Persistence> = {
  a: 'everysec',
  b: 'snapshots',
  c: 'always',
  d: 'snapshots',
  e: 'everysec',
  f: 'snapshots',
  g: 'always',
}
const ARGS: Record<Persistence, readonly string[]> = {
  everysec: ['--appendonly', 'yes', '--appendfsync', 'everysec'],
  always: ['--appendonly', 'yes', '--appendfsync', 'always'],
  snapshots: [],
}

/** Keys of the Redis that is not ours, as they must be at the end. */
const FOREIGN_KEYS = 20

export interface LogEntry {
  readonly atMs: number
  readonly coordinator: number
  readonly text: string
}

export class ChaosNode {
  /** Of the server, whichever member it is. */
  readonly name: Name
  /** The member that it is now; null = none. */
  id: string | null
  readonly server: RedisServer
  /** Of those that joined: one address for all coordinators. */
  readonly shared: FaultProxy
  /** One per coordinator; while it has its place from the start. */
  private readonly own: readonly FaultProxy[]
  /** It has been a member and was not emptied since. */
  isUsed: boolean
  hasJoined: boolean
  constructor(name: Name, server: RedisServer, shared: FaultProxy, own: readonly FaultProxy[]) {
    this.name = name
    this.id = own.length > 0 ? name : null
    this.server = server
    this.shared = shared
    this.own = own
    this.isUsed = own.length > 0
    this.hasJoined = own.length === 0
  }

  /** Without doubles: those through which these coordinators reach it. */
  proxiesOf(coordinators: readonly number[]): readonly FaultProxy[] {
    return this.hasJoined ? [this.shared] : coordinators.map((i) => this.own[i]!)
  }

  addressFor(coordinator: number): string {
    return `127.0.0.1:${this.proxiesOf([coordinator])[0]!.port}`
  }

  /** How it was reached at the beginning. */
  firstAddressFor(coordinator: number): string {
    return `127.0.0.1:${this.own[coordinator]!.port}`
  }

  get isFounding(): boolean {
    return this.own.length > 0
  }

  get persistence(): Persistence {
    return PERSISTENCE[this.name]
  }

  get allProxies(): readonly FaultProxy[] {
    return [this.shared, ...this.own]
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
  /** One that was killed stands here until it is started again. */
  readonly rondos: Rondo[]
  /** What the coordinators logged. */
  readonly log: LogEntry[]
  private readonly ports: number[] = []
  private readonly respPorts: number[] = []
  private readonly down = new Set<number>()
  /** Of those that were killed. */
  private readonly ending: Promise<void>[] = []
  private readonly foreignBefore: string

  private constructor(
    nodes: readonly ChaosNode[],
    foreign: RedisServer,
    foreignBefore: string,
    rondos: Rondo[],
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
        [...NODE_IDS, ...SPARE_NAMES].map(async (name, at) => {
          const dir = await mkdtemp(join(fastFolder(), `rondo-chaos-${name}-`))
          undo.push(() => rm(dir, { recursive: true, force: true }))
          const server = await startRedis({ args: ARGS[PERSISTENCE[name]], dir })
          undo.push(() => server.stop())
          const own = at < NODE_IDS.length ? COORDINATORS : 0
          const [shared, ...others] = await Promise.all(
            Array.from({ length: 1 + own }, () => FaultProxy.start(server.port)),
          )
          undo.push(() => Promise.resolve([shared!, ...others].forEach((proxy) => proxy.close())))
          return new ChaosNode(name, server, shared!, others)
        }),
      )
      const foreign = await startRedis()
      undo.push(() => foreign.stop())
      await withClient(foreign.port, foundElsewhere)
      const foreignBefore = await fingerprint(foreign.port)
      const log: LogEntry[] = []
      const rondos = await Promise.all(
        Array.from({ length: COORDINATORS }, (_, i) => newRondo(firstUrls(nodes, i), i, log)),
      )
      undo.push(async () => void (await Promise.all(rondos.map((rondo) => rondo.stop()))))
      await Promise.all(rondos.map((rondo) => rondo.start()))
      const cluster = new ChaosCluster(nodes, foreign, foreignBefore, rondos, log)
      for (const [i, rondo] of rondos.entries()) await cluster.listen(i, rondo)
      return cluster
    } catch (error) {
      for (const step of undo.reverse()) await step()
      throw error
    }
  }

  async stop(): Promise<void> {
    for (const { server } of this.nodes) if (server.pid !== undefined) server.resume()
    await Promise.all([...this.rondos.map((rondo) => rondo.stop()), ...this.ending])
    for (const { allProxies } of this.nodes) for (const proxy of allProxies) proxy.close()
    await Promise.all([...this.nodes.map(({ server }) => server.stop()), this.foreign.stop()])
    await Promise.all(this.nodes.map(({ server }) => rm(server.dir, { recursive: true, force: true })))
  }

  /** Servers that are members. */
  get members(): readonly ChaosNode[] {
    return this.nodes.filter(({ id }) => id !== null)
  }

  isUp(coordinator: number): boolean {
    return !this.down.has(coordinator)
  }

  /** Nothing more goes from it to its nodes, and it takes no requests. What it had sent has been sent. */
  killCoordinator(coordinator: number): void {
    const rondo = this.rondos[coordinator]!
    this.down.add(coordinator)
    for (const { node } of rondo.cluster.members) void node.close()
    this.ending.push(rondo.stop())
  }

  /** With the REDIS_URLS that it had, as long as two of the nodes that they name are where they were. */
  async restartCoordinator(coordinator: number): Promise<void> {
    const inPlace = this.nodes.filter(({ id, hasJoined }) => id !== null && !hasJoined)
    const urls =
      inPlace.length >= 2 ? firstUrls(this.nodes, coordinator) : presentUrls(this.members, coordinator)
    const rondo = await newRondo(urls, coordinator, this.log)
    await rondo.start()
    await this.listen(coordinator, rondo)
    this.rondos[coordinator] = rondo
    this.down.delete(coordinator)
  }

  private async listen(coordinator: number, rondo: Rondo): Promise<void> {
    const { http, resp } = await rondo.listen()
    this.ports[coordinator] = http.port
    this.respPorts[coordinator] = resp!.port
  }

  respPortOf(coordinator: number): number {
    return this.respPorts[coordinator]!
  }

  /** Of the HTTP API. */
  urlOf(coordinator: number): string {
    return `http://127.0.0.1:${this.ports[coordinator]}`
  }

  /** Undefined: this coordinator has no such member, or not yet. */
  member(coordinator: number, id: string): Member | undefined {
    return this.rondos[coordinator]!.cluster.members.find((member) => member.id === id)
  }

  /** The node holds all that was acknowledged, and every coordinator uses it and knows so; or it is no member any more. */
  async isWhole(node: ChaosNode): Promise<boolean> {
    const { id } = node
    if (id === null) return true
    const found = await node.marker()
    if (found?.marker.state !== 'clean' || !found.current) return false
    return this.rondos.every((_, i) => {
      const member = this.member(i, id)
      return (
        member?.marker?.token === found.marker.token &&
        member.completeness === 'clean' &&
        member.health.state === 'up' &&
        member.node.ready
      )
    })
  }

  isBehind({ id }: ChaosNode): boolean {
    return id !== null && this.rondos.some((_, i) => this.member(i, id)?.behind !== false)
  }

  /** Names which servers are members, as this topology says. */
  follow({ layout, next }: Topology): void {
    const members = [...layout.members, ...(next?.members ?? [])]
    for (const node of this.nodes) {
      const one = members.find(({ id, url, isGiven }) =>
        isGiven ? url === `redis://127.0.0.1:${node.shared.port}` : node.isFounding && id === node.name,
      )
      node.id = one?.id ?? null
      node.hasJoined ||= one?.isGiven === true
      node.isUsed ||= one !== undefined
    }
  }

  homesOf(key: string): readonly string[] {
    return this.rondos[0]!.cluster.placement.replicaSetOf(Buffer.from(key)).homes.map(({ id }) => id)
  }

  /** The bytes that the members hold under these keys, by id. */
  async rawRecords(keys: readonly string[]): Promise<Map<string, (Buffer | null)[]>> {
    const held = new Map<string, (Buffer | null)[]>()
    for (const node of this.members) {
      const records = keys.length === 0 ? [] : await node.ask((client) => client.mgetBuffer(...keys))
      held.set(node.id!, records)
    }
    return held
  }

  /** Hints that wait on any member for any node. */
  async hintCount(): Promise<number> {
    let sum = 0
    for (const node of this.members) {
      for (const id of ALL_IDS) sum += await node.ask((client) => client.hlen(hintsKey(id)))
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

/** The REDIS_URLS of the beginning. */
function firstUrls(nodes: readonly ChaosNode[], coordinator: number): string {
  const founding = nodes.filter(({ isFounding }) => isFounding)
  return founding.map((node) => `${node.name}=${node.firstAddressFor(coordinator)}`).join()
}

function presentUrls(members: readonly ChaosNode[], coordinator: number): string {
  return members.map((node) => `${node.id}=${node.addressFor(coordinator)}`).join()
}

async function newRondo(urls: string, coordinator: number, log: LogEntry[]): Promise<Rondo> {
  const [port, respPort] = [await freePort(), await freePort()]
  const loaded = loadConfig({
    REDIS_URLS: urls,
    REPLICATION_FACTOR: String(REPLICAS),
    PING_INTERVAL_SECONDS: '1',
    REQUEST_TIMEOUT_MS: String(REQUEST_TIMEOUT_MS),
    NODE_TIMEOUT_MS: '300',
    READ_CONSISTENCY: 'quorum',
    WRITE_CONSISTENCY: 'quorum',
    HOST: '127.0.0.1',
    PORT: String(port),
    RESP_PORT: String(respPort),
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
