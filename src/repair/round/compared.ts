/**
 * The keys that a merge has compared at all their voters, so that the other voters' scans pass them by: each key is shown
 * by every node that holds it, and would otherwise be read again for each of them.
 *
 * A table of 64-bit fingerprints, of a fixed size: memory does not grow with the number of keys. Each key has two places; one
 * that loses both to others is compared again. A key that was not added is taken for one that was with a probability of
 * 2^-63. The hash has a secret key, so nobody can choose keys for which it is more.
 */
import { HalfSipHash } from '../../core/half-sip-hash.ts'

/** Of all tables of a merge together: 16 MiB. */
export const MOST_PLACES = 2 ** 21
const LEAST_PLACES = 2 ** 10
const HASH_KEY_BYTES = 8

export class ComparedKeys {
  /** Two words for each place; two zeros = it is empty. */
  private readonly words: Uint32Array
  private readonly mask: number
  private readonly one: HalfSipHash
  private readonly other: HalfSipHash

  /**
   * @param secret 16 bytes that no client knows
   * @param keys about how many will be added
   * @param most limit of the places, a power of two
   */
  constructor(secret: Buffer, keys: number, most = MOST_PLACES) {
    const wanted = 2 ** Math.ceil(Math.log2(Math.max(1, 2 * keys)))
    const places = Math.min(most, Math.max(LEAST_PLACES, wanted))
    this.words = new Uint32Array(2 * places)
    this.mask = places - 1
    this.one = new HalfSipHash(secret.subarray(0, HASH_KEY_BYTES))
    this.other = new HalfSipHash(secret.subarray(HASH_KEY_BYTES))
  }

  add(key: Buffer): void {
    const first = this.one.of(key)
    const second = this.other.of(key)
    const [here, there] = [this.placeOf(first), this.placeOf(second)]
    const at = this.isEmpty(here) || !this.isEmpty(there) ? here : there
    this.words[at] = first
    this.words[at + 1] = second
  }

  has(key: Buffer): boolean {
    const first = this.one.of(key)
    const second = this.other.of(key)
    return this.isAt(this.placeOf(first), first, second) || this.isAt(this.placeOf(second), first, second)
  }

  private placeOf(hash: number): number {
    return 2 * (hash & this.mask)
  }

  private isEmpty(at: number): boolean {
    return this.words[at] === 0 && this.words[at + 1] === 0
  }

  /** Two zeros are no fingerprint: an empty place has them. */
  private isAt(at: number, first: number, second: number): boolean {
    return this.words[at] === first && this.words[at + 1] === second && (first !== 0 || second !== 0)
  }
}
