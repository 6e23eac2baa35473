/**
 * Incremental parser for Redis protocol requests: arrays of bulks, and inline commands, in chunks of any size. Arguments
 * are slices of the chunks; only what a chunk boundary splits is copied.
 *
 *   feed(chunk), then next() until it returns MORE:
 *
 *     COMMAND   command and args are set; args[0] is the command's own name, the rest are the client's bytes
 *     UNKNOWN   as COMMAND, but the name is unknown: args[0] is what the client sent
 *     MORE      the input is used up, or an incomplete rest is kept
 *     BROKEN    a protocol error (`problem`); the connection must be closed
 *     FOREIGN   another protocol (`foreign`, detected by other-protocol.ts): the connection is closed without a reply
 *     MISTAKEN  as UNKNOWN, in the first line: the connection is closed, because it may be another protocol
 *
 * Stricter than Redis in one point: a bulk, or a length, must be followed by CRLF. No memory is allocated for announced
 * lengths. The error texts are Redis's.
 */
import { indexOfNear } from '../../../core/bytes.ts'
import { ARGUMENT_BYTES } from '../../ledger.ts'
import { protocolOfByte, protocolOfLine, type OtherProtocol } from './other-protocol.ts'

const CR = 13
const LF = 10
const CRLF_BYTES = 2
const STAR = 0x2a
const ZERO = 0x30
const GET_HEAD = Buffer.from('*2\r\n$3\r\nGET\r\n$')
const GET_HEAD_LOWER = Buffer.from('*2\r\n$3\r\nget\r\n$')
const GET_HEAD_BYTES = GET_HEAD.length
const MAX_KEY_DIGITS = 4
const DOLLAR = 0x24

export const MORE = 0
export const COMMAND = 1
export const UNKNOWN = 2
export const BROKEN = 3
export const FOREIGN = 4
export const MISTAKEN = 5

/** A line (a length, an inline command) may be this long, as in Redis. */
const MAX_LINE_BYTES = 64 * 1024
const MAX_ARGUMENTS = 1024 * 1024
/** Longer ones are errors on a Redis as well; below that, the error names the setting. */
const MAX_REDIS_BULK_BYTES = 512 * 1024 * 1024
/** For unauthenticated clients, as in Redis. */
const MAX_UNAUTHENTICATED_ARGUMENTS = 10
const MAX_UNAUTHENTICATED_BULK_BYTES = 16 * 1024

export interface Named {
  /** As in args[0]. */
  readonly nameBytes: Buffer
}

export interface ParserOptions<C extends Named> {
  /** The command of this name, case-insensitive; null = none. */
  readonly lookUp: (bytes: Buffer, from: number, to: number) => C | null
  readonly maxBulkBytes: number
  /** Of all arguments of a command together. */
  readonly maxRequestBytes: number
  /** The setting that these limits come from. */
  readonly limitName: string
}

export class RequestParser<C extends Named> {
  command: C | null = null
  args: Buffer[] = []
  /** Without 'ERR Protocol error: '. */
  problem = ''
  foreign: OtherProtocol = 'unknown'
  /** An empty request was skipped: set here, reset by the caller. */
  passedEmpty = false
  /** Applies the limits for unauthenticated clients. */
  unauthenticated = false

  private readonly options: ParserOptions<C>
  /** Only empty lines so far. */
  private opening = true
  private readonly maxArguments: number
  private input: Buffer = EMPTY
  private at = 0
  // Incomplete input, kept until more arrives.
  private kept: Buffer[] = []
  private keptBytes = 0
  private needed = 0
  /** Of the chunks that hold arguments of the current request. */
  private pinnedBytes = 0

  /** Remaining arguments of the current request; 0 = no current request. */
  private left = 0
  /** Of the current bulk; -1 = its length has not arrived. */
  private bulkBytes = -1
  /** Of the arguments of the current or last request; for an inline command, of its line. */
  requestBytes = 0
  private fresh = true

  constructor(options: ParserOptions<C>) {
    this.options = options
    // Empty arguments count against the limit too.
    this.maxArguments = Math.min(MAX_ARGUMENTS, Math.floor(options.maxRequestBytes / ARGUMENT_BYTES))
  }

  /** Whether a request is incomplete. */
  get inside(): boolean {
    return this.left > 0 || this.keptBytes > 0
  }

  /** Its approximate memory: unparsed chunks, and arguments of an incomplete request. */
  get heldBytes(): number {
    if (this.left > 0) return this.pinnedBytes + this.args.length * ARGUMENT_BYTES
    return this.keptBytes + this.input.length
  }

  // A whole GET that comes next: where its key is, and where it ends.
  keyAt = 0
  keyEnd = 0
  get source(): Buffer {
    return this.input
  }

  /**
   * Whether a GET comes next, as clients write it, and has arrived. Then `source` has its key from `keyAt` to `keyEnd`, and
   * `pass` skips it. Otherwise, or without that, next() parses it.
   */
  peekGet(): boolean {
    const { input, at } = this
    const keyLine = at + GET_HEAD_BYTES
    if (this.left > 0 || keyLine >= input.length || input[at] !== STAR) return false
    for (let i = 1; i < GET_HEAD_BYTES; i++) {
      const byte = input[at + i]!
      if (byte !== GET_HEAD[i] && byte !== GET_HEAD_LOWER[i]) return false
    }
    // Keys have up to four digits of bytes; longer ones are parsed as usual.
    let bytes = 0
    let lineEnd = keyLine
    for (const most = lineEnd + MAX_KEY_DIGITS; lineEnd < most; lineEnd++) {
      const digit = input[lineEnd]! - ZERO
      if (!(digit >= 0 && digit <= 9)) break
      bytes = bytes * 10 + digit
    }
    if (lineEnd === keyLine || (input[keyLine] === ZERO && lineEnd > keyLine + 1)) return false
    this.keyAt = lineEnd + CRLF_BYTES
    const end = (this.keyEnd = this.keyAt + bytes)
    return (
      end + CRLF_BYTES <= input.length &&
      bytes <= this.options.maxBulkBytes &&
      input[lineEnd] === CR &&
      input[lineEnd + 1] === LF &&
      input[end] === CR &&
      input[end + 1] === LF
    )
  }

  /** Skips the GET that peekGet has found. */
  pass(): void {
    this.at = this.keyEnd + CRLF_BYTES
    this.opening = false
  }

  feed(chunk: Buffer): void {
    if (this.left > 0) this.pinnedBytes += chunk.length
    if (this.keptBytes > 0) {
      this.kept.push(chunk)
      this.keptBytes += chunk.length
      if (this.keptBytes < this.needed) return
      this.input = Buffer.concat(this.kept, this.keptBytes)
      this.kept = []
      this.keptBytes = 0
      this.needed = 0
    } else if (this.at < this.input.length) {
      // The caller stopped before MORE.
      this.input = Buffer.concat([this.input.subarray(this.at), chunk])
    } else this.input = chunk
    this.at = 0
  }

  next(): number {
    for (;;) {
      if (this.at >= this.input.length) {
        this.input = EMPTY
        this.at = 0
        return MORE
      }
      if (this.left === 0) {
        if (this.input[this.at] !== STAR) {
          const found = this.inline()
          if (found !== AGAIN) return found
          continue
        }
        this.opening = false
        const count = this.line('too big mbulk count string')
        if (count < 0) return count === WAITING ? MORE : BROKEN
        const args = this.integer(this.at + 1, count)
        this.at = count + CRLF_BYTES
        if (!(args <= this.maxArguments)) {
          return this.broken('invalid multibulk length', args <= MAX_ARGUMENTS)
        }
        if (this.unauthenticated && args > MAX_UNAUTHENTICATED_ARGUMENTS) {
          return this.broken('unauthenticated multibulk length')
        }
        if (args <= 0) {
          this.passedEmpty = true
          continue
        }
        this.begin(args)
      }
      const found = this.arguments()
      if (found !== AGAIN) return found
    }
  }

  private begin(args: number): void {
    this.left = args
    this.args = []
    this.command = null
    this.bulkBytes = -1
    this.requestBytes = 0
    this.pinnedBytes = this.input.length
    this.fresh = true
  }

  private arguments(): number {
    const { input } = this
    for (;;) {
      if (this.bulkBytes < 0) {
        if (this.at >= input.length) return this.keep(0)
        if (input[this.at] !== DOLLAR) {
          return this.broken(`expected '$', got '${printable(input[this.at]!)}'`)
        }
        const end = this.line('too big bulk count string')
        if (end < 0) return end === WAITING ? MORE : BROKEN
        const bytes = this.integer(this.at + 1, end)
        if (!(bytes >= 0 && bytes <= this.options.maxBulkBytes)) {
          return this.broken('invalid bulk length', bytes >= 0 && bytes <= MAX_REDIS_BULK_BYTES)
        }
        if (this.unauthenticated && bytes > MAX_UNAUTHENTICATED_BULK_BYTES) {
          return this.broken('unauthenticated bulk length')
        }
        this.requestBytes += bytes
        if (this.requestBytes > this.options.maxRequestBytes) return this.broken('too big request', true)
        this.bulkBytes = bytes
        this.at = end + CRLF_BYTES
      }
      const end = this.at + this.bulkBytes
      if (end + CRLF_BYTES > input.length) return this.keep(this.bulkBytes + CRLF_BYTES)
      if (input[end] !== CR || input[end + 1] !== LF) return this.broken('expected CRLF after a bulk')
      if (this.fresh) this.name(this.at, end)
      else this.args.push(input.subarray(this.at, end))
      this.fresh = false
      this.at = end + CRLF_BYTES
      this.bulkBytes = -1
      if (--this.left === 0) return this.command ? COMMAND : UNKNOWN
    }
  }

  private name(from: number, to: number): void {
    this.command = this.options.lookUp(this.input, from, to)
    this.args.push(this.command ? this.command.nameBytes : this.input.subarray(from, to))
  }

  /** @returns the position of the CR that ends this line, WAITING, or REFUSED */
  private line(tooLong: string): number {
    const end = indexOfNear(this.input, LF, this.at)
    if (end < 0) {
      if (this.input.length - this.at > MAX_LINE_BYTES) {
        this.broken(tooLong)
        return REFUSED
      }
      this.keep(0)
      return WAITING
    }
    if (this.input[end - 1] !== CR) {
      this.broken('expected CRLF after a length')
      return REFUSED
    }
    return end - 1
  }

  /** Keeps the unparsed rest until it has `bytes` bytes; 0 = until anything more arrives. */
  private keep(bytes: number): number {
    const rest = this.at === 0 ? this.input : this.input.subarray(this.at)
    this.needed = bytes
    if (rest.length > 0) {
      // A few bytes must not keep a whole chunk in memory.
      this.kept.push(rest.length * 2 < this.input.length ? Buffer.from(rest) : rest)
      this.keptBytes = rest.length
    }
    this.input = EMPTY
    this.at = 0
    return MORE
  }

  private inline(): number {
    const { input } = this
    if (this.opening) {
      const protocol = protocolOfByte(input[this.at]!)
      if (protocol) return this.ofProtocol(protocol)
    }
    const end = input.indexOf(LF, this.at)
    if (end < 0) {
      if (input.length - this.at > MAX_LINE_BYTES) return this.broken('too big inline request')
      return this.keep(0)
    }
    if (end - this.at > MAX_LINE_BYTES) return this.broken('too big inline request')
    const to = end > this.at && input[end - 1] === CR ? end - 1 : end
    const line = input.subarray(this.at, to)
    if (this.opening) {
      const protocol = protocolOfLine(line.toString('latin1'))
      if (protocol) return this.ofProtocol(protocol)
    }
    const words = splitWords(line)
    const bytes = to - this.at
    this.at = end + 1
    if (!words) return this.broken('unbalanced quotes in request')
    if (words.length === 0) {
      this.passedEmpty = true
      return AGAIN
    }
    const first = words[0]!
    const text = first.toString('latin1').toLowerCase()
    // On any line, as in Redis.
    if (text === 'post' || text === 'host:') return this.ofProtocol('http')
    this.requestBytes = bytes
    this.command = this.options.lookUp(first, 0, first.length)
    if (this.command) words[0] = this.command.nameBytes
    this.args = words
    if (this.command === null && this.opening) {
      this.foreign = 'unknown'
      return MISTAKEN
    }
    this.opening = false
    return this.command ? COMMAND : UNKNOWN
  }

  private ofProtocol(protocol: OtherProtocol): number {
    this.foreign = protocol
    this.input = EMPTY
    this.at = 0
    return FOREIGN
  }

  /** Parses a decimal; NaN if invalid. May be negative. */
  private integer(from: number, to: number): number {
    const { input } = this
    const negative = input[from] === 0x2d
    const start = negative ? from + 1 : from
    if (start === to || to - start > 10) return NaN
    if (input[start] === 0x30 && to - from > 1) return NaN // 01 and -0 are invalid in Redis too
    let value = 0
    for (let i = start; i < to; i++) {
      const digit = input[i]! - 0x30
      if (digit < 0 || digit > 9) return NaN
      value = value * 10 + digit
    }
    return negative ? -value : value
  }

  private broken(problem: string, isOurLimit = false): number {
    this.problem = isOurLimit ? `${problem} (${this.options.limitName})` : problem
    this.input = EMPTY
    this.at = 0
    return BROKEN
  }
}

const EMPTY = Buffer.alloc(0)
const AGAIN = -1
const WAITING = -1
const REFUSED = -2

function printable(byte: number): string {
  return byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : '?'
}

const QUOTE = 0x22
const APOSTROPHE = 0x27
const BACKSLASH = 0x5c
const ESCAPED = new Map([
  [0x6e, 10],
  [0x72, 13],
  [0x74, 9],
  [0x62, 8],
  [0x61, 7],
])

/** Splits an inline command into words, with redis-cli's quoting; null = an unbalanced quote. */
function splitWords(line: Buffer): Buffer[] | null {
  const words: Buffer[] = []
  let at = 0
  for (;;) {
    while (at < line.length && isSpace(line[at]!)) at++
    if (at >= line.length) return words
    const word: number[] = []
    while (at < line.length && !endsWord(line[at]!)) {
      const quote = line[at]!
      if (quote !== QUOTE && quote !== APOSTROPHE) {
        word.push(quote)
        at++
        continue
      }
      const end = quoted(line, at + 1, quote, word)
      // A closing quote must end its word: "a"b is an error.
      if (end < 0 || (end < line.length && !isSpace(line[end]!))) return null
      at = end
      break
    }
    words.push(Buffer.from(word))
  }
}

/** Reads up to the closing quote. @returns the position after it, or -1 */
function quoted(line: Buffer, from: number, quote: number, word: number[]): number {
  for (let at = from; at < line.length; at++) {
    const byte = line[at]!
    if (byte === quote) return at + 1
    if (byte !== BACKSLASH || at + 1 >= line.length) {
      word.push(byte)
      continue
    }
    const next = line[at + 1]!
    const hex =
      quote === QUOTE && next === 0x78
        ? /^[0-9a-fA-F]{2}$/.exec(line.toString('latin1', at + 2, at + 4))
        : null
    if (hex) {
      word.push(parseInt(hex[0], 16))
      at += 3
    } else if (quote === QUOTE) {
      word.push(ESCAPED.get(next) ?? next)
      at++
    } else if (next === APOSTROPHE) {
      word.push(next)
      at++
    } else word.push(byte)
  }
  return -1
}

function isSpace(byte: number): boolean {
  return byte === 0x20 || (byte >= 9 && byte <= 13) || byte === 0
}

/** Not all white space: as in Redis, a form feed or vertical tab within a word belongs to it. */
function endsWord(byte: number): boolean {
  return isSpace(byte) && byte !== 11 && byte !== 12
}
