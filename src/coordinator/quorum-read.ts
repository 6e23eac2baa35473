/**
 * A read at `quorum` or `all`: all home replicas are asked, and the newest record among enough votes is the answer,
 * once it is known that a majority holds it.
 *
 *   1. Ask all home replicas. A vote counts only from a clean one (its batch found the marker of a clean node).
 *   2. Enough votes: the newest version wins. Where a majority of them agree, that is the answer.
 *   3. Otherwise write the newest back to those that lack it, and answer when a majority holds it. Without this a second
 *      reader could meet an older majority, and see time go backwards.
 *   4. A write-back that meets something newer proves nothing: begin again with 1. If what it meets is a promise, whoever
 *      gave it may be gone: after a few rounds the key is settled in two rounds of its own (update.ts).
 */
import type { Member } from '../cluster/member.ts'
import { compareVersions, VERSION_ZERO } from '../core/clock.ts'
import { HEAD_BYTES, recordToSend, StoredRecord, VERSION_AT } from '../core/codec.ts'
import { required, type ConsistencyLevel } from '../core/consistency.ts'
import { Deadline } from '../core/deadlines.ts'
import { RondoError } from '../core/errors.ts'
import { repairedLifeMs } from '../core/lifetime.ts'
import { READ_NEVER } from '../core/plan.ts'
import type { Fence, GetCall, Node, NodeFailure, StoreCall } from '../nodes/node.ts'
import { positionOf, type CoordinatorContext } from './context.ts'
import { WRONG_TYPE_SENTENCE, type ReadDone } from './read.ts'

const MAX_ROUNDS = 3

export class QuorumRead extends Deadline {
  readonly context: CoordinatorContext
  readonly key: Buffer
  readonly homes: readonly Member[]
  readonly required: number
  private readonly done: ReadDone
  private readonly settle: (done: ReadDone) => void
  private finished = false
  private rounds = 0

  /** @param settle settles the key in two rounds, for when promises keep the read from ending */
  constructor(
    context: CoordinatorContext,
    key: Buffer,
    preference: readonly Member[],
    level: ConsistencyLevel,
    done: ReadDone,
    settle: (done: ReadDone) => void,
  ) {
    super()
    this.context = context
    this.key = key
    this.homes = preference.slice(0, context.replicas)
    this.required = required(level, context.replicas)
    this.done = done
    this.settle = settle
  }

  start(): void {
    this.context.deadlines.add(this)
    this.round()
  }

  get isFinished(): boolean {
    return this.finished
  }

  overdue(): void {
    const { requestTimeoutMs } = this.context
    this.fail('QUORUM_NOT_MET', `Too few replicas answered within ${requestTimeoutMs} ms.`)
  }

  round(): void {
    if (this.finished) return
    if (this.rounds++ >= MAX_ROUNDS) {
      // The deadline stays that of the read.
      this.settle({ read: (record) => this.answer(record), failed: (error) => this.end(error) })
      return
    }
    new ReadRound(this).start()
  }

  answer(record: StoredRecord | null): void {
    if (this.finished) return
    this.finish()
    this.done.read(record)
  }

  wrongType(): void {
    this.fail('WRONG_TYPE', WRONG_TYPE_SENTENCE)
  }

  fail(code: 'QUORUM_NOT_MET' | 'WRONG_TYPE', sentence: string): void {
    this.end(new RondoError(code, sentence, { required: this.required }))
  }

  private end(error: RondoError): void {
    if (this.finished) return
    this.finish()
    this.done.failed(error)
  }

  private finish(): void {
    this.finished = true
    this.context.deadlines.remove(this)
  }
}

class ReadRound implements GetCall, StoreCall {
  private readonly read: QuorumRead
  private pending = 0
  private readonly votes = new Map<Node, StoredRecord | null>()
  /** Home replicas known to hold the newest version, once it is chosen. */
  private holding = 0
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
      this.read.fail('QUORUM_NOT_MET', this.tooFewVotes(asked.length))
      return
    }
    for (const home of asked) home.node.get(this.read.key, this)
  }

  onRecord(node: Node, bytes: Buffer | null, fence: Fence): void {
    this.pending--
    const record = bytes ? new StoredRecord(bytes) : null
    const { versions } = this.read.context.cluster
    if (record?.versioned) versions.observe(record.bytes, VERSION_AT)
    if (record?.promise) versions.observe(record.bytes, HEAD_BYTES) // or the next write here would be refused
    if (this.writingBack) this.lateVote(node, record, fence)
    else if (!this.over && !this.read.isFinished) {
      if (fence.clean) this.votes.set(node, record)
      this.count()
    }
  }

  onFailure(_node: Node, failure: NodeFailure): void {
    this.pending--
    if (this.over || this.read.isFinished) return
    if (failure.reason === 'wrong-type') {
      this.read.wrongType()
      return
    }
    this.count()
  }

  onApplied(_node: Node, fence: Fence): void {
    this.read.context.background.end()
    this.pending--
    if (this.over || this.read.isFinished) return
    if (fence.clean) this.holding++
    this.count()
  }

  onStale(_node: Node, held: Buffer): void {
    const { background, cluster } = this.read.context
    background.end()
    cluster.versions.observe(held)
    if (this.over || this.read.isFinished) return
    // Something newer is here, or a promise to it: what we were about to answer may no longer be the newest.
    this.over = true
    this.read.round()
  }

  private count(): void {
    if (!this.writingBack) {
      if (this.votes.size < this.read.required) {
        if (this.pending === 0) this.read.fail('QUORUM_NOT_MET', this.tooFewVotes(this.votes.size))
        return
      }
      this.choose()
    }
    if (this.holding >= this.majority) {
      this.over = true
      this.read.answer(this.newest)
    } else if (this.pending === 0) {
      this.read.fail(
        'QUORUM_NOT_MET',
        'The newest record could not be brought to a majority of the replicas.',
      )
    }
  }

  private choose(): void {
    for (const record of this.votes.values()) {
      if (record && (!this.newest || compareVersions(record.version, this.newest.version) > 0))
        this.newest = record
    }
    const version = this.newest?.version ?? VERSION_ZERO
    const lacking: Member[] = []
    for (const [node, record] of this.votes) {
      if (compareVersions(record?.version ?? VERSION_ZERO, version) === 0) this.holding++
      else lacking.push(this.read.homes[positionOf(this.read.homes, node)]!)
    }
    this.writingBack = true
    for (const home of lacking) this.writeBack(home)
  }

  /** A vote that came after the choice was made: perhaps after the answer, and still a replica to be repaired. */
  private lateVote(node: Node, record: StoredRecord | null, fence: Fence): void {
    const order = compareVersions(record?.version ?? VERSION_ZERO, this.newest?.version ?? VERSION_ZERO)
    if (order < 0 && fence.clean) this.writeBack(this.read.homes[positionOf(this.read.homes, node)]!)
    if (this.over || this.read.isFinished) return
    if (order > 0) {
      this.over = true
      this.read.round()
      return
    }
    if (order === 0 && fence.clean) this.holding++
    this.count()
  }

  private writeBack(home: Member): void {
    if (!this.newest?.versioned) return
    const { background, cluster, graceMs } = this.read.context
    background.begin()
    this.pending++
    const lifeMs = repairedLifeMs(this.newest, cluster.time.nowMs(), graceMs)
    home.node.store(this.read.key, recordToSend(this.newest), lifeMs, this)
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
