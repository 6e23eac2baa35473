/** COMMAND: what the door's table of commands tells of each. */
import { globMatches } from '../../core/glob.ts'
import { word } from './arguments.ts'
import { categoriesOf, describe, docsOf, infoOf, type Described } from './command-docs.ts'
import type { Connection } from './connection.ts'
import { RespMap, type Reply } from './reply.ts'
import { immediate, subcommandOf, withHelp, type Answer, type SessionCommand } from './session-command.ts'
import { CommandError, SYNTAX_ERROR } from './step.ts'

const FLAGS = ['loading', 'stale']

const subcommands = withHelp<Answer>('command', {
  count: {
    arity: 2,
    since: '2.8.13',
    flags: FLAGS,
    summary: 'Counts the commands that there are.',
    answer: ({ door }) => door.commands.length,
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
    summary: 'Tells the keys of a command with its arguments.',
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
    summary: 'Tells the names of all commands and subcommands, or of some.',
    answer: list,
  },
})

export const COMMAND: SessionCommand = immediate(
  'command',
  -1,
  (connection, args) => {
    if (args.length === 1) return connection.door.commands.map((command) => infoOf(describe(command)))
    return subcommandOf('command', subcommands, args).answer(connection, args)
  },
  { subcommands },
)

/** Telling of a command takes a tenth of a millisecond. */
const MAX_NAMES = 1000

/** By the names in these arguments, or all commands; null where there is none of a name. */
function asked({ door }: Connection, names: readonly Buffer[]): (Described | null)[] {
  if (names.length === 0) return door.commands.map(describe)
  if (names.length > MAX_NAMES)
    throw new CommandError(`ERR at most ${MAX_NAMES} commands can be asked for at once`)
  return names.map((name) => {
    const bar = name.indexOf('|')
    const command = door.lookUp(bar === -1 ? name : name.subarray(0, bar))
    if (!command) return null
    const described = describe(command)
    if (bar === -1) return described
    const fullName = name.toString('latin1').toLowerCase()
    return described.subcommands.find((subcommand) => subcommand.name === fullName) ?? null
  })
}

function info(connection: Connection, args: readonly Buffer[]): Reply {
  return asked(connection, args.slice(2)).map((described) => described && infoOf(described))
}

function docs(connection: Connection, args: readonly Buffer[]): Reply {
  const found = asked(connection, args.slice(2)).filter((described) => described !== null)
  return new RespMap(found.map(docsOf))
}

function list({ door }: Connection, args: readonly Buffer[]): Reply {
  const all = door.commands.map(describe).flatMap((command) => [command, ...command.subcommands])
  return all.filter(filterOf(args)).map(({ name }) => name)
}

/** @throws CommandError */
function filterOf(args: readonly Buffer[]): (described: Described) => boolean {
  if (args.length === 2) return () => true
  if (args.length !== 5 || word(args[2]!) !== 'FILTERBY') throw new CommandError(SYNTAX_ERROR)
  switch (word(args[3]!)) {
    case 'MODULE':
      return () => false
    case 'ACLCAT': {
      const category = word(args[4]!).toLowerCase()
      return (described) => categoriesOf(described).includes(category)
    }
    case 'PATTERN':
      return ({ name }) => globMatches(args[4]!, Buffer.from(name))
    default:
      throw new CommandError(SYNTAX_ERROR)
  }
}

function getKeys({ door }: Connection, args: readonly Buffer[]): Reply {
  const command = door.lookUp(args[2]!)
  if (!command) throw new CommandError('ERR Invalid command specified')
  const { arity, firstKey, lastKey, keyStep } = command
  if (firstKey === 0) throw new CommandError('ERR The command has no key arguments')
  const given = args.slice(2)
  if (arity > 0 ? given.length !== arity : given.length < -arity) {
    throw new CommandError('ERR Invalid number of arguments specified for command')
  }
  const last = lastKey < 0 ? given.length + lastKey : lastKey
  return given.filter((_, i) => i >= firstKey && i <= last && (i - firstKey) % keyStep === 0)
}
