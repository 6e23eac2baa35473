/**
 * Virtual time for many machines: one heap of events, one clock, one trace.
 *
 * Events run in the order of their times, then of their making. After each of them every promise that can go on has
 * gone on, as between two events of a real event loop. Every event that matters is noted; the hash over all notes is
 * the fingerprint of a run: the same seed, the same hash.
 */
export interface ScheduledEvent {
  readonly atMs: number
  readonly order: number
  run: (() => void) | null
}

/** More events than this is a loop. */
const MAX_EVENTS = 400_000

export class Scheduler {
  nowMs = 0
  events = 0
  /** Lines of the trace, where somebody wants to read it. */
  readonly lines: string[] | null
  private readonly heap: ScheduledEvent[] = []
  private made = 0
  private hashed = 0x811c9dc5

  private readonly maxEvents: number

  constructor(tracing = false, maxEvents = MAX_EVENTS) {
    this.lines = tracing ? [] : null
    this.maxEvents = maxEvents
  }

  get hash(): string {
    return (this.hashed >>> 0).toString(16).padStart(8, '0')
  }

  /** Writes down what happens, into the hash and, if one is kept, the trace. */
  note(what: string, detail?: () => string): void {
    let hash = this.hashed
    const atMicros = Math.floor(this.nowMs * 1000)
    hash = Math.imul(hash ^ (atMicros & 0xffff), 0x01000193)
    hash = Math.imul(hash ^ (atMicros >>> 16), 0x01000193)
    for (let i = 0; i < what.length; i++) hash = Math.imul(hash ^ what.charCodeAt(i), 0x01000193)
    this.hashed = hash
    this.lines?.push(`${this.nowMs.toFixed(2).padStart(9)}  ${what}${detail ? ` ${detail()}` : ''}`)
  }

  at(atMs: number, run: () => void): ScheduledEvent {
    const event: ScheduledEvent = { atMs: Math.max(atMs, this.nowMs), order: this.made++, run }
    const { heap } = this
    let place = heap.length
    heap.push(event)
    while (place > 0) {
      const parent = (place - 1) >> 1
      if (!isBefore(event, heap[parent]!)) break
      heap[place] = heap[parent]!
      place = parent
    }
    heap[place] = event
    return event
  }

  after(ms: number, run: () => void): ScheduledEvent {
    return this.at(this.nowMs + Math.max(0, ms), run)
  }

  /** Lets everything happen that is due until then. */
  async runUntil(endMs: number, isDone: () => boolean = () => false): Promise<void> {
    await promisesRest()
    while (this.heap.length > 0 && this.heap[0]!.atMs <= endMs) {
      const event = this.pop()
      if (!event.run) continue
      if (++this.events > this.maxEvents) throw new Error('events follow each other without an end')
      this.nowMs = event.atMs
      event.run()
      await promisesRest()
      if (isDone()) return
    }
    this.nowMs = Math.max(this.nowMs, endMs)
  }

  private pop(): ScheduledEvent {
    const { heap } = this
    const first = heap[0]!
    const last = heap.pop()!
    const size = heap.length
    if (size === 0) return first
    let place = 0
    for (;;) {
      let child = 2 * place + 1
      if (child >= size) break
      if (child + 1 < size && isBefore(heap[child + 1]!, heap[child]!)) child++
      if (!isBefore(heap[child]!, last)) break
      heap[place] = heap[child]!
      place = child
    }
    heap[place] = last
    return first
  }
}

function isBefore(a: ScheduledEvent, b: ScheduledEvent): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order)
}

/** A whole turn of the real event loop: all promises that can go on have gone on. */
function promisesRest(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}
