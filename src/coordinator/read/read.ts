/**
 * A read at `one`: the first healthy home replica in preference order answers; if it fails, the next one.
 *
 *   1. Home replicas that are clean and missed nothing, one after the other. Nearly every read ends with the first. If
 *      it takes longer than usual, the next one is asked as well (hedging.ts), and the first answer counts; except that
 *      "nothing" from the second counts only if the first fails. A value that Rondo did not write is on one node, and an
 *      update that reads nothing would replace it: both have version zero, so its condition holds.
 *   2. If none of them answers: all other reachable nodes at once, and the newest record wins. These are home replicas
 *      that may lack writes, and the fallback replicas that took writes in their place.
 *
 * While home replicas change, "nothing" of one set is compared with what the other one holds: a coordinator that is a step
 * ahead or behind is answered by that one first, and its write to the others may be on its way.
 *
 * "Not found" needs the answer of a clean home replica, or of all home replicas. If only fallback replicas and nodes
 * that lost data could be asked, the read fails. What a fallback replica has kept for longer than tombstones are kept is
 * nothing: it may have been deleted (cluster/freshness.ts).
 *
 * Guarantees: not the newest value after a fault (use quorum for that), but never a value that a reachable replica knows
 * to be overwritten or deleted.
 */
import type { Member } from '../../cluster/member.ts'
import { PeekedRecord, StoredRecord, VERSION_AT, type RecordHead } from '../../core/codec.ts'
import { compareVersions } from '../../core/clock.ts'
import type { Deadline, Timed } from '../../core/deadlines.ts'
import { RondoError } from '../../core/errors.ts'
import type { Part } from '../../core/part.ts'
import { planRead, READ_FIRST, READ_NEVER, type ReadPlan } from '../../core/plan.ts'
import { SMALL_BYTES } from '../../nodes/load.ts'
import type { Fence, GetCall, Node, NodeFailure, PeekCall } from '../../nodes/node.ts'
import {
  memberOf,
  positionOf,
  placedNow,
  type CoordinatorContext,
  type Failing,
  type ServedBy,
  type Replicas,
} from '../context.ts'
import { storedTooLarge, wrongType } from '../errors.ts'
import { OTHER_EPOCH_MS } from '../operation.ts'
import { inWords } from '../../core/sentence.ts'

/** By default for the whole record; Coordinator.peek returns a part of it. */
export interface ReadDone<R extends RecordHead = StoredRecord> extends Failing {
  /** @param record the newest record found, a tombstone or an expired one too; null = nothing is stored */
  read(record: R | null, by?: ServedBy): void
  /**
   * The client has sent more commands since. A replica that is asked only now may already hold a write that came after
   * this read, so a late read is not hedged.
   */
  isFollowed?(): boolean
}

const NONE: Node[] = []

/** Not an Operation, for speed (operation.ts). */
export class ReadOne<R extends RecordHead = StoredRecord> implements GetCall, PeekCall, Timed {
  private readonly context: CoordinatorContext
  private readonly key: Buffer
  private replicas: Replicas
  private readonly done: ReadDone<R>
  private readonly expectedBytes: number
  /** The part to read; null = the whole record. */
  private readonly part: Part | null
  private deadline: Deadline | null = null
  private finished = false
  /** It has its answer, a tagged value, and asks for the tags. */
  private judging = false

  private plan: ReadPlan<Member> | null = null
  private nextInTurn = 0
  private tries = 0
  /** Pending calls to replicas whose answer suffices by itself. */
  private outstanding = 0
  /** The second replica, if the first took longer than usual. */
  private hedge: Node | null = null
  /** It holds nothing, and the first has not answered yet. */
  private hedgeFoundNothing = false

  // While comparing:
  private comparing = 0
  /** Number of home replicas that answered, and whether one of them is clean. */
  private homesAnswered = 0
  private cleanAnswered = false
  private newest: R | null = null
  private comparedNodes: Node[] = NONE
  private lastFailure: NodeFailure | null = null
  /** An answer was of another epoch, and did not count. */
  private otherEpoch = false
  /** The voters know of nothing, and the others were asked as well. */
  private askedBothSets = false

  /** @param expectedBytes estimated size of the reply (sizes.ts) */
  private constructor(
    context: CoordinatorContext,
    key: Buffer,
    replicas: Replicas,
    expectedBytes: number,
    done: ReadDone<R>,
    part: Part | null,
  ) {
    this.context = context
    this.key = key
    this.replicas = replicas
    this.expectedBytes = expectedBytes
    this.done = done
    this.part = part
  }

  static ofValue(
    context: CoordinatorContext,
    key: Buffer,
    replicas: Replicas,
    expectedBytes: number,
    done: ReadDone,
  ): ReadOne {
    return new ReadOne(context, key, replicas, expectedBytes, done, null)
  }

  static ofPart(
    context: CoordinatorContext,
    key: Buffer,
    replicas: Replicas,
    expectedBytes: number,
    part: Part,
    done: ReadDone<PeekedRecord>,
  ): ReadOne<PeekedRecord> {
    return new ReadOne(context, key, replicas, expectedBytes, done, part)
  }

  start(): void {
    this.deadline = this.context.deadlines.add(this, this.done.call?.dueAtMs)
    this.context.hedging.begun()
    this.attempt()
  }

  private attempt(): void {
    const first = this.replicas.homes[0]!
    if (first.readRank === READ_FIRST) {
      this.tries = 1
      this.outstanding = 1
      this.fetch(first.node)
      return
    }
    this.plan = planRead(this.replicas)
    this.askNext()
  }

  private fetch(node: Node): void {
    if (this.part === null) node.get(this.key, this, this.expectedBytes)
    else node.peek(this.key, this.part, this, this.expectedBytes)
  }

  onRecord(node: Node, bytes: Buffer | null, fence: Fence): void {
    if (this.finished || this.judging) return
    // Only reads of whole records fetch them.
    const record = (bytes ? new StoredRecord(bytes) : null) as RecordHead | null as R | null
    this.context.sizes.found(this.key, bytes?.length ?? 0, this.expectedBytes)
    if (record) this.context.bigKeys?.found(this.key, record as RecordHead as StoredRecord)
    this.answered(node, record, fence)
  }

  onPeeked(node: Node, record: PeekedRecord | null, fence: Fence): void {
    if (!this.finished && !this.judging) this.answered(node, record as RecordHead | null as R | null, fence)
  }

  private answered(node: Node, record: R | null, fence: Fence): void {
    if (record?.versioned) this.context.cluster.versions.observe(record.bytes, VERSION_AT)
    if (this.comparing === 0 && !this.replicas.trusts(fence)) {
      // It lost data after it was chosen, or members change: its answer does not count.
      if (!this.replicas.isOfEpoch(fence)) this.otherEpoch = true
      this.failedInTurn()
      return
    }
    if (this.comparing === 0 && this.isBehind(node)) {
      // It missed a write after it was chosen, perhaps one from before this read.
      this.plan = null
      this.nextInTurn = 0
      this.failedInTurn()
      return
    }
    if (this.comparing === 0) {
      if (record === null && node === this.hedge && this.outstanding > 1) {
        this.outstanding--
        this.hedgeFoundNothing = true
      } else this.found(record, node)
      return
    }
    const position = positionOf(this.plan!.compared, node)
    if (position < 0) return // it was asked in turn
    if (!this.replicas.isOfEpoch(fence)) {
      this.otherEpoch = true
      this.compared()
      return
    }
    this.comparedNodes.push(node)
    if (position < this.plan!.comparedHomes) {
      this.homesAnswered++
      if (fence.clean) this.cleanAnswered = true
    } else if (record && this.context.cluster.freshness.isForgotten(this.plan!.compared[position]!, record)) {
      record = null
    }
    if (record && (!this.newest || compareVersions(record.version, this.newest.version) > 0)) {
      this.newest = record
    }
    this.compared()
  }

  private found(record: R | null, by: Node): void {
    if (record === null && this.replicas.isJoint && !this.askedBothSets) {
      const { homes, voters } = this.replicas
      const others = homes.slice(voters).filter(({ readRank }) => readRank !== READ_NEVER)
      this.askedBothSets = this.cleanAnswered = true
      if (others.length > 0) {
        this.comparedNodes = [by]
        this.compare({ inTurn: [], compared: others, comparedHomes: 0 })
        return
      }
    }
    if (!this.isLarge) this.context.hedging.answered(this.context.deadlines.startOf(this.deadline!))
    this.deliver(record, by)
  }

  private deliver(record: R | null, by: ServedBy): void {
    if (record?.isTagged) {
      this.judge(record, by)
      return
    }
    this.finish()
    this.done.read(record, by)
  }

  /** The value is one only if its tags are there, which costs a read more; of a part, the tags are fetched first. */
  private judge(record: R, by: ServedBy): void {
    this.judging = true
    const { context, key, replicas, part } = this
    const { tags, sizes } = context
    const failed = (error: RondoError) => this.fail(error)
    if (part !== null) {
      const read = (whole: StoredRecord | null, from?: ServedBy) => {
        this.end((whole && PeekedRecord.ofValue(whole, part)) as RecordHead | null as R | null, from ?? by)
      }
      ReadOne.ofValue(context, key, replicas, sizes.expected(key), { read, failed }).start()
      return
    }
    const whole = record as RecordHead as StoredRecord
    const judged = (shown: StoredRecord) => {
      if (shown !== whole) tags.drop(key, whole)
      this.end(shown as RecordHead as R, by)
    }
    tags.judge(whole, 'one', judged, failed)
  }

  private end(record: R | null, by: ServedBy): void {
    if (this.finished) return
    this.finish()
    this.done.read(record, by)
  }

  onFailure(node: Node, failure: NodeFailure): void {
    if (this.finished || this.judging) return
    this.lastFailure = failure
    if (failure.reason === 'wrong-type') {
      this.fail(wrongType(failure))
      return
    }
    if (failure.reason === 'too-long') {
      this.context.sizes.tooLong(this.key)
      this.fail(storedTooLarge())
      return
    }
    if (this.comparing > 0) {
      if (positionOf(this.plan!.compared, node) >= 0) this.compared()
      return
    }
    this.failedInTurn()
  }

  private isBehind(node: Node): boolean {
    const first = this.replicas.homes[0]!
    if (first.node === node) return first.behind
    return memberOf(this.replicas.preference, node).behind
  }

  private get isLarge(): boolean {
    return this.expectedBytes > SMALL_BYTES
  }

  private failedInTurn(): void {
    if (--this.outstanding > 0) return
    if (this.hedgeFoundNothing) {
      this.found(null, this.hedge!)
      return
    }
    this.plan ??= this.planWithoutFirst()
    this.askNext()
  }

  late(): void {
    // A large reply is slow anyway, and a second one would slow down others.
    if (
      this.judging ||
      this.hedge ||
      this.isLarge ||
      this.outstanding !== 1 ||
      this.tries >= this.context.maxTries
    )
      return
    this.plan ??= this.planWithoutFirst()
    const next = this.plan.inTurn[this.nextInTurn]
    if (!next || this.done.isFollowed?.() || !this.context.hedging.spend()) return
    this.hedge = next.node
    this.ask(next)
  }

  overdue(): void {
    if (this.hedgeFoundNothing && this.comparing === 0 && !this.judging) {
      this.askedBothSets = true // there is no time left for it
      this.found(null, this.hedge!)
      return
    }
    const { requestTimeoutMs } = this.context
    this.fail(new RondoError('UNAVAILABLE', `No replica of the key answered within ${requestTimeoutMs} ms.`))
  }

  private askNext(): void {
    const { inTurn, compared } = this.plan!
    if (this.tries < this.context.maxTries && this.nextInTurn < inTurn.length) {
      this.ask(inTurn[this.nextInTurn]!)
      return
    }
    if (this.tries >= this.context.maxTries || compared.length === 0) {
      this.giveUp()
      return
    }
    this.compare(this.plan!)
  }

  private compare(plan: ReadPlan<Member>): void {
    this.plan = plan
    this.tries = this.context.maxTries
    this.comparing = plan.compared.length
    if (this.comparedNodes === NONE) this.comparedNodes = []
    for (const member of plan.compared) this.fetch(member.node)
  }

  private ask(member: Member): void {
    this.tries++
    this.nextInTurn++
    this.outstanding++
    this.fetch(member.node)
  }

  /** The first replica was asked without a plan: plan the rest now. */
  private planWithoutFirst(): ReadPlan<Member> {
    const first = this.replicas.homes[0]!
    const plan = planRead(this.replicas)
    return { ...plan, inTurn: plan.inTurn.filter((member) => member !== first) }
  }

  private compared(): void {
    if (--this.comparing > 0) return
    // A filling replica does not know what it lost: its "nothing" counts only if all home replicas say so.
    const known = this.cleanAnswered || this.homesAnswered === this.replicas.voters
    if (this.otherEpoch || (!this.newest && !known)) {
      this.giveUp()
      return
    }
    this.deliver(this.newest, this.comparedNodes)
  }

  private noReplicaAnswered(): RondoError {
    const why = this.lastFailure ? ` Last error: ${inWords(this.lastFailure.message)}.` : ''
    return new RondoError(
      'UNAVAILABLE',
      `None of the key's ${this.replicas.homes.length} replicas could be asked.${why} Try again, and see /status.`,
    )
  }

  /** No replica could be asked; where members change, under another epoch they can. */
  private giveUp(): void {
    if (!this.otherEpoch) {
      this.fail(this.noReplicaAnswered())
      return
    }
    this.context.timers.setTimeout(() => {
      if (!this.finished) this.attemptAgain()
    }, OTHER_EPOCH_MS)
  }

  /** Under the placement of now. Nothing is pending. */
  private attemptAgain(): void {
    this.replicas = placedNow(this.context, this.key, this.replicas)
    this.plan = null
    this.nextInTurn = this.tries = this.homesAnswered = 0
    this.hedgeFoundNothing = this.cleanAnswered = this.otherEpoch = this.askedBothSets = false
    this.hedge = this.newest = null
    this.comparedNodes = NONE
    this.attempt()
  }

  private fail(error: RondoError): void {
    if (this.finished) return
    this.finish()
    this.done.failed(error)
  }

  private finish(): void {
    this.finished = true
    this.context.deadlines.remove(this.deadline!)
  }
}
