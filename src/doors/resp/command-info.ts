/** COMMAND: what the door's table of commands tells of each. */
import { globMatches } from '../../core/glob.ts'
import { word } from './arguments.ts'
import type { Command } from './command.ts'
import type { Connection } from './connection.ts'
import { RespMap, RespSet, Simple, type Reply } from './reply.ts'
import { immediate, subcommandOf, withHelp, type Answer, type SessionCommand } from './session-command.ts'
import { CommandError, SYNTAX_ERROR } from './step.ts'

const subcommands = withHelp<Answer>('command', {
  count: {
    arity: 2,
    help: 'Return the total number of commands here.',
    answer: ({ door }) => door.commands.length,
  },
  docs: {
    arity: -2,
    usage: '[<command-name> ...]',
    help: 'Return where each command is described.',
    answer: docs,
  },
  getkeys: {
    arity: -4,
    usage: '<full-command>',
    help: 'Return the keys from a full command.',
    answer: getKeys,
  },
  info: {
    arity: -2,
    usage: '[<command-name> ...]',
    help: 'Return details about several commands.',
    answer: info,
  },
  list: {
    arity: -2,
    usage: '[FILTERBY PATTERN <pattern>]',
    help: 'Return the names of all commands here.',
    answer: list,
  },
})

export const COMMAND: SessionCommand = immediate('command', -1, (connection, args) => {
  if (args.length === 1) return connection.door.commands.map(infoOf)
  return subcommandOf('command', subcommands, args).answer(connection, args)
})

function info({ door }: Connection, args: readonly Buffer[]): Reply {
  if (args.length === 2) return door.commands.map(infoOf)
  return args.slice(2).map((name) => {
    const command = door.lookUp(name)
    return command ? infoOf(command) : null
  })
}

/** Name, arity, flags, first key, last key, step; and what nothing is known of: categories, tips, key specs, subcommands. */
function infoOf({ name, arity, flags, firstKey, lastKey, keyStep }: Command): Reply {
  const none = new RespSet([])
  const flagNames = new RespSet(flags.map((flag) => new Simple(flag)))
  return [name, arity, flagNames, firstKey, lastKey, keyStep, none, [], [], []]
}

function docs({ door }: Connection, args: readonly Buffer[]): Reply {
  const found = args.length === 2 ? door.commands : args.slice(2).flatMap((name) => door.lookUp(name) ?? [])
  return new RespMap(
    found.map(({ name, firstKey }) => {
      const summary = name === 'rondo' ? 'See RONDO HELP' : `As in Redis: https://redis.io/commands/${name}/`
      const group = firstKey > 0 ? 'generic' : 'server'
      return [
        name,
        new RespMap([
          ['summary', summary],
          ['since', '1.0.0'],
          ['group', group],
        ]),
      ]
    }),
  )
}

function list({ door }: Connection, args: readonly Buffer[]): Reply {
  const names = door.commands.map(({ name }) => name)
  if (args.length === 2) return names
  const isPattern = args.length === 5 && word(args[2]!) === 'FILTERBY' && word(args[3]!) === 'PATTERN'
  if (!isPattern) throw new CommandError(SYNTAX_ERROR)
  return names.filter((name) => globMatches(args[4]!, Buffer.from(name)))
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
