/**
 * The settings table: variable, default, unit, check and meaning of every setting.
 *
 * `.env.local.example` explains the cost of raising or lowering each variable; test/config.test.ts checks that this
 * table, that file and README.md agree.
 */
import { z } from 'zod'
import { CONSISTENCY_LEVELS } from '../core/consistency.ts'
import { MOST_TAGS } from '../core/tags.ts'
import { COMPAT_APIS, parseCompatApis } from './compat-apis.ts'
import { NOTHING_ALLOWED, parseLoaderAllow, parseLoaderUrl } from './loader-url.ts'
import {
  discoveryUrl,
  filePath,
  flag,
  folderPath,
  hostNames,
  inRange,
  networks,
  oneOf,
  portOrOff,
  size,
  tokens,
  wholeNumber,
} from './checks.ts'
import { parseHost, parseNodeList } from './node-addresses.ts'

export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const
export const LOG_REQUESTS = ['none', 'errors', 'all'] as const
export const TOPOLOGIES = ['dynamic', 'static'] as const
/** As Redis's appendfsync. */
export const FSYNCS = ['always', 'everysec', 'no'] as const
export const TLS_VERSIONS = ['TLSv1.2', 'TLSv1.3'] as const

export interface Row<T> {
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

export const rows = {
  REDIS_URLS: row({
    check: z.string().transform((text, ctx) => {
      const { nodes, problems } = parseNodeList(text)
      for (const problem of problems) ctx.addIssue({ code: 'custom', message: problem })
      return nodes
    }),
    meaning:
      'The nodes: comma-separated `[id=][redis[s]://][user:password@]host:port[?weight=2&zone=a]`, or ' +
      '`[id=]redis+sentinel://[user:password@]name@host:port,host:port` for the primary that Sentinels know. ' +
      'Not set: in-process memory nodes, which lose everything when the process ends, unless there is a `DATA_DIR`.',
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
  MEMORY_NODE_MAX_ENTRIES: row({
    default: '0',
    check: wholeNumber(0, 16_000_000),
    meaning:
      'Limit on the number of keys on one memory node; above it, the least recently used are evicted. 0 = no limit but that ' +
      'in bytes.',
  }),
  DATA_DIR: row({
    check: folderPath(),
    meaning:
      'Folder in which memory nodes keep their data, made if it is not there; one process at a time may use it. Not set: ' +
      'nothing outlives the process.',
  }),
  DATA_FSYNC: row({
    default: 'everysec',
    check: oneOf(FSYNCS),
    meaning:
      "With `DATA_DIR`, when writes are on the disk, as Redis's `appendfsync`: `always`, before they are acknowledged; " +
      '`everysec`, within a second; `no`, when the operating system writes them.',
  }),
  DATA_SNAPSHOT_SECONDS: row({
    default: '3600',
    unit: 'seconds',
    check: wholeNumber(0, 604_800),
    meaning:
      'With `DATA_DIR`, how often a snapshot replaces the log if anything has changed. 0 = only when the log is twice as ' +
      'large as the last one.',
  }),
  SNAPSHOT_DIR: row({
    check: folderPath(),
    meaning:
      'Folder for snapshots of the cluster (`POST /snapshots`), made if it is not there; coordinators may share one. Not set: ' +
      'none are taken or restored.',
  }),
  SNAPSHOT_INTERVAL_SECONDS: row({
    default: '0',
    unit: 'seconds',
    check: wholeNumber(0, 31_536_000),
    meaning: 'How often a snapshot is taken without being asked for; 0 = never.',
  }),
  SNAPSHOT_KEEP: row({
    default: '7',
    check: wholeNumber(1, 1000),
    meaning: 'How many of those snapshots are kept: older ones are deleted. Those that were asked for stay.',
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
  SCRIPT_TIME_LIMIT_MS: row({
    default: '200',
    unit: 'milliseconds',
    check: wholeNumber(1, 600_000),
    meaning:
      'When a script (EVAL, FCALL) has run for so long, other scripts are refused with BUSY until it has ended: by itself, ' +
      'by SCRIPT KILL, or after `REQUEST_TIMEOUT_MS`.',
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
    check: portOrOff(),
    meaning: 'The port of the Redis protocol server; 0 = any free port, `off` = disabled.',
  }),
  GRPC_PORT: row({
    default: 'off',
    check: portOrOff(),
    meaning: 'The port of the gRPC server, usually 50051; 0 = any free port, `off` = disabled.',
  }),
  GRPC_MAX_RECV_BYTES: row({
    default: '4MiB',
    unit: 'bytes',
    check: size(1024, 512 * 1024 ** 2),
    meaning: 'Longest message that the gRPC server takes, after decompression.',
  }),
  GRPC_MAX_SEND_BYTES: row({
    default: '4MiB',
    unit: 'bytes',
    check: size(1024, 512 * 1024 ** 2),
    meaning: 'Longest message that the gRPC server sends.',
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
      'Comma-separated addresses and networks of proxies whose `X-Forwarded-For` (HTTP, gRPC) and PROXY header (Redis ' +
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
  MAX_TAGS_PER_KEY: row({
    default: '16',
    check: wholeNumber(1, MOST_TAGS),
    meaning: 'The most tags of one value.',
  }),
  DELETE_JOB_KEYS_PER_SECOND: row({
    default: '2000',
    check: wholeNumber(1, 1_000_000),
    meaning: 'The most keys that a delete job deletes in a second.',
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
  NEAR_CACHE_MAX_BYTES: row({
    default: '0',
    unit: 'bytes',
    check: size(0, 64 * 1024 ** 3),
    meaning:
      'Memory of each process for copies of hot values of Redis nodes, which answer reads at `one`; `0` = none. ' +
      '[NEAR-CACHE.md](docs/NEAR-CACHE.md).',
  }),
  NEAR_CACHE_MAX_STALENESS_MS: row({
    default: '1000',
    unit: 'milliseconds',
    check: wholeNumber(100, 60_000),
    meaning:
      'How old a copy in the near cache may be if the messages of its node are lost; otherwise it is as old as a ' +
      'message takes. The same for copies that clients keep (`CLIENT TRACKING`).',
  }),
  TRACKING_MAX_KEYS: row({
    default: '100000',
    check: wholeNumber(1, 100_000_000),
    meaning:
      'How many keys each process remembers for clients that keep values themselves (`CLIENT TRACKING`); one that two ' +
      'clients have read counts twice. [CLIENT-TRACKING.md](docs/CLIENT-TRACKING.md).',
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
    meaning: 'Connections of the Redis protocol and gRPC that are idle for longer are closed; 0 = never.',
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

export type Name = keyof typeof rows
/** What the checks made of the table; a variable that has no default may be missing. */
export type AllValues = Values & Record<Optional, Values[Optional] | undefined>
export type Values = { [K in Name]: (typeof rows)[K] extends Row<infer T> ? T : never }

/** The table, for checking the documentation. */
export type Variable = { readonly name: string } & Omit<Row<unknown>, 'check'>
export const VARIABLES: readonly Variable[] = Object.entries(rows).map(([name, row]) => ({ name, ...row }))

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

function row<T>(given: Omit<Row<T>, 'default' | 'unit'> & Partial<Pick<Row<T>, 'default' | 'unit'>>): Row<T> {
  return { default: '', unit: '', ...given }
}
