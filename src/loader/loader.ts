/**
 * Read-through: a GET of a key that is not there calls the origin, once for all who ask, here (a flight) and at other
 * coordinators (fills.ts), and stores what it answers.
 *
 *   miss ─▶ flight ─▶ lease ─▶ slot ─▶ origin ─▶ fill ─▶ all who wait
 *
 * A flight belongs to nobody: a client that leaves does not end it. It joins only those whose miss saw nothing later than its
 * own, so a read that began after a delete never gets what was loaded before. A flight that runs out of time hands over:
 * those who still have time begin another one. If the origin fails, all learn it, and nobody asks it for that key for a
 * moment. Where no lease can be had, because too few nodes answer, each coordinator loads for itself.
 *
 * An expired value that came from a fill is served for a while: at once, or when the origin is slower than the soft timeout,
 * or fails.
 */
import type { KeyStore } from '../coordinator/api.ts'
import { compareVersions, VERSION_BYTES, type TimerHandle, type Timers, type Version } from '../core/clock.ts'
import { KIND_TOMBSTONE, KIND_VALUE, newRecord, StoredRecord } from '../core/codec.ts'
import { strongerOf, type ConsistencyLevel } from '../core/consistency.ts'
import { RondoError } from '../core/errors.ts'
import type { Emit } from '../core/events.ts'
import { clientKey } from '../core/keys.ts'
import { sentenceOf } from '../core/sentence.ts'
import { versionIn, type Fills, type Lease } from './fills.ts'
import { LoadFailure, type LoadDone, type LoadFunction, type Loading, type ReadThrough } from './api.ts'
import { Slots } from './slots.ts'

export interface Origin {
  readonly load: LoadFunction
  /** It has keys of other databases than the first. */
  readonly hasDatabases: boolean
}

export interface LoaderOptions {
  readonly store: KeyStore
  readonly fills: Fills
  readonly origin: Origin
  readonly ttlMs: number
  /** How long it is remembered that the origin has nothing; 0 = not. */
  readonly negativeTtlMs: number
  /** Of one call of the origin. */
  readonly timeoutMs: number
  /** How long a read waits for the origin where it could answer with a stale value; 0 = not at all. */
  readonly softTimeoutMs: number
  /** Calls of the origin at once. */
  readonly maxConcurrent: number
  readonly writeConsistency: ConsistencyLevel
  readonly timers: Timers
  readonly monotonicMs: () => number
  readonly random: () => number
  readonly emit: Emit
}

type Outcome =
  | { readonly kind: 'loaded'; readonly record: StoredRecord | null; readonly by: LoadedBy }
  | { readonly kind: 'failed'; readonly why: string }
  /** Not answered in time: others may try. */
  | { readonly kind: 'over' }

/** `stored` and `unstored` by this flight, `another` coordinator's. */
type LoadedBy = 'stored' | 'unstored' | 'another'

interface Flight {
  readonly key: Buffer
  readonly missed: StoredRecord | null
  readonly level: ConsistencyLevel
  readonly seen: Version
  /** A flush is a change of the topology. */
  readonly epoch: number
  readonly ended: Promise<Outcome>
}

/** A killed coordinator's lease ends after this; it is renewed three times as often. */
export const LEASE_MS = 2000
const RENEW_MS = LEASE_MS / 3
/** How long nobody asks an origin that has failed for the same key. */
export const FAILED_PAUSE_MS = 1000
/** A fill lives by up to this part shorter: keys that were filled together do not expire together. */
const JITTER = 0.1
/** Flights at work for each call of the origin: most wait for another coordinator's. */
const AT_WORK = 4
/** An origin that fails now and then is reported as working again after so long without a failure. */
const CALM_MS = 10_000
/** About a hundred years. */
const LONGEST_TTL_MS = 3_153_600_000_000
const LATE = Symbol('late')
const EMPTY = Buffer.alloc(0)
const ZEROS = { stamp: (target: Buffer, at: number) => void target.fill(0, at, at + VERSION_BYTES) }

export class Loader implements ReadThrough {
  readonly counts = { loaded: 0, absent: 0, failed: 0, late: 0 }
  staleServed = 0
  /** Reads that wait for it. */
  waiting = 0
  private readonly options: LoaderOptions
  private readonly slots: Slots
  /** Flights that have a lease, or ask for one: each costs the nodes some calls a second. */
  private readonly atWork: Slots
  private readonly flights = new Map<string, Flight>()
  /** So many so far. */
  private begun = 0
  /** Abort the calls of the origin that run. */
  private readonly calls = new Set<() => void>()
  private isStopped = false
  private isFailing = false
  private failedAtMs = 0

  constructor(options: LoaderOptions) {
    this.options = options
    this.slots = new Slots(options.maxConcurrent)
    this.atWork = new Slots(AT_WORK * options.maxConcurrent)
  }

  /** Calls of the origin that run. */
  get running(): number {
    return this.slots.taken
  }

  /** Ends the calls that run, and those who wait for them. */
  stop(): void {
    this.isStopped = true
    for (const abort of this.calls) abort()
  }

  load(key: Buffer, missed: StoredRecord | null, level: ConsistencyLevel, done: LoadDone): void {
    const { fills, origin, softTimeoutMs } = this.options
    const hasNone = !origin.hasDatabases && clientKey(key)!.database !== 0
    if (hasNone || fills.isKnownAbsent(missed)) {
      done.loaded(null, null)
      return
    }
    const stale = fills.staleOf(missed)
    if (stale && softTimeoutMs === 0) {
      // Where many keys expire at once, the origin gets as many calls as it may; the others stay stale for a little longer.
      if (!this.slots.areTaken && !this.atWork.areTaken) this.flightFor(key, missed, level)
      this.staleServed++
      done.loaded(stale, null)
      return
    }
    this.waiting++
    this.wait(key, missed, level, stale)
      .finally(() => this.waiting--)
      .then(
        ({ record, loading }) => done.loaded(record, loading),
        (error: unknown) => {
          const isStale = missed?.kind === KIND_VALUE
          done.failed(error as RondoError, { isStale, isStored: false, isCollapsed: false })
        },
      )
  }

  private async wait(
    key: Buffer,
    missed: StoredRecord | null,
    level: ConsistencyLevel,
    stale: StoredRecord | null,
  ): Promise<{ readonly record: StoredRecord | null; readonly loading: Loading | null }> {
    const { monotonicMs, softTimeoutMs, timeoutMs } = this.options
    const untilMs = monotonicMs() + (stale ? softTimeoutMs : timeoutMs + LEASE_MS)
    let why = `The origin did not answer within ${timeoutMs} ms (LOADER_TIMEOUT_MS).`
    for (;;) {
      const flights = this.begun
      const { ended } = this.flightFor(key, missed, level)
      const isJoined = this.begun === flights
      const outcome = await this.within(ended, untilMs - monotonicMs())
      if (outcome?.kind === 'loaded') {
        const { record, by } = outcome
        const isCollapsed = isJoined || by === 'another'
        const isStale = missed?.kind === KIND_VALUE
        return { record, loading: { isStale, isStored: by !== 'unstored', isCollapsed } }
      }
      if (outcome?.kind === 'over' && !this.isStopped && monotonicMs() < untilMs) continue
      if (outcome?.kind === 'failed') why = outcome.why
      if (!stale) throw new RondoError('LOAD_FAILED', why)
      this.staleServed++
      return { record: stale, loading: null }
    }
  }

  /** Null: it takes longer. */
  private within(ended: Promise<Outcome>, ms: number): Promise<Outcome | null> {
    const { timers } = this.options
    return new Promise((resolve) => {
      const timer = timers.setTimeout(() => resolve(null), ms)
      void ended.then((outcome) => {
        timers.clearTimeout(timer)
        resolve(outcome)
      })
    })
  }

  private flightFor(key: Buffer, missed: StoredRecord | null, level: ConsistencyLevel): Flight {
    const name = `${level}:${key.toString('latin1')}`
    const seen = versionIn(missed)
    const present = this.flights.get(name)
    if (present && compareVersions(present.seen, seen) >= 0) return present
    this.begun++
    let end: (outcome: Outcome) => void = () => undefined
    const ended = new Promise<Outcome>((resolve) => (end = resolve))
    const flight = { key, missed, level, seen, epoch: this.options.store.epoch, ended }
    this.flights.set(name, flight)
    const untilMs = this.options.monotonicMs() + this.options.timeoutMs + LEASE_MS
    void this.atWork
      .run(() => this.run(flight, untilMs))
      .then((outcome) => {
        if (this.flights.get(name) === flight) this.flights.delete(name)
        end(outcome)
      })
    return flight
  }

  /** Never rejects. */
  private async run(flight: Flight, untilMs: number): Promise<Outcome> {
    const { fills, monotonicMs } = this.options
    const { key, missed, level } = flight
    const waitMs = untilMs - monotonicMs()
    if (this.isStopped || waitMs <= 0) return { kind: 'over' }
    let lease: Lease | null = null
    try {
      const asked = await fills.ask(key, missed, { level, leaseMs: LEASE_MS, waitMs })
      if (asked.kind === 'failed') return asked
      if (asked.kind === 'late') return { kind: 'over' }
      if (asked.kind === 'found') return { kind: 'loaded', record: liveOf(asked.record), by: 'another' }
      lease = asked.lease
    } catch {
      // Too few nodes answer for a lease: better loaded twice than not at all.
    }
    const renewal = lease && this.renew(key, lease)
    try {
      return await this.slots.run(() => this.call(flight, lease, untilMs))
    } finally {
      renewal?.end()
    }
  }

  /** Until it is ended; a lease that another has taken meanwhile stays with that one. */
  private renew(key: Buffer, { nonce }: Lease): { end(): void } {
    const { timers, fills } = this.options
    let timer: TimerHandle
    let hasEnded = false
    const again = () => {
      if (hasEnded) return
      timer = timers.setTimeout(() => {
        fills.leases.renew(key, nonce, LEASE_MS).then(again, again)
      }, RENEW_MS)
    }
    again()
    return {
      end: () => {
        hasEnded = true
        timers.clearTimeout(timer)
      },
    }
  }

  private async call(flight: Flight, lease: Lease | null, untilMs: number): Promise<Outcome> {
    const { fills, timeoutMs, monotonicMs } = this.options
    const { key } = flight
    try {
      // It has waited for its slot, and nobody waits for it any more.
      const loaded = this.isStopped || monotonicMs() >= untilMs ? LATE : await this.loadedInTime(key)
      if (loaded === LATE) {
        this.counts.late++
        this.noteFailure(`it did not answer within ${timeoutMs} ms`)
        if (lease) await fills.giveUp(key, lease).catch(() => undefined)
        return { kind: 'over' }
      }
      const { value, ttlMs } = this.checked(loaded)
      this.noteSuccess()
      return await this.kept(flight, lease, value, ttlMs)
    } catch (error) {
      this.counts.failed++
      const why = error instanceof LoadFailure ? error.message : 'The loader failed.'
      this.noteFailure(sentenceOf(error))
      if (lease) await fills.leases.fail(key, lease.nonce, why, FAILED_PAUSE_MS).catch(() => undefined)
      return { kind: 'failed', why }
    }
  }

  private async loadedInTime(key: Buffer): Promise<Awaited<ReturnType<LoadFunction>> | typeof LATE> {
    const { origin, timeoutMs, timers } = this.options
    const aborting = new AbortController()
    const abort = () => aborting.abort()
    const { signal } = aborting
    const late = new Promise<typeof LATE>((resolve) => {
      signal.addEventListener('abort', () => resolve(LATE), { once: true })
    })
    const timer = timers.setTimeout(abort, timeoutMs)
    this.calls.add(abort)
    try {
      const { database, key: name } = clientKey(key)!
      const call = origin.load(name, { database, signal })
      call.catch(() => undefined) // once it is late, nobody hears of it
      return await Promise.race([call, late])
    } finally {
      timers.clearTimeout(timer)
      this.calls.delete(abort)
    }
  }

  private checked(loaded: Awaited<ReturnType<LoadFunction>>): { value: Buffer | null; ttlMs: number } {
    const { store, ttlMs: usualMs } = this.options
    const isPlain = loaded === null || typeof loaded === 'string' || loaded instanceof Uint8Array
    const { value, ttlMs } = isPlain ? { value: loaded, ttlMs: usualMs } : loaded
    if (!(ttlMs >= 1 && ttlMs <= LONGEST_TTL_MS)) throw new LoadFailure('The loader gave a TTL that is none.')
    if (value === null) return { value, ttlMs }
    const bytes = Buffer.from(value as Uint8Array)
    const tooLarge = store.checkValue(bytes.length)
    if (tooLarge) throw new LoadFailure(tooLarge.message)
    return { value: bytes, ttlMs }
  }

  /** Stores what the origin has answered. @returns what the readers get: if another has written meanwhile, that */
  private async kept(
    { key, level, seen, epoch }: Flight,
    lease: Lease | null,
    value: Buffer | null,
    ttlMs: number,
  ): Promise<Outcome> {
    const { store, fills, negativeTtlMs, writeConsistency, random } = this.options
    this.counts[value ? 'loaded' : 'absent']++
    const giveUp = () => lease && fills.giveUp(key, lease).catch(() => undefined)
    if (value === null && negativeTtlMs === 0) {
      await giveUp()
      return { kind: 'loaded', record: null, by: 'unstored' }
    }
    const lifeMs = value ? ttlMs * (1 - JITTER * random()) : negativeTtlMs
    const expiresAtMs = Math.ceil(store.nowMs() + lifeMs)
    const change = value
      ? { kind: KIND_VALUE, value, expiresAtMs, staleMs: fills.staleMs }
      : { kind: KIND_TOMBSTONE, value: EMPTY, expiresAtMs }
    try {
      const stored = await fills.fill(
        key,
        lease ?? { seen, epoch },
        change,
        strongerOf(level, writeConsistency),
      )
      if (stored) return { kind: 'loaded', record: liveOf(stored), by: 'stored' }
    } catch {
      await giveUp() // it is not stored, or nobody knows: it is answered all the same
    }
    const written = await fills.read(key, level).catch(() => null)
    if (store.isLive(written)) return { kind: 'loaded', record: written, by: 'unstored' }
    return { kind: 'loaded', record: value && unsaved(value, expiresAtMs), by: 'unstored' }
  }

  private noteFailure(why: string): void {
    this.failedAtMs = this.options.monotonicMs()
    if (this.isFailing) return
    this.isFailing = true
    this.options.emit({ kind: 'origin', failing: true, why })
  }

  private noteSuccess(): void {
    if (!this.isFailing || this.options.monotonicMs() - this.failedAtMs < CALM_MS) return
    this.isFailing = false
    this.options.emit({ kind: 'origin', failing: false, why: null })
  }
}

function liveOf(record: StoredRecord): StoredRecord | null {
  return record.kind === KIND_TOMBSTONE ? null : record
}

/** What was loaded, and is stored nowhere: at version zero. */
function unsaved(value: Buffer, expiresAtMs: number): StoredRecord {
  const { head } = newRecord(KIND_VALUE, ZEROS, expiresAtMs)
  return new StoredRecord(Buffer.concat([head, value]))
}
