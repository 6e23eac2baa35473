/**
 * GETs that the near cache answers: from the bytes that a client has sent to the bytes of the reply, without anything that is
 * made for one command alone. A run of them ends with the first one that has to be read, and is written before anything else
 * is done: the output buffer is shared by all connections.
 *
 * What a GET does beside, it does here too: it counts in the statistics of its command, in the hit rate, in the hot keys, and
 * as work of its turn.
 */
import type { Socket } from 'node:net'
import type { KeyStore } from '../../../coordinator/api.ts'
import type { Output } from '../wire/output.ts'
import type { Named, RequestParser } from '../wire/parser.ts'
import type { Stats } from './stats.ts'

/** Then the time is taken again, and others may have their turn. */
const MAX_RUN = 64

export interface NearGetsOptions {
  readonly near: NonNullable<KeyStore['near']>
  readonly output: Output
  readonly stats: Pick<Stats, 'endedFound'>
  /** Of GET, in the statistics. */
  readonly index: number
  /** In the unit of Slot.startedUs. */
  readonly nowUs: () => number
}

export class NearGets {
  private readonly options: NearGetsOptions

  constructor(options: NearGetsOptions) {
    this.options = options
  }

  /** @returns how many were answered */
  run(parser: RequestParser<Named>, database: number, socket: Socket, readAtUs: number): number {
    const { near, output, stats, index } = this.options
    if (!parser.peekGet()) return 0
    near.begin()
    let count = 0
    do {
      const reply = near.find(database, parser.source, parser.keyAt, parser.keyEnd)
      if (reply === null) break
      parser.pass()
      output.ended(reply)
      count++
    } while (count < MAX_RUN && parser.peekGet())
    if (count > 0) {
      stats.endedFound(index, count, Math.max(0, (this.options.nowUs() - readAtUs) | 0))
      output.sendTo(socket)
    }
    return count
  }
}
