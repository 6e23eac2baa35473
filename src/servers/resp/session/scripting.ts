/** EVAL and its family, SCRIPT, FCALL and FUNCTION. commands/scripts/call.ts says how a script runs. */
import { replyOf } from '../../../commands/errors.ts'
import { keysAmong } from '../../../commands/key-places.ts'
import type { Execute } from '../../../commands/model.ts'
import { callScript, SCRIPT_COMMANDS, scriptStep } from '../../../commands/scripts/call.ts'
import { FUNCTION_ANSWERS } from '../../../commands/scripts/function.ts'
import { SCRIPT_ANSWERS } from '../../../commands/scripts/script.ts'
import { storedKey } from '../../../core/keys.ts'
import { claimEverything, claimKeys } from '../connection/claims.ts'
import { ReplySlot } from '../connection/slot.ts'
import type { Command, Subcommands } from '../model.ts'
import { controlCommand, overall, subcommandOf, withHelp, type SessionCommand } from './session-command.ts'

/** The number of keys is the second argument. */
const KEYS_AT = { firstKey: 3, lastKey: -1, keyStep: 1, keyCountAt: 2 }

const CALLS = Object.entries(SCRIPT_COMMANDS).map(([name, calls]): SessionCommand => {
  const execute: Execute = (caller, args) => callScript(caller, args, calls).catch(replyOf)
  const run: Command['run'] = (client, args, command) => {
    const slot = new ReplySlot(client, command)
    client.add(slot)
    const { database } = client.settings
    const keys = keysAmong(command, args).map((key) => storedKey(database, key))
    // Without keys, the script may name any.
    const released = keys.length > 0 ? claimKeys(client, keys, command) : claimEverything(client)
    const { tracking } = client
    const keep = tracking?.isReading ? (read: readonly Buffer[]) => tracking.remember(read) : null
    slot.answerWith(callScript(client, args, calls, keep).catch(replyOf).finally(released))
  }
  return controlCommand(name, -3, run, {
    ...KEYS_AT,
    control: false,
    step: (caller, args) => scriptStep(caller, args, calls),
    alone: execute,
    execute,
  })
})

const LOOKS = ['noscript']
const CHANGES = ['write', 'noscript']
const GROWS = ['write', 'denyoom', 'noscript']

const scriptSubcommands = withHelp<Execute>('script', {
  exists: {
    arity: -3,
    since: '2.6.0',
    syntax: 'sha1...',
    flags: LOOKS,
    summary: 'Tells which scripts are known.',
    answer: SCRIPT_ANSWERS.exists,
  },
  flush: {
    arity: -2,
    since: '2.6.0',
    syntax: '[async(ASYNC|SYNC)]',
    flags: LOOKS,
    summary: 'Forgets all scripts.',
    answer: SCRIPT_ANSWERS.flush,
  },
  kill: {
    arity: 2,
    since: '2.6.0',
    flags: ['noscript', 'allow_busy'],
    summary: 'Ends the scripts that run, at all coordinators.',
    answer: SCRIPT_ANSWERS.kill,
  },
  load: {
    arity: 3,
    since: '2.6.0',
    syntax: 'script',
    flags: ['noscript', 'stale'],
    summary: 'Stores a script without running it, and returns its SHA1.',
    answer: SCRIPT_ANSWERS.load,
  },
}) as Subcommands<Execute>

const functionSubcommands = withHelp<Execute>(
  'function',
  {
    delete: {
      arity: 3,
      since: '7.0.0',
      syntax: 'library-name',
      flags: CHANGES,
      summary: 'Deletes a library.',
      answer: FUNCTION_ANSWERS.delete,
    },
    dump: {
      arity: 2,
      since: '7.0.0',
      flags: LOOKS,
      summary: 'Returns all libraries as bytes for FUNCTION RESTORE.',
      answer: FUNCTION_ANSWERS.dump,
    },
    flush: {
      arity: -2,
      since: '7.0.0',
      syntax: '[async(ASYNC|SYNC)]',
      flags: CHANGES,
      summary: 'Deletes all libraries.',
      answer: FUNCTION_ANSWERS.flush,
    },
    kill: {
      arity: 2,
      since: '7.0.0',
      flags: ['noscript', 'allow_busy'],
      summary: 'Ends the functions that run, at all coordinators.',
      answer: FUNCTION_ANSWERS.kill,
    },
    list: {
      arity: -2,
      since: '7.0.0',
      syntax: '[LIBRARYNAME library-name-pattern] [WITHCODE]',
      flags: LOOKS,
      summary: 'Describes the libraries and their functions.',
      answer: FUNCTION_ANSWERS.list,
    },
    load: {
      arity: -3,
      since: '7.0.0',
      syntax: '[REPLACE] function-code',
      flags: GROWS,
      summary: 'Stores a library of functions.',
      answer: FUNCTION_ANSWERS.load,
    },
    restore: {
      arity: -3,
      since: '7.0.0',
      syntax: 'serialized-value [policy(FLUSH|APPEND|REPLACE)]',
      flags: GROWS,
      summary: 'Stores the libraries that FUNCTION DUMP has returned.',
      answer: FUNCTION_ANSWERS.restore,
    },
    stats: {
      arity: 2,
      since: '7.0.0',
      flags: ['noscript', 'allow_busy'],
      summary: 'Tells what runs now, and how many libraries there are.',
      answer: FUNCTION_ANSWERS.stats,
    },
  },
  '7.0.0',
) as Subcommands<Execute>

/** @param reasons see subcommandOf */
function family(
  name: string,
  subcommands: Subcommands<Execute>,
  reasons: Readonly<Record<string, string>> = {},
): SessionCommand {
  const answer: Execute = async (caller, args) =>
    subcommandOf(name, subcommands, args, reasons).answer(caller, args)
  const execute: Execute = (caller, args) => answer(caller, args).catch(replyOf)
  return overall(name, -2, answer, { execute, subcommands })
}

export const SCRIPT_ROWS: readonly SessionCommand[] = [
  ...CALLS,
  family('function', functionSubcommands),
  family('script', scriptSubcommands, { debug: 'Rondo has no debugger of scripts' }),
]
