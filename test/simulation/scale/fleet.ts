/**
 * Many coordinators on many nodes, with nothing to do but to keep each other known: what a ping costs and how a change
 * becomes known. The coordinators are those of the program (cluster/cluster.ts), without clients and repairs.
 *
 * The network takes 0.1 to 0.3 ms each way, and computing takes no time on the virtual clock: times are those of the
 * protocol, and what a coordinator computes meanwhile comes on top (rings.ts).
 */
import { Cluster } from '../../../src/cluster/cluster.ts'
import { Member } from '../../../src/cluster/member.ts'
import { DECIDED_KEY, hintsKey, MARKER_KEY, SYNCED_AT_KEY, TOPOLOGY_KEY } from '../../../src/core/keys.ts'
import type { NodeReport } from '../../../src/nodes/node.ts'
import { seeded, type Random } from '../../support/random.ts'
import { Counters } from '../coverage.ts'
import { Host } from '../host.ts'
import { SimLink } from '../link.ts'
import { Path } from '../network.ts'
import { Scheduler } from '../scheduler.ts'
import { GRACE_MS, Server } from '../server.ts'

export const PING_INTERVAL_MS = 3000
const SETTLE_MS = 30_000
const CHANGE_MS = 60_000
/** TIME, INFO, the marker, the topology and the time of the last comparison (nodes/redis/control.ts). */
const COMMANDS_OF_PROBE = 5
/** Two scripts. */
const COMMANDS_OF_FORBIDDEN = 2

export interface FleetOptions {
  readonly nodes: number
  readonly coordinators: number
  /** Messages do not depend on them, memory does. */
  readonly vnodes: number
  readonly announces: boolean
  readonly seed: number
}

/** What arrives at the nodes. */
class Meter {
  readonly calls = new Counters()
  commands = 0
  /** Of topologies, in the answers to pings. */
  topologyBytes = 0
  /** Of the names by which a ping asks for hints. */
  askedBytes = 0
  /** Of the last note of each coordinator. */
  readonly noteBytes = new Map<string, number>()

  clear(): void {
    this.calls.counts.clear()
    this.commands = 0
    this.topologyBytes = 0
    this.askedBytes = 0
  }

  watch(server: Server): void {
    const process = server.process!
    const control = process.control.bind(process)
    process.control = async (method, args) => {
      this.calls.count(method)
      this.commands += commandsOf(method, args)
      if (method === 'probe') this.askedBytes += bytesAskedOf((args[0] ?? []) as readonly string[])
      if (method === 'checkIn') this.noteBytes.set(String(args[1]), String(args[2]).length)
      // No node keeps hints here: an object for each pair of nodes would only fill the memory.
      const answer = await control(method, method === 'probe' ? [] : args)
      if (method === 'probe') this.topologyBytes += (answer as NodeReport).topology?.length ?? 0
      return answer
    }
  }
}

/** In RESP each name has its length before it; here all ids are equally long. */
function bytesAskedOf(peers: readonly string[]): number {
  return peers.length === 0 ? 0 : peers.length * (hintsKey(peers[0]!).length + '$28\r\n\r\n'.length)
}

function commandsOf(method: string, args: readonly unknown[]): number {
  if (method === 'forbidden') return COMMANDS_OF_FORBIDDEN
  if (method !== 'probe') return 1
  const peers = (args[0] ?? []) as readonly string[]
  return COMMANDS_OF_PROBE + (peers.length > 0 ? 1 : 0) // EXISTS of the hints for all
}

export interface Idle {
  /** At each node, a second: round trips by what they are for, and commands of Redis. */
  readonly callsPerSecond: ReadonlyMap<string, number>
  readonly commandsPerSecond: number
  /** Topologies sent by each node, a second. */
  readonly topologyBytesPerSecond: number
  /** Names of hints sent to each node, a second. */
  readonly askedBytesPerSecond: number
  /** Kept on each node, without users' data. */
  readonly keptBytes: { readonly topology: number; readonly notes: number; readonly other: number }
  /** This machine's time that each coordinator takes for a second, with its part of the simulation. */
  readonly cpuMsPerSecond: number
}

export interface Known {
  /** From the request until the first coordinator works by the change. */
  readonly decidedMs: number
  /** From then until all do. */
  readonly everywhereMs: number
  /** Commands at each node meanwhile. */
  readonly commandsPerNode: number
}

export class Fleet {
  readonly options: FleetOptions
  private readonly scheduler = new Scheduler(false, Infinity)
  private readonly meter = new Meter()
  private readonly counters = new Counters()
  private readonly random: Random
  private readonly servers: readonly Server[]
  private readonly clusters: Cluster[] = []
  /** When each coordinator first worked by another epoch than the first. */
  private readonly changedMs = new Map<Cluster, number>()
  private failure: string | null = null

  constructor(options: FleetOptions) {
    this.options = options
    this.random = seeded(options.seed)
    this.servers = Array.from({ length: options.nodes }, (_, i) => {
      const id = `redis-${String(i).padStart(4, '0')}:6379`
      return new Server(this.scheduler, i, id, { durable: false, peers: [] })
    })
    for (const server of this.servers) this.meter.watch(server)
  }

  /** One coordinator founds the cluster, and the others start within one ping interval, as after a deployment. */
  async found(progress: (what: string) => void = () => undefined): Promise<void> {
    this.start(1)
    await this.untilReady()
    progress('founded')
    for (let i = 2; i <= this.options.coordinators; i++) {
      this.scheduler.after(this.random.next() * PING_INTERVAL_MS, () => this.start(i))
    }
    await this.scheduler.runUntil(this.scheduler.nowMs + PING_INTERVAL_MS)
    await this.untilReady()
    progress('all coordinators have started')
  }

  /** @param seconds virtual ones */
  async idle(seconds: number): Promise<Idle> {
    await this.scheduler.runUntil(this.scheduler.nowMs + PING_INTERVAL_MS)
    this.meter.clear()
    const { nodes, coordinators } = this.options
    const cpu = process.cpuUsage()
    await this.scheduler.runUntil(this.scheduler.nowMs + seconds * 1000)
    const { user, system } = process.cpuUsage(cpu)
    const perNode = (n: number) => n / nodes / seconds
    const { calls, commands, topologyBytes, askedBytes } = this.meter
    return {
      callsPerSecond: new Map([...calls.counts].map(([what, n]) => [what, perNode(n)])),
      commandsPerSecond: perNode(commands),
      topologyBytesPerSecond: perNode(topologyBytes),
      askedBytesPerSecond: perNode(askedBytes),
      keptBytes: this.kept(),
      cpuMsPerSecond: (user + system) / 1000 / coordinators / seconds,
    }
  }

  private kept(): Idle['keptBytes'] {
    const { storage } = this.servers[0]!.process!.engine
    const bytes = (keys: readonly Buffer[]) =>
      keys.reduce((sum, key) => sum + (storage.get(key)?.length ?? 0), 0)
    return {
      topology: bytes([TOPOLOGY_KEY, DECIDED_KEY]),
      notes: [...this.meter.noteBytes.values()].reduce((sum, one) => sum + one, 0),
      other: bytes([MARKER_KEY, SYNCED_AT_KEY]),
    }
  }

  /** A node leaves: until when does everybody know? */
  async change(): Promise<Known> {
    this.meter.clear()
    const startMs = this.scheduler.nowMs
    const { id } = this.servers.at(-1)!
    this.clusters[0]!.changes.request({ leave: [id] }).catch(
      (error: unknown) => (this.failure = String(error)),
    )
    const isDone = () => this.failure !== null || this.changedMs.size === this.clusters.length
    await this.scheduler.runUntil(startMs + CHANGE_MS, isDone)
    if (this.failure !== null) throw new Error(`the change was not begun: ${this.failure}`)
    if (!isDone()) throw new Error(`${this.changedMs.size} of ${this.clusters.length} know the change`)
    const times = [...this.changedMs.values()].sort((a, b) => a - b)
    return {
      decidedMs: times[0]! - startMs,
      everywhereMs: times.at(-1)! - times[0]!,
      commandsPerNode: this.meter.commands / this.options.nodes,
    }
  }

  private async untilReady(): Promise<void> {
    const isReady = () => {
      const isOfAll = ({ members }: Cluster) =>
        members.every(({ node, health }) => node.ready && health.state === 'up')
      return this.failure !== null || this.clusters.every(isOfAll)
    }
    const endMs = this.scheduler.nowMs + SETTLE_MS
    while (!isReady() && this.scheduler.nowMs < endMs) {
      await this.scheduler.runUntil(this.scheduler.nowMs + 100)
    }
    if (!isReady() || this.failure !== null) throw new Error(this.failure ?? 'the cluster was not founded')
  }

  private start(number: number): void {
    const random = seeded(this.options.seed * 1000 + number)
    const host = new Host(this.scheduler, random)
    const members = this.servers.map(({ id }) => this.memberOf(host, random, id))
    let ids = 0
    const cluster = new Cluster({
      members,
      memberOf: ({ id }) => this.memberOf(host, random, id),
      requestTimeoutMs: 1000,
      replicationFactor: 3,
      vnodesPerNode: this.options.vnodes,
      pingIntervalMs: PING_INTERVAL_MS,
      announces: this.options.announces,
      self: { name: () => `coordinator-${number}:8080`, version: '0.1.0' },
      staleAfterMs: GRACE_MS,
      clock: host,
      timers: host,
      randomId: () => `${number}-${++ids}`.padStart(24, '0'),
      coordinator: number,
      emit: () => undefined,
    })
    const place = cluster.place.bind(cluster)
    cluster.place = (next) => {
      if (!this.changedMs.has(cluster)) this.changedMs.set(cluster, this.scheduler.nowMs)
      place(next)
    }
    this.clusters.push(cluster)
    cluster.start().catch((error: unknown) => (this.failure = String(error)))
  }

  private memberOf(host: Host, random: Random, id: string): Member {
    const server = this.servers.find((one) => one.id === id)!
    const { node } = SimLink.create(id, {
      host,
      path: new Path(this.scheduler, random),
      server,
      counters: this.counters,
      resolve: () => server,
      note: () => undefined,
      onMarked: () => undefined,
      onStamped: () => undefined,
      losesMessages: () => false,
      near: null,
    })
    return new Member(node, { emit: () => undefined, url: `redis://${id}` })
  }
}
