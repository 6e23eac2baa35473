/**
 * The numbers of INCRBYFLOAT. Redis computes with C's long double and prints 17 decimals. This does the same, digit for
 * digit, for the long double of x86-64: mantissa of 64 bits, exponent of 15 bits, ties to even. JavaScript's numbers have
 * 53 bits, which 0.1 + 0.2 would show.
 *
 * A finite number is exactly mantissa × 2^exponent. Text is parsed to an exact fraction of bigints and rounded once, as
 * strtold does; a sum is exact before it is rounded, as in the processor.
 */
export interface Finite {
  /** |mantissa| ≤ 2^64. */
  readonly mantissa: bigint
  readonly exponent: number
}

export type LongDouble = Finite | 'infinite'

const MANTISSA_BITS = 64
/** The smallest number above 0 is 2^-16445, the largest lies just below 2^16384. */
const MIN_EXPONENT = -16445
const MAX_BITS = 16384
/** Beyond these powers of ten a number is too large or rounds to 0, and need not be computed. */
const MAX_POWER_OF_10 = 4940
const MIN_POWER_OF_10 = -4970
/** Redis's buffer for a number in text. */
const MAX_TEXT_BYTES = 5 * 1024 - 1
const DECIMALS = 17
const SCALE = 10n ** BigInt(DECIMALS)

const DECIMAL = /^([+-]?)(?=\.?\d)(\d*)(?:\.(\d*))?(?:e([+-]?\d+))?$/i
const HEX = /^([+-]?)0x(?=\.?[\da-f])([\da-f]*)(?:\.([\da-f]*))?(?:p([+-]?\d+))?$/i
const INFINITE = /^[+-]?inf(?:inity)?$/i

/** Parses text as strtold does, without leading space and to its end. null = not a number, too large or too small. */
export function parseLongDouble(bytes: Buffer): LongDouble | null {
  if (bytes.length > MAX_TEXT_BYTES) return null
  const text = bytes.toString('latin1')
  const decimal = DECIMAL.exec(text)
  if (decimal) return fromDecimal(decimal)
  const hex = HEX.exec(text)
  if (hex) return fromHex(hex)
  return INFINITE.test(text) ? 'infinite' : null
}

/** null = the sum is not finite. */
export function addLongDoubles(a: LongDouble, b: LongDouble): Finite | null {
  if (a === 'infinite' || b === 'infinite') return null
  const exponent = Math.min(a.exponent, b.exponent)
  const exact = (a.mantissa << BigInt(a.exponent - exponent)) + (b.mantissa << BigInt(b.exponent - exponent))
  return exact < 0n ? negated(roundedPower(-exact, exponent)) : roundedPower(exact, exponent)
}

/** C's %.17Lf without trailing zeros. */
export function formatLongDouble({ mantissa, exponent }: Finite): string {
  const magnitude = (mantissa < 0n ? -mantissa : mantissa) * SCALE
  const scaled =
    exponent >= 0 ? magnitude << BigInt(exponent) : divideToEven(magnitude, 1n << BigInt(-exponent))
  if (scaled === 0n) return '0'
  const digits = scaled.toString().padStart(DECIMALS + 1, '0')
  const decimals = digits.slice(-DECIMALS).replace(/0+$/, '')
  const sign = mantissa < 0n ? '-' : ''
  return `${sign}${digits.slice(0, -DECIMALS)}${decimals === '' ? '' : `.${decimals}`}`
}

function fromDecimal([, sign, whole, part = '', power]: RegExpExecArray): Finite | null {
  const digits = `${whole}${part}`.replace(/^0+/, '')
  if (digits === '') return { mantissa: 0n, exponent: 0 }
  const exponent = Number(power ?? 0) - part.length
  const highest = digits.length + exponent
  if (highest > MAX_POWER_OF_10 || highest < MIN_POWER_OF_10) return null
  const value = BigInt(digits)
  const found =
    exponent >= 0 ? rounded(value * 10n ** BigInt(exponent), 1n) : rounded(value, 10n ** BigInt(-exponent))
  return notZero(sign!, found)
}

function fromHex([, sign, whole, part = '', power]: RegExpExecArray): Finite | null {
  const digits = `${whole}${part}`.replace(/^0+/, '')
  if (digits === '') return { mantissa: 0n, exponent: 0 }
  const exponent = Number(power ?? 0) - 4 * part.length
  const highest = 4 * digits.length + exponent
  if (highest > MAX_BITS + 4 || highest < MIN_EXPONENT - 4) return null
  return notZero(sign!, roundedPower(BigInt(`0x${digits}`), exponent))
}

/** Detects underflow: non-zero digits must not become zero. */
function notZero(sign: string, found: Finite | null): Finite | null {
  if (found?.mantissa === 0n) return null
  return sign === '-' ? negated(found) : found
}

function negated(value: Finite | null): Finite | null {
  return value && { mantissa: -value.mantissa, exponent: value.exponent }
}

function roundedPower(value: bigint, exponent: number): Finite | null {
  return exponent >= 0 ? rounded(value << BigInt(exponent), 1n) : rounded(value, 1n << BigInt(-exponent))
}

/** The long double nearest to a fraction, ties to even. null = too large. */
function rounded(numerator: bigint, denominator: bigint): Finite | null {
  if (numerator === 0n) return { mantissa: 0n, exponent: 0 }
  // The fraction lies between 2^(size - 1) and 2^(size + 1).
  const size = bitLength(numerator) - bitLength(denominator)
  for (let exponent = Math.max(size - MANTISSA_BITS, MIN_EXPONENT); ; exponent++) {
    const mantissa =
      exponent >= 0
        ? divideToEven(numerator, denominator << BigInt(exponent))
        : divideToEven(numerator << BigInt(-exponent), denominator)
    const bits = bitLength(mantissa)
    // A mantissa of 2^64 is the result of rounding up, and is exact with the next exponent.
    if (bits > MANTISSA_BITS && mantissa !== 1n << BigInt(MANTISSA_BITS)) continue
    return bits + exponent > MAX_BITS ? null : { mantissa, exponent }
  }
}

function divideToEven(numerator: bigint, denominator: bigint): bigint {
  const quotient = numerator / denominator
  const twice = (numerator - quotient * denominator) * 2n
  if (twice < denominator) return quotient
  return twice > denominator || (quotient & 1n) === 1n ? quotient + 1n : quotient
}

function bitLength(value: bigint): number {
  if (value === 0n) return 0
  const hex = value.toString(16)
  return (hex.length - 1) * 4 + (32 - Math.clz32(parseInt(hex[0]!, 16)))
}
