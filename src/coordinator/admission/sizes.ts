/**
 * Estimates the size of a key's value before it is read, because admission.ts limits the size of replies.
 *
 * A table of size classes, one byte each, indexed by the key (not by its token alone, which keys with the same hash tag
 * share): the smallest power of two that the last value did not exceed. Keys that share an entry share the estimate. It
 * rises at once and falls one class at a time, so an entry shared by a large and a small value stays on the safe side. The
 * estimate for unknown entries follows what such reads have found: at once up to the largest, and slowly down from there.
 *
 * An estimate may be too small: another coordinator may have written a larger value. So every read counts as at least a
 * fraction of the largest reply that was a surprise of late: where values of 1 MB come unexpectedly, a node has at most
 * about 64 reads in flight, whatever is known about their keys. Large values that were expected change nothing: small
 * reads beside them count as what they are.
 *
 * Nothing else relies on an estimate being right.
 */
import { tokenOf } from '../../core/token.ts'
import { SMALL_BYTES } from '../../nodes/load.ts'

/** One byte each: 256 KiB. */
const PLACES = 1 << 18
const FIRST_GUESS_BYTES = 16 * 1024
/** Lower limit: a burst of reads of unknown keys may hit large values. */
const SMALLEST_GUESS_BYTES = 4 * 1024
/** Before anything is known, an unknown key counts as this part of what the largest value may have beyond 1 MiB. */
const FIRST_GUESS_SHIFT = 4
const MIB = 1024 * 1024
/** And later as this part of the largest value at least. */
const SMALLEST_GUESS_SHIFT = 6
const LARGEST_CLASS = 30
/** The estimate for unknown entries falls by difference >> FALL_SHIFT. */
const FALL_SHIFT = 5

/** Each read counts as at least the largest surprise >> FLOOR_SHIFT, limited to what still counts as small. */
const FLOOR_SHIFT = 6
/** Surprises up to this size are expected even if there was none. */
const LEAST_SURPRISE_BYTES = 64 * 1024
/** With each reply, the surprise falls by itself >> FORGET_SHIFT. */
const FORGET_SHIFT = 12
/** A reply that does not exceed its estimate is not recorded if the estimate is at most this. */
const SMALL_ENOUGH_BYTES = LEAST_SURPRISE_BYTES >> FLOOR_SHIFT

export class Sizes {
  /** 0 = unknown. */
  private readonly classes = new Uint8Array(PLACES)
  private readonly smallestGuessBytes: number
  private unknownBytes: number
  /** The largest recent reply that exceeded its estimate, approximately. */
  private surpriseBytes = LEAST_SURPRISE_BYTES

  constructor(maxValueBytes: number) {
    this.smallestGuessBytes = Math.max(SMALLEST_GUESS_BYTES, maxValueBytes >> SMALLEST_GUESS_SHIFT)
    this.unknownBytes = Math.max(FIRST_GUESS_BYTES, (maxValueBytes - MIB) >> FIRST_GUESS_SHIFT)
  }

  /** @param token of the key */
  expected(key: Buffer, token = tokenOf(key)): number {
    const known = this.classes[placeOf(token, key)]!
    const floor = Math.min(SMALL_BYTES, this.surpriseBytes >> FLOOR_SHIFT)
    return Math.max(floor, known === 0 ? this.unknownBytes : 1 << known)
  }

  /** A reply of `bytes` came where `expectedBytes` was the estimate. */
  found(key: Buffer, bytes: number, expectedBytes: number): void {
    const { surpriseBytes } = this
    if (bytes > expectedBytes && bytes > surpriseBytes) this.surpriseBytes = bytes
    else if (surpriseBytes > LEAST_SURPRISE_BYTES) {
      this.surpriseBytes = Math.max(LEAST_SURPRISE_BYTES, surpriseBytes - (surpriseBytes >> FORGET_SHIFT) - 1)
    }
    if (bytes <= expectedBytes && expectedBytes <= SMALL_ENOUGH_BYTES) return
    if (1 << classOf(bytes) !== expectedBytes) this.learn(key, bytes)
  }

  /** A record of `bytes` is held under this key. */
  learn(key: Buffer, bytes: number, token = tokenOf(key)): void {
    const place = placeOf(token, key)
    const before = this.classes[place]!
    const now = classOf(bytes)
    if (now === before) return
    this.classes[place] = Math.max(now, before - 1)
    if (before === 0) this.learnOfUnknown(1 << now)
  }

  /** The value was too large to be read: from now on one at a time. */
  tooLong(key: Buffer): void {
    this.classes[placeOf(tokenOf(key), key)] = LARGEST_CLASS
    this.surpriseBytes = Math.max(this.surpriseBytes, SMALL_BYTES << FLOOR_SHIFT)
  }

  private learnOfUnknown(bytes: number): void {
    const fallen = this.unknownBytes - ((this.unknownBytes - bytes) >> FALL_SHIFT)
    this.unknownBytes = Math.max(bytes, fallen, this.smallestGuessBytes)
  }
}

function classOf(bytes: number): number {
  return Math.min(LARGEST_CLASS, Math.max(1, 32 - Math.clz32(bytes)))
}

/** By the token, and by the length and some bytes of the key, because keys with the same hash tag share the token. */
function placeOf(token: number, key: Buffer): number {
  const last = key.length - 1
  const bytes =
    key[0]! ^ (key[last >> 1]! << 4) ^ (key[last]! << 9) ^ (key[last - 1]! << 5) ^ (key[last - 2]! << 1)
  return (token ^ (token >>> 14) ^ (Math.imul(bytes ^ (key.length << 13), 0x9e3779b1) >>> 13)) & (PLACES - 1)
}
