/**
 * Copies to one member everything that the others hold for it: every key of which it is a home replica, from every other
 * member that has a copy, home replica or fallback replica.
 *
 * The sources, and whether they suffice, are decided before (sources below) and confirmed afterwards: a source that lost
 * data meanwhile has a new marker by then, and the whole merge does not count.
 *
 * A record is copied only once its other home replicas agree on it (agreement.ts).
 * What a fallback replica has kept for longer than deletes are remembered is not copied (cluster/freshness.ts), unless too
 * few home replicas are clean.
 */
import type { Member } from '../../cluster/member.ts'
import { encodeMarker, epochOf, whyOtherMarker } from '../../cluster/marker.ts'
import { compareVersions, VERSION_BYTES } from '../../core/clock.ts'
import {
  HEAD_WITH_PROMISE_BYTES,
  isSameEndless,
  PeekedRecord,
  StoredRecord,
  VERSION_AT,
  type RecordHead,
} from '../../core/codec.ts'
import { isInternal } from '../../core/keys.ts'
import { LIFE_TOLERANCE_MS } from '../../core/lifetime.ts'
import type { Placement } from '../../core/placement.ts'
import type { ReplicaSet } from '../../core/replica-set.ts'
import type { KeyPage } from '../../nodes/node.ts'
import { agreedRecord, agreesAtOnce, startsAtVoters, type Proposal, type Source } from './agreement.ts'
import { isOurs } from './context.ts'
import {
  answerOf,
  canEnd,
  copyRecord,
  fetchLives,
  fetchRecord,
  fetchStarts,
  lifeToGive,
  RepairStopped,
  storeCopy,
} from './copy.ts'
import type { RepairContext } from '../context.ts'

export interface MergeProgress {
  /** Keys of all sources together, as their last probes say. */
  expected: number
  /** Keys checked, of all sources together. */
  checked: number
  /** Records sent to the member. */
  sent: number
  /** Of these, with their keys. */
  bytes: number
  /** Keys that the member lacked, and those of which it had an older version, each once for every source. */
  missing: number
  older: number
}

export const NO_PROGRESS: Readonly<MergeProgress> = {
  expected: 0,
  checked: 0,
  sent: 0,
  bytes: 0,
  missing: 0,
  older: 0,
}

/** all = every key of which it is a home replica; gained = those of which it was none before the change of members */
export type MergeScope = 'all' | 'gained'

export interface Sources {
  readonly placement: Placement<Member>
  readonly scope: MergeScope
  readonly members: readonly Member[]
  /** Too few of them are clean: acknowledged writes may be lost. */
  readonly lossy: boolean
}

/** Names only: a node works on them for half a millisecond. */
export const PAGE_KEYS = 512
/**
 * While clients are served, pages are smaller, and each is followed by a rest that is as long as the work on it was: they
 * wait behind less, and half of the time is theirs (docs/decisions/0066).
 */
const PAGE_KEYS_BESIDE_CLIENTS = 128
const MAX_REST_MS = 250
/** Longer records are read alone. */
const LONGEST_IN_PAGE_BYTES = 512
/** Sources that are read at once. */
const READ_AT_ONCE = 4
/** Records that are read alone, of each source: each may be as large as the largest value. */
const READ_ALONE_AT_ONCE = 4

/**
 * The members to merge from, or null while one must be waited for.
 *
 * For each key, N − Q + 1 of the other home replicas must be clean: any Q that acknowledged a write include one of them.
 * An unreachable one may return with its data, and a stale one may be kept (stale.ts). But once all of them are
 * reachable, and some have lost data themselves, there is nothing to wait for. Members by which the cluster has just grown
 * have lost nothing: if all others are clean, so is all that was written before.
 *
 * @param scope what the member lacks: all that it is a home replica of, or only what it has gained by a change
 * @param isNew whether the cluster has just grown by this member
 */
export function sourcesFor(
  placement: Placement<Member>,
  member: Member,
  scope: MergeScope,
  isNew: (member: Member) => boolean = () => false,
): Sources | null {
  let lossy = false
  for (const set of placement.replicaSets()) {
    if (!wants(set, member, scope)) continue
    const fellows = set.homes.slice(0, set.voters).filter((home) => home !== member)
    const clean = fellows.filter((home) => isSource(set, home))
    // What it has gained beside what it holds as a voter: then it is one of them itself.
    const isOne = scope === 'gained' && set.homes.indexOf(member) < set.voters && isSource(set, member)
    if (clean.length + (isOne ? 1 : 0) >= set.sufficient) continue
    if (!fellows.every((home) => home.node.ready && home.marker && home.completeness !== 'stale')) return null
    lossy = true
  }
  return {
    ...{ placement, scope },
    // Values of a stale member may have been deleted.
    members: placement.members.filter(
      (other) => other !== member && other.node.ready && other.marker && other.completeness !== 'stale',
    ),
    lossy:
      lossy &&
      !placement.members.every((one) => isNew(one) || (one.node.ready && one.completeness === 'clean')),
  }
}

/** What one member is to be brought. */
export interface MergeJob {
  readonly member: Member
  readonly sources: Sources
  readonly progress: MergeProgress
}

/** What one merge works with. */
interface Merge {
  readonly context: RepairContext
  readonly placement: Placement<Member>
  /** The marker of each source at the start. */
  readonly markers: ReadonlyMap<Member, Buffer>
  readonly mayRead: MayRead
  readonly targets: readonly Target[]
}

/** One of the members that are brought something. */
class Target {
  readonly job: MergeJob
  failure: unknown = null
  /** Versions of keys that are being sent: several sources may show them at the same time. */
  readonly underWay = new Set<string>()
  /** By replica set: who must agree on a record first; null = the member gets none of its keys. */
  readonly voters = new WeakMap<ReplicaSet<Member>, readonly Source[] | null>()

  constructor(job: MergeJob) {
    this.job = job
    job.progress.expected = job.sources.members.reduce((sum, { report }) => sum + (report?.keys ?? 0), 0)
  }
}

/**
 * Called before each page of a source, with the number of keys of the last one.
 *
 * @returns how many keys the next one may have; rejects to stop
 */
export type MayRead = (keysBefore: number) => Promise<number>

/**
 * Brings the members what they lack; each source is read once for all of them.
 *
 * @returns why it failed, for those that it failed for alone
 * @throws RepairStopped when it failed for all of them: a node fails, or has changed its marker since the start
 */
export async function merge(
  context: RepairContext,
  jobs: readonly MergeJob[],
  mayRead: MayRead = () => Promise.resolve(PAGE_KEYS),
): Promise<ReadonlyMap<Member, unknown>> {
  const sources = [...new Set(jobs.flatMap((job) => job.sources.members))]
  const begun = new Map(sources.map((source) => [source, source.marker!]))
  const markers = new Map(sources.map((source) => [source, encodeMarker(source.marker!)]))
  const targets = jobs.map((job) => new Target(job))
  const { placement } = jobs[0]!.sources
  const work: Merge = { context, placement, markers, mayRead, targets }
  await eachOf(sources, READ_AT_ONCE, (source, isStopped) => mergeFrom(work, source, isStopped))
  for (const source of sources) {
    const { marker, runId } = await source.node.probe()
    const before = begun.get(source)!
    if (!marker?.equals(markers.get(source)!) || runId !== before.runId) {
      throw new RepairStopped(source.node, whyOtherMarker(before, marker, runId))
    }
  }
  return new Map(targets.flatMap(({ job, failure }) => (failure === null ? [] : [[job.member, failure]])))
}

/** The next page is read while one is worked on. */
async function mergeFrom(work: Merge, source: Member, isStopped: () => boolean): Promise<void> {
  let page: KeyPage | null = await pageOf(work, source, '0', 0)
  while (page && !isStopped()) {
    const { keys, cursor }: KeyPage = page
    const fromMs = work.context.clock.monotonicMs()
    const next: Promise<KeyPage | null> =
      cursor === '0' ? Promise.resolve(null) : pageOf(work, source, cursor, keys.length)
    ;[page] = await Promise.all([next, bringAll(work, source, keys).then(() => rest(work, fromMs))])
  }
}

function rest({ context: { clock, timers, isServing } }: Merge, fromMs: number): Promise<void> | void {
  if (!isServing()) return
  const ms = Math.min(MAX_REST_MS, clock.monotonicMs() - fromMs)
  return new Promise((resolve) => timers.setTimeout(resolve, ms))
}

async function pageOf(
  { context, mayRead }: Merge,
  { node }: Member,
  cursor: string,
  before: number,
): Promise<KeyPage> {
  const count = await mayRead(before)
  const most = context.isServing() ? PAGE_KEYS_BESIDE_CLIENTS : PAGE_KEYS
  return answerOf(node, node.keys(cursor, Math.min(count, most)))
}

/** One member that fails keeps none of the others from getting theirs. */
async function bringAll(work: Merge, source: Member, keys: readonly Buffer[]): Promise<void> {
  const sets = keys.map((key) => work.placement.replicaSetOf(key))
  const bringOne = async (target: Target) => {
    const { sources, progress } = target.job
    if (target.failure !== null || !sources.members.includes(source)) return
    const wanted: Wanted[] = []
    for (const [i, set] of sets.entries()) {
      const key = keys[i]!
      const voters = votersFor(work, target, set)
      if (voters && !isInternal(key)) wanted.push({ key, set, voters, sufficient: set.sufficient })
    }
    if (wanted.length > 0) await bring(work, target, source, wanted)
    progress.checked += keys.length
  }
  const failed = (target: Target) => (error: unknown) => {
    target.failure ??= error
  }
  await Promise.all(work.targets.map((target) => bringOne(target).catch(failed(target))))
  const { failure } = work.targets[0]!
  if (work.targets.every((target) => target.failure !== null)) throw failure
}

/** A key that the member is to hold. */
interface Wanted extends Proposal {
  readonly set: ReplicaSet<Member>
}

/** One of which it holds less than the source. */
interface Lacked extends Wanted {
  /** What the source held at first sight. */
  readonly head: RecordHead
  /** `life`: it holds the same, for too short a time. */
  readonly lacks: 'all' | 'version' | 'life'
}

/** Compares heads first: records are sent only if they are missing, or are kept longer at the source. */
async function bring(work: Merge, target: Target, source: Member, wanted: readonly Wanted[]): Promise<void> {
  const { context, markers } = work
  const { member, progress } = target.job
  const lacked = (await lackedOf(work, target, source, wanted)).filter(
    (one) => !target.underWay.has(nameOf(one)),
  )
  if (lacked.length === 0) return
  progress.missing += lacked.filter(({ lacks }) => lacks === 'all').length
  progress.older += lacked.filter(({ lacks }) => lacks === 'version').length
  // The lives of others may differ.
  const sent = lacked.filter(({ head }) => !canEnd(head)).map(nameOf)
  for (const name of sent) target.underWay.add(name)
  const readAtMs = context.cluster.time.nowMs()
  const keys = lacked.map(({ key }) => key)
  const [starts, livesMs, heads] = await Promise.all([
    fetchStarts(source.node, keys, LONGEST_IN_PAGE_BYTES, markers.get(source)!),
    livesOf(source, lacked),
    startsAtVoters(lacked, source),
  ])
  const alone: Buffer[] = []
  const copies: Promise<void>[] = []
  for (const [i, one] of lacked.entries()) {
    const start = starts[i]
    const leftMs = livesMs.get(one) ?? -1
    if (!start || leftMs === -2) continue // gone meanwhile
    const record = new StoredRecord(start)
    const isSame = compareVersions(record.version, one.head.version) === 0
    const isAgreed =
      (one.lacks === 'life' && isSame) || agreesAtOnce(one, record, heads[i]!, context.cluster.time.nowMs())
    if (isSame && isAgreed && start.length < LONGEST_IN_PAGE_BYTES) {
      const lifeMs = lifeToGive(leftMs)
      countSent(progress, one.key, record)
      copies.push(storeCopy(context, member.node, one.key, { record, lifeMs, readAtMs }))
    } else alone.push(one.key)
  }
  await ended(copies)
  await eachOf(alone, READ_ALONE_AT_ONCE, (key) => bringAlone(work, target, source, key))
  for (const name of sent) target.underWay.delete(name)
}

/** @throws RepairStopped */
async function lackedOf(
  { context, markers }: Merge,
  { job: { member, sources } }: Target,
  source: Member,
  wanted: readonly Wanted[],
): Promise<Lacked[]> {
  const { freshness } = context.cluster
  const keys = wanted.map(({ key }) => key)
  const [there, here] = await Promise.all([
    fetchStarts(source.node, keys, HEAD_WITH_PROMISE_BYTES, markers.get(source)!),
    fetchStarts(member.node, keys, HEAD_WITH_PROMISE_BYTES, null),
  ])
  const lacked: Lacked[] = []
  const same: Lacked[] = []
  for (const [i, one] of wanted.entries()) {
    const [start, other] = [there[i], here[i]]
    if (!start || (other && isSameEndless(start, other))) continue
    const head = new PeekedRecord(start)
    if (!isOurs(head)) continue
    const isNothing = !one.set.homes.includes(source) && freshness.isForgotten(source, head)
    if (isNothing && !sources.lossy) continue
    const held = other ? new PeekedRecord(other) : null
    const order = held?.versioned ? compareVersions(held.version, head.version) : null
    if (order === null || order < 0) lacked.push({ ...one, head, lacks: order === null ? 'all' : 'version' })
    else if (order === 0 && canEnd(head) && !held!.isLasting) same.push({ ...one, head, lacks: 'life' })
  }
  return [...lacked, ...(await keptTooShort(source, member, same))]
}

/** Those that the member keeps for less time than the source. */
async function keptTooShort(source: Member, member: Member, same: readonly Lacked[]): Promise<Lacked[]> {
  const keys = same.map(({ key }) => key)
  const [there, here] = await Promise.all([fetchLives(source.node, keys), fetchLives(member.node, keys)])
  return same.filter((_, i) => {
    return here[i] !== -1 && here[i]! < lifeToGive(there[i]!) - LIFE_TOLERANCE_MS
  })
}

/** How long the source keeps those that can end. */
async function livesOf(source: Member, lacked: readonly Lacked[]): Promise<ReadonlyMap<Lacked, number>> {
  const ending = lacked.filter(({ head }) => canEnd(head))
  const keys = ending.map(({ key }) => key)
  const livesMs = await fetchLives(source.node, keys)
  return new Map(ending.map((one, i) => [one, livesMs[i]!]))
}

/** Of key and version. */
function nameOf({ key, head }: Lacked): string {
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
  const voters = votersFor(work, target, set)!
  const from = sourceOf(work, source)
  const readAtMs = context.cluster.time.nowMs()
  const record =
    voters.length > 0
      ? await agreedRecord(context, key, from, voters, set.voters)
      : await fetchRecord(source.node, key, from.marker)
  if (!record?.versioned) return
  countSent(progress, key, record)
  await copyRecord(context, [source.node], member.node, key, record, readAtMs)
}

/** The clean voters, unless nothing could be settled without the member. Null = it is brought none of these keys. */
function votersFor(work: Merge, target: Target, set: ReplicaSet<Member>): readonly Source[] | null {
  const { member, sources } = target.job
  let found = target.voters.get(set)
  if (found === undefined) {
    found = wants(set, member, sources.scope) ? agreeing(work, member, set) : null
    target.voters.set(set, found)
  }
  return found
}

function agreeing(work: Merge, member: Member, set: ReplicaSet<Member>): readonly Source[] {
  if (isNeeded(set, member)) return []
  const voters = set.homes.slice(0, set.voters)
  return voters
    .filter((home) => home !== member && work.markers.has(home) && isSource(set, home))
    .map((home) => sourceOf(work, home))
}

/** It holds all acknowledged writes, and refuses what was planned before the change of members. */
function isSource(set: ReplicaSet<Member>, { node, completeness, marker }: Member): boolean {
  return node.ready && completeness === 'clean' && set.isOfEpoch({ epoch: epochOf(marker!) })
}

function wants(set: ReplicaSet<Member>, member: Member, scope: MergeScope): boolean {
  const place = set.homes.indexOf(member)
  return scope === 'all' ? place >= 0 : set.isGainedBy(place)
}

function sourceOf({ markers }: Merge, member: Member): Source {
  return { member, marker: markers.get(member)! }
}

/**
 * Without the member nothing can be acknowledged, as long as it is filled: no update has promises of the others, and
 * nothing could be settled.
 */
function isNeeded(set: ReplicaSet<Member>, member: Member): boolean {
  const others = [...set.homes.keys()].filter((place) => {
    return set.homes[place] !== member || set.mayHold(member.completeness === 'clean', place)
  })
  return !set.isHeld(others, 'quorum')
}

/** Works through the items, so many at a time. Rejects with the first error, once all that had begun has ended. */
async function eachOf<T>(
  items: readonly T[],
  atOnce: number,
  work: (item: T, isStopped: () => boolean) => Promise<void>,
): Promise<void> {
  const left = items.values()
  let isStopped = false
  const lane = async () => {
    for (const item of left) {
      if (isStopped) return
      await work(item, () => isStopped)
    }
  }
  const stop = (error: unknown) => {
    isStopped = true
    throw error
  }
  await ended(Array.from({ length: Math.min(atOnce, items.length) }, () => lane().catch(stop)))
}

/** Rejects with the first error, once all have ended. */
async function ended(works: readonly Promise<void>[]): Promise<void> {
  const failed = (await Promise.allSettled(works)).find((one) => one.status === 'rejected')
  if (failed) throw failed.reason
}
