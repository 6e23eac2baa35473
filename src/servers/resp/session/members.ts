/**
 * The subcommands of RONDO about the members of the cluster: the calls of servers/http/members.ts in other words.
 *
 * Changes need the user `admin` (AUTH admin <ADMIN_TOKEN>), if there is an ADMIN_TOKEN.
 */
import { shown, word } from '../../../commands/arguments.ts'
import { RespMap, type Reply } from '../../../commands/reply.ts'
import { CommandError, SYNTAX_ERROR } from '../../../commands/step.ts'
import type { Begun, ChangeRequest, Joining } from '../../../coordinator/api.ts'
import {
  acceptsLoss,
  begunOf,
  checkWeight,
  checkZone,
  dropsData,
  joiningOf,
  newUrlOf,
  waitsOf,
} from '../../new-member.ts'
import { keysPerSecondOf, rebalanceView } from '../../rebalance.ts'
import type { Client, Subcommand } from '../model.ts'

type MembersAnswer = (client: Client, args: readonly Buffer[]) => Reply | Promise<Reply>

const SINCE = '0.1.0'
const FLAGS = ['noscript', 'loading', 'stale']
const ADMIN = ['admin', ...FLAGS]
const QUEUE = '[QUEUE queue(YES|NO)]'
const NODE = 'url [ID id:string] [WEIGHT weight] [ZONE zone]'

const shownOnes: Readonly<Record<string, Subcommand<MembersAnswer>>> = {
  members: {
    arity: 2,
    since: SINCE,
    flags: FLAGS,
    summary: 'Shows the members of the cluster.',
    answer: ({ store }) =>
      mapOf(store.clusterView().members.map((member) => [member.id, plainReply(member)])),
  },
  cluster: {
    arity: 2,
    since: SINCE,
    flags: FLAGS,
    summary: 'Shows the epoch of the cluster, its members, and the part of the keys that each of them has.',
    answer: ({ store }) => plainReply(store.clusterView()),
  },
}

const changes: Readonly<Record<string, Subcommand<MembersAnswer>>> = {
  join: {
    arity: -3,
    since: SINCE,
    syntax: `${NODE} [ADOPT adoption(DROP)] ${QUEUE}`,
    flags: ADMIN,
    summary: 'Makes a Redis a member. It must be empty; ADOPT DROP empties it.',
    answer: (client, args) => {
      const words = new Words(args)
      const join = [joiningIn(words)]
      const dropData = dropsData(words.option('ADOPT'))
      return begin(client, words, { join, dropData })
    },
  },
  leave: {
    arity: -3,
    since: SINCE,
    syntax: `id:string ${QUEUE}`,
    flags: ADMIN,
    summary: 'Lets a member leave, after the others were brought its keys.',
    answer: (client, args) => {
      const words = new Words(args)
      return begin(client, words, { leave: [words.next()] })
    },
  },
  forget: {
    arity: -3,
    since: SINCE,
    syntax: `id:string [FORCE force(DATA-LOSS)] ${QUEUE}`,
    flags: ADMIN,
    summary:
      'Removes a member that is gone. FORCE DATA-LOSS accepts that the last copies of keys go with it.',
    answer: (client, args) => {
      const words = new Words(args)
      const leave = [words.next()]
      const acceptLoss = acceptsLoss(words.option('FORCE')?.toLowerCase())
      return begin(client, words, { leave, acceptLoss })
    },
  },
  replace: {
    arity: -4,
    since: SINCE,
    syntax: `id:string url [ADOPT adoption(DROP)] ${QUEUE}`,
    flags: ADMIN,
    summary: 'Puts another Redis in the place of a member, which may be gone.',
    answer: async ({ server }, args) => {
      const words = new Words(args)
      const [id, url] = [words.next(), newUrlOf(words.next())]
      const dropData = dropsData(words.option('ADOPT'))
      const waits = waitsIn(words)
      return begun(await server.options.changes.replace(id, url, dropData, waits))
    },
  },
  move: {
    arity: -4,
    since: SINCE,
    syntax: `id:string url ${QUEUE}`,
    flags: ADMIN,
    summary: 'Changes the address of a member: the same Redis, or the same data.',
    answer: async ({ server }, args) => {
      const words = new Words(args)
      const [id, url] = [words.next(), newUrlOf(words.next())]
      return begun(await server.options.changes.move(id, url, waitsIn(words)))
    },
  },
  set: {
    arity: -5,
    since: SINCE,
    syntax: `id:string [WEIGHT weight] [ZONE zone] ${QUEUE}`,
    flags: ADMIN,
    summary: 'Changes the weight or the zone of a member; an empty zone is none.',
    answer: (client, args) => {
      const words = new Words(args)
      const id = words.next()
      const [weight, zone] = [words.option('WEIGHT'), words.option('ZONE')]
      const weights = new Map(weight === undefined ? [] : [[id, weightOf(weight)]])
      const zones = new Map(zone === undefined ? [] : [[id, zoneOf(zone)]])
      return begin(client, words, { weights, zones })
    },
  },
  recover: {
    arity: -3,
    since: SINCE,
    syntax: '[FORCE force(DATA-LOSS)] survivor:string...',
    flags: ADMIN,
    summary: 'Goes on with the members that are left, where a majority is gone for good.',
    answer: async ({ server }, args) => {
      const words = new Words(args)
      const acceptLoss = acceptsLoss(words.option('FORCE')?.toLowerCase())
      return begun(await server.options.changes.recover(words.rest(), acceptLoss))
    },
  },
  change: {
    arity: -4,
    since: SINCE,
    syntax:
      `[JOIN node(${NODE})...+] [LEAVE id:string...+] [REPLICAS replicas:integer] ` +
      `[ADOPT adoption(DROP)] [FORCE force(DATA-LOSS)] ${QUEUE}`,
    flags: ADMIN,
    summary: 'Changes several things at once, and the number of copies of each key.',
    answer: (client, args) => {
      const words = new Words(args)
      const join = words.each('JOIN', () => joiningIn(words))
      const leave = words.each('LEAVE', () => words.next())
      const replicas = words.option('REPLICAS')
      const dropData = dropsData(words.option('ADOPT'))
      const acceptLoss = acceptsLoss(words.option('FORCE')?.toLowerCase())
      const count = replicas === undefined ? null : countOf(replicas)
      return begin(client, words, { join, leave, replicas: count, dropData, acceptLoss })
    },
  },
}

export const MEMBERS_SUBCOMMANDS: Readonly<Record<string, Subcommand<MembersAnswer>>> = {
  ...shownOnes,
  ...Object.fromEntries(
    Object.entries(changes).map(([name, change]) => [
      name,
      {
        ...change,
        answer: (client: Client, args: readonly Buffer[]) => {
          checkAdmin(client, name)
          return change.answer(client, args)
        },
      },
    ]),
  ),
  rebalance: {
    arity: -2,
    since: SINCE,
    syntax: '[action(CANCEL|PAUSE|RESUME|THROTTLE keys-per-second:integer|WITHDRAW change:string)]',
    flags: FLAGS,
    summary:
      'Shows how far the change of members is; with the user admin, undoes, stops or slows it, or takes back what waits (ALL, or one).',
    answer: async (client, args) => {
      const { rebalance } = client.server.options
      if (args.length > 2) {
        checkAdmin(client, 'rebalance')
        await steer(client, args.slice(2))
      }
      return plainReply(await rebalanceView(rebalance))
    },
  },
}

/** @throws CommandError, RondoError */
async function steer({ server }: Client, [action, count, ...more]: readonly Buffer[]): Promise<void> {
  const { changes, rebalance } = server.options
  const actions: Readonly<Record<string, () => Promise<unknown>>> = {
    CANCEL: () => changes.cancel(),
    PAUSE: () => rebalance.pause(),
    RESUME: () => rebalance.resume(),
  }
  if (word(action!) === 'THROTTLE' && count && more.length === 0) {
    await rebalance.throttle(keysPerSecondOf(countOf(count.toString('latin1'))))
    return
  }
  if (word(action!) === 'WITHDRAW' && count && more.length === 0) {
    await changes.withdraw(word(count) === 'ALL' ? null : idOf(count))
    return
  }
  const act = count ? undefined : actions[word(action!)]
  if (!act) throw new CommandError(SYNTAX_ERROR)
  await act()
}

/** @throws CommandError */
export function checkAdmin(client: Client, name: string): void {
  const { user, server } = client
  if (user === 'admin' || server.options.tokens.admin.length === 0) return
  throw notPermitted(client, name)
}

export function notPermitted({ user }: Client, name: string): CommandError {
  const what = user === 'admin' ? 'AUTH <DATA_TOKEN>' : 'AUTH admin <ADMIN_TOKEN>'
  return new CommandError(
    `NOPERM User ${user} has no permissions to run the 'rondo|${name}' command; authenticate with ${what}`,
  )
}

async function begin({ server }: Client, words: Words, asked: Partial<ChangeRequest>): Promise<Reply> {
  return begun(await server.options.changes.request(asked, waitsIn(words)))
}

/** The last argument. @throws CommandError, RondoError */
function waitsIn(words: Words): boolean {
  const waits = waitsOf(words.option('QUEUE'))
  words.end()
  return waits
}

function begun(of: Begun): Reply {
  return plainReply(begunOf(of))
}

// ---- arguments

/** Of an address or an id: more than a name of DNS has. */
const LONGEST = 512

/** An address or an id. @throws CommandError */
function idOf(bytes: Buffer): string {
  if (bytes.length > LONGEST) throw new CommandError(`ERR '${shown(bytes)}' is too long for a member`)
  return bytes.toString('utf8')
}

/** The arguments after the subcommand, read from the front; options in the order of the syntax. */
class Words {
  private readonly words: readonly Buffer[]
  private at = 2

  constructor(words: readonly Buffer[]) {
    this.words = words
  }

  /** @throws CommandError */
  next(): string {
    const bytes = this.words[this.at++]
    if (!bytes) throw new CommandError(SYNTAX_ERROR)
    return idOf(bytes)
  }

  /** The value after this name, if that comes next. */
  option(name: string): string | undefined {
    return this.takes(name) ? this.next() : undefined
  }

  each<T>(name: string, take: () => T): T[] {
    const all: T[] = []
    while (this.takes(name)) all.push(take())
    return all
  }

  /** At least one. @throws CommandError */
  rest(): string[] {
    const all = [this.next()]
    while (this.at < this.words.length) all.push(this.next())
    return all
  }

  /** @throws CommandError */
  end(): void {
    const rest = this.words[this.at]
    if (rest) throw new CommandError(`${SYNTAX_ERROR}: '${shown(rest)}' is not expected there`)
  }

  private takes(name: string): boolean {
    const bytes = this.words[this.at]
    if (!bytes || word(bytes) !== name) return false
    this.at++
    return true
  }
}

/** @throws RondoError, CommandError */
function joiningIn(words: Words): Joining {
  const url = words.next()
  const [id, weight, zone] = [words.option('ID'), words.option('WEIGHT'), words.option('ZONE')]
  return joiningOf({
    url,
    id,
    ...(weight !== undefined && { weight: weightOf(weight) }),
    ...(zone !== undefined && { zone: zoneOf(zone) }),
  })
}

/** @throws RondoError */
function weightOf(text: string): number {
  return checkWeight(/^\d{1,3}(\.\d{1,2})?$/.test(text) ? Number(text) : NaN)
}

/** @throws RondoError */
function zoneOf(text: string): string | null {
  return checkZone(text === '' ? null : text)
}

/** @throws CommandError */
function countOf(text: string): number {
  if (/^\d{1,9}$/.test(text)) return Number(text)
  throw new CommandError('ERR value is not an integer or out of range')
}

// ---- replies

/** Plain data: names as in INFO, fractions as text. */
export function plainReply(value: unknown): Reply {
  if (value === null || typeof value === 'string' || Buffer.isBuffer(value)) return value
  if (typeof value === 'boolean') return value ? 'yes' : 'no'
  if (typeof value === 'number') return Number.isSafeInteger(value) ? value : String(value)
  if (Array.isArray(value)) return value.map(plainReply)
  return mapOf(Object.entries(value as object).map(([name, part]) => [inSnakeCase(name), plainReply(part)]))
}

function mapOf(entries: readonly (readonly [string, Reply])[]): RespMap {
  return new RespMap(entries)
}

function inSnakeCase(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)
}
