/**
 * The sections of INFO, with the fields that tools read.
 *
 *   what                 whose
 *   used_memory,         the nodes': sums of their last reports, so that one can be divided by the other
 *   maxmemory, evicted_keys
 *   rondo_process_*,     this process's
 *   used_cpu_*, clients
 *   commands, hits,      counted by this process, since it started; HTTP requests are not among them
 *   bytes
 *
 * A field whose value is not known is left out: expired_keys (a value of a passed expiry is hidden, and removed whenever its
 * nodes do so), used_memory_rss (the nodes do not report it). Tools such as redis_exporter take a database without `expires`
 * for one without keys, so its number, which is not counted, is shown as `nan`.
 */
import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { KeyStore } from '../../../coordinator/api.ts'
import { word } from '../../../commands/arguments.ts'
import type { Client } from '../model.ts'
import { EXACT_KEYS } from '../../../commands/keys/listing.ts'
import { Verbatim, type Reply } from '../../../commands/reply.ts'

/** The Redis version that the server is compatible with. */
export const REDIS_VERSION = '7.0.15'
const { version: RONDO_VERSION } = JSON.parse(
  readFileSync(new URL('../../../../package.json', import.meta.url), 'utf8'),
) as { version: string }
/** INFO without a section is sent by every connection of some clients: it counts fewer keys one by one. */
const FEW_KEYS = 1000
const RUN_ID = randomBytes(20).toString('hex')

type Fields = Record<string, string | number>
/** @param byName whether the section was asked for by its name */
type Section = (client: Client, byName: boolean) => Fields | Promise<Fields>

const SECTIONS: Readonly<Record<string, Section>> = {
  Server: serverFields,
  Clients: ({ server, store }) => ({
    connected_clients: server.connections.size,
    maxclients: server.options.connectionLimit.max,
    blocked_clients: store.waiters.blocked,
  }),
  Memory: memoryFields,
  // A coordinator keeps nothing on disk.
  Persistence: () => ({
    loading: 0,
    async_loading: 0,
    rdb_bgsave_in_progress: 0,
    aof_enabled: 0,
    aof_rewrite_in_progress: 0,
  }),
  Stats: statsFields,
  Replication: ({ store }) => ({
    role: 'master',
    connected_slaves: 0,
    rondo_replicas: store.replicas,
    rondo_nodes: store.nodes.length,
  }),
  CPU: () => {
    const { system, user } = process.cpuUsage()
    return { used_cpu_sys: (system / 1e6).toFixed(6), used_cpu_user: (user / 1e6).toFixed(6) }
  },
  Modules: () => ({}),
  Commandstats: ({ server }) => {
    const rows = [...server.stats.rows()].filter(({ command }) => server.lookUp(Buffer.from(command)))
    return Object.fromEntries(
      rows.map(({ command, errors, seconds, buckets }) => {
        const calls = sum(buckets)
        const usec = Math.round(seconds * 1e6)
        const each = (usec / calls).toFixed(2)
        return [
          `cmdstat_${command}`,
          `calls=${calls},usec=${usec},usec_per_call=${each},failed_calls=${errors}`,
        ]
      }),
    )
  },
  Errorstats: ({ server }) => {
    const seen = [...server.stats.errorsByCode].filter(([, count]) => count > 0)
    return Object.fromEntries(seen.map(([code, count]) => [`errorstat_${code}`, `count=${count}`]))
  },
  Cluster: () => ({ cluster_enabled: 0 }),
  Keyspace: async (client, byName): Promise<Fields> => {
    const isWanted = () => !client.unheard
    const { counts } = await client.store.roughCounts(byName ? EXACT_KEYS : FEW_KEYS, isWanted)
    const sorted = [...counts].sort(([a], [b]) => a - b)
    return Object.fromEntries(sorted.map(([database, keys]) => [`db${database}`, `keys=${keys},expires=nan`]))
  },
}

const DEFAULT = ['', 'DEFAULT']
const EVERY = ['ALL', 'EVERYTHING']
/** Shown only if asked for, or with ALL. */
const NOT_BY_DEFAULT = ['Commandstats']

export async function info(client: Client, args: readonly Buffer[]): Promise<Reply> {
  const asked = args.length === 1 ? [''] : args.slice(1).map(word)
  const hasAny = (words: readonly string[]) => asked.some((one) => words.includes(one))
  const texts: string[] = []
  for (const [name, fieldsOf] of Object.entries(SECTIONS)) {
    const isAsked = asked.includes(name.toUpperCase())
    if (!isAsked && !hasAny(EVERY) && (NOT_BY_DEFAULT.includes(name) || !hasAny(DEFAULT))) continue
    const fields = Object.entries(await fieldsOf(client, isAsked))
    texts.push(`# ${name}\r\n${fields.map(([field, value]) => `${field}:${value}\r\n`).join('')}`)
  }
  return new Verbatim(texts.join('\r\n'))
}

function serverFields({ server, store }: Client): Fields {
  const upSeconds = Math.floor((server.nowMs() - server.startedAtMs) / 1000)
  return {
    redis_version: REDIS_VERSION,
    redis_mode: 'standalone',
    rondo_version: RONDO_VERSION,
    os: `${process.platform} ${process.arch}`,
    arch_bits: 64,
    process_id: process.pid,
    run_id: RUN_ID,
    tcp_port: server.port,
    server_time_usec: Math.floor(store.nowMs() * 1000),
    uptime_in_seconds: upSeconds,
    uptime_in_days: Math.floor(upSeconds / 86_400),
  }
}

function memoryFields({ server, store }: Client): Fields {
  const { rss, heapUsed, external } = process.memoryUsage()
  const { reporting, usedBytes, limitBytes, policy } = nodesMemory(store)
  return {
    ...(reporting === 0
      ? {}
      : {
          used_memory: usedBytes,
          used_memory_human: humanBytes(usedBytes),
          maxmemory: limitBytes,
          maxmemory_human: humanBytes(limitBytes),
        }),
    ...(policy === null ? {} : { maxmemory_policy: policy }),
    rondo_nodes_reporting: reporting,
    mem_clients_normal: server.options.ledger.used,
    maxmemory_clients: server.options.ledger.limit,
    rondo_process_memory: heapUsed + external,
    rondo_process_memory_human: humanBytes(heapUsed + external),
    rondo_process_rss: rss,
    rondo_process_rss_human: humanBytes(rss),
  }
}

function statsFields({ server, store }: Client): Fields {
  const { stats, traffic } = server
  const { lookups } = stats
  const perSecond = server.rates.perSecond({ commands: stats.total, ...traffic }, server.nowMs())
  const { reporting, evictedKeys } = nodesMemory(store)
  return {
    total_connections_received: server.connectionsReceived,
    total_commands_processed: stats.total,
    instantaneous_ops_per_sec: Math.round(perSecond.commands),
    total_net_input_bytes: traffic.inputBytes,
    total_net_output_bytes: traffic.outputBytes,
    instantaneous_input_kbps: (perSecond.inputBytes / 1024).toFixed(2),
    instantaneous_output_kbps: (perSecond.outputBytes / 1024).toFixed(2),
    rejected_connections: server.options.connectionLimit.refused,
    ...(reporting === 0 ? {} : { evicted_keys: evictedKeys }),
    evicted_clients: server.options.ledger.cut,
    keyspace_hits: sum(lookups.map(({ hits }) => hits)),
    keyspace_misses: sum(lookups.map(({ misses }) => misses)),
    pubsub_channels: store.channels.subscriptions.channels,
    pubsub_patterns: store.channels.subscriptions.patterns,
    pubsubshard_channels: store.channels.subscriptions.shardChannels,
    total_error_replies: sum([...stats.errorsByCode.values()]),
    rondo_refused_for_memory: server.options.ledger.refused,
  }
}

/** Sums over the nodes that have reported; the policy only if all of them have the same. */
export function nodesMemory({ nodes }: Pick<KeyStore, 'nodes'>) {
  const reports = nodes.flatMap(({ report }) => report ?? [])
  const limits = reports.map(({ memoryLimitBytes }) => memoryLimitBytes)
  const policies = new Set(reports.map(({ evictionPolicy }) => evictionPolicy))
  return {
    reporting: reports.length,
    usedBytes: sum(reports.map(({ memoryUsedBytes }) => memoryUsedBytes)),
    /** 0 = at least one has no limit. */
    limitBytes: limits.includes(0) ? 0 : sum(limits),
    /** Copies: each node evicts its own. */
    evictedKeys: sum(reports.map(({ evictedKeys }) => evictedKeys)),
    policy: policies.size === 1 ? [...policies][0]! : null,
  }
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0)
}

/** As Redis writes sizes: `512B`, `1.50K`, `2.00G`. */
export function humanBytes(bytes: number): string {
  if (bytes < 1024) return `${bytes}B`
  let size = bytes
  let unit = -1
  do {
    size /= 1024
    unit++
  } while (size >= 1024 && unit < 4)
  return `${size.toFixed(2)}${'KMGTP'[unit]}`
}
