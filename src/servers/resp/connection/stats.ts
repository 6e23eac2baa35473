/**
 * Latency histograms of the commands, counted without allocating: one row of buckets per command, for the time from reading
 * its bytes to writing its reply to the socket. Commands of clients that have not authenticated count in the total and
 * in the errors by code only, and so do replies that are delayed on purpose: whoever has no token cannot change what is
 * measured of the others.
 */
import type { Lookups } from '../../../commands/run/lookups.ts'
import type { RespError } from '../../../commands/reply.ts'
import type { LookupCount } from '../../lookup-metrics.ts'
import { SLOWER_THAN_US } from '../slow-log.ts'
import type { Slot } from './slot.ts'

/** Other first words of an error are counted as `other`: a label must not grow with what a value or a node says. */
const CODES = [
  ...['ERR', 'WRONGTYPE', 'CROSSSLOT', 'EXECABORT', 'NOREPLICAS', 'UNKNOWN', 'TRYAGAIN'],
  ...['NOAUTH', 'WRONGPASS', 'NOPROTO', 'NOPERM', 'OOM', 'LOADING', 'BUSY'],
]
const OTHER = 'other'
/** A rate needs the count before the first one; other commands are listed once they have looked something up. */
const ALWAYS_LISTED = ['get', 'mget']

/** Upper bounds in microseconds; slower ones are in the last bucket. */
export const BUCKETS_US = [
  100, 250, 500, 1000, 2500, 5000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
]
const COLUMNS = BUCKETS_US.length + 1

export interface CommandStats {
  readonly command: string
  readonly errors: number
  readonly seconds: number
  /** Not cumulative; in the order of BUCKETS_US, then the slower ones. */
  readonly buckets: readonly number[]
}

interface Counted {
  readonly name: string
  readonly index: number
}

export class Stats {
  /** Commands of all kinds. */
  total = 0
  private readonly commands: readonly Counted[]
  private readonly counts: Float64Array
  private readonly micros: Float64Array
  private readonly errors: Float64Array
  private readonly hits: Float64Array
  private readonly misses: Float64Array
  private readonly indexes: ReadonlyMap<string, number>
  private readonly byCode = new Map([...CODES, OTHER].map((code) => [code, 0]))
  private readonly onFailure: (command: string, text: string) => void
  private readonly onSlow: (command: string, slot: Slot, us: number) => void

  /**
   * @param onFailure called when a command has failed on our side (RespError.isFailure)
   * @param onSlow called when a command took longer than SLOWER_THAN_US
   */
  constructor(
    commands: readonly Counted[],
    onFailure: (command: string, text: string) => void,
    onSlow: (command: string, slot: Slot, us: number) => void,
  ) {
    this.commands = commands
    this.onFailure = onFailure
    this.onSlow = onSlow
    this.counts = new Float64Array(commands.length * COLUMNS)
    this.micros = new Float64Array(commands.length)
    this.errors = new Float64Array(commands.length)
    this.hits = new Float64Array(commands.length)
    this.misses = new Float64Array(commands.length)
    this.indexes = new Map(commands.map(({ name, index }) => [name, index]))
  }

  ended(slot: Slot, nowUs: number): void {
    const { index } = slot
    this.total++
    if (slot.error) this.countCode(slot.error)
    if (!slot.isMeasured) return
    const us = Math.max(0, (nowUs - slot.startedUs) | 0)
    this.counts[index * COLUMNS + columnOf(us)]!++
    this.micros[index]! += us
    if (slot.error) this.failed(index, slot.error)
    if (us > SLOWER_THAN_US) this.onSlow(this.commands[index]!.name, slot, us)
  }

  /** So many commands that found their key, of an authenticated client. @param index of the command */
  endedFound(index: number, count: number, us: number): void {
    this.total += count
    this.counts[index * COLUMNS + columnOf(us)]! += count
    this.micros[index]! += us * count
    this.hits[index]! += count
  }

  private countCode({ text }: RespError): void {
    const word = text.split(' ', 1)[0]!
    const code = this.byCode.has(word) ? word : OTHER
    this.byCode.set(code, this.byCode.get(code)! + 1)
  }

  private failed(index: number, { text, isFailure }: RespError): void {
    this.errors[index]!++
    if (isFailure) this.onFailure(this.commands[index]!.name, text)
  }

  lookedUp(command: string, { hits, misses }: Lookups): void {
    const index = this.indexes.get(command)!
    this.hits[index]! += hits
    this.misses[index]! += misses
  }

  /** The same for one key. @param index of the command */
  lookedUpOne(index: number, isFound: boolean): void {
    ;(isFound ? this.hits : this.misses)[index]!++
  }

  get lookups(): LookupCount[] {
    return this.commands.flatMap(({ name, index }) => {
      const [hits, misses] = [this.hits[index]!, this.misses[index]!]
      const isListed = hits + misses > 0 || ALWAYS_LISTED.includes(name)
      return isListed ? [{ protocol: 'resp', method: name, hits, misses }] : []
    })
  }

  /** How many errors, by the first word of the reply; all words, so that a rate can be computed from the first one. */
  get errorsByCode(): ReadonlyMap<string, number> {
    return this.byCode
  }

  /** Errors by command; all commands, as above. */
  *errorsByCommand(): Generator<readonly [command: string, errors: number]> {
    for (const { name, index } of this.commands) yield [name, this.errors[index]!]
  }

  /** Commands that were sent at least once. */
  *rows(): Generator<CommandStats> {
    for (const { name, index } of this.commands) {
      const buckets = [...this.counts.subarray(index * COLUMNS, (index + 1) * COLUMNS)]
      if (!buckets.some((count) => count > 0)) continue
      yield { command: name, errors: this.errors[index]!, seconds: this.micros[index]! / 1e6, buckets }
    }
  }
}

function columnOf(us: number): number {
  let column = 0
  while (column < BUCKETS_US.length && us > BUCKETS_US[column]!) column++
  return column
}
