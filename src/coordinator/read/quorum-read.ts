/**
 * A read at `quorum` or `all`: asks all home replicas and returns the newest record among enough votes, once a majority
 * is known to hold it.
 *
 *   1. Ask all home replicas. A vote counts only from a clean one (its batch found the marker of a clean node).
 *   2. With enough votes, the newest version wins. If a majority of them agree, it is the answer. While home replicas
 *      change, only those vote that hold everything, and a majority of the others must hold the record, too
 *      (core/replica-set.ts).
 *   3. Otherwise write the newest record back to the replicas that lack it, and answer when a majority holds it.
 *      Without this a second reader could meet an older majority, and see time go backwards. A tombstone, or a value
 *      that expires, is also written back to replicas that hold it but may drop it before the others do
 *      (core/votes.ts): its writer may have died before it had made their lives equal. Then these copies are marked as
 *      lasting, and not written again.
 *   4. A write-back that meets something newer proves nothing: begin again with 1. If it meets a promise, the
 *      coordinator that made it may be gone: after a few rounds, two rounds of our own settle the key (update.ts).
 *
 * A read of a part of the record (its head) votes in the same way. If something must be written back, the whole record
 * was not fetched: the read begins again with whole records. After the answer, a separate read in the background
 * repairs a late voter.
 */
import { compareVersions, VERSION_ZERO, type Version } from '../../core/clock.ts'
import {
  asDeleted,
  HEAD_BYTES,
  lastingCopy,
  PeekedRecord,
  recordToSend,
  StoredRecord,
  VERSION_AT,
  type RecordHead,
} from '../../core/codec.ts'
import type { ConsistencyLevel } from '../../core/consistency.ts'
import { RondoError } from '../../core/errors.ts'
import { livesMayDiffer, repairedLifeMs } from '../../core/lifetime.ts'
import type { Part } from '../../core/part.ts'
import { READ_NEVER } from '../../core/plan.ts'
import { newestOf, sureHolders } from '../../core/votes.ts'
import type { Fence, GetCall, Node, NodeFailure, PeekCall, StoreCall } from '../../nodes/node.ts'
import {
  placesOf,
  positionOf,
  placedNow,
  type CoordinatorContext,
  type Replicas,
  type ServedBy,
} from '../context.ts'
import { wrongType } from '../errors.ts'
import { Operation } from '../operation.ts'
import type { ReadDone } from './read.ts'

const MAX_ROUNDS = 3

export class QuorumRead extends Operation<ReadDone<RecordHead>> {
  readonly key: Buffer
  /** Of the latest attempt. */
  replicas: Replicas
  required: number
  /** Estimated size of each reply (sizes.ts). */
  expectedBytes: number
  /** The part that is fetched; null = whole records. */
  fetched: Part | null
  readonly level: ConsistencyLevel
  private readonly part: Part | null
  private readonly settle: (done: ReadDone) => void
  private rounds = 0
  private repairing = false
  /** Of a value whose tags were gone after it was read. */
  private gone: Version | null = null

  /**
   * @param part the part that is returned; null = whole records
   * @param settle settles the key in two rounds, in case promises block the read
   */
  private constructor(
    context: CoordinatorContext,
    key: Buffer,
    replicas: Replicas,
    level: ConsistencyLevel,
    expectedBytes: number,
    part: Part | null,
    done: ReadDone<RecordHead>,
    settle: (done: ReadDone) => void,
  ) {
    super(context, done)
    this.key = key
    this.replicas = replicas
    this.level = level
    this.required = replicas.required(level)
    this.expectedBytes = expectedBytes
    this.part = part
    this.fetched = part
    this.settle = settle
  }

  static ofValue(
    context: CoordinatorContext,
    key: Buffer,
    replicas: Replicas,
    level: ConsistencyLevel,
    expectedBytes: number,
    done: ReadDone,
    settle: (done: ReadDone) => void,
  ): QuorumRead {
    return new QuorumRead(context, key, replicas, level, expectedBytes, null, done, settle)
  }

  static ofPart(
    context: CoordinatorContext,
    key: Buffer,
    replicas: Replicas,
    level: ConsistencyLevel,
    expectedBytes: number,
    part: Part,
    done: ReadDone<PeekedRecord>,
    settle: (done: ReadDone) => void,
  ): QuorumRead {
    return new QuorumRead(context, key, replicas, level, expectedBytes, part, done, settle)
  }

  overdue(): void {
    const { requestTimeoutMs } = this.context
    this.fail(`Too few replicas answered within ${requestTimeoutMs} ms.`)
  }

  protected attempt(): void {
    if (this.rounds++ >= MAX_ROUNDS) {
      // The read's deadline still applies.
      this.settle({ read: (record, by) => this.answer(record, by), failed: (error) => this.end(error) })
      return
    }
    this.replicas = placedNow(this.context, this.key, this.replicas)
    this.required = this.replicas.required(this.level)
    new ReadRound(this).start()
  }

  /** Answers of another epoch did not count. */
  againUnderOtherEpoch(): void {
    this.rounds--
    this.attemptSoon()
  }

  /** A replica held something newer. */
  again(): void {
    if (!this.isFinished) this.attempt()
  }

  /** A record must be written back before the answer, but only a part of it was fetched. */
  againWithValues(): void {
    this.fetched = null
    this.expectedBytes = this.context.sizes.expected(this.key)
    this.again()
  }

  /** The same after the answer: a separate read writes the record back. */
  repair(): void {
    if (this.repairing) return
    this.repairing = true
    const { context, key, replicas, level, settle } = this
    context.background.begin()
    const ended = () => context.background.end()
    const bytes = context.sizes.expected(key)
    QuorumRead.ofValue(context, key, replicas, level, bytes, { read: ended, failed: ended }, settle).start()
  }

  answer(record: RecordHead | null, by: ServedBy | undefined): void {
    if (record?.isTagged) this.judge(record, by)
    else this.deliver(record, by)
  }

  /**
   * The value is one only if its tags are there, which costs a read more. If they are not, it is looked at again: what has
   * replaced it before they went, and after it was read, may be there.
   */
  private judge(record: RecordHead, by: ServedBy | undefined): void {
    if (this.isFinished) return
    this.rounds = 0
    if (!(record instanceof StoredRecord)) {
      this.againWithValues()
      return
    }
    const { tags } = this.context
    if (this.gone && compareVersions(this.gone, record.version) === 0) {
      tags.drop(this.key, record)
      this.deliver(asDeleted(record), by)
      return
    }
    const judged = (shown: StoredRecord) => {
      if (shown === record) this.deliver(record, by)
      else {
        this.gone = record.version
        this.again()
      }
    }
    tags.judge(record, this.level, judged, (error) => this.end(error))
  }

  private deliver(record: RecordHead | null, by: ServedBy | undefined): void {
    if (!this.finish()) return
    const isMore = this.part !== null && record instanceof StoredRecord
    this.done.read(isMore ? PeekedRecord.ofValue(record, this.part) : record, by)
  }

  wrongType(failure: NodeFailure): void {
    this.end(wrongType(failure, { required: this.required }))
  }

  fail(sentence: string): void {
    this.end(new RondoError('QUORUM_NOT_MET', sentence, { required: this.required }))
  }
}

class ReadRound implements GetCall, PeekCall, StoreCall {
  private readonly read: QuorumRead
  private readonly replicas: Replicas
  private pending = 0
  private readonly votes = new Map<Node, RecordHead | null>()
  /** Answers before the choice of home replicas that do not vote. */
  private readonly early: {
    readonly node: Node
    readonly record: RecordHead | null
    readonly fence: Fence
  }[] = []
  /** Replicas that the newest record was sent to. */
  private readonly writing = new Set<Node>()
  /** Once the newest version is chosen: home replicas known to hold it for as long as needed, by their index. */
  private holding: number[] = []
  /** The replaced versions of those of them that are not marked as lasting; null = there are none. */
  private replaced: Buffer | null = null
  private newest: RecordHead | null = null
  private writingBack = false
  private over = false
  /** An answer was of another epoch, and did not count. */
  private otherEpoch = false

  constructor(read: QuorumRead) {
    this.read = read
    this.replicas = read.replicas
  }

  start(): void {
    const { homes, voters } = this.replicas
    const asked = homes.filter((home) => home.readRank !== READ_NEVER)
    const votes = asked.filter((home) => homes.indexOf(home) < voters).length
    this.pending = asked.length
    if (votes < this.read.required) {
      this.read.fail(this.tooFewVotes(votes))
      return
    }
    const { key, fetched, expectedBytes } = this.read
    for (const { node } of asked) {
      if (fetched === null) node.get(key, this, expectedBytes)
      else node.peek(key, fetched, this, expectedBytes)
    }
  }

  onRecord(node: Node, bytes: Buffer | null, fence: Fence): void {
    const { key, expectedBytes, context } = this.read
    context.sizes.found(key, bytes?.length ?? 0, expectedBytes)
    const record = bytes ? new StoredRecord(bytes) : null
    if (record) context.bigKeys?.found(key, record)
    this.onPeeked(node, record, fence)
  }

  onPeeked(node: Node, record: RecordHead | null, fence: Fence): void {
    this.pending--
    const { versions } = this.read.context.cluster
    if (record?.versioned) versions.observe(record.bytes, VERSION_AT)
    if (record?.promise) versions.observe(record.bytes, HEAD_BYTES) // otherwise the next write here would be refused
    if (this.writingBack) this.lateVote(node, record, fence)
    else if (!this.over && !this.read.isFinished) {
      this.noteEpoch(fence)
      const isVoter = this.placeOf(node) < this.replicas.voters
      if (isVoter && this.replicas.trusts(fence)) this.votes.set(node, record)
      else if (!isVoter && this.holdsBy(node, fence)) this.early.push({ node, record, fence })
      this.count()
    }
  }

  onFailure(node: Node, failure: NodeFailure): void {
    this.pending--
    if (this.writing.delete(node)) this.read.context.background.end()
    if (this.over || this.read.isFinished) return
    if (failure.reason === 'wrong-type') {
      this.read.wrongType(failure)
      return
    }
    if (failure.reason === 'too-long') this.read.context.sizes.tooLong(this.read.key)
    this.count()
  }

  onApplied(node: Node, fence: Fence): void {
    this.writing.delete(node)
    this.read.context.background.end()
    this.pending--
    if (this.over || this.read.isFinished) return
    this.noteEpoch(fence)
    if (this.holdsBy(node, fence)) this.holding.push(this.placeOf(node))
    this.count()
  }

  onStale(node: Node, held: Buffer): void {
    const { background, cluster } = this.read.context
    this.writing.delete(node)
    background.end()
    cluster.versions.observe(held)
    if (this.over || this.read.isFinished) return
    // The replica holds or has promised something newer: our answer may no longer be the newest.
    this.over = true
    this.read.again()
  }

  private count(): void {
    if (!this.writingBack) {
      if (this.votes.size < this.read.required) {
        if (this.pending === 0) this.giveUp(this.tooFewVotes(this.votes.size))
        return
      }
      this.choose()
      if (this.over) return
    }
    if (this.isHeld) {
      this.over = true
      this.read.answer(
        this.newest,
        this.holding.map((place) => this.replicas.homes[place]!),
      )
    } else if (this.pending === 0 && this.isPart) {
      this.over = true
      this.read.againWithValues()
    } else if (this.pending === 0) {
      this.giveUp('The newest record could not be written to a majority of the replicas.')
    }
  }

  private choose(): void {
    this.newest = newestOf(this.votes.values())
    const { replicas } = this
    const { context } = this.read
    const isEnough = (nodes: readonly Node[]) => replicas.hasVotes(placesOf(replicas, nodes), 'quorum')
    const sure = sureHolders(this.votes, this.newest, isEnough, context.graceMs)
    this.holding = placesOf(replicas, sure)
    this.replaced =
      sure.map((node) => this.votes.get(node)).find((vote) => vote && !vote.isLasting)?.replaced ?? null
    this.writingBack = true
    if (this.isPart && !replicas.hasVotes(this.holding, 'quorum')) {
      this.over = true
      this.read.againWithValues()
      return
    }
    for (const node of this.votes.keys()) if (!sure.includes(node)) this.writeBack(node)
    // All of them before they are counted: with no call pending, the first one alone would be too few.
    for (const { node, record, fence } of this.early.splice(0)) this.noteLate(node, record, fence)
  }

  /** A vote after the choice, perhaps after the answer: the replica may still need repair. */
  private lateVote(node: Node, record: RecordHead | null, fence: Fence): void {
    this.noteLate(node, record, fence)
    if (!this.over && !this.read.isFinished) this.count()
  }

  private noteLate(node: Node, record: RecordHead | null, fence: Fence): void {
    const order = compareVersions(record?.version ?? VERSION_ZERO, this.newest?.version ?? VERSION_ZERO)
    const sure = order === 0 && this.isSureBeside(record)
    if (order <= 0 && !sure && this.holdsBy(node, fence)) this.writeBack(node)
    if (this.over || this.read.isFinished) return
    if (order > 0) {
      this.over = true
      this.read.again()
      return
    }
    if (sure && this.holdsBy(node, fence)) this.holding.push(this.placeOf(node))
  }

  /** Whether this copy of the newest record is certainly kept as long as the copies counted before. */
  private isSureBeside(record: RecordHead | null): boolean {
    if (!record || !livesMayDiffer(record, this.read.context.graceMs) || record.isLasting) return true
    return this.replaced?.equals(record.replaced) ?? false
  }

  private writeBack(node: Node): void {
    const { background, cluster, graceMs } = this.read.context
    // After a pause of this process the record may have been deleted since, and the tombstone dropped.
    if (!this.newest || this.newest.isForeign || this.read.isPast) return
    if (!(this.newest instanceof StoredRecord)) {
      this.read.repair()
      return
    }
    background.begin()
    this.pending++
    this.writing.add(node)
    const lifeMs = repairedLifeMs(this.newest, cluster.time.nowMs(), graceMs)
    const copy = recordToSend(this.newest)
    const record = livesMayDiffer(this.newest, graceMs) ? lastingCopy(copy) : copy
    node.store(this.read.key, record, lifeMs, this)
  }

  /** The newest record was not fetched whole, so that it cannot be written back. */
  private get isPart(): boolean {
    return this.newest?.isForeign === false && !(this.newest instanceof StoredRecord)
  }

  private get isHeld(): boolean {
    return this.replicas.isHeld(this.holding, 'quorum')
  }

  private placeOf(node: Node): number {
    return positionOf(this.replicas.homes, node)
  }

  private holdsBy(node: Node, fence: Fence): boolean {
    return this.replicas.holdsBy(fence, this.placeOf(node))
  }

  private noteEpoch(fence: Fence): void {
    if (!this.replicas.isOfEpoch(fence)) this.otherEpoch = true
  }

  private giveUp(why: string): void {
    this.over = true
    if (this.otherEpoch) this.read.againUnderOtherEpoch()
    else this.read.fail(why)
  }

  private tooFewVotes(votes: number): string {
    const out = this.replicas.homes
      .filter((home) => home.readRank === READ_NEVER || home.completeness !== 'clean')
      .map((home) => `${home.id} (${home.health.state}, ${home.completeness})`)
    return `${votes} replicas could vote, and ${this.read.required} must; out: ${out.join(', ') || 'none'}.`
  }
}
