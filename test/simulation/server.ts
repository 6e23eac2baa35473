/**
 * A simulated Redis: a process with its data, behind an address. The data and all decisions about it are those of
 * MemoryNode (src/nodes/memory/memory-node.ts); here are the process around it, and what can happen to that.
 *
 *   batch ──▶ Process.receive ── paused? queued until it resumes
 *                            └── carried out call by call, then the marker is read: one atomic step
 *
 * Calls that arrive for a process that has died are gone.
 */
import type { Clock, Timers } from '../../src/core/clock.ts'
import { KIND_TOMBSTONE, kindOf, StoredRecord, type NewRecord } from '../../src/core/codec.ts'
import { MARKER_KEY } from '../../src/core/keys.ts'
import { decodeMarker, type Marker } from '../../src/cluster/marker.ts'
import { MemoryNode } from '../../src/nodes/memory/memory-node.ts'
import type { Ask } from '../../src/nodes/near/near-cache.ts'
import type { Fence, Hint, NodeFailure, StoreAllWrite, UnwritableReason } from '../../src/nodes/node.ts'
import { EPOCH_MS } from './host.ts'
import type { Held } from './near-checks.ts'
import type { Scheduler } from './scheduler.ts'

export const GRACE_MS = 86_400_000

/** A call on the data path, on its way: which method of the node, and what it was given. */
export interface SentCall {
  readonly method: string
  readonly args: readonly unknown[]
  /** Where among the arguments its completion object is. */
  readonly doneAt: number
  /** Its answer may be kept. */
  ask?: Ask | null
}

/** What came of a call: which method of the completion object is to be called, with what behind the node. */
/** Another marker than the expected one. */
export interface OtherMarker {
  /** Null = none. */
  readonly found: Buffer | null
  /** Stands for its fence in the outcomes. */
  readonly fence: Fence
}

export interface Outcome {
  readonly call: SentCall
  method: string
  args: readonly unknown[]
}

type DataMethod = (...args: unknown[]) => void

const WRITES_OF_CONTROL = new Set([
  'tryWrite',
  'swapMarker',
  'stamp',
  'dropBelow',
  'dropOlder',
  'prepareRegister',
  'acceptRegister',
  'lease',
])

interface Entry {
  readonly key: Buffer
  readonly bytes: Buffer
  readonly lifeMs: number
}

/** What a process would find on its disk. */
export interface Snapshot {
  readonly entries: readonly Entry[]
  /** By the node that they are for. */
  readonly hints: readonly (readonly [string, readonly Hint[]])[]
}

/** One run of a Redis process. */
export class Process {
  readonly runId: string
  readonly engine: MemoryNode
  readonly server: Server
  alive = true
  /** Of a server that Sentinels watch: it follows another one, and what it answers is not looked at. */
  isReplica = false
  /** Changes whenever it is promoted. */
  replid: string
  private paused = false
  private queue: (() => void)[] = []
  private turn: (() => void)[] = []

  constructor(server: Server, runId: string, snapshot: Snapshot | null) {
    this.server = server
    this.runId = runId
    this.replid = `repl-${runId}`
    const timers: Timers = {
      setTimeout: (run, ms) => server.scheduler.after(ms, run),
      clearTimeout: () => undefined,
      endOfTurn: (run) => void this.turn.push(run),
    }
    this.engine = new MemoryNode({
      id: server.id,
      maxBytes: 1 << 26,
      graceMs: GRACE_MS,
      clock: server.clock,
      timers,
      runId,
    })
    if (snapshot) this.fill(snapshot)
  }

  private fill({ entries, hints }: Snapshot): void {
    for (const { key, bytes, lifeMs } of entries) this.engine.storage.set(key, bytes, lifeMs)
    for (const [target, ofTarget] of hints) {
      for (const hint of ofTarget) this.engine.storage.hintsFor(target).note(hint, Infinity)
    }
  }

  /** It is promoted, and has what it got of the former primary. */
  become(held: Snapshot, replid: string): void {
    this.flush()
    this.fill(held)
    this.replid = replid
    this.isReplica = false
  }

  receive(run: () => void): void {
    if (!this.alive) return
    if (this.paused) this.queue.push(run)
    else run()
  }

  pause(): void {
    this.paused = true
  }

  resume(): void {
    this.paused = false
    const queue = this.queue
    this.queue = []
    for (const run of queue) this.receive(run)
  }

  /** Carries out a batch sent under a fence; tells what came of each call, and of a marker that was not the expected one. */
  execute(calls: readonly SentCall[], fence: Fence): { outcomes: Outcome[]; other: OtherMarker | null } {
    const { engine } = this
    Object.assign(engine, { fence })
    let other: OtherMarker | null = null
    engine.listener = {
      onBroken: () => undefined,
      onUnwritable: () => undefined,
      // Whether it counts is for the coordinator to say.
      onOtherMarker: (_node, found) => {
        other = { found, fence: { ...fence, ...(found && { marker: found }) } }
        return found && other.fence
      },
    }
    const outcomes = calls.map((call) => this.begin(call))
    this.settle()
    return { outcomes, other }
  }

  atEndOfTurn(run: () => void): void {
    this.turn.push(run)
  }

  /** Ends the turn of the process. */
  settle(): void {
    while (this.turn.length > 0) {
      const turn = this.turn
      this.turn = []
      for (const run of turn) run()
    }
  }

  private begin(call: SentCall): Outcome {
    const outcome: Outcome = { call, method: '', args: [] }
    const refusal = this.server.refusalOf(call)
    if (refusal) {
      outcome.method = 'onFailure'
      outcome.args = [refusal]
      // The marker is read all the same: a batch of refused calls notices a foreign one.
      this.begin({ method: 'get', args: [MARKER_KEY, null], doneAt: 1 })
      return outcome
    }
    const args = [...call.args]
    args[call.doneAt] = new Proxy(
      {},
      {
        get: (_target, name) => {
          return (_node: unknown, ...told: unknown[]) => {
            outcome.method = name as string
            outcome.args = told
          }
        },
      },
    )
    ;(this.engine as unknown as Record<string, DataMethod>)[call.method]!(...args)
    return outcome
  }

  /** A call on the control path. */
  async control(method: string, args: readonly unknown[]): Promise<unknown> {
    const { server } = this
    if (server.refuses && WRITES_OF_CONTROL.has(method)) throw new Error(REFUSALS[server.refuses])
    const engine = this.engine as unknown as Record<string, (...args: unknown[]) => Promise<unknown>>
    const result = await engine[method]!(...args)
    this.settle()
    const { isReplica, replid } = this
    return method === 'probe' ? { ...(result as object), durable: server.durable, isReplica, replid } : result
  }

  // ---- what is here, for faults and checks

  record(key: Buffer): StoredRecord | null {
    const bytes = this.engine.storage.get(key)
    return bytes && new StoredRecord(bytes)
  }

  get marker(): Marker | null {
    const bytes = this.markerBytes
    return bytes && decodeMarker(bytes)
  }

  get markerBytes(): Buffer | null {
    return this.engine.storage.get(MARKER_KEY)
  }

  get isClean(): boolean {
    const { marker } = this
    return marker?.state === 'clean' && marker.runId === this.runId
  }

  /** Ids of the nodes that hints are kept for here. */
  get hinted(): readonly string[] {
    return this.server.peers.filter((peer) => this.engine.storage.hintsFor(peer).size > 0)
  }

  snapshot(): Snapshot {
    const { storage } = this.engine
    const entries = storage.page(0, 1_000_000).entries.map(({ key, bytes }) => {
      return { key, bytes, lifeMs: storage.lifeMs(key) }
    })
    const hints = this.server.peers.map(
      (peer) => [peer, storage.hintsFor(peer).page(0, 1_000_000).hints] as const,
    )
    return { entries, hints }
  }

  /** DBSIZE. */
  get keys(): number {
    return this.engine.storage.page(0, 1_000_000).entries.length
  }

  /** FLUSHALL. */
  flush(): void {
    this.engine.storage.clear()
    this.settle()
  }
}

/** A place where a process may run. */
export class Server {
  readonly id: string
  readonly index: number
  readonly scheduler: Scheduler
  /** appendfsync always. */
  readonly durable: boolean
  process: Process | null
  /** By how much TIME is wrong. */
  clockOffMs = 0
  refuses: UnwritableReason | null = null
  /** It died, and comes back when all is healed, or never. */
  isGone = false
  /** Notes what it holds. */
  held: Held | null = null
  readonly clock: Clock
  /** Ids of all nodes of the cluster. */
  readonly peers: readonly string[]
  private runs = 0

  constructor(
    scheduler: Scheduler,
    index: number,
    id: string,
    { durable, peers }: { durable: boolean; peers: readonly string[] },
  ) {
    this.scheduler = scheduler
    this.index = index
    this.id = id
    this.durable = durable
    this.peers = peers
    this.clock = {
      monotonicMs: () => scheduler.nowMs,
      wallMs: () => EPOCH_MS + scheduler.nowMs + this.clockOffMs,
    }
    this.process = null
    this.start(null)
  }

  start(snapshot: Snapshot | null): void {
    this.process = new Process(this, `run-${this.id}-${++this.runs}`, snapshot)
    this.held?.began(this.process)
  }

  /** The process is gone, with what was queued for it. */
  kill(): void {
    if (this.process) this.process.alive = false
    this.process = null
    this.held?.ended(this)
  }

  /** What a node that takes no writes says to a call, null when it carries it out. */
  refusalOf({ method, args }: SentCall): NodeFailure | null {
    if (!this.refuses || method === 'get' || method === 'peek') return null
    if (method === 'storeAll' && (args[0] as StoreAllWrite[]).every(({ record }) => record === null))
      return null
    const record = args[1] as NewRecord | undefined
    const isDelete = (method === 'store' || method === 'accept') && kindOf(record!) === KIND_TOMBSTONE
    if (isDelete && this.refuses === 'out-of-memory') return null
    return { kind: 'refused', reason: this.refuses, message: REFUSALS[this.refuses] }
  }
}

const REFUSALS: Record<UnwritableReason, string> = {
  'out-of-memory': 'OOM command not allowed',
  'read-only': 'READONLY you cannot write against a read only replica',
  loading: 'LOADING the dataset is being loaded',
  misconf: 'MISCONF errors writing to the AOF file',
  busy: 'BUSY running a script',
  'no-permission': "NOPERM this user has no permissions to run the 'evalsha' command",
}
