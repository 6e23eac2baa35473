/** What somebody says of a node that joins, or of one in a new place: the same over HTTP and the Redis protocol. */
import type { Begun, Joining } from '../coordinator/api.ts'
import { BAD_ID, isNodeId, parseNodeList, urlOf, type NodeAddress } from '../config/node-addresses.ts'
import { RondoError } from '../core/errors.ts'

export interface SaidOfNode {
  readonly url: string
  readonly id?: string | undefined
  readonly weight?: number | undefined
  readonly zone?: string | null | undefined
}

/** @throws RondoError BAD_REQUEST */
export function joiningOf({ url, id, weight = 1, zone = null }: SaidOfNode): Joining {
  // Checked by itself: within an entry of a list it could pass for a part of the address.
  if (id !== undefined && !isNodeId(id)) throw cannotBeUsed(`${BAD_ID}.`)
  const address = addressOf(`${id === undefined ? '' : `${id}=`}${url}`)
  if (address.id === 'join') throw new RondoError('BAD_REQUEST', 'No member can have the id "join".')
  return { id: address.id, url: urlOf(address), weight: checkWeight(weight), zone: checkZone(zone) }
}

/** @throws RondoError BAD_REQUEST */
export function newUrlOf(url: string): string {
  return urlOf(addressOf(url))
}

/** @throws RondoError BAD_REQUEST */
export function checkWeight(weight: number): number {
  if (weight >= 0.01 && weight <= 100 && Number(weight.toFixed(2)) === weight) return weight
  throw new RondoError('BAD_REQUEST', 'A weight is 0.01 to 100, with at most two decimals.')
}

/** @throws RondoError BAD_REQUEST */
export function checkZone(zone: string | null): string | null {
  if (zone === null || /^[a-z0-9][a-z0-9._-]{0,63}$/i.test(zone)) return zone
  throw new RondoError('BAD_REQUEST', 'A zone is 1 to 64 letters, digits or . _ - , or null for none.')
}

/** Whether the data of a node that joins is removed. @throws RondoError BAD_REQUEST */
export function dropsData(adopt: string | undefined): boolean {
  if (adopt === undefined) return false
  if (adopt.toLowerCase() === 'drop') return true
  const sentence =
    adopt.toLowerCase() === 'keep'
      ? 'The data of a node that joins cannot be kept: some reads would find it, and others not. Write it through Rondo first (docs/OPERATING.md, Moving in), then join with adopt=drop.'
      : 'The only value of adopt is drop: the node is emptied. Without it the node must be empty.'
  throw new RondoError('BAD_REQUEST', sentence)
}

/** @throws RondoError BAD_REQUEST */
export function acceptsLoss(force: string | undefined): boolean {
  if (force === undefined) return false
  if (force === 'data-loss') return true
  throw new RondoError('BAD_REQUEST', 'The only force is data-loss.')
}

/** Whether a change waits for its turn while another one is under way. @throws RondoError BAD_REQUEST */
export function waitsOf(queue: string | undefined): boolean {
  if (queue === undefined || queue.toLowerCase() === 'yes') return true
  if (queue.toLowerCase() === 'no') return false
  throw new RondoError(
    'BAD_REQUEST',
    'Queue is yes, or no: then a change is refused while another one is under way.',
  )
}

/** What has begun, and the epoch to wait for; or that it waits, and the epoch after which it begins. */
export function begunOf({ topology: { epoch, phase }, queued }: Begun): Record<string, unknown> {
  const ends = epoch + { both: 2, switched: 1, stable: 0 }[phase]
  if (!queued) return { epoch, phase, waitFor: ends }
  return { epoch, phase, queued: queued.id, place: queued.place, beginsAfter: ends }
}

function cannotBeUsed(why: string): RondoError {
  return new RondoError('BAD_REQUEST', `The node cannot be used: ${why}`)
}

/** @throws RondoError BAD_REQUEST */
function addressOf(text: string): NodeAddress {
  const { nodes, problems } = parseNodeList(text)
  const [address] = nodes
  if (!address || nodes.length > 1) {
    throw cannotBeUsed(problems[0] ?? 'its url names several nodes.')
  }
  if (address.password !== undefined || address.username !== undefined) {
    const sentence =
      'An address must hold no user and no password: those come from REDIS_URLS of each coordinator (docs/OPERATING.md).'
    throw new RondoError('BAD_REQUEST', sentence)
  }
  if (text.includes('?')) {
    throw new RondoError('BAD_REQUEST', 'Weight and zone are given beside the url, not in it.')
  }
  return address
}
