/**
 * Values as bytes between TypeScript and glue.c, in the machine's order (little-endian): a tag, then
 *
 *   n t f      null, true, false
 *   i          an integer: a double on the way in, 64 bits on the way out
 *   $ + - (    bulk, status, error, big number: length (32 bits), bytes
 *   ,          a double: 64 bits; on the way out its text follows
 *   =          verbatim: three bytes of format, length, bytes
 *   * ~ %      array, set, map: count (32 bits), items
 *
 * Both sides are ours, so nothing is checked here: whoever calls has checked the sizes.
 */
import {
  LuaBigNumber,
  LuaDouble,
  LuaError,
  LuaMap,
  LuaSet,
  LuaStatus,
  LuaVerbatim,
  type LuaReply,
} from './values.ts'

const FIRST_BYTES = 1024
const TAG = {
  null: 0x6e,
  true: 0x74,
  false: 0x66,
  integer: 0x69,
  bulk: 0x24,
  status: 0x2b,
  error: 0x2d,
  bigNumber: 0x28,
  double: 0x2c,
  verbatim: 0x3d,
  array: 0x2a,
  set: 0x7e,
  map: 0x25,
} as const

/** Collects bytes; used again and again. */
export class Writer {
  private bytes = Buffer.allocUnsafe(FIRST_BYTES)
  private length = 0

  /** What was written since the last `clear`; valid until the next write. */
  get written(): Buffer {
    return this.bytes.subarray(0, this.length)
  }

  /** @param keptBytes a larger buffer is given back */
  clear(keptBytes: number): void {
    this.length = 0
    if (this.bytes.length > keptBytes) this.bytes = Buffer.allocUnsafe(FIRST_BYTES)
  }

  text(text: Buffer): void {
    this.room(4 + text.length)
    this.length = this.bytes.writeUInt32LE(text.length, this.length)
    this.length += text.copy(this.bytes, this.length)
  }

  texts(texts: readonly Buffer[]): void {
    for (const text of texts) this.text(text)
  }

  /** @param resp RESP2 has neither maps, sets, doubles nor booleans: they become what RESP2 has for them */
  reply(reply: LuaReply, resp: 2 | 3): void {
    if (Buffer.isBuffer(reply)) this.tagged(TAG.bulk, reply)
    else if (typeof reply === 'number' || typeof reply === 'bigint') this.integer(Number(reply))
    else if (reply === null) this.tag(TAG.null)
    else if (typeof reply === 'boolean') this.boolean(reply, resp)
    else if (reply instanceof LuaStatus) this.tagged(TAG.status, reply.text)
    else if (reply instanceof LuaError) this.tagged(TAG.error, reply.text)
    else if (reply instanceof LuaMap) this.map(reply, resp)
    else if (reply instanceof LuaSet) this.items(resp === 3 ? TAG.set : TAG.array, reply.items, resp)
    else if (reply instanceof LuaDouble) this.double(reply, resp)
    else if (reply instanceof LuaBigNumber) this.tagged(resp === 3 ? TAG.bigNumber : TAG.bulk, reply.digits)
    else if (reply instanceof LuaVerbatim) this.verbatim(reply, resp)
    else this.items(TAG.array, reply, resp)
  }

  private boolean(value: boolean, resp: 2 | 3): void {
    if (resp === 2) this.integer(value ? 1 : 0)
    else this.tag(value ? TAG.true : TAG.false)
  }

  private map({ entries }: LuaMap, resp: 2 | 3): void {
    this.count(resp === 3 ? TAG.map : TAG.array, resp === 3 ? entries.length : 2 * entries.length)
    for (const [key, value] of entries) {
      this.reply(key, resp)
      this.reply(value, resp)
    }
  }

  private items(tag: number, items: readonly LuaReply[], resp: 2 | 3): void {
    this.count(tag, items.length)
    for (const item of items) this.reply(item, resp)
  }

  private double({ value, text }: LuaDouble, resp: 2 | 3): void {
    if (resp === 2) {
      this.tagged(TAG.bulk, Buffer.from(text))
      return
    }
    this.tag(TAG.double)
    this.room(8)
    this.length = this.bytes.writeDoubleLE(value, this.length)
  }

  private verbatim({ format, text }: LuaVerbatim, resp: 2 | 3): void {
    if (resp === 2) {
      this.tagged(TAG.bulk, text)
      return
    }
    this.tag(TAG.verbatim)
    this.room(3)
    this.length += this.bytes.write(format.padEnd(3).slice(0, 3), this.length, 'latin1')
    this.text(text)
  }

  private integer(value: number): void {
    this.tag(TAG.integer)
    this.room(8)
    this.length = this.bytes.writeDoubleLE(value, this.length)
  }

  private tagged(tag: number, text: Buffer): void {
    this.tag(tag)
    this.text(text)
  }

  private count(tag: number, count: number): void {
    this.tag(tag)
    this.room(4)
    this.length = this.bytes.writeUInt32LE(count, this.length)
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

/** Reads what glue.c wrote. Texts are copied: the memory belongs to the next run. */
export class Reader {
  private readonly bytes: Buffer
  private at = 0

  constructor(bytes: Buffer) {
    this.bytes = bytes
  }

  get isAtEnd(): boolean {
    return this.at === this.bytes.length
  }

  u32(): number {
    this.at += 4
    return this.bytes.readUInt32LE(this.at - 4)
  }

  text(): Buffer {
    const length = this.u32()
    this.at += length
    return Buffer.from(this.bytes.subarray(this.at - length, this.at))
  }

  /** A text, or null. */
  optionalText(): Buffer | null {
    return this.bytes[this.at++] === TAG.bulk ? this.text() : null
  }

  reply(): LuaReply {
    const tag = this.bytes[this.at++]
    switch (tag) {
      case TAG.bulk:
        return this.text()
      case TAG.integer:
        return this.integer()
      case TAG.null:
        return null
      case TAG.true:
      case TAG.false:
        return tag === TAG.true
      case TAG.status:
        return new LuaStatus(this.text())
      case TAG.error:
        return new LuaError(this.text())
      case TAG.double:
        return this.double()
      case TAG.bigNumber:
        return new LuaBigNumber(this.text())
      case TAG.verbatim:
        this.at += 3
        return new LuaVerbatim(this.bytes.toString('latin1', this.at - 3, this.at), this.text())
      case TAG.map:
        return new LuaMap(Array.from({ length: this.u32() }, () => [this.reply(), this.reply()] as const))
      case TAG.set:
        return new LuaSet(this.items())
      case TAG.array:
        return this.items()
      default:
        throw new Error(`lua: unknown tag ${tag}`)
    }
  }

  private items(): LuaReply[] {
    const count = this.u32()
    const items: LuaReply[] = []
    for (let i = 0; i < count; i++) items.push(this.reply())
    return items
  }

  private integer(): number | bigint {
    this.at += 8
    const value = this.bytes.readBigInt64LE(this.at - 8)
    const number = Number(value)
    return Number.isSafeInteger(number) ? number : value
  }

  private double(): LuaDouble {
    this.at += 8
    return new LuaDouble(this.bytes.readDoubleLE(this.at - 8), this.text().toString('latin1'))
  }
}
