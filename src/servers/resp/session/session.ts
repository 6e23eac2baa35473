/** Commands about the connection itself and about the server. */
import { select } from './select.ts'
import { CLIENT } from './client.ts'
import { COMMAND } from './command-info.ts'
import { HELLO_COMMANDS } from './hello.ts'
import type { Client } from '../model.ts'
import type { Caller } from '../../../commands/model.ts'
import { flush } from '../../../commands/keys/flush.ts'
import { countKeys, keys, randomKey, scan } from '../../../commands/keys/listing.ts'
import { OK, Simple, type Reply } from '../../../commands/reply.ts'
import { RONDO } from './rondo.ts'
import { SERVER_COMMANDS } from './server-info.ts'
import { OBJECT_COMMANDS } from './object.ts'
import { PUBSUB_COMMANDS } from './pubsub.ts'
import { SCRIPT_ROWS } from './scripting.ts'
import { TOOL_COMMANDS } from './tools.ts'
import {
  controlCommand,
  immediate,
  overKeys,
  overKeysOutside,
  withoutConnection,
  wrongNumber,
  type SessionCommand,
} from './session-command.ts'

function ping(_caller: Caller, args: readonly Buffer[]): Reply {
  if (args.length > 2) throw wrongNumber('ping')
  return args[1] ?? new Simple('PONG')
}

/** In RESP2 a subscriber only gets arrays. */
function pingOfClient(client: Client, args: readonly Buffer[]): Reply {
  const reply = ping(client, args)
  return client.protocol === 2 && client.isSubscribed ? ['pong', args[1] ?? ''] : reply
}

export const SESSION_COMMANDS: readonly SessionCommand[] = [
  ...HELLO_COMMANDS,
  ...SERVER_COMMANDS,
  overKeys('scan', -2, scan),
  overKeys('dbsize', 1, countKeys),
  overKeys('randomkey', 1, randomKey),
  overKeys('keys', 2, keys),
  overKeysOutside('flushall', -1, flush),
  overKeysOutside('flushdb', -1, flush),
  CLIENT,
  COMMAND,
  ...TOOL_COMMANDS,
  ...OBJECT_COMMANDS,
  ...PUBSUB_COMMANDS,
  ...SCRIPT_ROWS,
  RONDO,
  withoutConnection('ping', -1, ping, { ofClient: pingOfClient, whileSubscribed: true }),
  withoutConnection('echo', 2, (_caller, args) => args[1]!),
  // Commands that have started may not have named their keys yet.
  immediate('select', 2, select, { inTurn: true }),
  immediate('readonly', 1, () => OK),
  immediate('readwrite', 1, () => OK),
  controlCommand(
    'quit',
    -1,
    (client, _args, command) => {
      client.say(OK, command)
      client.end()
    },
    { open: true, whileSubscribed: true },
  ),
  controlCommand(
    'reset',
    1,
    (client, _args, command) => {
      client.reset()
      client.say(new Simple('RESET'), command)
    },
    { open: true, inTurn: true, whileSubscribed: true },
  ),
]
