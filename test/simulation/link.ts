/**
 * One coordinator's connections to one address, as a Node: what redis.ts and link.ts are to a real Redis.
 *
 *   data path      calls of one turn leave as one batch; its answers come back together, once its marker was read;
 *                  a batch overdue destroys the connection, and everything in flight is unknown, although it may
 *                  still be carried out: nobody can take bytes back from a socket
 *   control path   one connection, one answer for each call, each with a time limit
 *
 * Everything that is called on the node and is not known here is handed on: with a completion object among its
 * arguments on the data path, otherwise on the control path. So a method that is added to the storage contract travels
 * through the same network without being mentioned here.
 */
import type { TimerHandle } from '../../src/core/clock.ts'
import type { RecordHead } from '../../src/core/codec.ts'
import { aboveFloor, type Floors } from '../../src/core/floors.ts'
import { NodeLoad } from '../../src/nodes/load.ts'
import { isUnwritable } from '../../src/nodes/redis/error-replies.ts'
import type {
  Announcements,
  ChangeEvents,
  Fence,
  Messenger,
  MessengerEvents,
  Near,
  Node,
  NodeFailure,
  NodeListener,
  NodeReport,
  Subscription,
} from '../../src/nodes/node.ts'
import { noteAnswer, noteSent, type Counters } from './coverage.ts'
import type { Host } from './host.ts'
import { SimChanges } from './changes.ts'
import { SimMessenger } from './messenger.ts'
import type { SimNear } from './near.ts'
import { Wire, type Path } from './network.ts'
import type { OtherMarker, Outcome, Process, SentCall, Server } from './server.ts'

export const NODE_TIMEOUT_MS = 300
export const CONNECT_TIMEOUT_MS = 300

export interface LinkWorld {
  readonly host: Host
  readonly path: Path
  /** The one at whose address it is, unless addresses are exchanged. */
  readonly server: Server
  readonly counters: Counters
  /** Who is at the address now. */
  readonly resolve: () => Server
  readonly note: (what: string, detail?: () => string) => void
  /** A marker was written there. */
  readonly onMarked: (process: Process) => void
  /** It was written there since when the node has been up to date. */
  readonly onStamped: (process: Process) => void
  readonly losesMessages: () => boolean
  /** Null: it keeps nothing of the node. */
  readonly near: SimNear | null
}

interface Batch {
  readonly calls: readonly SentCall[]
  readonly fence: Fence
  readonly sentAtMs: number
}

interface ControlCall {
  readonly reject: (error: Error) => void
}

const FOREIGN_MARKER: NodeFailure = {
  kind: 'unknown',
  reason: 'marker',
  message: 'the node does not hold the expected marker',
}

/** What becomes of it, now that the coordinator has said what the marker means to it. */
function underMarker(outcome: Outcome, other: OtherMarker, fence: Fence | null): Outcome {
  const { call, method } = outcome
  if (fence) {
    const told = judged(outcome, fence.floors ?? null)
    return { call, method, args: told.map((arg) => (arg === other.fence ? fence : arg)) }
  }
  return method === 'onFailure' ? outcome : { call, method: 'onFailure', args: [FOREIGN_MARKER] }
}

/** What it tells of records, by the floors of the epoch that the node has: they are not those of the batch. */
function judged({ call, method, args }: Outcome, floors: Floors | null): readonly unknown[] {
  const [key] = call.args
  const [found, ...rest] = args
  switch (method) {
    case 'onRecord':
    case 'onPromised':
      return [aboveFloor(floors, key as Buffer, found as Buffer | null), ...rest]
    case 'onPeeked':
      return [found && floors?.isBelow(key as Buffer, (found as RecordHead).version) ? null : found, ...rest]
    case 'onStarts':
      return [
        (found as (Buffer | null)[]).map((start, i) => aboveFloor(floors, (key as Buffer[])[i]!, start)),
        ...rest,
      ]
    default:
      return args
  }
}

type Done = Record<string, (...args: unknown[]) => void>

export class SimLink {
  readonly id: string
  readonly address: string
  listener: NodeListener | null = null
  ready = false
  /** Here each call counts as one byte, of both kinds. */
  readonly load = new NodeLoad()
  private readonly world: LinkWorld
  private node!: Node

  private wire: Wire | null = null
  private fence: Fence | null = null
  private calls: SentCall[] = []
  private batches: Batch[] = []
  private overdueCheck: TimerHandle | null = null
  private rejectOpening: ((failure: NodeFailure) => void) | null = null
  private closed = false

  private controlWire: Wire | null = null
  private controlCalls = new Set<ControlCall>()
  private readonly messengers = new Set<SimMessenger>()
  private readonly telling = new Set<SimChanges>()

  private constructor(id: string, world: LinkWorld) {
    this.id = id
    this.address = `${world.server.id}:6379`
    this.world = world
  }

  /** The link, and the node that a cluster is given. */
  static create(id: string, world: LinkWorld): { link: SimLink; node: Node } {
    const link = new SimLink(id, world)
    const methods = new Map<string, unknown>()
    const node = new Proxy(link, {
      get(target, name) {
        if (name in target) {
          const own: unknown = Reflect.get(target, name)
          return typeof own === 'function' ? (own.bind(target) as unknown) : own
        }
        if (typeof name !== 'string' || name === 'then') return undefined
        let method = methods.get(name)
        if (!method) methods.set(name, (method = (...args: unknown[]) => target.call(name, args)))
        return method
      },
    }) as unknown as Node
    link.node = node
    return { link, node }
  }

  get server(): Server {
    return this.world.server
  }

  get near(): Near | null {
    return this.world.near?.node ?? null
  }

  /** Connections on which the near cache hears of changes. */
  trackingWires(): readonly Wire[] {
    return this.world.near?.wires ?? []
  }

  /** Connections that may still bring something. */
  wires(): Wire[] {
    const messages = [...this.messengers, ...this.telling].map(({ wire }) => wire)
    const wires = [this.wire, this.controlWire, ...messages, ...this.trackingWires()]
    return wires.filter((wire) => wire !== null)
  }

  private call(method: string, args: unknown[]): unknown {
    const doneAt = args.findIndex((arg) => typeof (arg as Partial<Done> | null)?.onFailure === 'function')
    return doneAt >= 0 ? this.data({ method, args, doneAt }) : this.control(method, args)
  }

  // ---- data path

  private data(call: SentCall): void {
    const { host, counters, near } = this.world
    call.ask = near?.sends(call) ?? null
    if (!this.ready) {
      host.endOfTurn(() => this.end(call, 'onFailure', [NOT_CONNECTED]))
      return
    }
    noteSent(counters, call)
    this.load.smallBytes++
    this.load.largeBytes++
    if (this.calls.push(call) === 1) host.endOfTurn(this.flush)
  }

  private readonly flush = (): void => {
    const { host, counters } = this.world
    const { wire } = this
    if (!wire || !this.ready || this.calls.length === 0) return
    const batch: Batch = { calls: this.calls, fence: this.fence!, sentAtMs: host.monotonicMs() }
    this.calls = []
    this.batches.push(batch)
    counters.count('batches')
    if (batch.calls.length > 1) counters.count('batches of several calls')
    wire.send((process) => {
      const { outcomes, other } = process.execute(batch.calls, batch.fence)
      if (!wire.open) counters.count('carried out after its connection was given up')
      this.world.note(`${process.server.id} executes`, () => outcomes.map(describe).join(', '))
      wire.reply(() => this.answered(batch, outcomes, other))
    })
    this.overdueCheck ??= host.setTimeout(this.checkOverdue, NODE_TIMEOUT_MS)
  }

  private answered(batch: Batch, outcomes: readonly Outcome[], other: OtherMarker | null): void {
    this.batches.splice(this.batches.indexOf(batch), 1)
    this.world.note(`answers from ${this.id}`)
    const fence = other && this.follows(other.found)
    if (other) {
      this.world.counters.count(
        fence ? 'batches under a marker of another epoch' : 'batches under a foreign marker',
      )
    }
    for (const outcome of outcomes) {
      const { call, method, args } = other ? underMarker(outcome, other, fence) : outcome
      const failure = method === 'onFailure' ? (args[0] as NodeFailure) : null
      if (failure?.kind === 'refused') {
        this.world.counters.count(`refused: ${failure.reason}`)
        if (isUnwritable(failure.reason)) this.listener?.onUnwritable(this.node, failure.reason)
      }
      noteAnswer(this.world.counters, call, method, args)
      this.end(call, method, args)
    }
    this.less(batch.calls.length)
  }

  private follows(found: Buffer | null): Fence | null {
    const fence = this.listener?.onOtherMarker(this.node, found) ?? null
    if (fence) this.fence = fence
    if (fence) this.world.near?.node.under(fence)
    return fence
  }

  private less(calls: number): void {
    const { largeWaiting, smallWaiting } = this.load
    if (largeWaiting + smallWaiting > 0) this.world.counters.count('operations wait for room at a node')
    this.load.less(calls, calls)
  }

  private end(call: SentCall, method: string, args: readonly unknown[]): void {
    if (method === 'onRecord') call.ask?.answered(args[0] as Buffer | null, args[1] as Fence)
    else call.ask?.lost()
    ;(call.args[call.doneAt] as Done)[method]!(this.node, ...args)
  }

  private readonly checkOverdue = (): void => {
    const { host } = this.world
    this.overdueCheck = null
    const batch = this.batches[0]
    if (!batch) return
    const leftMs = batch.sentAtMs + NODE_TIMEOUT_MS - host.monotonicMs()
    if (leftMs > 0) {
      this.overdueCheck = host.setTimeout(this.checkOverdue, Math.ceil(leftMs))
      return
    }
    host.endOfTurn(() => {
      host.endOfTurn(() => {
        if (this.batches[0] === batch) {
          this.world.counters.count('timeouts')
          this.destroy(
            { kind: 'unknown', reason: 'timeout', message: `no answer within ${NODE_TIMEOUT_MS} ms` },
            true,
          )
        } else if (this.batches.length > 0) {
          this.overdueCheck ??= host.setTimeout(this.checkOverdue, 1)
        }
      })
    })
  }

  /** Everything in flight ends as unknown; then the listener hears of it. */
  private destroy(failure: NodeFailure, tells: boolean): void {
    const { wire, ready } = this
    if (!wire) return
    wire.close()
    this.wire = null
    this.ready = false
    this.world.near?.closed()
    if (this.overdueCheck) this.world.host.clearTimeout(this.overdueCheck)
    this.overdueCheck = null
    const unsent = this.calls
    const inFlight = this.batches.flatMap((batch) => batch.calls)
    this.calls = []
    this.batches = []
    if (inFlight.length > 0) this.world.counters.count('calls lost in flight', inFlight.length)
    for (const call of inFlight) this.end(call, 'onFailure', [failure])
    for (const call of unsent) this.end(call, 'onFailure', [{ ...failure, kind: 'not-sent' }])
    for (const changes of [...this.telling]) changes.end(failure.message)
    if (ready && tells) this.listener?.onBroken(this.node, failure)
    this.rejectOpening?.(failure)
    this.rejectOpening = null
    this.less(inFlight.length + unsent.length)
  }

  open(fence: Fence): Promise<void> {
    if (this.wire && this.ready && this.fence?.runId === fence.runId && this.fence.replid === fence.replid) {
      this.flush()
      this.fence = fence
      this.world.near?.node.under(fence)
      return Promise.resolve()
    }
    this.destroy(SHUT, false)
    if (this.closed) return Promise.reject(new Error(`node ${this.id} is closed`))
    const { host, path, resolve } = this.world
    const wire = new Wire(path, host, resolve, {
      onClosed: (why) => {
        if (this.wire === wire)
          this.destroy({ ...SHUT, message: why === 'refused' ? 'ECONNREFUSED' : why }, true)
      },
    })
    this.wire = wire
    this.fence = fence
    return new Promise((opened, reject) => {
      const overdue = host.setTimeout(() => {
        if (this.wire === wire)
          this.destroy({ ...SHUT, reason: 'timeout', message: 'no handshake in time' }, false)
      }, CONNECT_TIMEOUT_MS)
      this.rejectOpening = (failure) => {
        host.clearTimeout(overdue)
        reject(new Error(failure.message))
      }
      wire.send((process) => {
        const { markerBytes } = process
        const isPrimary =
          fence.replid === undefined || (!process.isReplica && process.replid === fence.replid)
        const isSame = isPrimary && process.runId === fence.runId
        const ours = isSame && markerBytes?.equals(fence.marker)
        wire.reply(() => {
          host.clearTimeout(overdue)
          const found = isSame && markerBytes ? markerBytes : null
          if (!ours && !this.follows(found)) {
            this.world.counters.count('handshakes under a foreign marker')
            this.destroy(FOREIGN_MARKER, false)
            return
          }
          this.ready = true
          this.rejectOpening = null
          this.world.near?.opened(this.fence!)
          opened()
        })
      })
    })
  }

  shut(reason: string): void {
    this.destroy({ ...SHUT, message: reason }, false)
  }

  close(): Promise<void> {
    this.closed = true
    this.shut('the coordinator is closing')
    this.dropControl('closed')
    return Promise.resolve()
  }

  /** The coordinator's process has died: connections close, and nobody is told. */
  abandon(): void {
    for (const wire of this.wires()) wire.close()
    for (const messenger of [...this.messengers]) messenger.abandon()
    for (const changes of [...this.telling]) changes.close()
    this.world.near?.closed()
  }

  // ---- control path

  async probe(peers?: readonly string[]): Promise<NodeReport> {
    const sentAtMonotonicMs = this.world.host.monotonicMs()
    const report = (await this.control('probe', [peers])) as NodeReport
    return { ...report, sentAtMonotonicMs, receivedAtMonotonicMs: this.world.host.monotonicMs() }
  }

  /** On a connection of its own, for as long as the data path is open. */
  changes(to: ChangeEvents): Subscription {
    const runId = this.ready ? this.fence!.runId : null
    const changes = new SimChanges(this.world, to, runId, (over) => this.telling.delete(over))
    this.telling.add(changes)
    return changes
  }

  /** A connection of its own. */
  messenger(to: MessengerEvents): Messenger {
    const world = { ...this.world, silentMs: NODE_TIMEOUT_MS }
    const openMs = CONNECT_TIMEOUT_MS + NODE_TIMEOUT_MS
    const messenger = new SimMessenger(world, to, (over) => this.messengers.delete(over), openMs)
    this.messengers.add(messenger)
    return messenger
  }

  /** A connection of its own. */
  subscribe(to: Announcements): Subscription {
    const { host, path, resolve } = this.world
    let listeners: Set<Announcements> | null = null
    const heard: Announcements = {
      subscribed: () => undefined,
      announced: () => wire.reply(() => to.announced()),
      ended: () => undefined,
    }
    const wire = new Wire(path, host, resolve, { onClosed: (why) => to.ended(why) })
    wire.send(({ engine }) => {
      listeners = engine.storage.listeners
      listeners.add(heard)
      wire.reply(() => to.subscribed())
    })
    return {
      close: () => {
        wire.close()
        listeners?.delete(heard)
      },
    }
  }

  private control(method: string, args: readonly unknown[]): Promise<unknown> {
    if (this.closed) return Promise.reject(new Error(`node ${this.id} is closed`))
    const { host } = this.world
    if (method === 'empty') this.world.near?.node.invalidated(null)
    const isNew = this.controlWire === null
    const wire = (this.controlWire ??= this.dialControl())
    const limitMs =
      method === 'probe' ? NODE_TIMEOUT_MS + (isNew ? CONNECT_TIMEOUT_MS : 0) : 4 * NODE_TIMEOUT_MS
    return new Promise((resolve, reject) => {
      const settle = () => {
        host.clearTimeout(overdue)
        this.controlCalls.delete(call)
      }
      const call: ControlCall = {
        reject: (error) => {
          settle()
          reject(error)
        },
      }
      const overdue = host.setTimeout(() => {
        call.reject(new Error(`no answer to ${method} within ${limitMs} ms`))
        if (method === 'probe' && this.controlWire === wire) this.dropControl('a probe had no answer')
      }, limitMs)
      this.controlCalls.add(call)
      wire.send((process) => this.executeControl(wire, process, method, args, call, settle, resolve))
    })
  }

  private executeControl(
    wire: Wire,
    process: Process,
    method: string,
    args: readonly unknown[],
    call: ControlCall,
    settle: () => void,
    resolve: (value: unknown) => void,
  ): void {
    const { counters, note } = this.world
    counters.count(`control: ${method}`)
    note(`${process.server.id} ${method}`)
    process.control(method, args).then(
      (value) => {
        if (method === 'swapMarker' && value === true) this.world.onMarked(process)
        if (method === 'stamp' && value === true) this.world.onStamped(process)
        wire.reply(() => {
          if (!this.controlCalls.has(call)) return
          settle()
          resolve(value)
        })
      },
      (error: Error) => wire.reply(() => call.reject(error)),
    )
  }

  private dialControl(): Wire {
    const { host, path, resolve } = this.world
    const wire = new Wire(path, host, resolve, {
      onClosed: (why) => {
        if (this.controlWire === wire) this.dropControl(why === 'refused' ? 'connect ECONNREFUSED' : why)
      },
    })
    return wire
  }

  private dropControl(why: string): void {
    this.controlWire?.close()
    this.controlWire = null
    for (const call of [...this.controlCalls]) call.reject(new Error(why))
  }
}

function describe({ call, method }: Outcome): string {
  const key = Buffer.isBuffer(call.args[0]) ? call.args[0].toString() : ''
  return `${call.method} ${key} → ${method.slice(2)}`
}

const NOT_CONNECTED: NodeFailure = {
  kind: 'not-sent',
  reason: 'not-connected',
  message: 'the node is not connected',
}
const SHUT: NodeFailure = { kind: 'unknown', reason: 'closed', message: 'the connection was closed' }
