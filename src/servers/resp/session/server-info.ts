/**
 * INFO, CONFIG GET and TIME, for tools and client libraries. Fields without a meaningful value are left out.
 */
import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { KeyStore } from '../../../coordinator/api.ts'
import { Glob } from '../../../core/glob.ts'
import { word } from '../../../commands/arguments.ts'
import type { Client, Answer } from '../model.ts'
import { EXACT_KEYS } from '../../../commands/keys/listing.ts'
import { checkPattern } from '../../../commands/pattern.ts'
import { RespMap, Verbatim, type Reply } from '../../../commands/reply.ts'
import { immediate, overall, subcommandOf, withHelp, type SessionCommand } from './session-command.ts'
import { CommandError } from '../../../commands/step.ts'

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

const sections = {
  Server: ({ server, store }) => {
    const upSeconds = Math.floor((server.nowMs() - server.startedAtMs) / 1000)
    return {
      redis_version: REDIS_VERSION,
      redis_mode: 'standalone',
      rondo_version: RONDO_VERSION,
      arch_bits: 64,
      process_id: process.pid,
      run_id: RUN_ID,
      tcp_port: server.port,
      server_time_usec: Math.floor(store.nowMs() * 1000),
      uptime_in_seconds: upSeconds,
      uptime_in_days: Math.floor(upSeconds / 86_400),
    }
  },
  Clients: ({ server }) => ({
    connected_clients: server.connections.size,
    maxclients: server.options.connectionLimit.max,
    blocked_clients: 0,
  }),
  Memory: ({ server, store }) => {
    const { rss, heapUsed, external } = process.memoryUsage()
    const { usedBytes, limitBytes, policy } = nodesMemory(store)
    return {
      used_memory: heapUsed + external,
      used_memory_rss: rss,
      mem_clients_normal: server.options.ledger.used,
      maxmemory_clients: server.options.ledger.limit,
      rondo_nodes_used_memory: usedBytes,
      maxmemory: limitBytes,
      ...(policy === null ? {} : { maxmemory_policy: policy }),
    }
  },
  Persistence: () => ({ loading: 0 }),
  Stats: ({ server }) => {
    let commands = 0
    let errors = 0
    for (const row of server.stats.rows()) {
      commands += row.buckets.reduce((sum, count) => sum + count, 0)
      errors += row.errors
    }
    return {
      total_connections_received: server.connectionsReceived,
      total_commands_processed: commands,
      total_error_replies: errors,
      rejected_connections: server.options.connectionLimit.refused,
      evicted_clients: server.options.ledger.cut,
      rondo_refused_for_memory: server.options.ledger.refused,
    }
  },
  Replication: ({ store }) => ({
    role: 'master',
    connected_slaves: 0,
    rondo_replicas: store.replicas,
    rondo_nodes: store.nodes.length,
  }),
  Keyspace: async ({ store }, byName): Promise<Fields> => {
    const { counts } = await store.roughCounts(byName ? EXACT_KEYS : FEW_KEYS)
    const sorted = [...counts].sort(([a], [b]) => a - b)
    return Object.fromEntries(sorted.map(([database, keys]) => [`db${database}`, `keys=${keys}`]))
  },
} satisfies Record<string, Section>

const EVERY = ['', 'DEFAULT', 'ALL', 'EVERYTHING']

async function info(client: Client, args: readonly Buffer[]): Promise<Reply> {
  const asked = args.length === 1 ? [''] : args.slice(1).map(word)
  const texts: string[] = []
  for (const [name, fieldsOf] of Object.entries(sections) as [string, Section][]) {
    const isAsked = asked.includes(name.toUpperCase())
    if (!isAsked && !asked.some((one) => EVERY.includes(one))) continue
    const fields = Object.entries(await fieldsOf(client, isAsked))
    texts.push(`# ${name}\r\n${fields.map(([field, value]) => `${field}:${value}\r\n`).join('')}`)
  }
  return new Verbatim(texts.join('\r\n'))
}

/** The sum over all nodes; the policy only if all nodes have the same. */
function nodesMemory({ nodes }: KeyStore) {
  const reports = nodes.flatMap(({ report }) => report ?? [])
  const sum = (numbers: number[]) => numbers.reduce((total, number) => total + number, 0)
  const limits = reports.map(({ memoryLimitBytes }) => memoryLimitBytes)
  const policies = new Set(reports.map(({ evictionPolicy }) => evictionPolicy))
  return {
    usedBytes: sum(reports.map(({ memoryUsedBytes }) => memoryUsedBytes)),
    limitBytes: limits.includes(0) ? 0 : sum(limits),
    policy: policies.size === 1 ? [...policies][0]! : null,
  }
}

const configSubcommands = withHelp<Answer>('config', {
  get: {
    arity: -3,
    since: '2.0.0',
    syntax: 'parameter(parameter)...',
    flags: ['admin', 'noscript', 'loading', 'stale'],
    summary: 'Returns settings by name or glob. They are set with environment variables.',
    answer: getConfig,
  },
})

function config(client: Client, args: readonly Buffer[]): Reply {
  const name = word(args[1]!)
  if (!Object.hasOwn(configSubcommands, name.toLowerCase())) {
    throw new CommandError(
      `ERR CONFIG ${name.slice(0, 128)} is not offered: Rondo is configured by environment variables. There is only CONFIG GET.`,
    )
  }
  return subcommandOf('config', configSubcommands, args).answer(client, args)
}

const MAX_PATTERNS = 100

function getConfig({ server, store }: Client, args: readonly Buffer[]): Reply {
  const patterns = args.slice(2)
  if (patterns.length > MAX_PATTERNS) {
    throw new CommandError(`ERR at most ${MAX_PATTERNS} settings or patterns can be asked for at once`)
  }
  const { limitBytes, policy } = nodesMemory(store)
  const settings: Fields = {
    appendonly: 'no',
    databases: server.settings.databases,
    maxclients: server.options.connectionLimit.max,
    maxmemory: limitBytes,
    ...(policy === null ? {} : { 'maxmemory-policy': policy }),
    port: server.port,
    // The largest value that can be stored. Somewhat longer ones are read, to be refused with an error.
    'proto-max-bulk-len': server.settings.maxValueBytes,
    save: '',
    'maxmemory-clients': server.options.ledger.limit,
    timeout: server.options.idleMs / 1000,
  }
  const asked = new Map<string, string>()
  for (const pattern of patterns) {
    checkPattern(server.settings, pattern)
    const given = pattern.toString('latin1')
    const isGlob = /[*?[]/.test(given)
    const glob = new Glob(Buffer.from(given.toLowerCase(), 'latin1'))
    for (const name of Object.keys(settings)) {
      // As in Redis, a plain name is returned as it was sent.
      if (glob.matches(Buffer.from(name))) asked.set(name, isGlob ? name : given)
    }
  }
  return new RespMap([...asked].map(([name, shown]) => [shown, String(settings[name])]))
}

function time({ store }: Client): Reply {
  const us = BigInt(Math.floor(store.nowMs() * 1000))
  return [String(us / 1_000_000n), String(us % 1_000_000n)]
}

export const SERVER_COMMANDS: readonly SessionCommand[] = [
  overall('info', -1, info),
  immediate('config', -2, config, { subcommands: configSubcommands }),
  immediate('time', 1, time),
]
