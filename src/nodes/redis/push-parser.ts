/**
 * Reads RESP3, as far as a node sends it to whoever publishes and subscribes: values of a few elements. Lengths are checked
 * when they are announced, so that no memory is set aside for what is refused; an incomplete value is looked at again when
 * all its bytes that are known to be missing have arrived.
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

export type Value = Buffer | string | number | null | ErrorReply | Push | readonly Value[]

const MAX_LINE_BYTES = 4096
const MAX_ELEMENTS = 64
const MAX_DEPTH = 3
const CR = 0x0d
const LF = 0x0a
const NUMBER = /^-?\d{1,15}$/

/** More bytes are needed. */
const MORE = Symbol('more')
class Violation extends Error {}

export class PushParser {
  /** What is wrong with the stream; null = nothing. It stays. */
  problem: string | null = null
  private readonly maxBulkBytes: number
  private chunks: Buffer[] = []
  private heldBytes = 0
  /** Fewer bytes than this are not worth another look. */
  private neededBytes = 1
  private bytes: Buffer = Buffer.alloc(0)
  private at = 0

  constructor(maxBulkBytes: number) {
    this.maxBulkBytes = maxBulkBytes
  }

  feed(chunk: Buffer): void {
    this.chunks.push(chunk)
    this.heldBytes += chunk.length
  }

  /** The next value; undefined = there is none yet, or a problem. */
  next(): Value | undefined {
    if (this.problem !== null || this.heldBytes < this.neededBytes) return undefined
    if (this.chunks.length > 0) this.gather()
    const start = this.at
    try {
      const value = this.read(0)
      if (value !== MORE) {
        this.heldBytes = this.bytes.length - this.at
        this.neededBytes = 1
        return value
      }
    } catch (error) {
      if (!(error instanceof Violation)) throw error
      this.problem = error.message
      return undefined
    }
    this.at = start
    this.neededBytes = Math.max(this.neededBytes, this.heldBytes + 1)
    return undefined
  }

  private gather(): void {
    const rest = this.bytes.subarray(this.at)
    const all = rest.length > 0 ? [rest, ...this.chunks] : this.chunks
    this.bytes = all.length === 1 ? all[0]! : Buffer.concat(all)
    this.chunks = []
    this.at = 0
  }

  private read(depth: number): Value | typeof MORE {
    if (depth > MAX_DEPTH) throw new Violation('values that are nested too deep')
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
        return rest === '-1' ? null : this.bulk(lengthOf(rest, this.maxBulkBytes))
      case '*':
      case '~':
        return rest === '-1' ? null : this.items(lengthOf(rest, MAX_ELEMENTS), depth)
      case '%':
        return this.items(2 * lengthOf(rest, MAX_ELEMENTS / 2), depth)
      case '>': {
        const items = this.items(lengthOf(rest, MAX_ELEMENTS), depth)
        return items === MORE ? MORE : new Push(items)
      }
      default:
        throw new Violation('bytes that are not of its protocol')
    }
  }

  private line(): string | null {
    const end = this.bytes.indexOf(LF, this.at)
    if (end < 0) {
      if (this.bytes.length - this.at > MAX_LINE_BYTES) throw new Violation('a line that is too long')
      return null
    }
    if (end - this.at > MAX_LINE_BYTES || end <= this.at || this.bytes[end - 1] !== CR) {
      throw new Violation('a line that is too long, or without its end')
    }
    const line = this.bytes.toString('latin1', this.at, end - 1)
    this.at = end + 1
    return line
  }

  private bulk(length: number): Buffer | typeof MORE {
    const end = this.at + length
    if (this.bytes.length < end + 2) {
      this.neededBytes = this.heldBytes + end + 2 - this.bytes.length
      return MORE
    }
    if (this.bytes[end] !== CR || this.bytes[end + 1] !== LF) throw new Violation('a bulk without its end')
    const bulk = this.bytes.subarray(this.at, end)
    this.at = end + 2
    return bulk
  }

  private items(count: number, depth: number): Value[] | typeof MORE {
    const items: Value[] = []
    while (items.length < count) {
      const item = this.read(depth + 1)
      if (item === MORE) return MORE
      items.push(item)
    }
    return items
  }
}

function numberOf(text: string): number {
  if (!NUMBER.test(text)) throw new Violation('a number that is none')
  return Number(text)
}

function lengthOf(text: string, limit: number): number {
  const length = numberOf(text)
  if (length < 0 || length > limit) throw new Violation(`a length of ${length}`)
  return length
}
