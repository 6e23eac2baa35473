/**
 * Everything that a run consists of: servers at addresses, hosts with coordinators, and the paths between them.
 */
import { Cluster } from '../../src/cluster/cluster.ts'
import { Member } from '../../src/cluster/member.ts'
import type { CoordinatorContext } from '../../src/coordinator/context.ts'
import { Coordinator } from '../../src/coordinator/coordinator.ts'
import type { RondoEvent } from '../../src/core/events.ts'
import { encodeMarker, epochOf, type Marker } from '../../src/cluster/marker.ts'
import { MARKER_KEY } from '../../src/core/keys.ts'
import { Rebalance } from '../../src/repair/rebalance.ts'
import { AntiEntropy } from '../../src/repair/round/anti-entropy.ts'
import type { RepairContext } from '../../src/repair/context.ts'
import { Repairer } from '../../src/repair/repairer.ts'
import type { Topology } from '../../src/core/topology.ts'
import { seeded, type Random } from '../support/random.ts'
import { Counters } from './coverage.ts'
import { Host } from './host.ts'
import { SimLink } from './link.ts'
import { nearCache, SimNear } from './near.ts'
import { Held } from './near-checks.ts'
import { Path } from './network.ts'
import { FOREIGN_SERVER } from './schedule.ts'
import { Scheduler } from './scheduler.ts'
import { SimSentinels } from './sentinels.ts'
import { GRACE_MS, Server } from './server.ts'
import { Topologies } from './topologies.ts'

export const REQUEST_TIMEOUT_MS = 1000
export const QUEUE_TIMEOUT_MS = 500
const PING_INTERVAL_MS = 3000
const VNODES = 8
/** Calls under way at a node beyond which operations wait: few, so that they do. */
const CALLS_AT_ONCE = 2

/** A coordinator's process. */
export interface Running {
  readonly index: number
  readonly host: Host
  readonly cluster: Cluster
  readonly coordinator: Coordinator
  readonly antiEntropy: AntiEntropy
  /** To every node that it has ever opened. */
  readonly links: readonly SimLink[]
}

/** What says where a member is. */
interface Place {
  readonly id: string
  readonly url?: string | null | undefined
  /** host:port, where Sentinels watch it. */
  readonly primary?: string | undefined
}

export interface WorldOptions {
  readonly seed: number
  /** Founding members. */
  readonly servers: number
  /** Further servers, which may join; 0 = the members never change. */
  readonly spares: number
  readonly replicas: number
  readonly coordinators: number
  readonly durable: boolean
  readonly tracing: boolean
  /** How often replicas are compared in the background; 0 = never. */
  readonly antiEntropyMs: number
  /** Coordinators tell each other that they are there. */
  readonly checksIn?: boolean
  readonly isInParts?: boolean
  /** The founding members are watched by Sentinels. */
  readonly areWatched?: boolean
  /** Coordinators have a near cache. */
  readonly isNear?: boolean
  /** More are taken for a loop. */
  readonly maxEvents?: number
}

export class World {
  readonly options: WorldOptions
  readonly scheduler: Scheduler
  readonly counters = new Counters()
  /** The founding members, and those that may join. */
  readonly servers: readonly Server[]
  readonly topologies: Topologies
  /** A Redis of another cluster, with data of its own. */
  readonly foreign: Server
  readonly sentinels = new SimSentinels(this)
  /** For what Sentinels do. */
  readonly chance: Random
  /** Which server is at which address. */
  readonly route: number[]
  readonly coordinators: Running[] = []
  readonly paths: readonly (readonly Path[])[]
  /** The same for the connections on which near caches hear of changes; none, if there are none. */
  readonly trackingPaths: readonly (readonly Path[])[]
  /** What servers held; null = nobody asks. */
  readonly held: Held | null
  /** What was found to be wrong while it happened. */
  readonly violations: string[] = []
  readonly events: { kind: RondoEvent['kind'] }[] = []
  /** Messages between coordinators do not arrive. */
  losesMessages = false
  onKilled: (running: Running) => void = () => undefined
  onMarked: (server: Server) => void = () => undefined
  /** A coordinator works by an epoch that nobody worked by before. */
  onStep: (topology: Topology) => void = () => undefined
  /** When the first node was marked with each epoch. */
  private readonly markedMs = new Map<number, number>()
  /** By server. */
  private readonly brought = new Map<string, { readonly run: () => void; isBegun: boolean }>()
  private readonly waiting: { readonly epoch: number; readonly run: (atMs: number) => void }[] = []
  private starts = 0

  constructor(options: WorldOptions) {
    this.options = options
    this.scheduler = new Scheduler(options.tracing, options.maxEvents)
    const peers = Array.from({ length: options.servers + options.spares }, (_, i) => `s${i}`)
    if (options.areWatched) for (let i = 0; i < options.servers; i++) peers.push(`r${i}`)
    this.chance = this.random('sentinels')
    this.servers = peers.map(
      (id, i) => new Server(this.scheduler, i, id, { durable: options.durable, peers }),
    )
    for (let i = 0; options.areWatched && i < options.servers; i++) {
      this.sentinels.watch(`s${i}`, this.servers[i]!, this.servers[options.servers + options.spares + i]!)
    }
    this.topologies = new Topologies((member) => this.serverOf(member))
    this.foreign = new Server(this.scheduler, FOREIGN_SERVER, 'foreign', { durable: false, peers })
    const { storage } = this.foreign.process!.engine
    storage.set(MARKER_KEY, FOREIGN_MARKER, Infinity)
    storage.set(Buffer.from('theirs'), Buffer.from('data'), Infinity)
    this.route = this.servers.map((server) => server.index)
    this.paths = Array.from({ length: options.coordinators }, (_, c) => {
      return this.servers.map((_, s) => new Path(this.scheduler, this.random(`path ${c} ${s}`)))
    })
    this.trackingPaths = this.paths.map((paths, c) => {
      const of = (s: number) => new Path(this.scheduler, this.random(`tracking ${c} ${s}`))
      return options.isNear ? paths.map((_, s) => of(s)) : []
    })
    this.held = options.isNear ? new Held() : null
    for (const server of this.servers) {
      server.held = this.held
      this.held?.began(server.process!)
    }
  }

  /** Before the test proper, and after it, all is calm. */
  setCalm(calm: boolean): void {
    for (const path of [...this.paths, ...this.trackingPaths].flat()) path.calm = calm
  }

  random(of: string): Random {
    let seed = this.options.seed | 0
    for (let i = 0; i < of.length; i++) seed = Math.imul(seed ^ of.charCodeAt(i), 0x01000193)
    return seeded(seed)
  }

  /** The one at the address of a member; founding members are at those of their names, and one that has moved at `s0.1`. */
  serverOf({ id, url, primary }: Place): Server {
    const place = primary ?? (url ? new URL(url).hostname : id)
    const name = place.split(/[.:]/)[0]
    return this.servers.find((server) => server.id === name)!
  }

  server(index: number): Server {
    return index === FOREIGN_SERVER ? this.foreign : this.servers[index]!
  }

  note(what: string, detail?: () => string): void {
    this.scheduler.note(what, detail)
  }

  /** Something happened that must never happen. */
  fault(what: string): void {
    this.violations.push(`at ${this.scheduler.nowMs.toFixed(1)} ms: ${what}`)
    this.note('VIOLATION', () => what)
  }

  /** Of both sets, while they change. */
  homesOf(key: string): readonly Server[] {
    return this.topologies.homesOf(key).all
  }

  isFounding({ index }: Server): boolean {
    return index < this.options.servers
  }

  /** Runs it when the first node is marked with this epoch. */
  whenMarked(epoch: number, run: (atMs: number) => void): void {
    const atMs = this.markedMs.get(epoch)
    if (atMs === undefined) this.waiting.push({ epoch, run })
    else run(atMs)
  }

  /** Runs it when the server next has all that a fill brings, and is about to be declared clean. */
  whenBrought({ id }: Server, run: () => void): void {
    this.brought.set(id, { run, isBegun: false })
  }

  private onStamped({ id }: Server): void {
    const { run, isBegun } = this.brought.get(id) ?? {}
    if (!run || !isBegun) return
    this.brought.delete(id)
    this.counters.count('data lost again at the end of a fill')
    this.scheduler.after(0, run)
  }

  markedAtMs(epoch: number): number | null {
    return this.markedMs.get(epoch) ?? null
  }

  private noteMarked(marker: Marker | null): void {
    const epoch = marker ? epochOf(marker) : 1
    if (this.markedMs.has(epoch)) return
    const { nowMs } = this.scheduler
    this.markedMs.set(epoch, nowMs)
    for (const one of this.waiting) if (one.epoch === epoch) one.run(nowMs)
  }

  /** Without this server a founding member is left that is in use now: coordinators that start learn from it. */
  knowsTheWay(without: Server): boolean {
    return this.servers.some(
      (server) =>
        server !== without &&
        !server.isGone &&
        this.isFounding(server) &&
        this.topologies.memberIdOf(server) === server.id,
    )
  }

  // ---- coordinators

  /** Starts a coordinator's process, the first one or after its death another. */
  startCoordinator(index: number): Running {
    const number = ++this.starts
    const random = this.random(`coordinator ${number}`)
    const host = new Host(this.scheduler, random)
    const links: SimLink[] = []
    const emit = (event: RondoEvent) => this.onEvent(index, event)
    const near = this.options.isNear ? nearCache(host) : null
    const memberOf = ({ id, url, primary }: Place) => {
      const sentinel = this.sentinels.watches(id) ? this.sentinels.placeOf(id, host, primary) : null
      const at = () => this.serverOf(sentinel ? { id, primary: sentinel.address! } : { id, url })
      const pathTo = () => this.paths[index]![at().index]!
      const resolve = () => this.server(this.route[at().index]!)
      const trackingPath = () => this.trackingPaths[index]![at().index]!
      const { counters } = this
      const tracking = {
        ...{ host, resolve, counters, random: this.random(`turns ${number} ${id}`) },
        get path() {
          return trackingPath()
        },
      }
      const { link, node } = SimLink.create(id, {
        get server() {
          return at()
        },
        host,
        get path() {
          return pathTo()
        },
        ...{ counters, resolve },
        near: near && new SimNear(id, near, tracking),
        note: (what, detail) => this.note(`c${index} ${what}`, detail),
        losesMessages: () => this.losesMessages,
        onMarked: (process) => {
          this.noteMarked(process.marker)
          this.onMarked(process.server)
        },
        onStamped: (process) => this.onStamped(process.server),
      })
      links.push(link)
      return new Member(node, { emit, url, sentinel })
    }
    let ids = 0
    const cluster = new Cluster({
      members: this.servers.filter((server) => this.isFounding(server)).map(memberOf),
      memberOf,
      requestTimeoutMs: REQUEST_TIMEOUT_MS,
      replicationFactor: this.options.replicas,
      vnodesPerNode: VNODES,
      pingIntervalMs: PING_INTERVAL_MS,
      staleAfterMs: GRACE_MS,
      clock: host,
      timers: host,
      randomId: () => `id-${number}-${++ids}`,
      coordinator: Math.floor(random.next() * 2 ** 32),
      ...(this.options.checksIn && { self: { name: () => `c${index}`, version: 'simulated' } }),
      emit,
      ...(this.options.areWatched && { sentinels: this.sentinels.askedBy(host) }),
    })
    this.watchPlacement(index, cluster)
    const coordinator = new Coordinator(cluster, {
      maxTries: 0,
      requestTimeoutMs: REQUEST_TIMEOUT_MS,
      graceMs: GRACE_MS,
      maxKeyBytes: 1024,
      maxTags: 16,
      maxValueBytes: 1 << 20,
      maxInFlight: 10_000,
      // Readers then find that parts are gone, and begin again.
      ...(this.options.isInParts && { leftPartsMs: 5 }),
      hotKeys: 0,
      near,
      maxTrackedKeys: 10_000,
      queueTimeoutMs: QUEUE_TIMEOUT_MS,
      windows: { largeBytes: CALLS_AT_ONCE, smallBytes: CALLS_AT_ONCE },
      clock: host,
      timers: host,
      random: () => random.next(),
      emit,
    })
    this.countSettling(coordinator)
    if (this.options.seed % 2 === 0) neverTakeTurns(coordinator)
    const repair: RepairContext = {
      cluster,
      requestTimeoutMs: REQUEST_TIMEOUT_MS,
      clock: host,
      timers: host,
      emit,
      settle: (key, record) => {
        this.counters.count('records settled past a promise')
        return coordinator.settleRecord(key, record)
      },
      read: (key) => coordinator.readSettled(key),
      isServing: () => coordinator.isServing,
      secret: Buffer.alloc(16, 'secret'),
      owner: `owner-${number}`,
    }
    const repairer = new Repairer(repair)
    const antiEntropy = new AntiEntropy(repair, {
      intervalMs: this.options.antiEntropyMs,
      keysPerSecond: 0,
      random: () => random.next(),
    })
    const running: Running = { index, host, cluster, coordinator, antiEntropy, links }
    this.coordinators[index] = running
    this.note(`c${index} starts`)
    const rebalance = new Rebalance(repair, antiEntropy)
    cluster
      .start()
      .then(() => {
        repairer.start()
        if (this.options.spares > 0) rebalance.start()
        if (this.options.antiEntropyMs > 0) antiEntropy.start()
      })
      .catch((error: unknown) => this.fault(`the coordinator did not start: ${String(error)}`))
    return running
  }

  /** It dies between two turns; what it has sent is on its way. */
  killCoordinator(index: number): void {
    const running = this.coordinators[index]!
    if (!running.host.alive) return
    this.note(`c${index} dies`)
    running.host.alive = false
    for (const link of running.links) link.abandon()
    this.onKilled(running)
  }

  /** A fresh cluster, as it is once all coordinators have started and all nodes are in use. */
  async found(): Promise<void> {
    this.startCoordinator(0)
    await this.untilSettled(0)
    const { id, layout } = this.coordinators[0]!.cluster
    this.topologies.found(id!, layout)
    for (let i = 1; i < this.options.coordinators; i++) this.startCoordinator(i)
    await this.untilSettled(this.options.coordinators - 1)
  }

  private async untilSettled(upTo: number): Promise<void> {
    const ready = () =>
      this.coordinators
        .slice(0, upTo + 1)
        .every(({ cluster }) =>
          cluster.members.every(
            (member) => member.node.ready && member.completeness === 'clean' && member.readRank === 0,
          ),
        )
    await this.scheduler.runUntil(this.scheduler.nowMs + 10_000, ready)
    if (!ready()) throw new Error('the cluster was not founded within ten seconds')
  }

  private onEvent(index: number, event: RondoEvent): void {
    const which =
      event.kind === 'node-completeness' ? ` ${event.to}` : event.kind === 'fill' ? ` ${event.state}` : ''
    this.counters.count(`event: ${event.kind}${which}`)
    if (event.kind === 'anti-entropy' && event.removedParts > 0)
      this.counters.count('a round has removed parts')
    this.note(`c${index} tells ${event.kind}`, () => JSON.stringify(event))
    const brought = event.kind === 'fill' && event.state === 'started' && this.brought.get(event.node)
    if (brought) brought.isBegun = true
    // A node that fails may stop a repair; a mistake in the code may not.
    if (event.kind === 'background-failed' && /^(Type|Range|Reference)Error/.test(event.why)) {
      this.fault(`work in the background failed: ${event.what}: ${event.why}`)
    }
  }

  /** Notes which members each coordinator works by. */
  private watchPlacement(index: number, cluster: Cluster): void {
    const place = cluster.place.bind(cluster)
    cluster.place = (next) => {
      const topology = cluster.topology!
      const { isSame, isNew } = this.topologies.note(topology)
      this.note(
        `c${index} is in epoch ${topology.epoch} ${topology.phase}`,
        () =>
          `${topology.layout.members.map(({ id }) => id).join(' ')}${topology.next ? ` → ${topology.next.members.map(({ id }) => id).join(' ')}` : ''}`,
      )
      if (!isSame) this.fault(`two topologies were decided for epoch ${topology.epoch}`)
      if (isNew) {
        this.countPhase(topology)
        this.onStep(topology)
      }
      place(next)
    }
  }

  private countPhase({ phase, epoch }: Topology): void {
    const { counters } = this
    counters.count(`phase: ${phase}`)
    if (phase === 'stable')
      counters.count(`change: ${this.topologies.phaseOf(epoch - 1) === 'both' ? 'cancelled' : 'ended'}`)
  }

  private countSettling(coordinator: Coordinator): void {
    const original = (coordinator as unknown as Record<string, ((...args: unknown[]) => unknown) | undefined>)
      .settle
    if (!original) return
    Object.assign(coordinator, {
      settle: (...args: unknown[]) => {
        this.counters.count('quorum read settled in two rounds')
        return original.apply(coordinator, args)
      },
    })
  }

  // ---- servers

  /** Ends a server's process. @param noticed its machine lives and resets the connections */
  killServer(server: Server, noticed: boolean): void {
    const process = server.process
    if (!process) return
    server.kill()
    for (const { links, host } of this.coordinators) {
      if (!host.alive) continue
      for (const wire of links.flatMap((link) => link.wires()))
        if (wire.process === process) wire.died(noticed)
    }
  }

  /** All connections to it end. */
  resetAllTo({ process }: Server): void {
    for (const { links, host } of this.coordinators) {
      if (!host.alive) continue
      for (const wire of links.flatMap((link) => link.wires())) {
        if (wire.process === process) wire.reset(false)
      }
    }
  }

  /**
   * Three or more replicas, of which one may be filled; or two, and none is, but what only joins: that counts as it is
   * (core/replica-set.ts). Where three become two, both of them must hold what is acknowledged from the first step on.
   */
  get sparesOne(): boolean {
    const { layout, next } = this.topologies.newest
    const fewest = Math.min(
      ...[layout, ...(next ? [next] : [])].map(({ replicas, members }) => Math.min(replicas, members.length)),
    )
    const areClean = () =>
      this.coordinators.every(({ cluster: { members, topology } }) => {
        const joins = (id: string) =>
          topology?.phase === 'both' && !topology.layout.members.some((one) => one.id === id)
        return members.every(({ completeness, id }) => completeness === 'clean' || joins(id))
      })
    return fewest > 2 || areClean()
  }

  /** A server that was to join has been taken for another one meanwhile: the change cannot end, and has to be undone. */
  get isRefusing(): boolean {
    return this.coordinators.some(({ cluster }) =>
      cluster.members.some(({ completeness }) => completeness === 'refused'),
    )
  }

  /** All coordinators work by the same members, and no change is under way. */
  get isStable(): boolean {
    const epochs = this.coordinators.map(({ cluster }) => cluster.placement.epoch)
    return (
      this.topologies.newest.phase === 'stable' && epochs.every((epoch) => epoch === this.topologies.epoch)
    )
  }
}

/** Plain writes go on meeting each other: else the first that do would be the last (coordinator/write/contention.ts). */
function neverTakeTurns(coordinator: Coordinator): void {
  const { context } = coordinator as unknown as { context: CoordinatorContext }
  context.contention.has = () => false
}

const FOREIGN_MARKER = encodeMarker({
  cluster: 'another',
  id: 's0',
  runId: 'run-foreign-1',
  token: 'theirs',
  state: 'clean',
  epoch: 1,
})
