/**
 * Which keys this coordinator is asked for most often (core/heavy-hitters.ts).
 *
 * The operations are sampled, so that the cost is bounded: the busier the coordinator, the smaller the part of them that is
 * looked at, about SAMPLES_A_SECOND. All others cost one subtraction. Counts halve every HALF_LIFE_MS, so that what was hot
 * yesterday goes.
 */
import { isPartKey } from '../../core/part-keys.ts'
import { HeavyHitters } from '../../core/heavy-hitters.ts'

const SAMPLES_A_SECOND = 2000
const HALF_LIFE_MS = 60_000
/** The part of the operations that is looked at is chosen anew after so many samples. */
const SAMPLES_A_ROUND = 64
const MAX_INTERVAL = 1 << 16
const SHORTEST_ROUND_MS = 1
/** A round of this length tells the rate, however few samples it had. */
const LONG_ROUND_MS = 100

export interface HotKey {
  /** Its name on the nodes (core/keys.ts). */
  readonly key: Buffer
  /** Reads and writes. */
  readonly perSecond: number
  readonly writesPerSecond: number
  /** Of all operations, 0 to 1. */
  readonly share: number
}

export interface HotKeyReport {
  /** Operations on single keys. */
  readonly perSecond: number
  /** The keys with the most operations of the last minutes, the hottest first. */
  readonly hot: readonly HotKey[]
}

export interface HotKeyOptions {
  /** How many are kept. */
  readonly keep: number
  readonly monotonicMs: () => number
  /** A number in [0, 1). */
  readonly random: () => number
}

export class HotKeys {
  private readonly options: HotKeyOptions
  private readonly hitters: HeavyHitters
  /** Every so many operations one is looked at, on average. */
  private interval = 1
  /** Operations until the next sample. */
  private skip = 1
  private samplesLeft = SAMPLES_A_ROUND
  private roundAtMs: number
  private operationsOfRound = 0
  // The same for all operations as the counts for each key, with the time that they are of.
  private operations = 0
  private ms = 0

  constructor(options: HotKeyOptions) {
    this.options = options
    this.hitters = new HeavyHitters(options.keep, options.random)
    this.roundAtMs = options.monotonicMs()
  }

  /** An operation on a key begins. What a collection is made of does not count. */
  note(key: Buffer, isWrite: boolean): void {
    if (--this.skip > 0) return
    if (isPartKey(key)) this.skip = 1
    else this.sample(key, isWrite)
  }

  /** Whether the next operation is looked at, and has to be noted. */
  get isDue(): boolean {
    return this.skip <= 1
  }

  /** Instead of `note`, for one that is not. */
  pass(): void {
    this.skip--
  }

  private sample(key: Buffer, isWrite: boolean): void {
    const { interval } = this
    this.hitters.add(key, interval, isWrite)
    this.operationsOfRound += interval
    // At random, because keys may come in a rhythm.
    this.skip = interval === 1 ? 1 : 1 + Math.floor(this.options.random() * (2 * interval - 1))
    if (--this.samplesLeft <= 0) this.endRound()
  }

  report(): HotKeyReport {
    this.endRound()
    const seconds = this.ms / 1000
    const perSecond = (count: number) => (seconds > 0 ? count / seconds : 0)
    const hot = this.hitters.top.map(({ key, count, writes }) => ({
      key,
      perSecond: perSecond(count),
      writesPerSecond: perSecond(writes),
      share: this.operations > 0 ? Math.min(1, count / this.operations) : 0,
    }))
    return { perSecond: perSecond(this.operations), hot }
  }

  private endRound(): void {
    const nowMs = this.options.monotonicMs()
    const tookMs = nowMs - this.roundAtMs
    const wanted = Math.ceil(
      (this.operationsOfRound * 1000) / Math.max(tookMs, SHORTEST_ROUND_MS) / SAMPLES_A_SECOND,
    )
    // A report may end a round that has hardly begun.
    const isLong = this.samplesLeft <= 0 || tookMs >= LONG_ROUND_MS
    if (isLong) this.interval = Math.max(1, Math.min(MAX_INTERVAL, wanted))
    const factor = 0.5 ** (tookMs / HALF_LIFE_MS)
    this.operations = (this.operations + this.operationsOfRound) * factor
    this.ms = (this.ms + tookMs) * factor
    this.hitters.scale(factor)
    this.operationsOfRound = 0
    this.roundAtMs = nowMs
    this.samplesLeft = SAMPLES_A_ROUND
  }
}
