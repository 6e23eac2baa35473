/**
 * Updates that wait in the key's queue (key-queues.ts). Those that have gathered run together as one update, which
 * applies their changes one after the other and stores only the last result.
 *
 *   running: incr                           waiting: incr, append, incr … at the same level
 *   it ends ──▶ one update: read, incr ∘ append ∘ incr, store
 *           ──▶ confirmed: each gets the record before and after its own change, or the reason why it was refused
 *           ──▶ failed: all fail; an unknown outcome is unknown for all of them
 *
 * - No result is reported before the last one is confirmed: each may depend on the others, which exist only as a whole.
 * - Intermediate results are never stored, and have their own versions, so an ETag of one never matches.
 * - Each keeps its own deadline. One that timed out before anything was sent was reported as not applied, and is left
 *   out of every later attempt.
 */
import { HEAD_BYTES, newRecordOf, type StoredRecord } from '../../core/codec.ts'
import type { ConsistencyLevel } from '../../core/consistency.ts'
import type { Timed } from '../../core/deadlines.ts'
import { RondoError } from '../../core/errors.ts'
import type { CoordinatorContext, Replicas, ServedBy } from '../context.ts'
import { nameOf, type KeyQueues, type Waiting } from './key-queues.ts'
import { Operation } from '../operation.ts'
import { asStored, NewVersion, type Change } from './read-modify-write.ts'
import { UpdateOne } from './update-one.ts'
import { QuorumUpdate, type Modified, type Modify, type UpdateDone } from './update.ts'

/** Limit of updates that run together. */
const MOST_TOGETHER = 1000
/**
 * Limit of the bytes that all but the first read: if many append to a long value, each intermediate result is as long.
 */
const MOST_BYTES_TOGETHER = 4 * 1024 * 1024

export class QueuedUpdate extends Operation<UpdateDone> implements Waiting {
  readonly level: ConsistencyLevel
  readonly modify: Modify
  private readonly queues: KeyQueues
  private readonly name: string
  private readonly key: Buffer
  /** Set once it runs. */
  group: UpdateGroup | null = null

  constructor(
    context: CoordinatorContext,
    queues: KeyQueues,
    name: string,
    key: Buffer,
    level: ConsistencyLevel,
    modify: Modify,
    done: UpdateDone,
  ) {
    super(context, done)
    this.queues = queues
    this.name = name
    this.key = key
    this.level = level
    this.modify = modify
  }

  protected attempt(): void {
    this.queues.wait(this.name, this)
  }

  onTurn(name: string): void {
    const alike = (waiting: Waiting): waiting is QueuedUpdate =>
      waiting instanceof QueuedUpdate && waiting.level === this.level
    const members = [this, ...this.queues.takeNext(name, MOST_TOGETHER - 1, alike)]
    new UpdateGroup(this.context, this.queues, name, this.key, members).start()
  }

  updated(before: StoredRecord | null, after: StoredRecord | null, by?: ServedBy): void {
    if (this.finish()) this.done.updated(before, after, by)
  }

  overdue(): void {
    this.end(this.group?.overdueError() ?? keptWaiting(this.context))
    this.group?.memberEnded()
  }
}

export function keptWaiting({ requestTimeoutMs }: CoordinatorContext): RondoError {
  const sentence = `Other changes of the key were ahead in its queue for ${requestTimeoutMs} ms. It was not applied. Try again.`
  return new RondoError('OVERLOADED', sentence, { outcome: 'not-applied' })
}

/** One of them in an attempt: the index of the result that it read, and of the one that it made. */
interface Turn {
  readonly member: QueuedUpdate
  readonly before: number
  readonly after: number
  readonly refusal: RondoError | null
}

export class UpdateGroup implements UpdateDone {
  private readonly queues: KeyQueues
  private readonly name: string
  private readonly members: QueuedUpdate[]
  private readonly update: UpdateOne | QuorumUpdate
  /**
   * For intermediate results. Made before the update makes its own, so that the stored version is later than these. All
   * attempts use the same ones, because only the last attempt is reported.
   */
  private readonly versions: readonly NewVersion[]
  /** Of the latest attempt. */
  private turns: Turn[] = []
  /** Of the latest attempt: the record read, then each result; the last one is set once stored. */
  private results: (StoredRecord | null)[] = []

  /** @param members at least one, all at the same level */
  constructor(
    context: CoordinatorContext,
    queues: KeyQueues,
    name: string,
    key: Buffer,
    members: QueuedUpdate[],
  ) {
    this.queues = queues
    this.name = name
    this.members = members
    this.versions = members.slice(1).map(() => new NewVersion(context.cluster.versions))
    const { level } = members[0]!
    const modify: Modify = (current) => this.apply(current)
    this.update = newUpdate(context, key, context.cluster.placement.replicaSetOf(key), level, modify, this)
  }

  start(): void {
    for (const member of this.members) member.group = this
    this.update.startQueued(this.queues, this.name)
  }

  updated(_before: StoredRecord | null, after: StoredRecord | null, by?: ServedBy): void {
    const { turns, results } = this
    results[results.length - 1] = after
    for (const turn of turns) {
      if (turn.refusal) turn.member.end(turn.refusal, by)
      else turn.member.updated(results[turn.before]!, results[turn.after]!, by)
    }
  }

  failed(error: RondoError): void {
    for (const member of this.members) member.end(error)
  }

  overdueError(): RondoError {
    return this.update.overdueError()
  }

  memberEnded(): void {
    if (this.members.every(({ isFinished }) => isFinished)) this.update.overdue()
  }

  /** The combined Modify. */
  private apply(current: StoredRecord | null): Modified {
    const turns: Turn[] = []
    const results = [current]
    let last: Change | null = null
    let isSeen = true
    let bytes = 0
    for (const [i, member] of this.members.entries()) {
      if (member.isFinished) continue
      if (turns.length > 0) bytes += HEAD_BYTES + (last ? last.value.length : (current?.value.length ?? 0))
      if (bytes > MOST_BYTES_TOGETHER) {
        this.leaveForLater(i)
        break
      }
      if (last && !isSeen) {
        const stamp = this.versions[results.length - 2]!
        results[results.length - 1] = asStored(newRecordOf(last, stamp))
        isSeen = true
      }
      const before = results.length - 1
      const modified = member.modify(results[before]!)
      if (modified.kind === 'write') {
        last = modified.record
        results.push(null)
        isSeen = false
      }
      const refusal = modified.kind === 'refuse' ? modified.error : null
      turns.push({ member, before, after: results.length - 1, refusal })
      if (modified.kind === 'refuse' && modified.isPutOff) {
        this.leaveForLater(i + 1)
        break
      }
    }
    this.turns = turns
    this.results = results
    return last ? { kind: 'write', record: last } : { kind: 'keep' }
  }

  /** Puts this one and all after it back: they run in the next group. */
  private leaveForLater(from: number): void {
    const later = this.members.splice(from)
    for (const member of later) member.group = null
    this.queues.putBack(this.name, later)
  }
}

/** Starts an update, or lets it wait in the key's queue. @returns what its caller may end before its own deadline */
export function startInQueue(
  context: CoordinatorContext,
  replicas: Replicas,
  key: Buffer,
  level: ConsistencyLevel,
  modify: Modify,
  done: UpdateDone,
): Timed {
  const { queues } = context
  const name = nameOf(key)
  if (queues.enter(name)) {
    const update = newUpdate(context, key, replicas, level, modify, done)
    update.startQueued(queues, name)
    return update
  }
  const update = new QueuedUpdate(context, queues, name, key, level, modify, done)
  update.start()
  return update
}

/** Makes an update for any level, without starting it. */
export function newUpdate(
  context: CoordinatorContext,
  key: Buffer,
  replicas: Replicas,
  level: ConsistencyLevel,
  modify: Modify,
  done: UpdateDone,
): UpdateOne | QuorumUpdate {
  if (level === 'one') return new UpdateOne(context, key, replicas, modify, done)
  return new QuorumUpdate(context, key, replicas, level, modify, done)
}
