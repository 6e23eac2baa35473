/**
 * One thing that somebody has asked for: begun once, attempted as often as it takes, and ended once, with an answer or
 * with an error; at its deadline at the latest.
 *
 *   start ──▶ attempt ──▶ … ──▶ finish, and done is told the answer
 *                         └───▶ end(error)
 *
 * An answer that comes after the end finds `isFinished`, and changes nothing. What it tells of the nodes still counts: a
 * miss is noted, a version is observed.
 *
 * ReadOne and WriteOne do the same by themselves. Code that many kinds of objects run through is slower for each of them
 * (the engine cannot tell beforehand which one it has), by about 0.4 µs here, and these two are nearly all of the traffic.
 */
import type { Deadline, Timed } from '../core/deadlines.ts'
import type { RondoError } from '../core/errors.ts'
import type { CoordinatorContext, Failing } from './context.ts'

export abstract class Operation<Done extends Failing> implements Timed {
  readonly context: CoordinatorContext
  /** Who waits for it. */
  protected readonly done: Done
  private deadline: Deadline | null = null
  private finished = false

  constructor(context: CoordinatorContext, done: Done) {
    this.context = context
    this.done = done
  }

  start(): void {
    this.deadline = this.context.deadlines.add(this)
    this.attempt()
  }

  protected abstract attempt(): void

  abstract overdue(): void

  /** Nothing counts any more, whether or not the timer has come to say so. */
  get isPast(): boolean {
    return this.context.deadlines.isPast(this.deadline!)
  }

  get isFinished(): boolean {
    return this.finished
  }

  /** Whoever gets true may tell the answer; false = it has ended before. */
  protected finish(): boolean {
    if (this.finished) return false
    this.finished = true
    this.context.deadlines.remove(this.deadline!)
    return true
  }

  /** Harmless once it has ended. */
  end(error: RondoError): void {
    if (this.finish()) this.done.failed(error)
  }
}
