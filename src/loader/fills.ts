/**
 * Who fills a key that is not there: one in the whole cluster, and all others wait for the value.
 *
 *   miss ─▶ ask() ─┬─▶ found    another has filled it meanwhile
 *                  ├─▶ lease    load it, then fill() or giveUp()
 *                  ├─▶ failed   another has just failed to load it
 *                  └─▶ late     another still loads it
 *
 * Those who ask for the same key in this process form a group: one of them at a time asks the nodes, for all of them.
 *
 * A fill is stored only if the key holds nothing later than what the miss saw: every write, delete, expiry and flush since
 * then wins. A value of a fill may be served for `staleMs` after its expiry, which other clients see as it is: the nodes keep
 * records longer than clients can see them (core/lifetime.ts), and these a little longer.
 *
 * Where deletes of keys that hold nothing write nothing (commands/run/absent.ts), a client's lease marks the key: by a
 * tombstone that says so, and is seen by DEL, which then replaces it. Its fill has to find that mark. A miss that sees a mark
 * has seen nothing newer than one that saw none: both are of the same lease.
 */
import type { Change, KeyStore, Modified, Requester } from '../coordinator/api.ts'
import { readRecord, updateKey } from '../coordinator/promises.ts'
import { compareVersions, versionMs, VERSION_ZERO, type Timers, type Version } from '../core/clock.ts'
import { KIND_TOMBSTONE, KIND_VALUE, type StoredRecord } from '../core/codec.ts'
import type { ConsistencyLevel } from '../core/consistency.ts'
import { EXPIRY_MARGIN_MS } from '../core/lifetime.ts'
import { Leases, type Taken } from './leases.ts'

export { NONCE_BYTES } from './leases.ts'

export interface FillsOptions {
  readonly store: KeyStore
  readonly timers: Timers
  readonly random: () => number
  /** For how long a fill is served after its expiry; 0 = not. */
  readonly staleMs: number
  /** Clients' leases mark their keys: elsewhere every delete counts (commands/run/absent.ts). */
  readonly marks: boolean
}

/** The right to fill a key. */
export interface Lease {
  readonly nonce: Buffer
  /** The version that the miss saw, and the epoch: a flush is a change of the topology. */
  readonly seen: Version
  readonly epoch: number
}

export type Asked =
  /** A live record, or a tombstone that says that the origin has nothing. */
  | { readonly kind: 'found'; readonly record: StoredRecord }
  | { readonly kind: 'lease'; readonly lease: Lease; readonly stale: StoredRecord | null }
  | { readonly kind: 'failed'; readonly why: string }
  | { readonly kind: 'late' }

export interface AskOptions {
  readonly level: ConsistencyLevel
  /** How long the lease lasts if it is not renewed. */
  readonly leaseMs: number
  readonly waitMs: number
  /** It does not wait for another that has the lease: it has a stale value. */
  readonly onlyLease?: boolean
}

interface Waiter {
  readonly leaseMs: number
  readonly onlyLease: boolean
  end(asked: Asked): void
  fail(error: Error): void
}

interface Group {
  readonly key: Buffer
  readonly level: ConsistencyLevel
  readonly waiters: Waiter[]
  /** The latest version that one of them has seen. */
  seen: Version
  /** Ends the pause. */
  wake: () => void
}

/** Between two looks at a key that another coordinator's client fills: from the first, doubling, up to the second. */
const FIRST_PAUSE_MS = 10
const LONGEST_PAUSE_MS = 160
/** A mark serves the leases that follow within this time, so that a client that loads for longer than its lease can still fill. */
const MARK_SERVES_MS = EXPIRY_MARGIN_MS
const EMPTY = Buffer.alloc(0)
const LEVELS: readonly ConsistencyLevel[] = ['one', 'quorum', 'all']

export class Fills {
  readonly leases: Leases
  readonly staleMs: number
  private readonly options: FillsOptions
  /** Takes turns with the connections of clients. */
  private readonly requester: Requester = {
    waiting: 0,
    begunAtMs: 0,
    gone: false,
    noneWaits: () => undefined,
  }
  private readonly groups = new Map<string, Group>()

  constructor(options: FillsOptions) {
    this.options = options
    this.staleMs = options.staleMs
    this.leases = new Leases(options.store, this.requester)
  }

  /** The record, if it has expired and may still be served. */
  staleOf(record: StoredRecord | null): StoredRecord | null {
    const { store, staleMs } = this.options
    if (!record?.isFilled || record.kind !== KIND_VALUE) return null
    return record.expiresAtMs + staleMs > store.nowMs() ? record : null
  }

  /** Whether it says that the origin has no such value. */
  isKnownAbsent(record: StoredRecord | null): boolean {
    return record?.kind === KIND_TOMBSTONE && record.expiresAtMs > this.options.store.nowMs()
  }

  /**
   * @param missed what is stored under the key
   * @throws RondoError if the nodes cannot be asked
   */
  ask(
    key: Buffer,
    missed: StoredRecord | null,
    { level, leaseMs, waitMs, onlyLease = false }: AskOptions,
  ): Promise<Asked> {
    return new Promise((resolve, reject) => {
      const { timers } = this.options
      const name = nameOf(key, level)
      const seen = changeIn(missed)
      const present = this.groups.get(name)
      if (onlyLease && present && compareVersions(seen, present.seen) <= 0) {
        resolve({ kind: 'late' })
        return
      }
      const group = present ?? { key, level, waiters: [], seen, wake: () => undefined }
      const leave = () => {
        timers.clearTimeout(timer)
        const place = group.waiters.indexOf(waiter)
        if (place >= 0) group.waiters.splice(place, 1)
      }
      const waiter: Waiter = {
        leaseMs,
        onlyLease,
        end: (asked) => {
          leave()
          resolve(asked)
        },
        fail: (error) => {
          leave()
          reject(error)
        },
      }
      const timer = timers.setTimeout(() => waiter.end({ kind: 'late' }), waitMs)
      group.waiters.push(waiter)
      if (compareVersions(seen, group.seen) > 0) {
        group.seen = seen
        group.wake()
      }
      if (present) return
      this.groups.set(name, group)
      void this.serve(name, group)
    })
  }

  /**
   * Stores what was loaded, or that there is nothing to load.
   *
   * @returns what is stored; null if something newer was written meanwhile, or was deleted
   * @throws RondoError
   */
  async fill(
    key: Buffer,
    { seen, epoch }: Omit<Lease, 'nonce'>,
    change: Change,
    level: ConsistencyLevel,
  ): Promise<StoredRecord | null> {
    const { store, marks } = this.options
    let isStored = false
    const { after } = await updateKey(
      store,
      key,
      (current) => {
        const order = compareVersions(versionIn(current), seen)
        const isNewer = store.isLive(current) || (marks ? order !== 0 : order > 0)
        isStored = !isNewer && store.epoch === epoch
        return isStored ? { kind: 'write', record: change } : { kind: 'keep' }
      },
      { requester: this.requester, level },
      change.value.length,
    )
    this.look(key)
    return isStored ? after : null
  }

  /**
   * Makes a client's lease one that deletes can end.
   *
   * @param leaseMs how long it lasts; the mark stays for a minute more, as every tombstone does
   * @returns null if the key has got a value meanwhile
   * @throws RondoError
   */
  async mark(key: Buffer, lease: Lease, leaseMs: number, level: ConsistencyLevel): Promise<Lease | null> {
    const { store, marks } = this.options
    if (!marks) return lease
    const modify = (current: StoredRecord | null): Modified => {
      const serves = current?.isAwaited && versionMs(current.version) + MARK_SERVES_MS > store.nowMs()
      if (serves || store.isLive(current)) return { kind: 'keep' }
      // Whatever came between the look and this mark was there before its holder loads.
      return {
        kind: 'write',
        record: { kind: KIND_TOMBSTONE, value: EMPTY, expiresAtMs: 0, staleMs: leaseMs },
      }
    }
    const { after } = await updateKey(store, key, modify, { requester: this.requester, level })
    return store.isLive(after) ? null : { ...lease, seen: Buffer.from(versionIn(after)) }
  }

  /** The holder will not fill it: the next who waits gets the lease. */
  async giveUp(key: Buffer, { nonce }: Pick<Lease, 'nonce'>): Promise<void> {
    await this.leases.giveUp(key, nonce)
    this.look(key)
  }

  read(key: Buffer, level: ConsistencyLevel): Promise<StoredRecord | null> {
    return readRecord(this.options.store, key, { requester: this.requester, level })
  }

  /** Those who wait for the key in this process need not wait for the next look. */
  private look(key: Buffer): void {
    for (const level of LEVELS) this.groups.get(nameOf(key, level))?.wake()
  }

  /** Until nobody waits any more. Never rejects. */
  private async serve(name: string, group: Group): Promise<void> {
    const { waiters } = group
    try {
      let pauseMs = FIRST_PAUSE_MS
      let isHeld = false
      while (waiters.length > 0) {
        const taken = await this.leases.take(group.key, group.seen, waiters[0]!.leaseMs, isHeld)
        isHeld = true
        await this.tell(group, taken)
        if (waiters.length === 0) break
        await this.pause(group, pauseMs)
        pauseMs = Math.min(LONGEST_PAUSE_MS, 2 * pauseMs)
      }
    } catch (error) {
      for (const waiter of [...waiters]) waiter.fail(error as Error)
    } finally {
      // In the same turn as the last one has left: whoever asks from now on begins another group.
      this.groups.delete(name)
    }
  }

  private async tell(group: Group, taken: Taken): Promise<void> {
    const { key, level, waiters } = group
    const { store } = this.options
    if (taken.nonce === null && taken.failed !== null) {
      for (const waiter of [...waiters]) waiter.end({ kind: 'failed', why: taken.failed })
      return
    }
    if (taken.nonce === null) {
      for (const waiter of waiters.filter(({ onlyLease }) => onlyLease)) waiter.end({ kind: 'late' })
    }
    const { epoch } = store
    // The second look: it may have been filled between the miss and the lease.
    const record = await this.read(key, level)
    const isFound = store.isLive(record) || this.isKnownAbsent(record)
    group.seen = laterOf(changeIn(record), group.seen)
    if (taken.nonce && (isFound || waiters.length === 0)) await this.leases.giveUp(key, taken.nonce)
    if (isFound) for (const waiter of [...waiters]) waiter.end({ kind: 'found', record: record! })
    else if (taken.nonce) {
      const lease = { nonce: taken.nonce, seen: laterOf(versionIn(record), group.seen), epoch }
      waiters[0]?.end({ kind: 'lease', lease, stale: this.staleOf(record) })
    }
  }

  private pause(group: Group, ms: number): Promise<void> {
    const { timers, random } = this.options
    return new Promise((resolve) => {
      const timer = timers.setTimeout(resolve, ms * (0.5 + random() / 2))
      group.wake = () => {
        timers.clearTimeout(timer)
        resolve()
      }
    })
  }
}

export function versionIn(record: StoredRecord | null): Version {
  return record?.version ?? VERSION_ZERO
}

/** The version of what somebody has written or deleted, which a mark is not. */
function changeIn(record: StoredRecord | null): Version {
  return record?.isAwaited ? VERSION_ZERO : versionIn(record)
}

function laterOf(one: Version, other: Version): Version {
  return compareVersions(one, other) > 0 ? one : other
}

function nameOf(key: Buffer, level: ConsistencyLevel): string {
  return `${level}:${key.toString('latin1')}`
}
