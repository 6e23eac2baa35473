/**
 * How long the value of a key is, as far as can be guessed before it has been read: what a reply will take is what has to
 * be bounded (admission.ts).
 *
 * A table of classes, one byte each, by the key's token: the smallest power of two that the value did not exceed the last
 * time. Keys that share a place share the guess. It goes up at once and down a class at a time, so a place that a large
 * and a small value share stays on the safe side. For a place that nothing is known of, the guess follows what such reads
 * have found: at once to the largest, and slowly down from there.
 *
 * It guesses; nothing relies on it for being right.
 */
import { tokenOf } from '../../core/token.ts'

/** One byte each: 256 KiB. */
const PLACES = 1 << 18
const FIRST_GUESS_BYTES = 16 * 1024
/** Not below this: a burst of reads of unknown keys may be one of large values. */
const SMALLEST_GUESS_BYTES = 4 * 1024
const LARGEST_CLASS = 30
/** The guess for what is unknown falls by this part of the difference. */
const FALL_SHIFT = 5

export class Sizes {
  /** 0 = nothing is known. */
  private readonly classes = new Uint8Array(PLACES)
  private unknownBytes = FIRST_GUESS_BYTES

  expected(token: number): number {
    const known = this.classes[token & (PLACES - 1)]!
    return known === 0 ? this.unknownBytes : 1 << known
  }

  /** A value of this length was read or written, where this one was expected. */
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
