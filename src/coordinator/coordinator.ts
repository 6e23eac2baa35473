/**
 * The coordinator: every operation that a server can call. Its only state is the health of its nodes.
 *
 * Hot calls take a completion object (ReadDone, WriteDone) and allocate one operation; the servers make the promises.
 * Keys and values stay bytes from the server to the node.
 */
import type { Cluster } from '../cluster/cluster.ts'
import {
  compareVersions,
  LONGEST_LEAP_MS,
  VERSION_BYTES,
  type Clock,
  type Timers,
  type Version,
} from '../core/clock.ts'
import {
  HEAD_BYTES,
  KIND_TOMBSTONE,
  KIND_VALUE,
  newRecord,
  newRecordOf,
  type PeekedRecord,
  StoredRecord,
  type RecordHead,
} from '../core/codec.ts'
import type { ConsistencyLevel } from '../core/consistency.ts'
import { Deadlines } from '../core/deadlines.ts'
import type { Emit } from '../core/events.ts'
import type { Floors } from '../core/floors.ts'
import { clientKey, isHidden } from '../core/keys.ts'
import { checkKey } from '../core/key-names.ts'
import { ownLifeMs } from '../core/lifetime.ts'
import { MAX_TAG_BYTES } from '../core/tags.ts'
import { partBytes, type Part } from '../core/part.ts'
import { READ_FIRST, READ_NEVER } from '../core/plan.ts'
import { RondoError, type ErrorDetails } from '../core/errors.ts'
import { tokenOf } from '../core/token.ts'
import { Admission, type Windows } from './admission/admission.ts'
import type { KeyStore, NodeState, TaggingDone } from './api.ts'
import { Background } from './background.ts'
import { NodeChannels } from './channels/channels.ts'
import { KeyWaiters, type Looked } from './waiting/waiters.ts'
import { clusterView, type ClusterView } from './cluster-view.ts'
import { CollectionParts } from './collections/parts.ts'
import { askedBy, type CoordinatorContext, type Failing, type Replicas } from './context.ts'
import { foreignLifeMs } from './ask.ts'
import { explain, type Explanation } from './explain.ts'
import { Hedging } from './read/hedging.ts'
import { KeyQueues, nameOf } from './update/key-queues.ts'
import { RoundTimes } from './update/round-times.ts'
import { cursorElsewhere, listKeys, type KeyPage, type ListRequest } from './listing/listing.ts'
import { NearReads } from './read/near-reads.ts'
import { ReadOne, type ReadDone } from './read/read.ts'
import { Tags } from './tags/tags.ts'
import { NodeTracking } from './tracking/tracking.ts'
import { QuorumRead } from './read/quorum-read.ts'
import { Contention } from './write/contention.ts'
import { QuorumWrite } from './write/quorum-write.ts'
import { crossReplicaSet } from './errors.ts'
import {
  modifyOne,
  shareReplicaSet,
  transactedOne,
  type ModifyAll,
  type ModifyAllSlowly,
  type PlacedKey,
  type TransactDone,
} from './transact/transact.ts'
import { SMALL_BYTES } from '../nodes/load.ts'
import type { NearCache } from '../nodes/near/near-cache.ts'
import type { Near } from '../nodes/node.ts'
import { Reservation } from './admission/reservation.ts'
import { Sizes } from './admission/sizes.ts'
import { newTransaction, QueuedTransaction } from './transact/queued-transaction.ts'
import { startInQueue } from './update/queued-update.ts'
import type { Change } from './update/read-modify-write.ts'
import { KeyUsage } from './usage/usage.ts'
import type { HotKeys } from './usage/hot-keys.ts'
import { estimated, flushed, givenBack, type Counted } from './listing/rough-counts.ts'
import { KeyCount, Pages, type IsWanted, type KeyCounts, type RoughCounts } from './listing/walks.ts'
import { QuorumUpdate, type Modify, type UpdateDone } from './update/update.ts'
import { WriteOne, type MakeRecord, type WriteDone } from './write/write.ts'

export interface CoordinatorOptions {
  /** 0 = no limit. */
  readonly maxTries: number
  readonly requestTimeoutMs: number
  readonly graceMs: number
  readonly maxKeyBytes: number
  readonly maxValueBytes: number
  /** Of one value. */
  readonly maxTags: number
  /** Limit of concurrent operations. */
  readonly maxInFlight: number
  /** How long a connection may wait, without any of its operations starting, because its nodes are busy. */
  readonly queueTimeoutMs: number
  /** By default those of admission.ts. */
  readonly windows?: Windows
  /** How many of the most used and of the largest keys are known by name; 0 = none. */
  readonly hotKeys: number
  /** What nodes would answer, as far as it is kept in this process. */
  readonly near?: NearCache | null
  readonly clock: Clock
  readonly timers: Timers
  /** How long parts of collections stay that are not needed any more; by default twice requestTimeoutMs. */
  readonly leftPartsMs?: number
  /** Of keys that clients may keep (tracking/table.ts). */
  readonly maxTrackedKeys: number
  /** Returns a number in [0, 1). */
  readonly random: () => number
  readonly emit: Emit
}

/** Share of maxInFlight from which on clients should wait. */
const CROWDED = 0.75
/** Concurrent pages of listings; keys per page for a random key, and for a count. */
const PAGES_AT_ONCE = 4
const RANDOM_PAGE = 100
const COUNTED_PAGE = 1000

/**
 * Coordinators tell the time from the same nodes, and so nearly alike: a new version is so far ahead of what others write, also
 * where an update has leapt.
 */
const LEAD_MS = 25 + LONGEST_LEAP_MS

/** Details of a refused read. */
const NOTHING_WRITTEN: ErrorDetails = {}

const TOMBSTONE: Change = { kind: KIND_TOMBSTONE, value: Buffer.alloc(0), expiresAtMs: 0 }

export class Coordinator implements KeyStore {
  private readonly cluster: Cluster
  private readonly options: CoordinatorOptions
  private readonly context: CoordinatorContext
  private readonly admission: Admission
  private readonly tags: Tags
  readonly channels: NodeChannels
  readonly waiters: KeyWaiters
  readonly tracking: NodeTracking
  readonly collections: CollectionParts
  readonly usage: KeyUsage | null
  readonly near: NearReads | null
  private readonly hotKeys: HotKeys | null
  private readonly pages = new Pages(PAGES_AT_ONCE)
  private readonly keyCount: KeyCount<Counted>
  /** Of which the latest count knows. */
  private countedFloors: Floors | null = null

  constructor(cluster: Cluster, options: CoordinatorOptions) {
    this.cluster = cluster
    this.options = options
    this.usage = KeyUsage.of(options)
    this.hotKeys = this.usage?.hot ?? null
    const { near } = options
    this.near = near ? new NearReads(near, { ...options, cluster, hotKeys: this.hotKeys }) : null
    const background = new Background(options.timers, options.emit)
    const look = (key: Buffer, level: ConsistencyLevel) => this.lookAt(key, level)
    this.waiters = new KeyWaiters({ ...options, background, look })
    this.channels = new NodeChannels({ ...options, cluster }, this.waiters)
    this.waiters.connect(this.channels.wakes)
    this.tracking = new NodeTracking({
      ...options,
      cluster,
      maxItems: options.maxTrackedKeys,
      nowMs: () => this.nowMs(),
      peek: (key, done) => this.peek(key, 'head', done),
    })
    const deadlines = new Deadlines(options.requestTimeoutMs, options)
    this.collections = new CollectionParts({
      ...options,
      cluster,
      deadlines,
      background,
      read: (key) => this.readSettled(key),
    })
    this.admission = new Admission(options)
    this.keyCount = new KeyCount((isWanted) => this.walkAll(isWanted), options)
    this.tags = new Tags({
      read: (key, done, level) => this.startRead(key, done, level),
      update: (key, modify, done, level) => {
        startInQueue(this.context, this.replicaSetOf(key), key, level, modify, done)
      },
      isLive: (record) => this.isLive(record),
      nowMs: () => this.nowMs(),
      versions: cluster.versions,
      requestTimeoutMs: options.requestTimeoutMs,
    })
    this.context = {
      cluster,
      background,
      deadlines,
      hedging: new Hedging(deadlines, options),
      sizes: new Sizes(options.maxValueBytes),
      queues: new KeyQueues(options.timers),
      roundTimes: new RoundTimes(options.clock),
      contention: new Contention(options.clock),
      tags: this.tags,
      waiters: this.waiters,
      bigKeys: this.usage?.big ?? null,
      maxTries: options.maxTries > 0 ? options.maxTries : Infinity,
      graceMs: options.graceMs,
      requestTimeoutMs: options.requestTimeoutMs,
      timers: options.timers,
      random: options.random,
    }
  }

  /** How many home replicas a key has. */
  get replicas(): number {
    return this.cluster.placement.replicas
  }

  get nodes(): readonly NodeState[] {
    return this.cluster.placement.members
  }

  get epoch(): number {
    return this.cluster.placement.epoch
  }

  clockOf({ id }: NodeState): { readonly offMs: number; readonly errorMs: number } | null {
    return this.cluster.time.distance(id) ?? null
  }

  get ready(): boolean {
    return this.cluster.ready
  }

  get takesWrites(): boolean {
    return this.cluster.takesWrites
  }

  /** Cluster time, milliseconds since 1970. */
  nowMs(): number {
    return this.cluster.time.nowMs()
  }

  /** Null, or the reason why this key cannot be used. */
  checkKey(key: Buffer): RondoError | null {
    return checkKey(key, this.options.maxKeyBytes)
  }

  /** Null, or the reason why this value cannot be stored. */
  checkValue(bytes: number): RondoError | null {
    const { maxValueBytes } = this.options
    if (bytes <= maxValueBytes) return null
    return new RondoError(
      'VALUE_TOO_LARGE',
      `The value has ${bytes} bytes; at most ${maxValueBytes} are allowed (MAX_VALUE_BYTES).`,
    )
  }

  checkTags(names: readonly Buffer[]): RondoError | null {
    const { maxTags } = this.options
    if (names.length > maxTags) {
      const sentence = `A value may have ${maxTags} tags at most, not ${names.length} (MAX_TAGS_PER_KEY).`
      return new RondoError('BAD_REQUEST', sentence)
    }
    const bad = names.find(({ length }) => length === 0 || length > MAX_TAG_BYTES)
    if (!bad) return null
    return new RondoError(
      'BAD_REQUEST',
      `A tag has 1 to ${MAX_TAG_BYTES} bytes (a fixed limit), not ${bad.length}.`,
    )
  }

  /** Reads the key's record. The key has passed checkKey. */
  read(key: Buffer, done: ReadDone, level: ConsistencyLevel = 'one'): void {
    const seeing = this.tracking.isOn ? this.tracking.seeing(key, done) : null
    if (seeing) this.readFar(key, seeing, level, false)
    else this.readFar(key, done, level, true)
  }

  /** @param mayBeNear what is kept in this process may be the answer */
  private readFar(key: Buffer, done: ReadDone, level: ConsistencyLevel, mayBeNear: boolean): void {
    if (this.sheds(done, NOTHING_WRITTEN)) return
    this.hotKeys?.note(key, false)
    const { context, admission } = this
    const token = tokenOf(key)
    const replicas = this.cluster.placement.replicaSetAt(token)
    const bytes = context.sizes.expected(key, token)
    if (level === 'one') {
      const first = replicas.homes[0]!
      const isOpen = first.readRank === READ_FIRST && admission.isOpen(first.node.load, bytes)
      const near = mayBeNear && isOpen ? first.node.near : null
      if (near && this.readNear(near, key, replicas, done)) return
      const operation = ReadOne.ofValue(context, key, replicas, bytes, done)
      if (isOpen) operation.start()
      else admission.enter({ operation, done, replicas, readsOne: true, bytes })
      return
    }
    const settle = (waiting: ReadDone) => this.settle(key, replicas, waiting)
    const operation = QuorumRead.ofValue(context, key, replicas, level, bytes, done, settle)
    if (admission.areOpen(replicas, bytes)) operation.start()
    else admission.enter({ operation, done, replicas, bytes })
  }

  /** Without waiting for room: what is read is small. */
  private startRead(key: Buffer, done: ReadDone, level: ConsistencyLevel): void {
    const { context } = this
    const replicas = this.replicaSetOf(key)
    const bytes = context.sizes.expected(key)
    const settle = (waiting: ReadDone) => this.settle(key, replicas, waiting)
    const operation =
      level === 'one'
        ? ReadOne.ofValue(context, key, replicas, bytes, done)
        : QuorumRead.ofValue(context, key, replicas, level, bytes, done, settle)
    operation.start()
  }

  /** What a majority of its home replicas holds, without waiting for room: for repairs. */
  readSettled(key: Buffer): Promise<StoredRecord | null> {
    return new Promise((read, failed) => this.startRead(key, { read, failed }, 'quorum'))
  }

  /** What the key holds, if it lives; without waiting for room, and without counting as a use. */
  private lookAt(key: Buffer, level: ConsistencyLevel): Promise<Looked | null> {
    const { context } = this
    const replicas = this.replicaSetOf(key)
    return new Promise((resolve, reject) => {
      const done: ReadDone<PeekedRecord> = {
        read: (record) => resolve(this.isLive(record) ? record : null),
        failed: reject,
      }
      const bytes = partBytes('head')
      const settle = (waiting: ReadDone) => this.settle(key, replicas, waiting)
      const operation =
        level === 'one'
          ? ReadOne.ofPart(context, key, replicas, bytes, 'head', done)
          : QuorumRead.ofPart(context, key, replicas, level, bytes, 'head', done, settle)
      operation.start()
    })
  }

  /** Only where the node itself would be asked, and now: what waits before it at that node stays before it. */
  private readNear(near: Near, key: Buffer, replicas: Replicas, done: ReadDone): boolean {
    if (replicas.isJoint || near.epoch !== replicas.epoch) return false
    const found = near.find(key)
    if (!found) return false
    const record = new StoredRecord(found.record)
    if (record.isTagged) return false // whether it is still a value has to be asked
    this.near?.found(found, this.cluster.placement, replicas.homes[0]!)
    done.read(record, { id: near.id, ageMs: this.options.clock.monotonicMs() - found.atMs })
    return true
  }

  /** Reads the head of the key's record, and only the requested part of its value. The key has passed checkKey. */
  peek(key: Buffer, part: Part, asked: ReadDone<PeekedRecord>, level: ConsistencyLevel = 'one'): void {
    const done = (this.tracking.isOn ? this.tracking.seeing(key, asked) : null) ?? asked
    if (this.sheds(done, NOTHING_WRITTEN)) return
    this.hotKeys?.note(key, false)
    const { context, admission } = this
    const token = tokenOf(key)
    const replicas = this.cluster.placement.replicaSetAt(token)
    const bytes = Math.min(partBytes(part), context.sizes.expected(key, token))
    const settle = (waiting: ReadDone) => this.settle(key, replicas, waiting)
    const operation =
      level === 'one'
        ? ReadOne.ofPart(context, key, replicas, bytes, part, done)
        : QuorumRead.ofPart(context, key, replicas, level, bytes, part, done, settle)
    admission.enter({ operation, done, replicas, readsOne: level === 'one', bytes })
  }

  /**
   * Stores a value. Key and value have passed checkKey and checkValue.
   *
   * @param expiresAtMs cluster time, 0 = never
   * @param tags made by tagging()
   */
  write(
    key: Buffer,
    value: Buffer,
    expiresAtMs: number,
    done: WriteDone,
    level: ConsistencyLevel = 'one',
    tags?: Buffer,
  ): void {
    if (this.context.contention.has(key)) {
      this.writeAsUpdate(key, { kind: KIND_VALUE, value, expiresAtMs, tags }, done, level)
      return
    }
    const { versions, time } = this.cluster
    const make = () => ({
      record: tags
        ? newRecordOf({ kind: KIND_VALUE, value, expiresAtMs, tags }, versions)
        : newRecord(KIND_VALUE, versions, expiresAtMs, value),
      lifeMs: ownLifeMs(KIND_VALUE, expiresAtMs, time.nowMs()),
    })
    this.replicate(key, make, HEAD_BYTES + value.length, done, level, expiresAtMs)
  }

  tagging(
    keys: readonly Buffer[],
    expiresAtMs: number,
    done: TaggingDone,
    level: ConsistencyLevel = 'one',
  ): void {
    if (!this.sheds(done)) this.tags.tagging(keys, expiresAtMs, done, level)
  }

  /** Deletes a key: writes a tombstone, which supersedes every older value that a replica may still hold. */
  remove(key: Buffer, done: WriteDone, level: ConsistencyLevel = 'one', before?: Version): void {
    if (before) {
      this.removeOlder(key, before, done, level)
      return
    }
    if (this.context.contention.has(key)) {
      this.writeAsUpdate(key, TOMBSTONE, done, level)
      return
    }
    const make = () => ({
      record: newRecord(KIND_TOMBSTONE, this.cluster.versions, 0),
      lifeMs: ownLifeMs(KIND_TOMBSTONE, 0, 0),
    })
    this.replicate(key, make, HEAD_BYTES, done, level)
  }

  /** Others overtake writes of this key again and again (write/contention.ts): it takes its turn, with the room of an update. */
  private writeAsUpdate(key: Buffer, record: Change, done: WriteDone, level: ConsistencyLevel): void {
    const asked = askedBy(done)
    const changed: UpdateDone = {
      ...asked,
      updated: (_before, after, by) => done.written(after!.version, by),
      failed: (error, by) => done.failed(error, by),
    }
    this.update(key, () => ({ kind: 'write', record }), changed, level, HEAD_BYTES + record.value.length)
  }

  /**
   * Writes a tombstone of just this version, which the nodes themselves store over older records only. Where one holds a newer
   * record or promise, the key is read: what is newer stays as it is, with its own version, or a later job would take it for
   * what was written after it. Of what is older a promise kept the tombstone away, perhaps one to a change that never came: an
   * update deletes it.
   */
  private removeOlder(key: Buffer, before: Version, done: WriteDone, level: ConsistencyLevel): void {
    const asked = askedBy(done)
    let isMade = false
    const make: MakeRecord = () => {
      if (isMade) return null
      isMade = true
      const stamp = (target: Buffer, at: number) => void target.set(before, at)
      return {
        record: newRecord(KIND_TOMBSTONE, { stamp }, 0),
        lifeMs: ownLifeMs(KIND_TOMBSTONE, 0, 0),
      }
    }
    const isNewer = (record: StoredRecord) => compareVersions(record.version, before) > 0
    const isLeft = (record: StoredRecord | null) =>
      record === null || record.kind === KIND_TOMBSTONE || isNewer(record)
    const failed = (error: RondoError) => done.failed(error)
    const written = (version: Version) => done.written(version)
    const compared = (held: StoredRecord | null) => {
      if (isLeft(held)) {
        done.written(held && isNewer(held) ? held.version : before)
        return
      }
      const modify: Modify = (current) =>
        isLeft(current) ? { kind: 'keep' } : { kind: 'write', record: TOMBSTONE }
      const updated: UpdateDone['updated'] = (current, after) =>
        done.written(current && isNewer(current) ? after!.version : before)
      this.update(key, modify, { ...asked, updated, failed }, level)
    }
    const compare = (error: RondoError) => {
      if (error.details.outcome === 'unknown') {
        this.readFar(key, { ...asked, read: compared, failed }, level, false)
      } else done.failed(error)
    }
    this.replicate(key, make, HEAD_BYTES, { ...asked, written, failed: compare }, level)
  }

  async flush(database: number | null): Promise<boolean> {
    const isDone = await this.cluster.flushing.flush(database)
    if (isDone) this.tracking.flushed()
    return isDone
  }

  isFlushed(key: Buffer, version: Version): boolean {
    return this.cluster.isFlushed(key, version)
  }

  newVersion(): Version {
    const { versions } = this.cluster
    const version = Buffer.alloc(VERSION_BYTES)
    version.writeUIntBE(Math.floor(this.nowMs()) + LEAD_MS, 0, 6)
    versions.observe(version)
    versions.stamp(version, 0)
    return version
  }

  /**
   * Reads, modifies and writes one key atomically, as far as the level guarantees (update.ts). Waits in the key's queue
   * (key-queues.ts) while this coordinator runs another change of the key.
   *
   * @param leastBytes the least length of the new value, if it is known: the nodes must have room for it
   */
  update(
    key: Buffer,
    modify: Modify,
    asked: UpdateDone,
    level: ConsistencyLevel = 'one',
    leastBytes = 0,
  ): void {
    const done = this.tracking.isOn ? this.tracking.updating(key, asked) : asked
    if (this.sheds(done)) return
    this.hotKeys?.note(key, true)
    const token = tokenOf(key)
    const replicas = this.cluster.placement.replicaSetAt(token)
    const bytes = Math.max(this.context.sizes.expected(key, token), leastBytes)
    if (leastBytes <= SMALL_BYTES && this.admission.areOpen(replicas, bytes)) {
      startInQueue(this.context, replicas, key, level, modify, done)
      return
    }
    const start = () => {
      const reserved = leastBytes > SMALL_BYTES ? new Reservation(done, replicas, leastBytes) : done
      startInQueue(this.context, replicas, key, level, modify, reserved)
    }
    this.admission.enter({ operation: { start }, done, replicas, bytes })
  }

  /** Whether transact() accepts these keys together; keys with the same hash tag always qualify. */
  sharesReplicaSet(keys: readonly Buffer[]): boolean {
    return shareReplicaSet(this.placed(keys))
  }

  /**
   * Reads, modifies and writes several keys atomically (transact.ts), as far as the level guarantees. Waits in the keys'
   * queues (key-queues.ts) while this coordinator runs other changes of any of them. Fails with CROSS_REPLICA_SET if the
   * keys do not share a replica set.
   *
   * @param keys at least one, each once; they have passed checkKey
   */
  transact(
    keys: readonly Buffer[],
    modify: ModifyAll,
    done: TransactDone,
    level: ConsistencyLevel = 'one',
  ): void {
    if (keys.length === 1) {
      const seeing: ModifyAll = (current) => {
        if (this.tracking.isOn) this.tracking.sawAll(keys, current)
        return modify(current)
      }
      this.update(keys[0]!, modifyOne(seeing), transactedOne(done), level)
      return
    }
    this.transactSlowly(keys, (current, then) => then(modify(current)), done, level)
  }

  /** The same for a slow modify(). With a single key, it is not combined with other updates of that key. */
  transactSlowly(
    keys: readonly Buffer[],
    modifyAll: ModifyAllSlowly,
    asked: TransactDone,
    level: ConsistencyLevel = 'one',
  ): void {
    const { tracking } = this
    const done = tracking.isOn ? tracking.transacting(keys, asked) : asked
    const modify: ModifyAllSlowly = (current, then) => {
      if (tracking.isOn) tracking.sawAll(keys, current)
      modifyAll(current, then)
    }
    if (this.sheds(done)) return
    const placed = this.placed(keys)
    if (!shareReplicaSet(placed)) {
      done.failed(crossReplicaSet())
      return
    }
    for (const key of keys) this.hotKeys?.note(key, true)
    const { sizes } = this.context
    const bytes = keys.reduce((sum, key) => sum + sizes.expected(key), 0)
    const { replicas } = placed[0]!
    const start = () => this.startTransaction(placed, modify, done, level, asked.isPutOff ?? false)
    this.admission.enter({ operation: { start }, done, replicas, bytes })
  }

  private startTransaction(
    placed: PlacedKey[],
    modify: ModifyAllSlowly,
    done: TransactDone,
    level: ConsistencyLevel,
    isPutOff: boolean,
  ): void {
    const { context } = this
    const { queues } = context
    const names = placed.map(({ key }) => nameOf(key))
    if (queues.enterAll(names)) {
      newTransaction(context, placed, level, modify, done).startQueued(queues, names)
    } else new QueuedTransaction(context, queues, names, placed, level, modify, done, isPutOff).start()
  }

  private placed(keys: readonly Buffer[]): PlacedKey[] {
    const { placement } = this.cluster
    return keys.map((key) => ({ key, replicas: placement.replicaSetOf(key) }))
  }

  /** @param bytes size of the record @param expiresAtMs of a value */
  private replicate(
    key: Buffer,
    make: MakeRecord,
    bytes: number,
    asked: WriteDone,
    level: ConsistencyLevel,
    expiresAtMs = 0,
  ): void {
    const done = this.tracking.isOn ? this.tracking.writing(key, asked) : asked
    if (this.sheds(done)) return
    this.hotKeys?.note(key, true)
    const { context, admission } = this
    const token = tokenOf(key)
    context.sizes.learn(key, bytes, token)
    context.bigKeys?.written(key, token, KIND_VALUE, bytes - HEAD_BYTES, expiresAtMs)
    const replicas = this.cluster.placement.replicaSetAt(token)
    const operation =
      level === 'one'
        ? new WriteOne(context, key, replicas, make, done)
        : new QuorumWrite(context, key, replicas, level, make, done)
    if (admission.areOpen(replicas, bytes)) operation.start()
    else admission.enter({ operation, done, replicas, bytes })
  }

  /**
   * Writes a record, or a newer one that is found, to a majority under a new version, past abandoned promises. For
   * repairs (repair/context.ts).
   */
  settleRecord(key: Buffer, record: StoredRecord): Promise<void> {
    return new Promise((resolve, reject) => {
      const modify: Modify = (current) => {
        if (current && compareVersions(current.version, record.version) > 0) {
          return { kind: 'write', record: current }
        }
        // Read before a flush: it must not come back with a later version.
        return this.cluster.isFlushed(key, record.version) ? { kind: 'keep' } : { kind: 'write', record }
      }
      const done: UpdateDone = { updated: () => resolve(), failed: reject }
      new QuorumUpdate(this.context, key, this.replicaSetOf(key), 'quorum', modify, done, false).start()
    })
  }

  /** The load is so high that clients that can wait should; soon operations are refused. */
  get crowded(): boolean {
    return this.underWay >= this.options.maxInFlight * CROWDED
  }

  get isServing(): boolean {
    return this.underWay > 0
  }

  /** Operations that wait to start count as well, because they use memory. */
  private get underWay(): number {
    return this.context.deadlines.size + this.admission.waiting
  }

  /** Load shedding: fails the operation at once when too many are in flight. */
  private sheds(done: Failing, details: ErrorDetails = { outcome: 'not-applied' }): boolean {
    const { maxInFlight } = this.options
    if (this.underWay < maxInFlight) return false
    const sentence = `${maxInFlight} operations are under way, and no more are taken (MAX_IN_FLIGHT). Try again soon.`
    done.failed(new RondoError('OVERLOADED', sentence, details))
    return true
  }

  /** For a read that promises blocked: two rounds that change nothing and return the current record. */
  private settle(key: Buffer, replicas: Replicas, done: ReadDone): void {
    const keep: Modify = () => ({ kind: 'keep' })
    const answer: UpdateDone = {
      updated: (_before, after, by) => done.read(after, by),
      failed: (error) => done.failed(new RondoError('QUORUM_NOT_MET', error.message)),
    }
    new QuorumUpdate(this.context, key, replicas, 'quorum', keep, answer).start()
  }

  /** Whether this record holds a value that clients can see now. */
  isLive<R extends RecordHead>(record: R | null): record is R {
    // Most values have no expiry: skip reading the clock.
    return record?.isLive(record.expiresAtMs === 0 ? 0 : this.nowMs()) ?? false
  }

  /**
   * When a live record expires, cluster time in whole milliseconds; 0 = never. Asks the nodes if Rondo did not write the
   * value; null = none of them holds it any more.
   *
   * @throws RondoError if one that may hold it cannot tell: without its end it would become a value that never expires
   */
  async expiresAtMs(key: Buffer, record: RecordHead): Promise<number | null> {
    if (!record.isForeign) return record.expiresAtMs
    let failure: RondoError | null = null
    for (const member of this.replicaSetOf(key).preference) {
      if (member.readRank === READ_NEVER) continue
      try {
        const lifeMs = await foreignLifeMs(member, key)
        if (lifeMs !== null) return lifeMs < 0 ? 0 : Math.ceil(this.nowMs()) + lifeMs
      } catch (error) {
        failure ??= error as RondoError // the next one may hold it as well
      }
    }
    if (failure) throw failure
    return null
  }

  /** A page of all keys. Pass the cursor of the previous page; '0' starts. */
  async list(request: ListRequest): Promise<KeyPage> {
    const { maxKeyBytes } = this.options
    const bytes = request.match?.length ?? 0
    if (bytes > maxKeyBytes) {
      const sentence = `The pattern has ${bytes} bytes; at most ${maxKeyBytes} are allowed (MAX_KEY_BYTES).`
      throw new RondoError('BAD_REQUEST', sentence)
    }
    return this.pages.run(() => listKeys(this.context, request))
  }

  /** The number of keys of each database. Lists all of them; concurrent calls share one run (walks.ts). */
  async countKeys(isWanted?: IsWanted): Promise<KeyCounts> {
    return (await this.keyCount.get(isWanted)).counts
  }

  async roughCounts(exactUpTo: number, isWanted?: IsWanted): Promise<RoughCounts> {
    const stored = this.storedKeys()
    this.noteFloors()
    // The nodes may still hold what was flushed.
    const isKnown = this.countedFloors === null || this.keyCount.hasCounted
    if (stored <= exactUpTo || !isKnown) return { counts: await this.countKeys(isWanted), isExact: true }
    // Before the first count: what the nodes hold, with the deletes that they remember.
    const latest = this.keyCount.recent()
    if (!latest) return { counts: new Map([[0, stored]]), isExact: false }
    const since = givenBack(latest, stored)
    if (since !== latest) this.keyCount.change(() => since)
    return { counts: estimated(since, stored), isExact: false }
  }

  onFlushed(database: number | null): void {
    this.tracking.flushed()
    this.keyCount.change((counted) => flushed(counted, database))
  }

  /** Whichever coordinator has flushed. */
  private noteFloors(): void {
    const { floors } = this.cluster
    if (floors === this.countedFloors) return
    const known = this.countedFloors?.all ?? []
    for (const { database, version } of floors?.all ?? []) {
      const isNew = known.every((one) => compareVersions(one.version, version) !== 0)
      if (isNew) this.onFlushed(database)
    }
    this.countedFloors = floors
  }

  /** How many keys the nodes hold, of any kind, as of the last pings. */
  private storedKeys(): number {
    const { members, replicas } = this.cluster.placement
    const copies = members.reduce((sum, { report }) => sum + (report?.keys ?? 0), 0)
    return Math.round(copies / replicas)
  }

  private async walkAll(isWanted: IsWanted): Promise<Counted> {
    const counts = new Map<number, number>()
    let cursor = '0'
    let pages = 0
    do {
      const page = await this.list({ database: null, match: null, cursor, count: COUNTED_PAGE, isWanted })
      pages++
      if (page.restarted) counts.clear()
      for (const key of page.keys) {
        const { database } = clientKey(key)!
        if (isHidden(database)) continue
        counts.set(database, (counts.get(database) ?? 0) + 1)
      }
      cursor = page.cursor
    } while (cursor !== '0')
    // What was written since the last ping is in the count, and must not count as gained after it.
    if (pages > 1) await this.cluster.reprobeAll()
    return { counts, stored: this.storedKeys(), isFlushed: false }
  }

  /** A random key of a random page. */
  async randomKey(database: number, isWanted: IsWanted = () => true): Promise<Buffer | null> {
    const page = (cursor: string) =>
      this.list({ database, match: null, cursor, count: RANDOM_PAGE, isWanted })
    const oneOf = (keys: readonly Buffer[]) => keys[Math.floor(this.options.random() * keys.length)]!
    const first = await page('0')
    // The same listing, continued from a random position; its view of the nodes stays.
    const elsewhere = cursorElsewhere(first.cursor, this.cluster.members.length, this.options.random)
    // Behind that position there may be none, although there are some before it.
    for (const begin of first.keys.length > 0 ? [elsewhere] : [elsewhere, first.cursor]) {
      for (let cursor = begin; cursor !== '0';) {
        const next = await page(cursor)
        if (next.keys.length > 0) return oneOf(next.keys)
        cursor = next.cursor
      }
    }
    return first.keys.length > 0 ? oneOf(first.keys) : null
  }

  clusterView(): ClusterView {
    return clusterView(this.cluster)
  }

  explain(key: Buffer): Promise<Explanation> {
    return explain(this.context, key, this.replicaSetOf(key))
  }

  /** Waits for outstanding replication; resolves with the number of calls that did not finish in time. */
  drain(limitMs: number): Promise<number> {
    this.context.deadlines.stop()
    return this.context.background.drain(limitMs)
  }

  private replicaSetOf(key: Buffer): Replicas {
    return this.cluster.placement.replicaSetOf(key)
  }
}
