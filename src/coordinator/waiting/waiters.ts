/**
 * The clients of this coordinator that wait for an element, and who gets which.
 *
 *   key ──▶ line 'list'     first ─ second ─ third …      one tries, and the next one when it has got something
 *       ──▶ line 'group g'  first …
 *       ──▶ readers         all of them try
 *
 * Waiters are tried when a record of a list, a sorted set or a stream was stored: by this coordinator (`stored`), or by
 * another one, which sends a message (wakes.ts). About once a second some keys are looked at as well, in case a message was
 * lost, or nodes could not be reached.
 *
 * - First come, first served, at each key: a round tries the waiters of a line in their order, and ends at the first one that
 *   finds nothing. Whoever comes later waits for a round that began after it had come. Who has got something is followed by
 *   two, then four: their attempts are queued in this order (update/key-queues.ts).
 * - No wake-up is missed: a waiter is in its line before it looks for the first time, and what is stored while a round runs
 *   begins another one.
 * - An attempt begins only while its client is there. If the client is gone when it has taken something, that is given back:
 *   a store like any other, which wakes the next one.
 * - An attempt that has certainly failed is repeated at the next look. One of which that is not known ends the wait: the
 *   element may be taken.
 *
 * Not promised: a client that does not wait may take an element in between, and so may one of another coordinator.
 */
import { KIND_STREAM } from '../../core/codec.ts'
import type { TimerHandle, Timers } from '../../core/clock.ts'
import type { ConsistencyLevel } from '../../core/consistency.ts'
import { RondoError } from '../../core/errors.ts'
import type { Emit } from '../../core/events.ts'
import { sentenceOf } from '../../core/sentence.ts'
import { Entry, Waiter, type Line } from './lines.ts'
import type { Wait, Waiters, Waiting } from './api.ts'

/** A look at some keys. */
const LOOK_MS = 1000
const LOOKED_AT = 100
/** Attempts of one line, and readers of one key, at once. */
const MOST_AT_ONCE = 16
const READERS_AT_ONCE = 64
const FIRST_RETRY_MS = 50
const GIVING_BACK_MS = 10_000

/** What a key holds. */
export interface Looked {
  readonly kind: number
  readonly version: Uint8Array
}

/** Tells other coordinators what is waited for here, and wakes their waiters (wakes.ts). */
export interface WakeLink {
  /** @returns resolves when the others know of all of these; null = nobody needs to be told */
  announce(hashes: Iterable<number>): Promise<void> | null
  wake(key: Buffer): void
}

export interface WaitersOptions {
  readonly timers: Timers
  readonly random: () => number
  readonly emit: Emit
  /** Null = it holds nothing that lives. @throws RondoError */
  readonly look: (key: Buffer, level: ConsistencyLevel) => Promise<Looked | null>
  /** Counts what runs, so that a stop waits for it. */
  readonly background: { begin(): void; end(): void }
}

type Outcome = 'got' | 'nothing' | 'other-type' | 'failed' | 'skipped'

export class KeyWaiters implements Waiters {
  blocked = 0
  private readonly options: WaitersOptions
  /** By latin1. */
  private readonly entries = new Map<string, Entry>()
  /** By hash; different keys may have the same one. */
  private readonly byHash = new Map<number, Set<Entry>>()
  private woken = new Set<Entry>()
  private timer: TimerHandle | null = null
  private link: WakeLink | null = null

  constructor(options: WaitersOptions) {
    this.options = options
  }

  connect(link: WakeLink): void {
    this.link = link
  }

  /** Of the keys that are waited for here. */
  get hashes(): Iterable<number> {
    return this.byHash.keys()
  }

  /** Something was stored at another coordinator. */
  wakeAll(hashes: readonly number[]): void {
    for (const hash of hashes) {
      for (const entry of this.byHash.get(hash) ?? []) this.wakeEntry(entry)
    }
  }

  wait<T>(waiting: Waiting<T>): Wait<T> {
    const waiter = new Waiter<T>(
      waiting,
      this.options.timers,
      (ended) => this.onEnded(ended),
      (late) => void this.onTimeOver(late),
    )
    this.timer ??= this.nextLook()
    void this.firstPass(waiter)
    return waiter
  }

  /** A list, sorted set or stream was stored here, or may have been, or was deleted. */
  stored(key: Buffer): void {
    if (this.entries.size > 0) this.wake(key.toString('latin1'))
    this.link?.wake(key)
  }

  /** @param name of the key, latin1 */
  private wake(name: string): void {
    const entry = this.entries.get(name)
    if (entry) this.wakeEntry(entry)
  }

  private wakeEntry(entry: Entry): void {
    if (this.woken.size === 0) this.options.timers.endOfTurn(this.tryWoken)
    this.woken.add(entry)
  }

  private readonly tryWoken = (): void => {
    const woken = this.woken
    this.woken = new Set()
    for (const entry of woken) this.tryAll(entry)
  }

  private tryAll(entry: Entry): void {
    for (const line of entry.lines.values()) void this.serve(line)
    if (entry.readers.size > 0) void this.tryReaders(entry)
  }

  // ---- the first look

  private async firstPass<T>(waiter: Waiter<T>): Promise<void> {
    const { keys, line, isWhole } = waiter.waiting
    if (line === null) {
      for (const [place, key] of keys.entries()) waiter.read(this.entryOf(key), place)
      await this.attempt(waiter, 0)
    } else if (isWhole) {
      const [first] = keys.map((key, place) => waiter.join(this.entryOf(key), line, place))
      await this.serve(first!)
    } else {
      for (const [place, key] of keys.entries()) {
        if (waiter.isOver) return
        await this.serve(waiter.join(this.entryOf(key), line, place))
      }
    }
    if (waiter.isOver) return
    this.blocked++
    waiter.block()
    if (!waiter.isOver) this.announce(keys.map((key) => this.entryOf(key)))
  }

  /** What was stored before the others knew of it is found by looking again. */
  private announce(entries: readonly Entry[]): void {
    const known = this.link?.announce(entries.map(({ hash }) => hash))
    if (!known) return
    void known.then(() => {
      for (const { name } of entries) this.wake(name)
    })
  }

  private entryOf(key: Buffer): Entry {
    const name = key.toString('latin1')
    let entry = this.entries.get(name)
    if (entry) return entry
    entry = new Entry(name, Buffer.from(key))
    this.entries.set(name, entry)
    const alike = this.byHash.get(entry.hash)
    if (alike) alike.add(entry)
    else this.byHash.set(entry.hash, new Set([entry]))
    return entry
  }

  /**
   * A reader looks once more: what another coordinator has added while it waited, and has not told yet, would be lost for one
   * that begins its next wait at the end of the stream (`$`).
   */
  private async onTimeOver(waiter: Waiter<unknown>): Promise<void> {
    if (waiter.waiting.line === null) await this.attempt(waiter, 0)
    waiter.end()
  }

  private onEnded(waiter: Waiter<unknown>): void {
    if (waiter.isBlocked) this.blocked--
    for (const entry of waiter.leave()) {
      if (entry.isEmpty) this.forget(entry)
    }
    if (this.entries.size > 0 || !this.timer) return
    this.options.timers.clearTimeout(this.timer)
    this.timer = null
  }

  private forget(entry: Entry): void {
    this.entries.delete(entry.name)
    const alike = this.byHash.get(entry.hash)
    alike?.delete(entry)
    if (alike?.size === 0) this.byHash.delete(entry.hash)
  }

  // ---- attempts

  /** A round that begins after this call. @returns when it has ended */
  private serve(line: Line): Promise<void> {
    if (!line.round) return this.begin(line)
    line.nextRound ??= line.round.then(() => {
      line.nextRound = null
      return line.round ?? this.begin(line)
    })
    return line.nextRound
  }

  private begin(line: Line): Promise<void> {
    const round = this.round(line).then(() => {
      line.round = null
    })
    line.round = round
    return round
  }

  private async round(line: Line): Promise<void> {
    const tried = new Set<Waiter<unknown>>()
    let isOtherType = false
    for (let atOnce = 1; ; atOnce = Math.min(2 * atOnce, MOST_AT_ONCE)) {
      const next = line.next(atOnce, (waiter) => !tried.has(waiter) && !(isOtherType && waiter.isBlocked))
      if (next.length === 0) return
      for (const { waiter } of next) tried.add(waiter)
      const outcomes = await Promise.all(next.map(({ waiter, place }) => this.attempt(waiter, place)))
      if (outcomes.some((outcome) => outcome === 'nothing' || outcome === 'failed')) return
      if (outcomes.includes('other-type')) isOtherType = true
    }
  }

  private async tryReaders(entry: Entry): Promise<void> {
    const readers = [...entry.readers]
    for (let from = 0; from < readers.length; from += READERS_AT_ONCE) {
      const some = readers.slice(from, from + READERS_AT_ONCE)
      await Promise.all(some.map(([waiter, place]) => this.attempt(waiter, place)))
    }
  }

  private async attempt<T>(waiter: Waiter<T>, place: number): Promise<Outcome> {
    const { waiting } = waiter
    while (waiter.trying) await waiter.trying
    if (waiter.isOver) return 'skipped'
    if (waiting.isGone()) {
      waiter.end()
      return 'skipped'
    }
    const { background } = this.options
    background.begin()
    const attempt = waiting.attempt(place)
    waiter.trying = attempt.then(
      () => undefined,
      () => undefined,
    )
    try {
      const found = await attempt
      waiter.trying = null
      if (found.kind === 'nothing') return waiter.foundNothing()
      if (found.kind === 'other-type') return waiter.foundOtherType(found.answer)
      const { giveBack } = found
      this.hand(waiter, found.answer, giveBack && (() => void this.giveBack(giveBack)))
      return 'got'
    } catch (error) {
      waiter.trying = null
      if (isCertain(error)) waiter.couldNotLook()
      else waiter.fail(error)
      return 'failed'
    } finally {
      background.end()
    }
  }

  private hand<T>(waiter: Waiter<T>, answer: T, giveBack: (() => void) | null): void {
    if (waiter.waiting.isGone()) {
      giveBack?.()
      waiter.handOver({ answer: waiter.waiting.timedOut, hasWaited: waiter.isBlocked, giveBack: null })
    } else waiter.handOver({ answer, hasWaited: waiter.isBlocked, giveBack })
  }

  /** Again while it certainly was not done; a second time after an unknown outcome could store it twice. */
  private async giveBack(giveBack: () => Promise<void>): Promise<void> {
    const { background, timers, emit } = this.options
    background.begin()
    try {
      for (let waitMs = FIRST_RETRY_MS; ; waitMs *= 2) {
        try {
          await giveBack()
          return
        } catch (error) {
          if (isCertain(error) && waitMs < GIVING_BACK_MS) {
            await new Promise<void>((resolve) => timers.setTimeout(resolve, waitMs))
            continue
          }
          const what = 'giving back an element whose client has gone'
          emit({ kind: 'background-failed', what, why: sentenceOf(error) })
          return
        }
      }
    } finally {
      background.end()
    }
  }

  // ---- looks

  private nextLook(): TimerHandle {
    const { timers, random } = this.options
    return timers.setTimeout(this.lookAtSome, LOOK_MS * (0.9 + 0.2 * random()))
  }

  /** Those that were looked at the longest ago. */
  private readonly lookAtSome = (): void => {
    this.timer = this.nextLook()
    const some: Entry[] = []
    for (const entry of this.entries.values()) {
      if (some.push(entry) === LOOKED_AT) break
    }
    for (const entry of some) {
      this.entries.delete(entry.name)
      this.entries.set(entry.name, entry)
      void this.lookAt(entry)
    }
    this.announce([...this.entries.values()])
  }

  private async lookAt(entry: Entry): Promise<void> {
    if (entry.isLookedAt) return
    entry.isLookedAt = true
    try {
      const { key, level } = entry
      const found = await this.options.look(key, level)
      if (!found || (found.kind === KIND_STREAM && entry.hasSeen(found.version))) return
      for (const line of entry.lines.values()) if (line.kind === found.kind) void this.serve(line)
      if (entry.readers.size > 0) void this.tryReaders(entry)
    } catch {
      // Nodes that do not answer are told of elsewhere; the next look comes.
    } finally {
      entry.isLookedAt = false
    }
  }
}

/** Nothing was taken, and a later attempt may succeed. */
function isCertain(error: unknown): boolean {
  if (!(error instanceof RondoError) || error.details.outcome === 'unknown') return false
  return error.code === 'UNAVAILABLE' || error.code === 'QUORUM_NOT_MET' || error.code === 'OVERLOADED'
}
