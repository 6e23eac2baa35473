/**
 * Copies to one member everything that the others hold for it: every key of which it is a home replica, from every other
 * member that has a copy, home replica or fallback replica.
 *
 * The sources, and whether they suffice, are decided before (sources.ts) and confirmed afterwards: a source that lost
 * data meanwhile has a new marker by then, and the whole merge does not count.
 *
 * A record is copied only once its other home replicas agree on it (agreement.ts).
 * What a fallback replica has kept for longer than deletes are remembered is not copied (cluster/freshness.ts), unless too
 * few home replicas are clean.
 */
import type { Member } from '../../cluster/member.ts'
import { encodeMarker, whyOtherMarker } from '../../cluster/marker.ts'
import { isInternal } from '../../core/keys.ts'
import type { KeyPage } from '../../nodes/node.ts'
import type { RepairContext } from '../context.ts'
import { besideClients } from './beside-clients.ts'
import { bring, type Wanted } from './bring.ts'
import { answerOf, RepairStopped } from './copy.ts'
import { eachOf } from './each-of.ts'
import { Target, type Merge, type MergeJob } from './merge-work.ts'

/** Names only: a node works on them for half a millisecond. */
export const PAGE_KEYS = 512
/** While clients are served: they wait behind less (beside-clients.ts). */
const PAGE_KEYS_BESIDE_CLIENTS = 128
/** Sources that are read at once. */
const READ_AT_ONCE = 4
/** Of each source. */
const PAGES_AT_ONCE = [0, 1]

/**
 * Called before each page of a source, with the number of keys of the last one.
 *
 * @returns how many keys the next one may have; rejects to stop
 */
export type MayRead = (keysBefore: number) => Promise<number>

interface Merging extends Merge {
  readonly mayRead: MayRead
}

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
  const targets = jobs.map((job) => new Target(job, context, jobs.length))
  const { placement } = jobs[0]!.sources
  const work: Merging = { context, placement, markers, mayRead, targets }
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

/** The next page is read while one is worked on; as long as no clients are served, two are worked on at once. */
async function mergeFrom(work: Merging, source: Member, isStopped: () => boolean): Promise<void> {
  const { context } = work
  const pages = new Pages((cursor, before) => pageOf(work, source, cursor, before))
  await eachOf(PAGES_AT_ONCE, PAGES_AT_ONCE.length, async (place, isOver) => {
    while (!isStopped() && !isOver()) {
      if (place > 0 && context.isServing()) return
      const page = await pages.next()
      if (!page) return
      await besideClients(context, () => bringAll(work, source, page.keys))
    }
  })
}

/** The pages of a source, one after the other, each read while the one before is worked on. */
class Pages {
  private readonly read: (cursor: string, keysBefore: number) => Promise<KeyPage>
  private ahead: Promise<KeyPage | null> | null = null

  constructor(read: Pages['read']) {
    this.read = read
  }

  /** Null behind the last one. */
  next(): Promise<KeyPage | null> {
    const page = this.ahead ?? this.read('0', 0)
    this.ahead = page.then((one) => {
      return !one || one.cursor === '0' ? null : this.read(one.cursor, one.keys.length)
    })
    this.ahead.catch(() => undefined) // whoever asks for it is told
    return page
  }
}

async function pageOf(
  { context, mayRead }: Merging,
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
      const holders = target.holdersOf(work, set)
      if (!holders || isInternal(key)) continue
      const isHeld = holders.all.some(({ member }) => member === source)
      if (!isHeld || !target.compared.has(key)) wanted.push({ key, set, holders, isHeld })
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
