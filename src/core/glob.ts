/**
 * Redis's glob patterns on bytes, as `SCAN … MATCH` understands them (stringmatchlen in Redis's util.c):
 *
 *   *        any bytes, also none
 *   ?        one byte
 *   [ab-z]   one byte of these; a range may be written either way round, and a `]` that is missing is forgiven
 *   [^ab]    one byte that is none of these
 *   \x       x itself
 *
 * Its peculiarities are kept, so that a memory node lists what a Redis would: `[a-]` is a range that ends in `]`, a
 * lone `[^` is any byte, the empty key is matched by `*` and by the empty pattern only, and the ends of a range are
 * compared as signed bytes (as on x86; it shows only where a range crosses 7f/80).
 *
 * Time is at most pattern × text: only the last `*` is ever tried again, because what an earlier one could gain by
 * taking more, the last one can gain as well. Redis's recursion before 7.0.9 took exponential time (CVE-2022-36021).
 */
const STAR = 0x2a
const QUESTION = 0x3f
const OPEN = 0x5b
const BACKSLASH = 0x5c
const CLOSE = 0x5d
const CARET = 0x5e
const DASH = 0x2d

const NO_MATCH = -1

export function globMatches(pattern: Uint8Array, text: Uint8Array): boolean {
  if (text.length === 0) return pattern.length === 0 || (pattern.length === 1 && pattern[0] === STAR)
  let p = 0
  let t = 0
  // Behind the last star, and where the text after what it has taken begins.
  let afterStar = -1
  let takenTo = 0
  while (t < text.length) {
    if (p < pattern.length && pattern[p] === STAR) {
      afterStar = ++p
      takenTo = t
      continue
    }
    const next = p < pattern.length ? matchOne(pattern, p, text[t]!) : NO_MATCH
    if (next !== NO_MATCH) {
      p = next
      t++
    } else {
      if (afterStar < 0) return false
      p = afterStar
      t = ++takenTo
    }
  }
  while (p < pattern.length && pattern[p] === STAR) p++
  return p === pattern.length
}

/** Where the pattern goes on after one byte was matched at `p`, or NO_MATCH. */
function matchOne(pattern: Uint8Array, p: number, byte: number): number {
  const wanted = pattern[p]!
  switch (wanted) {
    case QUESTION:
      return p + 1
    case OPEN:
      return matchClass(pattern, p + 1, byte)
    case BACKSLASH: {
      const at = p + 1 < pattern.length ? p + 1 : p // a backslash at the end is itself
      return pattern[at] === byte ? at + 1 : NO_MATCH
    }
    default:
      return wanted === byte ? p + 1 : NO_MATCH
  }
}

/** @param p just behind the opening bracket */
function matchClass(pattern: Uint8Array, p: number, byte: number): number {
  const negated = pattern[p] === CARET
  if (negated) p++
  let found = false
  for (; p < pattern.length && pattern[p] !== CLOSE; p++) {
    const left = pattern.length - p
    if (pattern[p] === BACKSLASH && left >= 2) {
      p++
      if (pattern[p] === byte) found = true
    } else if (left >= 3 && pattern[p + 1] === DASH) {
      if (isBetween(signed(byte), signed(pattern[p]!), signed(pattern[p + 2]!))) found = true
      p += 2
    } else if (pattern[p] === byte) found = true
  }
  if (found === negated) return NO_MATCH
  return Math.min(p + 1, pattern.length)
}

function isBetween(n: number, a: number, b: number): boolean {
  return a <= b ? a <= n && n <= b : b <= n && n <= a
}

function signed(byte: number): number {
  return (byte << 24) >> 24
}
