/**
 * The configuration: what the settings come to.
 *
 * The input is text (environment.ts). The output is one readonly object, or all problems at once, each saying what is
 * wrong, why, and what to do. An empty variable counts as not set; variables that are not in the table (variables.ts) are
 * ignored. Only the program and its entry points load it: all other layers receive plain values.
 *
 * Secrets (tokens, passwords in REDIS_URLS) appear neither in a problem nor in `describeConfig`. A bad value is quoted
 * only if it cannot be a secret.
 */
import type { ConsistencyLevel } from '../core/consistency.ts'
import type { DiscoveryName } from './checks.ts'
import type { CompatApi } from './compat-apis.ts'
import type { Environment } from './environment.ts'
import { NOTHING_ALLOWED, type LoaderAllow } from './loader-url.ts'
import { describe, type NodeAddress } from './node-addresses.ts'
import { crossProblems } from './problems.ts'
import type { TokenSource } from './token-list.ts'
import {
  rows,
  type AllValues,
  type FSYNCS,
  type LOG_LEVELS,
  type LOG_REQUESTS,
  type Name,
  type Row,
  type TLS_VERSIONS,
  type TOPOLOGIES,
  type Values,
} from './variables.ts'

export interface Config {
  readonly nodes: RedisNodes | MemoryNodes
  /** Whether changes of members are followed, or the members are always those of REDIS_URLS. */
  readonly topology: (typeof TOPOLOGIES)[number]
  /** Where servers are found that join by themselves; null = they do not. */
  readonly discovery: Discovery | null
  /** The only cluster to use; null = the one that the nodes belong to, or a new one. */
  readonly clusterId: string | null
  readonly vnodesPerNode: number
  /** Copies of each key; with fewer nodes than this, every node holds every key. */
  readonly replicationFactor: number
  /** Healthy nodes that one operation at `one` may try; 0 = all of the preference list. */
  readonly maxTries: number
  readonly readConsistency: ConsistencyLevel
  readonly writeConsistency: ConsistencyLevel
  readonly requestTimeoutMs: number
  /** From when on a script is too slow for others to wait. */
  readonly scriptTimeLimitMs: number
  readonly nodeTimeoutMs: number
  readonly connectTimeoutMs: number
  readonly pingIntervalMs: number
  /** 0 = values without a ttl of their own do not expire. */
  readonly defaultTtlMs: number
  readonly graceMs: number
  /** 0 = rounds of anti-entropy only on demand. */
  readonly repairIntervalMs: number
  /** 0 = no limit. */
  readonly repairKeysPerSecond: number
  readonly host: string
  /** 0 = any free port. */
  readonly port: number
  /** 0 = any free port, null = no Redis protocol server. */
  readonly respPort: number | null
  /** 0 = any free port, null = no gRPC server. */
  readonly grpcPort: number | null
  readonly grpcMaxRecvBytes: number
  readonly grpcMaxSendBytes: number
  readonly crossSetMulti: 'refuse' | 'unordered'
  /** HTTP dialects of other systems. */
  readonly compatApis: readonly CompatApi[]
  readonly loader: LoaderConfig
  readonly snapshots: SnapshotConfig
  /** KEYS, FLUSHALL and FLUSHDB over the Redis protocol. */
  readonly allowDangerousCommands: boolean
  readonly dataTokens: TokenSource
  readonly adminTokens: TokenSource
  readonly allowInsecure: boolean
  /** Host names in lower case, beside loopback and HOST; `*.example.com` stands for all below it. */
  readonly allowedHosts: readonly string[]
  /** Addresses and networks of proxies that are trusted to name their clients. */
  readonly trustedProxies: readonly string[]
  readonly tls: ServerTls | null
  /** For all servers and for the connections to the nodes. */
  readonly tlsMinVersion: (typeof TLS_VERSIONS)[number]
  /** How many databases clients can select. */
  readonly databases: number
  readonly maxKeyBytes: number
  readonly maxValueBytes: number
  readonly maxTags: number
  readonly deleteJobKeysPerSecond: number
  readonly maxBatchKeys: number
  readonly maxBatchBytes: number
  /** Of the reply to one command or transaction of the Redis protocol. */
  readonly maxReplyBytes: number
  /** Of the values that one command or transaction of the Redis protocol reads and makes. */
  readonly maxCommandBytes: number
  readonly maxTransactionCommands: number
  /** Of a command, its keys, values and elements not counted. */
  readonly maxArguments: number
  /** Operations on single keys in flight at once. */
  readonly maxInFlight: number
  /** 0 = none. */
  readonly hotKeys: number
  readonly nearCache: NearCacheConfig
  readonly maxTrackedKeys: number
  readonly queueTimeoutMs: number
  /** Bytes that clients may use in one process; null = derived from the machine's memory. */
  readonly maxClientMemory: number | null
  /** Of one process; null = as many as its file descriptors allow. */
  readonly maxConnections: number | null
  /** 0 = idle connections are not closed. */
  readonly idleMs: number
  /** How long it goes on serving after SIGTERM, while /readyz is 503. */
  readonly shutdownDelayMs: number
  /** `auto` = one a core. */
  readonly workers: number | 'auto'
  readonly logLevel: (typeof LOG_LEVELS)[number]
  readonly logRequests: (typeof LOG_REQUESTS)[number]
}

export interface RedisNodes {
  readonly kind: 'redis'
  readonly addresses: readonly NodeAddress[]
  /** Trusted CAs for `rediss://`; null = those bundled with Node.js. */
  readonly tlsCaFile: string | null
  /** The client certificate for nodes that ask for one. */
  readonly tlsKeyPair: KeyPairFiles | null
  /** The user and password of the Sentinels themselves; empty = they ask for none. */
  readonly sentinelCredentials: { readonly username?: string; readonly password?: string }
}

export interface Discovery extends DiscoveryName {
  /** How long an address has to stay before it joins. */
  readonly delayMs: number
}

export interface LoaderConfig {
  /** With `{key}` in it (loader-url.ts); null = nothing is loaded, unless the program has a function for it. */
  readonly url: string | null
  readonly allow: LoaderAllow
  readonly ttlMs: number
  /** 0 = it is not remembered that the origin has nothing. */
  readonly negativeTtlMs: number
  /** 0 = no value is served after its expiry. */
  readonly staleMs: number
  readonly timeoutMs: number
  /** 0 = a stale value is served at once. */
  readonly softTimeoutMs: number
  readonly maxConcurrent: number
}

export interface SnapshotConfig {
  /** Null = there are none. */
  readonly folder: string | null
  /** 0 = only when asked for. */
  readonly intervalMs: number
  /** Of those that are taken every so often. */
  readonly keep: number
}

export interface NearCacheConfig {
  /** Of one process; 0 = none. */
  readonly maxBytes: number
  readonly maxStalenessMs: number
}

export interface KeyPairFiles {
  readonly certFile: string
  readonly keyFile: string
}

export interface ServerTls extends KeyPairFiles {
  /** Clients need a certificate of one of these CAs; null = clients need none. */
  readonly clientCaFile: string | null
}

export interface MemoryNodes {
  readonly kind: 'memory'
  readonly count: number
  readonly maxBytesPerNode: number
  /** 0 = any number. */
  readonly maxEntriesPerNode: number
  /** Null = nothing outlives the process. */
  readonly files: MemoryFiles | null
}

/** Where memory nodes keep their logs and snapshots. */
export interface MemoryFiles {
  readonly folder: string
  readonly fsync: (typeof FSYNCS)[number]
  /** 0 = only when a log has grown. */
  readonly snapshotIntervalMs: number
}

/** Pure: depends only on its argument. */
export function loadConfig(
  env: Environment,
): { ok: true; config: Config } | { ok: false; problems: string[] } {
  const problems: string[] = []
  const given = new Set<Name>()
  const values: Partial<Record<Name, unknown>> = {}
  for (const [name, row] of Object.entries(rows) as [Name, Row<unknown>][]) {
    const text = env[name]?.trim() ?? ''
    if (text !== '') given.add(name)
    if (text === '' && row.default === '') continue
    const result = row.check.safeParse(text === '' ? row.default : text)
    if (result.success) values[name] = result.data
    else if (name === 'REDIS_URLS')
      problems.push(...result.error.issues.map((issue) => `REDIS_URLS, ${issue.message}`))
    else problems.push(refusal(name, row, text, result.error.issues[0]?.message ?? 'valid'))
  }
  problems.push(...crossProblems(values as Partial<Values>, given))
  if (problems.length > 0) return { ok: false, problems }

  const v = values as AllValues
  const config: Config = {
    nodes: given.has('REDIS_URLS') ? redisNodes(v) : memoryNodes(v),
    topology: v.TOPOLOGY,
    discovery: discovery(v.DISCOVERY_URL, v.DISCOVERY_DELAY_SECONDS),
    clusterId: v.CLUSTER_ID ?? null,
    vnodesPerNode: v.VNODES_PER_NODE,
    replicationFactor: v.REPLICATION_FACTOR,
    maxTries: v.MAX_TRIES,
    readConsistency: v.READ_CONSISTENCY,
    writeConsistency: v.WRITE_CONSISTENCY,
    requestTimeoutMs: v.REQUEST_TIMEOUT_MS,
    scriptTimeLimitMs: v.SCRIPT_TIME_LIMIT_MS,
    nodeTimeoutMs: v.NODE_TIMEOUT_MS,
    connectTimeoutMs: v.CONNECT_TIMEOUT_MS,
    pingIntervalMs: v.PING_INTERVAL_SECONDS * 1000,
    defaultTtlMs: v.DEFAULT_TTL_SECONDS * 1000,
    graceMs: v.GRACE_SECONDS * 1000,
    repairIntervalMs: v.REPAIR_INTERVAL_SECONDS * 1000,
    repairKeysPerSecond: v.REPAIR_KEYS_PER_SECOND,
    host: v.HOST,
    port: v.PORT,
    respPort: v.RESP_PORT,
    grpcPort: v.GRPC_PORT,
    crossSetMulti: v.RESP_CROSS_SET_MULTI,
    compatApis: v.COMPAT_APIS ?? [],
    loader: loaderOf(v),
    snapshots: snapshotsOf(v),
    allowDangerousCommands: v.ALLOW_DANGEROUS_COMMANDS,
    dataTokens: { tokens: v.DATA_TOKEN ?? [], file: v.DATA_TOKEN_FILE ?? null },
    adminTokens: { tokens: v.ADMIN_TOKEN ?? [], file: v.ADMIN_TOKEN_FILE ?? null },
    allowInsecure: v.ALLOW_INSECURE,
    allowedHosts: v.ALLOWED_HOSTS ?? [],
    trustedProxies: v.TRUSTED_PROXIES ?? [],
    tls: serverTls(keyPair(v.TLS_CERT_FILE, v.TLS_KEY_FILE), v.TLS_CLIENT_CA_FILE),
    tlsMinVersion: v.TLS_MIN_VERSION,
    databases: v.DATABASES,
    ...limitsOf(v),
    idleMs: v.CLIENT_IDLE_SECONDS * 1000,
    shutdownDelayMs: v.SHUTDOWN_DELAY_SECONDS * 1000,
    workers: v.WORKERS,
    logLevel: v.LOG_LEVEL,
    logRequests: v.LOG_REQUESTS,
  }
  return { ok: true, config: Object.freeze(config) }
}

function redisNodes(v: AllValues): Config['nodes'] {
  return {
    kind: 'redis',
    addresses: v.REDIS_URLS ?? [],
    tlsCaFile: v.NODE_TLS_CA_FILE ?? null,
    tlsKeyPair: keyPair(v.NODE_TLS_CERT_FILE, v.NODE_TLS_KEY_FILE),
    sentinelCredentials: credentials(v.SENTINEL_USERNAME, v.SENTINEL_PASSWORD),
  }
}

function memoryNodes(v: AllValues): MemoryNodes {
  const files = {
    folder: v.DATA_DIR ?? '',
    fsync: v.DATA_FSYNC,
    snapshotIntervalMs: v.DATA_SNAPSHOT_SECONDS * 1000,
  }
  return {
    kind: 'memory',
    count: v.MEMORY_NODES,
    maxBytesPerNode: v.MEMORY_NODE_MAX_BYTES,
    maxEntriesPerNode: v.MEMORY_NODE_MAX_ENTRIES,
    files: v.DATA_DIR === undefined ? null : files,
  }
}

function limitsOf(
  v: AllValues,
): Pick<
  Config,
  | 'grpcMaxRecvBytes'
  | 'grpcMaxSendBytes'
  | 'maxKeyBytes'
  | 'maxValueBytes'
  | 'maxTags'
  | 'deleteJobKeysPerSecond'
  | 'maxBatchKeys'
  | 'maxBatchBytes'
  | 'maxReplyBytes'
  | 'maxCommandBytes'
  | 'maxTransactionCommands'
  | 'maxArguments'
  | 'maxInFlight'
  | 'hotKeys'
  | 'nearCache'
  | 'maxTrackedKeys'
  | 'queueTimeoutMs'
  | 'maxClientMemory'
  | 'maxConnections'
> {
  return {
    grpcMaxRecvBytes: v.GRPC_MAX_RECV_BYTES,
    grpcMaxSendBytes: v.GRPC_MAX_SEND_BYTES,
    maxKeyBytes: v.MAX_KEY_BYTES,
    maxValueBytes: v.MAX_VALUE_BYTES,
    maxTags: v.MAX_TAGS_PER_KEY,
    deleteJobKeysPerSecond: v.DELETE_JOB_KEYS_PER_SECOND,
    maxBatchKeys: v.MAX_BATCH_KEYS,
    maxBatchBytes: v.MAX_BATCH_BYTES,
    maxReplyBytes: v.MAX_REPLY_BYTES,
    maxCommandBytes: v.MAX_COMMAND_BYTES,
    maxTransactionCommands: v.MAX_TRANSACTION_COMMANDS,
    maxArguments: v.MAX_ARGUMENTS,
    maxInFlight: v.MAX_IN_FLIGHT,
    hotKeys: v.HOT_KEYS,
    nearCache: { maxBytes: v.NEAR_CACHE_MAX_BYTES, maxStalenessMs: v.NEAR_CACHE_MAX_STALENESS_MS },
    maxTrackedKeys: v.TRACKING_MAX_KEYS,
    queueTimeoutMs: v.QUEUE_TIMEOUT_MS,
    maxClientMemory: v.MAX_CLIENT_MEMORY ?? null,
    maxConnections: v.MAX_CONNECTIONS ?? null,
  }
}

function snapshotsOf(v: AllValues): SnapshotConfig {
  return {
    folder: v.SNAPSHOT_DIR ?? null,
    intervalMs: v.SNAPSHOT_INTERVAL_SECONDS * 1000,
    keep: v.SNAPSHOT_KEEP,
  }
}

function loaderOf(v: AllValues): LoaderConfig {
  return {
    url: v.LOADER_URL ?? null,
    allow: v.LOADER_ALLOW ?? NOTHING_ALLOWED,
    ttlMs: v.LOADER_TTL_SECONDS * 1000,
    negativeTtlMs: v.LOADER_NEGATIVE_TTL_SECONDS * 1000,
    staleMs: v.LOADER_STALE_SECONDS * 1000,
    timeoutMs: v.LOADER_TIMEOUT_MS,
    softTimeoutMs: v.LOADER_SOFT_TIMEOUT_MS,
    maxConcurrent: v.LOADER_MAX_CONCURRENT,
  }
}

function keyPair(certFile: string | undefined, keyFile: string | undefined): KeyPairFiles | null {
  return certFile !== undefined && keyFile !== undefined ? { certFile, keyFile } : null
}

function discovery(found: DiscoveryName | undefined, delaySeconds: number): Discovery | null {
  return found ? { ...found, delayMs: delaySeconds * 1000 } : null
}

function credentials(username?: string, password?: string): RedisNodes['sentinelCredentials'] {
  return { ...(username !== undefined && { username }), ...(password !== undefined && { password }) }
}

function serverTls(pair: KeyPairFiles | null, clientCaFile: string | null = null): ServerTls | null {
  return pair && { ...pair, clientCaFile }
}

function refusal(name: Name, row: Row<unknown>, text: string, must: string): string {
  // A URL or a long word may be a misplaced secret.
  const shown = (row.secret ?? !/^[\w.:+-]{1,24}$/.test(text)) ? '' : `, and is "${text}"`
  const otherwise = row.default === '' ? 'remove it' : `remove it for the default, ${row.default}`
  return `${name} must be ${must}${shown}. Correct it, or ${otherwise}.`
}

/** For the log line at startup: all settings, with secrets as `***`. */
export function describeConfig(config: Config): Record<string, unknown> {
  const { nodes } = config
  return {
    ...config,
    nodes: nodes.kind === 'redis' ? describeNodes(nodes) : nodes,
    // A key for the origin may stand in its path or query.
    loader: { ...config.loader, url: config.loader.url && `${new URL(config.loader.url).origin}/***` },
    dataTokens: hidden(config.dataTokens),
    adminTokens: hidden(config.adminTokens),
  }
}

function describeNodes({ sentinelCredentials, ...nodes }: RedisNodes): Record<string, unknown> {
  const credentials = Object.keys(sentinelCredentials).map((name) => [name, '***'])
  const addresses = nodes.addresses.map(describe)
  return { ...nodes, addresses, sentinelCredentials: Object.fromEntries(credentials) as unknown }
}

function hidden({ tokens, file }: TokenSource): TokenSource {
  return { tokens: tokens.map(() => '***'), file }
}
