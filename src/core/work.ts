/**
 * Cooperative scheduler. One thread serves every client, so long work must yield to the others.
 *
 *   a turn of the event loop:  input of sockets ─▶ commands, up to SLICE_MS ─▶ what waits here, up to SLICE_MS ─▶ …
 *
 * All connections share the slice of a turn. When it is used up, the others wait here, and continue in FIFO order,
 * QUANTUM_MS at a time: connections with a long pipeline, and jobs, which are long computations that pause at their
 * `yield`s. So a short command waits for at most a slice, plus a quantum for each busy one.
 *
 * Work is counted in units of some microseconds, the cost of a short command. The clock is read once per
 * UNITS_PER_CHECK, so that a short command pays for an addition only.
 *
 * Jobs that need much memory run one at a time, with connections taking turns.
 */
import type { Timers } from './clock.ts'

const SLICE_MS = 5
const QUANTUM_MS = 1
const UNITS_PER_CHECK = 256

/**
 * A computation in slices; yields the units used since the last yield, or since the start, or what it has to wait for
 * (waitFor).
 */
export type Sliced<T> = Generator<number | Promise<void>, T>

/** Something that waits for its turn. */
export interface Task {
  /** @returns true = there is more to do */
  takeTurn(): boolean
}

/** Runs a computation that is known to be short, and to wait for nothing. */
export function inOneGo<T>(job: Sliced<T>): T {
  for (;;) {
    const step = job.next()
    if (step.done) return step.value
    if (typeof step.value !== 'number') throw new Error('it waits for something')
  }
}

/** Lets the thread do other work until the promise is settled. */
export function* waitFor<T>(promise: Promise<T>): Sliced<T> {
  let settled: { readonly value: T } | { readonly error: unknown } | null = null
  yield promise.then(
    (value) => void (settled = { value }),
    (error: unknown) => void (settled = { error }),
  )
  const end = settled as { readonly value: T } | { readonly error: unknown } | null
  if (!end) throw new Error('it has not waited')
  if ('error' in end) throw end.error
  return end.value
}

/** A computation that cannot be split, but can wait for its turn. */
export function* inOnePiece<T>(compute: () => T, units: number): Sliced<T> {
  const result = compute()
  yield units
  return result
}

export class Work {
  /** The slice is used up: nothing more starts in this turn. */
  isOver = false
  private units = 0
  /** When this slice or quantum ends; 0 = the clock was not read in this turn. */
  private endsMs = 0
  private scheduled = false
  private waiting: Task[] = []
  private readonly alone = new OneAtATime()
  private readonly monotonicMs: () => number
  private readonly timers: Timers

  constructor(options: { readonly monotonicMs: () => number; readonly timers: Timers }) {
    this.monotonicMs = options.monotonicMs
    this.timers = options.timers
  }

  /** @returns whether the slice is used up */
  spend(units: number): boolean {
    this.units += units
    return this.units >= UNITS_PER_CHECK ? this.checkClock() : this.isOver
  }

  /** Continues it in its turn. */
  enqueue(waiting: Task): void {
    this.waiting.push(waiting)
    this.schedule()
  }

  /** Starts at once if time is left. Exactly one of the callbacks is called, at once or later. */
  run<T>(job: Sliced<T>, done: (value: T) => void, failed: (error: unknown) => void): void {
    const running = new Running(this, job, done, failed)
    if (running.takeTurn()) this.enqueue(running)
  }

  /** The same, but only one such job runs at a time, and it waits for nothing. @param owner jobs of one owner run in order */
  carryOutAlone<T>(
    owner: object,
    job: Sliced<T>,
    done: (value: T) => void,
    failed: (error: unknown) => void,
  ): void {
    if (this.alone.add(owner, new Running(this, job, done, failed)) && this.alone.takeTurn()) {
      this.enqueue(this.alone)
    }
  }

  outcomeOf<T>(job: Sliced<T>): Promise<T> {
    return new Promise((resolve, reject) => this.run(job, resolve, reject))
  }

  outcomeAlone<T>(owner: object, job: Sliced<T>): Promise<T> {
    return new Promise((resolve, reject) => this.carryOutAlone(owner, job, resolve, reject))
  }

  /** For loops that await many short steps. */
  async yieldTurn(units: number): Promise<void> {
    if (this.spend(units))
      await new Promise<void>((next) => this.enqueue({ takeTurn: () => (next(), false) }))
  }

  private checkClock(): boolean {
    this.units = 0
    const nowMs = this.monotonicMs()
    if (this.endsMs === 0) {
      this.endsMs = nowMs + SLICE_MS
      this.schedule()
    } else if (nowMs >= this.endsMs) this.isOver = true
    return this.isOver
  }

  private schedule(): void {
    if (this.scheduled) return
    this.scheduled = true
    this.timers.endOfTurn(this.endTurn)
  }

  private readonly endTurn = (): void => {
    this.scheduled = false
    this.isOver = false
    this.units = 0
    if (this.waiting.length > 0) this.runNext()
    this.endsMs = 0
    if (this.waiting.length > 0) this.schedule()
  }

  /** Gives each waiting one a quantum, as far as the slice lasts. */
  private runNext(): void {
    const waiting = this.waiting
    this.waiting = []
    let nowMs = this.monotonicMs()
    const endMs = nowMs + SLICE_MS
    let next = 0
    while (next < waiting.length && nowMs < endMs) {
      const one = waiting[next++]!
      this.endsMs = nowMs + QUANTUM_MS
      if (one.takeTurn()) this.waiting.push(one)
      nowMs = this.monotonicMs()
      this.isOver = false
      this.units = 0
    }
    // Those without a turn come before those that had one.
    if (next < waiting.length) this.waiting = [...waiting.slice(next), ...this.waiting]
  }
}

class Running<T> implements Task {
  private readonly work: Work
  private readonly job: Sliced<T>
  private readonly done: (value: T) => void
  private readonly failed: (error: unknown) => void

  constructor(work: Work, job: Sliced<T>, done: (value: T) => void, failed: (error: unknown) => void) {
    this.work = work
    this.job = job
    this.done = done
    this.failed = failed
  }

  takeTurn(): boolean {
    while (!this.work.isOver) {
      let step: IteratorResult<number | Promise<void>, T>
      try {
        step = this.job.next()
      } catch (error) {
        this.failed(error)
        return false
      }
      if (step.done) {
        this.done(step.value)
        return false
      }
      if (typeof step.value === 'number') this.work.spend(step.value)
      else {
        // It takes no turn meanwhile.
        void step.value.then(() => this.work.enqueue(this))
        return false
      }
    }
    return true
  }
}

class OneAtATime implements Task {
  private current: Task | null = null
  /** In the order of their next turns. */
  private readonly owners = new Map<object, Task[]>()

  /** @returns whether the caller must start it */
  add(owner: object, job: Task): boolean {
    const own = this.owners.get(owner)
    if (own) own.push(job)
    else this.owners.set(owner, [job])
    if (this.current) return false
    this.current = this.takeNext()
    return true
  }

  takeTurn(): boolean {
    while (this.current) {
      if (this.current.takeTurn()) return true
      this.current = this.takeNext()
    }
    return false
  }

  private takeNext(): Task | null {
    const [first] = this.owners
    if (!first) return null
    const [owner, jobs] = first
    const job = jobs.shift()!
    this.owners.delete(owner)
    if (jobs.length > 0) this.owners.set(owner, jobs)
    return job
  }
}
