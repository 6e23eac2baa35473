/**
 * Who works when. One thread serves every client, so what takes long has to stop and let the others have their turn.
 *
 *   a turn of the event loop:  input of sockets ─▶ commands, up to SLICE_MS ─▶ what waits here, up to SLICE_MS ─▶ …
 *
 * All connections share the slice of a turn. Whoever finds it used up waits here, and goes on in the order in which it
 * came, QUANTUM_MS at a time: a connection with a long pipeline, or a job, which is a long computation that stops at its
 * `yield`s. So a short command waits for at most a slice, and a quantum for each of those that are busy.
 *
 * Work is counted in units of some microseconds, the price of a short command. The clock is read once in UNITS_A_LOOK, so
 * that a short command pays for an addition.
 *
 * Jobs that need much memory while they run are carried out alone, one after the other, the connections in turn.
 */
import type { Timers } from './clock.ts'

const SLICE_MS = 5
const QUANTUM_MS = 1
const UNITS_A_LOOK = 256

/** A computation in pieces; yields how many units it has taken since the last time, or since it began. */
export type Sliced<T> = Generator<number, T>

/** Something that waits for its turn. */
export interface Worker {
  /** @returns true = there is more to do */
  takeTurn(): boolean
}

/** For computations that are known to be short. */
export function inOneGo<T>(job: Sliced<T>): T {
  for (;;) {
    const step = job.next()
    if (step.done) return step.value
  }
}

/** What cannot be divided, but can wait for its turn. */
export function* inOnePiece<T>(compute: () => T, units: number): Sliced<T> {
  const result = compute()
  yield units
  return result
}

export class Work {
  /** The slice is used up: nothing more is begun in this turn. */
  isOver = false
  private units = 0
  /** When this slice, or this quantum, ends; 0 = the clock was not looked at in this turn. */
  private endsMs = 0
  private scheduled = false
  private waiting: Worker[] = []
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
    return this.units >= UNITS_A_LOOK ? this.look() : this.isOver
  }

  /** It goes on in its turn. */
  enqueue(waiting: Worker): void {
    this.waiting.push(waiting)
    this.schedule()
  }

  /** Begins at once where there is time left. Exactly one of the two is called, at once or later. */
  carryOut<T>(job: Sliced<T>, done: (value: T) => void, failed: (error: unknown) => void): void {
    const running = new Running(this, job, done, failed)
    if (running.takeTurn()) this.enqueue(running)
  }

  /** The same, but not while another such job is under way. @param owner those of one owner wait for each other */
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
    return new Promise((resolve, reject) => this.carryOut(job, resolve, reject))
  }

  outcomeAlone<T>(owner: object, job: Sliced<T>): Promise<T> {
    return new Promise((resolve, reject) => this.carryOutAlone(owner, job, resolve, reject))
  }

  /** For loops that wait for each of many short things. */
  async breathe(units: number): Promise<void> {
    if (this.spend(units))
      await new Promise<void>((next) => this.enqueue({ takeTurn: () => (next(), false) }))
  }

  private look(): boolean {
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
    if (this.waiting.length > 0) this.goRound()
    this.endsMs = 0
    if (this.waiting.length > 0) this.schedule()
  }

  /** Those that wait now have a quantum each, as far as the slice lasts. */
  private goRound(): void {
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
    // Who had no turn comes before those who had one.
    if (next < waiting.length) this.waiting = [...waiting.slice(next), ...this.waiting]
  }
}

class Running<T> implements Worker {
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
      let step: IteratorResult<number, T>
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
      this.work.spend(step.value)
    }
    return true
  }
}

class OneAtATime implements Worker {
  private current: Worker | null = null
  /** In the order in which they come next. */
  private readonly owners = new Map<object, Worker[]>()

  /** @returns whether it has to be started */
  add(owner: object, job: Worker): boolean {
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

  private takeNext(): Worker | null {
    const [first] = this.owners
    if (!first) return null
    const [owner, jobs] = first
    const job = jobs.shift()!
    this.owners.delete(owner)
    if (jobs.length > 0) this.owners.set(owner, jobs)
    return job
  }
}
