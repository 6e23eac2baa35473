/**
 * A memory node behind a network that a test can disturb, on virtual time. Data is really stored, so a test can look at
 * what reached the node, and every data call is written down with its time.
 *
 * It fails as the Redis driver does: calls in flight end first, then the listener hears of it; a call that is not
 * answered in time breaks the connection and takes all the others with it.
 */
import { KIND_TOMBSTONE, kindOf, StoredRecord, type NewRecord } from '../../src/core/codec.ts'
import type { Floors } from '../../src/core/floors.ts'
import type { Part } from '../../src/core/part.ts'
import type { Epochs } from '../../src/core/replica-set.ts'
import type { SyncedAt } from '../../src/core/synced-at.ts'
import { NodeLoad, SMALL_BYTES } from '../../src/nodes/load.ts'
import { MemoryNode } from '../../src/nodes/memory/memory-node.ts'
import type {
  Announcements,
  CheckedIn,
  DroppedPage,
  Fence,
  GetCall,
  HintCall,
  HintPage,
  KeyPage,
  LivesCall,
  Messenger,
  MessengerEvents,
  Node,
  NodeFailure,
  NodeListener,
  NodeReport,
  PeekCall,
  PrepareCall,
  RegisterAnswer,
  ScanPage,
  StartsCall,
  StoreAllCall,
  StoreAllMode,
  StoreAllWrite,
  StoreCall,
  StoreCondition,
  Subscription,
  UnwritableReason,
} from '../../src/nodes/node.ts'
import type { VirtualTime } from './virtual-time.ts'

export const NODE_TIMEOUT_MS = 300

export interface DataCall {
  readonly op: 'get' | 'peek' | 'starts' | 'lives' | 'store' | 'prepare' | 'store-all' | 'hint'
  /** The first of several. */
  readonly key: string
  readonly atMs: number
  /** Which turn of the virtual event loop: equal numbers, same turn. */
  readonly turn: number
}

interface InFlight {
  readonly valueBytes: number
  fail(failure: NodeFailure): void
}

/** Brings an answer back, as fast as the test lets it. */
type Fly = (deliver: () => void) => void

export class FaultyNode implements Node {
  readonly id: string
  readonly address: string
  readonly memory: MemoryNode
  listener: NodeListener | null = null
  readonly load = new NodeLoad()
  readonly calls: DataCall[] = []
  probes = 0

  /** How long the answer to a data call or a probe takes; Infinity = there is none. */
  answerAfterMs = 0
  /** Whether a data call that gets no answer has taken effect all the same. */
  carriesOut = true
  /** Writes of values are refused with this. */
  unwritable: UnwritableReason | null = null
  /** Data calls are refused with this, whatever they are. */
  refusal: NodeFailure | null = null
  reachable = true
  clockOffMs = 0
  /** Carries a control call to the node and its answer back: may wait, lose either, or deliver it late. */
  network: <T>(call: () => Promise<T>) => Promise<T> = (call) => call()

  private readonly time: VirtualTime
  private inFlight = new Set<InFlight>()
  private turn = 0
  private turnEnds = false

  isClosed = false

  /** @param sharing another connection to the same node */
  constructor(id: string, time: VirtualTime, sharing?: FaultyNode, address = `${id}:6379`) {
    this.id = id
    this.address = address
    this.time = time
    this.memory = new MemoryNode({
      id,
      maxBytes: 1 << 26,
      graceMs: 86_400_000,
      clock: { monotonicMs: () => time.monotonicMs(), wallMs: () => time.wallMs() + this.clockOffMs },
      timers: time,
      runId: `${address.split(':')[0]}-run`,
    })
    if (sharing) Object.assign(this.memory, { storage: sharing.memory.storage })
    this.memory.listener = {
      onBroken: () => undefined,
      onOtherMarker: (_node, found) => this.listener?.onOtherMarker(this, found) ?? null,
      onUnwritable: () => undefined,
    }
  }

  // ---- what a test does to it

  /** The machine is gone: connections break, and new ones are refused. */
  cut(): void {
    this.reachable = false
    this.break('closed', 'the connection was closed')
  }

  /** Back on the network, with everything that it held. */
  heal(): void {
    this.reachable = true
    this.answerAfterMs = 0
  }

  /** Back as another process, with everything that it held, the marker too. */
  restart(): void {
    const { entries } = this.memory.storage.page(0, 1_000_000)
    const lives = entries.map(({ key }) => this.memory.storage.lifeMs(key))
    this.wipe()
    entries.forEach(({ key, bytes }, i) => this.memory.storage.set(key, bytes, lives[i]!))
  }

  /** Back as another process, empty. */
  wipe(): void {
    this.break('closed', 'the process ended')
    this.memory.wipe()
    this.heal()
  }

  /** FLUSHALL: connections stay. */
  flush(): void {
    this.memory.storage.clear()
  }

  /** What it holds under the key. */
  held(key: string): StoredRecord | null {
    const bytes = this.memory.storage.get(Buffer.from(key))
    return bytes && new StoredRecord(bytes)
  }

  /** The value it holds, or what else there is. */
  holds(key: string): string {
    const record = this.held(key)
    if (!record) return '(absent)'
    return record.kind === KIND_TOMBSTONE ? '(deleted)' : record.value.toString()
  }

  callsFor(key: string, op: DataCall['op']): readonly DataCall[] {
    return this.calls.filter((call) => call.op === op && call.key === key)
  }

  private break(reason: 'closed' | 'timeout', message: string): void {
    if (!this.ready) return
    const lost = this.inFlight
    this.inFlight = new Set()
    this.memory.shut(message)
    for (const call of lost) call.fail({ kind: 'unknown', reason, message })
    this.listener?.onBroken(this, { kind: 'unknown', reason, message })
    for (const { valueBytes } of lost) this.less(valueBytes)
  }

  // ---- data path

  get ready(): boolean {
    return this.memory.ready
  }

  get(key: Buffer, call: GetCall, expectedBytes = 0): void {
    const fly = this.begin(
      'get',
      key,
      (failure) => call.onFailure(this, failure),
      this.refusal,
      expectedBytes,
    )
    if (!fly) return
    this.memory.get(key, {
      onRecord: (_node, bytes, fence) => fly(() => call.onRecord(this, bytes, fence)),
      onFailure: (_node, failure) => fly(() => call.onFailure(this, failure)),
    })
  }

  peek(key: Buffer, part: Part, call: PeekCall, expectedBytes = 0): void {
    const fail = (failure: NodeFailure) => call.onFailure(this, failure)
    const fly = this.begin('peek', key, fail, this.refusal, expectedBytes)
    if (!fly) return
    this.memory.peek(key, part, {
      onPeeked: (_node, record, fence) => fly(() => call.onPeeked(this, record, fence)),
      onFailure: (_node, failure) => fly(() => call.onFailure(this, failure)),
    })
  }

  starts(keys: readonly Buffer[], bytes: number, call: StartsCall): void {
    const fly = this.begin('starts', keys[0]!, (failure) => call.onFailure(this, failure))
    if (!fly) return
    this.memory.starts(keys, bytes, {
      onStarts: (_node, starts, fence) => fly(() => call.onStarts(this, starts, fence)),
      onFailure: (_node, failure) => fly(() => call.onFailure(this, failure)),
    })
  }

  lives(keys: readonly Buffer[], call: LivesCall): void {
    const fly = this.begin('lives', keys[0]!, (failure) => call.onFailure(this, failure))
    if (!fly) return
    this.memory.lives(keys, {
      onLives: (_node, lives, fence) => fly(() => call.onLives(this, lives, fence)),
      onFailure: (_node, failure) => fly(() => call.onFailure(this, failure)),
    })
  }

  store(key: Buffer, record: NewRecord, lifeMs: number, call: StoreCall, condition?: StoreCondition): void {
    const fly = this.beginStore(key, record, call)
    if (fly) this.memory.store(key, record, lifeMs, flying(this, call, fly), condition)
  }

  accept(key: Buffer, record: NewRecord, lifeMs: number, call: StoreCall, epochs?: Epochs): void {
    const fly = this.beginStore(key, record, call)
    if (fly) this.memory.accept(key, record, lifeMs, flying(this, call, fly), epochs)
  }

  prepare(key: Buffer, ballot: Buffer, call: PrepareCall, expectedBytes = 0): void {
    const refusal = this.unwritable ? refusedAs(this.unwritable) : this.refusal
    const fail = (failure: NodeFailure) => call.onFailure(this, failure)
    const fly = this.begin('prepare', key, fail, refusal, expectedBytes)
    if (!fly) return
    this.memory.prepare(key, ballot, {
      onPromised: (_node, bytes, fence) => fly(() => call.onPromised(this, bytes, fence)),
      onRefused: (_node, newest, fence) => fly(() => call.onRefused(this, newest, fence)),
      onFailure: (_node, failure) => fly(() => call.onFailure(this, failure)),
    })
  }

  storeAll(writes: readonly StoreAllWrite[], mode: StoreAllMode, call: StoreAllCall, epochs?: Epochs): void {
    const records = writes.flatMap(({ record }) => record ?? [])
    const isDelete = records.every((record) => kindOf(record) === KIND_TOMBSTONE)
    const takes = this.takes(isDelete) || records.length === 0
    const refusal = takes ? this.refusal : refusedAs(this.unwritable!)
    const { key } = writes[0]!
    const bytes = records.reduce((sum, { value }) => sum + value.length, 0)
    const fly = this.begin('store-all', key, (failure) => call.onFailure(this, failure), refusal, bytes)
    if (!fly) return
    this.memory.storeAll(
      writes,
      mode,
      {
        onApplied: (_node, fence, keptMs) => fly(() => call.onApplied(this, fence, keptMs)),
        onStale: (_node, held, fence) => fly(() => call.onStale(this, held, fence)),
        onFailure: (_node, failure) => fly(() => call.onFailure(this, failure)),
      },
      epochs,
    )
  }

  hint(target: string, key: Buffer, version: Buffer, call: HintCall): void {
    const refusal = this.unwritable ? refusedAs(this.unwritable) : this.refusal
    const fly = this.begin('hint', key, (failure) => call.onFailure(this, failure), refusal)
    if (!fly) return
    this.memory.hint(target, key, version, {
      onApplied: (_node, fence) => fly(() => call.onApplied(this, fence)),
      onFailure: (_node, failure) => fly(() => call.onFailure(this, failure)),
    })
  }

  private beginStore(key: Buffer, record: NewRecord, call: StoreCall): Fly | null {
    const refusal = this.takes(kindOf(record) === KIND_TOMBSTONE) ? this.refusal : refusedAs(this.unwritable!)
    const fail = (failure: NodeFailure) => call.onFailure(this, failure)
    return this.begin('store', key, fail, refusal, record.value.length)
  }

  private takes(isDelete: boolean): boolean {
    return this.unwritable === null || (isDelete && this.unwritable === 'out-of-memory')
  }

  /** Null when the call is not carried out; otherwise what delivers its answer. */
  private begin(
    op: DataCall['op'],
    key: Buffer,
    fail: (failure: NodeFailure) => void,
    refusal = this.refusal,
    valueBytes = 0,
  ): Fly | null {
    this.calls.push({ op, key: key.toString(), atMs: this.time.monotonicMs(), turn: this.currentTurn() })
    if (!this.ready) {
      this.time.endOfTurn(() => fail({ kind: 'not-sent', reason: 'not-connected', message: 'not connected' }))
      return null
    }
    if (refusal) {
      this.time.endOfTurn(() => {
        if (this.unwritable) this.listener?.onUnwritable(this, this.unwritable)
        fail(refusal)
      })
      return null
    }
    const call: InFlight = { valueBytes, fail }
    this.inFlight.add(call)
    if (valueBytes > SMALL_BYTES) this.load.largeBytes += valueBytes
    else this.load.smallBytes += valueBytes
    const delayMs = this.answerAfterMs
    const end = (deliver: () => void) => {
      if (!this.inFlight.delete(call)) return
      deliver()
      this.less(valueBytes)
    }
    if (delayMs >= NODE_TIMEOUT_MS) {
      this.time.setTimeout(() => {
        if (this.inFlight.has(call)) this.break('timeout', `no answer within ${NODE_TIMEOUT_MS} ms`)
      }, NODE_TIMEOUT_MS)
      return this.carriesOut ? () => undefined : null
    }
    if (delayMs === 0) return end
    return (deliver) => void this.time.setTimeout(() => end(deliver), delayMs)
  }

  private less(valueBytes: number): void {
    const isLarge = valueBytes > SMALL_BYTES
    this.load.less(isLarge ? valueBytes : 0, isLarge ? 0 : valueBytes)
  }

  private currentTurn(): number {
    if (!this.turnEnds) {
      this.turnEnds = true
      this.time.endOfTurn(() => {
        this.turnEnds = false
        this.turn++
      })
    }
    return this.turn
  }

  async open(fence: Fence): Promise<void> {
    await this.control(() => this.memory.open(fence))
  }

  shut(reason: string): void {
    const lost = this.inFlight
    this.inFlight = new Set()
    this.memory.shut(reason)
    for (const call of lost) call.fail({ kind: 'unknown', reason: 'closed', message: reason })
    for (const { valueBytes } of lost) this.less(valueBytes)
  }

  // ---- control path

  async probe(peers?: readonly string[]): Promise<NodeReport> {
    this.probes++
    return this.control(() => this.memory.probe(peers))
  }

  decided(): Promise<Buffer | null> {
    return this.control(() => this.memory.decided())
  }

  /** What it does not allow. */
  denied: readonly string[] = []

  forbidden(): Promise<readonly string[]> {
    return this.control(() => Promise.resolve(this.denied))
  }

  async tryWrite(): Promise<void> {
    await this.control(() => this.memory.tryWrite())
    if (this.unwritable) throw new Error(refusedAs(this.unwritable).message)
  }

  swapMarker(expected: Buffer | null, next: Buffer, decided?: Buffer | null): Promise<boolean> {
    return this.control(() => this.memory.swapMarker(expected, next, decided))
  }

  checkIn(marker: Buffer, id: string, text: string, reads: boolean): Promise<readonly CheckedIn[] | null> {
    return this.control(() => this.memory.checkIn(marker, id, text, reads))
  }

  empty(marker: Buffer | null): Promise<boolean> {
    return this.control(() => this.memory.empty(marker))
  }

  stamp(marker: Buffer, syncedAt: SyncedAt): Promise<boolean> {
    return this.control(() => this.memory.stamp(marker, syncedAt))
  }

  dropOlder(marker: Buffer, keys: readonly Buffer[], beforeMs: number): Promise<number | null> {
    return this.control(() => this.memory.dropOlder(marker, keys, beforeMs))
  }

  dropBelow(marker: Buffer, floors: Floors, cursor: string, count: number): Promise<DroppedPage | null> {
    return this.control(() => this.memory.dropBelow(marker, floors, cursor, count))
  }

  prepareRegister(ballot: Buffer): Promise<RegisterAnswer> {
    return this.control(() => this.memory.prepareRegister(ballot))
  }

  acceptRegister(record: NewRecord): Promise<RegisterAnswer> {
    return this.control(() => this.memory.acceptRegister(record))
  }

  lease(name: string, owner: string, forMs: number): Promise<boolean> {
    return this.control(() => this.memory.lease(name, owner, forMs))
  }

  hints(target: string, cursor: string, count: number): Promise<HintPage> {
    return this.control(() => this.memory.hints(target, cursor, count))
  }

  dropHint(target: string, key: Buffer, version: Buffer): Promise<void> {
    return this.control(() => this.memory.dropHint(target, key, version))
  }

  dropCopy(marker: Buffer, key: Buffer, version: Buffer): Promise<void> {
    return this.control(() => this.memory.dropCopy(marker, key, version))
  }

  scan(cursor: string, match: Buffer | null, count: number): Promise<ScanPage> {
    return this.control(() => this.memory.scan(cursor, match, count))
  }

  keys(cursor: string, count: number): Promise<KeyPage> {
    return this.control(() => this.memory.keys(cursor, count))
  }

  lifeMs(key: Buffer): Promise<number> {
    return this.control(() => this.memory.lifeMs(key))
  }

  announce(): Promise<void> {
    return this.control(() => this.memory.announce())
  }

  subscribe(to: Announcements): Subscription {
    return this.memory.subscribe(to)
  }

  messenger(to: MessengerEvents): Messenger {
    return this.memory.messenger(to)
  }

  close(): Promise<void> {
    this.inFlight.clear()
    this.isClosed = true
    return this.memory.close()
  }

  private async control<T>(call: () => Promise<T>): Promise<T> {
    this.checkReachable()
    if (this.answerAfterMs > 0) {
      await new Promise<void>((resolve) => {
        this.time.setTimeout(resolve, Math.min(this.answerAfterMs, NODE_TIMEOUT_MS))
      })
      if (this.answerAfterMs >= NODE_TIMEOUT_MS) throw new Error('no answer to a ping in time')
    }
    return this.network(call)
  }

  private checkReachable(): void {
    if (this.reachable) return
    throw Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' })
  }
}

function flying(node: FaultyNode, call: StoreCall, fly: Fly): StoreCall {
  return {
    onApplied: (_node, fence, keptMs) => fly(() => call.onApplied(node, fence, keptMs)),
    onStale: (_node, held, fence) => fly(() => call.onStale(node, held, fence)),
    onFailure: (_node, failure) => fly(() => call.onFailure(node, failure)),
  }
}

const ERROR_WORDS: Record<UnwritableReason, string> = {
  'out-of-memory': 'OOM command not allowed',
  'read-only': 'READONLY you cannot write against a read only replica',
  loading: 'LOADING the dataset is being loaded',
  misconf: 'MISCONF errors writing to the AOF file',
  busy: 'BUSY running a script',
  'no-permission': "NOPERM this user has no permissions to run the 'evalsha' command",
}

export function refusedAs(reason: UnwritableReason): NodeFailure {
  return { kind: 'refused', reason, message: ERROR_WORDS[reason] }
}
