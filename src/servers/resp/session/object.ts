/** OBJECT and MEMORY: subcommands on one key, which run as steps, so that a transaction includes them. */
import { runAlone, stepOf, type KeyedCommand } from '../../../commands/run/keyed.ts'
import { memoryUsage, objectEncoding } from '../../../commands/keys/object.ts'

import type { StepMaker } from '../../../commands/step.ts'
import type { Answer, Command, Subcommand } from '../model.ts'
import { runKeyed } from './run-keyed.ts'
import { RespError } from '../../../commands/reply.ts'
import { immediate, subcommandOf, withHelp, type SessionCommand } from './session-command.ts'

interface OnKey {
  readonly name: string
  readonly subcommand: string
  readonly about: Omit<Subcommand, 'answer'>
  readonly make: StepMaker
  readonly helpSince: string
  /** Why Rondo does not have the other subcommands of Redis. */
  readonly reasons: Readonly<Record<string, string>>
}

function onKey({ name, subcommand, about, make, helpSince, reasons }: OnKey): SessionCommand {
  const keyed: KeyedCommand = {
    name,
    ...{ firstKey: 2, lastKey: 2, keyStep: 1 },
    several: 'together',
    make: (args, ...more) => {
      subcommandOf(name, subcommands, args, reasons)
      // About a key, not of it: as in Redis, no lookup.
      return { ...make(args, ...more), lookedUp: [] }
    },
  }
  const never: Answer = () => {
    throw new Error('it is a step')
  }
  const onKeyDescribed = { ...about, keyAt: { index: 2, flags: ['RO'] }, answer: never }
  const subcommands = withHelp<Answer>(name, { [subcommand]: onKeyDescribed }, helpSince)
  const help = immediate(name, -2, (client, args) =>
    subcommandOf(name, subcommands, args, reasons).answer(client, args),
  )
  const isHelp = (args: readonly Buffer[]) => args[1]!.toString('latin1').toLowerCase() === 'help'
  return {
    ...help,
    subcommands,
    // Where its key stands depends on the subcommand: it waits for all earlier commands of its connection.
    inTurn: true,
    step: (caller, args) => (isHelp(args) ? null : stepOf(caller, args, keyed)),
    execute: (caller, args) => (isHelp(args) ? Promise.resolve(NO_HELP) : runAlone(caller, args, keyed)),
    run: (client, args, command: Command) => {
      if (isHelp(args)) help.run(client, args, command)
      else runKeyed(client, command, args, keyed)
    },
    alone: (client, args) => (isHelp(args) ? help.alone!(client, args) : runAlone(client, args, keyed)),
  }
}

const NO_HELP = new RespError('ERR The help is for connections of the Redis protocol.')
const NOT_KNOWN = 'a key is on several nodes, each with its own figure'
const NODES = 'ask the nodes themselves'

export const OBJECT_COMMANDS: readonly SessionCommand[] = [
  onKey({
    name: 'memory',
    subcommand: 'usage',
    about: {
      arity: -3,
      since: '4.0.0',
      syntax: 'key [SAMPLES count]',
      flags: ['readonly'],
      summary: 'Returns about how many bytes one copy of a key takes on its node.',
    },
    make: memoryUsage,
    helpSince: '4.0.0',
    reasons: { doctor: NODES, stats: NODES, purge: NODES, 'malloc-stats': NODES },
  }),
  onKey({
    name: 'object',
    subcommand: 'encoding',
    about: {
      arity: 3,
      since: '2.2.3',
      syntax: 'key',
      flags: ['readonly'],
      summary:
        'Returns the encoding that Redis would use for a value: int, embstr or raw; listpack, hashtable or quicklist.',
    },
    make: objectEncoding,
    helpSince: '6.2.0',
    reasons: { freq: NOT_KNOWN, idletime: NOT_KNOWN, refcount: NOT_KNOWN },
  }),
]
