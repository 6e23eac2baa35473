/**
 * The flushes of one server. One runs at a time: a later one starts when it has ended, because it also deletes what was written
 * in between. Those that wait and delete the same are one, with the version of the last: however many a client sends, each
 * database has at most one that waits.
 */
import type { Version } from '../../core/clock.ts'
import type { Reply } from '../reply.ts'

export interface Flush {
  /** What it deletes, and at which level. */
  readonly name: string
  /** Only what is older is deleted. */
  readonly before: Version
  /** Nobody gets a reply: what it did is logged. */
  readonly isAsync: boolean
  /** Never rejects. */
  run(flush: Flush): Promise<Reply>
}

interface Waiting {
  flush: Flush
  readonly reply: Promise<Reply>
}

export class Flushes {
  private last: Promise<unknown> = Promise.resolve()
  private readonly waiting = new Map<string, Waiting>()

  /** @returns its reply, once it has run */
  add(flush: Flush): Promise<Reply> {
    const { name } = flush
    const same = this.waiting.get(name)
    if (same) {
      same.flush = { ...flush, isAsync: flush.isAsync || same.flush.isAsync }
      return same.reply
    }
    const reply = this.last.then(() => {
      this.waiting.delete(name)
      return waiting.flush.run(waiting.flush)
    })
    const waiting: Waiting = { flush, reply }
    this.waiting.set(name, waiting)
    this.last = reply
    return reply
  }
}
