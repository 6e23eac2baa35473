/**
 * Changes of members: POST /members/join, POST /members/:id/leave, DELETE and PATCH /members/:id, several at once as
 * POST /topology/changes; and how far the change is: GET /rebalance, POST /rebalance/cancel.
 */
import { lookup } from 'node:dns/promises'
import { isIP } from 'node:net'
import type { ChangeRequest, Joining, MemberChanges } from '../../coordinator/api.ts'
import { isUnsafeTarget, parseNodeList, type NodeAddress } from '../../config/node-addresses.ts'
import { RondoError } from '../../core/errors.ts'
import type { Rebalance } from '../../repair/rebalance.ts'
import { bodyOf, checkObject, parseObject, saysJson, type JsonObject } from './body.ts'
import type { Exchange } from './exchange.ts'

export interface MembersOptions {
  readonly changes: MemberChanges
  readonly rebalance: Pick<Rebalance, 'state'>
}

export const MEMBERS_PREFIX = '/members/'

const MOST_BODY_BYTES = 64 * 1024
const MOST_AT_ONCE = 100

export async function join(exchange: Exchange, { changes }: MembersOptions): Promise<void> {
  exchange.query([])
  const asked = await objectOf(exchange, JOINING)
  await begin(exchange, changes, { join: [await joiningOf(asked, 'The body')] })
}

export async function leave(exchange: Exchange, { changes }: MembersOptions): Promise<void> {
  exchange.query([])
  await objectOf(exchange, [])
  await begin(exchange, changes, { leave: [idFrom(exchange)] })
}

/** Also of a member that is gone. */
export async function remove(exchange: Exchange, { changes }: MembersOptions): Promise<void> {
  exchange.query([])
  await begin(exchange, changes, { leave: [idFrom(exchange)] })
}

export async function update(exchange: Exchange, { changes }: MembersOptions): Promise<void> {
  exchange.query([])
  const { weight } = await objectOf(exchange, ['weight'])
  await begin(exchange, changes, { weights: new Map([[idFrom(exchange), weightOf(weight)]]) })
}

export async function changeTopology(exchange: Exchange, { changes }: MembersOptions): Promise<void> {
  exchange.query([])
  const {
    join = [],
    leave = [],
    weights = {},
    replicas = null,
  } = await objectOf(exchange, ['join', 'leave', 'weights', 'replicas'])
  if (!isList(join) || !isList(leave) || !leave.every((id) => typeof id === 'string')) {
    throw new RondoError('BAD_REQUEST', `"join" and "leave" are lists of at most ${MOST_AT_ONCE} members.`)
  }
  if (replicas !== null && !Number.isSafeInteger(replicas)) {
    throw new RondoError('BAD_REQUEST', '"replicas" is a whole number.')
  }
  if (typeof weights !== 'object' || weights === null || Array.isArray(weights)) {
    throw new RondoError('BAD_REQUEST', '"weights" is an object of ids and weights.')
  }
  const joining: Joining[] = []
  for (const one of join)
    joining.push(await joiningOf(checkObject(one, JOINING, 'Each of "join"'), 'Each of "join"'))
  await begin(exchange, changes, {
    join: joining,
    leave: leave,
    weights: new Map(Object.entries(weights).map(([id, weight]) => [id, weightOf(weight)])),
    replicas: replicas as number | null,
  })
}

export function getRebalance(exchange: Exchange, { rebalance }: MembersOptions): void {
  exchange.query([])
  exchange.json(200, rebalance.state)
}

export async function cancelRebalance(
  exchange: Exchange,
  { changes, rebalance }: MembersOptions,
): Promise<void> {
  exchange.query([])
  await objectOf(exchange, [])
  await changes.cancel()
  exchange.json(202, rebalance.state)
}

async function begin(
  exchange: Exchange,
  changes: MembersOptions['changes'],
  asked: Partial<ChangeRequest>,
): Promise<void> {
  const { epoch, phase } = await changes.request(asked)
  exchange.json(202, { epoch, phase, waitFor: epoch + STEPS_TO_END })
}

/** From the first phase of a change to its end. */
const STEPS_TO_END = 2
const JOINING = ['url', 'id', 'weight', 'zone']

/** @throws RondoError BAD_REQUEST */
async function joiningOf({ url, id, weight, zone = null }: JsonObject, what: string): Promise<Joining> {
  if (typeof url !== 'string' || (id !== undefined && typeof id !== 'string')) {
    throw new RondoError(
      'BAD_REQUEST',
      `${what} names the node: {"url":"redis://host:port"}, and perhaps an "id".`,
    )
  }
  if (zone !== null && typeof zone !== 'string') throw new RondoError('BAD_REQUEST', '"zone" is a name.')
  const parameters = zone === null ? '' : `?zone=${zone}`
  const { nodes, problems } = parseNodeList(`${id === undefined ? '' : `${id}=`}${url}${parameters}`)
  const [address] = nodes
  if (!address || nodes.length > 1) {
    throw new RondoError(
      'BAD_REQUEST',
      `The node cannot be used: ${problems[0] ?? 'its url names several nodes.'}`,
    )
  }
  if (address.password !== undefined || address.username !== undefined) {
    const sentence =
      'An address must hold no user and no password: those come from REDIS_URLS of each coordinator (docs/OPERATING.md).'
    throw new RondoError('BAD_REQUEST', sentence)
  }
  if (`${MEMBERS_PREFIX}${address.id}` === '/members/join') {
    throw new RondoError('BAD_REQUEST', 'No member can have the id "join".')
  }
  await checkTarget(address)
  return {
    id: address.id,
    url: `${address.tls ? 'rediss' : 'redis'}://${address.address}`,
    weight: weight === undefined ? 1 : weightOf(weight),
    zone: address.zone ?? null,
  }
}

/** No connection is made to addresses that no Redis of a team has: those of the machine's own network and cloud. */
async function checkTarget({ host, address }: NodeAddress): Promise<void> {
  const found = isIP(host) === 0 ? await lookup(host, { all: true }).catch(() => []) : [{ address: host }]
  if (found.length === 0) throw new RondoError('BAD_REQUEST', `The name ${host} leads to no address.`)
  if (found.some((one) => isUnsafeTarget(one.address))) {
    throw new RondoError(
      'BAD_REQUEST',
      `${address} is a link-local, multicast or unspecified address; no node can join from there.`,
    )
  }
}

function weightOf(weight: unknown): number {
  if (typeof weight === 'number' && weight >= 0.01 && weight <= 100 && Number(weight.toFixed(2)) === weight)
    return weight
  throw new RondoError('BAD_REQUEST', 'A weight is 0.01 to 100, with at most two decimals.')
}

function isList(value: unknown): value is readonly unknown[] {
  return Array.isArray(value) && value.length <= MOST_AT_ONCE
}

function idFrom({ path }: Exchange): string {
  return path.slice(MEMBERS_PREFIX.length).split('/')[0]!
}

/** @throws RondoError BAD_REQUEST */
async function objectOf(exchange: Exchange, known: readonly string[]): Promise<JsonObject> {
  const body = await bodyOf(exchange, MOST_BODY_BYTES, 'changes of members are small')
  if (body.length === 0 && exchange.req.headers['content-type'] === undefined && known.length === 0) return {}
  if (!saysJson(exchange.req)) {
    // This also stops cross-site posts of browsers: JSON needs a CORS preflight.
    throw new RondoError('BAD_REQUEST', 'Send JSON, and say so: Content-Type: application/json.')
  }
  return parseObject(body.length === 0 ? Buffer.from('{}') : body, known)
}
