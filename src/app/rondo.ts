/**
 * One coordinator, wired together from a Config: nodes, cluster, coordinator, servers, repair, telemetry.
 *
 * main.ts runs it as a program; tests and embedding programs use it as an object. It has no global state, so one process
 * may run several.
 */
import { randomBytes } from 'node:crypto'
import type { AddressInfo } from 'node:net'
import { hostname } from 'node:os'
import { pino, type Logger } from 'pino'
import { Certificates } from './certificates.ts'
import { versionText } from './command-line.ts'
import { Cluster } from '../cluster/cluster.ts'
import { coordinatorId } from '../cluster/presence.ts'
import { DnsNames, lookupHere, type Lookup } from './dns-names.ts'
import { Members } from './members.ts'
import { checkNewAddress } from './new-address.ts'
import { loadDigest } from '../commands/strings/digest.ts'
import type { Config } from '../config/config.ts'
import { placeText } from '../config/node-addresses.ts'
import { Coordinator } from '../coordinator/coordinator.ts'
import type { Clock, Timers } from '../core/clock.ts'
import type { Emit, RondoEvent } from '../core/events.ts'
import { HttpServer, type HttpApp } from '../servers/http/http-server.ts'
import { registerClientMetrics } from '../servers/client-metrics.ts'
import { HttpSocketServer } from '../servers/http/listener.ts'
import { RespServer } from '../servers/resp/resp-server.ts'
import type { Server } from '../servers/server.ts'
import { RespSocketServer } from '../servers/resp/listener.ts'
import { GrpcSocketServer } from '../servers/grpc/listener.ts'
import { readTokens } from '../config/token-list.ts'
import { TokenTries } from '../servers/token-tries.ts'
import { TrustedProxies } from '../config/trusted-proxies.ts'
import { Tokens, type PlainTokens } from '../servers/tokens.ts'
import { DeleteJobs } from '../servers/delete-jobs.ts'
import { createLoading, type Loading } from './loading.ts'
import type { CreateNodes } from './own-nodes.ts'
import type { LoadFunction } from '../loader/api.ts'
import { Fills } from '../loader/fills.ts'
import type { OriginFetch } from '../loader/origin.ts'
import { registerNearMetrics } from '../telemetry/near-metrics.ts'
import { registerLoaderMetrics } from '../telemetry/loader-metrics.ts'
import { registerTokenMetrics } from '../servers/token-metrics.ts'
import { registerUsageMetrics } from '../servers/hot-keys.ts'
import { registerLookupMetrics } from '../servers/lookup-metrics.ts'
import { Ledger } from '../servers/ledger.ts'
import { ConnectionLimit } from '../servers/connection-limit.ts'
import { BACKLOG, clientLimits, isOutOfDescriptors, type ClientLimits } from './machine.ts'
import { AntiEntropy } from '../repair/round/anti-entropy.ts'
import type { RepairContext } from '../repair/context.ts'
import { Discovery } from '../repair/discovery.ts'
import { Flushed } from '../repair/flushed.ts'
import { Rebalance } from '../repair/rebalance.ts'
import { Repairer } from '../repair/repairer.ts'
import { ClusterScripts } from '../scripts/scripts.ts'
import { startThread } from '../scripts/worker-thread.ts'
import { Snapshots } from '../snapshots/snapshots.ts'
import { createTelemetry, type Telemetry } from '../telemetry/telemetry.ts'

export const clock: Clock = {
  wallMs: () => Date.now(),
  monotonicMs: () => performance.now(),
}

export const timers: Timers = {
  setTimeout: (run, ms) => setTimeout(run, ms),
  clearTimeout: (handle) => clearTimeout(handle as NodeJS.Timeout),
  endOfTurn: (run) => void setImmediate(run),
}

/** What may happen thousands of times a second is told so often. */
const ACCEPT_FAILED_PAUSE_MS = 10_000

/** Where servers listen, by name; all but HTTP may be off. */
export type Addresses = Readonly<Record<string, AddressInfo>> & { readonly http: AddressInfo }

export interface RondoOptions {
  readonly log?: Logger
  /** Makes the nodes, over a driver of the program, instead of REDIS_URLS (docs/EMBEDDING.md). */
  readonly nodes?: CreateNodes
  /** Source of /metrics; by default this process alone. */
  readonly metrics?: (own: Telemetry) => Promise<{ contentType: string; text: string }>
  /** Where values come from that are not there, instead of LOADER_URL. */
  readonly loader?: LoadFunction
  /** Asks LOADER_URL; by default over node:http, with the addresses of LOADER_ALLOW only. This one checks its own. */
  readonly fetch?: OriginFetch
  /** Resolves the name of DISCOVERY_URL; by default as this machine does. */
  readonly lookup?: Lookup
}

export class Rondo {
  readonly config: Config
  readonly cluster: Cluster
  readonly coordinator: Coordinator
  readonly httpServer: HttpServer
  readonly respServer: RespServer
  readonly telemetry: Telemetry
  private readonly certificates: Certificates
  private readonly members: Members
  readonly tokens: Tokens
  readonly tries: TokenTries
  /** Limits on the memory and the number of client connections. */
  readonly ledger: Ledger
  readonly connectionLimit: ConnectionLimit
  private readonly limits: ClientLimits
  /** Of this coordinator, in versions. */
  private readonly number = randomBytes(4).readUInt32BE()
  private readonly log: Logger
  private acceptFailedAtMs = -Infinity
  private readonly repairer: Repairer
  private readonly antiEntropy: AntiEntropy
  private readonly rebalance: Rebalance
  private readonly flushed: Flushed
  private readonly discovery: Discovery | null
  private readonly fills: Fills
  /** Keys that are not there may be loaded, or served stale. */
  private readonly loads: boolean
  private readonly scripts: ClusterScripts
  private readonly deleteJobs: DeleteJobs
  /** Null: nothing is loaded. */
  private readonly loading: Loading | null
  /** Null: SNAPSHOT_DIR is not set. */
  private readonly snapshots: Snapshots | null
  private readonly servers: readonly { readonly server: Server; readonly port: number }[]
  private listening = false
  private httpPort = 0
  /** Where this coordinator listens. */
  private ports: readonly number[] = []
  private stopping = false

  /** @throws CertificateError, or another Error if a token file cannot be read */
  constructor(config: Config, options: RondoOptions = {}) {
    this.config = config
    this.httpPort = config.port
    this.tokens = new Tokens(tokensOf(config))
    this.certificates = new Certificates(config)
    this.log = options.log ?? pino({ level: 'silent' })
    this.telemetry = createTelemetry(this.log, { ...config, clock, timers })
    const emit = (event: RondoEvent) => this.telemetry.onEvent(event)
    const randomId = () => randomBytes(12).toString('hex')
    const members = new Members({
      ...{ config, certificates: this.certificates, clock, timers, emit, randomId },
      createNodes: options.nodes,
    })
    this.members = members
    this.cluster = new Cluster({
      ...config,
      members: members.configured(),
      self: { name: () => `${hostname()}:${this.httpPort}`, version: versionText() },
      announces: config.topology !== 'static',
      isStatic: config.topology === 'static',
      memberOf: (member) => members.joined(member),
      primaryOf: (url) => members.primaryOf(url),
      sentinels: members.sentinels,
      checkAddress: (url) => checkNewAddress(url, { host: config.host, ports: () => this.ports }),
      // Without anti-entropy rounds no node would ever count as compared, and all would become stale.
      staleAfterMs: config.repairIntervalMs > 0 ? config.graceMs : 0,
      clock,
      timers,
      randomId,
      coordinator: this.number,
      emit,
    })
    this.telemetry.watch(this.cluster)
    this.tries = new TokenTries({ emit, timers, monotonicMs: () => clock.monotonicMs() })
    registerTokenMetrics(this.telemetry.registry, this.tries)
    this.coordinator = new Coordinator(this.cluster, {
      ...config,
      ...{ clock, timers, random: Math.random, near: members.near, emit },
    })
    const { url, staleMs } = this.config.loader
    this.loads = options.loader !== undefined || url !== null || staleMs > 0
    this.fills = this.createFills()
    this.loading = this.createLoading(options, emit)
    this.scripts = this.createScripts(emit)
    this.deleteJobs = this.createDeleteJobs(emit)
    this.snapshots = this.createSnapshots(emit)
    registerNearMetrics(this.telemetry.registry, members.near)
    registerLoaderMetrics(this.telemetry.registry, this.loading?.loader ?? null)
    const repair = this.repairContext(emit)
    this.repairer = new Repairer(repair)
    this.antiEntropy = new AntiEntropy(repair, {
      intervalMs: config.repairIntervalMs,
      keysPerSecond: config.repairKeysPerSecond,
      random: Math.random,
    })
    this.rebalance = new Rebalance(repair, this.antiEntropy)
    this.flushed = new Flushed(repair)
    this.discovery = this.createDiscovery(repair, options.lookup ?? lookupHere)
    this.limits = clientLimits(config, this.cluster.members.length)
    this.ledger = this.createLedger(emit)
    this.connectionLimit = new ConnectionLimit(this.limits.connections, () => clock.monotonicMs())
    registerClientMetrics(this.telemetry.registry, this.ledger, this.connectionLimit)
    const proxies = new TrustedProxies(config.trustedProxies)
    this.respServer = this.createRespServer(proxies, emit)
    this.httpServer = this.createHttpServer(proxies, options.metrics ?? ownMetrics)
    this.servers = this.createServers(proxies)
    registerUsageMetrics(this.telemetry.registry, this.coordinator)
    for (const { server } of this.servers) server.registerMetrics(this.telemetry.registry)
  }

  private createLedger(emit: Emit): Ledger {
    return new Ledger({
      limitBytes: this.limits.memoryBytes,
      timers,
      monotonicMs: () => clock.monotonicMs(),
      onCut: (connections, bytes) => emit({ kind: 'clients-cut', connections, bytes }),
    })
  }

  private createServers(proxies: TrustedProxies): Rondo['servers'] {
    const { port, respPort, grpcPort } = this.config
    const { respServer, httpServer } = this
    const grpc = grpcPort === null ? null : this.createGrpcServer(proxies)
    registerLookupMetrics(this.telemetry.registry, [
      respServer.stats,
      httpServer.lookups,
      ...(grpc ? [grpc.lookups] : []),
    ])
    return [
      ...(respPort === null ? [] : [{ server: new RespSocketServer(respServer), port: respPort }]),
      ...(grpc ? [{ server: grpc, port: grpcPort! }] : []),
      // The last one: /readyz is answered only when all listen.
      { server: new HttpSocketServer(httpServer), port },
    ]
  }

  /** What every server needs. */
  private serving(proxies: TrustedProxies) {
    return {
      ...this.config,
      tokens: this.tokens,
      tries: this.tries,
      proxies,
      store: this.coordinator,
      loader: this.loading?.loader ?? null,
      loads: this.loads,
      monotonicMs: () => clock.monotonicMs(),
      ledger: this.ledger,
      connectionLimit: this.connectionLimit,
    }
  }

  private createHttpServer(
    proxies: TrustedProxies,
    metrics: NonNullable<RondoOptions['metrics']>,
  ): HttpServer {
    return new HttpServer({
      ...this.serving(proxies),
      fills: this.fills,
      deleteJobs: this.deleteJobs,
      commands: this.respServer,
      antiEntropy: this.antiEntropy,
      changes: this.cluster.queue,
      rebalance: this.rebalance,
      onEnd: (end) => this.telemetry.onRequestEnd(end),
      metrics: () => metrics(this.telemetry),
      accepting: () => !this.stopping,
      save: () => this.members.save(),
      snapshots: this.snapshots,
    })
  }

  private createRespServer(proxies: TrustedProxies, emit: Emit): RespServer {
    return new RespServer({
      ...this.serving(proxies),
      fills: this.fills,
      scripts: this.scripts,
      deleteJobs: this.deleteJobs,
      changes: this.cluster.queue,
      rebalance: this.rebalance,
      timers,
      random: Math.random,
      emit,
    })
  }

  private createGrpcServer(proxies: TrustedProxies): GrpcSocketServer {
    return new GrpcSocketServer({
      ...this.serving(proxies),
      onEnd: (end) => this.telemetry.onCallEnd(end),
      accepting: () => !this.stopping,
    })
  }

  private createLoading({ loader, fetch }: RondoOptions, emit: Emit): Loading | null {
    const { loader: policy, maxValueBytes, writeConsistency } = this.config
    const own = { store: this.coordinator, fills: this.fills, writeConsistency, timers, emit }
    const chance = { monotonicMs: () => clock.monotonicMs(), random: Math.random }
    return createLoading(policy, { ...own, ...chance, maxValueBytes, function: loader, fetch })
  }

  private createFills(): Fills {
    const { staleMs } = this.config.loader
    const own = { store: this.coordinator, timers, random: Math.random }
    return new Fills({ ...own, staleMs, marks: !this.loads })
  }

  private createScripts(emit: Emit): ClusterScripts {
    const own = { start: startThread, monotonicMs: () => clock.monotonicMs(), timers, emit }
    return new ClusterScripts({ ...this.config, ...own, others: this.coordinator.channels })
  }

  private createDeleteJobs(emit: Emit): DeleteJobs {
    const {
      deleteJobKeysPerSecond: keysPerSecond,
      maxKeyBytes,
      nodeTimeoutMs,
      connectTimeoutMs,
    } = this.config
    const own = { store: this.coordinator, owner: coordinatorId(this.number), timers, emit }
    // A ping takes as long as that at most.
    return new DeleteJobs({
      ...own,
      keysPerSecond,
      maxKeyBytes,
      clockErrorMs: nodeTimeoutMs + connectTimeoutMs,
    })
  }

  private createSnapshots(emit: Emit): Snapshots | null {
    const { folder, intervalMs, keep } = this.config.snapshots
    if (folder === null) return null
    return new Snapshots({
      ...{ store: this.coordinator, folder, intervalMs, keep, limits: this.config, timers, clock, emit },
      writer: { host: hostname(), pid: process.pid },
      self: () => `${hostname()}:${this.httpPort}`,
    })
  }

  private repairContext(emit: Emit): RepairContext {
    return {
      cluster: this.cluster,
      requestTimeoutMs: this.config.requestTimeoutMs,
      clock,
      timers,
      emit,
      settle: (key, record) => this.coordinator.settleRecord(key, record),
      read: (key) => this.coordinator.readSettled(key),
      isServing: () => this.coordinator.isServing,
      secret: randomBytes(16),
      owner: coordinatorId(this.number),
    }
  }

  private createDiscovery(repair: RepairContext, lookup: Lookup): Discovery | null {
    const { discovery } = this.config
    if (!discovery) return null
    const names = new DnsNames({ at: discovery.at, lookup, timers })
    return new Discovery(repair, { ...discovery, names, name: placeText(discovery.at) })
  }

  /** The Express application; it behaves as the listener does. */
  get app(): HttpApp {
    return this.httpServer.app
  }

  /**
   * Reads DATA_DIR; probes the nodes once, so that the first request finds those that are up; loads what commands need.
   *
   * @throws DiskError if DATA_DIR cannot be used
   */
  async start(): Promise<void> {
    await this.members.openFiles()
    await Promise.all([this.cluster.start(), loadDigest()])
    this.repairer.start()
    this.antiEntropy.start()
    this.rebalance.start()
    this.flushed.start()
    this.deleteJobs.start()
    this.discovery?.start()
    this.snapshots?.start()
  }

  /** Opens the servers, one after the other; resolves with where each listens, by name. */
  async listen(): Promise<Addresses> {
    for (const { level, sentence } of this.limits.lines) this.log[level](sentence)
    const { host } = this.config
    const addresses: Record<string, AddressInfo> = {}
    for (const { server, port } of this.servers) {
      addresses[server.name] = await server.listen({
        ...{ host, port, backlog: BACKLOG, tls: this.certificates.servers },
        onError: (error) => this.onAcceptFailed(error),
      })
    }
    this.ports = Object.values(addresses).map((address) => address.port)
    this.listening = true
    this.httpPort = addresses.http!.port
    return addresses as Addresses
  }

  /** The server keeps listening; logged at most every ACCEPT_FAILED_PAUSE_MS. */
  private onAcceptFailed(error: NodeJS.ErrnoException): void {
    if (isOutOfDescriptors(error)) this.connectionLimit.displaceOne()
    const nowMs = clock.monotonicMs()
    if (nowMs - this.acceptFailedAtMs < ACCEPT_FAILED_PAUSE_MS) return
    this.acceptFailedAtMs = nowMs
    this.telemetry.onEvent({ kind: 'accept-failed', why: error.message })
  }

  /**
   * Reloads certificates and token files for new connections; open ones are not affected.
   *
   * @throws Error whose message names the bad file; then nothing is changed
   */
  reload(): void {
    const tokens = tokensOf(this.config)
    this.certificates.reload()
    this.tokens.replace(tokens)
    const tls = this.certificates.servers
    if (tls !== null) for (const { server } of this.servers) server.useCertificates(tls)
  }

  /**
   * The first step of an orderly end: /readyz is 503 from now on, and everything is still served. Resolves after
   * SHUTDOWN_DELAY_SECONDS, when load balancers have noticed; at once if no server listens.
   */
  async leave(): Promise<void> {
    this.stopping = true
    const { shutdownDelayMs } = this.config
    if (!this.listening || shutdownDelayMs === 0) return
    for (const { server } of this.servers) server.announceClose()
    await new Promise((resolve) => setTimeout(resolve, shutdownDelayMs))
  }

  /** Stops accepting requests, answers those in flight, waits for replication, and disconnects from the nodes. */
  async stop(): Promise<void> {
    this.stopping = true
    const limitMs = this.config.requestTimeoutMs * 2
    this.loading?.stop()
    await this.deleteJobs.stop()
    await this.snapshots?.stop()
    await Promise.all(this.servers.map(({ server }) => server.close(limitMs)))
    this.scripts.stop()
    this.coordinator.channels.stop()
    this.coordinator.collections.stop()
    const left = await this.coordinator.drain(limitMs)
    if (left > 0) {
      const why = `${left} replica writes were still unanswered when the process stopped`
      this.telemetry.onEvent({ kind: 'background-failed', what: 'draining', why })
    }
    await this.discovery?.stop()
    await this.antiEntropy.stop()
    await this.rebalance.stop()
    await this.flushed.stop()
    await this.repairer.stop()
    await this.cluster.stop()
    await this.members.closeFiles()
    this.telemetry.stop()
  }
}

/**
 * The HTTP API as an Express application, to mount in your own program, which then owns the socket. Call `start()` before
 * the first request, and `stop()` at the end.
 */
export function createApp(config: Config, options?: RondoOptions): { app: HttpApp; rondo: Rondo } {
  const rondo = new Rondo(config, options)
  return { app: rondo.app, rondo }
}

/** @throws Error if a token file cannot be read */
function tokensOf({ dataTokens, adminTokens }: Config): PlainTokens {
  return {
    data: readTokens('DATA_TOKEN_FILE', dataTokens),
    admin: readTokens('ADMIN_TOKEN_FILE', adminTokens),
  }
}

async function ownMetrics({ registry }: Telemetry): Promise<{ contentType: string; text: string }> {
  return { contentType: registry.contentType, text: await registry.metrics() }
}
