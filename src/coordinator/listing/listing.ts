/**
 * Lists the keys of all nodes: every key once, although it has N copies.
 *
 * The nodes are scanned in the order of their ids, each with its own SCAN. Which node reports a key must not change
 * during the listing, though nodes fail, return and are repaired meanwhile: a key that moves to an already scanned node
 * would be missed. So a listing starts by recording which nodes are sound (clean, and not behind), and the cursor
 * carries that:
 *
 *   - a key is reported by the first of its home replicas that was sound when the listing began;
 *   - a key without one is reported by the first node of its preference list that holds anything for it, and only if the
 *     newest record on all of them is a live value.
 *
 * The cursor is `<epoch>:<node's place>-<node's cursor>`, and `.<place>` for every node that was not sound; '0' starts,
 * and is returned at the end. A node that was sound and cannot be listed now is an error: the same cursor works when it
 * is back; or start a new listing, which does without it.
 *
 * A cursor belongs to the placement (core/placement.ts) of its epoch. After a change of the members it starts over, also at
 * the end of the listing: keys may be returned twice, and none is left out.
 *
 * A write is acknowledged before all its copies are stored, and the node that reports the key may be the last. So a listing
 * begins by waiting, at each node, for what this coordinator has sent it before: data calls are executed in their order.
 *
 * As with SCAN, every key that exists during the whole listing is returned; for others there is no guarantee. If none
 * of a key's home replicas was sound, the key may be missed, or returned twice, if it is repaired meanwhile.
 */
import type { Member } from '../../cluster/member.ts'
import { StoredRecord, type PeekedRecord, type RecordHead } from '../../core/codec.ts'
import { RondoError, stopped } from '../../core/errors.ts'
import { Glob } from '../../core/glob.ts'
import { clientKey, databasePrefix, MARKER_KEY } from '../../core/keys.ts'
import { isPartKey } from '../../core/part-keys.ts'
import type { Placement } from '../../core/placement.ts'
import { READ_COMPARED, READ_NEVER } from '../../core/plan.ts'
import { newestOf } from '../../core/votes.ts'
import type { PeekCall, ScanEntry } from '../../nodes/node.ts'
import { askNode } from '../ask.ts'
import type { CoordinatorContext, Replicas } from '../context.ts'
import { OTHER_EPOCH_MS } from '../operation.ts'
import { sentenceOf } from '../../core/sentence.ts'

export interface KeyPage {
  readonly keys: readonly Buffer[]
  /** For the next page; '0' = the end. */
  readonly cursor: string
  /** The members have changed since the cursor was returned: this is the first page of a new listing. */
  readonly restarted: boolean
}

/** The progress of a listing. */
interface Progress {
  readonly placement: Placement<Member>
  readonly restarted: boolean
  /** Of the member that is listed, in the order of their ids. */
  place: number
  nodeCursor: string
  /** Nodes that were sound when it began. */
  readonly sound: ReadonlySet<Member>
}

/** Work of pattern matching before it yields: some milliseconds. */
const STEPS_A_TURN = 1_000_000

/** Limit of SCAN calls per page: a pattern with few matches must not hold a request for long. */
const MAX_SCANS_PER_PAGE = 16
/**
 * The same for a page without a key, which some clients take for the end, and which comes of a small database beside a
 * large one. Some ten milliseconds: such calls look at more and more keys each.
 */
const MAX_SCANS_OF_NOTHING = 64
/** No node is blocked for more keys at once. */
const MAX_COUNT = 1000

export interface ListRequest {
  /** Null = all; then the keys are returned as they are named on the nodes (core/keys.ts). Parts of collections are none. */
  readonly database: number | null
  /** A glob for the keys; null = all. */
  readonly match: Buffer | null
  /** Of the records (core/codec.ts); null or omitted = all. */
  readonly kind?: number | null
  readonly cursor: string
  readonly count: number
  /** False: nobody waits for the page any more, and it fails. */
  readonly isWanted?: () => boolean
}

export async function listKeys(context: CoordinatorContext, request: ListRequest): Promise<KeyPage> {
  refuseUnwanted(request)
  const progress = await progressOf(context, request)
  const { restarted } = progress
  const pattern = patternOf(request)
  const glob = pattern && new Glob(pattern)
  // A node blocks while it matches: match expensive patterns here.
  const [there, here] = glob?.isLight ? [pattern, null] : [null, glob]
  const keys = new Map<string, Buffer>()
  for (let scans = 0; mayGoOn(scans, keys.size, request.count); scans++) {
    // A node in this process answers at once: yield, or all pages would be listed in one turn.
    await nextTurn(context)
    refuseUnwanted(request)
    const member = nextToList(progress)
    if (!member) break
    const count = keys.size > 0 ? request.count : widened(request.count, scans)
    const page = await member.node.scan(progress.nodeCursor, there, count).catch((error: unknown) => {
      throw cannotBeListed(member, sentenceOf(error))
    })
    const listed = page.entries.filter(({ key }) => isListed(key, request))
    const entries = here ? await matching(context, here, listed) : listed
    for (const key of await reportedBy(context, progress, member, entries, request.kind ?? null)) {
      keys.set(key.toString('latin1'), request.database === null ? key : clientKey(key)!.key)
    }
    progress.nodeCursor = page.cursor
    if (page.cursor === '0') progress.place++
  }
  const atEnd = nextToList(progress) === null
  const cursor = atEnd ? await endOf(context, progress) : formatCursor(progress)
  return { keys: [...keys.values()], cursor, restarted }
}

/**
 * Under a later epoch members remove what is kept elsewhere by then: a listing that has not noticed may lack it, and begins
 * anew. A page is not fenced as reads are.
 */
async function endOf({ cluster }: CoordinatorContext, { placement }: Progress): Promise<string> {
  const latest = Math.max(cluster.placement.epoch, await earlierCallsOf(placement.members))
  return latest > placement.epoch ? BEGIN_ANEW : '0'
}

function mayGoOn(scans: number, found: number, wanted: number): boolean {
  return scans < (found === 0 ? MAX_SCANS_OF_NOTHING : MAX_SCANS_PER_PAGE) && found < wanted
}

/** Twice as many keys with each call that found nothing; the first ones as many as were asked for. */
function widened(count: number, scans: number): number {
  return Math.max(count, Math.min(MAX_COUNT, count * 2 ** Math.min(Math.max(0, scans - 1), 10)))
}

function refuseUnwanted({ isWanted }: ListRequest): void {
  if (isWanted?.() === false) throw stopped('listing')
}

/**
 * Where the listing is, or begins. It does not begin under an epoch that a node has left: all keys may have been deleted.
 *
 * @throws RondoError UNAVAILABLE
 */
async function progressOf(context: CoordinatorContext, { cursor }: ListRequest): Promise<Progress> {
  const { cluster, timers, requestTimeoutMs } = context
  for (let waitedMs = 0; ; waitedMs += OTHER_EPOCH_MS) {
    const { placement } = cluster
    refuseToBeIncomplete(placement)
    const progress = parseCursor(cursor, placement)
    if (cursor !== '0' && !progress.restarted) return progress
    if ((await earlierCallsOf(placement.members)) <= placement.epoch) return progress
    if (waitedMs >= requestTimeoutMs) {
      throw new RondoError('UNAVAILABLE', 'The members are changing. Try again, and see /cluster.')
    }
    await new Promise<void>((next) => void timers.setTimeout(next, OTHER_EPOCH_MS))
  }
}

/**
 * A node that does not answer has missed them: whoever sent them marks it as behind, and the listing compares it.
 *
 * @returns the latest epoch of a node
 */
async function earlierCallsOf(members: readonly Member[]): Promise<number> {
  const reachable = members.filter(({ node }) => node.ready)
  const epochs = await Promise.all(reachable.map(epochAt))
  return Math.max(0, ...epochs)
}

/** Asked behind all earlier calls. */
function epochAt({ node }: Member): Promise<number> {
  return new Promise((resolve) => {
    const onPeeked: PeekCall['onPeeked'] = (_node, _record, { epoch }) => resolve(epoch)
    node.peek(MARKER_KEY, 'head', { onPeeked, onFailure: () => resolve(0) })
  })
}

function isListed(stored: Buffer, { database }: ListRequest): boolean {
  const named = clientKey(stored)
  if (named === null || isPartKey(stored)) return false
  return database === null || named.database === database
}

/** The pattern for the names on the nodes. */
function patternOf({ database, match }: ListRequest): Buffer | null {
  if (database === 0 || database === null) return match
  return Buffer.concat([databasePrefix(database), match ?? Buffer.from('*')])
}

/** With as many nodes unavailable as a key has replicas, no node may be left that can report some keys. */
function refuseToBeIncomplete({ members, replicas }: Placement<Member>): void {
  const unavailable = members.filter((member) => member.readRank === READ_NEVER)
  if (unavailable.length < replicas) return
  const names = unavailable.map((member) => member.id).join(', ')
  throw new RondoError('UNAVAILABLE', `The list would be incomplete: ${names} cannot be read. See /status.`)
}

/** The node to continue with; null = all were listed. */
function nextToList(progress: Progress): Member | null {
  const { members } = progress.placement
  for (; progress.place < members.length; progress.place++) {
    const member = members[progress.place]!
    if (progress.sound.has(member)) {
      if (member.readRank === READ_NEVER) throw cannotBeListed(member, 'it cannot be read now')
      if (member.completeness !== 'clean') throw cannotBeListed(member, 'it may have lost keys')
      return member
    }
    if (member.readRank !== READ_NEVER) return member
    progress.nodeCursor = '0' // other nodes hold its keys
  }
  return null
}

function cannotBeListed(member: Member, why: string): RondoError {
  const sentence = `Node ${member.id} cannot be listed: ${why}. Try again, or begin a new listing with cursor 0.`
  return new RondoError('UNAVAILABLE', sentence)
}

function formatCursor({ placement, place, nodeCursor, sound }: Progress): string {
  const others = placement.members.map((member, i) => (sound.has(member) ? '' : `.${i}`))
  return `${placement.epoch}:${place}-${nodeCursor}${others.join('')}`
}

function beginning(placement: Placement<Member>, restarted: boolean): Progress {
  const sound = placement.members.filter((member) => member.readRank < READ_COMPARED)
  return { placement, restarted, place: 0, nodeCursor: '0', sound: new Set(sound) }
}

/** Of an epoch that never was. */
const BEGIN_ANEW = '0:0-0'
const CURSOR = /^(\d{1,15}):(\d{1,6})-(\d{1,20})((?:\.\d{1,6})*)$/

function parseCursor(cursor: string, placement: Placement<Member>): Progress {
  if (cursor === '0') return beginning(placement, false)
  const { members } = placement
  const [, epoch, place, nodeCursor, others] = CURSOR.exec(cursor) ?? []
  if (epoch !== undefined && Number(epoch) !== placement.epoch) return beginning(placement, true)
  const unsound = new Set(others?.split('.').slice(1).map(Number))
  if (
    place === undefined ||
    nodeCursor === undefined ||
    ![Number(place), ...unsound].every((i) => i in members)
  ) {
    throw new RondoError('BAD_REQUEST', 'The cursor is not one that a listing returned; begin with 0.')
  }
  const sound = new Set(members.filter((_, i) => !unsound.has(i)))
  return { placement, restarted: false, place: Number(place), nodeCursor, sound }
}

function nextTurn({ timers }: CoordinatorContext): Promise<void> {
  return new Promise((next) => timers.endOfTurn(next))
}

async function matching(
  context: CoordinatorContext,
  glob: Glob,
  entries: readonly ScanEntry[],
): Promise<ScanEntry[]> {
  const found: ScanEntry[] = []
  let turnEnds = glob.steps + STEPS_A_TURN
  for (const entry of entries) {
    if (glob.matches(entry.key)) found.push(entry)
    if (glob.steps < turnEnds) continue
    await nextTurn(context)
    turnEnds = glob.steps + STEPS_A_TURN
  }
  return found
}

/** Those of the keys that this member has to report. */
async function reportedBy(
  context: CoordinatorContext,
  progress: Progress,
  member: Member,
  entries: readonly ScanEntry[],
  kind: number | null,
): Promise<Buffer[]> {
  const answers = entries.map(({ key, head }) => reports(context, progress, member, key, head, kind))
  // Most are decided without asking a node.
  const asked = answers.filter((answer) => typeof answer !== 'boolean')
  if (asked.length > 0) await Promise.all(asked)
  const reported: Buffer[] = []
  for (const [i, answer] of answers.entries()) {
    if (typeof answer === 'boolean' ? answer : await answer) reported.push(entries[i]!.key)
  }
  return reported
}

function reports(
  context: CoordinatorContext,
  { placement, sound }: Progress,
  member: Member,
  key: Buffer,
  head: Buffer,
  kind: number | null,
): boolean | Promise<boolean> {
  const nowMs = context.cluster.time.nowMs()
  const replicas = placement.replicaSetOf(key)
  const reporter = replicas.homes.find((home) => sound.has(home))
  if (reporter) {
    if (reporter !== member) return false
    if (!member.behind) return isShown(new StoredRecord(head), kind, nowMs)
  }
  return reportsAfterComparing(member, replicas, key, reporter !== undefined, kind, nowMs)
}

/**
 * Checks all copies: the newest must be live, and without a sound replica, this member must be the first that holds
 * one.
 */
async function reportsAfterComparing(
  member: Member,
  { preference }: Replicas,
  key: Buffer,
  isReporter: boolean,
  kind: number | null,
  nowMs: number,
): Promise<boolean> {
  const asked = preference.filter((other) => other.readRank !== READ_NEVER)
  const records = await Promise.all(asked.map((other) => recordAt(other, key)))
  const newest = newestOf(records)
  if (!newest) return false
  if (!isReporter && asked[records.findIndex((record) => record !== null)] !== member) return false
  return isShown(newest, kind, nowMs)
}

function isShown(record: RecordHead, kind: number | null, nowMs: number): boolean {
  return record.isLive(nowMs) && (kind === null || record.kind === kind)
}

/** A key of another Redis type is skipped, without failing the listing. */
async function recordAt(member: Member, key: Buffer): Promise<PeekedRecord | null> {
  try {
    return await askNode(member, key, 'head')
  } catch (error) {
    if (error instanceof RondoError && error.code === 'WRONG_TYPE') return null
    throw error
  }
}

/** The cursor of the same listing at another position; '0' if it is at its end. */
export function cursorElsewhere(cursor: string, members: number, random: () => number): string {
  const [, epoch, , , others] = CURSOR.exec(cursor) ?? []
  if (epoch === undefined) return '0'
  const nodeCursor = Math.floor(random() * 2 ** 32)
  return `${epoch}:${Math.floor(random() * members)}-${nodeCursor}${others}`
}
