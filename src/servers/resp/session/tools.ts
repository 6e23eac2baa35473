/**
 * ROLE, ACL, MODULE, SLOWLOG and LATENCY, which monitoring tools and proxies ask. An empty list means that there is nothing
 * of the kind: no module can be loaded, and no latency event is recorded (`latency-monitor-threshold` is 0 in CONFIG GET).
 */
import { integerArgument, shown, word } from '../../../commands/arguments.ts'
import { CATEGORIES } from '../../../commands/docs-replies.ts'
import { OK, RespMap, type Reply } from '../../../commands/reply.ts'
import { CommandError } from '../../../commands/step.ts'
import { addressText } from '../../../config/client-address.ts'
import { BUCKETS_US, type CommandStats } from '../connection/stats.ts'
import type { Answer, Client, Subcommands } from '../model.ts'
import { MAX_ENTRIES, type SlowCommand } from '../slow-log.ts'
import { namesIn } from './command-info.ts'
import { immediate, subcommandOf, withHelp, type SessionCommand } from './session-command.ts'

const NORMAL = ['noscript', 'loading', 'stale']
const ADMIN = ['admin', ...NORMAL]

/** A command with subcommands that reply at once. @param reasons see subcommandOf */
function family(
  name: string,
  helpSince: string,
  own: Subcommands,
  reasons: Readonly<Record<string, string>> = {},
): SessionCommand {
  const subcommands = withHelp<Answer>(name, own, helpSince)
  const answer: Answer = (client, args) => subcommandOf(name, subcommands, args, reasons).answer(client, args)
  return immediate(name, -2, answer, { subcommands })
}

// ---- ACL

const FIXED_USERS =
  'the users are default, whose passwords are DATA_TOKEN, and admin, whose passwords are ADMIN_TOKEN'
const NO_USERS = Object.fromEntries(
  ['setuser', 'deluser', 'getuser', 'load', 'save', 'dryrun', 'genpass'].map((name) => [name, FIXED_USERS]),
)
const ACL = family(
  'acl',
  '6.0.0',
  {
    cat: {
      arity: -2,
      since: '6.0.0',
      syntax: '[categoryname]',
      flags: NORMAL,
      summary: 'Returns the categories of commands, or the commands of one.',
      answer: categories,
    },
    list: {
      arity: 2,
      since: '6.0.0',
      flags: ADMIN,
      summary: 'Returns the users, and what they may do. Passwords are not shown.',
      answer: ({ server }) => [
        `user default on${server.needsPassword ? '' : ' nopass'} ~* resetchannels +@all`,
        ...(hasAdmin(server) ? ['user admin on resetkeys resetchannels -@all +rondo'] : []),
      ],
    },
    users: {
      arity: 2,
      since: '6.0.0',
      flags: ADMIN,
      summary: 'Returns the names of the users.',
      answer: ({ server }) => (hasAdmin(server) ? ['default', 'admin'] : ['default']),
    },
    whoami: {
      arity: 2,
      since: '6.0.0',
      flags: NORMAL,
      summary: 'Returns the user of this connection.',
      answer: ({ user }) => user,
    },
  },
  { ...NO_USERS, log: 'wrong passwords are in the log of the program' },
)

function hasAdmin({ options }: Client['server']): boolean {
  return options.tokens.admin.length > 0
}

function categories(client: Client, args: readonly Buffer[]): Reply {
  if (args.length === 2) return CATEGORIES
  if (args.length > 3) {
    throw new CommandError(
      `ERR unknown subcommand or wrong number of arguments for '${shown(args[1]!)}'. Try ACL HELP.`,
    )
  }
  const category = word(args[2]!).toLowerCase()
  if (!CATEGORIES.includes(category)) throw new CommandError(`ERR Unknown category '${shown(args[2]!)}'`)
  return namesIn(client, category)
}

// ---- MODULE

const NO_MODULES = 'Rondo has no modules'
const MODULE = family(
  'module',
  '5.0.0',
  {
    list: {
      arity: 2,
      since: '4.0.0',
      flags: ['admin', 'noscript'],
      summary: 'Returns an empty list: there are no modules.',
      answer: () => [],
    },
  },
  { load: NO_MODULES, loadex: NO_MODULES, unload: NO_MODULES },
)

// ---- SLOWLOG

const SLOWLOG_FLAGS = ['admin', 'loading', 'stale']
const DEFAULT_ENTRIES = 10
const SLOWLOG = family('slowlog', '6.2.0', {
  get: {
    arity: -2,
    since: '2.2.12',
    syntax: '[count]',
    flags: SLOWLOG_FLAGS,
    summary: 'Returns the latest commands that took more than 10 ms, without their arguments.',
    answer: slowest,
  },
  len: {
    arity: 2,
    since: '2.2.12',
    flags: SLOWLOG_FLAGS,
    summary: 'Returns the number of entries in the slow log.',
    answer: ({ server }) => server.slowLog.length,
  },
  reset: {
    arity: 2,
    since: '2.2.12',
    flags: SLOWLOG_FLAGS,
    summary: 'Empties the slow log.',
    answer: ({ server }) => {
      server.slowLog.reset()
      return OK
    },
  },
})

function slowest({ server }: Client, args: readonly Buffer[]): Reply {
  if (args.length > 3) {
    throw new CommandError(
      `ERR unknown subcommand or wrong number of arguments for '${shown(args[1]!)}'. Try SLOWLOG HELP.`,
    )
  }
  const tooSmall = 'ERR count should be greater than or equal to -1'
  const count = args.length === 2 ? DEFAULT_ENTRIES : Number(integerArgument(args[2]!, tooSmall))
  if (count < -1) throw new CommandError(tooSmall)
  return server.slowLog.latest(count === -1 ? MAX_ENTRIES : count).map(entryReply)
}

function entryReply([id, entry]: [number, SlowCommand]): Reply {
  const { atSeconds, us, command, address, port, clientName } = entry
  return [id, atSeconds, us, [command], addressText(address, port), clientName]
}

// ---- LATENCY

const NO_EVENTS = 'Rondo records no latency events; see LATENCY HISTOGRAM'
const LATENCY = family(
  'latency',
  '2.8.13',
  {
    histogram: {
      arity: -2,
      since: '7.0.0',
      syntax: '[command...]',
      flags: ADMIN,
      summary: 'Returns how many calls of each command took at most how many microseconds.',
      answer: histogram,
    },
    history: {
      arity: 3,
      since: '2.8.13',
      syntax: 'event',
      flags: ADMIN,
      summary: 'Returns an empty list: no latency events are recorded.',
      answer: () => [],
    },
    latest: {
      arity: 2,
      since: '2.8.13',
      flags: ADMIN,
      summary: 'Returns an empty list: no latency events are recorded.',
      answer: () => [],
    },
    reset: {
      arity: -2,
      since: '2.8.13',
      syntax: '[event...]',
      flags: ADMIN,
      summary: 'Returns 0: no latency events are recorded.',
      answer: () => 0,
    },
  },
  { doctor: NO_EVENTS, graph: NO_EVENTS },
)

/** With the buckets of the metrics. Calls beyond the last one are only in `calls`. */
function histogram({ server }: Client, args: readonly Buffer[]): Reply {
  const asked = new Set(args.slice(2).map((name) => word(name).toLowerCase()))
  const rows = [...server.stats.rows()].filter(
    ({ command }) => server.lookUp(Buffer.from(command)) && (asked.size === 0 || asked.has(command)),
  )
  return new RespMap(rows.map((row) => [row.command, histogramOf(row)]))
}

function histogramOf({ buckets }: CommandStats): Reply {
  let calls = 0
  const counts: [number, number][] = []
  for (const [i, count] of buckets.entries()) {
    calls += count
    if (count > 0 && i < BUCKETS_US.length) counts.push([BUCKETS_US[i]!, calls])
  }
  return new RespMap([
    ['calls', calls],
    ['histogram_usec', new RespMap(counts)],
  ])
}

export const TOOL_COMMANDS: readonly SessionCommand[] = [
  ACL,
  LATENCY,
  MODULE,
  immediate('role', 1, () => ['master', 0, []]),
  SLOWLOG,
]
