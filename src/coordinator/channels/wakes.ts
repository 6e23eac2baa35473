/**
 * Wakes clients that wait at other coordinators for what was stored here (waiting/waiters.ts).
 *
 *   a client waits for `jobs`  ─▶  "I wait for 7f3a…" to all coordinators, who acknowledge it
 *   LPUSH jobs, elsewhere      ─▶  "7f3a… was stored" to whoever waits for it
 *
 * A key is named by 32 bits of a hash: another key with the same ones costs a look. So a push costs a message only if somebody
 * waits for it at another coordinator, and nothing but a lookup otherwise.
 *
 * Who waits says so again after 15 seconds, and it counts for 30: a coordinator that is gone is forgotten. A coordinator that
 * stores for the first time asks who waits; what it stores until it knows is looked up then. All this begins only when there
 * are other coordinators. Messages may be lost: whoever waits looks by itself as well.
 */
import type { MonotonicClock, TimerHandle, Timers } from '../../core/clock.ts'
import { murmur64 } from '../../core/murmur64.ts'
import type { WakeLink } from '../waiting/waiters.ts'
import type { Carrier } from './carrier.ts'
import type { Carriers } from './carriers.ts'
import { decodeHashes, encodeHashes, encodeSent, encodeTold, repliesTopic, WAITS_TOPIC } from './envelope.ts'
import type { Replies } from './replies.ts'

const LEASE_MS = 30_000
const TELL_AGAIN_MS = 15_000
const OTHERS_MS = 1000
/** In one message. */
const MOST_TOLD = 8192
/** Of other coordinators; beyond these they look by themselves. */
const MOST_KNOWN = 262_144
/** Looking for those that count no more takes long when there are so many. */
const SWEEP_MS = 5000
const MOST_PENDING = 10_000

/** Who waits is asked again, where not all have answered: after these pauses. */
const ASKED_AGAIN_MS = [1000, 2000, 4000]

/** Some: not all, as far as is known. */
type Answered = 'all' | 'some' | 'none'

const WAITS = 1
const WHO_WAITS = 2

/** What a message to one coordinator tells. */
export const TOLD = { stored: 3, waits: 4 } as const

export interface WakesOptions {
  readonly id: Buffer
  readonly clock: MonotonicClock
  readonly timers: Timers
  readonly carriers: Carriers
  readonly replies: Replies
  readonly nextNumber: () => number
  readonly start: () => Promise<void>
  readonly hasOthers: () => boolean
}

/** The waiters of this coordinator. */
export interface Wakeable {
  readonly hashes: Iterable<number>
  wakeAll(hashes: readonly number[]): void
}

export function hashOf(key: Buffer): number {
  return murmur64(key, 0).low >>> 0
}

export class Wakes implements WakeLink {
  private readonly options: WakesOptions
  private readonly self: string
  private readonly waiters: Wakeable
  /** When it was told. */
  private readonly announced = new Map<number, number>()
  private untold = new Set<number>()
  private telling: Promise<void> | null = null
  /** By hash, until when which coordinator waits. */
  private readonly known = new Map<number, Map<string, number>>()
  private knows: 'nothing' | 'asks' | 'all' = 'nothing'
  private readonly pending = new Set<number>()
  private due = new Map<string, Set<number>>()
  private others = false
  private othersAtMs = -Infinity
  private sweptAtMs = -Infinity
  private again: TimerHandle | null = null
  private stopped = false

  constructor(options: WakesOptions, waiters: Wakeable) {
    this.options = options
    this.self = options.id.toString('latin1')
    this.waiters = waiters
  }

  /** Whether there are other coordinators, known to a second. */
  private get areOthers(): boolean {
    const nowMs = this.options.clock.monotonicMs()
    if (nowMs - this.othersAtMs < OTHERS_MS) return this.others
    this.othersAtMs = nowMs
    this.others = this.options.hasOthers()
    return this.others
  }

  // ---- waiting here

  announce(hashes: Iterable<number>): Promise<void> | null {
    if (this.stopped || !this.areOthers) return null
    const nowMs = this.options.clock.monotonicMs()
    let isNew = false
    for (const hash of hashes) {
      const atMs = this.announced.get(hash)
      if (atMs !== undefined && nowMs - atMs < TELL_AGAIN_MS) continue
      if (atMs === undefined || nowMs - atMs > LEASE_MS) isNew = true
      this.announced.delete(hash)
      this.announced.set(hash, nowMs)
      this.untold.add(hash)
    }
    this.forgetAnnounced(nowMs)
    if (this.untold.size === 0) return this.telling
    this.telling ??= this.tellSoon()
    return isNew ? this.telling : null
  }

  /** The oldest are the first. */
  private forgetAnnounced(nowMs: number): void {
    for (const [hash, atMs] of this.announced) {
      if (nowMs - atMs <= LEASE_MS) return
      this.announced.delete(hash)
    }
  }

  /** What comes in one turn goes out together. */
  private async tellSoon(): Promise<void> {
    await new Promise<void>((resolve) => this.options.timers.endOfTurn(resolve))
    const untold = [...this.untold]
    this.untold = new Set()
    this.telling = null
    const told: Promise<Answered>[] = []
    for (let from = 0; from < untold.length; from += MOST_TOLD) {
      const some = untold.slice(from, from + MOST_TOLD)
      told.push(this.ask(Buffer.concat([Buffer.from([WAITS]), encodeHashes(some)])))
    }
    const wereTold = await Promise.all(told)
    // Those that may not have heard of it are told with the next look.
    if (wereTold.some((answered) => answered !== 'all'))
      for (const hash of untold) this.announced.delete(hash)
  }

  /** @returns who has answered of those that listen; `none` also where it was not asked */
  private async ask(body: Buffer): Promise<Answered> {
    const { id, carriers, replies, nextNumber, start } = this.options
    await start()
    const carrier = this.stopped ? null : carriers.anyCarrier()
    if (!carrier) return 'none'
    const number = nextNumber()
    return new Promise((resolve) => {
      replies.expect(number, carrier, { receivers: 0, done: (_, areAll) => resolve(areAll ? 'all' : 'some') })
      carrier.publish(WAITS_TOPIC, encodeSent(id, number, body), {
        onPublished: (copies) => replies.passedOn(number, copies),
        onFailure: () => {
          replies.drop(number)
          resolve('none')
        },
      })
    })
  }

  // ---- storing here

  wake(key: Buffer): void {
    if (this.knows === 'all') {
      if (this.known.size > 0) this.wakeHash(hashOf(key))
      return
    }
    if (this.knows === 'nothing') {
      if (this.stopped || !this.areOthers) return
      this.knows = 'asks'
      void this.learn()
    }
    if (this.pending.size < MOST_PENDING) this.pending.add(hashOf(key))
  }

  private async learn(): Promise<void> {
    const answered = await this.ask(Buffer.from([WHO_WAITS]))
    const isAnswered = answered !== 'none'
    this.knows = isAnswered ? 'all' : 'nothing'
    if (!isAnswered) this.othersAtMs = this.options.clock.monotonicMs() // not again within a second
    this.others = isAnswered && this.others
    for (const hash of this.pending) this.wakeHash(hash)
    this.pending.clear()
    if (answered === 'some') this.askAgain()
  }

  /** A question or an answer was lost, or one of the others is gone, and its node does not know it yet. */
  private askAgain(time = 0): void {
    const pauseMs = ASKED_AGAIN_MS[time]
    if (this.stopped || pauseMs === undefined) return
    this.again = this.options.timers.setTimeout(() => {
      void this.ask(Buffer.from([WHO_WAITS])).then((answered) => {
        if (answered !== 'all') this.askAgain(time + 1)
      })
    }, pauseMs)
  }

  private wakeHash(hash: number): void {
    const waiting = this.known.get(hash)
    if (!waiting) return
    const nowMs = this.options.clock.monotonicMs()
    for (const [coordinator, untilMs] of waiting) {
      if (untilMs < nowMs) {
        waiting.delete(coordinator)
        continue
      }
      if (this.due.size === 0) this.options.timers.endOfTurn(this.sendDue)
      const hashes = this.due.get(coordinator)
      if (hashes) hashes.add(hash)
      else this.due.set(coordinator, new Set([hash]))
    }
    if (waiting.size === 0) this.known.delete(hash)
  }

  private readonly sendDue = (): void => {
    const { due } = this
    this.due = new Map()
    for (const [coordinator, hashes] of due) {
      const all = [...hashes]
      for (let from = 0; from < all.length; from += MOST_TOLD) {
        const body = encodeHashes(all.slice(from, from + MOST_TOLD))
        this.tell(coordinator, encodeTold(TOLD.stored, this.options.id, body), new Set())
      }
    }
  }

  /** Over the next node where one does not take it. */
  private tell(coordinator: string, bytes: Buffer, tried: Set<Carrier>): void {
    const topic = repliesTopic(Buffer.from(coordinator, 'latin1'))
    const carrier = this.stopped ? null : this.options.carriers.carrierOf(topic, tried)
    if (!carrier) return
    tried.add(carrier)
    carrier.publish(topic, bytes, {
      onPublished: () => undefined,
      onFailure: () => this.tell(coordinator, bytes, tried),
    })
  }

  // ---- what others say

  /** To all coordinators. @param from latin1 */
  onAsked(from: string, body: Buffer): void {
    if (from === this.self) return
    if (body[0] === WAITS) this.note(from, decodeHashes(body.subarray(1)))
    else if (body[0] === WHO_WAITS) {
      // Whoever asks has not heard what was announced; it is not announced again so soon when a client waits there again.
      this.forgetAnnounced(this.options.clock.monotonicMs())
      const all = [...new Set([...this.waiters.hashes, ...this.announced.keys()])]
      for (let at = 0; at < all.length; at += MOST_TOLD) {
        const some = encodeHashes(all.slice(at, at + MOST_TOLD))
        this.tell(from, encodeTold(TOLD.waits, this.options.id, some), new Set())
      }
    }
  }

  /** To this one alone. */
  onTold(type: number, from: string, body: Buffer): void {
    const hashes = decodeHashes(body)
    if (type === TOLD.stored) this.waiters.wakeAll(hashes)
    else this.note(from, hashes)
  }

  private note(from: string, hashes: readonly number[]): void {
    const nowMs = this.options.clock.monotonicMs()
    const untilMs = nowMs + LEASE_MS
    if (this.known.size + hashes.length > MOST_KNOWN && nowMs - this.sweptAtMs > SWEEP_MS) {
      this.sweptAtMs = nowMs
      this.sweep(nowMs)
    }
    for (const hash of hashes) {
      const waiting = this.known.get(hash)
      if (waiting) waiting.set(from, untilMs)
      else if (this.known.size < MOST_KNOWN) this.known.set(hash, new Map([[from, untilMs]]))
    }
  }

  private sweep(nowMs: number): void {
    for (const [hash, waiting] of this.known) {
      if ([...waiting.values()].every((untilMs) => untilMs < nowMs)) this.known.delete(hash)
    }
  }

  stop(): void {
    this.stopped = true
    if (this.again) this.options.timers.clearTimeout(this.again)
  }
}
