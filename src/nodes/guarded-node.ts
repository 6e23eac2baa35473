/**
 * A node over a driver of the embedding program (RondoOptions.nodes), kept to the parts of its contract (node.ts) whose breach
 * would end the process or hold requests for ever:
 *
 * - A call that throws has failed with an unknown outcome; a control call that throws rejects.
 * - Whatever answers twice is heard once, and nothing is heard before the call has returned.
 * - A call that is not answered in time has failed with an unknown outcome, and the data path is shut, as that of a Redis is.
 * - Calls and listeners are told of this node, so that a driver may wrap another one and pass its answers on.
 *
 * It cannot tell whether answers are true.
 */
import type { Timers } from '../core/clock.ts'
import type { NewRecord } from '../core/codec.ts'
import type { Floors } from '../core/floors.ts'
import type { Part } from '../core/part.ts'
import type { Epochs } from '../core/replica-set.ts'
import type { SyncedAt } from '../core/synced-at.ts'
import { endedSoon, NodeCallFailed } from './failures.ts'
import { guardedMessenger } from './guarded-messenger.ts'
import type {
  Announcements,
  ChangeEvents,
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
} from './node.ts'

export interface GuardOptions {
  readonly timers: Timers
  /** Of a call on the data path. */
  readonly nodeTimeoutMs: number
}

/** A control call may read a page of keys. */
const CONTROL_TIMEOUTS = 10

/** Hears one answer, the first. */
interface Once {
  readonly answer: (deliver: () => void) => void
  readonly onFailure: (node: Node, failure: NodeFailure) => void
}

export class GuardedNode implements Node {
  readonly id: string
  readonly changes?: (to: ChangeEvents) => Subscription
  private readonly inner: Node
  private readonly options: GuardOptions
  private heard: NodeListener | null = null

  constructor(inner: Node, options: GuardOptions) {
    this.id = inner.id
    this.inner = inner
    this.options = options
    if (inner.changes) this.changes = (to) => this.changesOf(to)
  }

  /** `opened` and `ended` once each, and nothing after the end, or once it is closed. */
  private changesOf(to: ChangeEvents): Subscription {
    let isOpen = false
    let isOver = false
    const events: ChangeEvents = {
      opened: () => {
        if (isOver || isOpen) return
        isOpen = true
        to.opened()
      },
      changed: (keys) => isOver || to.changed(keys),
      ended: (why) => {
        if (isOver) return
        isOver = true
        to.ended(why)
      },
    }
    try {
      const inner = this.inner.changes!(events)
      const close = () => {
        isOver = true
        try {
          inner.close()
        } catch {
          // nothing is heard of it any more
        }
      }
      return { close }
    } catch (error) {
      isOver = true
      return endedSoon(to, messageOf(error), this.options.timers)
    }
  }

  get address(): string {
    return this.inner.address
  }

  get ready(): boolean {
    return this.inner.ready
  }

  get load(): Node['load'] {
    return this.inner.load
  }

  get listener(): NodeListener | null {
    return this.heard
  }

  set listener(listener: NodeListener | null) {
    this.heard = listener
    this.inner.listener = listener && {
      onBroken: (_node, failure) => listener.onBroken(this, failure),
      onOtherMarker: (_node, found) => listener.onOtherMarker(this, found),
      onUnwritable: (_node, reason) => listener.onUnwritable(this, reason),
    }
  }

  // ---- data path

  private start(call: Pick<GetCall, 'onFailure'>, begin: (once: Once) => void): void {
    const { timers, nodeTimeoutMs } = this.options
    let hasReturned = false
    let isAnswered = false
    const answer = (deliver: () => void) => {
      if (isAnswered) return
      isAnswered = true
      timers.clearTimeout(timer)
      if (hasReturned) deliver()
      else timers.endOfTurn(deliver)
    }
    const fail = (failure: NodeFailure) => answer(() => call.onFailure(this, failure))
    const timer = timers.setTimeout(() => {
      const message = `node ${this.id} did not answer in ${nodeTimeoutMs} ms`
      const late: NodeFailure = { kind: 'unknown', reason: 'timeout', message }
      fail(late)
      this.breakDown(late)
    }, nodeTimeoutMs)
    try {
      begin({ answer, onFailure: (_node, failure) => fail(failure) })
    } catch (error) {
      fail({
        kind: 'unknown',
        reason: 'error',
        message: `the driver of node ${this.id}: ${messageOf(error)}`,
      })
    }
    hasReturned = true
  }

  private breakDown(failure: NodeFailure): void {
    if (!this.ready) return
    this.shut(failure.message)
    this.heard?.onBroken(this, failure)
  }

  get(key: Buffer, call: GetCall, expectedBytes?: number): void {
    this.start(call, ({ answer, onFailure }) => {
      const onRecord: GetCall['onRecord'] = (_node, bytes, fence) =>
        answer(() => call.onRecord(this, bytes, fence))
      this.inner.get(key, { onRecord, onFailure }, expectedBytes)
    })
  }

  peek(key: Buffer, part: Part, call: PeekCall, expectedBytes?: number): void {
    this.start(call, ({ answer, onFailure }) => {
      const onPeeked: PeekCall['onPeeked'] = (_node, record, fence) =>
        answer(() => call.onPeeked(this, record, fence))
      this.inner.peek(key, part, { onPeeked, onFailure }, expectedBytes)
    })
  }

  starts(keys: readonly Buffer[], bytes: number, call: StartsCall): void {
    this.start(call, ({ answer, onFailure }) => {
      const onStarts: StartsCall['onStarts'] = (_node, starts, fence) =>
        answer(() => call.onStarts(this, starts, fence))
      this.inner.starts(keys, bytes, { onStarts, onFailure })
    })
  }

  lives(keys: readonly Buffer[], call: LivesCall): void {
    this.start(call, ({ answer, onFailure }) => {
      const onLives: LivesCall['onLives'] = (_node, livesMs, fence) =>
        answer(() => call.onLives(this, livesMs, fence))
      this.inner.lives(keys, { onLives, onFailure })
    })
  }

  store(key: Buffer, record: NewRecord, lifeMs: number, call: StoreCall, condition?: StoreCondition): void {
    this.start(call, (once) => this.inner.store(key, record, lifeMs, this.stored(call, once), condition))
  }

  accept(key: Buffer, record: NewRecord, lifeMs: number, call: StoreCall, epochs?: Epochs): void {
    this.start(call, (once) => this.inner.accept(key, record, lifeMs, this.stored(call, once), epochs))
  }

  private stored(call: StoreCall, { answer, onFailure }: Once): StoreCall {
    return {
      onApplied: (_node, fence, keptMs) => answer(() => call.onApplied(this, fence, keptMs)),
      onStale: (_node, held, fence) => answer(() => call.onStale(this, held, fence)),
      onFailure,
    }
  }

  prepare(key: Buffer, ballot: Buffer, call: PrepareCall, expectedBytes?: number): void {
    this.start(call, ({ answer, onFailure }) => {
      const promised: PrepareCall = {
        onPromised: (_node, bytes, fence) => answer(() => call.onPromised(this, bytes, fence)),
        onRefused: (_node, newest, fence) => answer(() => call.onRefused(this, newest, fence)),
        onFailure,
      }
      this.inner.prepare(key, ballot, promised, expectedBytes)
    })
  }

  storeAll(writes: readonly StoreAllWrite[], mode: StoreAllMode, call: StoreAllCall, epochs?: Epochs): void {
    this.start(call, ({ answer, onFailure }) => {
      const stored: StoreAllCall = {
        onApplied: (_node, fence, keptMs) => answer(() => call.onApplied(this, fence, keptMs)),
        onStale: (_node, held, fence) => answer(() => call.onStale(this, held, fence)),
        onFailure,
      }
      this.inner.storeAll(writes, mode, stored, epochs)
    })
  }

  hint(target: string, key: Buffer, version: Buffer, call: HintCall): void {
    this.start(call, ({ answer, onFailure }) => {
      const onApplied: HintCall['onApplied'] = (_node, fence) => answer(() => call.onApplied(this, fence))
      this.inner.hint(target, key, version, { onApplied, onFailure })
    })
  }

  shut(reason: string): void {
    try {
      this.inner.shut(reason)
    } catch {
      // what is still under way ends with its time limit
    }
  }

  // ---- control path

  private control<T>(run: () => Promise<T>): Promise<T> {
    const { timers, nodeTimeoutMs } = this.options
    return new Promise((resolve, reject) => {
      const timer = timers.setTimeout(
        () => reject(new NodeCallFailed(`node ${this.id} did not answer in time`)),
        nodeTimeoutMs * CONTROL_TIMEOUTS,
      )
      const ended = () => timers.clearTimeout(timer)
      // In an async function, so that one that throws rejects.
      const called = (async () => run())()
      called.then(resolve, reject).finally(ended).catch(reject)
    })
  }

  probe(peers?: readonly string[]): Promise<NodeReport> {
    return this.control(() => this.inner.probe(peers))
  }

  decided(): Promise<Buffer | null> {
    return this.control(() => this.inner.decided())
  }

  forbidden(): Promise<readonly string[]> {
    return this.control(() => this.inner.forbidden())
  }

  open(fence: Fence): Promise<void> {
    return this.control(() => this.inner.open(fence))
  }

  tryWrite(): Promise<void> {
    return this.control(() => this.inner.tryWrite())
  }

  swapMarker(expected: Buffer | null, next: Buffer, decided?: Buffer | null): Promise<boolean> {
    return this.control(() => this.inner.swapMarker(expected, next, decided))
  }

  checkIn(marker: Buffer, id: string, text: string, reads: boolean): Promise<readonly CheckedIn[] | null> {
    return this.control(() => this.inner.checkIn(marker, id, text, reads))
  }

  empty(marker: Buffer | null): Promise<boolean> {
    return this.control(() => this.inner.empty(marker))
  }

  stamp(marker: Buffer, syncedAt: SyncedAt): Promise<boolean> {
    return this.control(() => this.inner.stamp(marker, syncedAt))
  }

  dropOlder(marker: Buffer, keys: readonly Buffer[], beforeMs: number): Promise<number | null> {
    return this.control(() => this.inner.dropOlder(marker, keys, beforeMs))
  }

  lease(name: string, owner: string, forMs: number): Promise<boolean> {
    return this.control(() => this.inner.lease(name, owner, forMs))
  }

  hints(target: string, cursor: string, count: number): Promise<HintPage> {
    return this.control(() => this.inner.hints(target, cursor, count))
  }

  dropHint(target: string, key: Buffer, version: Buffer): Promise<void> {
    return this.control(() => this.inner.dropHint(target, key, version))
  }

  dropBelow(marker: Buffer, floors: Floors, cursor: string, count: number): Promise<DroppedPage | null> {
    return this.control(() => this.inner.dropBelow(marker, floors, cursor, count))
  }

  dropCopy(marker: Buffer, key: Buffer, version: Buffer): Promise<void> {
    return this.control(() => this.inner.dropCopy(marker, key, version))
  }

  prepareRegister(ballot: Buffer): Promise<RegisterAnswer> {
    return this.control(() => this.inner.prepareRegister(ballot))
  }

  acceptRegister(record: NewRecord): Promise<RegisterAnswer> {
    return this.control(() => this.inner.acceptRegister(record))
  }

  scan(cursor: string, match: Buffer | null, count: number): Promise<ScanPage> {
    return this.control(() => this.inner.scan(cursor, match, count))
  }

  keys(cursor: string, count: number): Promise<KeyPage> {
    return this.control(() => this.inner.keys(cursor, count))
  }

  lifeMs(key: Buffer): Promise<number> {
    return this.control(() => this.inner.lifeMs(key))
  }

  announce(): Promise<void> {
    return this.control(() => this.inner.announce())
  }

  subscribe(to: Announcements): Subscription {
    try {
      return this.inner.subscribe(to)
    } catch (error) {
      return endedSoon(to, messageOf(error), this.options.timers)
    }
  }

  messenger(to: MessengerEvents): Messenger {
    return guardedMessenger((events) => this.inner.messenger(events), to, this.options.timers)
  }

  close(): Promise<void> {
    return this.control(() => this.inner.close())
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
