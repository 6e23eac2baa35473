/**
 * One round of anti-entropy: finds differences between the home replicas of the same keys, and copies the newest
 * records.
 *
 *   1. scan    every clean member, page by page, interleaved; builds a digest tree per member and token range
 *                (core/merkle.ts). A misplaced copy (a fallback replica's) is moved home and dropped at once
 *   2. compare per range the trees of its home replicas: equal ones cost this one comparison, and no key is named
 *   3. list    only where leaves differ: scan again, and collect the heads of the keys in those leaves
 *   4. settle  only where heads differ: read the key on its home replicas, and copy the newest record to those that hold
 *              an older one or none
 *
 * Only step 4 decides, on records read in one turn; the earlier steps only find where to look. So a scan that takes
 * minutes, returns a key twice or sees half of a write costs work, never correctness.
 *
 * A tree contains live values only. A tombstone or an expired value supersedes older records and is otherwise nothing:
 * a replica that has purged it, or never had anything to delete, agrees with one that holds it. A replica that missed
 * the delete still has the old value in its tree, and the others do not, so the difference is found; when the leaf is
 * listed, the tombstone wins. For the same reason a dead record is never copied to a replica that holds nothing. "Live"
 * refers to the start of the round, or a value that expires between two scans would differ from itself.
 *
 * Not repaired:
 * - Values that Rondo did not write (version 0): it is unknown which is newer. A versioned record supersedes them.
 * - Records written since the round began: their copies may be in flight, and misses are recorded by their coordinator.
 *   "Since" is a version stamped at the start: everything that this coordinator has done or seen by then is older. The
 *   next round checks them.
 * - Missing records on a member that evicts: it would evict again. An older record there is corrected.
 * - Members that are being filled (fill.ts does it), or whose marker has changed since the start: they do not take part,
 *   and what was found about them does not count.
 *
 * Memory: 12 bytes per leaf, some 65,000 leaves per member; in step 3 the listed heads, for about LISTED_KEYS keys at a
 * time: if more differ, the members are scanned again for the next portion. (All keys of a leaf are listed together.
 * Keys with the same hash tag share a leaf.)
 *
 * A life is never extended: copies live as long as the record has left where it is kept longest (copy.ts).
 */
import type { Cluster } from '../../cluster/cluster.ts'
import { encodeMarker, type Marker } from '../../cluster/marker.ts'
import type { Member } from '../../cluster/member.ts'
import { compareVersions, VERSION_BYTES, VERSION_ZERO, versionMs, type Version } from '../../core/clock.ts'
import { StoredRecord } from '../../core/codec.ts'
import { required } from '../../core/consistency.ts'
import { isReserved } from '../../core/keys.ts'
import { DigestTree, leafOf, leavesPerRange } from '../../core/merkle.ts'
import type { TokenRange } from '../../core/ring.ts'
import { tokenOf } from '../../core/token.ts'
import { newestOf } from '../../core/votes.ts'
import { copyRecord, fetchRecord, RepairStopped } from './copy.ts'
import type { RepairContext } from '../context.ts'
import type { Pace } from './pace.ts'

const PAGE_KEYS = 128
/** Approximate limit of keys whose heads are held at once: 300 to 400 bytes each. */
const LISTED_KEYS = 100_000
/** Keys read and copied at once: each may be as large as the largest value, on every home replica. */
const SETTLED_AT_ONCE = 16
/** Ranges or keys compared in one turn of the event loop. */
const COMPARED_AT_ONCE = 1000

export interface RoundCounts {
  /** Copies scanned, of all members together. */
  checkedKeys: number
  rangesCompared: number
  rangesDiffering: number
  /** Records sent to a home replica that held an older one or none. */
  copied: number
  /** Copies of fallback replicas that were moved home and dropped. */
  movedHome: number
}

export interface RoundResult {
  /** Ids of the members that took part from start to end. */
  readonly members: readonly string[]
  /** Members that did not, with the reason. */
  readonly leftOut: readonly string[]
  /** Members that have received every delete, with their markers: see `synced` below. */
  readonly synced: readonly { readonly member: Member; readonly marker: Buffer }[]
}

/** The round was stopped. */
export class RoundStopped extends Error {
  constructor(why: string) {
    super(why)
    this.name = 'RoundStopped'
  }
}

export class Round {
  readonly counts: RoundCounts = {
    checkedKeys: 0,
    rangesCompared: 0,
    rangesDiffering: 0,
    copied: 0,
    movedHome: 0,
  }
  /** Cluster time. */
  readonly startedAtMs: number

  private readonly context: RepairContext
  private readonly pace: Pace
  private readonly listedKeys: number
  private readonly cluster: Cluster
  private readonly places: readonly RangePlace[]
  private readonly leaves: number
  private readonly parts: readonly Part[]
  private readonly partByMember: ReadonlyMap<Member, Part>
  private readonly leftOut: string[] = []
  private readonly startVersion = Buffer.alloc(VERSION_BYTES)
  private stopWhy: string | null = null

  /** @param listedKeys approximate number of keys to list at once */
  constructor(context: RepairContext, pace: Pace, listedKeys = LISTED_KEYS) {
    this.context = context
    this.pace = pace
    this.listedKeys = listedKeys
    const { cluster } = context
    this.cluster = cluster
    this.startedAtMs = cluster.time.nowMs()
    cluster.versions.stamp(this.startVersion, 0)
    this.places = placesOf(context)
    this.leaves = leavesPerRange(this.places.length)
    const fit = cluster.members.filter((member) => whyUnfit(member) === null)
    this.parts = fit.map((member) => new Part(member))
    this.partByMember = new Map(this.parts.map((part) => [part.member, part]))
    for (const member of cluster.members) {
      const why = whyUnfit(member)
      if (why !== null) this.leftOut.push(`${member.id}: ${why}`)
    }
  }

  /** Members that have evicted keys: they are not sent what they lack. */
  get evicting(): string[] {
    return this.parts.filter((part) => part.evicts).map((part) => part.member.id)
  }

  /** Ends the round at the next page or key. */
  stop(why: string): void {
    this.stopWhy ??= why
  }

  /** @throws RoundStopped */
  async run(): Promise<RoundResult> {
    await this.scan(this.parts, (part, key, head) => this.digest(part, key, head))
    await this.confirm()
    for (const portion of this.portions(await this.compare())) {
      const listing = new Listing(portion, this.leaves)
      await this.scan(this.parts, (part, key, head) => this.list(listing, part, key, head))
      await this.confirm()
      await this.settleListed(listing)
    }
    await this.confirm()
    const { members } = this.cluster
    const whole = this.parts.filter((part) => part.takesPart).map((part) => part.member.id)
    return {
      members: members.map(({ id }) => id).filter((id) => whole.includes(id)),
      leftOut: this.leftOut,
      synced: this.synced(),
    }
  }

  /**
   * Members that now know every write acknowledged before the round began: for each of their ranges, N − Q other home
   * replicas took part to the end. With them it overlaps any Q that acknowledged a write or a delete. So one unavailable
   * member does not block the others.
   */
  private synced(): RoundResult['synced'] {
    const { replicas } = this.context
    const needed = replicas - required('quorum', replicas)
    const lacking = new Set<Member>()
    for (const { homes } of this.places) {
      const took = homes.filter((home) => this.partOf(home))
      if (took.length - 1 < needed) for (const home of took) lacking.add(home)
    }
    return this.parts
      .filter((part) => part.takesPart && !lacking.has(part.member))
      .map(({ member, markerBytes }) => ({ member, marker: markerBytes }))
  }

  // ---- scanning

  /**
   * Scans one page of each member in turn, so that the copies of a key are seen at about the same time, and one page at
   * a time, because processing a page blocks the event loop.
   *
   * @param visit returns whether the member should not hold this key
   */
  private async scan(
    parts: readonly Part[],
    visit: (part: Part, key: Buffer, head: Buffer) => boolean,
  ): Promise<void> {
    const cursors = new Map(parts.map((part) => [part, '0']))
    await this.pace.spend(0)
    while (cursors.size > 0) {
      for (const [part, cursor] of cursors) {
        this.checkStopped()
        const page = part.takesPart
          ? await part.member.node.scan(cursor, null, this.pace.piece(PAGE_KEYS)).catch((error: unknown) => {
              this.leaveOut(part, `it could not be listed: ${String(error)}`)
              return null
            })
          : null
        if (!page) {
          cursors.delete(part)
          continue
        }
        const strays: Buffer[] = []
        for (const { key, head } of page.entries) {
          if (!isReserved(key) && visit(part, key, head)) strays.push(key)
        }
        this.counts.checkedKeys += page.entries.length
        await this.pace.spend(page.entries.length)
        await this.inGroups(strays, (key) => this.moveHome(part, key))
        if (page.cursor === '0') cursors.delete(part)
        else cursors.set(part, page.cursor)
      }
    }
  }

  private digest(part: Part, key: Buffer, head: Buffer): boolean {
    const record = new StoredRecord(head)
    const token = tokenOf(key)
    const index = this.cluster.ring.indexAt(token)
    const { range, homes } = this.places[index]!
    if (!homes.includes(part.member)) return isOurs(record)
    const view = part.viewOf(index, this.leaves)
    if (isOurs(record) && record.isLive(this.startedAtMs) && !this.isYoung(record.version)) {
      view.tree.add(leafOf(token, range, this.leaves), key, record.version)
    } else view.others++
    return false
  }

  private list(listing: Listing, part: Part, key: Buffer, head: Buffer): boolean {
    const token = tokenOf(key)
    const index = this.cluster.ring.indexAt(token)
    const { range, homes } = this.places[index]!
    if (!listing.wants(index, leafOf(token, range, this.leaves))) return false
    const place = homes.indexOf(part.member)
    if (place < 0) return false
    const record = new StoredRecord(head)
    const keys = listing.see(key, homes)
    keys.heads[place] = headText(record, this.startedAtMs)
    if (this.isYoung(record.version)) keys.young = true
    return false
  }

  /** Written since the round began. A version from the future is excluded: it would stay young for ever. */
  private isYoung(version: Version): boolean {
    return compareVersions(version, this.startVersion) > 0 && versionMs(version) <= this.cluster.time.nowMs()
  }

  /** Leaves out members that lost data or restarted during the scan: their marker has changed. */
  private async confirm(): Promise<void> {
    await Promise.all(
      this.parts.map(async (part) => {
        if (!part.takesPart) {
          this.leaveOut(part, 'its marker has changed, or it is unreachable')
          return
        }
        try {
          const { marker, runId } = await part.member.node.probe()
          if (marker?.equals(part.markerBytes) && runId === part.marker.runId) return
          this.leaveOut(part, 'it lost its data, or was restarted, during the round')
        } catch (error) {
          this.leaveOut(part, String(error))
        }
      }),
    )
    this.checkStopped()
  }

  // ---- comparing

  /** The leaves that differ, of all ranges. */
  private async compare(): Promise<Leaf[]> {
    const differing: Leaf[] = []
    const empty = new DigestTree(this.leaves)
    for (const [index, { homes }] of this.places.entries()) {
      if (index % COMPARED_AT_ONCE === 0) await this.pace.spend(0)
      const views = homes.flatMap((home) => {
        const part = this.partOf(home)
        return part ? [part.views.get(index)] : []
      })
      if (views.length < 2) continue
      this.counts.rangesCompared++
      const trees = views.map((view) => view?.tree ?? empty)
      const first = trees[0]!
      const leaves = new Set<number>()
      for (const tree of trees) {
        if (tree !== first && !tree.agreesWith(first))
          for (const leaf of tree.differences(first)) leaves.add(leaf)
      }
      if (leaves.size === 0) continue
      this.counts.rangesDiffering++
      const others = Math.max(...views.map((view) => view?.others ?? 0)) / this.leaves
      for (const leaf of leaves) {
        differing.push({ index, leaf, keys: Math.max(...trees.map((tree) => tree.count(leaf))) + others })
      }
    }
    return differing
  }

  /** Splits the leaves into portions of about as many keys as may be listed at once. */
  private portions(leaves: readonly Leaf[]): Leaf[][] {
    const portions: Leaf[][] = []
    let keys = Infinity
    for (const leaf of leaves) {
      if (keys + leaf.keys > this.listedKeys) {
        portions.push([])
        keys = 0
      }
      portions.at(-1)!.push(leaf)
      keys += leaf.keys
    }
    return portions
  }

  // ---- settling

  private async settleListed(listing: Listing): Promise<void> {
    let looked = 0
    const differing: { key: Buffer; homes: readonly Member[] }[] = []
    for (const [name, { heads, homes, young }] of listing.keys) {
      if (++looked % COMPARED_AT_ONCE === 0) await this.pace.spend(0)
      if (!young && this.differs(homes, heads)) differing.push({ key: Buffer.from(name, 'latin1'), homes })
    }
    await this.inGroups(differing, async ({ key, homes }) => {
      for (;;) {
        const parts = homes.flatMap((home) => this.partOf(home) ?? [])
        const readAtMs = this.cluster.time.nowMs()
        const held = await this.recordsAt(parts, key)
        if (held) {
          await this.copyNewest(key, parts, parts, held, readAtMs, false)
          return
        }
        // Failed members are left out; the others are still compared.
      }
    })
  }

  /** Whether the heads show that a replica needs a copy. */
  private differs(homes: readonly Member[], heads: readonly (string | undefined)[]): boolean {
    let newest = NOT_OURS
    for (const [i, home] of homes.entries()) {
      const head = heads[i]
      if (head !== undefined && head > newest && this.partOf(home)) newest = head
    }
    if (newest === NOT_OURS) return false
    const newestLives = newest.endsWith(LIVE)
    return homes.some((home, i) => {
      const part = this.partOf(home)
      return part !== null && needs(part, heads[i] === undefined, heads[i] !== newest, newestLives, false)
    })
  }

  /**
   * Moves a misplaced copy to its home replicas. It is dropped once every home replica holds it or something newer. The
   * newest record of all of them is copied, or an old copy would return to a replica that has deleted it.
   */
  private async moveHome(fallback: Part, key: Buffer): Promise<void> {
    const { homes } = this.places[this.cluster.ring.indexAt(tokenOf(key))]!
    const parts = homes.map((home) => this.partOf(home))
    if (!parts.every((part) => part?.member.takesValues)) return
    const targets = parts as Part[]
    const holders = [...targets, fallback]
    const readAtMs = this.cluster.time.nowMs()
    const held = await this.recordsAt(holders, key)
    const copy = held?.at(-1)
    if (!held || !copy || !isOurs(copy)) return
    if (!(await this.copyNewest(key, targets, holders, held, readAtMs, true))) return
    try {
      await fallback.member.node.dropCopy(fallback.markerBytes, key, Buffer.from(copy.version))
      if (!copy.promise) this.counts.movedHome++
    } catch (error) {
      this.leaveOut(fallback, String(error))
    }
  }

  /** @returns null if one of them failed or has changed its marker */
  private async recordsAt(parts: readonly Part[], key: Buffer): Promise<(StoredRecord | null)[] | null> {
    const held = await Promise.all(
      parts.map((part) => this.attempt(part, () => fetchRecord(part.member.node, key, part.markerBytes))),
    )
    return held.includes(FAILED) ? null : (held as (StoredRecord | null)[])
  }

  /**
   * @param holders the members that were read, the parts first, in the order of `held`
   * @param readAtMs cluster time before they were read
   * @returns false if a member that needs the record did not store it
   */
  private async copyNewest(
    key: Buffer,
    parts: readonly Part[],
    holders: readonly Part[],
    held: readonly (StoredRecord | null)[],
    readAtMs: number,
    fromFallback: boolean,
  ): Promise<boolean> {
    const newest = newestOf(held)
    if (!newest || !isOurs(newest)) return true
    const nowMs = this.cluster.time.nowMs()
    const lives = newest.isLive(nowMs)
    const takers = parts.filter((part, i) => {
      const here = held[i]!
      const older = here !== null && compareVersions(here.version, newest.version) < 0
      return needs(part, here === null, older, lives, fromFallback)
    })
    const sources = holders.flatMap(({ member }, i) => {
      const here = held[i]
      return here && compareVersions(here.version, newest.version) === 0 ? [member.node] : []
    })
    const sent = await Promise.all(
      takers.map((part) =>
        this.attempt(part, () => copyRecord(this.context, sources, part.member.node, key, newest, readAtMs)),
      ),
    )
    const stored = sent.filter((answer) => answer !== FAILED).length
    this.counts.copied += stored
    return stored === takers.length
  }

  /** Excludes a failed member from the rest of the round. */
  private async attempt<T>(part: Part, work: () => Promise<T>): Promise<T | typeof FAILED> {
    try {
      return await work()
    } catch (error) {
      if (!(error instanceof RepairStopped)) throw error
      this.leaveOut(part, error.message)
      return FAILED
    }
  }

  private async inGroups<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
    const { replicas } = this.context
    const size = this.pace.piece(SETTLED_AT_ONCE)
    for (let at = 0; at < items.length; at += size) {
      this.checkStopped()
      const group = items.slice(at, at + size)
      await Promise.all(group.map(work))
      await this.pace.spend(group.length * replicas)
    }
  }

  // ---- members that take part

  /** Null if the member does not take part. */
  private partOf(member: Member): Part | null {
    const part = this.partByMember.get(member)
    return part?.takesPart ? part : null
  }

  private leaveOut(part: Part, why: string): void {
    if (part.left) return
    part.left = true
    this.leftOut.push(`${part.member.id}: ${why}`)
  }

  private checkStopped(): void {
    if (this.stopWhy !== null) throw new RoundStopped(this.stopWhy)
  }
}

const FAILED = Symbol('failed')

/** A member that takes part, as of the start. */
class Part {
  readonly member: Member
  readonly marker: Marker
  readonly markerBytes: Buffer
  /** By the index of the range. */
  readonly views = new Map<number, RangeView>()
  left = false

  constructor(member: Member) {
    this.member = member
    this.marker = member.marker!
    this.markerBytes = encodeMarker(this.marker)
  }

  get takesPart(): boolean {
    if (this.left || whyUnfit(this.member) !== null) return false
    const { token, runId } = this.member.marker!
    return token === this.marker.token && runId === this.marker.runId
  }

  get evicts(): boolean {
    return (this.member.report?.evictedKeys ?? 0) > 0
  }

  viewOf(index: number, leaves: number): RangeView {
    let view = this.views.get(index)
    if (!view) {
      view = { tree: new DigestTree(leaves), others: 0 }
      this.views.set(index, view)
    }
    return view
  }
}

interface RangeView {
  readonly tree: DigestTree
  /** Keys that are in no leaf. */
  others: number
}

interface RangePlace {
  readonly range: TokenRange
  readonly homes: readonly Member[]
}

interface Leaf {
  readonly index: number
  readonly leaf: number
  /** Approximate number of keys that will be listed. */
  readonly keys: number
}

interface ListedKey {
  readonly homes: readonly Member[]
  /** The heads found by the scan, in the order of the home replicas; undefined = none. */
  readonly heads: (string | undefined)[]
  young: boolean
}

/** The keys of some leaves, with their heads. Strings, because a Buffer would retain its whole reply. */
class Listing {
  /** By the key as latin1. */
  readonly keys = new Map<string, ListedKey>()
  private readonly wanted = new Map<number, Uint8Array>()

  constructor(portion: readonly Leaf[], leaves: number) {
    for (const { index, leaf } of portion) {
      const marks = this.wanted.get(index) ?? new Uint8Array(leaves)
      marks[leaf] = 1
      this.wanted.set(index, marks)
    }
  }

  wants(index: number, leaf: number): boolean {
    return this.wanted.get(index)?.[leaf] === 1
  }

  see(key: Buffer, homes: readonly Member[]): ListedKey {
    const name = key.toString('latin1')
    let listed = this.keys.get(name)
    if (!listed) {
      listed = { homes, heads: new Array<string | undefined>(homes.length).fill(undefined), young: false }
      this.keys.set(name, listed)
    }
    return listed
  }
}

const LIVE = 'L'
const DEAD = 'D'
/** `headText` of a value that Rondo did not write: older than everything. */
const NOT_OURS = '\0'.repeat(VERSION_BYTES) + DEAD

/** A version, one character per byte, so that `<` compares versions; then whether it is live. */
function headText(record: StoredRecord, atMs: number): string {
  if (!isOurs(record)) return NOT_OURS
  const { version } = record
  const text = Buffer.from(version.buffer, version.byteOffset, version.byteLength).toString('latin1')
  return text + (record.isLive(atMs) ? LIVE : DEAD)
}

/** Whether a home replica should be sent the newest record. */
function needs(
  part: Part,
  lacks: boolean,
  older: boolean,
  newestLives: boolean,
  fromFallback: boolean,
): boolean {
  if (!lacks) return older
  // A fallback replica's copy is a missed write, not an evicted one.
  return newestLives && (fromFallback || !part.evicts)
}

/** Values of other programs and records that hold only a promise have version 0: nothing to compare or copy. */
function isOurs(record: StoredRecord): boolean {
  return record.versioned && compareVersions(record.version, VERSION_ZERO) !== 0
}

function whyUnfit(member: Member): string | null {
  if (!member.node.ready || member.health.state === 'down') return 'it is unreachable'
  if (!member.marker || member.completeness !== 'clean') return `it is ${member.completeness}`
  return null
}

function placesOf({ cluster, replicas }: RepairContext): RangePlace[] {
  const { ring } = cluster
  return Array.from({ length: ring.size }, (_, i) => {
    const { token } = ring.vnodeAt(i)
    return {
      range: ring.rangeOf(token),
      homes: cluster.preferenceListAt(token, replicas).slice(0, replicas),
    }
  })
}
