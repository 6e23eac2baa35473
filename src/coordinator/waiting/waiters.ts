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
 *   two, then four: their attempts are queued in this order (update/key-queues.ts). One whose predecessor has found nothing
 *   takes nothing, even if something is there by then: it comes again behind that.
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
import { Entry, TurnInLine, Waiter, type Line, type RoundsOfKey } from './lines.ts'
import type { Wait, Waiters, Waiting } from './api.ts'

/** A look at some keys. */
const LOOK_MS = 1000
const LOOKED_AT = 100
/** Keys of which the others are told again with a look, and with how many looks all are. */
const LEAST_ANNOUNCED = 1000
const ROUND_OF_ANNOUNCING = 10
/** So many are tried at once without having been looked at. */
const FEW_KEYS = 16
/** Attempts of one line, and readers of one key, at once. */
const MOST_AT_ONCE = 16
const READERS_AT_ONCE = 32
const LOOKS_AT_ONCE = 32
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
  /** By hash; different keys may have the same one, which is rare. */
  private readonly byHash = new Map<number, Entry | Set<Entry>>()
  /** Goes round the hashes: those that other coordinators are told of again. */
  private toAnnounce: Iterator<number> | null = null
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
      for (const entry of this.withHash(hash)) this.wakeEntry(entry)
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
    for (const line of entry.lines.values()) void line.rounds.run()
    void entry.readers?.rounds.run()
  }

  // ---- the first look

  private async firstPass<T>(waiter: Waiter<T>): Promise<void> {
    const { keys, line, isWhole } = waiter.waiting
    if (line === null) {
      for (const [place, key] of keys.entries()) waiter.read(this.entryOf(key), place, this.rounds)
      await this.attempt(waiter, 0)
    } else if (isWhole) {
      const [first] = keys.map((key, place) => waiter.join(this.entryOf(key), line, place, this.rounds))
      await first!.rounds.run()
    } else {
      for (const [place, key] of keys.entries()) {
        if (waiter.isOver) return
        await waiter.join(this.entryOf(key), line, place, this.rounds).rounds.run()
      }
    }
    if (waiter.isOver) return
    this.blocked++
    waiter.block()
    if (!waiter.isOver) this.announce(keys.map((key) => this.entryOf(key).hash))
  }

  /** What was stored before the others knew of it is found by looking again. */
  private announce(hashes: readonly number[]): void {
    const known = this.link?.announce(hashes)
    if (!known) return
    void known.then(() => {
      if (hashes.length <= FEW_KEYS) this.wakeAll(hashes)
      else void this.lookAtAll(hashes)
    })
  }

  private entryOf(key: Buffer): Entry {
    const name = key.toString('latin1')
    let entry = this.entries.get(name)
    if (entry) return entry
    entry = new Entry(name, Buffer.from(key))
    this.entries.set(name, entry)
    const alike = this.byHash.get(entry.hash)
    if (alike instanceof Set) alike.add(entry)
    else this.byHash.set(entry.hash, alike ? new Set([alike, entry]) : entry)
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
    if (alike instanceof Set && alike.delete(entry) && alike.size > 0) return
    this.byHash.delete(entry.hash)
  }

  // ---- attempts

  private readonly rounds: RoundsOfKey = {
    line: (line) => this.tryLine(line),
    readers: ({ waiters }) => this.tryReaders([...waiters]),
  }

  private async tryLine(line: Line): Promise<void> {
    const tried = new Set<Waiter<unknown>>()
    let isOtherType = false
    for (let atOnce = 1; ; atOnce = Math.min(2 * atOnce, MOST_AT_ONCE)) {
      const next = line.next(atOnce, (waiter) => !tried.has(waiter) && !(isOtherType && waiter.isBlocked))
      if (next.length === 0) return
      let turn: TurnInLine | null = null
      const turns = next.map(() => (turn = new TurnInLine(turn)))
      const outcomes = await Promise.all(
        next.map(({ waiter, place }, i) => this.attempt(waiter, place, turns[i])),
      )
      for (const [i, outcome] of outcomes.entries()) {
        if (turns[i]!.isHeldBack) continue
        if (outcome === 'nothing' || outcome === 'failed') return
        if (outcome === 'other-type') isOtherType = true
        tried.add(next[i]!.waiter)
      }
      if (atOnce === MOST_AT_ONCE) await this.turn()
    }
  }

  private async tryReaders(readers: readonly (readonly [Waiter<unknown>, number])[]): Promise<void> {
    for (let from = 0; from < readers.length; from += READERS_AT_ONCE) {
      const some = readers.slice(from, from + READERS_AT_ONCE)
      await Promise.all(some.map(([waiter, place]) => this.attempt(waiter, place)))
      await this.turn()
    }
  }

  /** Nodes of this process answer at once, and thousands of attempts would hold up everybody else. */
  private turn(): Promise<void> {
    return new Promise((resolve) => this.options.timers.endOfTurn(resolve))
  }

  private async attempt<T>(waiter: Waiter<T>, place: number, turn = new TurnInLine()): Promise<Outcome> {
    const { waiting } = waiter
    while (waiter.trying) await waiter.trying
    if (!waiter.isOver && waiting.isGone()) waiter.end()
    if (waiter.isOver) {
      turn.hasFound(true) // those behind it need not wait for it
      return 'skipped'
    }
    const { background } = this.options
    background.begin()
    const attempt = waiting.attempt(place, turn)
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
    this.announceSome()
  }

  private async lookAtAll(hashes: readonly number[]): Promise<void> {
    for (let from = 0; from < hashes.length; from += LOOKS_AT_ONCE) {
      const some = hashes.slice(from, from + LOOKS_AT_ONCE).flatMap((hash) => this.withHash(hash))
      await Promise.all(some.map((entry) => this.lookAt(entry)))
      await this.turn()
    }
  }

  private withHash(hash: number): Entry[] {
    const found = this.byHash.get(hash)
    return found instanceof Set ? [...found] : found ? [found] : []
  }

  /** All in a few seconds: each counts for half a minute at the others. */
  private announceSome(): void {
    const most = Math.max(LEAST_ANNOUNCED, Math.ceil(this.byHash.size / ROUND_OF_ANNOUNCING))
    const some: number[] = []
    while (some.length < most) {
      this.toAnnounce ??= this.byHash.keys()
      const next = this.toAnnounce.next()
      if (next.done) {
        this.toAnnounce = null
        break
      }
      some.push(next.value)
    }
    if (this.byHash.size <= LEAST_ANNOUNCED) this.announce(some)
    // So many are not looked at all at once, but by and by.
    else void this.link?.announce(some)
  }

  private async lookAt(entry: Entry): Promise<void> {
    if (entry.isLookedAt) return
    entry.isLookedAt = true
    try {
      const { key, level } = entry
      const found = await this.options.look(key, level)
      if (found?.kind === KIND_STREAM && entry.hasSeen(found.version)) return
      for (const line of entry.lines.values()) {
        // A group that is gone, because its stream has expired for example, ends the wait for it.
        if (line.kind === found?.kind || line.kind === KIND_STREAM) void line.rounds.run()
      }
      if (found) void entry.readers?.rounds.run()
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
