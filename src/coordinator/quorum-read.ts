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
 *   4. A write-back that meets something newer proves nothing: begin again with 1. If what it meets is a promise, whoever
 *      gave it may be gone: after a few rounds the key is settled in two rounds of its own (update.ts).
 */
import type { Member } from '../cluster/member.ts'
import { compareVersions, VERSION_ZERO } from '../core/clock.ts'
import { HEAD_BYTES, lastingCopy, recordToSend, StoredRecord, VERSION_AT } from '../core/codec.ts'
import { required, type ConsistencyLevel } from '../core/consistency.ts'
import { RondoError } from '../core/errors.ts'
import { livesMayDiffer, repairedLifeMs } from '../core/lifetime.ts'
import { READ_NEVER } from '../core/plan.ts'
import { newestOf, sureHolders } from '../core/votes.ts'
import type { Fence, GetCall, Node, NodeFailure, StoreCall } from '../nodes/node.ts'
import type { CoordinatorContext } from './context.ts'
import { wrongType } from './errors.ts'
import { Operation } from './operation.ts'
import type { ReadDone } from './read.ts'

const MAX_ROUNDS = 3

export class QuorumRead extends Operation<ReadDone> {
  readonly key: Buffer
  readonly homes: readonly Member[]
  readonly required: number
  readonly expectedBytes: number
  private readonly settle: (done: ReadDone) => void
  private rounds = 0

  /**
   * @param expectedBytes how long each reply will be, about (sizes.ts)
   * @param settle settles the key in two rounds, for when promises keep the read from ending
   */
  constructor(
    context: CoordinatorContext,
    key: Buffer,
    preference: readonly Member[],
    level: ConsistencyLevel,
    expectedBytes: number,
    done: ReadDone,
    settle: (done: ReadDone) => void,
  ) {
    super(context, done)
    this.key = key
    this.homes = preference.slice(0, context.replicas)
    this.required = required(level, context.replicas)
    this.expectedBytes = expectedBytes
    this.settle = settle
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

  answer(record: StoredRecord | null): void {
    if (this.finish()) this.done.read(record)
  }

  wrongType(): void {
    this.end(wrongType({ required: this.required }))
  }

  fail(sentence: string): void {
    this.end(new RondoError('QUORUM_NOT_MET', sentence, { required: this.required }))
  }
}

class ReadRound implements GetCall, StoreCall {
  private readonly read: QuorumRead
  private pending = 0
  private readonly votes = new Map<Node, StoredRecord | null>()
  /** Whom the newest record is on its way to. */
  private readonly writing = new Set<Node>()
  /** Home replicas known to hold the newest version, for as long as it is needed, once it is chosen. */
  private holding = 0
  /** What those of them have replaced that are not marked as lasting; null = there are none. */
  private replaced: Buffer | null = null
  private newest: StoredRecord | null = null
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
    for (const home of asked) home.node.get(this.read.key, this, this.read.expectedBytes)
  }

  onRecord(node: Node, bytes: Buffer | null, fence: Fence): void {
    this.pending--
    const record = bytes ? new StoredRecord(bytes) : null
    const { key, expectedBytes, context } = this.read
    const { versions } = context.cluster
    context.sizes.found(key, bytes?.length ?? 0, expectedBytes)
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
    for (const node of this.votes.keys()) if (!sure.includes(node)) this.writeBack(node)
  }

  /** A vote that came after the choice was made: perhaps after the answer, and still a replica to be repaired. */
  private lateVote(node: Node, record: StoredRecord | null, fence: Fence): void {
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
  private isSureBeside(record: StoredRecord | null): boolean {
    if (!record || !livesMayDiffer(record, this.read.context.graceMs) || record.isLasting) return true
    return this.replaced?.equals(record.replaced) ?? false
  }

  private writeBack(node: Node): void {
    const { background, cluster, graceMs } = this.read.context
    // After a pause of this process the newest that was read may have been deleted since, and the delete forgotten.
    if (!this.newest?.versioned || this.read.isPast) return
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
