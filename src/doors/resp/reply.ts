/**
 * Replies of the Redis protocol, as values and as bytes. RESP2 has no nulls, maps or doubles of their own: there they
 * become what Redis 7 sends to such a client.
 */

/** A simple string: `+OK`. */
export class Simple {
  readonly text: string
  constructor(text: string) {
    this.text = text
  }
}

/** An error: its first word says what kind it is (`ERR`, `WRONGTYPE`), the rest is for people. */
export class RespError {
  readonly text: string
  constructor(text: string) {
    this.text = text
  }
}

/** Field and value in turn; an array to RESP2. */
export class RespMap {
  readonly entries: readonly (readonly [Reply, Reply])[]
  constructor(entries: readonly (readonly [Reply, Reply])[]) {
    this.entries = entries
  }
}

/** A set to RESP3, an array to RESP2. */
export class RespSet {
  readonly items: readonly Reply[]
  constructor(items: readonly Reply[]) {
    this.items = items
  }
}

/** A reply that is always the same: encoded once, for each protocol in which it is asked for. */
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

/** A null where RESP2 has an array (`*-1`): an EXEC that WATCH has stopped. */
export const NULL_ARRAY = Symbol('null array')

/** Text for people of several lines (INFO): a verbatim string to RESP3, a bulk to RESP2. */
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

/** The reply's bytes. Large bulks are copied once, here. */
export function encodeReply(reply: Reply, protocol: Protocol): Buffer {
  const parts: Buffer[] = []
  write(reply, protocol, parts)
  return parts.length === 1 ? parts[0]! : Buffer.concat(parts)
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
  } else if (reply instanceof RespMap) {
    const { entries } = reply
    parts.push(Buffer.from(protocol === 3 ? `%${entries.length}\r\n` : `*${entries.length * 2}\r\n`))
    for (const [field, value] of entries) {
      write(field, protocol, parts)
      write(value, protocol, parts)
    }
  } else {
    const items = reply instanceof RespSet ? reply.items : reply
    const mark = reply instanceof RespSet && protocol === 3 ? '~' : '*'
    parts.push(Buffer.from(`${mark}${items.length}\r\n`))
    for (const item of items) write(item, protocol, parts)
  }
}

function writeBulk(bytes: Buffer, parts: Buffer[]): void {
  parts.push(Buffer.from(`$${bytes.length}\r\n`), bytes, CRLF)
}

/** What a client sent may stand in an error: nothing of it may end the line. As in Redis, line ends at the end are dropped. */
function oneLine(text: string): string {
  let end = text.length
  while (end > 0 && (text[end - 1] === '\n' || text[end - 1] === '\r')) end--
  return text.slice(0, end).replace(/[\r\n\0]/g, ' ')
}
