/**
 * Tells trackers (clients that keep values themselves) which keys change.
 *
 *   read by a tracker ── remember ──▶ table: key → trackers ◀── taken out, and told, by each of these
 *                                        a write of the key through this coordinator, before it is answered
 *                                        a node that tells of the key, whoever has written it (sources.ts)
 *                                        the end of what was read, by cluster time
 *                                        a tag of it that was invalidated
 *                                        a flush, or a gap in what its nodes tell: perhaps all keys at once
 *
 * Why a tracker does not keep an old value:
 *
 * - A read is remembered before it begins. Say node X answers with the old value and then gets the write. It tells of it
 *   then, which arrives after the read was remembered. That it may arrive before the answer does no harm: connections send
 *   what is told behind the replies to the reads that they have begun (servers/resp/connection).
 * - A replica that lags, and is read from after the tracker was told, gets the write later, and tells of it then.
 * - What a node could not tell is a gap: everything that was read of it is told.
 * - While a node that is read from does not tell, nothing of it may be kept: a key is told right after its read.
 * - What is kept in this process (nodes/near/) is told of on another connection, perhaps later. So reads of trackers do not
 *   look there.
 *
 * A change may be told several times, and a key that has not changed may be told.
 *
 * Costs nothing while nobody tracks: the coordinator looks at `isOn`, and no node is asked to tell.
 */
import type { Cluster } from '../../cluster/cluster.ts'
import type { Member } from '../../cluster/member.ts'
import type { TimerHandle, Timers } from '../../core/clock.ts'
import { StoredRecord, type RecordHead } from '../../core/codec.ts'
import type { Emit } from '../../core/events.ts'
import type { Floors } from '../../core/floors.ts'
import { clientKey, databasePrefix, isInternalName, TAGS_DATABASE } from '../../core/keys.ts'
import { isPartName } from '../../core/part-keys.ts'
import { decodeTags } from '../../core/tags.ts'
import type { ReadDone } from '../read/read.ts'
import type { Requester } from '../requester.ts'
import type { TransactDone } from '../transact/transact.ts'
import type { UpdateDone } from '../update/update.ts'
import type { WriteDone } from '../write/write.ts'
import type { KeyTracker, Tracking, TrackingCounts } from './api.ts'
import { OwnWrites } from './own-writes.ts'
import { Prefixes } from './prefixes.ts'
import { Seeing, transacting, updating, writing, type OnWritten, type Reader } from './seen.ts'
import { Sources } from './sources.ts'
import { TrackedKeys, type Entry } from './table.ts'

export interface TrackingOptions {
  readonly cluster: Pick<Cluster, 'placement' | 'floors'>
  /** Pairs of a key and a tracker. */
  readonly maxItems: number
  readonly timers: Timers
  readonly emit: Emit
  /** Cluster time. */
  readonly nowMs: () => number
  /** Reads the head of a key's record. */
  readonly peek: (key: Buffer, done: ReadDone<RecordHead>) => void
}

const BEAT_MS = 100
/** So many keys are told one by one; more at once as all. */
const MANY_KEYS = 1000
/** So many ends are told in a turn. */
const ENDS_A_TURN = 2000
const TAG_PREFIX = databasePrefix(TAGS_DATABASE).toString('latin1')
const RESERVED = '__rondo:'
/** A value has tags, and it is not known which. */
const SOME_TAG = ''

export class NodeTracking implements Tracking, Reader {
  /** Somebody tracks. */
  isOn = false
  private readonly options: TrackingOptions
  private readonly trackers = new Set<KeyTracker>()
  private readonly table: TrackedKeys
  private readonly prefixes = new Prefixes()
  private readonly sources: Sources
  private readonly own = new Map<KeyTracker, OwnWrites>()
  /** The same by whose writes they are: a client is one tracker. */
  private readonly ownBy = new Map<Requester, OwnWrites>()
  /** By tracker: what is broadcast to it at the end of this turn, by name. */
  private readonly due = new Map<KeyTracker, Map<string, Buffer>>()
  private timer: TimerHandle | null = null
  private floors: Floors | null = null
  /** How often tags have changed: a read that one of them has overtaken is told. */
  private tagChanges = 0
  private told = 0
  private evicted = 0
  private flushes = 0

  constructor(options: TrackingOptions) {
    this.options = options
    this.table = new TrackedKeys(options.maxItems, (entry) => {
      this.evicted++
      this.tellAll(entry, null)
    })
    this.sources = new Sources({
      ...options,
      changed: (keys, member) => this.onNodeChanged(keys, member),
      gap: (member) => this.onGap(member),
    })
  }

  get counts(): TrackingCounts {
    const { table, prefixes, sources, told, evicted, flushes } = this
    const sizes = { keys: table.size, items: table.items, prefixes: prefixes.size, nodes: sources.open }
    return { trackers: this.trackers.size, ...sizes, told, evicted, flushes }
  }

  // ---- for servers

  begin(tracker: KeyTracker, prefixes: readonly Buffer[] | null): Promise<void> | null {
    this.trackers.add(tracker)
    if (prefixes) this.prefixes.add(tracker, prefixes)
    this.follow(tracker, tracker.ignores)
    if (!this.isOn) {
      this.isOn = true
      this.floors = this.options.cluster.floors
      this.timer = this.options.timers.setTimeout(this.beat, BEAT_MS)
    }
    return this.sources.start()
  }

  /** @param by null = it wants to hear of all changes */
  private follow(tracker: KeyTracker, by: Requester | null): void {
    const own = this.own.get(tracker)
    if ((own?.by ?? null) === by) return
    if (own) {
      this.own.delete(tracker)
      this.ownBy.delete(own.by)
    }
    if (!by) return
    const next = this.ownWritesOf(by)
    this.own.set(tracker, next)
    this.ownBy.set(by, next)
  }

  end(tracker: KeyTracker): void {
    this.trackers.delete(tracker)
    this.prefixes.remove(tracker)
    this.follow(tracker, null)
    this.due.delete(tracker)
    // Its keys stay until they are told, as in Redis.
    if (this.trackers.size === 0) this.stop()
  }

  private stop(): void {
    this.isOn = false
    if (this.timer) this.options.timers.clearTimeout(this.timer)
    this.timer = null
    this.sources.stop()
    this.table.clear()
  }

  remember(tracker: KeyTracker, keys: readonly Buffer[]): void {
    for (const key of keys) {
      const name = key.toString('latin1')
      this.table.add(name, tracker)
      if (!this.sources.covers(key)) this.changedSoon(name)
    }
  }

  /** The command that reads it is in the queue of its connection by then. */
  private changedSoon(name: string): void {
    this.options.timers.endOfTurn(() => this.changed(name, null))
  }

  // ---- for the coordinator, while it is on

  /** @returns null: no tracker has to do with this key */
  seeing<R extends RecordHead>(key: Buffer, done: ReadDone<R>): ReadDone<R> | null {
    const entry = this.table.get(key.toString('latin1'))
    if (!entry) return null
    return new Seeing(this, entry, this.tagChanges, done)
  }

  /** The current records of a transaction, which a tracker may get. */
  sawAll(keys: readonly Buffer[], records: readonly (StoredRecord | null)[]): void {
    for (const [i, record] of records.entries()) {
      const entry = record && this.table.get(keys[i]!.toString('latin1'))
      // Its tags were read a moment ago: perhaps they have changed since.
      if (entry) this.saw(entry, record, record.isTagged ? -1 : this.tagChanges)
    }
  }

  writing(key: Buffer, done: WriteDone): WriteDone {
    return writing(done, this.onWritten(key, done.requester))
  }

  updating(key: Buffer, done: UpdateDone): UpdateDone {
    return updating(done, this.onWritten(key, done.requester))
  }

  transacting(keys: readonly Buffer[], done: TransactDone): TransactDone {
    const { requester } = done
    return transacting(
      done,
      keys.map((key) => this.onWritten(key, requester)),
    )
  }

  /** Everything was deleted, in one database or in all. Trackers are told of all keys, as by Redis. */
  flushed(): void {
    if (!this.isOn) return
    this.floors = this.options.cluster.floors
    this.changedAll()
  }

  saw(entry: Entry, record: RecordHead | null, tagChanges: number): void {
    if (entry.isGone || !record) return
    if (record.expiresAtMs !== 0) this.table.endsAt(entry, record.expiresAtMs)
    if (!record.isTagged) return
    if (tagChanges !== this.tagChanges) this.changedSoon(entry.name)
    else this.table.dependsOn(entry, tagsOf(record))
  }

  /** A write of this key begins. @returns what has to be called when it has ended */
  private onWritten(key: Buffer, requester: Requester | undefined): OnWritten {
    const name = key.toString('latin1')
    const own = requester && this.ownBy.get(requester)
    own?.began(name)
    return (by, version, mayHaveChanged) => {
      if (mayHaveChanged && this.isOn) this.changed(name, by)
      own?.ended(name, mayHaveChanged ? version : null)
    }
  }

  // ---- what changes

  private onNodeChanged(keys: readonly Buffer[] | null, member: Member): void {
    if (keys === null) {
      this.onGap(member)
      return
    }
    for (const key of keys) this.changed(key.toString('latin1'), null)
  }

  /** @param by null = unknown */
  private changed(name: string, by: Requester | null): void {
    const entry = this.table.take(name)
    if (entry) this.tellAll(entry, by)
    if (name.startsWith(RESERVED)) {
      if (isInternalName(name) || isPartName(name)) return
      if (name.startsWith(TAG_PREFIX)) {
        this.tagChanged(name)
        return
      }
    }
    if (this.prefixes.size > 0) this.broadcast(name, by)
  }

  private tagChanged(tag: string): void {
    this.tagChanges++
    for (const name of this.table.taggedWith(tag)) this.changed(name, null)
    for (const name of this.table.taggedWith(SOME_TAG)) this.changed(name, null)
  }

  private tellAll(entry: Entry, by: Requester | null): void {
    const { name } = entry
    const key = Buffer.from(name, 'latin1')
    entry.forEach((tracker) => {
      this.unlessOwn(tracker, name, by, () => {
        this.told++
        tracker.changed([key])
      })
    })
  }

  /** Tells it, unless it is its own change that it does not want to hear of. */
  private unlessOwn(tracker: KeyTracker, name: string, by: Requester | null, tell: () => void): void {
    if (!this.trackers.has(tracker)) return
    const own = this.own.get(tracker)
    if (!own) {
      tell()
      return
    }
    const stays = () => {
      // What it has written itself it may keep.
      if (!this.isBroadcast(tracker)) this.table.add(name, tracker)
    }
    if (by !== null && tracker.ignores === by) stays()
    else if (by === null && own.check(name, tell)) stays()
    else tell()
  }

  private isBroadcast(tracker: KeyTracker): boolean {
    return this.prefixes.has(tracker)
  }

  private broadcast(name: string, by: Requester | null): void {
    const known = clientKey(Buffer.from(name.slice(0, RESERVED.length + 32), 'latin1'))
    if (!known) return
    const plain = name.startsWith(RESERVED) ? name.slice(name.indexOf(':', RESERVED.length) + 1) : name
    this.prefixes.forEach(plain, (tracker) => {
      this.unlessOwn(tracker, name, by, () => this.tellAtEnd(tracker, name))
    })
  }

  private tellAtEnd(tracker: KeyTracker, name: string): void {
    const keys = this.due.get(tracker) ?? new Map<string, Buffer>()
    if (this.due.size === 0) this.options.timers.endOfTurn(() => this.tellDue())
    this.due.set(tracker, keys.set(name, Buffer.from(name, 'latin1')))
  }

  private tellDue(): void {
    const due = [...this.due]
    this.due.clear()
    for (const [tracker, keys] of due) {
      this.told += keys.size
      tracker.changed([...keys.values()])
    }
  }

  private changedAll(): void {
    this.flushes++
    this.tagChanges++
    this.table.clear()
    for (const tracker of this.trackers) tracker.changed(null)
  }

  /** Changes of this node may not have been told. */
  private onGap(member: Member): void {
    this.tagChanges++
    if (this.table.size > MANY_KEYS) {
      this.changedAll()
      return
    }
    const { placement } = this.options.cluster
    for (const { name, tags } of [...this.table.all()]) {
      const isItsOwn = placement.replicaSetOf(Buffer.from(name, 'latin1')).homes.includes(member)
      if (isItsOwn || tags) this.changed(name, null)
    }
    for (const tracker of this.prefixes.trackers()) tracker.changed(null)
  }

  private readonly beat = (): void => {
    this.timer = this.options.timers.setTimeout(this.beat, BEAT_MS)
    this.sources.beat()
    this.followFloors()
    this.tellEnded()
    for (const own of this.own.values()) own.forgetOld()
  }

  /** Whichever coordinator has flushed. */
  private followFloors(): void {
    const { floors } = this.options.cluster
    if (floors === this.floors) return
    const before = textOf(this.floors)
    this.floors = floors
    if (textOf(floors) !== before) this.changedAll()
  }

  private tellEnded(): void {
    if (!this.isOn) return
    const names = this.table.ended(this.options.nowMs(), ENDS_A_TURN)
    for (const name of names) this.changed(name, null)
    if (names.length >= ENDS_A_TURN) this.options.timers.endOfTurn(() => this.tellEnded())
  }

  private ownWritesOf(by: Requester): OwnWrites {
    const { nowMs, peek } = this.options
    return new OwnWrites({
      by,
      nowMs,
      look: (name, then) => {
        peek(Buffer.from(name, 'latin1'), {
          read: (head) => then(head, false),
          failed: () => then(null, true),
        })
      },
    })
  }
}

function tagsOf(record: RecordHead): string[] {
  const tags = record instanceof StoredRecord && record.tags ? decodeTags(record.tags) : null
  return tags ? tags.map(({ key }) => key.toString('latin1')) : [SOME_TAG]
}

function textOf(floors: Floors | null): string {
  return (floors?.all ?? [])
    .map(({ database, version }) => `${database}:${Buffer.from(version).toString('hex')}`)
    .join()
}
