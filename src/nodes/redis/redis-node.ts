/**
 * A Redis (or Valkey) node: data over our own pipelined socket (link.ts), everything else over ioredis (control.ts).
 *
 * Two paths, because three ioredis commands per write cost more than everything else together, and because ioredis may
 * resend what it has reported as failed.
 *
 * Every reply is validated on receipt: data-replies.ts and control-replies.ts. An invalid reply fails its call, and
 * closes the connection on which it came.
 */
import { isIP } from 'node:net'
import type { ConnectionOptions } from 'node:tls'
import {
  EXPIRY_AT,
  FLAGS_AT,
  HEAD_WITH_PROMISE_BYTES,
  holdsValue,
  REPLACED_AT,
  type NewRecord,
} from '../../core/codec.ts'
import {
  CHANGES_CHANNEL,
  COORDINATORS_KEY,
  DECIDED_KEY,
  hintsKey,
  leaseKey,
  MARKER_KEY,
  SYNCED_AT_KEY,
  TOPOLOGY_KEY,
  WRITABLE_KEY,
} from '../../core/keys.ts'
import { aboveFloor, type Floors } from '../../core/floors.ts'
import type { Part } from '../../core/part.ts'
import { printable } from '../../core/printable.ts'
import type { Epochs } from '../../core/replica-set.ts'
import { encodeSyncedAt, type SyncedAt } from '../../core/synced-at.ts'
import { ControlPath } from './control.ts'
import {
  acceptRegisterReply,
  bytesReply,
  checkInReply,
  droppedPageReply,
  hintPageReply,
  integerReply,
  okReply,
  prepareRegisterReply,
  scanPageReply,
  yesOrNo,
} from './control-replies.ts'
import { errorReason, isUnwritable } from './error-replies.ts'
import { adoptForeign, lookAtForeign } from './foreign.ts'
import { endedSoon, NodeCallFailed, NOT_CONNECTED, SHUT } from '../failures.ts'
import { NodeLoad, SMALL_BYTES } from '../load.ts'
import type { NearNode } from '../near/near-cache.ts'
import { Link, REPLY_ERROR, REPLY_TOO_LONG, type LinkOptions } from './link.ts'
import {
  CHECKED_IN_MS,
  MAX_CHECKED_IN,
  MAX_HINTS,
  type Announcements,
  type ChangeEvents,
  type CheckedIn,
  type DroppedPage,
  type Fence,
  type GetCall,
  type HintCall,
  type HintPage,
  type KeyPage,
  type LivesCall,
  type Messenger,
  type MessengerEvents,
  type NodeFailure,
  type NodeListener,
  type NodeReport,
  type PeekCall,
  type PrepareCall,
  type RegisterAnswer,
  type ScanPage,
  type StartsCall,
  type StoreAllCall,
  type StoreAllMode,
  type StoreAllWrite,
  type StoreCall,
  type StoreCondition,
  type Subscription,
} from '../node.ts'
import {
  GET_HEAD,
  PendingAccept,
  PendingGet,
  PendingHint,
  PendingNewPart,
  PendingPrepares,
  PendingStoreAll,
  PendingStores,
  TOO_LONG,
  type CallHost,
  type DataCall,
  type ForeignDone,
  type PendingScript,
  type Resendable,
  type StoreEntry,
} from './redis-calls.ts'
import type { ReadDump, RedisNodeOptions } from './options.ts'
import { patchedStore, patchedStoreAll, PendingPatch, type PatchDone, type Patched } from './patches.ts'
import { enqueueHead, PendingPeek } from './peeks.ts'
import {
  DROP_COPY,
  DROP_HINT,
  DROP_BELOW,
  DROP_OLDER,
  EMPTY,
  LEASE,
  PREPARE,
  ACCEPT,
  SCAN,
  CHECK_IN,
  STAMP,
  SWAP_MARKER,
} from './scripts.ts'
import { Resends } from './resends.ts'
import { PendingKeys, PendingLives, PendingStarts, type PendingEach } from './several.ts'
import { RedisMessenger } from './redis-messenger.ts'
import { RedisSubscription } from './subscription.ts'
import { withoutSecrets } from './secrets.ts'
import { Tracker, TrackingConnection } from './tracking.ts'

const MAX_IN_FLIGHT = 100_000
const MAX_UNSENT_BYTES = 64 * 1024 * 1024
/** How much longer than a value a reply may be: the head of the record, or the replies to the handshake. */
const REPLY_MARGIN_BYTES = 16 * 1024
const MAX_STALENESS_MS = 1000
const PROBED_WRITE_LIFE_MS = 1000
/** Limit of keys per scan call: a node blocks meanwhile. */
const MAX_SCANNED = 1000

export class RedisNode implements CallHost {
  readonly id: string
  listener: NodeListener | null = null
  readonly load = new NodeLoad()

  /** Null: nothing is kept in this process. */
  readonly near: NearNode | null
  private readonly tracker: Tracker | null
  /** Ends those that are told of changes. */
  private readonly feeds = new Set<(why: string) => void>()
  private readonly options: RedisNodeOptions
  /** GRACE_SECONDS in milliseconds, encoded for the scripts. */
  readonly grace: Buffer
  readonly resends = new Resends()
  /** Encoded for the script. */
  readonly maxHints: Buffer
  readonly readDump: ReadDump | null
  readonly maxValueBytes: number
  /** As of the last fence: also for what the control path reads. */
  floors: Floors | null = null
  private link: Link | null = null
  /** The stores, or the prepares, of this turn that no other call has followed yet: they share a script call. */
  private gathered: PendingStores | PendingPrepares | null = null
  private readonly control: ControlPath
  private closed = false

  constructor(options: RedisNodeOptions) {
    this.options = options
    this.control = new ControlPath(options, () => this.tlsOptions())
    this.id = options.id
    this.near = options.near?.cache.of(options.id) ?? null
    this.tracker =
      this.near &&
      new Tracker(
        { ...options, ...options.near!, maxStalenessMs: options.near!.cache.maxStalenessMs },
        () => this.tlsOptions(),
        this.near,
      )
    this.grace = Buffer.from(String(options.graceMs))
    this.readDump = options.readDump ?? null
    this.maxValueBytes = options.maxValueBytes
    this.maxHints = Buffer.from(String(options.maxHints ?? MAX_HINTS))
  }

  get address(): string {
    const { host, port } = this.options.address
    if (host === '') return this.id // not located yet
    return `${host.includes(':') ? `[${host}]` : host}:${port}`
  }

  // ---- data path

  get ready(): boolean {
    return this.link?.ready ?? false
  }

  get(key: Buffer, call: GetCall, expectedBytes = 0, repetitions = 0): void {
    const ask = this.near?.ask(key) ?? null
    const link = this.usableLink(call)
    if (!link) {
      ask?.lost()
      return
    }
    this.sendGathered()
    link.raw(GET_HEAD)
    link.bulk(key)
    link.enqueue(new PendingGet(this, key, call, expectedBytes, ask, repetitions))
  }

  peek(key: Buffer, part: Part, call: PeekCall, expectedBytes = 0, repetitions = 0): void {
    if (part !== 'head') {
      this.peekByScript(key, part, call, expectedBytes, repetitions)
      return
    }
    const link = this.usableLink(call)
    if (!link) return
    this.sendGathered()
    enqueueHead(link, this, key, call, repetitions)
  }

  /** Atomic: one script. */
  peekByScript(key: Buffer, part: Part, call: PeekCall, expectedBytes = 0, repetitions = 0): void {
    this.send(new PendingPeek(this, key, part, call, expectedBytes, repetitions), call)
  }

  starts(keys: readonly Buffer[], bytes: number, call: StartsCall): void {
    this.askEach(new PendingStarts(this, keys, bytes, call), call)
  }

  lives(keys: readonly Buffer[], call: LivesCall): void {
    this.askEach(new PendingLives(this, keys, call), call)
  }

  private askEach(pending: PendingEach, call: DataCall): void {
    const link = this.usableLink(call)
    if (!link) return
    this.sendGathered()
    pending.encode(link)
    link.enqueue(pending)
  }

  store(key: Buffer, record: NewRecord, lifeMs: number, call: StoreCall, condition?: StoreCondition): void {
    const link = this.usableLink(call)
    if (!link) return
    this.near?.changed(key)
    const entry = { key, record, lifeMs, call }
    if (!condition && PendingNewPart.fits(key, record, lifeMs)) {
      this.sendGathered()
      const part = new PendingNewPart(this, entry)
      part.encode(link)
      link.enqueue(part)
      return
    }
    const patched = patchedStore(key, record, lifeMs, condition)
    if (!patched) {
      this.gatherStore(link, entry, condition)
      return
    }
    const onPatched = (fence: Fence) => call.onApplied(this, fence, lifeMs)
    const onOther = () => this.storeByScript(entry, condition)
    this.patch(link, patched, {
      onPatched,
      onOther,
      onFailure: (_, failure) => call.onFailure(this, failure),
    })
  }

  private patch(link: Link, patched: Patched, done: PatchDone): void {
    const pending = new PendingPatch(this, patched, done)
    this.sendGathered()
    this.enqueue(link, pending, pending.heads.bySha)
  }

  private gatherStore(link: Link, entry: StoreEntry, condition?: StoreCondition): void {
    // A delete is sent alone: a full node accepts it, but would refuse a script that stores values before it. So is what
    // has a condition of its own; only a time limit can be shared.
    const isConditional = condition?.onlyIf !== undefined || condition?.epochs !== undefined
    const alone = isConditional || !holdsValue(entry.record.head[FLAGS_AT]!)
    const open = this.gathered
    const stores =
      !alone && open instanceof PendingStores && open.isUntil(condition?.untilMs)
        ? open
        : this.gather(link, new PendingStores(this, condition))
    stores.add(entry)
    if (alone || stores.isFull) this.sendGathered()
  }

  private gather<P extends PendingStores | PendingPrepares>(link: Link, pending: P): P {
    this.sendGathered()
    this.gathered = pending
    link.expectMore()
    return pending
  }

  /** Before the next call, which must not overtake them. */
  private readonly sendGathered = (): void => {
    const { gathered } = this
    if (!gathered) return
    this.gathered = null
    this.enqueue(this.link!, gathered, gathered.heads.bySha)
  }

  prepare(key: Buffer, ballot: Buffer, call: PrepareCall, expectedBytes = 0): void {
    const link = this.usableLink(call)
    if (!link) return
    this.near?.changed(key)
    const open = this.gathered
    const alone = expectedBytes > SMALL_BYTES
    const prepares =
      !alone && open instanceof PendingPrepares ? open : this.gather(link, new PendingPrepares(this))
    prepares.add({ key, ballot, call, expectedBytes })
    if (prepares.isFull) this.sendGathered()
  }

  accept(key: Buffer, record: NewRecord, lifeMs: number, call: StoreCall, epochs?: Epochs): void {
    this.near?.changed(key)
    this.send(new PendingAccept(this, key, record, lifeMs, call, epochs), call)
  }

  storeAll(writes: readonly StoreAllWrite[], mode: StoreAllMode, call: StoreAllCall, epochs?: Epochs): void {
    if (this.near) for (const { key } of writes) this.near.changed(key)
    const whole = () => this.send(new PendingStoreAll(this, writes, mode, call, epochs), call)
    const patched = patchedStoreAll(writes, mode, epochs)
    const link = patched && this.usableLink(call)
    if (!patched) whole()
    else if (link) {
      const onPatched = (fence: Fence) => {
        call.onApplied(
          this,
          fence,
          writes.map(({ record, lifeMs }) => (record ? lifeMs : 0)),
        )
      }
      const onOther = () => {
        this.resends.note(patched.key)
        whole()
      }
      this.patch(link, patched, {
        onPatched,
        onOther,
        onFailure: (_, failure) => call.onFailure(this, failure),
      })
    }
  }

  hint(target: string, key: Buffer, version: Buffer, call: HintCall): void {
    this.send(new PendingHint(this, target, key, version, call), call)
  }

  lookAtForeign(key: Buffer, part: 'head' | 'whole', fence: Fence, done: ForeignDone): void {
    lookAtForeign(this, key, part, fence, done)
  }

  adoptForeign(key: Buffer, done: ForeignDone): void {
    adoptForeign(this, key, done)
  }

  send(pending: PendingScript, call: DataCall): void {
    const link = this.usableLink(call)
    if (!link) return
    this.sendGathered()
    this.enqueue(link, pending, pending.heads.bySha)
  }

  private enqueue(link: Link, pending: Resendable, head: Buffer): void {
    link.raw(head)
    pending.encode(link)
    link.enqueue(pending)
  }

  /** NOSCRIPT: the call was certainly not applied, so in this case it is sent again. */
  sendWithText(pending: Resendable): void {
    const refusal = this.link ? this.link.refusal() : NOT_CONNECTED
    if (refusal) {
      pending.lost(refusal)
      return
    }
    this.sendGathered()
    this.resends.note(null)
    this.enqueue(this.link!, pending, pending.heads.withText)
  }

  storeByScript(entry: StoreEntry, condition?: StoreCondition): void {
    const link = this.usableLink(entry.call)
    if (!link) return
    this.sendGathered()
    this.resends.note(entry.key)
    this.gatherStore(link, entry, condition)
  }

  private usableLink(call: DataCall): Link | null {
    const refusal = this.link ? this.link.refusal() : NOT_CONNECTED
    if (!refusal) return this.link
    this.options.timers.endOfTurn(() => call.onFailure(this, refusal))
    return null
  }

  /** What an error reply (or a reply of the wrong type) means for the call and the node. */
  judge(replyType: number, reply: Buffer | null): NodeFailure {
    // A call that returns a record may have changed it first.
    if (replyType === REPLY_TOO_LONG) return { ...TOO_LONG, kind: 'unknown' }
    const text = reply ? withoutSecrets(printable(reply), this.options.address) : 'nil'
    if (replyType !== REPLY_ERROR) {
      // Later replies on this connection may be mismatched, too.
      this.link?.invalidReply(`"${text}"`)
      return { kind: 'unknown', reason: 'error', message: `unexpected answer "${text}"` }
    }
    const reason = errorReason(text)
    if (isUnwritable(reason)) this.listener?.onUnwritable(this, reason)
    return { kind: 'refused', reason, message: text }
  }

  async open(fence: Fence): Promise<void> {
    this.floors = fence.floors ?? null
    if (this.link?.ready && this.link.isOf(fence)) {
      this.link.expect(fence)
      this.near?.under(fence)
      return
    }
    this.shut(SHUT.message)
    if (this.closed) throw new Error(`node ${this.id} is closed`)
    const link: Link = new Link(
      this.linkOptions(),
      fence,
      { ...this.options, load: this.load },
      {
        onBroken: (failure) => {
          if (this.link !== link) return
          this.dataPathEnded(failure.message)
          this.listener?.onBroken(this, failure)
        },
        onOtherMarker: (found) => (this.link === link ? this.follows(found) : null),
        endOfBatch: this.sendGathered,
      },
    )
    this.link = link
    await link.connect()
    if (this.link !== link) return
    this.near?.under(link.expected)
    this.tracker?.begin(link.runId)
  }

  private follows(marker: Buffer | null): Fence | null {
    const fence = this.listener?.onOtherMarker(this, marker) ?? null
    if (!fence) return null
    this.floors = fence.floors ?? null
    this.near?.under(fence)
    return fence
  }

  shut(reason: string): void {
    this.sendGathered()
    this.dataPathEnded(reason)
    const link = this.link
    this.link = null
    link?.destroy({ ...SHUT, message: reason })
  }

  private dataPathEnded(why: string): void {
    this.tracker?.end()
    for (const end of [...this.feeds]) end(why)
  }

  private linkOptions(): LinkOptions {
    const { host, port, tls, username, password } = this.options.address
    return {
      host,
      port,
      tls: tls ? this.tlsOptions() : null,
      ...(username === undefined ? {} : { username }),
      ...(password === undefined ? {} : { password }),
      connectTimeoutMs: this.options.connectTimeoutMs,
      callTimeoutMs: this.options.nodeTimeoutMs,
      maxInFlight: MAX_IN_FLIGHT,
      maxUnsentBytes: MAX_UNSENT_BYTES,
      maxReplyBytes: this.options.maxValueBytes + REPLY_MARGIN_BYTES,
    }
  }

  private tlsOptions(): ConnectionOptions {
    const { host } = this.options.address
    // An IP address is not a server name (RFC 6066); the certificate is verified against it nevertheless.
    return { ...(isIP(host) === 0 ? { servername: host } : {}), ...this.options.tlsOptions?.() }
  }

  // ---- control path

  probe(peers: readonly string[] = []): Promise<NodeReport> {
    return this.control.probe(peers)
  }

  decided(): Promise<Buffer | null> {
    return this.control.ask('GETRANGE', [DECIDED_KEY, '0', '-1'], bytesReply)
  }

  forbidden(): Promise<readonly string[]> {
    return this.control.forbidden()
  }

  tryWrite(): Promise<void> {
    const args = [WRITABLE_KEY, '1', 'PX', String(PROBED_WRITE_LIFE_MS)]
    return this.control.ask('SET', args, (reply) => okReply('SET', reply))
  }

  swapMarker(expected: Buffer | null, next: Buffer, decided: Buffer | null = null): Promise<boolean> {
    const args = [expected ? '1' : '0', expected ?? '', next, ...(decided ? [decided] : [])]
    const keys = [MARKER_KEY, DECIDED_KEY]
    return this.control.run(SWAP_MARKER, keys, args, (reply) => yesOrNo('swap-marker', reply))
  }

  checkIn(marker: Buffer, id: string, text: string, reads: boolean): Promise<readonly CheckedIn[] | null> {
    const limits = [String(CHECKED_IN_MS), String(MAX_CHECKED_IN)]
    const args = [marker, id, text, reads ? '1' : '0', ...limits]
    return this.control.run(CHECK_IN, [MARKER_KEY, COORDINATORS_KEY], args, checkInReply)
  }

  empty(marker: Buffer | null): Promise<boolean> {
    this.near?.invalidated(null)
    const args = [marker ? '1' : '0', marker ?? '']
    return this.control.run(EMPTY, [MARKER_KEY], args, (reply) => yesOrNo('empty', reply))
  }

  stamp(marker: Buffer, syncedAt: SyncedAt): Promise<boolean> {
    const args = [marker, encodeSyncedAt(syncedAt)]
    return this.control.run(STAMP, [MARKER_KEY, SYNCED_AT_KEY], args, (reply) => yesOrNo('stamp', reply))
  }

  dropOlder(marker: Buffer, keys: readonly Buffer[], beforeMs: number): Promise<number | null> {
    const args = [marker, String(Math.floor(beforeMs))]
    return this.control.run(DROP_OLDER, [MARKER_KEY, ...keys], args, (reply) => {
      const removed = integerReply('drop-older', reply, -1, keys.length)
      return removed < 0 ? null : removed
    })
  }

  dropBelow(marker: Buffer, floors: Floors, cursor: string, count: number): Promise<DroppedPage | null> {
    const pairs = floors.all.flatMap(({ database, version }) => [
      database === null ? '' : String(database),
      Buffer.from(version),
    ])
    const args = [marker, cursor, String(Math.min(count, MAX_SCANNED)), this.grace, ...pairs]
    return this.control.run(DROP_BELOW, [MARKER_KEY], args, droppedPageReply)
  }

  lease(name: string, owner: string, forMs: number): Promise<boolean> {
    const args = [owner, String(forMs)]
    return this.control.run(LEASE, [leaseKey(name)], args, (reply) => yesOrNo('lease', reply))
  }

  hints(target: string, cursor: string, count: number): Promise<HintPage> {
    return this.control.ask('HSCAN', [hintsKey(target), cursor, 'COUNT', String(count)], hintPageReply)
  }

  async dropHint(target: string, key: Buffer, version: Buffer): Promise<void> {
    const read = (reply: unknown) => yesOrNo('drop-hint', reply)
    await this.control.run(DROP_HINT, [hintsKey(target)], [key, version], read)
  }

  async dropCopy(marker: Buffer, key: Buffer, version: Buffer): Promise<void> {
    const read = (reply: unknown) => yesOrNo('drop-copy', reply)
    await this.control.run(DROP_COPY, [MARKER_KEY, key], [marker, version], read)
  }

  prepareRegister(ballot: Buffer): Promise<RegisterAnswer> {
    return this.control.run(PREPARE, [TOPOLOGY_KEY], ['0', ballot], prepareRegisterReply)
  }

  acceptRegister(record: NewRecord): Promise<RegisterAnswer> {
    const rest = Buffer.concat([record.head.subarray(EXPIRY_AT), record.value])
    const args = [record.head.subarray(0, REPLACED_AT), rest, '0', '0']
    return this.control.run(ACCEPT, [TOPOLOGY_KEY], args, acceptRegisterReply)
  }

  scan(cursor: string, match: Buffer | null, count: number): Promise<ScanPage> {
    const args = [cursor, String(Math.min(count, MAX_SCANNED)), String(HEAD_WITH_PROMISE_BYTES - 1)]
    return this.control.run(SCAN, [], match ? [...args, match] : args, (reply) => {
      const { cursor: next, entries } = scanPageReply(reply, HEAD_WITH_PROMISE_BYTES)
      return { cursor: next, entries: entries.filter(({ key, head }) => this.shows(key, head)) }
    })
  }

  private shows(key: Buffer, bytes: Buffer): boolean {
    return aboveFloor(this.floors, key, bytes) !== null
  }

  keys(cursor: string, count: number): Promise<KeyPage> {
    return new Promise((resolve, reject) => {
      const refusal = this.link ? this.link.refusal() : NOT_CONNECTED
      if (refusal) {
        reject(new NodeCallFailed(refusal.message))
        return
      }
      this.sendGathered()
      const pending = new PendingKeys(this, { resolve, reject })
      pending.encode(this.link!, cursor, Math.min(count, MAX_SCANNED))
      this.link!.enqueue(pending)
    })
  }

  lifeMs(key: Buffer): Promise<number> {
    return this.control.ask('PTTL', [key], (reply) =>
      integerReply('PTTL', reply, -2, Number.MAX_SAFE_INTEGER),
    )
  }

  async announce(): Promise<void> {
    const anyCount = (reply: unknown) => integerReply('PUBLISH', reply, 0, Number.MAX_SAFE_INTEGER)
    await this.control.ask('PUBLISH', [CHANGES_CHANNEL, 'look'], anyCount)
  }

  subscribe(to: Announcements): Subscription {
    return new RedisSubscription(this.options, () => this.tlsOptions(), to)
  }

  changes(to: ChangeEvents): Subscription {
    const { link, options } = this
    if (!link?.ready) return endedSoon(to, NOT_CONNECTED.message, options.timers)
    const settings = { ...options, maxStalenessMs: options.maxStalenessMs ?? MAX_STALENESS_MS }
    const connection = new TrackingConnection(settings, this.tlsOptions(), link.runId, {
      began: () => to.opened(),
      proven: () => undefined,
      invalidated: (keys) => to.changed(keys),
      ended: (why) => {
        this.feeds.delete(end)
        to.ended(why)
      },
    })
    const close = () => {
      this.feeds.delete(end)
      connection.close()
    }
    const end = (why: string) => {
      close()
      to.ended(why)
    }
    this.feeds.add(end)
    return { close }
  }

  messenger(to: MessengerEvents): Messenger {
    return new RedisMessenger(this.options, () => this.tlsOptions(), to)
  }

  close(): Promise<void> {
    this.closed = true
    this.shut('the coordinator is closing')
    this.control.close()
    return Promise.resolve()
  }
}
