/**
 * CLIENT LIST, INFO and KILL. They know the connections of this process: other coordinators, and other workers of this one,
 * have their own.
 *
 * Ten thousand connections are listed in slices of the thread, and one such list at a time is made in the process, so that
 * it takes the memory of one: a list that waits for its turn has only checked its arguments, and one that is made is in the
 * account of its client. As in Redis, whoever may run commands sees the addresses and names of all clients, and may close
 * their connections.
 */
import { addressText, plainAddress } from '../../../config/client-address.ts'
import { integerArgument, parseInteger, shown, word, type Integer } from '../../../commands/arguments.ts'
import type { SubscriptionKind } from '../../../coordinator/api.ts'
import { USERS, type Client } from '../model.ts'
import { OK, Verbatim, type Reply } from '../../../commands/reply.ts'
import { CommandError, SYNTAX_ERROR } from '../../../commands/step.ts'
import type { Sliced } from '../../../core/work.ts'

const TYPES = ['NORMAL', 'MASTER', 'REPLICA', 'SLAVE', 'PUBSUB']
const NO_SUCH_CLIENT = 'ERR No such client'
/** Of the connections, so many are handled in one slice. */
const CLIENTS_A_PIECE = 32
const UNITS_A_PIECE = 32

/** Of the connections, so many are passed over in one slice, to find those with some ids. */
const CLIENTS_A_SEARCH = 1024
/** Overhead of a line of text. */
const LINE_BYTES = 32

type Choice = { readonly ids: readonly Integer[] } | { readonly matches: Matches } | 'all'

export async function list(client: Client, args: readonly Buffer[]): Promise<Reply> {
  const choice = choiceOf(args)
  return client.work.outcomeAlone(client, linesOf(client, choice))
}

function* linesOf(caller: Client, choice: Choice): Sliced<Reply> {
  const { account } = caller
  const lines: string[] = []
  let held = 0
  try {
    for (const [i, client] of (yield* chosen(caller, choice)).entries()) {
      if (!client.gone) {
        const line = describe(client, client === caller ? 'client|list' : null)
        lines.push(line)
        held += line.length + LINE_BYTES
        account.add(line.length + LINE_BYTES)
      }
      if ((i + 1) % CLIENTS_A_PIECE !== 0) continue
      yield UNITS_A_PIECE
      if (account.isRefused) throw account.refusal()
      if (caller.gone) break
    }
    return new Verbatim(lines.join(''))
  } finally {
    account.add(-held)
  }
}

function* chosen({ server }: Client, choice: Choice): Sliced<readonly Client[]> {
  const all = [...server.connections]
  if (choice === 'all') return all
  if ('matches' in choice) return all.filter(choice.matches)
  const wanted = new Set(choice.ids)
  const found = new Map<Integer, Client>()
  for (const [i, client] of all.entries()) {
    if (wanted.has(client.id)) found.set(client.id, client)
    if ((i + 1) % CLIENTS_A_SEARCH === 0) yield UNITS_A_PIECE
  }
  // As in Redis, once per mention.
  return choice.ids.flatMap((id) => found.get(id) ?? [])
}

/** @throws CommandError */
function choiceOf(args: readonly Buffer[]): Choice {
  if (args.length === 2) return 'all'
  const filter = word(args[2]!)
  if (filter === 'TYPE' && args.length === 4) return { matches: ofType(typeOf(args[3]!)) }
  if (filter !== 'ID' || args.length === 3) throw new CommandError(SYNTAX_ERROR)
  return { ids: args.slice(3).map((arg) => integerArgument(arg, 'ERR Invalid client ID')) }
}

function ofType(type: string): Matches {
  if (type === 'PUBSUB') return ({ isSubscribed }) => isSubscribed
  return type === 'NORMAL' ? ({ isSubscribed }) => !isSubscribed : () => false
}

/** @throws CommandError */
function typeOf(argument: Buffer): string {
  const type = word(argument)
  if (!TYPES.includes(type)) throw new CommandError(`ERR Unknown client type '${shown(argument)}'`)
  return type
}

/**
 * All fields of Redis 7.0, in its order, followed by those of newer versions that are known here. Values that are not
 * counted per connection are 0.
 *
 * @param command that is being answered; null = not the calling connection, whose last command is shown
 */
export function describe(client: Client, command: string | null): string {
  const { socket, server, transaction } = client
  const nowMs = server.nowMs()
  const fields: [string, string | number][] = [
    ['id', client.id],
    ['addr', remoteAddress(client)],
    ['laddr', localAddress(client)],
    ['fd', 0],
    ['name', client.name],
    ['age', Math.floor((nowMs - client.openedAtMs) / 1000)],
    ['idle', command === null ? Math.floor(client.idleMs(nowMs) / 1000) : 0],
    ['flags', flagsOf(client)],
    ['db', client.settings.database],
    ['sub', subscriptionsOf(client, 'channel')],
    ['psub', subscriptionsOf(client, 'pattern')],
    ['ssub', subscriptionsOf(client, 'shard')],
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
    ['cmd', command ?? client.lastCommand ?? 'NULL'],
    ['user', client.user],
    ['redir', client.tracking?.redirectId ?? -1],
    ['resp', client.protocol],
    ['watch', client.watch ? client.watch.size : 0],
    ['lib-name', client.libraryName],
    ['lib-ver', client.libraryVersion],
  ]
  return `${fields.map(([field, value]) => `${field}=${value}`).join(' ')}\n`
}

function flagsOf({ isSubscribed, transaction, tracking, wait }: Client): string {
  const tracks = tracking ? `t${tracking.isBroken ? 'R' : ''}${tracking.mode.isBroadcast ? 'B' : ''}` : ''
  return `${isSubscribed ? 'P' : ''}${transaction ? 'x' : ''}${wait?.isBlocked ? 'b' : ''}${tracks}` || 'N'
}

function subscriptionsOf(client: Client, kind: SubscriptionKind): number {
  return client.isSubscribed ? client.subscribed.count(kind) : 0
}

function remoteAddress({ address, port }: Client): string {
  return addressText(address, port)
}

function localAddress({ socket }: Client): string {
  return addressText(plainAddress(socket.localAddress), socket.localPort)
}

type Matches = (client: Client) => boolean

/** Closes the connections that match; its own after the reply. */
export async function kill(client: Client, args: readonly Buffer[]): Promise<Reply> {
  if (args.length === 3) {
    const address = args[2]!.toString('latin1')
    const killed = await killAll(client, [(one) => remoteAddress(one) === address])
    if (killed === 0) throw new CommandError(NO_SUCH_CLIENT)
    return OK
  }
  return killAll(client, filtersOf(client, args))
}

function killAll(caller: Client, filters: readonly Matches[]): Promise<number> {
  return caller.work.outcomeAlone(caller, killInSlices(caller, filters))
}

function* killInSlices(caller: Client, filters: readonly Matches[]): Sliced<number> {
  let killed = 0
  for (const [i, client] of [...caller.server.connections].entries()) {
    if (!client.gone && filters.every((matches) => matches(client))) {
      killed++
      if (client === caller) client.end()
      else client.destroy()
    }
    if ((i + 1) % CLIENTS_A_PIECE === 0) yield UNITS_A_PIECE
  }
  return killed
}

/** @throws CommandError */
function filtersOf(caller: Client, args: readonly Buffer[]): Matches[] {
  const filters = new Map<string, Matches>()
  let skipsMe = true
  for (let i = 2; i < args.length; i += 2) {
    const name = word(args[i]!)
    const value = args[i + 1]
    if (value === undefined) throw new CommandError(SYNTAX_ERROR)
    if (name === 'SKIPME') skipsMe = yesOrNo(value)
    else filters.set(name, filterOf(name, value)) // of several of a kind, the last one holds
  }
  const others: Matches = (client) => client !== caller
  return [...filters.values(), ...(skipsMe ? [others] : [])]
}

/** @throws CommandError */
function filterOf(name: string, value: Buffer): Matches {
  const text = value.toString('latin1')
  switch (name) {
    case 'ID': {
      const id = parseInteger(value)
      if (id === null || id <= 0) throw new CommandError('ERR client-id should be greater than 0')
      return (client) => client.id === id
    }
    case 'ADDR':
      return (client) => remoteAddress(client) === text
    case 'LADDR':
      return (client) => localAddress(client) === text
    case 'TYPE': {
      return ofType(typeOf(value))
    }
    case 'USER':
      if (!USERS.some((user) => user === text)) {
        throw new CommandError(`ERR No such user '${shown(value)}'`)
      }
      return ({ user }) => user === text
    default:
      throw new CommandError(SYNTAX_ERROR)
  }
}

/** @throws CommandError */
function yesOrNo(value: Buffer): boolean {
  const given = word(value)
  if (given !== 'YES' && given !== 'NO') throw new CommandError(SYNTAX_ERROR)
  return given === 'YES'
}
