/** The CLIENT command: names, client information, and CLIENT REPLY. client-list.ts has what concerns all connections. */
import { integerArgument, shown, word } from '../../../commands/arguments.ts'
import { describe, kill, list } from './client-list.ts'
import type { Client, Subcommands } from '../model.ts'
import { OK, RespError, Verbatim, type Reply } from '../../../commands/reply.ts'
import {
  immediate,
  overall,
  subcommandOf,
  withHelp,
  type OverallAnswer,
  type SessionCommand,
} from './session-command.ts'
import { CommandError, SYNTAX_ERROR } from '../../../commands/step.ts'
import { caching, getRedirection, tracking, trackingInfo } from './tracking.ts'

const MAX_NAME_BYTES = 256

const NORMAL = ['noscript', 'loading', 'stale']
const ADMIN = ['admin', ...NORMAL]

const ofThisConnection: Subcommands = {
  caching: {
    arity: 3,
    since: '6.0.0',
    syntax: 'mode(YES|NO)',
    flags: NORMAL,
    summary: 'Says whether the keys of the next command are tracked (OPTIN, OPTOUT).',
    answer: caching,
  },
  getredir: {
    arity: 2,
    since: '6.0.0',
    flags: NORMAL,
    summary: 'Returns the id of the connection that is told of changed keys.',
    answer: getRedirection,
  },
  getname: {
    arity: 2,
    since: '2.6.9',
    flags: NORMAL,
    summary: 'Returns the name of this connection.',
    answer: (client) => client.name || null,
  },
  id: {
    arity: 2,
    since: '5.0.0',
    flags: NORMAL,
    summary: 'Returns the id of this connection.',
    answer: (client) => client.id,
  },
  info: {
    arity: 2,
    since: '6.2.0',
    flags: NORMAL,
    summary: 'Describes this connection.',
    answer: (client) => new Verbatim(describe(client, 'client|info')),
  },
  'no-evict': {
    arity: 3,
    since: '7.0.0',
    syntax: 'enabled(ON|OFF)',
    flags: ADMIN,
    summary: 'Accepted for compatibility: no connection is evicted.',
    answer: onOrOff,
  },
  'no-touch': {
    arity: 3,
    since: '7.2.0',
    syntax: 'enabled(ON|OFF)',
    flags: NORMAL,
    summary: 'Accepted for compatibility: every read counts as an access on the nodes.',
    answer: onOrOff,
  },
  reply: {
    arity: 3,
    since: '3.2.0',
    syntax: 'on_off_skip(ON|OFF|SKIP)',
    flags: NORMAL,
    summary: 'Sets which replies this connection gets: all, none, or all but the next.',
    answer: reply,
  },
  setinfo: {
    arity: 4,
    since: '7.2.0',
    syntax: 'attr(LIB-NAME libname|LIB-VER libver)',
    flags: NORMAL,
    summary: 'Sets the name or version of the client library of this connection.',
    answer: setInfo,
  },
  trackinginfo: {
    arity: 2,
    since: '6.2.0',
    flags: NORMAL,
    summary: 'Describes the tracking of keys for this connection.',
    answer: trackingInfo,
  },
  setname: {
    arity: 3,
    since: '2.6.9',
    syntax: 'connection-name',
    flags: NORMAL,
    summary: 'Sets the name of this connection.',
    answer: (client, args) => {
      client.name = checkName(args[2]!)
      return OK
    },
  },
  unblock: {
    arity: -3,
    since: '5.0.0',
    syntax: 'client-id:integer [timeout_error(TIMEOUT|ERROR)]',
    flags: ADMIN,
    summary: 'Ends the command of another connection of this coordinator that waits for an element.',
    answer: unblock,
  },
}

function unblock({ server }: Client, args: readonly Buffer[]): Reply {
  const how = args[3] === undefined ? 'TIMEOUT' : word(args[3])
  if (args.length > 4) throw new CommandError(SYNTAX_ERROR)
  if (how !== 'TIMEOUT' && how !== 'ERROR') {
    throw new CommandError('ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR')
  }
  const id = integerArgument(args[2]!)
  for (const { id: other, wait } of server.connections) {
    if (other !== Number(id)) continue
    if (!wait?.isBlocked) return 0
    wait.end(how === 'ERROR' ? UNBLOCKED : undefined)
    return 1
  }
  return 0
}

/** Those that walk all connections do it in slices. */
const inRounds: Subcommands<OverallAnswer> = {
  tracking: {
    arity: -3,
    since: '6.0.0',
    syntax: 'status(ON|OFF) [REDIRECT client-id] [PREFIX prefix...+] [BCAST] [OPTIN] [OPTOUT] [NOLOOP]',
    flags: NORMAL,
    summary: 'Tells this client which keys change, of those that it has read or that begin with a prefix.',
    answer: tracking,
  },
  kill: {
    arity: -3,
    since: '2.4.0',
    syntax:
      'filter(address:string|new-format([ID client-id] [TYPE normal_master_slave_pubsub(NORMAL|MASTER|SLAVE|REPLICA|PUBSUB)] ' +
      '[USER username] [ADDR address:string] [LADDR address:string] [SKIPME yes_no:string])...)',
    flags: ADMIN,
    summary: 'Closes connections of this coordinator.',
    answer: kill,
  },
  list: {
    arity: -2,
    since: '2.4.0',
    syntax: '[TYPE normal_master_replica_pubsub(NORMAL|MASTER|REPLICA|PUBSUB)] [ID id(client-id...)]',
    flags: ADMIN,
    summary: 'Describes the connections of this coordinator, or some of them.',
    answer: list,
  },
}

const UNBLOCKED = new RespError('UNBLOCKED client unblocked via CLIENT UNBLOCK')

const WHOLE_CLUSTER = 'a coordinator cannot hold back the clients of the others'
const REASONS = {
  pause: WHOLE_CLUSTER,
  unpause: WHOLE_CLUSTER,
}

const subcommands = withHelp<OverallAnswer>('client', { ...ofThisConnection, ...inRounds })

const atOnce = immediate(
  'client',
  -2,
  // commandFor() sends it no other subcommand.
  (client, args) => subcommandOf('client', subcommands, args, REASONS).answer(client, args) as Reply,
)
const inSlices = overall('client', -2, async (client, args) =>
  subcommandOf('client', inRounds, args).answer(client, args),
)

function commandFor(args: readonly Buffer[]): SessionCommand {
  return Object.hasOwn(inRounds, word(args[1]!).toLowerCase()) ? inSlices : atOnce
}

export const CLIENT: SessionCommand = {
  ...atOnce,
  // A list of all connections may be long: the next command waits until it is in the account.
  inTurn: true,
  subcommands,
  run: (client, args, command) => commandFor(args).run(client, args, command),
  alone: (client, args) => commandFor(args).alone!(client, args),
}

/** @throws CommandError */
export function checkName(bytes: Buffer, what = 'Client names'): string {
  if (bytes.length > MAX_NAME_BYTES) {
    throw new CommandError(`ERR ${what} cannot be longer than ${MAX_NAME_BYTES} bytes.`)
  }
  if (bytes.some((byte) => byte < 0x21 || byte > 0x7e)) {
    throw new CommandError(`ERR ${what} cannot contain spaces, newlines or special characters.`)
  }
  return bytes.toString('latin1')
}

function setInfo(client: Client, args: readonly Buffer[]): Reply {
  const option = word(args[2]!)
  if (option === 'LIB-NAME') client.libraryName = checkName(args[3]!, 'lib-name')
  else if (option === 'LIB-VER') client.libraryVersion = checkName(args[3]!, 'lib-ver')
  else throw new CommandError(`ERR Unrecognized option '${shown(args[2]!)}'`)
  return OK
}

function onOrOff(_client: Client, args: readonly Buffer[]): Reply {
  if (!['ON', 'OFF'].includes(word(args[2]!))) throw new CommandError(SYNTAX_ERROR)
  return OK
}

function reply(client: Client, args: readonly Buffer[]): Reply {
  switch (word(args[2]!)) {
    case 'ON':
      client.suppressedReplies = 0
      break
    case 'OFF':
      client.suppressedReplies = Infinity
      break
    case 'SKIP':
      // Its own reply, and that of the next command.
      client.suppressedReplies = Math.max(client.suppressedReplies, 2)
      break
    default:
      throw new CommandError(SYNTAX_ERROR)
  }
  return OK
}
