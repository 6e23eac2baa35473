/**
 * The configuration table: variable, default, unit, check and meaning of every setting.
 *
 * The input is text (the environment, which overrides `.env.local`). The output is one readonly object, or all problems at
 * once, each saying what is wrong, why, and what to do. An empty variable counts as not set; variables that are not in the
 * table are ignored. Only the program and its entry points load it: all other layers receive plain values.
 *
 * Secrets (tokens, passwords in REDIS_URLS) appear neither in a problem nor in `describeConfig`. A bad value is quoted
 * only if it cannot be a secret.
 *
 * `.env.local.example` explains the cost of raising or lowering each variable; test/config.test.ts checks that this
 * table, that file and README.md agree.
 */
import { readFileSync } from 'node:fs'
import { isIP } from 'node:net'
import { join } from 'node:path'
import { parse } from 'dotenv'
import { z } from 'zod'
import { CONSISTENCY_LEVELS, type ConsistencyLevel } from '../core/consistency.ts'
import { COMPAT_APIS, parseCompatApis, type CompatApi } from './compat-apis.ts'
import { parseLoaderAllow, parseLoaderUrl, type LoaderAllow } from './loader-url.ts'
import { parseTokens, TOKENS_MUST_BE, type TokenSource } from './token-list.ts'
import { isNetwork } from './trusted-proxies.ts'
import {
  describe,
  isLoopback,
  parseHost,
  parseNodeList,
  type NodeAddress,
  type Place,
} from './node-addresses.ts'

export type Environment = Readonly<Record<string, string | undefined>>

const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const
export const LOG_REQUESTS = ['none', 'errors', 'all'] as const
const TOPOLOGIES = ['dynamic', 'static'] as const
const TLS_VERSIONS = ['TLSv1.2', 'TLSv1.3'] as const

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
  readonly crossSetMulti: 'refuse' | 'unordered'
  /** HTTP dialects of other systems. */
  readonly compatApis: readonly CompatApi[]
  readonly loader: LoaderConfig
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
  /** For both servers and for the connections to the nodes. */
  readonly tlsMinVersion: (typeof TLS_VERSIONS)[number]
  /** How many databases clients can select. */
  readonly databases: number
  readonly maxKeyBytes: number
  readonly maxValueBytes: number
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

export interface Discovery {
  /** What this name leads to, at this port. */
  readonly at: Place
  readonly tls: boolean
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
}

interface Row<T> {
  /** In the form of the variable; empty = not set. */
  readonly default: string
  readonly unit: string
  readonly meaning: string
  /** Its message completes "NAME must be …". */
  readonly check: z.ZodType<T, string>
  readonly secret?: true
  /** Set by the image, and not documented for users. */
  readonly hidden?: true
}

const NOTHING_ALLOWED: LoaderAllow = { hosts: [], networks: [] }
const FILE_PATH = /^(?!-----)[^\0\r\n]{1,4096}$/

const rows = {
  REDIS_URLS: row({
    check: z.string().transform((text, ctx) => {
      const { nodes, problems } = parseNodeList(text)
      for (const problem of problems) ctx.addIssue({ code: 'custom', message: problem })
      return nodes
    }),
    meaning:
      'The nodes: comma-separated `[id=][redis[s]://][user:password@]host:port[?weight=2&zone=a]`, or ' +
      '`[id=]redis+sentinel://[user:password@]name@host:port,host:port` for the primary that Sentinels know. ' +
      'Not set: in-process memory nodes, which lose everything when the process ends.',
    secret: true,
  }),
  NODE_TLS_CA_FILE: row({
    check: filePath(),
    meaning: 'PEM file of the CAs to trust for `rediss://` nodes. Not set: those bundled with Node.js.',
  }),
  NODE_TLS_CERT_FILE: row({
    check: filePath(),
    meaning:
      'PEM file of the client certificate for `rediss://` nodes that ask for one (`tls-auth-clients yes`).',
  }),
  NODE_TLS_KEY_FILE: row({
    check: filePath(),
    meaning: "PEM file of that certificate's private key.",
  }),
  SENTINEL_USERNAME: row({
    check: z.string().regex(/^[\x21-\x7e]{1,256}$/, 'a user name in printable ASCII without spaces'),
    secret: true,
    meaning: 'The user at Sentinels that ask for one (`redis+sentinel://`). Not set: the default user.',
  }),
  SENTINEL_PASSWORD: row({
    check: z.string().regex(/^[^\0\r\n]{1,1024}$/, 'a password on one line'),
    secret: true,
    meaning:
      'The password of the Sentinels, where they have one. That of the Redis stands in `REDIS_URLS`. Not set: none.',
  }),
  DISCOVERY_URL: row({
    check: discoveryUrl(),
    secret: true,
    meaning:
      '`redis[s]://name:port`: new addresses of this DNS name, such as that of a headless service in Kubernetes, join as ' +
      'nodes. None is removed. Not set: nodes join only when they are told to.',
  }),
  DISCOVERY_DELAY_SECONDS: row({
    default: '60',
    unit: 'seconds',
    check: wholeNumber(0, 86_400),
    meaning: 'How long the name of `DISCOVERY_URL` has to lead to a new address before that joins.',
  }),
  MEMORY_NODES: row({
    default: '4',
    check: wholeNumber(1, 64),
    meaning: 'Number of in-process memory nodes, used while `REDIS_URLS` is not set.',
  }),
  MEMORY_NODE_MAX_BYTES: row({
    default: '64MiB',
    unit: 'bytes',
    check: size(1024, 64 * 1024 ** 3),
    meaning: 'Memory limit of one memory node; above it, the least recently used keys are evicted.',
  }),
  TOPOLOGY: row({
    default: 'dynamic',
    check: oneOf(TOPOLOGIES),
    meaning:
      '`dynamic`: the members may change while Rondo runs (`POST /members/join`, …). `static`: they are always those ' +
      'of `REDIS_URLS`, and a cluster that has changed is not used.',
  }),
  CLUSTER_ID: row({
    check: z.string().regex(/^[\w-]{1,64}$/, 'the id of a cluster, as `GET /cluster` shows it'),
    meaning:
      'The cluster to use, as `GET /cluster` shows it: no other one is, and none is founded. Not set: the one that the ' +
      'nodes belong to, or a new one if they belong to none.',
  }),
  VNODES_PER_NODE: row({
    default: '100',
    check: wholeNumber(1, 10_000),
    meaning: 'Virtual nodes on the ring for a node of weight 1. Must be the same on every coordinator.',
  }),
  REPLICATION_FACTOR: row({
    default: '3',
    check: wholeNumber(1, 64),
    meaning: 'Copies of each key. With fewer nodes than this, each node holds one.',
  }),
  READ_CONSISTENCY: row({
    default: 'one',
    check: oneOf(CONSISTENCY_LEVELS),
    meaning: 'Default consistency level of reads: one, quorum or all. A request may override it.',
  }),
  WRITE_CONSISTENCY: row({
    default: 'one',
    check: oneOf(CONSISTENCY_LEVELS),
    meaning: 'Default consistency level of writes: one, quorum or all. A request may override it.',
  }),
  MAX_TRIES: row({
    default: '3',
    check: wholeNumber(0, 1000),
    meaning: 'Most healthy nodes that one operation at `one` may try; 0 = all.',
  }),
  REQUEST_TIMEOUT_MS: row({
    default: '1000',
    unit: 'milliseconds',
    check: wholeNumber(10, 600_000),
    meaning: 'Timeout of an operation on one key; a batch consists of many.',
  }),
  NODE_TIMEOUT_MS: row({
    default: '300',
    unit: 'milliseconds',
    check: wholeNumber(10, 600_000),
    meaning: 'Timeout of one call to a node. At most `REQUEST_TIMEOUT_MS`.',
  }),
  CONNECT_TIMEOUT_MS: row({
    default: '300',
    unit: 'milliseconds',
    check: wholeNumber(10, 600_000),
    meaning: 'Timeout for connecting to a node, including TLS and authentication.',
  }),
  PING_INTERVAL_SECONDS: row({
    default: '3',
    unit: 'seconds',
    check: wholeNumber(1, 3600),
    meaning: 'How often each node is pinged.',
  }),
  DEFAULT_TTL_SECONDS: row({
    default: '0',
    unit: 'seconds',
    check: wholeNumber(0, 100 * 365 * 86_400),
    meaning: 'TTL of values that are written without one; 0 = no expiry.',
  }),
  GRACE_SECONDS: row({
    default: '86400',
    unit: 'seconds',
    check: wholeNumber(10, 10 * 365 * 86_400),
    meaning:
      'How long a delete is remembered. A node that was not compared with the others for longer is emptied and ' +
      'rebuilt.',
  }),
  REPAIR_INTERVAL_SECONDS: row({
    default: '3600',
    unit: 'seconds',
    check: wholeNumber(0, 5 * 365 * 86_400),
    meaning:
      'How often all copies are compared and repaired; 0 = only on `POST /repair`. Less than half of `GRACE_SECONDS`.',
  }),
  REPAIR_KEYS_PER_SECOND: row({
    default: '30000',
    unit: 'keys a second',
    check: wholeNumber(0, 10_000_000),
    meaning: 'Most copies that a repair checks per second, over all nodes; 0 = no limit.',
  }),
  HOST: row({
    default: '127.0.0.1',
    check: z.string().transform((text, ctx) => {
      const host = parseHost(text)
      if (host === null) ctx.addIssue({ code: 'custom', message: 'an IP address or a host name' })
      return host ?? ''
    }),
    meaning: 'The address to listen on. Anything but loopback needs both tokens.',
  }),
  PORT: row({
    default: '8080',
    check: wholeNumber(0, 65_535),
    meaning: 'The port of the HTTP server; 0 = any free port.',
  }),
  RESP_PORT: row({
    default: '6390',
    check: z
      .string()
      .refine((text) => text === 'off' || inRange(text, 0, 65_535), 'a whole number from 0 to 65535, or off')
      .transform((text) => (text === 'off' ? null : Number(text))),
    meaning: 'The port of the Redis protocol server; 0 = any free port, `off` = disabled.',
  }),
  RESP_CROSS_SET_MULTI: row({
    default: 'unordered',
    check: oneOf(['refuse', 'unordered']),
    meaning:
      'MULTI/EXEC over keys that do not share a replica set: `unordered` (each command by itself), or `refuse` ' +
      '(CROSSSLOT). After WATCH always CROSSSLOT.',
  }),
  COMPAT_APIS: row({
    check: z.string().transform((text, ctx) => {
      const found = parseCompatApis(text)
      if (!found)
        ctx.addIssue({ code: 'custom', message: `some of ${COMPAT_APIS.join(', ')}, separated by commas` })
      return found ?? []
    }),
    meaning:
      'HTTP dialects of other systems to offer, separated by commas: `upstash`, `ringg`, `lru`, `cache-cluster`; with ' +
      '`upstash-get` and `lru-get` a GET may change keys. Not set: none.',
  }),
  LOADER_URL: row({
    check: z.string().transform((text, ctx) => {
      const template = parseLoaderUrl(text)
      if (template === null)
        ctx.addIssue({
          code: 'custom',
          message:
            'http:// or https:// with a host, and with {key} in the path or query, perhaps {db} too, such as ' +
            'https://origin.example.com/items/{key}; without a user, a password or a fragment',
        })
      return template ?? ''
    }),
    secret: true,
    meaning:
      'Where values come from that are not there: a GET of such a key asks this URL once, with the key for `{key}`, and ' +
      'stores the answer. [LOADING.md](docs/LOADING.md). Not set: nothing is loaded.',
  }),
  LOADER_ALLOW: row({
    check: z.string().transform((text, ctx) => {
      const allow = parseLoaderAllow(text)
      if (!allow)
        ctx.addIssue({
          code: 'custom',
          message:
            'host names and networks, separated by commas, such as 10.0.0.0/8,origin.internal,*.corp.example',
        })
      return allow ?? NOTHING_ALLOWED
    }),
    meaning:
      'Comma-separated networks and host names whose private addresses `LOADER_URL` may lead to; `*.example.com` for ' +
      'subdomains. Not set: public addresses only.',
  }),
  LOADER_TTL_SECONDS: row({
    default: '300',
    check: wholeNumber(1, 31_536_000),
    unit: 'seconds',
    meaning: 'TTL of a loaded value; up to a tenth of it is taken off at random.',
  }),
  LOADER_NEGATIVE_TTL_SECONDS: row({
    default: '10',
    check: wholeNumber(0, 31_536_000),
    unit: 'seconds',
    meaning: 'How long it is remembered that the origin has no such value (404); 0 = not.',
  }),
  LOADER_STALE_SECONDS: row({
    default: '0',
    check: wholeNumber(0, 31_536_000),
    unit: 'seconds',
    meaning:
      'For how long a loaded value may be served after its TTL, while one request loads it again or the origin fails; 0 = not.',
  }),
  LOADER_TIMEOUT_MS: row({
    default: '5000',
    check: wholeNumber(1, 30_000),
    unit: 'ms',
    meaning: 'Timeout of one request to the origin.',
  }),
  LOADER_SOFT_TIMEOUT_MS: row({
    default: '0',
    check: wholeNumber(0, 30_000),
    unit: 'ms',
    meaning: 'How long a GET waits for the origin before it is answered with a stale value; 0 = not at all.',
  }),
  LOADER_MAX_CONCURRENT: row({
    default: '32',
    check: wholeNumber(1, 10_000),
    meaning: 'The most requests to the origin at once, from one process.',
  }),
  ALLOW_DANGEROUS_COMMANDS: row({
    default: 'true',
    check: flag(),
    meaning: '`false` refuses KEYS, FLUSHALL and FLUSHDB over the Redis protocol.',
  }),
  DATA_TOKEN: row({
    check: tokens(),
    secret: true,
    meaning:
      'The bearer token for reading and writing keys, or two, separated by a space. Not set: no token is ' +
      'needed.',
  }),
  ADMIN_TOKEN: row({
    check: tokens(),
    secret: true,
    meaning: 'The bearer token for administration (repair), or two. Not set: no token is needed.',
  }),
  DATA_TOKEN_FILE: row({
    check: filePath('a file of tokens'),
    meaning:
      'A file with the data tokens instead of `DATA_TOKEN`, one token per line, at most two; reloaded on ' +
      'SIGHUP.',
  }),
  ADMIN_TOKEN_FILE: row({
    check: filePath('a file of tokens'),
    meaning: 'A file with the admin tokens instead of `ADMIN_TOKEN`, as `DATA_TOKEN_FILE`.',
  }),
  ALLOW_INSECURE: row({
    default: 'false',
    check: flag(),
    meaning: '`true` allows listening on a non-loopback address without tokens.',
  }),
  ALLOWED_HOSTS: row({
    check: hostNames(),
    meaning:
      'Comma-separated host names that HTTP requests may use besides loopback and `HOST`; `*.example.com` for ' +
      'subdomains. Not set: with tokens any name, without tokens none with a dot in it.',
  }),
  TRUSTED_PROXIES: row({
    check: networks(),
    meaning:
      'Comma-separated addresses and networks of proxies whose `X-Forwarded-For` (HTTP) and PROXY header (Redis ' +
      'protocol) are trusted. Not set: none.',
  }),
  TLS_CERT_FILE: row({
    check: filePath(),
    meaning: 'PEM file of the certificate of both servers. With `TLS_KEY_FILE` they accept TLS only.',
  }),
  TLS_KEY_FILE: row({
    check: filePath(),
    meaning: "PEM file of that certificate's private key.",
  }),
  TLS_CLIENT_CA_FILE: row({
    check: filePath(),
    meaning: 'PEM file of CAs. With it, clients of both servers need a certificate signed by one of them.',
  }),
  TLS_MIN_VERSION: row({
    default: 'TLSv1.2',
    check: oneOf(TLS_VERSIONS),
    meaning: 'The oldest TLS version accepted for clients and nodes: TLSv1.2 or TLSv1.3.',
  }),
  DATABASES: row({
    default: '16',
    check: wholeNumber(1, 1024),
    meaning: 'How many databases clients can select (`SELECT`, `?db=`), numbered from 0.',
  }),
  MAX_KEY_BYTES: row({
    default: '1024',
    unit: 'bytes',
    check: size(1, 64 * 1024),
    meaning: 'The longest key accepted.',
  }),
  MAX_VALUE_BYTES: row({
    default: '8MiB',
    unit: 'bytes',
    check: size(1, 256 * 1024 ** 2),
    meaning: 'The largest value accepted.',
  }),
  MAX_BATCH_KEYS: row({
    default: '1000',
    check: wholeNumber(1, 100_000),
    meaning: 'The most keys in one mget, mset or mdelete.',
  }),
  MAX_BATCH_BYTES: row({
    default: '16MiB',
    unit: 'bytes',
    check: size(1, 1024 ** 3),
    meaning: 'The most bytes in one mget, mset or mdelete.',
  }),
  MAX_REPLY_BYTES: row({
    default: '32MiB',
    unit: 'bytes',
    check: size(1024, 1024 ** 3),
    meaning: 'The most bytes in the reply to one MGET, KEYS or EXEC of the Redis protocol.',
  }),
  MAX_COMMAND_BYTES: row({
    default: '256MiB',
    unit: 'bytes',
    check: size(1024, 16 * 1024 ** 3),
    meaning:
      'The most bytes of values that one command or transaction of the Redis protocol may work on (BITOP, PFCOUNT, ' +
      'MULTI).',
  }),
  MAX_TRANSACTION_COMMANDS: row({
    default: '100000',
    check: wholeNumber(1, 1_000_000),
    meaning: 'The most commands in one MULTI; together they may have `MAX_BATCH_BYTES`.',
  }),
  MAX_ARGUMENTS: row({
    default: '1024',
    check: wholeNumber(64, 16_384),
    meaning:
      'The most arguments of one Redis protocol command whose arguments are not all keys, values or elements ' +
      '(BITFIELD, CLIENT LIST ID, CONFIG GET).',
  }),
  MAX_IN_FLIGHT: row({
    default: '10000',
    check: wholeNumber(1, 1_000_000),
    meaning: 'Most operations in flight at once; further ones are refused with 503.',
  }),
  HOT_KEYS: row({
    default: '0',
    check: wholeNumber(0, 100),
    meaning:
      'How many of the most used keys, and of the largest values of each type, are known by name; `0` = none. ' +
      '`GET /hotkeys` shows them.',
  }),
  QUEUE_TIMEOUT_MS: row({
    default: '30000',
    check: wholeNumber(1, 3_600_000),
    meaning:
      'How long the operations of a connection may wait for busy nodes without any of them starting, before they ' +
      'are refused with 503.',
  }),
  MAX_CLIENT_MEMORY: row({
    unit: 'bytes',
    check: size(16 * 1024 ** 2, 1024 ** 4),
    meaning:
      'Memory that clients may use in one process: requests, queued transactions, unsent replies. Not set: a ' +
      'quarter of the memory of the machine or container, shared by the workers, and at most half of the JavaScript heap.',
  }),
  MAX_CONNECTIONS: row({
    check: wholeNumber(1, 10_000_000),
    meaning:
      'Most client connections to one process, over all its ports. Not set: as many as its limit of open files ' +
      'allows.',
  }),
  CLIENT_IDLE_SECONDS: row({
    default: '0',
    unit: 'seconds',
    check: wholeNumber(0, 365 * 86_400),
    meaning: 'Redis protocol connections that are idle for longer are closed; 0 = never.',
  }),
  SHUTDOWN_DELAY_SECONDS: row({
    default: '0',
    unit: 'seconds',
    check: wholeNumber(0, 3600),
    meaning:
      'How long it goes on serving after SIGTERM, with 503 from `/readyz`, before it stops listening; the container ' +
      'image sets 5.',
  }),
  WORKERS: row({
    default: '1',
    check: z
      .string()
      .refine((text) => text === 'auto' || inRange(text, 1, 1024), 'a whole number from 1 to 1024, or auto')
      .transform((text) => (text === 'auto' ? text : Number(text))),
    meaning: 'Number of processes, each a coordinator of its own; `auto` = one per core.',
  }),
  LOG_LEVEL: row({
    default: 'info',
    check: oneOf(LOG_LEVELS),
    meaning: 'The lowest level that is logged: trace, debug, info, warn, error, fatal or silent.',
  }),
  LOG_REQUESTS: row({
    default: 'errors',
    check: oneOf(LOG_REQUESTS),
    meaning: 'Which requests get a log line: none, errors or all.',
  }),
  RONDO_IMAGE: row({
    default: 'false',
    check: flag(),
    hidden: true,
    meaning: '`true` in the container image: memory nodes then need `MEMORY_NODES`.',
  }),
}

type Name = keyof typeof rows
type AllValues = Values & Record<Optional, Values[Optional] | undefined>
type Values = { [K in Name]: (typeof rows)[K] extends Row<infer T> ? T : never }

/** The table, for checking the documentation. */
export type Variable = { readonly name: string } & Omit<Row<unknown>, 'check'>
export const VARIABLES: readonly Variable[] = Object.entries(rows).map(([name, row]) => ({ name, ...row }))

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
  // A value that failed its own check is missing here; each rule below skips missing values.
  problems.push(...crossProblems(values as Partial<Values>, given))
  if (problems.length > 0) return { ok: false, problems }

  const v = values as AllValues
  const config: Config = {
    nodes: given.has('REDIS_URLS')
      ? {
          kind: 'redis',
          addresses: v.REDIS_URLS ?? [],
          tlsCaFile: v.NODE_TLS_CA_FILE ?? null,
          tlsKeyPair: keyPair(v.NODE_TLS_CERT_FILE, v.NODE_TLS_KEY_FILE),
          sentinelCredentials: credentials(v.SENTINEL_USERNAME, v.SENTINEL_PASSWORD),
        }
      : { kind: 'memory', count: v.MEMORY_NODES, maxBytesPerNode: v.MEMORY_NODE_MAX_BYTES },
    topology: v.TOPOLOGY,
    discovery: discovery(v.DISCOVERY_URL, v.DISCOVERY_DELAY_SECONDS),
    clusterId: v.CLUSTER_ID ?? null,
    vnodesPerNode: v.VNODES_PER_NODE,
    replicationFactor: v.REPLICATION_FACTOR,
    maxTries: v.MAX_TRIES,
    readConsistency: v.READ_CONSISTENCY,
    writeConsistency: v.WRITE_CONSISTENCY,
    requestTimeoutMs: v.REQUEST_TIMEOUT_MS,
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
    crossSetMulti: v.RESP_CROSS_SET_MULTI,
    compatApis: v.COMPAT_APIS ?? [],
    loader: loaderOf(v),
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

function limitsOf(
  v: AllValues,
): Pick<
  Config,
  | 'maxKeyBytes'
  | 'maxValueBytes'
  | 'maxBatchKeys'
  | 'maxBatchBytes'
  | 'maxReplyBytes'
  | 'maxCommandBytes'
  | 'maxTransactionCommands'
  | 'maxArguments'
  | 'maxInFlight'
  | 'hotKeys'
  | 'queueTimeoutMs'
  | 'maxClientMemory'
  | 'maxConnections'
> {
  return {
    maxKeyBytes: v.MAX_KEY_BYTES,
    maxValueBytes: v.MAX_VALUE_BYTES,
    maxBatchKeys: v.MAX_BATCH_KEYS,
    maxBatchBytes: v.MAX_BATCH_BYTES,
    maxReplyBytes: v.MAX_REPLY_BYTES,
    maxCommandBytes: v.MAX_COMMAND_BYTES,
    maxTransactionCommands: v.MAX_TRANSACTION_COMMANDS,
    maxArguments: v.MAX_ARGUMENTS,
    maxInFlight: v.MAX_IN_FLIGHT,
    hotKeys: v.HOT_KEYS,
    queueTimeoutMs: v.QUEUE_TIMEOUT_MS,
    maxClientMemory: v.MAX_CLIENT_MEMORY ?? null,
    maxConnections: v.MAX_CONNECTIONS ?? null,
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

/** The variables without a default. */
type Optional =
  | 'REDIS_URLS'
  | 'NODE_TLS_CA_FILE'
  | 'NODE_TLS_CERT_FILE'
  | 'NODE_TLS_KEY_FILE'
  | 'SENTINEL_USERNAME'
  | 'SENTINEL_PASSWORD'
  | 'DISCOVERY_URL'
  | 'DATA_TOKEN'
  | 'DATA_TOKEN_FILE'
  | 'ADMIN_TOKEN'
  | 'ADMIN_TOKEN_FILE'
  | 'ALLOWED_HOSTS'
  | 'COMPAT_APIS'
  | 'LOADER_URL'
  | 'LOADER_ALLOW'
  | 'TRUSTED_PROXIES'
  | 'TLS_CERT_FILE'
  | 'TLS_KEY_FILE'
  | 'TLS_CLIENT_CA_FILE'
  | 'MAX_CLIENT_MEMORY'
  | 'MAX_CONNECTIONS'

function keyPair(certFile: string | undefined, keyFile: string | undefined): KeyPairFiles | null {
  return certFile !== undefined && keyFile !== undefined ? { certFile, keyFile } : null
}

function discovery(found: Omit<Discovery, 'delayMs'> | undefined, delaySeconds: number): Discovery | null {
  return found ? { ...found, delayMs: delaySeconds * 1000 } : null
}

function credentials(username?: string, password?: string): RedisNodes['sentinelCredentials'] {
  return { ...(username !== undefined && { username }), ...(password !== undefined && { password }) }
}

function serverTls(pair: KeyPairFiles | null, clientCaFile: string | null = null): ServerTls | null {
  return pair && { ...pair, clientCaFile }
}

const TOKEN_NAMES = ['DATA_TOKEN', 'ADMIN_TOKEN'] as const

function crossProblems(v: Partial<Values>, given: ReadonlySet<Name>): string[] {
  const problems: string[] = []

  for (const name of TOKEN_NAMES) {
    if (given.has(name) && given.has(`${name}_FILE`))
      problems.push(`${name} and ${name}_FILE are both set: remove one, so that it is clear which is valid.`)
  }
  const missingTokens = TOKEN_NAMES.filter((name) => !given.has(name) && !given.has(`${name}_FILE`))
  if (v.HOST !== undefined && !isLoopback(v.HOST) && missingTokens.length > 0 && v.ALLOW_INSECURE === false)
    problems.push(
      `HOST ${v.HOST} can be reached from other machines, and without ${missingTokens.join(' and ')} anyone there ` +
        `could read, change or delete this cache. Set ${missingTokens.join(' and ')}, or listen on 127.0.0.1, ` +
        'or set ALLOW_INSECURE=true where the network keeps other clients out.',
    )

  if (v.NODE_TIMEOUT_MS !== undefined && v.REQUEST_TIMEOUT_MS !== undefined)
    if (v.NODE_TIMEOUT_MS > v.REQUEST_TIMEOUT_MS)
      problems.push(
        `NODE_TIMEOUT_MS (${v.NODE_TIMEOUT_MS}) must not be larger than REQUEST_TIMEOUT_MS (${v.REQUEST_TIMEOUT_MS}): ` +
          'a request would time out before its first node fails, and no other could be tried. ' +
          'Lower the one or raise the other.',
      )

  if (v.REPAIR_INTERVAL_SECONDS !== undefined && v.GRACE_SECONDS !== undefined)
    if (2 * v.REPAIR_INTERVAL_SECONDS >= v.GRACE_SECONDS)
      problems.push(
        `REPAIR_INTERVAL_SECONDS (${v.REPAIR_INTERVAL_SECONDS}) must be less than half of GRACE_SECONDS ` +
          `(${v.GRACE_SECONDS}): a repair has to find a copy that missed a delete before the delete is forgotten, ` +
          'even if one repair fails. Lower the one or raise the other.',
      )

  problems.push(...sizeProblems(v))
  if (!given.has('REDIS_URLS')) {
    if (v.WORKERS !== undefined && v.WORKERS !== 1)
      problems.push(
        `WORKERS is ${v.WORKERS}, but REDIS_URLS is not set and memory nodes live inside one process: each worker ` +
          'would be a cache of its own. Set REDIS_URLS, or WORKERS=1.',
      )
    if (v.RONDO_IMAGE === true && !given.has('MEMORY_NODES'))
      problems.push(
        'REDIS_URLS is not set, and this image does not fall back to memory nodes by itself: a mistyped name would ' +
          'lose data quietly. Set REDIS_URLS, or MEMORY_NODES=4 if nothing needs to outlive the process.',
      )
  }

  problems.push(...tlsProblems(given), ...sentinelProblems(v, given), ...discoveryProblems(v, given))
  return problems
}

/** One connection may use a quarter of the memory, and holds a value twice while it stores or returns it. */
const VALUES_IN_MEMORY = 8

function sizeProblems(v: Partial<Values>): string[] {
  const problems: string[] = []
  const { MAX_VALUE_BYTES: value, MAX_CLIENT_MEMORY: memory } = v
  if (value !== undefined && memory !== undefined && memory < VALUES_IN_MEMORY * value)
    problems.push(
      `MAX_CLIENT_MEMORY (${memory}) must be at least ${VALUES_IN_MEMORY} times MAX_VALUE_BYTES (${value}): one ` +
        'connection may use a quarter of it, and has to hold a value twice. Raise the one or lower the other.',
    )
  return problems
}

function sentinelProblems(v: Partial<Values>, given: ReadonlySet<Name>): string[] {
  const problems: string[] = []
  if (given.has('SENTINEL_USERNAME') && !given.has('SENTINEL_PASSWORD'))
    problems.push(
      'SENTINEL_USERNAME is set and SENTINEL_PASSWORD is not, but a user needs a password. Set it too, or remove the user.',
    )
  if (v.TOPOLOGY === 'static' && v.REDIS_URLS?.some(({ service }) => service !== undefined))
    problems.push(
      'REDIS_URLS names Sentinels, and TOPOLOGY=static keeps the members as they are, but every failover changes a ' +
        'member. Set TOPOLOGY=dynamic, or name the Redis themselves.',
    )
  return problems
}

function discoveryProblems(v: Partial<Values>, given: ReadonlySet<Name>): string[] {
  const problems: string[] = []
  if (v.DISCOVERY_URL === undefined) return problems
  if (!given.has('REDIS_URLS'))
    problems.push(
      'DISCOVERY_URL is set and REDIS_URLS is not, but what is found joins a cluster, and REDIS_URLS says where that is. ' +
        'Set REDIS_URLS to the first nodes, or remove DISCOVERY_URL.',
    )
  if (v.TOPOLOGY === 'static')
    problems.push(
      'DISCOVERY_URL is set, and TOPOLOGY=static keeps the members as they are. Set TOPOLOGY=dynamic, or remove DISCOVERY_URL.',
    )
  const { host, port } = v.DISCOVERY_URL.at
  if (v.REDIS_URLS?.some((node) => node.host === host && node.port === port))
    problems.push(
      'DISCOVERY_URL and REDIS_URLS have the same host and port, but a node is one server, and a name with several ' +
        'addresses leads to another one each time. In REDIS_URLS use the names or addresses of single servers.',
    )
  return problems
}

function tlsProblems(given: ReadonlySet<Name>): string[] {
  const problems: string[] = []
  for (const [cert, key, otherwise] of [
    ['TLS_CERT_FILE', 'TLS_KEY_FILE', 'to listen without TLS'],
    ['NODE_TLS_CERT_FILE', 'NODE_TLS_KEY_FILE', 'to show nodes no certificate'],
  ] as const) {
    if (given.has(cert) === given.has(key)) continue
    const [is, isNot] = given.has(cert) ? [cert, key] : [key, cert]
    problems.push(
      `${is} is set and ${isNot} is not, but TLS needs both. Set ${isNot} too, or remove ${is} ${otherwise}.`,
    )
  }
  if (given.has('TLS_CLIENT_CA_FILE') && !given.has('TLS_CERT_FILE') && !given.has('TLS_KEY_FILE'))
    problems.push(
      'TLS_CLIENT_CA_FILE is set, but without TLS_CERT_FILE and TLS_KEY_FILE no client is asked for a certificate. ' +
        'Set these too, or remove TLS_CLIENT_CA_FILE.',
    )
  return problems
}

function refusal(name: Name, row: Row<unknown>, text: string, must: string): string {
  // A URL or a long word may be a misplaced secret.
  const shown = (row.secret ?? !/^[\w.:+-]{1,24}$/.test(text)) ? '' : `, and is "${text}"`
  const otherwise = row.default === '' ? 'remove it' : `remove it for the default, ${row.default}`
  return `${name} must be ${must}${shown}. Correct it, or ${otherwise}.`
}

/** `.env.local` exists and cannot be read: a sentence for people. */
export class SettingsFileError extends Error {
  override readonly name = 'SettingsFileError'
}

/**
 * The process environment, which overrides `.env.local` in the given folder. A variable that is set to an empty string
 * also overrides the file: `REDIS_URLS= npm start` runs on memory nodes.
 *
 * @throws SettingsFileError if the file exists but cannot be read
 */
export function readEnvironment(cwd: string, processEnv: Environment = process.env): Environment {
  return { ...readFile(cwd), ...processEnv }
}

/** A sentence for each name in `.env.local` that is not a setting: it is ignored, and is probably mistyped. */
export function unknownNames(cwd: string): string[] {
  const known = VARIABLES.map(({ name }) => name)
  return Object.keys(readFile(cwd))
    .filter((name) => !known.includes(name))
    .map((name) => {
      const [nearest] = known
        .map((one) => ({ one, steps: editSteps(name.toUpperCase(), one) }))
        .sort((a, b) => a.steps - b.steps)
      const hint = nearest!.steps <= name.length / 3 ? `; did you mean ${nearest!.one}?` : ''
      return `.env.local sets ${JSON.stringify(name)}, which is not a setting, and is ignored${hint}`
    })
}

/** How many characters have to be inserted, removed or replaced to get from one word to the other (Levenshtein). */
function editSteps(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, i) => i)
  for (let i = 1; i <= from.length; i++) {
    const next = [i]
    for (let j = 1; j <= to.length; j++) {
      const replaced = row[j - 1]! + (from[i - 1] === to[j - 1] ? 0 : 1)
      next.push(Math.min(replaced, row[j]! + 1, next[j - 1]! + 1))
    }
    row = next
  }
  return row[to.length]!
}

function readFile(cwd: string): Environment {
  const path = join(cwd, '.env.local')
  let text = ''
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'EISDIR')
      throw new SettingsFileError(
        `${path} is a directory, not a file (Docker makes one where the file of a volume is missing): remove it, ` +
          'and put the file in its place if there is one.',
        { cause: error },
      )
    if (code !== 'ENOENT')
      throw new SettingsFileError(
        `${path} exists but cannot be read (${code}): correct its permissions or remove it.`,
        { cause: error },
      )
  }
  return parse(text.replace(/^\uFEFF/, ''))
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

function row<T>(given: Omit<Row<T>, 'default' | 'unit'> & Partial<Pick<Row<T>, 'default' | 'unit'>>): Row<T> {
  return { default: '', unit: '', ...given }
}

function inRange(text: string, min: number, max: number): boolean {
  return /^(0|[1-9]\d*)$/.test(text) && Number(text) >= min && Number(text) <= max
}

function wholeNumber(min: number, max: number): z.ZodType<number, string> {
  return z
    .string()
    .refine((text) => inRange(text, min, max), `a whole number from ${min} to ${max}`)
    .transform(Number)
}

const BYTES_PER = { '': 1, kib: 1024, mib: 1024 ** 2, gib: 1024 ** 3 }

function size(min: number, max: number): z.ZodType<number, string> {
  return z.string().transform((text, ctx) => {
    const [, digits = '', suffix = ''] = /^([1-9]\d{0,14}|0)(kib|mib|gib)?$/i.exec(text) ?? []
    const bytes =
      digits === '' ? NaN : Number(digits) * BYTES_PER[suffix.toLowerCase() as keyof typeof BYTES_PER]
    if (!(bytes >= min && bytes <= max))
      ctx.addIssue({
        code: 'custom',
        message: `a whole number of bytes from ${min} to ${max}, or one with KiB, MiB or GiB behind it`,
      })
    return bytes
  })
}

function oneOf<const T extends string>(words: readonly T[]): z.ZodType<T, string> {
  return z
    .string()
    .refine((text): text is T => (words as readonly string[]).includes(text), `one of ${words.join(', ')}`)
}

function flag(): z.ZodType<boolean, string> {
  return oneOf(['true', 'false']).transform((text) => text === 'true')
}

function tokens(): z.ZodType<readonly string[], string> {
  return z.string().transform((text, ctx) => {
    const found = parseTokens(text)
    if (!found) ctx.addIssue({ code: 'custom', message: TOKENS_MUST_BE })
    return found ?? []
  })
}

function discoveryUrl(): z.ZodType<Omit<Discovery, 'delayMs'>, string> {
  return z.string().transform((text, ctx) => {
    const [node, ...others] = parseNodeList(text).nodes
    const isPlain = /^rediss?:\/\/[^@?,]+$/i.test(text)
    if (!node || others.length > 0 || !isPlain || isIP(node.host) !== 0) {
      ctx.addIssue({
        code: 'custom',
        message:
          'redis://name:port, or rediss:// for TLS, with one DNS name and no user, password, weight or zone (users and ' +
          'passwords come from REDIS_URLS)',
      })
      return { at: { host: '', port: 0 }, tls: false }
    }
    const { host, port, tls } = node
    return { at: { host, port }, tls }
  })
}

function networks(): z.ZodType<readonly string[], string> {
  return z.string().transform((text, ctx) => {
    const found = text.split(',').map((one) => one.trim())
    if (!found.every(isNetwork))
      ctx.addIssue({
        code: 'custom',
        message: 'IP addresses and networks, separated by commas, such as 10.0.0.7,192.168.0.0/16,fd00::/8',
      })
    return found
  })
}

/** In lower case and without ports. A wildcard is allowed only as `*.` at the start. */
function hostNames(): z.ZodType<readonly string[], string> {
  return z.string().transform((text, ctx) => {
    const names = text.split(',').map((name) => name.trim())
    const parsed = names.map((name) => {
      const host = parseHost(name.replace(/^\*\./, ''))
      return host !== null && name.startsWith('*.') ? `*.${host}` : host
    })
    if (!parsed.every((name) => name !== null)) {
      ctx.addIssue({
        code: 'custom',
        message:
          'host names or IP addresses without ports, separated by commas, such as cache.example.com,*.corp.example',
      })
      return []
    }
    return parsed
  })
}

/** Whether a text may be the path of a file, and not what stands in it. */
export function isFilePath(text: string): boolean {
  return FILE_PATH.test(text)
}

function filePath(what = 'a PEM file'): z.ZodType<string, string> {
  return z.string().regex(FILE_PATH, `the path of ${what}, not what stands in it`)
}
