/**
 * Redis's glob patterns on bytes, as `SCAN … MATCH` understands them (stringmatchlen in Redis's util.c):
 *
 *   *        any bytes, also none
 *   ?        one byte
 *   [ab-z]   one byte of these; a range may be reversed, and the `]` may be missing
 *   [^ab]    one byte that is none of these
 *   \x       x itself
 *
 * Quirks are kept, so that a memory node lists what Redis would: `[a-]` is a range that ends in `]`, a lone `[^` is any
 * byte, only `*` and the empty pattern match the empty key, and the ends of a range are compared as signed bytes (as on
 * x86; it matters only if a range crosses 7f/80).
 *
 * A pattern is compiled once: a class becomes a set of 256 bits, so its length does not matter afterwards, and the stars
 * split the pattern into segments of fixed length. The first segment matches at the start of the text, the last at its
 * end, and each one between at the first position that fits: no match is lost, because a later star can take whatever an
 * earlier one leaves. So time is at most segment × text, summed over the segments, and `steps` counts it.
 */
const STAR = 0x2a
const QUESTION = 0x3f
const OPEN = 0x5b
const BACKSLASH = 0x5c
const CLOSE = 0x5d
const CARET = 0x5e
const DASH = 0x2d

/** Elements of a segment: a byte, ANY, or CLASSES + the number of a class. */
const ANY = 256
const CLASSES = 257

type Segment = readonly number[]
/** Bit n of word w = byte 32w + n. */
type ByteSet = Uint32Array

/** Limit for the rest after the first star, up to which a node gets the pattern. */
const MAX_NODE_TAIL_BYTES = 16

export class Glob {
  /** Bytes compared so far, for callers that split a long search into slices. */
  steps = 0
  /**
   * Whether Redis can match it fast against any key. Redis blocks meanwhile, and tries the rest after a star at every
   * position of the key; older versions take exponential time for several stars (CVE-2022-36021).
   */
  readonly isLight: boolean
  private readonly segments: readonly Segment[]
  private readonly classes: readonly ByteSet[]
  private readonly matchesEmpty: boolean

  constructor(pattern: Uint8Array) {
    const { segments, classes, tailBytes } = parse(pattern)
    this.segments = segments
    this.classes = classes
    this.matchesEmpty = pattern.length === 0 || (pattern.length === 1 && pattern[0] === STAR)
    const stars = segments.length - 1
    const isLastFree = segments.at(-1)!.length === 0
    this.isLight = stars - (isLastFree ? 1 : 0) <= 1 && tailBytes <= MAX_NODE_TAIL_BYTES
  }

  matches(text: Uint8Array): boolean {
    if (text.length === 0) return this.matchesEmpty
    const { segments } = this
    const first = segments[0]!
    if (segments.length === 1) return first.length === text.length && this.fits(first, text, 0)
    const last = segments.at(-1)!
    const end = text.length - last.length
    if (first.length > end || !this.fits(first, text, 0) || !this.fits(last, text, end)) return false
    let at = first.length
    for (let i = 1; i < segments.length - 1; i++) {
      at = this.find(segments[i]!, text, at, end)
      if (at < 0) return false
    }
    return true
  }

  /** The end of the first match of the segment from `at` on that ends before `end`; -1 = none. */
  private find(segment: Segment, text: Uint8Array, at: number, end: number): number {
    for (; at + segment.length <= end; at++) {
      if (this.fits(segment, text, at)) return at + segment.length
    }
    return -1
  }

  private fits(segment: Segment, text: Uint8Array, at: number): boolean {
    for (let i = 0; i < segment.length; i++) {
      const element = segment[i]!
      const byte = text[at + i]!
      const fits =
        element < ANY
          ? element === byte
          : element === ANY || (this.classes[element - CLASSES]![byte >> 5]! & (1 << (byte & 31))) !== 0
      if (!fits) {
        this.steps += i + 1
        return false
      }
    }
    this.steps += segment.length
    return true
  }
}

function parse(pattern: Uint8Array): { segments: Segment[]; classes: ByteSet[]; tailBytes: number } {
  let segment: number[] = []
  const segments = [segment]
  const classes: ByteSet[] = []
  let afterStar = -1
  let lastStar = pattern.length
  for (let p = 0; p < pattern.length;) {
    const byte = pattern[p]!
    if (byte === STAR) {
      // Several in a row are one.
      if (segments.length === 1 || segment.length > 0) segments.push((segment = []))
      if (afterStar < 0) afterStar = p + 1
      lastStar = p
      p++
    } else if (byte === OPEN) {
      const found = parseClass(pattern, p + 1)
      segment.push(CLASSES + classes.length)
      classes.push(found.set)
      p = found.end
    } else {
      if (byte === BACKSLASH && p + 1 < pattern.length) p++ // a backslash at the end is literal
      segment.push(byte === QUESTION ? ANY : pattern[p]!)
      p++
    }
  }
  const tailEnd = segment.length === 0 ? lastStar : pattern.length
  return { segments, classes, tailBytes: afterStar < 0 ? 0 : Math.max(0, tailEnd - afterStar) }
}

/** @param p index after the opening bracket */
function parseClass(pattern: Uint8Array, p: number): { set: ByteSet; end: number } {
  const set = new Uint32Array(8)
  const add = (byte: number) => (set[byte >> 5]! |= 1 << (byte & 31))
  const negated = pattern[p] === CARET
  if (negated) p++
  for (; p < pattern.length && pattern[p] !== CLOSE; p++) {
    const left = pattern.length - p
    if (pattern[p] === BACKSLASH && left >= 2) add(pattern[++p]!)
    else if (left >= 3 && pattern[p + 1] === DASH) {
      const ends = [signed(pattern[p]!), signed(pattern[p + 2]!)]
      for (let byte = Math.min(...ends); byte <= Math.max(...ends); byte++) add(byte & 0xff)
      p += 2
    } else add(pattern[p]!)
  }
  if (negated) set.forEach((word, i) => (set[i] = ~word))
  return { set, end: Math.min(p + 1, pattern.length) }
}

function signed(byte: number): number {
  return (byte << 24) >> 24
}
