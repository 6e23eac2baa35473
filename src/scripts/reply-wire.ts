/**
 * A reply as bytes between the two threads, big-endian:
 *
 *   0 n t f    null, null array, true, false
 *   i          an integer, 64 bits
 *   $ + - (    bulk, status, error, big number: length (32 bits), bytes
 *   , =        double: 64 bits; verbatim: three bytes of format; then length and bytes of the text
 *   * ~ %      array, set, map: count of elements (32 bits; a map has fields and values in turn), the place behind each
 *              element (32 bits, from the first one on), elements
 *
 * By the places any element is found without reading those before it. Both sides are ours: nothing is checked.
 */
import {
  Big,
  Bool,
  Double,
  Lazy,
  NULL_ARRAY,
  RespError,
  RespMap,
  RespSet,
  Simple,
  Verbatim,
  type LazyItems,
  type Reply,
} from '../commands/reply.ts'

/** Up to so many bytes a reply is read at once. */
const SHORT_BYTES = 16 * 1024
const FIRST_BYTES = 256
const FORMAT_BYTES = 3

const TAG = {
  null: 0x30,
  nullArray: 0x6e,
  true: 0x74,
  false: 0x66,
  integer: 0x69,
  bulk: 0x24,
  status: 0x2b,
  error: 0x2d,
  big: 0x28,
  double: 0x2c,
  verbatim: 0x3d,
  array: 0x2a,
  set: 0x7e,
  map: 0x25,
} as const

export class ReplyWriter {
  private bytes = Buffer.allocUnsafe(FIRST_BYTES)
  private length = 0

  /** Of a reply that a script can answer. */
  written(reply: Reply): Buffer {
    this.write(reply)
    return this.bytes.subarray(0, this.length)
  }

  private write(reply: Reply): void {
    if (reply === null) this.tag(TAG.null)
    else if (reply === NULL_ARRAY) this.tag(TAG.nullArray)
    else if (typeof reply === 'number' || typeof reply === 'bigint') this.integer(BigInt(reply))
    else if (Buffer.isBuffer(reply)) this.text(TAG.bulk, reply)
    else if (typeof reply === 'string') this.text(TAG.bulk, Buffer.from(reply))
    else if (reply instanceof Simple) this.text(TAG.status, Buffer.from(reply.text))
    else if (reply instanceof RespError) this.text(TAG.error, Buffer.from(reply.text))
    else if (reply instanceof Bool) this.tag(reply.value ? TAG.true : TAG.false)
    else if (reply instanceof Big) this.text(TAG.big, Buffer.from(reply.digits))
    else if (reply instanceof Double) this.double(reply)
    else if (reply instanceof Verbatim) this.verbatim(reply)
    else if (reply instanceof RespMap) this.elements(TAG.map, reply.entries.flat())
    else if (reply instanceof RespSet) this.elements(TAG.set, reply.items)
    else if (Array.isArray(reply)) this.elements(TAG.array, reply as readonly Reply[])
    else throw new Error('a script cannot answer this')
  }

  private integer(value: bigint): void {
    this.tag(TAG.integer)
    this.room(8)
    this.length = this.bytes.writeBigInt64BE(value, this.length)
  }

  private double({ value, text }: Double): void {
    this.tag(TAG.double)
    this.room(8)
    this.length = this.bytes.writeDoubleBE(value, this.length)
    this.counted(Buffer.from(text))
  }

  private verbatim({ format, text }: Verbatim): void {
    this.tag(TAG.verbatim)
    this.room(FORMAT_BYTES)
    this.length += this.bytes.write(format.padEnd(FORMAT_BYTES), this.length, FORMAT_BYTES, 'latin1')
    this.counted(Buffer.from(text))
  }

  private elements(tag: number, items: readonly Reply[]): void {
    this.tag(tag)
    this.room(4 + 4 * items.length)
    let place = this.bytes.writeUInt32BE(items.length, this.length)
    const first = (this.length = place + 4 * items.length)
    for (const item of items) {
      this.write(item)
      place = this.bytes.writeUInt32BE(this.length - first, place)
    }
  }

  private text(tag: number, text: Buffer): void {
    this.tag(tag)
    this.counted(text)
  }

  private counted(text: Buffer): void {
    this.room(4 + text.length)
    this.length = this.bytes.writeUInt32BE(text.length, this.length)
    this.length += text.copy(this.bytes, this.length)
  }

  private tag(tag: number): void {
    this.room(1)
    this.bytes[this.length++] = tag
  }

  private room(bytes: number): void {
    if (this.length + bytes <= this.bytes.length) return
    const grown = Buffer.allocUnsafe(Math.max(this.length + bytes, 2 * this.bytes.length))
    this.bytes.copy(grown, 0, 0, this.length)
    this.bytes = grown
  }
}

export function replyIn(bytes: Buffer): Reply {
  return replyAt(bytes, 0, bytes.length, bytes.length > SHORT_BYTES)
}

/** The one from here to there. @param isLong what is in it is read when it is looked at */
function replyAt(bytes: Buffer, at: number, end: number, isLong: boolean): Reply {
  const text = (from: number) => bytes.subarray(at + 5 + from, end)
  switch (bytes[at]) {
    case TAG.null:
      return null
    case TAG.nullArray:
      return NULL_ARRAY
    case TAG.true:
    case TAG.false:
      return new Bool(bytes[at] === TAG.true)
    case TAG.integer:
      return integerOf(bytes.readBigInt64BE(at + 1))
    case TAG.bulk:
      return text(0)
    case TAG.status:
      return new Simple(text(0).toString())
    case TAG.error:
      return new RespError(text(0).toString())
    case TAG.big:
      return new Big(text(0).toString())
    case TAG.double:
      return new Double(bytes.readDoubleBE(at + 1), text(8).toString())
    case TAG.verbatim:
      return new Verbatim(text(FORMAT_BYTES).toString(), bytes.toString('latin1', at + 1, at + 4))
    default:
      return aggregate(bytes[at]!, new Elements(bytes, at + 1, end, isLong), isLong)
  }
}

function integerOf(value: bigint): number | bigint {
  const number = Number(value)
  return Number.isSafeInteger(number) ? number : value
}

function aggregate(tag: number, elements: Elements, isLong: boolean): Reply {
  if (isLong) return new Lazy(tag === TAG.map ? 'map' : tag === TAG.set ? 'set' : 'array', elements)
  const items = Array.from(elements, (item) => item)
  if (tag === TAG.array) return items
  if (tag === TAG.set) return new RespSet(items)
  const pairs: [Reply, Reply][] = []
  for (let i = 0; i < items.length; i += 2) pairs.push([items[i]!, items[i + 1]!])
  return new RespMap(pairs)
}

class Elements implements LazyItems {
  readonly length: number
  readonly bytes: number
  private readonly buffer: Buffer
  private readonly places: number
  private readonly first: number
  private readonly isLong: boolean

  /** @param at of the count @param end of the last element */
  constructor(buffer: Buffer, at: number, end: number, isLong: boolean) {
    this.buffer = buffer
    this.length = buffer.readUInt32BE(at)
    this.places = at + 4
    this.first = this.places + 4 * this.length
    this.bytes = end - this.first
    this.isLong = isLong
  }

  item(i: number): Reply {
    const from = i === 0 ? 0 : this.placeBehind(i - 1)
    return replyAt(this.buffer, this.first + from, this.first + this.placeBehind(i), this.isLong)
  }

  private placeBehind(i: number): number {
    return this.buffer.readUInt32BE(this.places + 4 * i)
  }

  *[Symbol.iterator](): IterableIterator<Reply> {
    for (let i = 0; i < this.length; i++) yield this.item(i)
  }
}
