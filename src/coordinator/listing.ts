/**
 * Listing the keys of all nodes: every key once, although it has N copies.
 *
 * The nodes are walked in the order of their ids, each with its own SCAN. Who tells of a key:
 *
 *   - the node that a read of it would ask first, if that node's answer is good by itself;
 *   - otherwise (only nodes that may lack writes are left) the first of the nodes a read would compare that holds
 *     anything for it, and only if the newest record among them is a live value.
 *
 * The cursor is `<node's place>-<node's cursor>`; '0' begins, and comes back at the end. Like SCAN, it promises every key
 * that is there during the whole listing; a key may come twice, or be left out, when a node changes its health meanwhile.
 */
import type { Member } from '../cluster/member.ts'
import { compareVersions } from '../core/clock.ts'
import { StoredRecord } from '../core/codec.ts'
import { RondoError } from '../core/errors.ts'
import { isReserved } from '../core/keys.ts'
import { planRead, READ_NEVER } from '../core/plan.ts'
import { preferenceListOf, type CoordinatorContext } from './context.ts'
import { askNode } from './ask.ts'

export interface KeyPage {
  readonly keys: readonly Buffer[]
  /** For the next page; '0' = that was all. */
  readonly cursor: string
}

/** SCAN calls made for one page at most: a pattern that matches little must not hold a request for long. */
const MAX_SCANS_PER_PAGE = 16

export async function listKeys(
  context: CoordinatorContext,
  request: { match: Buffer | null; cursor: string; count: number },
): Promise<KeyPage> {
  const members = context.cluster.ring.nodes
  refuseToBeIncomplete(context, members)
  const from = parseCursor(request.cursor, members.length)
  let { place, nodeCursor } = from
  const keys = new Map<string, Buffer>()
  for (let scans = 0; scans < MAX_SCANS_PER_PAGE && keys.size < request.count; scans++) {
    while (place < members.length && members[place]!.readRank === READ_NEVER) {
      place++ // other nodes hold its keys
      nodeCursor = '0'
    }
    const member = members[place]
    if (!member) break
    const page = await member.node.scan(nodeCursor, request.match, request.count).catch((error: unknown) => {
      throw new RondoError(
        'UNAVAILABLE',
        `Node ${member.id} could not be listed: ${String(error)}. Try again.`,
      )
    })
    const told = await Promise.all(page.entries.map(({ key, head }) => tellsOf(context, member, key, head)))
    page.entries.forEach(({ key }, i) => {
      if (told[i]) keys.set(key.toString('latin1'), key)
    })
    nodeCursor = page.cursor
    if (nodeCursor === '0') place++
  }
  return { keys: [...keys.values()], cursor: place < members.length ? `${place}-${nodeCursor}` : '0' }
}

/** With as many nodes away as a key has replicas, some keys may have no node left to tell of them. */
function refuseToBeIncomplete({ replicas }: CoordinatorContext, members: readonly Member[]): void {
  const away = members.filter((member) => member.readRank === READ_NEVER)
  if (away.length < replicas) return
  const names = away.map((member) => member.id).join(', ')
  throw new RondoError('UNAVAILABLE', `The list would be incomplete: ${names} cannot be read. See /status.`)
}

function parseCursor(cursor: string, places: number): { place: number; nodeCursor: string } {
  if (cursor === '0') return { place: 0, nodeCursor: '0' }
  const [, place, nodeCursor] = /^(\d{1,6})-(\d{1,20})$/.exec(cursor) ?? []
  if (place === undefined || nodeCursor === undefined || Number(place) >= places) {
    throw new RondoError('BAD_REQUEST', 'The cursor is not one that a listing returned; begin with 0.')
  }
  return { place: Number(place), nodeCursor }
}

async function tellsOf(
  context: CoordinatorContext,
  member: Member,
  key: Buffer,
  head: Buffer,
): Promise<boolean> {
  if (isReserved(key)) return false
  const nowMs = context.cluster.time.nowMs()
  const plan = planRead(preferenceListOf(context, key), context.replicas)
  if (plan.inTurn.length > 0) return plan.inTurn[0] === member && new StoredRecord(head).isLive(nowMs)
  const records = await Promise.all(plan.compared.map((other) => recordAt(other, key)))
  const held = records.filter((record) => record !== null)
  if (plan.compared[records.findIndex((record) => record !== null)] !== member) return false
  return held.reduce((a, b) => (compareVersions(b.version, a.version) > 0 ? b : a)).isLive(nowMs)
}

/** A key of another type is none of ours: it is not listed, and keeps no other from being listed. */
async function recordAt(member: Member, key: Buffer): Promise<StoredRecord | null> {
  try {
    return await askNode(member, key)
  } catch (error) {
    if (error instanceof RondoError && error.code === 'WRONG_TYPE') return null
    throw error
  }
}
