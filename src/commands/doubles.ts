/** Doubles as text, as Redis 7.2 reads and writes them: the shortest digits that give the same number again. */

/** Up to here a whole number is written without an exponent. */
const MAX_WHOLE = 2 ** 62
const EXPONENTIAL = /^(-?)(\d)(?:\.(\d+))?e([+-]\d+)$/
const DECIMAL = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?$/i
const HEX = /^([+-]?)0x(?:([\da-f]+)\.?([\da-f]*)|\.([\da-f]+))(?:p([+-]?\d+))?$/i
const LEADING_SPACE = /^[\t-\r ]+/
const INFINITE = /^([+-]?)inf(?:inity)?$/i
/** A longer text is not a number that anybody writes. */
const MAX_TEXT_BYTES = 1024

export function formatDouble(value: number): string {
  if (value === Infinity) return 'inf'
  if (value === -Infinity) return '-inf'
  if (Object.is(value, -0)) return '-0'
  if (Number.isInteger(value) && Math.abs(value) <= MAX_WHOLE) return BigInt(value).toString()
  const [, sign, first, rest = '', power] = EXPONENTIAL.exec(value.toExponential())!
  const digits = `${first}${rest}`
  const exponent = Number(power)
  /** Of the last digit. */
  const lowest = exponent - digits.length + 1
  if (lowest >= 0 && exponent < digits.length + 7) return `${sign}${digits}${'0'.repeat(lowest)}`
  if (lowest < 0 && (lowest > -7 || Math.abs(exponent) < 4)) {
    const whole = digits.length + lowest
    if (whole <= 0) return `${sign}0.${'0'.repeat(-whole)}${digits}`
    return `${sign}${digits.slice(0, whole)}.${digits.slice(whole)}`
  }
  const mantissa = rest === '' ? first : `${first}.${rest}`
  return `${sign}${mantissa}e${exponent < 0 ? '-' : '+'}${Math.abs(exponent)}`
}

/** Parses text as strtod does, without leading space and to its end; null = not a number, or too large for a double. */
export function parseDouble(bytes: Buffer): number | null {
  if (bytes.length > MAX_TEXT_BYTES) return null
  const text = bytes.toString('latin1')
  const value = valueOf(text)
  if (value === null || INFINITE.test(text)) return value
  return Number.isFinite(value) && (value !== 0 || isZero(text)) ? value : null
}

/**
 * The same for an end of a range, which Redis reads less strictly: with leading space, without a digit (0), and with
 * numbers that are too large, which are infinite, or too small, which are 0.
 */
export function parseBound(bytes: Buffer): number | null {
  if (bytes.length > MAX_TEXT_BYTES) return null
  const text = bytes.toString('latin1')
  return text === '' ? 0 : valueOf(text.replace(LEADING_SPACE, ''))
}

/** The same for SORT: with leading space, without a digit (0), and none that is too large or too small. */
export function parseSortWeight(bytes: Buffer): number | null {
  if (bytes.length > MAX_TEXT_BYTES) return null
  const text = bytes.toString('latin1').replace(LEADING_SPACE, '')
  // As strtod reads it: where there is no number it stops at once, and that is the end only of an empty text.
  return bytes.length === 0 ? 0 : parseDouble(Buffer.from(text, 'latin1'))
}

/** Null = not a number. */
function valueOf(text: string): number | null {
  if (DECIMAL.test(text)) return Number(text)
  const infinite = INFINITE.exec(text)
  if (infinite) return infinite[1] === '-' ? -Infinity : Infinity
  const hex = HEX.exec(text)
  return hex ? fromHex(hex) : null
}

function fromHex([, sign, whole = '', part = '', only = '', power = '0']: RegExpExecArray): number {
  const fraction = part || only
  const value = Number(BigInt(`0x0${whole}${fraction}`)) * 2 ** (Number(power) - 4 * fraction.length)
  return sign === '-' ? -value : value
}

/** A number whose digits are not all 0 must not have become 0. */
function isZero(text: string): boolean {
  const digits = /x/i.test(text) ? text.replace(/0x/i, '').split(/p/i)[0]! : text.split(/e/i)[0]!
  return !/[1-9a-f]/i.test(digits)
}
