/**
 * A third driver, as an embedding program would write it: with nothing but what `rondo/node-contract` exports, over a server
 * that is a plain Map, some turns of the event loop away. Several nodes (of several coordinators) may use one server.
 *
 *     this turn:    get a   store b      → queued
 *     end of turn:  one request with both → executed by the server in order, at the end of the next turn
 *     one more:     the answers, with the marker that the server had → as expected? then they count
 *
 * So, unlike a memory node, it has calls in flight: if it is shut meanwhile they have an unknown outcome. It evicts nothing.
 */
import {
  aboveFloor,
  CHECKED_IN_MS,
  compareVersions,
  DECIDED_KEY,
  decideAccept,
  decidePrepare,
  decideStore,
  decideStoreAll,
  decodeSyncedAt,
  encodeSyncedAt,
  FOREIGN_MARKER,
  Glob,
  HEAD_WITH_PROMISE_BYTES,
  hintsFull,
  isMarkedWithin,
  KIND_NOTHING,
  leaseKey,
  MARKER_KEY,
  MAX_CHECKED_IN,
  MAX_HINTS,
  NodeLoad,
  NOT_CONNECTED,
  OTHER_EPOCH,
  OTHER_RUN,
  PeekedRecord,
  promiseAlone,
  SHUT,
  StoredRecord,
  SYNCED_AT_KEY,
  TOO_LATE,
  TOPOLOGY_KEY,
  VERSION_BYTES,
  VERSION_ZERO,
  versionMs,
  WRITABLE_KEY,
  type Announcements,
  type CheckedIn,
  type Clock,
  type DroppedPage,
  type Epochs,
  type Fence,
  type Floors,
  type GetCall,
  type Hint,
  type HintCall,
  type HintPage,
  type KeyPage,
  type Listening,
  type LivesCall,
  type Messenger,
  type MessengerEvents,
  type NewRecord,
  type Node,
  type NodeFailure,
  type NodeListener,
  type NodeReport,
  type Part,
  type PeekCall,
  type PrepareCall,
  type PublishCall,
  type RegisterAnswer,
  type ScanPage,
  type StartsCall,
  type StoreAllCall,
  type StoreAllMode,
  type StoreAllWrite,
  type StoreCall,
  type StoreCondition,
  type StoreDecision,
  type Subscription,
  type SyncedAt,
  type Timers,
} from '../../src/library/node-contract/index.ts'

interface Entry {
  readonly bytes: Buffer
  /** Monotonic; Infinity = without an end. */
  readonly endsAtMs: number
  /** When it was added: listings go from the newest to the oldest. */
  readonly number: number
}

/** The data, and who is connected. */
export class MapServer {
  runId = 'map-1'
  readonly hints = new Map<string, Map<string, Hint & { number: number }>>()
  readonly notes = new Map<string, { readonly text: string; readonly atMs: number }>()
  readonly listeners = new Set<Announcements>()
  readonly messengers = new Set<MapMessenger>()
  readonly connected = new Set<MapNode>()
  private entries = new Map<string, Entry>()
  private lastNumber = 0
  private readonly clock: Clock

  constructor(clock: Clock) {
    this.clock = clock
  }

  get size(): number {
    return this.entries.size
  }

  get bytes(): number {
    return [...this.entries.values()].reduce((sum, { bytes }) => sum + bytes.length, 0)
  }

  private entry(key: Buffer): Entry | null {
    const name = key.toString('latin1')
    const entry = this.entries.get(name)
    if (!entry) return null
    if (entry.endsAtMs > this.clock.monotonicMs()) return entry
    this.entries.delete(name)
    return null
  }

  get(key: Buffer): Buffer | null {
    return this.entry(key)?.bytes ?? null
  }

  /** Infinity without an end, 0 if there is no such key. */
  lifeMs(key: Buffer): number {
    const entry = this.entry(key)
    return entry ? entry.endsAtMs - this.clock.monotonicMs() : 0
  }

  /** As PTTL. */
  leftMs(key: Buffer): number {
    if (!this.entry(key)) return -2
    const lifeMs = this.lifeMs(key)
    return lifeMs === Infinity ? -1 : Math.ceil(lifeMs)
  }

  set(key: Buffer, bytes: Buffer, lifeMs: number): void {
    const number = this.entry(key)?.number ?? this.nextNumber()
    const endsAtMs = this.clock.monotonicMs() + lifeMs
    this.entries.set(key.toString('latin1'), { bytes: Buffer.from(bytes), endsAtMs, number })
  }

  nextNumber(): number {
    return ++this.lastNumber
  }

  delete(key: Buffer): void {
    this.entries.delete(key.toString('latin1'))
  }

  clear(): void {
    this.entries.clear()
    this.hints.clear()
    this.notes.clear()
  }

  /** As another process, with nothing of what was there. */
  restart(): void {
    this.clear()
    this.runId = `map-${Number(this.runId.slice(4)) + 1}`
    for (const node of [...this.connected]) node.lost()
    for (const messenger of [...this.messengers]) messenger.lost()
  }

  page(cursor: string, count: number): { cursor: string; keys: { key: Buffer; bytes: Buffer }[] } {
    const { rows, next } = pageOf([...this.entries], cursor, count, ([, { number }]) => number)
    const keys = rows.flatMap(([name]) => {
      const key = Buffer.from(name, 'latin1')
      const bytes = this.get(key)
      return bytes ? [{ key, bytes }] : []
    })
    return { cursor: next, keys }
  }

  hintsFor(target: string): Map<string, Hint & { number: number }> {
    const hints = this.hints.get(target) ?? new Map<string, Hint & { number: number }>()
    this.hints.set(target, hints)
    return hints
  }
}

/** Up to `count` rows with numbers below the cursor, from the highest down. */
function pageOf<T>(rows: T[], cursor: string, count: number, numberOf: (row: T) => number) {
  if (!/^\d{1,16}$/.test(cursor)) throw new Error('ERR invalid cursor')
  if (!(count >= 1)) throw new Error('ERR syntax error')
  const below = cursor === '0' ? Infinity : Number(cursor)
  const left = rows.filter((row) => numberOf(row) < below).sort((a, b) => numberOf(b) - numberOf(a))
  const page = left.slice(0, count)
  return { rows: page, next: left.length > count ? String(numberOf(page.at(-1)!)) : '0' }
}

export interface MapNodeOptions {
  readonly id: string
  readonly graceMs: number
  readonly clock: Clock
  readonly timers: Timers
  readonly maxHints?: number
}

interface Call {
  readonly fence: Fence
  /** At the server. @returns what to do with the answer */
  execute(): (found: Fence) => void
  fail(failure: NodeFailure): void
}

interface Batch {
  readonly calls: readonly Call[]
}

export class MapNode implements Node {
  readonly id: string
  readonly address: string
  readonly load = new NodeLoad()
  listener: NodeListener | null = null
  private readonly server: MapServer
  private readonly options: MapNodeOptions
  private fence: Fence | null = null
  private opening: object | null = null
  private pending: Call[] = []
  private readonly inFlight = new Set<Batch>()
  private closed = false

  constructor(server: MapServer, options: MapNodeOptions) {
    this.server = server
    this.options = options
    this.id = options.id
    this.address = options.id
  }

  // ---- data path

  get ready(): boolean {
    return this.fence !== null
  }

  private send(call: { execute: Call['execute']; onFailure: (failure: NodeFailure) => void }): void {
    const { fence } = this
    if (!fence) {
      this.options.timers.endOfTurn(() => call.onFailure(NOT_CONNECTED))
      return
    }
    const { execute, onFailure: fail } = call
    if (this.pending.push({ fence, execute, fail }) === 1) {
      this.options.timers.endOfTurn(() => this.flush())
    }
  }

  private flush(): void {
    const batch: Batch = { calls: this.pending }
    if (batch.calls.length === 0) return
    this.pending = []
    this.inFlight.add(batch)
    const { timers } = this.options
    timers.endOfTurn(() => {
      const answers = batch.calls.map((call) => call.execute())
      const marker = this.server.get(MARKER_KEY)
      timers.endOfTurn(() => this.receive(batch, answers, marker))
    })
  }

  private receive(batch: Batch, answers: ((found: Fence) => void)[], marker: Buffer | null): void {
    if (!this.inFlight.delete(batch)) return // it was shut meanwhile, and they have failed
    let other: Fence | null | undefined
    batch.calls.forEach((call, i) => {
      const isExpected = marker?.equals(call.fence.marker) ?? false
      if (!isExpected && other === undefined) other = this.follow(marker)
      const found = isExpected ? call.fence : other
      if (found) answers[i]!(found)
      else call.fail(FOREIGN_MARKER)
    })
  }

  /** Another marker than the expected one, which may be the same node's. */
  private follow(marker: Buffer | null): Fence | null {
    if (marker && this.fence?.marker.equals(marker)) return this.fence
    const fence = this.listener?.onOtherMarker(this, marker && Buffer.from(marker)) ?? null
    if (fence && this.fence) this.fence = fence
    return fence
  }

  get(asked: Buffer, call: GetCall): void {
    const key = Buffer.from(asked)
    this.send({
      execute: () => {
        const bytes = this.server.get(key)
        return (found) => call.onRecord(this, aboveFloor(found.floors, key, bytes), found)
      },
      onFailure: (failure) => call.onFailure(this, failure),
    })
  }

  peek(asked: Buffer, part: Part, call: PeekCall): void {
    const key = Buffer.from(asked)
    this.send({
      execute: () => {
        const bytes = this.server.get(key)
        return (found) => {
          const shown = aboveFloor(found.floors, key, bytes)
          call.onPeeked(this, shown && PeekedRecord.of(new StoredRecord(shown), part), found)
        }
      },
      onFailure: (failure) => call.onFailure(this, failure),
    })
  }

  starts(asked: readonly Buffer[], bytes: number, call: StartsCall): void {
    const keys = asked.map((key) => Buffer.from(key))
    this.send({
      execute: () => {
        const held = keys.map((key) => this.server.get(key)?.subarray(0, bytes) ?? null)
        return (found) => {
          const starts = held.map((start, i) =>
            aboveFloor(found.floors, keys[i]!, start?.length ? start : null),
          )
          call.onStarts(this, starts, found)
        }
      },
      onFailure: (failure) => call.onFailure(this, failure),
    })
  }

  lives(asked: readonly Buffer[], call: LivesCall): void {
    const keys = asked.map((key) => Buffer.from(key))
    this.send({
      execute: () => {
        const lives = keys.map((key) => this.server.leftMs(key))
        return (found) => call.onLives(this, lives, found)
      },
      onFailure: (failure) => call.onFailure(this, failure),
    })
  }

  store(
    key: Buffer,
    record: NewRecord,
    lifeMs: number,
    call: StoreCall,
    condition: StoreCondition = {},
  ): void {
    const { untilMs, epochs, onlyIf } = condition
    this.change(key, lifeMs, call, (held, heldMs, name) => {
      if (untilMs !== undefined && this.options.clock.wallMs() > untilMs) return TOO_LATE
      if (this.isOtherEpoch(epochs)) return OTHER_EPOCH
      const floor = this.fence?.floors?.of(name)
      return decideStore(held, heldMs, record, lifeMs, this.options.graceMs, onlyIf, floor)
    })
  }

  accept(key: Buffer, record: NewRecord, lifeMs: number, call: StoreCall, epochs?: Epochs): void {
    this.change(key, lifeMs, call, (held, heldMs) => {
      if (this.isOtherEpoch(epochs)) return OTHER_EPOCH
      return decideAccept(held, heldMs, record, lifeMs, this.options.graceMs)
    })
  }

  private isOtherEpoch(epochs: Epochs | undefined): boolean {
    return epochs !== undefined && !isMarkedWithin(this.server.get(MARKER_KEY), epochs)
  }

  private change(
    asked: Buffer,
    askedMs: number,
    call: StoreCall,
    decide: (held: Buffer | null, heldMs: number, key: Buffer) => StoreDecision | NodeFailure,
  ): void {
    const key = Buffer.from(asked)
    this.send({
      execute: () => {
        const decision = decide(this.server.get(key), this.server.lifeMs(key), key)
        if ('reason' in decision) return () => call.onFailure(this, decision)
        if (decision.kind === 'stale') return (found) => call.onStale(this, decision.held, found)
        if (decision.kind === 'keep') this.server.set(key, decision.bytes, decision.lifeMs)
        return (found) => call.onApplied(this, found, keptFor(decision.lifeMs, askedMs))
      },
      onFailure: (failure) => call.onFailure(this, failure),
    })
  }

  prepare(asked: Buffer, ballot: Buffer, call: PrepareCall): void {
    const key = Buffer.from(asked)
    this.send({
      execute: () => {
        const answer = this.promise(key, ballot, this.options.graceMs)
        if (!answer.ok) return (found) => call.onRefused(this, answer.newest, found)
        return (found) => call.onPromised(this, aboveFloor(found.floors, key, answer.record), found)
      },
      onFailure: (failure) => call.onFailure(this, failure),
    })
  }

  /** @param newMs how long to keep a key without a record for its promise */
  private promise(key: Buffer, ballot: Buffer, newMs: number): RegisterAnswer {
    const held = this.server.get(key)
    const decision = decidePrepare(held, ballot)
    if (!decision.ok) return decision
    this.server.set(key, decision.bytes, held ? this.server.lifeMs(key) : newMs)
    return { ok: true, record: decision.record }
  }

  storeAll(asked: readonly StoreAllWrite[], mode: StoreAllMode, call: StoreAllCall, epochs?: Epochs): void {
    const writes = asked.map((write) => ({ ...write, key: Buffer.from(write.key) }))
    this.send({
      execute: () => {
        if (this.isOtherEpoch(epochs)) return () => call.onFailure(this, OTHER_EPOCH)
        const keys = writes.map((write) => ({
          ...write,
          held: this.server.get(write.key),
          heldLifeMs: this.server.lifeMs(write.key),
          floor: this.fence?.floors?.of(write.key) ?? VERSION_ZERO,
        }))
        const decision = decideStoreAll(keys, mode, this.options.graceMs)
        if (decision.kind === 'stale') return (found) => call.onStale(this, decision.held, found)
        const keptMs = decision.decisions.map((one, i) => {
          if (one?.kind === 'keep') this.server.set(writes[i]!.key, one.bytes, one.lifeMs)
          return one ? keptFor(one.lifeMs, writes[i]!.lifeMs) : 0
        })
        return (found) => call.onApplied(this, found, keptMs)
      },
      onFailure: (failure) => call.onFailure(this, failure),
    })
  }

  hint(target: string, asked: Buffer, version: Buffer, call: HintCall): void {
    const hint: Hint = { key: Buffer.from(asked), version: Buffer.from(version) }
    const name = hint.key.toString('latin1')
    this.send({
      execute: () => {
        const hints = this.server.hintsFor(target)
        const before = hints.get(name)
        if (!before && hints.size >= (this.options.maxHints ?? MAX_HINTS)) {
          return () => call.onFailure(this, hintsFull(target))
        }
        hints.set(name, { ...hint, number: before?.number ?? this.server.nextNumber() })
        return (found) => call.onApplied(this, found)
      },
      onFailure: (failure) => call.onFailure(this, failure),
    })
  }

  async open(fence: Fence): Promise<void> {
    if (this.closed) throw new Error(`node ${this.id} is closed`)
    if (this.fence?.runId === fence.runId) {
      this.fence = fence
      return
    }
    this.shut(SHUT.message)
    const opening = (this.opening = {})
    await Promise.resolve()
    if (this.opening !== opening) throw new Error(SHUT.message)
    this.opening = null
    if (fence.runId !== this.server.runId) {
      this.listener?.onOtherMarker(this, null)
      throw new Error(OTHER_RUN.message)
    }
    const marker = this.server.get(MARKER_KEY)
    const found = marker?.equals(fence.marker) ? fence : this.follow(marker)
    if (!found) throw new Error(FOREIGN_MARKER.message)
    this.fence = found
    this.server.connected.add(this)
  }

  shut(reason: string): void {
    this.fence = null
    this.opening = null
    this.server.connected.delete(this)
    const { pending } = this
    this.pending = []
    for (const call of pending) call.fail({ ...SHUT, kind: 'not-sent', message: reason })
    for (const batch of [...this.inFlight]) {
      this.inFlight.delete(batch)
      for (const call of batch.calls) call.fail({ ...SHUT, message: reason })
    }
  }

  /** The server has gone. */
  lost(): void {
    this.shut('the server has gone')
    this.listener?.onBroken(this, { ...SHUT, message: 'the server has gone' })
  }

  // ---- control path

  private async reached(): Promise<MapServer> {
    if (this.closed) throw new Error(`node ${this.id} is closed`)
    await Promise.resolve()
    return this.server
  }

  /** The server, if it has this marker. */
  private async under(marker: Buffer | null): Promise<MapServer | null> {
    const server = await this.reached()
    const found = server.get(MARKER_KEY)
    return (marker ? found?.equals(marker) : found === null) ? server : null
  }

  async probe(peers: readonly string[] = []): Promise<NodeReport> {
    const server = await this.reached()
    const { clock } = this.options
    return {
      ...{ runId: server.runId, replid: server.runId, isReplica: false, durable: false, software: 'a Map' },
      timeMs: clock.wallMs(),
      sentAtMonotonicMs: clock.monotonicMs(),
      receivedAtMonotonicMs: clock.monotonicMs(),
      marker: server.get(MARKER_KEY),
      topology: server.get(TOPOLOGY_KEY),
      syncedAt: decodeSyncedAt(server.get(SYNCED_AT_KEY)),
      ...{
        memoryUsedBytes: server.bytes + 1,
        memoryLimitBytes: 0,
        evictionPolicy: 'noeviction',
        evictedKeys: 0,
      },
      keys: server.size,
      hints: new Map(
        peers.map((peer) => [peer, server.hintsFor(peer).size] as const).filter(([, n]) => n > 0),
      ),
    }
  }

  async decided(): Promise<Buffer | null> {
    return (await this.reached()).get(DECIDED_KEY)
  }

  async forbidden(): Promise<readonly string[]> {
    await this.reached()
    return []
  }

  async tryWrite(): Promise<void> {
    ;(await this.reached()).set(WRITABLE_KEY, Buffer.from('1'), 1000)
  }

  async swapMarker(expected: Buffer | null, next: Buffer, decided: Buffer | null = null): Promise<boolean> {
    const server = await this.under(expected)
    if (decided) server?.set(DECIDED_KEY, decided, Infinity)
    server?.set(MARKER_KEY, next, Infinity)
    return server !== null
  }

  async checkIn(marker: Buffer, id: string, text: string, reads: boolean): Promise<CheckedIn[] | null> {
    const server = await this.under(marker)
    if (!server) return null
    const nowMs = this.options.clock.wallMs()
    server.notes.set(id, { text, atMs: nowMs })
    const all = [...server.notes]
      .map(([one, note]) => ({ id: one, agoMs: Math.max(0, Math.floor(nowMs - note.atMs)), text: note.text }))
      .sort((a, b) => a.agoMs - b.agoMs || (a.id < b.id ? -1 : 1))
    const kept = all.slice(0, MAX_CHECKED_IN).filter(({ agoMs }) => agoMs <= CHECKED_IN_MS)
    for (const one of all) if (!kept.includes(one)) server.notes.delete(one.id)
    return reads ? kept : []
  }

  async announce(): Promise<void> {
    for (const listener of (await this.reached()).listeners) listener.announced()
  }

  subscribe(to: Announcements): Subscription {
    const { listeners } = this.server
    let isClosed = false
    this.options.timers.endOfTurn(() => {
      if (isClosed) return
      listeners.add(to)
      to.subscribed()
    })
    return { close: () => void ((isClosed = true), listeners.delete(to)) }
  }

  messenger(to: MessengerEvents): Messenger {
    return new MapMessenger(this.server, to, this.options.timers)
  }

  async empty(marker: Buffer | null): Promise<boolean> {
    const server = await this.under(marker)
    server?.clear()
    return server !== null
  }

  async stamp(marker: Buffer, syncedAt: SyncedAt): Promise<boolean> {
    const server = await this.under(marker)
    const held = server && decodeSyncedAt(server.get(SYNCED_AT_KEY))
    if (server && (!held || Math.floor(syncedAt.atMs) > held.atMs)) {
      server.set(SYNCED_AT_KEY, encodeSyncedAt(syncedAt), Infinity)
    }
    return server !== null
  }

  async dropOlder(marker: Buffer, keys: readonly Buffer[], beforeMs: number): Promise<number | null> {
    const server = await this.under(marker)
    if (!server) return null
    const older = keys.filter((key) => {
      const bytes = server.get(key)
      const record = bytes && new StoredRecord(bytes)
      const ms = record?.versioned ? versionMs(record.version) : 0
      return ms > 0 && ms < Math.floor(beforeMs)
    })
    for (const key of older) server.delete(key)
    return older.length
  }

  async dropBelow(
    marker: Buffer,
    floors: Floors,
    cursor: string,
    count: number,
  ): Promise<DroppedPage | null> {
    const server = await this.under(marker)
    if (!server) return null
    const page = server.page(cursor, count)
    let dropped = 0
    for (const { key, bytes } of page.keys) {
      if (aboveFloor(floors, key, bytes)) continue
      const { kind, promise } = new StoredRecord(bytes)
      if (kind === KIND_NOTHING) continue // it ends by itself
      if (promise) server.set(key, promiseAlone(promise), this.options.graceMs)
      else server.delete(key)
      dropped++
    }
    return { cursor: page.cursor, dropped }
  }

  async dropCopy(marker: Buffer, key: Buffer, version: Buffer): Promise<void> {
    const server = await this.under(marker)
    const bytes = server?.get(key)
    const record = bytes ? new StoredRecord(bytes) : null
    if (!record?.versioned || compareVersions(record.version, version) !== 0) return
    if (!record.promise || marker.includes('"topology":{')) server!.delete(key)
  }

  async lease(name: string, owner: string, forMs: number): Promise<boolean> {
    const server = await this.reached()
    const held = server.get(leaseKey(name))
    if (held && held.toString() !== owner) return false
    server.set(leaseKey(name), Buffer.from(owner), forMs)
    return true
  }

  async hints(target: string, cursor: string, count: number): Promise<HintPage> {
    const server = await this.reached()
    const { rows, next } = pageOf(
      [...server.hintsFor(target).values()],
      cursor,
      count,
      ({ number }) => number,
    )
    return { cursor: next, hints: rows.map(({ key, version }) => ({ key, version })) }
  }

  async dropHint(target: string, key: Buffer, version: Buffer): Promise<void> {
    const hints = (await this.reached()).hintsFor(target)
    const name = key.toString('latin1')
    if (hints.get(name)?.version.equals(version)) hints.delete(name)
  }

  async prepareRegister(ballot: Buffer): Promise<RegisterAnswer> {
    await this.reached()
    return this.promise(TOPOLOGY_KEY, ballot, Infinity)
  }

  async acceptRegister(record: NewRecord): Promise<RegisterAnswer> {
    const server = await this.reached()
    const decision = decideAccept(server.get(TOPOLOGY_KEY), Infinity, record, Infinity, Infinity)
    if (decision.kind === 'stale') return { ok: false, newest: decision.held.subarray(0, VERSION_BYTES) }
    if (decision.kind === 'keep') server.set(TOPOLOGY_KEY, decision.bytes, decision.lifeMs)
    return { ok: true, record: null }
  }

  async scan(cursor: string, match: Buffer | null, count: number): Promise<ScanPage> {
    const page = (await this.reached()).page(cursor, count)
    const glob = match && new Glob(match)
    const entries = page.keys
      .filter(({ key, bytes }) => (glob?.matches(key) ?? true) && aboveFloor(this.fence?.floors, key, bytes))
      .map(({ key, bytes }) => ({ key, head: Buffer.from(bytes.subarray(0, HEAD_WITH_PROMISE_BYTES)) }))
    return { cursor: page.cursor, entries }
  }

  async keys(cursor: string, count: number): Promise<KeyPage> {
    const page = (await this.reached()).page(cursor, count)
    return { cursor: page.cursor, keys: page.keys.map(({ key }) => key) }
  }

  async lifeMs(key: Buffer): Promise<number> {
    return (await this.reached()).leftMs(key)
  }

  close(): Promise<void> {
    this.closed = true
    this.shut('the coordinator is closing')
    return Promise.resolve()
  }
}

/** A key without an end, or with its far end some time ago, is kept as long as requested, too. */
function keptFor(lifeMs: number, askedMs: number): number {
  return lifeMs === Infinity ? askedMs : Math.max(askedMs, Math.ceil(lifeMs))
}

/** Everything that is called is carried out in order, at the end of the turn. */
class MapMessenger implements Messenger {
  readonly topics = new Set<string>()
  readonly prefixes = new Set<string>()
  readonly events: MessengerEvents
  private readonly server: MapServer
  private readonly timers: Timers
  private readonly inFlight = new Set<() => void>()
  private isClosed = false

  constructor(server: MapServer, events: MessengerEvents, timers: Timers) {
    this.server = server
    this.events = events
    this.timers = timers
    server.messengers.add(this)
    this.soon(() => events.opened())
  }

  listen(to: Listening, done: (why: string | null) => void): void {
    this.soon(() => {
      this.each(to, (names, name) => names.add(name))
      done(null)
    })
  }

  unlisten(to: Listening): void {
    this.soon(() => this.each(to, (names, name) => names.delete(name)))
  }

  publish(topic: Buffer, bytes: Buffer, call: PublishCall): void {
    if (this.isClosed) {
      call.onFailure(NOT_CONNECTED)
      return
    }
    const failed = () => call.onFailure(SHUT)
    this.inFlight.add(failed)
    this.soon(() => {
      this.inFlight.delete(failed)
      const name = topic.toString('latin1')
      let copies = 0
      for (const one of this.server.messengers) {
        const matching = [...one.prefixes].filter((prefix) => name.startsWith(prefix)).length
        for (let left = matching + (one.topics.has(name) ? 1 : 0); left > 0; left--) {
          copies++
          one.soon(() => one.events.message(topic, bytes))
        }
      }
      call.onPublished(copies)
    })
  }

  close(): void {
    this.isClosed = true
    this.server.messengers.delete(this)
  }

  private each(to: Listening, act: (names: Set<string>, name: string) => void): void {
    const [set, names] = 'topics' in to ? [this.topics, to.topics] : [this.prefixes, to.prefixes]
    for (const name of names) act(set, name.toString('latin1'))
  }

  lost(): void {
    this.close()
    for (const failed of this.inFlight) failed()
    this.events.ended('the connection was lost')
  }

  private soon(run: () => void): void {
    this.timers.endOfTurn(() => {
      if (!this.isClosed) run()
    })
  }
}
