/** The COMMAND command: information about the supported commands. */
import { Glob } from '../../../core/glob.ts'
import { word } from '../../../commands/arguments.ts'
import { categoriesOf, describe, docsOf, infoOf, type Described } from '../../../commands/docs-replies.ts'
import type { Client, Answer, Command } from '../model.ts'
import { keysAmong, lastKeyAmong } from '../../../commands/key-places.ts'
import { checkPattern } from '../../../commands/pattern.ts'
import { Constant, RespMap, type Reply } from '../../../commands/reply.ts'
import { immediate, subcommandOf, withHelp, type SessionCommand } from './session-command.ts'
import { CommandError, SYNTAX_ERROR } from '../../../commands/step.ts'

const FLAGS = ['loading', 'stale']

const subcommands = withHelp<Answer>('command', {
  count: {
    arity: 2,
    since: '2.8.13',
    flags: FLAGS,
    summary: 'Returns the number of commands.',
    answer: ({ server }) => server.commands.length,
  },
  docs: {
    arity: -2,
    since: '7.0.0',
    syntax: '[command-name...]',
    flags: FLAGS,
    summary: 'Describes commands for people.',
    answer: docs,
  },
  getkeys: {
    arity: -4,
    since: '2.8.13',
    syntax: 'command [arg...]',
    flags: FLAGS,
    summary: 'Returns the keys among the arguments of a command.',
    answer: getKeys,
  },
  info: {
    arity: -2,
    since: '2.8.13',
    syntax: '[command-name...]',
    flags: FLAGS,
    summary: 'Describes commands for programs.',
    answer: info,
  },
  list: {
    arity: -2,
    since: '7.0.0',
    syntax: '[FILTERBY filterby(MODULE module-name|ACLCAT category|PATTERN pattern)]',
    flags: FLAGS,
    summary: 'Returns the names of all commands and subcommands, or of some.',
    answer: list,
  },
})

export const COMMAND: SessionCommand = immediate(
  'command',
  -1,
  (client, args) => {
    if (args.length === 1) return tables(client).allInfos
    return subcommandOf('command', subcommands, args).answer(client, args)
  },
  { subcommands },
)

/** The replies for one command or subcommand. */
interface CommandReplies {
  readonly described: Described
  readonly info: Constant
  /** With its name, which is part of the reply. */
  readonly docs: readonly [Reply, Constant]
}

/** Encoded once: describing a command takes 0.1 ms, and all of them 10 ms. */
interface Tables {
  /** By lower-case name; a subcommand's is `client|list`. */
  readonly byName: ReadonlyMap<string, CommandReplies>
  readonly allInfos: Constant
  readonly allDocs: Constant
}

const tablesOf = new WeakMap<readonly Command[], Tables>()

function tables({ server }: Client): Tables {
  let found = tablesOf.get(server.commands)
  if (!found) tablesOf.set(server.commands, (found = makeTables(server.commands)))
  return found
}

function makeTables(commands: readonly Command[]): Tables {
  const all = commands.map(describe)
  const named = all.flatMap((command) => [command, ...command.subcommands])
  return {
    byName: new Map(named.map((described) => [described.name, repliesOf(described)])),
    allInfos: new Constant(all.map(infoOf)),
    allDocs: new Constant(new RespMap(all.map(docsOf))),
  }
}

function repliesOf(described: Described): CommandReplies {
  const [name, docs] = docsOf(described)
  return { described, info: new Constant(infoOf(described)), docs: [name, new Constant(docs)] }
}

/** Longer than any name. */
const MAX_NAME_BYTES = 64

/** By name; null for unknown names. */
function asked(client: Client, names: readonly Buffer[]): (CommandReplies | null)[] {
  const { byName } = tables(client)
  return names.map((name) => {
    if (name.length > MAX_NAME_BYTES) return null
    return byName.get(name.toString('latin1').toLowerCase()) ?? null
  })
}

function info(client: Client, args: readonly Buffer[]): Reply {
  if (args.length === 2) return tables(client).allInfos
  return asked(client, args.slice(2)).map((found) => found?.info ?? null)
}

function docs(client: Client, args: readonly Buffer[]): Reply {
  if (args.length === 2) return tables(client).allDocs
  // Each once, as a map has its keys: the same name a thousand times would be megabytes.
  const found = new Set(asked(client, args.slice(2)).filter((one) => one !== null))
  return new RespMap([...found].map(({ docs }) => docs))
}

function list(client: Client, args: readonly Buffer[]): Reply {
  return namesOf(client, filterOf(client, args))
}

function namesOf(client: Client, matches: (described: Described) => boolean): string[] {
  const all = [...tables(client).byName.values()]
  return all.filter(({ described }) => matches(described)).map(({ described }) => described.name)
}

/** Commands and subcommands of an ACL category. */
export function namesIn(client: Client, category: string): string[] {
  return namesOf(client, (described) => categoriesOf(described).includes(category))
}

/** @throws CommandError */
function filterOf({ server }: Client, args: readonly Buffer[]): (described: Described) => boolean {
  if (args.length === 2) return () => true
  if (args.length !== 5 || word(args[2]!) !== 'FILTERBY') throw new CommandError(SYNTAX_ERROR)
  switch (word(args[3]!)) {
    case 'MODULE':
      return () => false
    case 'ACLCAT': {
      const category = word(args[4]!).toLowerCase()
      return (described) => categoriesOf(described).includes(category)
    }
    case 'PATTERN': {
      const pattern = args[4]!
      checkPattern(server.settings, pattern)
      const glob = new Glob(pattern)
      return ({ name }) => glob.matches(Buffer.from(name))
    }
    default:
      throw new CommandError(SYNTAX_ERROR)
  }
}

function getKeys({ server }: Client, args: readonly Buffer[]): Reply {
  const command = server.lookUp(args[2]!)
  if (!command) throw new CommandError('ERR Invalid command specified')
  const { arity } = command
  if (command.firstKey === 0) throw new CommandError('ERR The command has no key arguments')
  const given = args.slice(2)
  if (arity > 0 ? given.length !== arity : given.length < -arity) {
    throw new CommandError('ERR Invalid number of arguments specified for command')
  }
  const last = lastKeyAmong(command, given)
  if (last === null || last >= given.length) {
    throw new CommandError('ERR Invalid arguments specified for command')
  }
  return keysAmong(command, given)
}
