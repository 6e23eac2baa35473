/**
 * Replies of the Redis protocol, as values and as bytes. RESP2 has no null, map or double types: these are encoded as
 * Redis 7 does for such a client.
 */
import type { Sliced } from '../core/work.ts'

/** A simple string: `+OK`. */
export class Simple {
  readonly text: string
  constructor(text: string) {
    this.text = text
  }
}

/** An error: the first word is its code (`ERR`, `WRONGTYPE`), the rest a message. */
export class RespError {
  readonly text: string
  /** A failure on our side, or of the nodes: over HTTP a status of 500 or more. */
  readonly isFailure: boolean
  constructor(text: string, isFailure = false) {
    this.text = text
    this.isFailure = isFailure
  }
}

/** Pairs of field and value; an array in RESP2. */
export class RespMap {
  readonly entries: readonly (readonly [Reply, Reply])[]
  constructor(entries: readonly (readonly [Reply, Reply])[]) {
    this.entries = entries
  }
}

/** A set in RESP3, an array in RESP2. */
export class RespSet {
  readonly items: readonly Reply[]
  constructor(items: readonly Reply[]) {
    this.items = items
  }
}

/** A constant reply, encoded once per protocol. */
export class Constant {
  private readonly reply: Reply
  private readonly encoded: Partial<Record<Protocol, Buffer>> = {}

  constructor(reply: Reply) {
    this.reply = reply
  }

  bytes(protocol: Protocol): Buffer {
    return (this.encoded[protocol] ??= encodeReply(this.reply, protocol))
  }
}

/** A null array in RESP2 (`*-1`): an EXEC that WATCH has stopped. */
export const NULL_ARRAY = Symbol('null array')

/** Text of several lines (INFO): a verbatim string in RESP3, a bulk in RESP2. */
export class Verbatim {
  readonly text: string
  constructor(text: string) {
    this.text = text
  }
}

/** null is the null bulk (`$-1`), a number or bigint an integer, a Buffer or string a bulk. */
export type Reply =
  | Buffer
  | string
  | number
  | bigint
  | null
  | typeof NULL_ARRAY
  | Simple
  | RespError
  | RespMap
  | RespSet
  | Verbatim
  | Constant
  | readonly Reply[]

export type Protocol = 2 | 3

export const OK = new Simple('OK')

const CRLF = Buffer.from('\r\n')
const NULL_3 = Buffer.from('_\r\n')
const NULL_BULK_2 = Buffer.from('$-1\r\n')
const NULL_ARRAY_2 = Buffer.from('*-1\r\n')

/** Replies with more elements are encoded in slices. */
const LONG = 1000
const ELEMENTS_A_PIECE = 128
const UNITS_A_PIECE = 32

/** Whether encoding takes long, because there are many elements, nested ones included. */
export function isLong(reply: Reply): boolean {
  return elementsWithin(reply, LONG) > LONG
}

/** The number of elements of a reply; counting stops above `limit`. */
function elementsWithin(reply: Reply, limit: number): number {
  const items = itemsOf(reply)
  if (!items) return 1
  let count = items.length
  for (let i = 0; i < items.length && count <= limit; i++)
    count += elementsWithin(items[i]!, limit - count) - 1
  return count
}

/** Null if it is not an aggregate. */
function itemsOf(reply: Reply): readonly Reply[] | null {
  if (reply instanceof RespMap) return reply.entries.flat()
  if (reply instanceof RespSet) return reply.items
  return Array.isArray(reply) ? (reply as readonly Reply[]) : null
}

/** The same bytes as encodeReply's, in parts. */
export function* encodeInSlices(reply: Reply, protocol: Protocol): Sliced<Buffer[]> {
  const whole: Buffer[] = []
  let parts: Buffer[] = []
  let elements = 0
  // The remaining elements of open aggregates, the innermost last.
  const open = [[reply].values() as Iterator<Reply>]
  while (open.length > 0) {
    const next = open.at(-1)!.next()
    if (next.done) {
      open.pop()
      continue
    }
    const items = itemsOf(next.value)
    if (items) {
      parts.push(headOf(next.value, items.length, protocol))
      open.push(items.values())
    } else write(next.value, protocol, parts)
    if (++elements % ELEMENTS_A_PIECE !== 0) continue
    whole.push(Buffer.concat(parts))
    parts = []
    yield UNITS_A_PIECE
  }
  whole.push(Buffer.concat(parts))
  return whole
}

/** @param items number of elements; a map counts fields and values */
function headOf(reply: Reply, items: number, protocol: Protocol): Buffer {
  if (protocol === 3 && reply instanceof RespMap) return Buffer.from(`%${items / 2}\r\n`)
  return Buffer.from(`${protocol === 3 && reply instanceof RespSet ? '~' : '*'}${items}\r\n`)
}

/** The reply's bytes. */
export function encodeReply(reply: Reply, protocol: Protocol): Buffer {
  const parts = encodeParts(reply, protocol)
  return parts.length === 1 ? parts[0]! : Buffer.concat(parts)
}

/** The reply's bytes in parts; bulks are not copied. */
export function encodeParts(reply: Reply, protocol: Protocol): Buffer[] {
  const parts: Buffer[] = []
  write(reply, protocol, parts)
  return parts
}

function write(reply: Reply, protocol: Protocol, parts: Buffer[]): void {
  if (reply === null) parts.push(protocol === 3 ? NULL_3 : NULL_BULK_2)
  else if (reply === NULL_ARRAY) parts.push(protocol === 3 ? NULL_3 : NULL_ARRAY_2)
  else if (typeof reply === 'number' || typeof reply === 'bigint') parts.push(Buffer.from(`:${reply}\r\n`))
  else if (typeof reply === 'string') writeBulk(Buffer.from(reply), parts)
  else if (Buffer.isBuffer(reply)) writeBulk(reply, parts)
  else if (reply instanceof Simple) parts.push(Buffer.from(`+${oneLine(reply.text)}\r\n`))
  else if (reply instanceof RespError) parts.push(Buffer.from(`-${oneLine(reply.text)}\r\n`))
  else if (reply instanceof Constant) parts.push(reply.bytes(protocol))
  else if (reply instanceof Verbatim) {
    const text = protocol === 3 ? `txt:${reply.text}` : reply.text
    const bytes = Buffer.from(text)
    parts.push(Buffer.from(`${protocol === 3 ? '=' : '$'}${bytes.length}\r\n`), bytes, CRLF)
  } else {
    const items = itemsOf(reply)!
    parts.push(headOf(reply, items.length, protocol))
    for (const item of items) write(item, protocol, parts)
  }
}

function writeBulk(bytes: Buffer, parts: Buffer[]): void {
  parts.push(Buffer.from(`$${bytes.length}\r\n`), bytes, CRLF)
}

/** An error may contain client input, which must not end the line. As in Redis, trailing line ends are dropped. */
function oneLine(text: string): string {
  let end = text.length
  while (end > 0 && (text[end - 1] === '\n' || text[end - 1] === '\r')) end--
  return text.slice(0, end).replace(/[\r\n\0]/g, ' ')
}
