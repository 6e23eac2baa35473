/**
 * What other coordinators answer to a message or a question. A node says to how many of them it has passed it on (copies);
 * each copy is answered once. Whoever answers late does not count: a coordinator whose machine is gone stays subscribed until
 * its node notices, so after a missing answer no other one on that node is waited for long. Who answers in parts is late only when
 * the next one does not come: names of many channels take a while.
 */
import type { MonotonicClock, TimerHandle, Timers } from '../../core/clock.ts'

const ANSWER_MS = 250
const HURRIED_MS = 20
/** For an answer in parts, all of them together. */
const LONGEST_MS = 10_000
const HURRY_MS = 10_000

export interface Awaited {
  /** Sum of what was answered. */
  receivers: number
  /** @param areAll each copy was answered */
  readonly done: (receivers: number, areAll: boolean) => void
  /** Of a question: a part of an answer. */
  readonly part?: (body: Buffer) => void
}

interface Waiting extends Awaited {
  place: object
  copies: number | null
  answers: number
  dueMs: number
  /** When the last part of an answer has arrived; null = none has. */
  partAtMs: number | null
  /** No part is waited for after that. */
  longestMs: number
}

export class Replies {
  private readonly options: { readonly clock: MonotonicClock; readonly timers: Timers }
  private readonly waiting = new Map<number, Waiting>()
  /** By carrier, until when its answers are not waited for long. */
  private readonly hurried = new WeakMap<object, number>()
  private timer: TimerHandle | null = null
  private timerMs = Infinity

  constructor(options: { readonly clock: MonotonicClock; readonly timers: Timers }) {
    this.options = options
  }

  /** Before it is published. @param place the carrier */
  expect(number: number, place: object, awaited: Awaited): void {
    const none = { copies: null, answers: 0, dueMs: Infinity, longestMs: Infinity, partAtMs: null }
    this.waiting.set(number, { ...awaited, place, ...none })
  }

  /** It was published. */
  passedOn(number: number, copies: number): void {
    const waiting = this.waiting.get(number)
    if (!waiting) return
    waiting.copies = copies
    if (waiting.answers >= copies) this.end(number, waiting)
    else this.limit(waiting)
  }

  /** It was not published there; what was answered stays counted. */
  moved(number: number, place: object): void {
    const waiting = this.waiting.get(number)
    if (!waiting) return
    waiting.place = place
    waiting.answers = 0
  }

  answered(number: number, receivers: number): void {
    const waiting = this.waiting.get(number)
    if (!waiting) return
    waiting.answers++
    waiting.receivers += receivers
    if (waiting.copies !== null && waiting.answers >= waiting.copies) this.end(number, waiting)
  }

  part(number: number, body: Buffer): void {
    const waiting = this.waiting.get(number)
    if (!waiting) return
    waiting.partAtMs = this.options.clock.monotonicMs()
    waiting.part?.(body)
  }

  /** Nobody waits any more. */
  drop(number: number): void {
    this.waiting.delete(number)
  }

  stop(): void {
    if (this.timer) this.options.timers.clearTimeout(this.timer)
    for (const [number, waiting] of this.waiting) this.end(number, waiting)
  }

  private end(number: number, { done, receivers, copies, answers }: Waiting): void {
    this.waiting.delete(number)
    done(receivers, copies !== null && answers >= copies)
  }

  private limit(waiting: Waiting): void {
    const nowMs = this.options.clock.monotonicMs()
    const isHurried = (this.hurried.get(waiting.place) ?? -Infinity) > nowMs
    waiting.dueMs = nowMs + (isHurried && waiting.partAtMs === null ? HURRIED_MS : ANSWER_MS)
    waiting.longestMs = nowMs + LONGEST_MS
    if (waiting.dueMs >= this.timerMs) return
    if (this.timer) this.options.timers.clearTimeout(this.timer)
    this.timerMs = waiting.dueMs
    this.timer = this.options.timers.setTimeout(this.onTimer, waiting.dueMs - nowMs)
  }

  private readonly onTimer = (): void => {
    this.timer = null
    this.timerMs = Infinity
    const nowMs = this.options.clock.monotonicMs()
    let nextMs = Infinity
    for (const [number, waiting] of this.waiting) {
      const { partAtMs, longestMs, dueMs } = waiting
      if (partAtMs !== null) waiting.dueMs = Math.min(longestMs, Math.max(dueMs, partAtMs + ANSWER_MS))
      if (waiting.dueMs > nowMs) nextMs = Math.min(nextMs, waiting.dueMs)
      else {
        this.hurried.set(waiting.place, nowMs + HURRY_MS)
        this.end(number, waiting)
      }
    }
    if (nextMs === Infinity) return
    this.timerMs = nextMs
    this.timer = this.options.timers.setTimeout(this.onTimer, nextMs - nowMs)
  }
}
