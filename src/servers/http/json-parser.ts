/**
 * Incremental parser for JSON of many megabytes, with limits on depth and size.
 *
 * JSON.parse takes seconds for a body of brackets, and blocks the event loop meanwhile. This parser processes one token at
 * a time, and long strings in pieces, each of which JSON.parse decodes. It stops at the first bracket that is too deep and
 * at the first entry that is too many, so its result is small apart from the strings. It accepts the same texts as
 * JSON.parse, except numbers of more than 512 digits.
 */
import { isUtf8 } from 'node:buffer'
import { RondoError } from '../../core/errors.ts'
import { Work } from './turns.ts'

export interface Shape {
  /** Nesting depth of arrays and objects. */
  readonly depth: number
  /** Entries of one array. */
  readonly entries: number
  /** The setting that limits them. */
  readonly limitName?: string
}

/** More than any call knows. */
const MOST_MEMBERS = 16
const PIECE_BYTES = 64 * 1024
/** Cost of a token in addition to its bytes. */
const TOKEN_BYTES = 64
const MOST_WORD_BYTES = 512
const ESCAPE_BYTES = 6

const QUOTE = 0x22
const BACKSLASH = 0x5c
const COMMA = 0x2c
const COLON = 0x3a
const OPEN_ARRAY = 0x5b
const CLOSE_ARRAY = 0x5d
const OPEN_OBJECT = 0x7b
const CLOSE_OBJECT = 0x7d
const SMALL_U = 0x75

type Frame = { array: unknown[] } | { object: Record<string, unknown>; name: string; members: number }
type Expected = 'value' | 'value or end' | 'name' | 'name or end' | 'colon' | 'comma or end' | 'nothing'

/** @throws RondoError BAD_REQUEST */
export async function parseLongJson(body: Buffer, shape: Shape, work = new Work()): Promise<unknown> {
  const parser = new Parser(body, shape)
  while (!parser.done) {
    const from = parser.at
    parser.step()
    const turn = work.spend(parser.at - from + TOKEN_BYTES)
    if (turn) await turn
  }
  return parser.result
}

class Parser {
  at = 0
  done = false
  result: unknown
  private readonly body: Buffer
  private readonly shape: Shape
  private readonly stack: Frame[] = []
  private expected: Expected = 'value'
  /** The decoded pieces of a long string so far; null = not in a string. */
  private text: string | null = null
  private quoteAt = -1

  constructor(body: Buffer, shape: Shape) {
    this.body = body
    this.shape = shape
  }

  /** One token, or one piece of a string or of white space. */
  step(): void {
    if (this.text !== null) {
      this.parseRestOfString()
      return
    }
    if (!this.skipSpace()) return
    const byte = this.body[this.at]
    if (byte === undefined) {
      if (this.expected !== 'nothing') throw this.wrong('it ends too early')
      this.done = true
      return
    }
    if (
      byte === QUOTE &&
      this.expected !== 'colon' &&
      this.expected !== 'comma or end' &&
      this.expected !== 'nothing'
    ) {
      this.at++
      this.text = ''
      this.quoteAt = -1
    } else if (this.expected === 'value' || this.expected === 'value or end') this.value(byte)
    else this.punctuation(byte)
  }

  /** @returns false if it continues */
  private skipSpace(): boolean {
    const { body } = this
    const limit = this.at + PIECE_BYTES
    for (; this.at < limit; this.at++) {
      const byte = body[this.at]
      if (byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09) return true
    }
    return false
  }

  private value(byte: number): void {
    if (byte === OPEN_ARRAY || byte === OPEN_OBJECT) {
      if (this.stack.length >= this.shape.depth) {
        throw new RondoError('BAD_REQUEST', `The body nests more than ${this.shape.depth} levels deep.`)
      }
      this.at++
      const isArray = byte === OPEN_ARRAY
      this.stack.push(isArray ? { array: [] } : { object: {}, name: '', members: 0 })
      this.expected = isArray ? 'value or end' : 'name or end'
    } else if (byte === CLOSE_ARRAY && this.expected === 'value or end') this.close()
    else this.word()
  }

  private punctuation(byte: number): void {
    const frame = this.stack.at(-1)
    const { expected } = this
    if (expected === 'colon' && byte === COLON) {
      this.at++
      this.expected = 'value'
    } else if (expected === 'comma or end' && byte === COMMA) {
      this.at++
      this.expected = 'array' in frame! ? 'value' : 'name'
    } else if (
      (expected === 'comma or end' && byte === ('array' in frame! ? CLOSE_ARRAY : CLOSE_OBJECT)) ||
      (expected === 'name or end' && byte === CLOSE_OBJECT)
    ) {
      this.close()
    } else throw this.wrong(`byte ${this.at} does not belong there`)
  }

  private close(): void {
    this.at++
    const frame = this.stack.pop()!
    this.put('array' in frame ? frame.array : frame.object)
  }

  /** A number, true, false or null. */
  private word(): void {
    const from = this.at
    const limit = Math.min(this.body.length, from + MOST_WORD_BYTES)
    let end = from
    while (end < limit && isWordByte(this.body[end]!)) end++
    const text = this.body.toString('latin1', from, end)
    let value: unknown
    try {
      value = JSON.parse(text)
    } catch {
      throw this.wrong(`byte ${from} does not belong there`)
    }
    this.at = end
    this.put(value)
  }

  private parseRestOfString(): void {
    const from = this.at
    const closing = this.closingQuote(from)
    if (closing === null && from + PIECE_BYTES >= this.body.length)
      throw this.wrong('it ends within a string')
    const end = closing ?? this.cut(from, from + PIECE_BYTES)
    const piece = this.body.subarray(from, end)
    if (!isUtf8(piece))
      throw new RondoError('BAD_REQUEST', 'The body is not valid UTF-8, which JSON must be.')
    try {
      this.text += JSON.parse(`"${piece.toString('utf8')}"`) as string
    } catch {
      throw this.wrong(`there is a control character or a bad escape in the string around byte ${from}`)
    }
    this.at = end
    if (closing === null) return
    this.at++
    const text = this.text!
    this.text = null
    this.string(text)
  }

  private string(text: string): void {
    const frame = this.stack.at(-1)
    if (this.expected !== 'name' && this.expected !== 'name or end') {
      this.put(text)
      return
    }
    const object = frame as Extract<Frame, { name: string }>
    if (++object.members > MOST_MEMBERS) {
      throw new RondoError('BAD_REQUEST', `An object in the body has more than ${MOST_MEMBERS} members.`)
    }
    object.name = text
    this.expected = 'colon'
  }

  /** Where the string ends, if it ends within this piece. */
  private closingQuote(from: number): number | null {
    const limit = Math.min(from + PIECE_BYTES, this.body.length)
    for (;;) {
      if (this.quoteAt < from) this.quoteAt = indexOrEnd(this.body, from)
      if (this.quoteAt >= limit) return null
      if (this.backslashesBefore(this.quoteAt, from) % 2 === 0) return this.quoteAt
      this.quoteAt = indexOrEnd(this.body, this.quoteAt + 1)
    }
  }

  /** The position at or just before `end` that splits no character or escape; surrogate pairs are rejoined. */
  private cut(from: number, end: number): number {
    const { body } = this
    let cut = end
    for (let back = 0; back < 3 && (body[cut]! & 0xc0) === 0x80; back++) cut--
    const at = body.subarray(cut - ESCAPE_BYTES, cut).lastIndexOf(BACKSLASH)
    if (at < 0) return cut
    const escape = cut - ESCAPE_BYTES + at
    if (this.backslashesBefore(escape + 1, from) % 2 === 0) return cut
    const isUnicode = body[escape + 1] === SMALL_U
    const escapeEnd = escape + (isUnicode ? ESCAPE_BYTES : 2)
    return escapeEnd > cut ? escape : cut
  }

  private backslashesBefore(end: number, from: number): number {
    let at = end
    while (at > from && this.body[at - 1] === BACKSLASH) at--
    return end - at
  }

  private put(value: unknown): void {
    const frame = this.stack.at(-1)
    if (!frame) {
      this.result = value
      this.expected = 'nothing'
      return
    }
    this.expected = 'comma or end'
    if ('array' in frame) {
      if (frame.array.length >= this.shape.entries) {
        const { entries, limitName = 'MAX_BATCH_KEYS' } = this.shape
        const sentence = `An array in the body has more than ${entries} entries (${limitName}).`
        throw new RondoError('BAD_REQUEST', sentence)
      }
      frame.array.push(value)
    } else if (frame.name === '__proto__') {
      // An own property, as with JSON.parse.
      const own = { value, enumerable: true, configurable: true, writable: true }
      Object.defineProperty(frame.object, frame.name, own)
    } else frame.object[frame.name] = value
  }

  private wrong(why: string): RondoError {
    return new RondoError('BAD_REQUEST', `The body is not valid JSON: ${why}.`)
  }
}

function indexOrEnd(body: Buffer, from: number): number {
  const at = body.indexOf(QUOTE, from)
  return at < 0 ? body.length : at
}

/** Of numbers, true, false and null. */
function isWordByte(byte: number): boolean {
  const letter = byte | 0x20
  return (
    (byte >= 0x30 && byte <= 0x39) ||
    (letter >= 0x61 && letter <= 0x7a) ||
    byte === 0x2b ||
    byte === 0x2d ||
    byte === 0x2e
  )
}
