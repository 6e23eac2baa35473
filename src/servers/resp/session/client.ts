/** The CLIENT command: names, client information, and CLIENT REPLY. */
import { addressText, plainAddress } from '../../../config/client-address.ts'
import { integerArgument, shown, word } from '../../../commands/arguments.ts'
import type { Client, Answer } from '../model.ts'
import { OK, Verbatim, type Reply } from '../../../commands/reply.ts'
import { immediate, subcommandOf, withHelp, type SessionCommand } from './session-command.ts'
import { CommandError, SYNTAX_ERROR } from '../../../commands/step.ts'

const MAX_NAME_BYTES = 256

const NORMAL = ['noscript', 'loading', 'stale']
const ADMIN = ['admin', ...NORMAL]

const subcommands = withHelp<Answer>('client', {
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
  list: {
    arity: -2,
    since: '2.4.0',
    syntax: '[TYPE normal_master_replica_pubsub(NORMAL|MASTER|REPLICA|PUBSUB)] [ID id(client-id...)]',
    flags: ADMIN,
    summary: 'Describes this connection, if it matches; other connections are not listed.',
    answer: list,
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
})

export const CLIENT: SessionCommand = immediate(
  'client',
  -2,
  (client, args) => subcommandOf('client', subcommands, args).answer(client, args),
  { subcommands },
)

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

const MAX_IDS = 1000
const TYPES = ['NORMAL', 'MASTER', 'REPLICA', 'SLAVE', 'PUBSUB']

/** A client sees only its own connection. */
function list(client: Client, args: readonly Buffer[]): Reply {
  const own = describe(client, 'client|list')
  if (args.length === 2) return new Verbatim(own)
  const filter = word(args[2]!)
  if (filter === 'TYPE' && args.length === 4) {
    const type = word(args[3]!)
    if (!TYPES.includes(type)) throw new CommandError(`ERR Unknown client type '${shown(args[3]!)}'`)
    return new Verbatim(type === 'NORMAL' ? own : '')
  }
  if (filter !== 'ID' || args.length === 3) throw new CommandError(SYNTAX_ERROR)
  if (args.length > MAX_IDS) throw new CommandError(`ERR at most ${MAX_IDS} clients can be asked for at once`)
  const ids = args.slice(3).map((arg) => integerArgument(arg, 'ERR Invalid client ID'))
  // As in Redis, once per mention.
  return new Verbatim(ids.map((id) => (id === client.id ? own : '')).join(''))
}

/**
 * All fields of Redis 7.0, in its order, followed by those of newer versions that are known here. Only the asking
 * connection is shown, so it is never idle. Values that are not counted per connection are 0.
 */
function describe(client: Client, command: string): string {
  const { socket, server, transaction } = client
  const fields: [string, string | number][] = [
    ['id', client.id],
    ['addr', addressText(client.address, client.port)],
    ['laddr', addressText(plainAddress(socket.localAddress), socket.localPort)],
    ['fd', 0],
    ['name', client.name],
    ['age', Math.floor((server.nowMs() - client.openedAtMs) / 1000)],
    ['idle', 0],
    ['flags', 'N'],
    ['db', client.settings.database],
    ['sub', 0],
    ['psub', 0],
    ['ssub', 0],
    ['multi', transaction ? transaction.queued.length : -1],
    ['qbuf', 0],
    ['qbuf-free', 0],
    ['argv-mem', 0],
    ['multi-mem', 0],
    ['rbs', 0],
    ['rbp', 0],
    ['obl', 0],
    ['oll', 0],
    ['omem', socket.writableLength],
    ['tot-mem', client.account.bytes],
    ['events', 'r'],
    ['cmd', command],
    ['user', 'default'],
    ['redir', -1],
    ['resp', client.protocol],
    ['watch', client.watch ? client.watch.size : 0],
    ['lib-name', client.libraryName],
    ['lib-ver', client.libraryVersion],
  ]
  return `${fields.map(([field, value]) => `${field}=${value}`).join(' ')}\n`
}
