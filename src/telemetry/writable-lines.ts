/**
 * Damps the log lines of nodes that accept and refuse writes in turn: a full node that frees a little memory at a time
 * changes several times a second. At most one pair of lines a minute for each node and reason. What happened in between is counted,
 * and the state at the end of the minute is logged, so that the last line tells how it is.
 */
import type { TimerHandle, Timers } from '../core/clock.ts'
import type { RondoEvent } from '../core/events.ts'

const PAUSE_MS = 60_000

type Change = Extract<RondoEvent, { kind: 'node-writable' }>

interface Logged {
  writable: boolean
  /** Why it refused writes, in the last line that said so. */
  why: string
  /** When the last line that it refuses writes was logged. */
  refusedAtMs: number
  /** Changes since then that were not logged, and the last of them. */
  unlogged: number
  last: Change | null
  timer: TimerHandle | null
}

export class WritableLines {
  private readonly log: (change: Change) => void
  private readonly timers: Pick<Timers, 'setTimeout' | 'clearTimeout'>
  private readonly monotonicMs: () => number
  private readonly nodes = new Map<string, Logged>()

  constructor(
    log: (change: Change) => void,
    timers: Pick<Timers, 'setTimeout' | 'clearTimeout'>,
    monotonicMs: () => number,
  ) {
    this.log = log
    this.timers = timers
    this.monotonicMs = monotonicMs
  }

  note(change: Change): void {
    const logged = this.of(change.node)
    const isRepeated = change.writable || change.why === logged.why
    const isEarly = logged.writable && isRepeated && this.monotonicMs() - logged.refusedAtMs < PAUSE_MS
    // A second refusal in a row tells more of why.
    const isNews = !change.writable || !logged.writable
    if (!isRepeated || (logged.unlogged === 0 && isNews && !isEarly)) {
      logged.last = null // what was put off is not how it is now
      this.write(logged, change)
      return
    }
    logged.unlogged++
    logged.last = change
    const leftMs = logged.refusedAtMs + PAUSE_MS - this.monotonicMs()
    logged.timer ??= this.timers.setTimeout(() => this.settle(logged), Math.max(0, leftMs))
  }

  stop(): void {
    for (const { timer } of this.nodes.values()) if (timer) this.timers.clearTimeout(timer)
  }

  private of(node: string): Logged {
    let logged = this.nodes.get(node)
    if (!logged) {
      logged = { writable: true, why: '', refusedAtMs: -Infinity, unlogged: 0, last: null, timer: null }
      this.nodes.set(node, logged)
    }
    return logged
  }

  private settle(logged: Logged): void {
    const { last, unlogged } = logged
    logged.timer = logged.last = null
    logged.unlogged = 0
    if (last) this.write(logged, { ...last, unlogged })
  }

  private write(logged: Logged, change: Change): void {
    logged.writable = change.writable
    if (!change.writable) logged.why = change.why
    if (!change.writable || change.unlogged !== undefined) logged.refusedAtMs = this.monotonicMs()
    this.log(change)
  }
}
