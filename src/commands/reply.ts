/**
 * Replies of the Redis protocol, as values and as bytes. RESP2 has no null, map or double types: these are encoded as
 * Redis 7 does for such a client.
 */
import type { RondoError } from '../core/errors.ts'
import type { Sliced } from '../core/work.ts'
import { formatDouble } from './doubles.ts'

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
  /** The coordinator's error that it tells of, for servers whose errors have codes. */
  readonly cause: RondoError | null
  constructor(text: string, isFailure = false, cause: RondoError | null = null) {
    this.text = text
    this.isFailure = isFailure
    this.cause = cause
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

/** A double; in RESP2 a bulk. */
export class Double {
  readonly value: number
  private readonly digits: string | null

  /** @param digits null = as few as give the same number */
  constructor(value: number, digits: string | null = null) {
    this.value = value
    this.digits = digits
  }

  get text(): string {
    return this.digits ?? formatDouble(this.value)
  }
}

/** Pairs: in RESP3 an array of arrays, in RESP2 one flat array. */
export class RespPairs {
  readonly pairs: readonly (readonly [Reply, Reply])[]
  constructor(pairs: readonly (readonly [Reply, Reply])[]) {
    this.pairs = pairs
  }
}

/** Names and what stands under them (XREAD): in RESP3 a map, in RESP2 an array of arrays. */
export class RespNamed {
  readonly entries: readonly (readonly [Reply, Reply])[]
  constructor(entries: readonly (readonly [Reply, Reply])[]) {
    this.entries = entries
  }
}

/** Texts that stand in one buffer. */
export interface PackedTexts {
  readonly bytes: Buffer
  readonly length: number
  /** About how long they are all together, if that is known without looking at each. */
  readonly textBytes?: number | undefined
  /** Where the text begins and ends. */
  from(i: number): number
  to(i: number): number
}

/** The texts of a collection, which are encoded without an object for each: many would hold up the garbage collector. */
export class Packed {
  readonly form: 'array' | 'set' | 'map'
  readonly texts: PackedTexts
  constructor(form: Packed['form'], texts: PackedTexts) {
    this.form = form
    this.texts = texts
  }
}

/** Items that are made when they are encoded, one by one. */
export interface LazyItems {
  readonly length: number
  /** About how long they are all together, if that is known without making them. */
  readonly bytes?: number
  item(i: number): Reply
  /** The bytes of the items from `from` up to, without, `to`, if they are the same in all protocols. */
  encoded?(from: number, to: number): Buffer
}

/**
 * A long array, set or map, of whose items never all exist together. Those of a map are its fields and values in turn. As
 * `pairs` each is a pair, which RESP2 has flat (RespPairs).
 */
export class Lazy {
  readonly form: 'array' | 'pairs' | 'set' | 'map'
  readonly items: LazyItems
  constructor(form: Lazy['form'], items: LazyItems) {
    this.form = form
    this.items = items
  }
}

function* itemsIn({ form, items }: Lazy, protocol: Protocol): IterableIterator<Reply> {
  const isFlat = form === 'pairs' && protocol === 2
  for (let i = 0; i < items.length; i++) {
    const item = items.item(i)
    if (isFlat) yield* item as readonly Reply[]
    else yield item
  }
}

function lengthOf({ form, items }: Lazy, protocol: Protocol): number {
  return form === 'pairs' && protocol === 2 ? 2 * items.length : items.length
}

/** A constant reply, encoded once per protocol. */
export class Constant {
  readonly reply: Reply
  private readonly encoded: Partial<Record<Protocol, Buffer>> = {}

  constructor(reply: Reply) {
    this.reply = reply
  }

  bytes(protocol: Protocol): Buffer {
    return (this.encoded[protocol] ??= encodeReply(this.reply, protocol))
  }
}

/** What a client is told without being asked, or several times for one command: pushes, in RESP2 arrays, one after the other. */
export class Pushes {
  readonly all: readonly (readonly Reply[])[]
  constructor(all: readonly (readonly Reply[])[]) {
    this.all = all
  }
}

/** A null array in RESP2 (`*-1`): an EXEC that WATCH has stopped. */
export const NULL_ARRAY = Symbol('null array')

/** Text of several lines (INFO): a verbatim string in RESP3, a bulk in RESP2. */
export class Verbatim {
  readonly text: string
  /** Three letters. */
  readonly format: string
  constructor(text: string, format = 'txt') {
    this.text = text
    this.format = format
  }
}

/** True or false in RESP3, 1 or 0 in RESP2. */
export class Bool {
  readonly value: boolean
  constructor(value: boolean) {
    this.value = value
  }
}

/** A whole number of any size in RESP3, a bulk in RESP2. */
export class Big {
  readonly digits: string
  constructor(digits: string) {
    this.digits = digits
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
  | RespPairs
  | RespNamed
  | Packed
  | Lazy
  | Double
  | Verbatim
  | Bool
  | Big
  | Pushes
  | Constant
  | readonly Reply[]

export type Protocol = 2 | 3

export const OK = new Simple('OK')

const CRLF = Buffer.from('\r\n')
const BOOLS = {
  2: { yes: Buffer.from(':1\r\n'), no: Buffer.from(':0\r\n') },
  3: { yes: Buffer.from('#t\r\n'), no: Buffer.from('#f\r\n') },
}
const NULL_3 = Buffer.from('_\r\n')
const NULL_BULK_2 = Buffer.from('$-1\r\n')
const NULL_ARRAY_2 = Buffer.from('*-1\r\n')

/** Replies with more elements are encoded in slices. */
const LONG = 1000
const ELEMENTS_A_PIECE = 128
const UNITS_A_PIECE = 32
/** Packed texts cost less. */
const TEXTS_AN_ELEMENT = 4
const TEXTS_A_PIECE = TEXTS_AN_ELEMENT * ELEMENTS_A_PIECE

/** Whether encoding takes long, because there are many elements, nested ones included. */
export function isLong(reply: Reply): boolean {
  return elementsWithin(reply, LONG) > LONG
}

/** The number of elements of a reply; counting stops above `limit`. */
function elementsWithin(reply: Reply, limit: number): number {
  if (reply instanceof Packed) return reply.texts.length
  if (reply instanceof Lazy && (reply.items.encoded || reply.items.length > limit)) return reply.items.length
  const items = itemsOf(reply, 2)
  if (!items) return 1
  let count = items.length
  for (let i = 0; i < items.length && count <= limit; i++)
    count += elementsWithin(items[i]!, limit - count) - 1
  return count
}

/** The elements of an array, set or map, as this protocol has them; null = it is none of them. */
export function itemsOf(reply: Reply, protocol: Protocol): readonly Reply[] | null {
  if (reply instanceof RespPairs) return protocol === 3 ? reply.pairs : reply.pairs.flat()
  if (reply instanceof RespNamed) return protocol === 3 ? reply.entries.flat() : reply.entries
  if (reply instanceof RespMap) return reply.entries.flat()
  if (reply instanceof RespSet) return reply.items
  if (reply instanceof Packed) return unpacked(reply.texts)
  if (reply instanceof Lazy) return [...itemsIn(reply, protocol)]
  return Array.isArray(reply) ? (reply as readonly Reply[]) : null
}

function unpacked(texts: PackedTexts): Buffer[] {
  return Array.from({ length: texts.length }, (_, i) => texts.bytes.subarray(texts.from(i), texts.to(i)))
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
    const { value } = next
    if (value instanceof Packed && value.texts.length > TEXTS_A_PIECE) {
      whole.push(...parts, headOf(value, value.texts.length, protocol))
      parts = []
      yield* textsInSlices(value.texts, whole)
      continue
    }
    if (value instanceof Lazy && value.items.encoded) {
      whole.push(...parts, headOf(value, value.items.length, protocol))
      parts = []
      yield* encodedInSlices(value.items, whole)
      continue
    }
    const inside = insideOf(value, protocol)
    if (inside) {
      parts.push(headOf(value, inside.length, protocol))
      open.push(inside.items)
    } else write(value, protocol, parts)
    elements += value instanceof Packed ? 1 + value.texts.length / TEXTS_AN_ELEMENT : 1
    if (elements < ELEMENTS_A_PIECE) continue
    elements = 0
    whole.push(Buffer.concat(parts))
    parts = []
    yield UNITS_A_PIECE
  }
  whole.push(Buffer.concat(parts))
  return whole
}

/** What is encoded element by element; null = the reply is encoded as a whole. */
function insideOf(
  reply: Reply,
  protocol: Protocol,
): { length: number; items: IterableIterator<Reply> } | null {
  return reply instanceof Packed ? null : elementsOf(reply, protocol)
}

/** As itemsOf, one by one: those of a Lazy exist only while they are looked at. */
export function elementsOf(
  reply: Reply,
  protocol: Protocol,
): { length: number; items: IterableIterator<Reply> } | null {
  if (reply instanceof Lazy) return { length: lengthOf(reply, protocol), items: itemsIn(reply, protocol) }
  const items = itemsOf(reply, protocol)
  return items && { length: items.length, items: items.values() }
}

function* textsInSlices(texts: PackedTexts, whole: Buffer[]): Sliced<void> {
  for (let from = 0; from < texts.length; from += TEXTS_A_PIECE) {
    whole.push(encodeTexts(texts, from, Math.min(from + TEXTS_A_PIECE, texts.length)))
    yield UNITS_A_PIECE
  }
}

function* encodedInSlices(items: LazyItems, whole: Buffer[]): Sliced<void> {
  for (let from = 0; from < items.length; from += ELEMENTS_A_PIECE) {
    whole.push(items.encoded!(from, Math.min(from + ELEMENTS_A_PIECE, items.length)))
    yield UNITS_A_PIECE
  }
}

/** @param items number of elements; a map counts fields and values */
function headOf(reply: Reply, items: number, protocol: Protocol): Buffer {
  const form = protocol === 2 ? 'array' : formOf(reply)
  if (form === 'map') return Buffer.from(`%${items / 2}\r\n`)
  return Buffer.from(`${form === 'set' ? '~' : '*'}${items}\r\n`)
}

function formOf(reply: Reply): Packed['form'] {
  if (reply instanceof Packed) return reply.form
  if (reply instanceof Lazy) return reply.form === 'pairs' ? 'array' : reply.form
  if (reply instanceof RespMap || reply instanceof RespNamed) return 'map'
  return reply instanceof RespSet ? 'set' : 'array'
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
  else if (reply instanceof Double) writeDouble(reply, protocol, parts)
  else if (reply instanceof Constant) parts.push(reply.bytes(protocol))
  else if (reply instanceof Pushes) {
    for (const items of reply.all) {
      parts.push(Buffer.from(`${protocol === 3 ? '>' : '*'}${items.length}\r\n`))
      for (const item of items) write(item, protocol, parts)
    }
  } else if (reply instanceof Packed) {
    const { texts } = reply
    parts.push(headOf(reply, texts.length, protocol), encodeTexts(texts, 0, texts.length))
  } else if (reply instanceof Lazy && reply.items.encoded) {
    const { items } = reply
    parts.push(headOf(reply, items.length, protocol), items.encoded!(0, items.length))
  } else if (reply instanceof Bool) parts.push(BOOLS[protocol][reply.value ? 'yes' : 'no'])
  else if (reply instanceof Big) writeBig(reply, protocol, parts)
  else if (reply instanceof Verbatim) {
    const text = protocol === 3 ? `${reply.format}:${reply.text}` : reply.text
    const bytes = Buffer.from(text)
    parts.push(Buffer.from(`${protocol === 3 ? '=' : '$'}${bytes.length}\r\n`), bytes, CRLF)
  } else {
    const items = itemsOf(reply, protocol)!
    parts.push(headOf(reply, items.length, protocol))
    for (const item of items) write(item, protocol, parts)
  }
}

const DOLLAR = 0x24
const CR = 13
const LF = 10
const ZERO = 0x30
/** The mark and two ends of line. */
const BULK_BYTES = 5
/** Up to so many bytes are copied faster here than by a call. */
const FEW_BYTES = 32

/** Bulks of the texts from `from` up to, without, `to`. */
function encodeTexts(texts: PackedTexts, from: number, to: number): Buffer {
  let bytes = 0
  for (let i = from; i < to; i++) {
    const length = texts.to(i) - texts.from(i)
    bytes += length + digitsOf(length) + BULK_BYTES
  }
  const target = Buffer.allocUnsafe(bytes)
  let at = 0
  for (let i = from; i < to; i++) at = putBulk(target, at, texts.bytes, texts.from(i), texts.to(i))
  return target
}

/** A bulk with these bytes of the source. @returns where it ends */
export function putBulk(target: Buffer, start: number, source: Buffer, from: number, to: number): number {
  const length = to - from
  let at = start
  target[at++] = DOLLAR
  const digits = digitsOf(length)
  for (let i = digits - 1, rest = length; i >= 0; i--, rest = Math.floor(rest / 10)) {
    target[at + i] = ZERO + (rest % 10)
  }
  at += digits
  target[at++] = CR
  target[at++] = LF
  if (length <= FEW_BYTES) for (let i = from; i < to; i++) target[at++] = source[i]!
  else at += source.copy(target, at, from, to)
  target[at++] = CR
  target[at++] = LF
  return at
}

function digitsOf(length: number): number {
  let digits = 1
  for (let rest = length; rest >= 10; rest = Math.floor(rest / 10)) digits++
  return digits
}

function writeBulk(bytes: Buffer, parts: Buffer[]): void {
  parts.push(Buffer.from(`$${bytes.length}\r\n`), bytes, CRLF)
}

function writeDouble({ text }: Double, protocol: Protocol, parts: Buffer[]): void {
  if (protocol === 3) parts.push(Buffer.from(`,${text}\r\n`))
  else writeBulk(Buffer.from(text), parts)
}

function writeBig({ digits }: Big, protocol: Protocol, parts: Buffer[]): void {
  if (protocol === 3) parts.push(Buffer.from(`(${digits}\r\n`))
  else writeBulk(Buffer.from(digits), parts)
}

/** An error may contain client input, which must not end the line. As in Redis, trailing line ends are dropped. */
function oneLine(text: string): string {
  let end = text.length
  while (end > 0 && (text[end - 1] === '\n' || text[end - 1] === '\r')) end--
  return text.slice(0, end).replace(/[\r\n\0]/g, ' ')
}
