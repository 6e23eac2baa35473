/** CLIENT: what a connection says of itself, and which of its replies it wants. */
import { word } from './arguments.ts'
import type { Connection } from './connection.ts'
import { OK, Verbatim, type Reply } from './reply.ts'
import { container, type Subcommand } from './session-command.ts'
import { CommandError, SYNTAX_ERROR } from './step.ts'

const MAX_NAME_BYTES = 256

const subcommands: Record<string, Subcommand> = {
  getname: {
    arity: 2,
    help: 'Return the name of the current connection.',
    answer: (connection) => connection.name || null,
  },
  id: {
    arity: 2,
    help: 'Return the ID of the current connection.',
    answer: (connection) => connection.id,
  },
  info: {
    arity: 2,
    help: 'Return information about the current client connection.',
    answer: (connection) => new Verbatim(`${describe(connection, 'client|info')}\n`),
  },
  list: {
    arity: -2,
    help: 'Return information about the current client connection, and no other.',
    answer: (connection, args) => {
      if (args.length > 2) throw new CommandError(SYNTAX_ERROR)
      return new Verbatim(`${describe(connection, 'client|list')}\n`)
    },
  },
  'no-evict': {
    arity: 3,
    usage: '(ON|OFF)',
    help: 'Taken for the sake of clients: no connection is evicted.',
    answer: onOrOff,
  },
  'no-touch': {
    arity: 3,
    usage: '(ON|OFF)',
    help: 'Taken for the sake of clients: the nodes see every read.',
    answer: onOrOff,
  },
  reply: {
    arity: 3,
    usage: '(ON|OFF|SKIP)',
    help: 'Control the replies sent to the current connection.',
    answer: reply,
  },
  setinfo: {
    arity: 4,
    usage: '<option> <value>',
    help: 'Set LIB-NAME or LIB-VER, the client library of the current connection.',
    answer: setInfo,
  },
  setname: {
    arity: 3,
    usage: '<name>',
    help: 'Assign the name <name> to the current connection.',
    answer: (connection, args) => {
      connection.name = checkName(args[2]!)
      return OK
    },
  },
}

export const CLIENT = container('client', subcommands)

/** @throws CommandError */
export function checkName(bytes: Buffer, what = 'Client names'): string {
  if (bytes.some((byte) => byte < 0x21 || byte > 0x7e)) {
    throw new CommandError(`ERR ${what} cannot contain spaces, newlines or special characters.`)
  }
  if (bytes.length > MAX_NAME_BYTES) {
    throw new CommandError(`ERR ${what} cannot be longer than ${MAX_NAME_BYTES} bytes.`)
  }
  return bytes.toString('latin1')
}

function setInfo(connection: Connection, args: readonly Buffer[]): Reply {
  const option = word(args[2]!)
  if (option === 'LIB-NAME') connection.libraryName = checkName(args[3]!, 'lib-name')
  else if (option === 'LIB-VER') connection.libraryVersion = checkName(args[3]!, 'lib-ver')
  else throw new CommandError(`ERR Unrecognized option '${args[2]!.toString()}'`)
  return OK
}

function onOrOff(_connection: Connection, args: readonly Buffer[]): Reply {
  if (!['ON', 'OFF'].includes(word(args[2]!))) throw new CommandError(SYNTAX_ERROR)
  return OK
}

function reply(connection: Connection, args: readonly Buffer[]): Reply {
  switch (word(args[2]!)) {
    case 'ON':
      connection.unsaidReplies = 0
      break
    case 'OFF':
      connection.unsaidReplies = Infinity
      break
    case 'SKIP':
      // Its own, and that of the next command.
      connection.unsaidReplies = Math.max(connection.unsaidReplies, 2)
      break
    default:
      throw new CommandError(SYNTAX_ERROR)
  }
  return OK
}

/** Those fields of Redis's line that are known here. Only the connection that asks is shown, so it is not idle. */
function describe(connection: Connection, command: string): string {
  const { socket, door, transaction } = connection
  const fields: [string, string | number][] = [
    ['id', connection.id],
    ['addr', `${socket.remoteAddress}:${socket.remotePort}`],
    ['laddr', `${socket.localAddress}:${socket.localPort}`],
    ['name', connection.name],
    ['age', Math.floor((door.nowMs() - connection.openedAtMs) / 1000)],
    ['idle', 0],
    ['flags', 'N'],
    ['db', 0],
    ['multi', transaction ? transaction.queued.length : -1],
    ['cmd', command],
    ['user', 'default'],
    ['resp', connection.protocol],
    ['lib-name', connection.libraryName],
    ['lib-ver', connection.libraryVersion],
  ]
  return fields.map(([field, value]) => `${field}=${value}`).join(' ')
}
