/**
 * Estimates the size of a key's value before it is read, because admission.ts limits the size of replies.
 *
 * A table of size classes, one byte each, indexed by the key's token: the smallest power of two that the last value did
 * not exceed. Keys that share an entry share the estimate. It rises at once and falls one class at a time, so an entry
 * shared by a large and a small value stays on the safe side. The estimate for unknown entries follows what such reads
 * have found: at once up to the largest, and slowly down from there.
 *
 * Nothing relies on an estimate being right.
 */
import { tokenOf } from '../../core/token.ts'

/** One byte each: 256 KiB. */
const PLACES = 1 << 18
const FIRST_GUESS_BYTES = 16 * 1024
/** Lower limit: a burst of reads of unknown keys may hit large values. */
const SMALLEST_GUESS_BYTES = 4 * 1024
const LARGEST_CLASS = 30
/** The estimate for unknown entries falls by difference >> FALL_SHIFT. */
const FALL_SHIFT = 5

export class Sizes {
  /** 0 = unknown. */
  private readonly classes = new Uint8Array(PLACES)
  private unknownBytes = FIRST_GUESS_BYTES

  expected(token: number): number {
    const known = this.classes[token & (PLACES - 1)]!
    return known === 0 ? this.unknownBytes : 1 << known
  }

  /** A value of `bytes` was read or written where `expectedBytes` was the estimate. */
  found(key: Buffer, bytes: number, expectedBytes: number): void {
    if (1 << classOf(bytes) !== expectedBytes) this.learn(tokenOf(key), bytes)
  }

  learn(token: number, bytes: number): void {
    const place = token & (PLACES - 1)
    const before = this.classes[place]!
    const now = classOf(bytes)
    if (now === before) return
    this.classes[place] = Math.max(now, before - 1)
    if (before === 0) this.learnOfUnknown(1 << now)
  }

  private learnOfUnknown(bytes: number): void {
    const fallen = this.unknownBytes - ((this.unknownBytes - bytes) >> FALL_SHIFT)
    this.unknownBytes = Math.max(bytes, fallen, SMALLEST_GUESS_BYTES)
  }
}

function classOf(bytes: number): number {
  return Math.min(LARGEST_CLASS, Math.max(1, 32 - Math.clz32(bytes)))
}
