/**
 * Reads RESP3 from a tracking connection: complete values, one after the other, however the bytes are cut. Arrays, sets, maps
 * and pushes become arrays (a map: keys and values in turn); strings and numbers become their bytes.
 *
 * Every length is checked when it is announced, so that no memory is taken for a value that is refused.
 */
const CR = 0x0d
const LF = 0x0a
const CRLF_BYTES = 2
const NONE = Buffer.alloc(0)

export type Value = Buffer | null | readonly Value[]
export type ValueKind = 'push' | 'error' | 'reply'

export interface Resp3Limits {
  readonly lineBytes: number
  readonly bulkBytes: number
  /** Of one value, with everything in it. */
  readonly elements: number
  readonly valueBytes: number
  readonly depth: number
}

interface Open {
  readonly items: Value[]
  left: number
}

export class Resp3Reader {
  private readonly limits: Resp3Limits
  private readonly onValue: (value: Value, kind: ValueKind) => void
  private rest: Buffer = NONE
  private readonly open: Open[] = []
  private kind: ValueKind = 'reply'
  private elements = 0
  private valueBytes = 0

  constructor(limits: Resp3Limits, onValue: (value: Value, kind: ValueKind) => void) {
    this.limits = limits
    this.onValue = onValue
  }

  /** @returns what is wrong with the bytes, or null */
  read(bytes: Buffer): string | null {
    const input = this.rest.length > 0 ? Buffer.concat([this.rest, bytes]) : bytes
    let at = 0
    while (at < input.length) {
      const next = this.readOne(input, at)
      if (typeof next === 'string') return next
      if (next < 0) break
      at = next
    }
    this.rest = at < input.length ? Buffer.from(input.subarray(at)) : NONE
    return null
  }

  /** One scalar, or the head of what holds others. @returns where it ends, -1 if it is not complete, or what is wrong */
  private readOne(input: Buffer, at: number): number | string {
    const end = input.indexOf(CR, at + 1)
    const lineBytes = (end < 0 ? input.length : end) - at
    if (lineBytes > this.limits.lineBytes) return 'an endless line'
    if (end < 0 || end + 1 >= input.length) return -1
    if (input[end + 1] !== LF) return 'a line without an end'
    const after = end + CRLF_BYTES
    switch (String.fromCharCode(input[at]!)) {
      case '+':
      case ':':
      case '#':
      case ',':
      case '(':
        return this.add(input.subarray(at + 1, end), after)
      case '-':
        if (this.open.length === 0) this.kind = 'error'
        return this.add(input.subarray(at + 1, end), after)
      case '_':
        return this.add(null, after)
      case '$':
      case '=':
      case '!':
        return this.readBulk(input, at, end, after)
      case '*':
      case '~':
        return this.begin(countIn(input, at + 1, end), after)
      case '%':
        return this.begin(2 * countIn(input, at + 1, end), after)
      case '>':
        if (this.open.length > 0) return 'a push in the middle of a reply'
        this.kind = 'push'
        return this.begin(countIn(input, at + 1, end), after)
      default:
        return `a value that begins with byte ${input[at]}`
    }
  }

  private readBulk(input: Buffer, at: number, end: number, after: number): number | string {
    if (input[at + 1] === 0x2d) return this.add(null, after)
    const length = countIn(input, at + 1, end)
    if (!(length <= this.limits.bulkBytes)) return 'a bulk of an impossible length'
    const to = after + length
    if (to + CRLF_BYTES > input.length) return -1
    if (input[to] !== CR || input[to + 1] !== LF) return 'a bulk of another length than it said'
    return this.add(input.subarray(after, to), to + CRLF_BYTES)
  }

  private begin(count: number, after: number): number | string {
    if (count === 0) return this.add([], after)
    if (count < 0) return this.add(null, after)
    this.elements += count
    if (!(this.elements <= this.limits.elements)) return 'too many elements'
    if (this.open.length >= this.limits.depth) return 'too many levels'
    this.open.push({ items: [], left: count })
    return after
  }

  private add(value: Value, after: number): number | string {
    if (value instanceof Buffer) this.valueBytes += value.length
    if (this.valueBytes > this.limits.valueBytes) return 'too much at once'
    let done = value
    for (let parent = this.open.at(-1); parent; parent = this.open.at(-1)) {
      parent.items.push(done)
      if (--parent.left > 0) return after
      this.open.pop()
      done = parent.items
    }
    const { kind } = this
    this.kind = 'reply'
    this.elements = this.valueBytes = 0
    this.onValue(done, kind)
    return after
  }
}

/** NaN if it is no count; -1 = there is none. */
function countIn(input: Buffer, from: number, to: number): number {
  const text = input.toString('latin1', from, to)
  return text === '-1' || /^\d{1,10}$/.test(text) ? Number(text) : NaN
}
