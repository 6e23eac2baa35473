/**
 * Admission control: decides which operations may start, so that no node gets more work than it can handle at a time.
 *
 *   operation ──▶ room at its nodes? ──yes──▶ it starts: its deadline runs, its calls count in the nodes' load
 *                       └──no──▶ it waits in its connection's queue ──a node's load falls──▶ the next one in turn starts
 *
 * Without this, a few clients that read large values ask each node for seconds of work: answers come after the deadline,
 * healthy nodes seem to fail, and the load moves on to the next ones.
 *
 * - A waiting operation has not started: nothing was sent, its deadline does not run, nodes are not judged by it.
 * - Room is counted separately for large and small values: a small call never waits for large ones, and on the node's
 *   connection at most one window of large replies is ahead of it. A window that is not full takes one more call, so a
 *   value larger than the window passes as well.
 * - The windows of a slow node shrink (NodeLoad.pace): started operations must not wait there until their deadline.
 * - Connections take turns (turns.ts). Operations of one connection start in order of arrival, as far as they wait for
 *   the same nodes; a connection on which later commands must see earlier ones starts no command while one waits
 *   (Requester.waiting).
 * - An operation needs room at all nodes that it sends its value to, or reads from. It waits for one after the other,
 *   and room found earlier is not reserved: meanwhile a node may get more than a window, by operations that wait
 *   elsewhere.
 * - If nothing of a connection has started for `queueTimeoutMs`, it gets OVERLOADED: nothing was applied.
 * - Started operations are never held up here: retries at the next replica, copies, second rounds. They count in the
 *   load, and so delay what comes next.
 */
import type { Member } from '../../cluster/member.ts'
import type { MonotonicClock, Timers } from '../../core/clock.ts'
import { Deadlines, type Deadline, type Timed } from '../../core/deadlines.ts'
import { RondoError } from '../../core/errors.ts'
import { READ_FIRST, READ_NEVER } from '../../core/plan.ts'
import { SMALL_BYTES, type NodeLoad } from '../../nodes/load.ts'
import type { Requester } from '../requester.ts'
import type { Failing, Replicas } from '../context.ts'
import { Turns } from './turns.ts'

export interface Windows {
  readonly largeBytes: number
  readonly smallBytes: number
}

/** Per node. About what a node delivers in 10 ms if all of them share a machine with few cores. */
const WINDOWS: Windows = { largeBytes: 1024 * 1024, smallBytes: 1024 * 1024 }

/**
 * The window for small values shrinks less. What makes a node's batches slow beside large values is those, or our own event
 * loop; a window of two or three small operations would add a round trip to each of them, and relieve nobody.
 */
const SLOWEST_SMALL_PACE = 1 / 4

export interface AdmissionOptions {
  readonly queueTimeoutMs: number
  readonly clock: MonotonicClock
  readonly timers: Timers
  readonly windows?: Windows
}

export interface Startable {
  start(): void
}

/** An operation and the room that it needs. */
export interface Entrant {
  readonly operation: Startable
  readonly done: Failing
  readonly replicas: Replicas
  /** It needs only the node that a read at `one` asks first, instead of all home replicas. */
  readonly readsOne?: boolean
  /** Size of the value that is sent to or received from each of them. */
  readonly bytes: number
}

export class Admission {
  /** The number of waiting operations. */
  waiting = 0
  private readonly windows: Windows
  private readonly clock: MonotonicClock
  private readonly queueTimeoutMs: number
  private readonly deadlines: Deadlines
  private readonly queues = new Map<NodeLoad, NodeQueues>()

  constructor(options: AdmissionOptions) {
    this.windows = options.windows ?? WINDOWS
    this.clock = options.clock
    this.queueTimeoutMs = options.queueTimeoutMs
    this.deadlines = new Deadlines(options.queueTimeoutMs, options)
  }

  /** Whether there is room that no other operation waits for. */
  isOpen(load: NodeLoad, bytes: number): boolean {
    if (bytes > SMALL_BYTES) return load.largeWaiting === 0 && this.hasRoomForLarge(load)
    return load.smallWaiting === 0 && this.hasRoomForSmall(load)
  }

  private hasRoomForLarge(load: NodeLoad): boolean {
    return load.largeBytes < this.windows.largeBytes * load.pace
  }

  private hasRoomForSmall(load: NodeLoad): boolean {
    return load.smallBytes < this.windows.smallBytes * Math.max(load.pace, SLOWEST_SMALL_PACE)
  }

  /** The same for all home replicas. */
  areOpen({ homes }: Replicas, bytes: number): boolean {
    for (const { node } of homes) if (!this.isOpen(node.load, bytes)) return false
    return true
  }

  /** Starts the operation now, or once there is room. */
  enter(entrant: Entrant): void {
    const next = this.firstFullNode(entrant, [])
    if (!next) {
      entrant.operation.start()
      return
    }
    const waiting = new Waiting(this, entrant)
    this.waiting++
    waiting.requester.waiting++
    waiting.requester.begunAtMs ||= this.clock.monotonicMs()
    waiting.deadline = this.deadlines.add(waiting)
    this.wait(waiting, next)
  }

  /** An operation has waited for the queue timeout; fails it if nothing else of its connection has started since. */
  overdue(waiting: Waiting): void {
    const { requester } = waiting
    if (this.clock.monotonicMs() - requester.begunAtMs < this.queueTimeoutMs) {
      waiting.deadline = this.deadlines.add(waiting)
      return
    }
    this.end(waiting, (entrant) => entrant.done.failed(keptWaiting(this.queueTimeoutMs)))
  }

  private wait(waiting: Waiting, { node }: Member): void {
    const { load } = node
    let queues = this.queues.get(load)
    if (!queues) {
      queues = { large: new Turns(), small: new Turns(), admitting: false }
      this.queues.set(load, queues)
      load.onLess = () => this.admitWaiting(load, queues!)
    }
    if (waiting.isLarge) {
      queues.large.add(waiting)
      load.largeWaiting++
    } else {
      queues.small.add(waiting)
      load.smallWaiting++
    }
  }

  private admitWaiting(load: NodeLoad, queues: NodeQueues): void {
    if (queues.admitting) return // reentrant call: a started operation has ended at once; the loops below go on
    queues.admitting = true
    try {
      while (load.smallWaiting > 0 && this.hasRoomForSmall(load)) {
        load.smallWaiting--
        this.turnOf(queues.small.next(), load)
      }
      while (load.largeWaiting > 0 && this.hasRoomForLarge(load)) {
        load.largeWaiting--
        this.turnOf(queues.large.next(), load)
      }
    } finally {
      queues.admitting = false
    }
  }

  private turnOf(waiting: Waiting, load: NodeLoad): void {
    const { entrant, requester, passed } = waiting
    if (!entrant) return
    if (requester.gone || entrant.done.call?.gone) {
      this.end(waiting, ({ done }) => done.failed(clientGone()))
      return
    }
    passed.push(load)
    const next = this.firstFullNode(entrant, passed)
    if (next) this.wait(waiting, next)
    else this.end(waiting, ({ operation }) => operation.start())
  }

  /** Ends the wait. */
  private end(waiting: Waiting, then: (entrant: Entrant) => void): void {
    const { entrant, requester } = waiting
    if (!entrant) return
    waiting.entrant = null
    this.deadlines.remove(waiting.deadline!)
    this.waiting--
    if (this.waiting === 0) this.deadlines.rest()
    requester.waiting--
    requester.begunAtMs = requester.waiting > 0 ? this.clock.monotonicMs() : 0
    try {
      then(entrant)
    } finally {
      if (requester.waiting === 0) requester.noneWaits()
    }
  }

  /** The first of its nodes without room, except those where it has already waited. */
  private firstFullNode({ replicas, readsOne, bytes }: Entrant, passed: readonly NodeLoad[]): Member | null {
    if (readsOne) {
      const first = firstToRead(replicas)
      return this.isOpen(first.node.load, bytes) || passed.includes(first.node.load) ? null : first
    }
    for (const member of replicas.homes) {
      if (!this.isOpen(member.node.load, bytes) && !passed.includes(member.node.load)) return member
    }
    return null
  }
}

/** The replica that a read at `one` asks first, as far as it matters here. */
function firstToRead({ preference }: Replicas): Member {
  const best = preference.find(({ readRank }) => readRank === READ_FIRST)
  return best ?? preference.find(({ readRank }) => readRank < READ_NEVER) ?? preference[0]!
}

interface NodeQueues {
  readonly large: Turns<Waiting>
  readonly small: Turns<Waiting>
  admitting: boolean
}

class Waiting implements Timed {
  readonly requester: Requester
  readonly isLarge: boolean
  /** Null once it has started or failed. */
  entrant: Entrant | null
  /** Nodes where it has waited. */
  readonly passed: NodeLoad[] = []
  deadline: Deadline | null = null
  private readonly admission: Admission

  constructor(admission: Admission, entrant: Entrant) {
    this.admission = admission
    this.entrant = entrant
    this.requester = entrant.done.requester ?? new Anonymous()
    this.isLarge = entrant.bytes > SMALL_BYTES
  }

  overdue(): void {
    this.admission.overdue(this)
  }
}

/** For operations without a connection: each takes its own turn. */
class Anonymous implements Requester {
  waiting = 0
  begunAtMs = 0
  readonly gone = false
  noneWaits(): void {
    // nothing waits for it
  }
}

function keptWaiting(queueTimeoutMs: number): RondoError {
  const sentence =
    `No operation of this connection could start for ${queueTimeoutMs} ms (QUEUE_TIMEOUT_MS): the nodes are busy with ` +
    'earlier ones. It was not applied. Try again.'
  return new RondoError('OVERLOADED', sentence, { outcome: 'not-applied' })
}

function clientGone(): RondoError {
  return new RondoError(
    'OVERLOADED',
    'The connection closed before the operation could start. It was not applied.',
    {
      outcome: 'not-applied',
    },
  )
}
