/** Commands about the connection itself and about the server. */
import { integerArgument } from '../../../commands/arguments.ts'
import { CLIENT } from './client.ts'
import { COMMAND } from './command-info.ts'
import { controlCommand } from '../command.ts'
import type { Connection } from '../connection/connection.ts'
import { HELLO_COMMANDS } from './hello.ts'
import { LISTING_COMMANDS } from '../../../commands/keys/listing.ts'
import { OK, Simple, type Reply } from '../../../commands/reply.ts'
import { RONDO } from './rondo.ts'
import { SERVER_COMMANDS } from './server-info.ts'
import { immediate, wrongNumber, type SessionCommand } from './session-command.ts'
import { CommandError } from '../../../commands/step.ts'

function ping(_connection: Connection, args: readonly Buffer[]): Reply {
  if (args.length > 2) throw wrongNumber('ping')
  return args[1] ?? new Simple('PONG')
}

/** There is one database. */
function select(_connection: Connection, args: readonly Buffer[]): Reply {
  if (integerArgument(args[1]!) !== 0) throw new CommandError('ERR DB index is out of range')
  return OK
}

export const SESSION_COMMANDS: readonly SessionCommand[] = [
  ...HELLO_COMMANDS,
  ...SERVER_COMMANDS,
  ...LISTING_COMMANDS,
  CLIENT,
  COMMAND,
  RONDO,
  immediate('ping', -1, ping),
  immediate('echo', 2, (_connection, args) => args[1]!),
  immediate('select', 2, select),
  immediate('readonly', 1, () => OK),
  immediate('readwrite', 1, () => OK),
  controlCommand(
    'quit',
    -1,
    (connection, _args, command) => {
      connection.say(OK, command)
      connection.end()
    },
    { open: true },
  ),
  controlCommand(
    'reset',
    1,
    (connection, _args, command) => {
      connection.reset()
      connection.say(new Simple('RESET'), command)
    },
    { open: true, inTurn: true },
  ),
]
