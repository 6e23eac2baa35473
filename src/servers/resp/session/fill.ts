/** RONDO FILL and RONDO FILLED: fill leases (servers/fill.ts). */
import { word } from '../../../commands/arguments.ts'
import { errorOf } from '../../../commands/errors.ts'
import { endArgument, MILLISECONDS, SECONDS } from '../../../commands/keys/ends.ts'
import { nowMs } from '../../../commands/run/held.ts'
import type { Reply } from '../../../commands/reply.ts'
import { CommandError, defaultEnd, SYNTAX_ERROR } from '../../../commands/step.ts'
import { storedKey } from '../../../core/keys.ts'
import { askToFill, DEFAULT_FILL_MS, FILL_MS_MUST_BE, fillMsOf, leaseOf, storeFill } from '../../fill.ts'
import type { Client, Subcommand } from '../model.ts'

type FillSubcommand = Subcommand<(client: Client, args: readonly Buffer[]) => Promise<Reply>>

const SINCE = '0.2.0'
const FLAGS = ['noscript', 'blocking']
const UNITS = new Map([
  ['EX', SECONDS],
  ['PX', MILLISECONDS],
])

export const FILL_SUBCOMMANDS: Readonly<Record<string, FillSubcommand>> = {
  fill: {
    arity: -3,
    since: SINCE,
    syntax: 'key:string [timeout:double]',
    flags: FLAGS,
    summary: 'Returns the value, or the right to load it, or waits for whoever has that right.',
    answer: fill,
  },
  filled: {
    arity: -4,
    since: SINCE,
    syntax: 'key:string token:string [fill(value [expiration(EX seconds|PX milliseconds)])]',
    flags: ['write', 'denyoom', 'noscript'],
    summary:
      'Stores what was loaded, unless something newer was written; without a value gives the right back.',
    answer: filled,
  },
}

async function fill(client: Client, args: readonly Buffer[]): Promise<Reply> {
  if (args.length > 4) throw new CommandError(SYNTAX_ERROR)
  const { store, settings, server, readLevel: level, writeLevel } = client
  const timeoutMs = args[3] === undefined ? DEFAULT_FILL_MS : fillMsOf(args[3].toString('latin1'))
  if (timeoutMs === null) throw new CommandError(`ERR the timeout must be ${FILL_MS_MUST_BE}`)
  const unusable = store.checkKey(args[2]!)
  if (unusable) return errorOf(unusable)
  const { fills } = server.options
  const key = storedKey(settings.database, Buffer.from(args[2]!))
  const hadEnded = client.inputEnded
  const { status, record, token } = await askToFill({ store, fills }, key, {
    ...{ requester: client, level, writeLevel, timeoutMs },
  })
  if (token !== null && client.inputEnded && !hadEnded) {
    // It has closed its end while it waited, as those do that give up: as with BLPOP, it gets nothing.
    await fills.giveUp(key, leaseOf(token)!)
    return ['wait', null, null]
  }
  return [status, record?.value ?? null, token]
}

async function filled(client: Client, args: readonly Buffer[]): Promise<Reply> {
  const { store, settings, server, writeLevel } = client
  const { fills } = server.options
  const lease = leaseOf(args[3]!.toString('latin1'))
  if (!lease) throw new CommandError('ERR the token is not one that RONDO FILL has given')
  const [value, ...options] = args.slice(4)
  const now = nowMs(store)
  let endMs = defaultEnd(settings, now)
  if (options.length > 0) {
    const unit = UNITS.get(word(options[0]!))
    if (!unit || options.length !== 2) throw new CommandError(SYNTAX_ERROR)
    endMs = endArgument(options[1]!, unit, now, 'rondo|filled')
  }
  const unusable = store.checkKey(args[2]!)
  if (unusable) return errorOf(unusable)
  const key = storedKey(settings.database, Buffer.from(args[2]!))
  if (value === undefined) {
    await fills.giveUp(key, lease)
    return 0
  }
  return (await storeFill({ store, fills }, key, lease, Buffer.from(value), endMs, writeLevel)) ? 1 : 0
}
