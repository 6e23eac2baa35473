/** The RONDO command, for what Redis has no command for. */
import { isConsistencyLevel, type ConsistencyLevel } from '../../../core/consistency.ts'
import { storedKey } from '../../../core/keys.ts'
import type { Explanation, ReplicaView } from '../../../coordinator/api.ts'
import { CONTROL } from '../../../commands/docs.ts'
import { word } from '../../../commands/arguments.ts'
import { EXACT_KEYS } from '../../../commands/keys/listing.ts'
import { usageView } from '../../hot-keys.ts'
import type { Client } from '../model.ts'
import { checkAdmin, MEMBERS_SUBCOMMANDS, notPermitted, plainReply } from './members.ts'
import { FILL_SUBCOMMANDS } from './fill.ts'
import { JOB_SUBCOMMANDS } from './delete-jobs.ts'
import { TAG_SUBCOMMANDS } from './tags.ts'
import { errorOf, replyOf } from '../../../commands/errors.ts'
import { OK, RespError, RespMap, type Reply } from '../../../commands/reply.ts'
import { overall, subcommandOf, withHelp, type SessionCommand } from './session-command.ts'
import { CommandError, SYNTAX_ERROR } from '../../../commands/step.ts'

type RondoAnswer = (client: Client, args: readonly Buffer[]) => Reply | Promise<Reply>

const SINCE = '0.1.0'
const { flags } = CONTROL.rondo!

const subcommands = withHelp<RondoAnswer>(
  'rondo',
  {
    consistency: {
      arity: -2,
      since: SINCE,
      syntax: '[kind(READ|WRITE)] [level(ONE|QUORUM|ALL|DEFAULT)]',
      flags,
      summary:
        'Sets, or without a level shows, the consistency level of reads and writes of this connection.',
      answer: consistency,
    },
    explain: {
      arity: 3,
      since: SINCE,
      syntax: 'key:string',
      flags,
      summary: 'Shows where a key lives, and what each replica holds.',
      answer: explain,
    },
    dbsize: {
      arity: -2,
      since: SINCE,
      syntax: '[exact(EXACT)]',
      flags,
      summary:
        'Shows the number of keys of the selected database, and whether it is exact; with EXACT it counts them.',
      answer: dbsize,
    },
    status: {
      arity: 2,
      since: SINCE,
      flags,
      summary: 'Shows the state of the nodes, as this coordinator sees them.',
      answer: status,
    },
    ...FILL_SUBCOMMANDS,
    ...TAG_SUBCOMMANDS,
    ...JOB_SUBCOMMANDS,
    hotkeys: {
      arity: 2,
      since: SINCE,
      flags: ['admin', ...flags],
      summary:
        'Shows the keys with the most operations, and the largest values, as this coordinator knows them.',
      answer: hotkeys,
    },
    ...MEMBERS_SUBCOMMANDS,
  },
  SINCE,
)

/** About keys: ADMIN_TOKEN does not open them. */
const APART = [FILL_SUBCOMMANDS, TAG_SUBCOMMANDS, JOB_SUBCOMMANDS].flatMap(Object.keys)
const OF_KEYS = ['consistency', 'explain', 'dbsize', ...APART]

/** Runs in order: a level applies to the commands after it. */
export const RONDO: SessionCommand = overall('rondo', -2, answerOf, { subcommands, alone: inMulti })

async function answerOf(client: Client, args: readonly Buffer[]): Promise<Reply> {
  const { answer } = subcommandOf('rondo', subcommands, args)
  const name = word(args[1]!).toLowerCase()
  if (client.user === 'admin' && OF_KEYS.includes(name)) throw notPermitted(client, name)
  return answer(client, args)
}

/** A transaction neither waits nor loads, and what changes keys in its own way would be no part of it. */
function inMulti(client: Client, args: readonly Buffer[]): Promise<Reply> {
  const name = word(args[1]!).toLowerCase()
  if (APART.includes(name)) {
    return Promise.resolve(new RespError(`ERR RONDO ${name.toUpperCase()} is not allowed in transactions`))
  }
  return answerOf(client, args).catch(replyOf)
}

function consistency(client: Client, args: readonly Buffer[]): Reply {
  const words = args.slice(2).map(word)
  const kind = words[0] === 'READ' || words[0] === 'WRITE' ? words.shift()! : null
  const text = words.shift()
  if (words.length > 0) throw new CommandError(SYNTAX_ERROR)
  if (text === undefined) {
    if (kind === 'READ') return client.readLevel
    if (kind === 'WRITE') return client.writeLevel
    return new RespMap([
      ['read', client.readLevel],
      ['write', client.writeLevel],
    ])
  }
  const { readConsistency, writeConsistency } = client.server.options
  if (kind !== 'WRITE') client.readLevel = levelOf(text, readConsistency)
  if (kind !== 'READ') client.writeLevel = levelOf(text, writeConsistency)
  return OK
}

/** @throws CommandError */
function levelOf(text: string, otherwise: ConsistencyLevel): ConsistencyLevel {
  const level = text.toLowerCase()
  if (level === 'default') return otherwise
  if (isConsistencyLevel(level)) return level
  throw new CommandError('ERR the consistency level must be one, quorum, all or default')
}

async function dbsize(client: Client, args: readonly Buffer[]): Promise<Reply> {
  const { store, settings } = client
  const isWanted = () => !client.unheard
  if (args.length > 2) {
    if (args.length > 3 || word(args[2]!) !== 'EXACT') throw new CommandError(SYNTAX_ERROR)
    return (await store.countKeys(isWanted)).get(settings.database) ?? 0
  }
  const { counts, isExact } = await store.roughCounts(EXACT_KEYS, isWanted)
  return new RespMap([
    ['keys', counts.get(settings.database) ?? 0],
    ['exact', yesOrNo(isExact)],
  ])
}

async function explain(client: Client, args: readonly Buffer[]): Promise<Reply> {
  const { store, settings } = client
  const unusable = store.checkKey(args[2]!)
  if (unusable) return errorOf(unusable)
  const { token, replicaSet, readOrder, replicas }: Explanation = await store.explain(
    storedKey(settings.database, args[2]!),
  )
  return new RespMap([
    ['db', settings.database],
    ['token', token],
    ['replica_set', replicaSet],
    ['read_order', readOrder],
    ['replicas', replicas.map(replicaReply)],
  ])
}

function replicaReply({ node, address, role, state, completeness, mayBeBehind, holds }: ReplicaView): Reply {
  return new RespMap([
    ['node', node],
    ['address', address],
    ['role', role],
    ['state', state],
    ['completeness', completeness],
    ['may_be_behind', yesOrNo(mayBeBehind)],
    ['holds', heldReply(holds)],
  ])
}

function heldReply(holds: ReplicaView['holds']): Reply {
  if (holds === null) return null
  if ('error' in holds) return new RespMap([['error', holds.error]])
  return new RespMap([
    ['kind', holds.kind],
    ['version', holds.version],
    ['expires_at_ms', holds.expiresAtMs],
    ['expired', yesOrNo(holds.expired)],
    ['value_bytes', holds.valueBytes],
  ])
}

function status(client: Client): Reply {
  const { nodes } = client.store
  return new RespMap(
    nodes.map((member) => [
      member.id,
      new RespMap([
        ['address', member.node.address],
        ['state', member.health.state],
        ['completeness', member.completeness],
        ['may_be_behind', yesOrNo(member.behind)],
        ['unwritable', member.unwritable],
        ['error', member.lastError],
      ]),
    ]),
  )
}

/** As GET /hotkeys; keys are their bytes. */
function hotkeys(client: Client): Reply {
  checkAdmin(client, 'hotkeys')
  return plainReply(usageView(client.store))
}

function yesOrNo(value: boolean): string {
  return value ? 'yes' : 'no'
}
