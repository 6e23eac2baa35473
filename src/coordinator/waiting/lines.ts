/** Who waits at which key, in which order. */
import type { TimerHandle, Timers } from '../../core/clock.ts'
import type { ConsistencyLevel } from '../../core/consistency.ts'
import { murmur64 } from '../../core/murmur64.ts'
import type { Handed, Turn, Wait, Waiting } from './api.ts'

/** A timer cannot take longer. */
const LONGEST_TIMER_MS = 2 ** 30

type AnyWaiter = Waiter<unknown>

interface Placed {
  readonly waiter: AnyWaiter
  /** Of the key, among those of the waiter. */
  readonly place: number
}

/** What is done again and again, once at a time: calls that come meanwhile share the next one, so they cannot pile up. */
class Rounds {
  private running: Promise<void> | null = null
  private next: Promise<void> | null = null
  private readonly round: () => Promise<void>

  constructor(round: () => Promise<void>) {
    this.round = round
  }

  /** One that begins after this call. @returns when it has ended */
  run(): Promise<void> {
    if (!this.running) return this.begin()
    this.next ??= this.running.then(() => {
      this.next = null
      return this.running ?? this.begin()
    })
    return this.next
  }

  private begin(): Promise<void> {
    const running = this.round().then(() => {
      this.running = null
    })
    this.running = running
    return running
  }
}

/** Those at one key that take turns. */
export class Line {
  readonly name: string
  readonly kind: number
  /** In their order. */
  readonly waiters = new Map<AnyWaiter, number>()
  readonly rounds: Rounds

  constructor(name: string, kind: number, round: (line: Line) => Promise<void>) {
    this.name = name
    this.kind = kind
    this.rounds = new Rounds(() => round(this))
  }

  /** The first ones that are wanted. */
  next(most: number, isWanted: (waiter: AnyWaiter) => boolean): Placed[] {
    const found: Placed[] = []
    for (const [waiter, place] of this.waiters) {
      if (isWanted(waiter) && found.push({ waiter, place }) === most) break
    }
    return found
  }
}

/** Those at one key that take nothing away. */
export class Readers {
  readonly waiters = new Map<AnyWaiter, number>()
  readonly rounds: Rounds

  constructor(round: (readers: Readers) => Promise<void>) {
    this.rounds = new Rounds(() => round(this))
  }
}

/** What is tried at a key. */
export interface RoundsOfKey {
  readonly line: (line: Line) => Promise<void>
  readonly readers: (readers: Readers) => Promise<void>
}

/** A key that is waited for. */
export class Entry {
  readonly name: string
  readonly key: Buffer
  /** How other coordinators call it. */
  readonly hash: number
  readonly lines = new Map<string, Line>()
  readers: Readers | null = null
  isLookedAt = false
  private seen: Uint8Array | null = null

  constructor(name: string, key: Buffer) {
    this.name = name
    this.key = key
    this.hash = murmur64(key, 0).low >>> 0
  }

  get isEmpty(): boolean {
    return this.lines.size === 0 && this.readers === null
  }

  /** Of whoever waits; there is one. */
  get level(): ConsistencyLevel {
    for (const { waiters } of this.lines.values()) {
      for (const { waiting } of waiters.keys()) return waiting.level
    }
    for (const { waiting } of this.readers?.waiters.keys() ?? []) return waiting.level
    return 'one'
  }

  /** Whether the last look has found the same. */
  hasSeen(version: Uint8Array): boolean {
    const isSame = this.seen !== null && Buffer.compare(this.seen, version) === 0
    this.seen = Buffer.from(version)
    return isSame
  }
}

/** One after the other, in the order of the line. */
export class TurnInLine implements Turn {
  private readonly before: TurnInLine | null
  private isFound = false
  /** When it decided, it took nothing because of those before it. */
  isHeldBack = false

  constructor(before: TurnInLine | null = null) {
    this.before = before
  }

  mayTake(): boolean {
    const { before } = this
    this.isHeldBack = before !== null && (before.isHeldBack || !before.isFound)
    return !this.isHeldBack
  }

  hasFound(isFound: boolean): void {
    this.isFound = isFound
  }
}

export class Waiter<T> implements Wait<T> {
  readonly waiting: Waiting<T>
  readonly result: Promise<Handed<T>>
  isBlocked = false
  isOver = false
  /** Settles when the attempt that runs has ended; null = none runs. */
  trying: Promise<void> | null = null
  private readonly joined: { readonly entry: Entry; readonly line: Line | null }[] = []
  /** The answer that it gets when its attempt finds nothing. */
  private ending: { readonly answer: T } | null = null
  private timer: TimerHandle | null = null
  /** Its time was over before it had looked everywhere. */
  private isLate = false
  private readonly timers: Timers
  private readonly onEnded: (waiter: AnyWaiter) => void
  private readonly onTimeOver: (waiter: AnyWaiter) => void
  private resolve!: (handed: Handed<T>) => void
  private reject!: (error: unknown) => void

  /** @param onTimeOver is to end it */
  constructor(
    waiting: Waiting<T>,
    timers: Timers,
    onEnded: (waiter: AnyWaiter) => void,
    onTimeOver: (waiter: AnyWaiter) => void,
  ) {
    this.waiting = waiting
    this.timers = timers
    this.onEnded = onEnded
    this.onTimeOver = onTimeOver
    this.result = new Promise((resolve, reject) => {
      this.resolve = resolve
      this.reject = reject
    })
    if (waiting.timeoutMs > 0) this.endAfter(waiting.timeoutMs)
  }

  private endAfter(ms: number): void {
    const partMs = Math.min(ms, LONGEST_TIMER_MS)
    this.timer = this.timers.setTimeout(() => {
      if (ms > partMs) this.endAfter(ms - partMs)
      else if (this.isBlocked) this.onTimeOver(this as AnyWaiter)
      else this.isLate = true
    }, partMs)
  }

  join(entry: Entry, name: string, place: number, { line: round }: RoundsOfKey): Line {
    let line = entry.lines.get(name)
    if (!line) entry.lines.set(name, (line = new Line(name, this.waiting.kind, round)))
    line.waiters.set(this as AnyWaiter, place)
    this.joined.push({ entry, line })
    return line
  }

  read(entry: Entry, place: number, { readers: round }: RoundsOfKey): void {
    entry.readers ??= new Readers(round)
    entry.readers.waiters.set(this as AnyWaiter, place)
    this.joined.push({ entry, line: null })
  }

  /** @returns the keys at which it has waited */
  leave(): Entry[] {
    for (const { entry, line } of this.joined) {
      if (!line) {
        entry.readers?.waiters.delete(this as AnyWaiter)
        if (entry.readers?.waiters.size === 0) entry.readers = null
      } else if (line.waiters.delete(this as AnyWaiter) && line.waiters.size === 0) {
        if (entry.lines.get(line.name) === line) entry.lines.delete(line.name)
      }
    }
    return this.joined.map(({ entry }) => entry)
  }

  end(answer: T | undefined = this.waiting.timedOut): void {
    if (this.trying) this.ending ??= { answer }
    else this.handOver({ answer, hasWaited: this.isBlocked, giveBack: null })
  }

  /** It has looked everywhere, in vain. */
  block(): void {
    this.isBlocked = true
    if (this.isLate) this.end()
  }

  foundNothing(): 'nothing' {
    if (this.ending) this.end(this.ending.answer)
    return 'nothing'
  }

  /** It could not look. */
  couldNotLook(): void {
    if (this.isLate) this.end()
    else this.foundNothing()
  }

  foundOtherType(answer: T): 'other-type' {
    if (this.isBlocked) this.foundNothing()
    else this.end(answer)
    return 'other-type'
  }

  handOver(handed: Handed<T>): void {
    if (this.close()) this.resolve(handed)
  }

  fail(error: unknown): void {
    if (this.close()) this.reject(error)
  }

  private close(): boolean {
    if (this.isOver) return false
    this.isOver = true
    if (this.timer) this.timers.clearTimeout(this.timer)
    this.onEnded(this as AnyWaiter)
    return true
  }
}
