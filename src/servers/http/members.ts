/**
 * Changes of members: POST /members/join, POST /members/:id/leave and replace, DELETE and PATCH /members/:id, several at
 * once as POST /topology/changes; taking back what waits: DELETE /topology/changes; without
 * a majority: POST /topology/recover; how far the change is: GET /rebalance;
 * and steering it: POST /rebalance/pause, /resume, /throttle, /cancel.
 */
import type { Begun, Joining, MemberChanges } from '../../coordinator/api.ts'
import { RondoError } from '../../core/errors.ts'
import { keysPerSecondOf, rebalanceView, type Steered } from '../rebalance.ts'
import { bodyOf, checkObject, parseObject, saysJson, type JsonObject } from './body.ts'
import type { Exchange } from './exchange.ts'
import {
  acceptsLoss,
  begunOf,
  checkWeight,
  checkZone,
  dropsData,
  joiningOf,
  newUrlOf,
  waitsOf,
} from '../new-member.ts'

export interface MembersOptions {
  readonly changes: MemberChanges
  readonly rebalance: Steered
}

export const MEMBERS_PREFIX = '/members/'

const MOST_BODY_BYTES = 64 * 1024
const MOST_AT_ONCE = 100

export async function join(exchange: Exchange, { changes }: MembersOptions): Promise<void> {
  const { adopt, queue } = exchange.query(['adopt', 'queue'])
  const [dropData, waits] = [dropsData(adopt), waitsOf(queue)]
  const asked = await objectOf(exchange, JOINING)
  await begin(exchange, changes.request({ join: [joiningIn(asked, 'The body')], dropData }, waits))
}

export async function leave(exchange: Exchange, { changes }: MembersOptions): Promise<void> {
  const waits = waitsOf(exchange.query(['queue']).queue)
  await objectOf(exchange, [])
  await begin(exchange, changes.request({ leave: [idFrom(exchange)] }, waits))
}

/** Also of a member that is gone. */
export async function remove(exchange: Exchange, { changes }: MembersOptions): Promise<void> {
  const { force, queue } = exchange.query(['force', 'queue'])
  const asked = { leave: [idFrom(exchange)], acceptLoss: acceptsLoss(force) }
  await begin(exchange, changes.request(asked, waitsOf(queue)))
}

export async function replace(exchange: Exchange, { changes }: MembersOptions): Promise<void> {
  const { adopt, queue } = exchange.query(['adopt', 'queue'])
  const [dropData, waits] = [dropsData(adopt), waitsOf(queue)]
  const { url } = await objectOf(exchange, ['url'])
  await begin(exchange, changes.replace(idFrom(exchange), newUrlOf(textOf(url, 'url')), dropData, waits))
}

export async function update(exchange: Exchange, { changes }: MembersOptions): Promise<void> {
  const waits = waitsOf(exchange.query(['queue']).queue)
  const id = idFrom(exchange)
  const { weight, zone, url } = await objectOf(exchange, ['weight', 'zone', 'url'])
  if (url === undefined) {
    const weights = new Map(weight === undefined ? [] : [[id, weightOf(weight)]])
    const zones = new Map(zone === undefined ? [] : [[id, zoneOf(zone)]])
    await begin(exchange, changes.request({ weights, zones }, waits))
    return
  }
  if (weight !== undefined || zone !== undefined) {
    throw new RondoError('BAD_REQUEST', 'A new url comes alone: change weight and zone before or afterwards.')
  }
  await begin(exchange, changes.move(id, newUrlOf(textOf(url, 'url')), waits))
}

export async function changeTopology(exchange: Exchange, { changes }: MembersOptions): Promise<void> {
  const query = exchange.query(['adopt', 'force', 'queue'])
  const waits = waitsOf(query.queue)
  const dropData = dropsData(query.adopt)
  const acceptLoss = acceptsLoss(query.force)
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
  const asked = {
    join: join.map((one) => joiningIn(checkObject(one, JOINING, 'Each of "join"'), 'Each of "join"')),
    leave: leave,
    weights: new Map(Object.entries(weights).map(([id, weight]) => [id, weightOf(weight)])),
    replicas: replicas as number | null,
  }
  await begin(exchange, changes.request({ ...asked, dropData, acceptLoss }, waits))
}

/** Takes back one change that waits, or all of them. */
export async function withdraw(exchange: Exchange, { changes, rebalance }: MembersOptions): Promise<void> {
  const { id = null } = exchange.query(['id'])
  await objectOf(exchange, [])
  await changes.withdraw(id)
  exchange.json(202, await rebalanceView(rebalance))
}

/** Of a cluster whose majority is gone for good. */
export async function recover(exchange: Exchange, { changes }: MembersOptions): Promise<void> {
  const acceptLoss = acceptsLoss(exchange.query(['force']).force)
  const { survivors } = await objectOf(exchange, ['survivors'])
  if (!isList(survivors) || !survivors.every((id) => typeof id === 'string')) {
    throw new RondoError('BAD_REQUEST', `"survivors" is a list of at most ${MOST_AT_ONCE} ids.`)
  }
  await begin(exchange, changes.recover(survivors, acceptLoss))
}

export async function getRebalance(exchange: Exchange, options: MembersOptions): Promise<void> {
  exchange.query([])
  exchange.json(200, await rebalanceView(options.rebalance))
}

/** Undoes, stops or goes on with the change: a call without arguments. */
export async function steerRebalance(
  exchange: Exchange,
  options: MembersOptions,
  steer: (options: MembersOptions) => Promise<unknown>,
): Promise<void> {
  exchange.query([])
  await objectOf(exchange, [])
  await steer(options)
  exchange.json(202, await rebalanceView(options.rebalance))
}

export async function throttleRebalance(exchange: Exchange, options: MembersOptions): Promise<void> {
  exchange.query([])
  const { keysPerSecond } = await objectOf(exchange, ['keysPerSecond'])
  await options.rebalance.throttle(keysPerSecondOf(keysPerSecond))
  exchange.json(202, await rebalanceView(options.rebalance))
}

async function begin(exchange: Exchange, beginning: Promise<Begun>): Promise<void> {
  exchange.json(202, begunOf(await beginning))
}

const JOINING = ['url', 'id', 'weight', 'zone']

/** @throws RondoError BAD_REQUEST */
function joiningIn({ url, id, weight, zone }: JsonObject, what: string): Joining {
  if (typeof url !== 'string') {
    throw new RondoError(
      'BAD_REQUEST',
      `${what} names the node: {"url":"redis://host:port"}, and perhaps an "id".`,
    )
  }
  return joiningOf({
    url,
    ...(id !== undefined && { id: textOf(id, 'id') }),
    ...(weight !== undefined && { weight: weightOf(weight) }),
    ...(zone !== undefined && { zone: zoneOf(zone) }),
  })
}

/** @throws RondoError BAD_REQUEST */
function textOf(value: unknown, name: string): string {
  if (typeof value === 'string') return value
  throw new RondoError('BAD_REQUEST', `"${name}" is a text.`)
}

/** @throws RondoError BAD_REQUEST */
function weightOf(weight: unknown): number {
  return checkWeight(typeof weight === 'number' ? weight : NaN)
}

/** @throws RondoError BAD_REQUEST */
function zoneOf(zone: unknown): string | null {
  return checkZone(zone === null ? null : textOf(zone, 'zone'))
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
