/**
 * Where other coordinators change the same key, an update begins with a promise of one home replica alone. It is the same
 * one for all of them, so they come one after the other:
 *
 *   prepare at the first ── refused ──▶ overtaken: nothing was sent, and it knocks again soon
 *            └─ promised ─────────────▶ the two rounds, at all
 *
 * And no promise is taken from another one that may be between its rounds (round-times.ts). Otherwise a prepare comes in
 * between: some replicas have accepted, the others have promised to somebody else, and nobody can say what becomes of the
 * result. Nothing but that depends on it: it may be left out at any time, and any promise may be taken.
 */
import type { Node, PrepareCall } from '../../nodes/node.ts'
import type { CoordinatorContext } from '../context.ts'

export interface Knocked {
  /** The two rounds may begin; also where the node could not be asked, or does not answer soon. */
  open(): void
  overtaken(): void
}

export class Knock implements PrepareCall {
  private readonly context: CoordinatorContext
  private readonly key: Buffer
  private readonly done: Knocked
  private isOver = false

  constructor(context: CoordinatorContext, key: Buffer, done: Knocked) {
    this.context = context
    this.key = key
    this.done = done
  }

  at(first: Node, ballot: Buffer, sparedFromMs: number): void {
    const { background, roundTimes, sizes, timers } = this.context
    timers.setTimeout(() => this.end('open'), roundTimes.longMs)
    background.begin()
    first.prepare(this.key, ballot, this, sizes.expected(this.key), sparedFromMs)
  }

  onPromised(): void {
    this.answered('open')
  }

  onRefused(_node: Node, newest: Buffer): void {
    this.context.cluster.versions.observe(newest)
    this.answered('overtaken')
  }

  onFailure(): void {
    this.answered('open')
  }

  private answered(how: keyof Knocked): void {
    this.context.background.end()
    this.end(how)
  }

  private end(how: keyof Knocked): void {
    if (this.isOver) return
    this.isOver = true
    this.done[how]()
  }
}
