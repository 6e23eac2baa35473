/**
 * Checks the framing of a RESP2 stream without building values: counts complete values, and reports the first violation.
 * Its state is a few numbers, whatever the stream contains.
 *
 * A length or count is checked when it is announced, so that no memory is allocated for a value that is refused.
 */
const PLUS = 0x2b
const MINUS = 0x2d
const COLON = 0x3a
const DOLLAR = 0x24
const STAR = 0x2a
const CR = 0x0d
const LF = 0x0a
const CRLF_BYTES = 2
/** Limit of a number: a sign and 19 digits. */
const MAX_NUMBER_BYTES = 20
const NUMBER = /^[+-]?\d+$/

export interface FramingLimits {
  readonly lineBytes: number
  readonly bulkBytes: number
  /** Limit of one value with everything in it. */
  readonly valueBytes: number
  readonly elements: number
  readonly depth: number
}

export class RespFraming {
  /** Complete top-level values. */
  complete = 0
  private readonly limits: FramingLimits
  /** Type of the line being read; 0 = a value begins with the next byte. */
  private type = 0
  private lineBytes = 0
  /** A number or length, as far as received. */
  private number = ''
  private sawCr = false
  /** Missing bytes of a bulk and its CRLF. */
  private bulkLeft = 0
  /** Missing elements of each open array. */
  private readonly open: number[] = []
  private valueBytes = 0
  private elements = 0
  private problem: string | null = null

  constructor(limits: FramingLimits) {
    this.limits = limits
  }

  /** Consumes bytes; returns the violation, or null. A violation is permanent. */
  scan(bytes: Buffer): string | null {
    let at = 0
    while (at < bytes.length && this.problem === null) {
      const from = at
      if (this.bulkLeft > 0) at = this.scanBulk(bytes, at)
      else if (this.type === 0) this.begin(bytes[at++]!)
      else if (this.type === PLUS || this.type === MINUS) at = this.scanLine(bytes, at)
      else this.scanNumber(bytes[at++]!)
      this.valueBytes += at - from
      if (this.valueBytes > this.limits.valueBytes)
        this.fail(`a reply of more than ${this.limits.valueBytes} bytes`)
    }
    return this.problem
  }

  private begin(type: number): void {
    if (type !== PLUS && type !== MINUS && type !== COLON && type !== DOLLAR && type !== STAR) {
      this.fail(`a reply that begins with byte ${type}`)
      return
    }
    this.type = type
    this.lineBytes = 0
    this.number = ''
    this.sawCr = false
  }

  /** A simple string or an error, up to its end. */
  private scanLine(bytes: Buffer, from: number): number {
    let at = from
    if (!this.sawCr) {
      const end = bytes.indexOf(CR, at)
      const to = end < 0 ? bytes.length : end
      this.lineBytes += to - at
      if (this.lineBytes > this.limits.lineBytes)
        this.fail(`a line of more than ${this.limits.lineBytes} bytes`)
      if (end < 0) return bytes.length
      this.sawCr = true
      at = end + 1
      if (at === bytes.length) return at
    }
    if (bytes[at] !== LF) this.fail('a line that does not end in CRLF')
    else this.ended()
    return at + 1
  }

  /** A number, or the length of what follows. */
  private scanNumber(byte: number): void {
    if (this.sawCr) {
      if (byte !== LF) this.fail('a number that does not end in CRLF')
      else this.onNumber(Number(this.number))
    } else if (byte === CR) {
      this.sawCr = true
      if (!NUMBER.test(this.number)) this.fail('a number that is none')
    } else {
      this.number += String.fromCharCode(byte)
      if (this.number.length > MAX_NUMBER_BYTES) this.fail('a number that is none')
    }
  }

  private onNumber(n: number): void {
    if (this.type === COLON || n === -1) {
      this.ended()
      return
    }
    if (this.type === DOLLAR) {
      if (n < 0 || n > this.limits.bulkBytes) this.fail(`a bulk string of ${n} bytes`)
      this.bulkLeft = n + CRLF_BYTES
      return
    }
    this.elements += n
    if (n < 0 || this.elements > this.limits.elements) this.fail(`an array of ${n} elements`)
    else if (n === 0) this.ended()
    else {
      this.open.push(n)
      if (this.open.length > this.limits.depth) this.fail('arrays that are nested too deeply')
      this.type = 0
    }
  }

  private scanBulk(bytes: Buffer, at: number): number {
    const end = Math.min(bytes.length, at + this.bulkLeft)
    for (; this.bulkLeft > CRLF_BYTES && at < end;) {
      const skipped = Math.min(this.bulkLeft - CRLF_BYTES, end - at)
      this.bulkLeft -= skipped
      at += skipped
    }
    for (; at < end; at++) {
      if (bytes[at] !== (this.bulkLeft === CRLF_BYTES ? CR : LF))
        this.fail('a bulk string that does not end where it should')
      this.bulkLeft--
    }
    if (this.bulkLeft === 0) this.ended()
    return at
  }

  /** A value is complete, and with it perhaps the arrays that contain it. */
  private ended(): void {
    this.type = 0
    while (this.open.length > 0) {
      const left = this.open.pop()! - 1
      if (left > 0) {
        this.open.push(left)
        return
      }
    }
    this.complete++
    this.valueBytes = 0
    this.elements = 0
  }

  private fail(problem: string): void {
    this.problem ??= problem
  }
}
