/** INFO, CONFIG GET and TIME, for tools and client libraries. */
import { Glob } from '../../../core/glob.ts'
import { word } from '../../../commands/arguments.ts'
import type { Client, Answer } from '../model.ts'
import type { Caller } from '../../../commands/model.ts'
import { checkPattern } from '../../../commands/pattern.ts'
import { RespMap, type Reply } from '../../../commands/reply.ts'
import { MAX_ENTRIES, SLOWER_THAN_US } from '../slow-log.ts'
import { info, nodesMemory } from './info.ts'
import {
  immediate,
  overall,
  subcommandOf,
  withHelp,
  withoutConnection,
  type SessionCommand,
} from './session-command.ts'
import { CommandError } from '../../../commands/step.ts'

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

function getConfig({ server, store }: Client, args: readonly Buffer[]): Reply {
  const patterns = args.slice(2)
  checkPattern(server.settings, Buffer.concat(patterns))
  const { limitBytes, policy } = nodesMemory(store)
  const settings: Record<string, string | number> = {
    appendonly: 'no',
    databases: server.settings.databases,
    maxclients: server.options.connectionLimit.max,
    maxmemory: limitBytes,
    ...(policy === null ? {} : { 'maxmemory-policy': policy }),
    port: server.port,
    // The largest value that can be stored. Somewhat longer ones are read, to be refused with an error.
    'proto-max-bulk-len': server.settings.maxValueBytes,
    save: '',
    'latency-monitor-threshold': 0,
    'maxmemory-clients': server.options.ledger.limit,
    'slowlog-log-slower-than': SLOWER_THAN_US,
    'slowlog-max-len': MAX_ENTRIES,
    timeout: server.options.idleMs / 1000,
  }
  const asked = new Map<string, string>()
  for (const pattern of patterns) {
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

function time({ store }: Caller): Reply {
  const us = BigInt(Math.floor(store.nowMs() * 1000))
  return [String(us / 1_000_000n), String(us % 1_000_000n)]
}

export const SERVER_COMMANDS: readonly SessionCommand[] = [
  overall('info', -1, info),
  immediate('config', -2, config, { subcommands: configSubcommands }),
  withoutConnection('time', 1, time),
]
