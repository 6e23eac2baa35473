/**
 * Brings a member what one page of a source shows that it lacks:
 *
 *   first look    the source's records, or their heads; the member's heads; and the heads of the keys' other holders
 *   second look   only what is lacked: the record where only its head was read, its life where it can end, and the heads of
 *                 the voters where the source is no holder
 *   copy          what the voters agree on, in groups; what is long, or not agreed on, alone (agreement.ts)
 *
 * A key of which all holders show the same, and the member holds it by now, is noted as compared: the other holders need not
 * show it again. Only values without end are: the lives of others may differ from copy to copy.
 */
import type { Member } from '../../cluster/member.ts'
import { compareVersions, VERSION_BYTES } from '../../core/clock.ts'
import {
  HEAD_WITH_PROMISE_BYTES,
  isSameEndless,
  PeekedRecord,
  StoredRecord,
  VERSION_AT,
  type RecordHead,
} from '../../core/codec.ts'
import { LIFE_TOLERANCE_MS } from '../../core/lifetime.ts'
import type { ReplicaSet } from '../../core/replica-set.ts'
import { agreedRecord, agreesAtOnce, startsAt, type Asked, type Start } from './agreement.ts'
import { isOurs } from './context.ts'
import {
  canEnd,
  copyRecord,
  fetchLives,
  fetchRecord,
  fetchStarts,
  lifeToGive,
  storeCopies,
  type KeyedCopy,
} from './copy.ts'
import { eachOf } from './each-of.ts'
import { sourceOf, type Holders, type Merge, type MergeProgress, type Target } from './merge-work.ts'

/** Longer records are read alone. */
const LONGEST_IN_PAGE_BYTES = 512
/** Records that are read alone, of each page: each may be as large as the largest value. */
const READ_ALONE_AT_ONCE = 2

/** A key that the member is to hold. */
export interface Wanted {
  readonly key: Buffer
  readonly set: ReplicaSet<Member>
  readonly holders: Holders
  /** The source is one of the holders. */
  readonly isHeld: boolean
}

/** One of which it holds less than the source. */
interface Lacked {
  readonly wanted: Wanted
  /** What the source held at first sight: the head, or more. */
  readonly head: RecordHead
  /** The heads of the holders at first sight; null = they were not read. */
  readonly heads: readonly Start[] | null
  /** `life`: it holds the same, for too short a time. */
  readonly lacks: 'all' | 'version' | 'life'
}

/** What was read at first sight. */
interface Look {
  readonly lacked: readonly Lacked[]
  /** How much of each record was read. */
  readonly bytes: number
  /** Cluster time before that. */
  readonly readAtMs: number
}

/** Compares heads first: records are sent only if they are missing, or are kept longer at the source. */
export async function bring(
  work: Merge,
  target: Target,
  source: Member,
  wanted: readonly Wanted[],
): Promise<void> {
  const { context } = work
  const { member, progress } = target.job
  const look = await firstLook(work, target, source, wanted)
  const lacked = look.lacked.filter((one) => !target.underWay.has(nameOf(one)))
  if (lacked.length === 0) return
  progress.missing += lacked.filter(({ lacks }) => lacks === 'all').length
  progress.older += lacked.filter(({ lacks }) => lacks === 'version').length
  // The lives of others may differ.
  const sent = lacked.filter(({ head }) => !canEnd(head)).map(nameOf)
  for (const name of sent) target.underWay.add(name)
  const [records, livesMs, heads] = await secondLook(work, source, lacked, look.bytes)
  const nowMs = context.cluster.time.nowMs()
  const alone: Buffer[] = []
  const copies: KeyedCopy[] = []
  const equal: Buffer[] = []
  for (const [i, one] of lacked.entries()) {
    const { key } = one.wanted
    const start = records[i]
    const leftMs = livesMs.get(one) ?? -1
    if (!start || leftMs === -2) continue // gone meanwhile
    const record = new StoredRecord(start)
    const isSame = compareVersions(record.version, one.head.version) === 0
    const isAgreed = (one.lacks === 'life' && isSame) || isAgreedAtOnce(one, record, heads[i]!, nowMs)
    if (isSame && isAgreed && start.length < LONGEST_IN_PAGE_BYTES) {
      countSent(progress, key, record)
      const lifeMs = lifeToGive(leftMs)
      copies.push({ key, record, lifeMs, readAtMs: look.readAtMs })
      if (one.heads && isEqualAt(one.wanted, start, one.heads)) equal.push(key)
    } else alone.push(key)
  }
  await storeCopies(context, member.node, copies)
  for (const key of equal) target.compared.add(key)
  await eachOf(alone, READ_ALONE_AT_ONCE, (key) => bringAlone(work, target, source, key))
  for (const name of sent) target.underWay.delete(name)
}

/** @throws RepairStopped */
async function firstLook(
  { context, markers }: Merge,
  target: Target,
  source: Member,
  wanted: readonly Wanted[],
): Promise<Look> {
  const { cluster } = context
  const { member, sources } = target.job
  const keys = wanted.map(({ key }) => key)
  const bytes = target.lacksMost ? LONGEST_IN_PAGE_BYTES : HEAD_WITH_PROMISE_BYTES
  const readAtMs = cluster.time.nowMs()
  const together = target.comparesMost
  const [there, here, heads] = await Promise.all([
    fetchStarts(source.node, keys, bytes, markers.get(source)!),
    fetchStarts(member.node, keys, HEAD_WITH_PROMISE_BYTES, null),
    together ? startsAt(wanted.map(heldAt), source) : null,
  ])
  const lacked: Lacked[] = []
  const same: Lacked[] = []
  let endless = 0
  for (const [i, one] of wanted.entries()) {
    const [start, other] = [there[i], here[i]]
    if (!start) continue
    if (isSameEndless(start, start)) endless++
    if (other && isSameEndless(start, other)) {
      if (heads && isEqualAt(one, start, heads[i]!)) target.compared.add(one.key)
      continue
    }
    const head = new PeekedRecord(start)
    if (!isOurs(head)) continue
    const isNothing = !one.set.homes.includes(source) && cluster.freshness.isForgotten(source, head)
    if (isNothing && !sources.lossy) continue
    const held = other ? new PeekedRecord(other) : null
    const order = held?.versioned ? compareVersions(held.version, head.version) : null
    const found = { wanted: one, head, heads: heads && one.isHeld ? heads[i]! : null }
    if (order === null || order < 0) lacked.push({ ...found, lacks: order === null ? 'all' : 'version' })
    else if (order === 0 && canEnd(head) && !held!.isLasting) same.push({ ...found, lacks: 'life' })
  }
  target.lacksMost = 2 * lacked.length > wanted.length
  target.comparesMost = 2 * endless > wanted.length
  return { lacked: [...lacked, ...(await keptTooShort(source, member, same))], bytes, readAtMs }
}

/** Where a key is looked at together: nowhere if the source is no holder itself, and so may hold something else. */
function heldAt({ key, isHeld, holders }: Wanted): Asked {
  return { key, at: isHeld ? holders.all : [] }
}

/** What is still to be read of what the member lacks: records, lives, and heads of voters, each in the order of these. */
function secondLook(
  { markers }: Merge,
  source: Member,
  lacked: readonly Lacked[],
  bytes: number,
): Promise<[readonly Start[], ReadonlyMap<Lacked, number>, readonly (readonly Start[])[]]> {
  // What is shorter than was asked for is there to its end.
  const isWhole = ({ head }: Lacked) => bytes === LONGEST_IN_PAGE_BYTES || head.bytes.length < bytes
  const records = async () => {
    const cut = lacked.filter((one) => !isWhole(one))
    const keys = cut.map(({ wanted: { key } }) => key)
    const starts = await fetchStarts(source.node, keys, LONGEST_IN_PAGE_BYTES, markers.get(source)!)
    const found = new Map(cut.map((one, i) => [one, starts[i]]))
    return lacked.map((one) => (isWhole(one) ? one.head.bytes : found.get(one)))
  }
  const heads = async () => {
    const asked = lacked.map(({ wanted: { key, holders }, heads }) => ({
      key,
      at: heads ? [] : holders.voters,
    }))
    const found = await startsAt(asked, source)
    return lacked.map((one, i) => one.heads ?? found[i]!)
  }
  return Promise.all([records(), livesOf(source, lacked), heads()])
}

/** @param heads of the holders, or of the voters alone, which come first */
function isAgreedAtOnce(
  { wanted: { set, holders } }: Lacked,
  record: RecordHead,
  heads: readonly Start[],
  nowMs: number,
): boolean {
  const { voters } = holders
  return agreesAtOnce({ voters, sufficient: set.sufficient }, record, heads.slice(0, voters.length), nowMs)
}

/**
 * Whether all holders were asked, and hold this very value without end, or nothing.
 *
 * @param start of the record at the source @param heads undefined = the source itself
 */
function isEqualAt({ isHeld }: Wanted, start: Buffer, heads: readonly Start[]): boolean {
  if (!isHeld || !isSameEndless(start, start)) return false
  for (const head of heads) if (head && !isSameEndless(start, head)) return false
  return true
}

/** Those that the member keeps for less time than the source. */
async function keptTooShort(source: Member, member: Member, same: readonly Lacked[]): Promise<Lacked[]> {
  const keys = same.map(({ wanted: { key } }) => key)
  const [there, here] = await Promise.all([fetchLives(source.node, keys), fetchLives(member.node, keys)])
  return same.filter((_, i) => {
    return here[i] !== -1 && here[i]! < lifeToGive(there[i]!) - LIFE_TOLERANCE_MS
  })
}

/** How long the source keeps those that can end. */
async function livesOf(source: Member, lacked: readonly Lacked[]): Promise<ReadonlyMap<Lacked, number>> {
  const ending = lacked.filter(({ head }) => canEnd(head))
  const keys = ending.map(({ wanted: { key } }) => key)
  const livesMs = await fetchLives(source.node, keys)
  return new Map(ending.map((one, i) => [one, livesMs[i]!]))
}

/** Of key and version. */
function nameOf({ wanted: { key }, head }: Lacked): string {
  return head.bytes.toString('latin1', VERSION_AT, VERSION_AT + VERSION_BYTES) + key.toString('latin1')
}

function countSent(progress: MergeProgress, key: Buffer, { bytes }: StoredRecord): void {
  progress.sent++
  progress.bytes += key.length + bytes.length
}

/** What is long, or is not agreed on: read anew. */
async function bringAlone(work: Merge, target: Target, source: Member, key: Buffer): Promise<void> {
  const { context, placement } = work
  const { member, progress } = target.job
  const set = placement.replicaSetOf(key)
  const { voters } = target.holdersOf(work, set)!
  const from = sourceOf(work, source)
  const readAtMs = context.cluster.time.nowMs()
  const record =
    voters.length > 0
      ? await agreedRecord(context, key, from, voters, set.voters)
      : await fetchRecord(source.node, key, from.marker)
  if (!record || !isOurs(record)) return
  countSent(progress, key, record)
  await copyRecord(context, [source.node], member.node, key, record, readAtMs)
}
