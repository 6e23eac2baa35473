/**
 * The keys that come most often in a stream of any number of them, in bounded memory and time: HeavyKeeper (Gong et al.,
 * USENIX ATC 2018), as Redis uses it for TOPK. Each key has a place in each of two rows of counters. The key that owns a
 * place counts up there; another one counts it down, with a probability that falls exponentially with the count, and takes the
 * place at zero. So rare keys wear each other away, and frequent ones stay. Those with the largest counts are kept by name.
 *
 * Counts are never too large, except for keys with the same 32 bits of hash. They are multiples of a weight that may
 * change, because the stream may be a sample.
 */
import murmur from 'murmurhash3js-revisited'

const ROWS = 2
/** Places in a row: 2048 counters of 12 bytes in all. */
const PLACE_BITS = 10
const PLACES = 1 << PLACE_BITS
/** The probability to count down is this to the power of minus the count, as in the paper. */
const BASE = 1.08
const GOLDEN = 0x9e3779b1
/** Below this a count says nothing. */
const LEAST_COUNT = 0.5

export interface Hitter {
  readonly key: Buffer
  readonly count: number
  /** The part of the count that was writes, since the key is known by name. */
  readonly writes: number
}

interface Named {
  count: number
  writes: number
}

export class HeavyHitters {
  private readonly owners = new Uint32Array(ROWS * PLACES)
  private readonly counts = new Float64Array(ROWS * PLACES)
  /** By the key as latin1. */
  private readonly named = new Map<string, Named>()
  private readonly keep: number
  private readonly random: () => number
  /** No more than the smallest count of those with a name, once there are `keep` of them. */
  private least = 0

  /** @param keep how many are kept by name @param random a number in [0, 1) */
  constructor(keep: number, random: () => number) {
    this.keep = keep
    this.random = random
  }

  add(key: Buffer, weight: number, isWrite: boolean): void {
    const count = this.counted(murmur.x86.hash32(key), weight)
    const isFull = this.named.size >= this.keep
    if (count === 0 || (isFull && count <= this.least)) return
    const name = key.toString('latin1')
    let one = this.named.get(name)
    if (!one) {
      if (isFull && !this.dropSmallerThan(count)) return
      one = { count, writes: 0 }
      this.named.set(name, one)
    }
    one.count = count
    if (isWrite) one.writes += weight
  }

  /** All counts become smaller by this factor: what was frequent once is forgotten. */
  scale(factor: number): void {
    for (let i = 0; i < this.counts.length; i++) this.counts[i]! *= factor
    for (const [name, one] of this.named) {
      one.count *= factor
      one.writes *= factor
      if (one.count < LEAST_COUNT) this.named.delete(name)
    }
    this.least *= factor
  }

  /** The largest first. */
  get top(): Hitter[] {
    const all = [...this.named].map(([name, { count, writes }]) => ({
      key: Buffer.from(name, 'latin1'),
      count,
      writes: Math.min(writes, count),
    }))
    return all.sort((a, b) => b.count - a.count)
  }

  /** @returns the count of the key, 0 if it has no place */
  private counted(hash: number, weight: number): number {
    const first = hash & (PLACES - 1)
    const second = PLACES + (Math.imul(hash, GOLDEN) >>> (32 - PLACE_BITS))
    return Math.max(this.countAt(first, hash, weight), this.countAt(second, hash, weight))
  }

  private countAt(place: number, hash: number, weight: number): number {
    const { owners, counts } = this
    const count = counts[place]!
    if (owners[place] === hash) return (counts[place] = count + weight)
    if (count > 0 && this.random() >= BASE ** (-count / weight)) return 0
    if (count > weight) {
      counts[place] = count - weight
      return 0
    }
    owners[place] = hash
    return (counts[place] = weight)
  }

  /** Makes room for a key with this count. @returns false if none with a name has a smaller one */
  private dropSmallerThan(count: number): boolean {
    let [smallest, second] = [Infinity, Infinity]
    let dropped = ''
    for (const [name, one] of this.named) {
      if (one.count < smallest) {
        second = smallest
        smallest = one.count
        dropped = name
      } else if (one.count < second) second = one.count
    }
    if (smallest >= count) {
      this.least = smallest
      return false
    }
    this.named.delete(dropped)
    this.least = Math.min(second, count)
    return true
  }
}
