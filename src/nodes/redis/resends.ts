/**
 * Calls that a node has certainly not done, and that were sent again behind whatever followed them. A read that followed one,
 * and was answered before it, has overtaken it: it is repeated, behind it.
 *
 * Not for the sake of other keys, nor without an end: where several coordinators change the same keys, some call is always on
 * its way again. Whatever was sent before a read is answered before it, so that by its n-th repetition it has been sent
 * again n times, if at all. No call is sent more often than that: a patch, by its name and by its text, then the same of the
 * script that stores the whole.
 */

/** Keys that are compared. More than are sent again in the time of a read, as a rule. */
const KEPT = 64
const MOST_REPETITIONS = 3

export class Resends {
  /** So many calls were sent again. */
  count = 0
  /** By their number, modulo KEPT; null = of any key. */
  private readonly keys: (Buffer | null)[] = Array<Buffer | null>(KEPT).fill(null)

  note(key: Buffer | null): void {
    this.keys[this.count++ % KEPT] = key
  }

  /**
   * Whether a read may have overtaken one of them: what it has found may be older.
   *
   * @param since the count when the read was sent
   */
  areOvertaken(key: Buffer, since: number): boolean {
    if (this.count === since) return false
    if (this.count - since > KEPT) return true
    for (let i = since; i < this.count; i++) {
      const other = this.keys[i % KEPT]!
      if (other === null || other.equals(key)) return true
    }
    return false
  }

  /** Whether that was sent before the read as it was first. @param repetitions how often the read was repeated before */
  mustRepeat(key: Buffer, since: number, repetitions: number): boolean {
    return repetitions < MOST_REPETITIONS && this.areOvertaken(key, since)
  }
}
