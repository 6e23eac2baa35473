/**
 * A read at `quorum` or `all`: all home replicas are asked, and the newest record among enough votes is the answer,
 * once it is known that a majority holds it.
 *
 *   1. Ask all home replicas. A vote counts only from a clean one (its batch found the marker of a clean node).
 *   2. Enough votes: the newest version wins. Where a majority of them agree, that is the answer.
 *   3. Otherwise write the newest back to those that lack it, and answer when a majority holds it. Without this a second
 *      reader could meet an older majority, and see time go backwards. A delete, or a value that expires, goes back also
 *      to those that hold it but may forget it before the others do (core/votes.ts): whoever wrote it may have died before
 *      it had made their lives equal. From then on these copies are marked as lasting, and are not written again.
 *   A look at a part of the record (its head) votes in the same way. What has to be written back was not fetched then: the
 *   read begins again with whole records. After the answer, a read of its own in the background repairs a late voter.
 *   4. A write-back that meets something newer proves nothing: begin again with 1. If what it meets is a promise, whoever
 *      gave it may be gone: after a few rounds the key is settled in two rounds of its own (update.ts).
 */
import type { Member } from '../../cluster/member.ts'
import { compareVersions, VERSION_ZERO } from '../../core/clock.ts'
import {
  HEAD_BYTES,
  lastingCopy,
  PeekedRecord,
  recordToSend,
  StoredRecord,
  VERSION_AT,
  type RecordHead,
} from '../../core/codec.ts'
import { required, type ConsistencyLevel } from '../../core/consistency.ts'
import { RondoError } from '../../core/errors.ts'
import { livesMayDiffer, repairedLifeMs } from '../../core/lifetime.ts'
import type { Part } from '../../core/part.ts'
import { READ_NEVER } from '../../core/plan.ts'
import { tokenOf } from '../../core/token.ts'
import { newestOf, sureHolders } from '../../core/votes.ts'
import type { Fence, GetCall, Node, NodeFailure, PeekCall, StoreCall } from '../../nodes/node.ts'
import type { CoordinatorContext } from '../context.ts'
import { wrongType } from '../errors.ts'
import { Operation } from '../operation.ts'
import type { ReadDone } from './read.ts'

const MAX_ROUNDS = 3

export class QuorumRead extends Operation<ReadDone<RecordHead>> {
  readonly key: Buffer
  readonly required: number
  /** How long each reply will be, about (sizes.ts). */
  expectedBytes: number
  /** What is fetched; null = whole records. */
  fetched: Part | null
  private readonly preference: readonly Member[]
  private readonly level: ConsistencyLevel
  private readonly part: Part | null
  private readonly settle: (done: ReadDone) => void
  private rounds = 0
  private repairing = false

  /**
   * @param part what is told; null = whole records
   * @param settle settles the key in two rounds, for when promises keep the read from ending
   */
  private constructor(
    context: CoordinatorContext,
    key: Buffer,
    preference: readonly Member[],
    level: ConsistencyLevel,
    expectedBytes: number,
    part: Part | null,
    done: ReadDone<RecordHead>,
    settle: (done: ReadDone) => void,
  ) {
    super(context, done)
    this.key = key
    this.preference = preference
    this.level = level
    this.required = required(level, context.replicas)
    this.expectedBytes = expectedBytes
    this.part = part
    this.fetched = part
    this.settle = settle
  }

  static ofValue(
    context: CoordinatorContext,
    key: Buffer,
    preference: readonly Member[],
    level: ConsistencyLevel,
    expectedBytes: number,
    done: ReadDone,
    settle: (done: ReadDone) => void,
  ): QuorumRead {
    return new QuorumRead(context, key, preference, level, expectedBytes, null, done, settle)
  }

  static ofPart(
    context: CoordinatorContext,
    key: Buffer,
    preference: readonly Member[],
    level: ConsistencyLevel,
    expectedBytes: number,
    part: Part,
    done: ReadDone<PeekedRecord>,
    settle: (done: ReadDone) => void,
  ): QuorumRead {
    return new QuorumRead(context, key, preference, level, expectedBytes, part, done, settle)
  }

  get homes(): readonly Member[] {
    return this.preference.slice(0, this.context.replicas)
  }

  overdue(): void {
    const { requestTimeoutMs } = this.context
    this.fail(`Too few replicas answered within ${requestTimeoutMs} ms.`)
  }

  protected attempt(): void {
    if (this.rounds++ >= MAX_ROUNDS) {
      // The deadline stays that of the read.
      this.settle({ read: (record) => this.answer(record), failed: (error) => this.end(error) })
      return
    }
    new ReadRound(this).start()
  }

  /** Something newer was met. */
  again(): void {
    if (!this.isFinished) this.attempt()
  }

  /** A record has to be written back before the answer, and only a part of it was fetched. */
  againWithValues(): void {
    this.fetched = null
    this.expectedBytes = this.context.sizes.expected(tokenOf(this.key))
    this.again()
  }

  /** The same after the answer: a read of its own brings it where it lacks. */
  repair(): void {
    if (this.repairing) return
    this.repairing = true
    const { context, key, preference, level, settle } = this
    context.background.begin()
    const ended = () => context.background.end()
    const bytes = context.sizes.expected(tokenOf(key))
    QuorumRead.ofValue(context, key, preference, level, bytes, { read: ended, failed: ended }, settle).start()
  }

  answer(record: RecordHead | null): void {
    if (!this.finish()) return
    const isMore = this.part !== null && record instanceof StoredRecord
    this.done.read(isMore ? PeekedRecord.of(record, this.part) : record)
  }

  wrongType(): void {
    this.end(wrongType({ required: this.required }))
  }

  fail(sentence: string): void {
    this.end(new RondoError('QUORUM_NOT_MET', sentence, { required: this.required }))
  }
}

class ReadRound implements GetCall, PeekCall, StoreCall {
  private readonly read: QuorumRead
  private pending = 0
  private readonly votes = new Map<Node, RecordHead | null>()
  /** Whom the newest record is on its way to. */
  private readonly writing = new Set<Node>()
  /** Home replicas known to hold the newest version, for as long as it is needed, once it is chosen. */
  private holding = 0
  /** What those of them have replaced that are not marked as lasting; null = there are none. */
  private replaced: Buffer | null = null
  private newest: RecordHead | null = null
  private writingBack = false
  private over = false

  constructor(read: QuorumRead) {
    this.read = read
  }

  start(): void {
    const asked = this.read.homes.filter((home) => home.readRank !== READ_NEVER)
    this.pending = asked.length
    if (asked.length < this.read.required) {
      this.read.fail(this.tooFewVotes(asked.length))
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
    this.onPeeked(node, bytes ? new StoredRecord(bytes) : null, fence)
  }

  onPeeked(node: Node, record: RecordHead | null, fence: Fence): void {
    this.pending--
    const { versions } = this.read.context.cluster
    if (record?.versioned) versions.observe(record.bytes, VERSION_AT)
    if (record?.promise) versions.observe(record.bytes, HEAD_BYTES) // or the next write here would be refused
    if (this.writingBack) this.lateVote(node, record, fence)
    else if (!this.over && !this.read.isFinished) {
      if (fence.clean) this.votes.set(node, record)
      this.count()
    }
  }

  onFailure(node: Node, failure: NodeFailure): void {
    this.pending--
    if (this.writing.delete(node)) this.read.context.background.end()
    if (this.over || this.read.isFinished) return
    if (failure.reason === 'wrong-type') {
      this.read.wrongType()
      return
    }
    this.count()
  }

  onApplied(node: Node, fence: Fence): void {
    this.writing.delete(node)
    this.read.context.background.end()
    this.pending--
    if (this.over || this.read.isFinished) return
    if (fence.clean) this.holding++
    this.count()
  }

  onStale(node: Node, held: Buffer): void {
    const { background, cluster } = this.read.context
    this.writing.delete(node)
    background.end()
    cluster.versions.observe(held)
    if (this.over || this.read.isFinished) return
    // Something newer is here, or a promise to it: what we were about to answer may no longer be the newest.
    this.over = true
    this.read.again()
  }

  private count(): void {
    if (!this.writingBack) {
      if (this.votes.size < this.read.required) {
        if (this.pending === 0) this.read.fail(this.tooFewVotes(this.votes.size))
        return
      }
      this.choose()
      if (this.over) return
    }
    if (this.holding >= this.majority) {
      this.over = true
      this.read.answer(this.newest)
    } else if (this.pending === 0) {
      this.read.fail('The newest record could not be brought to a majority of the replicas.')
    }
  }

  private choose(): void {
    this.newest = newestOf(this.votes.values())
    const sure = sureHolders(this.votes, this.newest, this.majority, this.read.context.graceMs)
    this.holding = sure.length
    this.replaced =
      sure.map((node) => this.votes.get(node)).find((vote) => vote && !vote.isLasting)?.replaced ?? null
    this.writingBack = true
    const isPart = this.newest?.versioned && !(this.newest instanceof StoredRecord)
    if (isPart && this.holding < this.majority) {
      this.over = true
      this.read.againWithValues()
      return
    }
    for (const node of this.votes.keys()) if (!sure.includes(node)) this.writeBack(node)
  }

  /** A vote that came after the choice was made: perhaps after the answer, and still a replica to be repaired. */
  private lateVote(node: Node, record: RecordHead | null, fence: Fence): void {
    const order = compareVersions(record?.version ?? VERSION_ZERO, this.newest?.version ?? VERSION_ZERO)
    const sure = order === 0 && this.isSureBeside(record)
    if (order <= 0 && !sure && fence.clean) this.writeBack(node)
    if (this.over || this.read.isFinished) return
    if (order > 0) {
      this.over = true
      this.read.again()
      return
    }
    if (sure && fence.clean) this.holding++
    this.count()
  }

  /** Whether this copy of the newest record is surely kept as long as those that were taken for sure before. */
  private isSureBeside(record: RecordHead | null): boolean {
    if (!record || !livesMayDiffer(record, this.read.context.graceMs) || record.isLasting) return true
    return this.replaced?.equals(record.replaced) ?? false
  }

  private writeBack(node: Node): void {
    const { background, cluster, graceMs } = this.read.context
    // After a pause of this process the newest that was read may have been deleted since, and the delete forgotten.
    if (!this.newest?.versioned || this.read.isPast) return
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

  private get majority(): number {
    return required('quorum', this.read.homes.length)
  }

  private tooFewVotes(votes: number): string {
    const out = this.read.homes
      .filter((home) => home.readRank === READ_NEVER || home.completeness !== 'clean')
      .map((home) => `${home.id} (${home.health.state}, ${home.completeness})`)
    return `${votes} replicas could vote, and ${this.read.required} must; out: ${out.join(', ') || 'none'}.`
  }
}
