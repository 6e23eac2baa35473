/**
 * Which keys are read often enough to be kept: a count-min sketch with ageing, as in TinyLFU (Einziger et al., ACM TOS
 * 2017). Each key has a counter in each of two rows; the smaller one is its count. Once so many reads were counted, all
 * counts are halved, so that what was read long ago is forgotten. Keys that share both counters with a hot one pass as
 * well: that costs room, and nothing else.
 *
 * It is asked only on a miss, so a key that is kept costs it nothing.
 */
const PLACE_BITS = 16
/** In a row; 128 KiB in all. */
const PLACES = 1 << PLACE_BITS
/** Two rows are half full by then. */
const READS_PER_AGE = 2 * PLACES
const MOST = 255
const GOLDEN = 0x9e3779b1
const FNV_OFFSET = 0x811c9dc5
const FNV_PRIME = 0x01000193

/** A key is kept from this read on. */
export const HOT_FROM_READS = 2

export class HotReads {
  private readonly counts = new Uint8Array(2 * PLACES)
  private reads = 0

  /** Counts a read of the key. @returns whether it is hot */
  note(key: Buffer): boolean {
    let hash = FNV_OFFSET
    // By index: an iterator costs several times as much.
    let at = 0
    while (at < key.length) hash = Math.imul(hash ^ key[at++]!, FNV_PRIME)
    const { counts } = this
    const first = (hash ^ (hash >>> PLACE_BITS)) & (PLACES - 1)
    const second = PLACES + (Math.imul(hash, GOLDEN) >>> (32 - PLACE_BITS))
    // Only the smaller one grows: what other keys have added to the larger one says nothing about this key.
    const count = Math.min(counts[first]!, counts[second]!) + 1
    if (count <= MOST) {
      if (counts[first]! < count) counts[first] = count
      if (counts[second]! < count) counts[second] = count
    }
    if (++this.reads >= READS_PER_AGE) this.age()
    return count >= HOT_FROM_READS
  }

  private age(): void {
    this.reads = 0
    const { counts } = this
    for (let i = 0; i < counts.length; i++) counts[i] = counts[i]! >> 1
  }
}
