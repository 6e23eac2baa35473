/**
 * Reads RESP3, as nodes send it to whoever publishes and subscribes, and of the keys that change: complete values, one after the
 * other, however the bytes are cut. Arrays, sets and maps become arrays (a map: keys and values in turn).
 *
 * Every length is checked when it is announced, so that no memory is taken for what is refused. Nothing is read twice: values
 * that hold others stay open, and an incomplete bulk is looked at again when all of it has arrived.
 */
export class ErrorReply {
  readonly message: string
  constructor(message: string) {
    this.message = message
  }
}

/** What a node sends without being asked, and how it confirms a subscription. */
export class Push {
  readonly items: readonly Value[]
  constructor(items: readonly Value[]) {
    this.items = items
  }
}

/** Bulks are bytes, views of what has arrived; simple strings, booleans and fractions are texts. */
export type Value = Buffer | string | number | null | ErrorReply | Push | readonly Value[]

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
  readonly isPush: boolean
  left: number
}

const CR = 0x0d
const LF = 0x0a
const CRLF_BYTES = 2
const NUMBER = /^-?\d{1,15}$/

/** More bytes are needed. */
const MORE = Symbol('more')
/** The head of a value that holds others. */
const OPENED = Symbol('opened')
class Violation extends Error {}

export class Resp3Parser {
  /** What is wrong with the stream; null = nothing. It stays. */
  problem: string | null = null
  private readonly limits: Resp3Limits
  private chunks: Buffer[] = []
  private heldBytes = 0
  /** Fewer bytes than this are not worth another look. */
  private neededBytes = 1
  /** So many at least, of the scalar that is being read. */
  private missingBytes = 1
  private bytes: Buffer = Buffer.alloc(0)
  private at = 0
  // Of the value that is being read:
  private readonly open: Open[] = []
  private elements = 0
  private valueBytes = 0

  constructor(limits: Resp3Limits) {
    this.limits = limits
  }

  feed(chunk: Buffer): void {
    this.chunks.push(chunk)
    this.heldBytes += chunk.length
  }

  /** The next value; undefined = there is none yet, or a problem. */
  next(): Value | undefined {
    if (this.problem !== null || this.heldBytes < this.neededBytes) return undefined
    if (this.chunks.length > 0) this.gather()
    try {
      return this.read()
    } catch (error) {
      if (!(error instanceof Violation)) throw error
      this.problem = error.message
      return undefined
    }
  }

  private gather(): void {
    const rest = this.bytes.subarray(this.at)
    const all = rest.length > 0 ? [rest, ...this.chunks] : this.chunks
    this.bytes = all.length === 1 ? all[0]! : Buffer.concat(all)
    this.chunks = []
    this.at = 0
  }

  private read(): Value | undefined {
    for (;;) {
      const start = this.at
      this.missingBytes = 1
      const one = this.readOne()
      if (one === MORE) {
        this.at = start
        this.heldBytes = this.bytes.length - start
        this.neededBytes = this.heldBytes + this.missingBytes
        return undefined
      }
      if (one === OPENED) continue
      const whole = this.add(one)
      if (whole === MORE) continue
      this.heldBytes = this.bytes.length - this.at
      this.neededBytes = 1
      this.elements = this.valueBytes = 0
      return whole
    }
  }

  /** Into what holds it. @returns the outermost value, if it is complete now */
  private add(one: Value): Value | typeof MORE {
    let done = one
    for (let parent = this.open.at(-1); parent; parent = this.open.at(-1)) {
      parent.items.push(done)
      if (--parent.left > 0) return MORE
      this.open.pop()
      done = parent.isPush ? new Push(parent.items) : parent.items
    }
    return done
  }

  /** One scalar, or the head of what holds others. */
  private readOne(): Value | typeof MORE | typeof OPENED {
    const line = this.line()
    if (line === null) return MORE
    const rest = line.slice(1)
    switch (line[0]) {
      case '+':
      case ',':
      case '(':
      case '#':
        return rest
      case '-':
        return new ErrorReply(rest)
      case ':':
        return numberOf(rest)
      case '_':
        return null
      case '$':
      case '=':
      case '!':
        return rest === '-1' ? null : this.bulk(rest)
      case '*':
      case '~':
        return rest === '-1' ? null : this.begin(numberOf(rest), false)
      case '%':
        return this.begin(2 * numberOf(rest), false)
      case '>':
        if (this.open.length > 0) throw new Violation('a push in the middle of a reply')
        return this.begin(numberOf(rest), true)
      default:
        throw new Violation(`a value that begins with byte ${line.charCodeAt(0)}`)
    }
  }

  private line(): string | null {
    const { bytes, at } = this
    const end = bytes.indexOf(CR, at)
    if ((end < 0 ? bytes.length : end) - at > this.limits.lineBytes) throw new Violation('an endless line')
    if (end < 0 || end + 1 >= bytes.length) return null
    if (bytes[end + 1] !== LF) throw new Violation('a line without an end')
    this.at = end + CRLF_BYTES
    const line = bytes.toString('latin1', at, end)
    this.hold(line.length)
    return line
  }

  private bulk(length: string): Buffer | typeof MORE {
    const { bytes, limits } = this
    const count = numberOf(length)
    if (count < 0 || count > limits.bulkBytes) throw new Violation('a bulk of an impossible length')
    const end = this.at + count
    if (bytes.length < end + CRLF_BYTES) {
      this.missingBytes = end + CRLF_BYTES - bytes.length
      return MORE
    }
    if (bytes[end] !== CR || bytes[end + 1] !== LF)
      throw new Violation('a bulk of another length than it said')
    const bulk = bytes.subarray(this.at, end)
    this.at = end + CRLF_BYTES
    this.hold(count)
    return bulk
  }

  private hold(bytes: number): void {
    this.valueBytes += bytes
    if (this.valueBytes > this.limits.valueBytes) throw new Violation('too much at once')
  }

  private begin(count: number, isPush: boolean): Value | typeof OPENED {
    if (count === 0) return isPush ? new Push([]) : []
    this.elements += count
    if (count < 0 || this.elements > this.limits.elements) throw new Violation('too many elements')
    if (this.open.length >= this.limits.depth) throw new Violation('too many levels')
    this.open.push({ items: [], isPush, left: count })
    return OPENED
  }
}

function numberOf(text: string): number {
  if (!NUMBER.test(text)) throw new Violation('a number that is none')
  return Number(text)
}
