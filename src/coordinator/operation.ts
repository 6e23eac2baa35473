/**
 * The base of all operations but two: started once, attempted as often as needed, and finished once, with a result or an
 * error, at its deadline at the latest.
 *
 *   start ──▶ attempt ──▶ … ──▶ finish, then the result goes to `done`
 *                         └───▶ end(error)
 *
 * An answer that arrives later finds `isFinished` and does not affect the result. What it says about the nodes still
 * counts: a miss is recorded, a version is observed.
 *
 * ReadOne and WriteOne implement the same by themselves: code shared by many classes is megamorphic to the engine, about
 * 0.4 µs slower here, and these two are nearly all of the traffic.
 */
import type { Deadline, Timed } from '../core/deadlines.ts'
import type { RondoError } from '../core/errors.ts'
import type { CoordinatorContext, Failing, ServedBy } from './context.ts'

/** Time for a coordinator or a node to follow a change of members. */
export const OTHER_EPOCH_MS = 5

export abstract class Operation<Done extends Failing> implements Timed {
  readonly context: CoordinatorContext
  /** Its completion object. */
  protected readonly done: Done
  private deadline: Deadline | null = null
  private finished = false
  /** Waits to be attempted again under another epoch. */
  private waits = false

  constructor(context: CoordinatorContext, done: Done) {
    this.context = context
    this.done = done
  }

  start(): void {
    this.deadline = this.context.deadlines.add(this, this.done.call?.dueAtMs)
    this.attempt()
  }

  protected abstract attempt(): void

  abstract overdue(): void

  /** The deadline has passed, whether or not its timer has fired. */
  get isPast(): boolean {
    return this.context.deadlines.isPast(this.deadline!)
  }

  get isFinished(): boolean {
    return this.finished
  }

  /** True = the caller reports the result; false = the operation had already finished. */
  protected finish(): boolean {
    if (this.finished) return false
    this.finished = true
    this.context.deadlines.remove(this.deadline!)
    return true
  }

  /**
   * Too few answers were of the attempt's epoch (core/replica-set.ts): the members change, and either this coordinator or
   * a node has not followed yet. Attempts it again soon, under the placement of then; until the deadline.
   */
  protected attemptSoon(attempt = () => this.attempt()): void {
    if (this.waits || this.finished) return
    this.waits = true
    this.context.timers.setTimeout(() => {
      this.waits = false
      if (!this.finished) attempt()
    }, OTHER_EPOCH_MS)
  }

  /** No effect once finished. */
  end(error: RondoError, by?: ServedBy): void {
    if (this.finish()) this.done.failed(error, by)
  }
}
