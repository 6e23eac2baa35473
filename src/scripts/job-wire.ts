/**
 * Runs of scripts, and what they come to, as bytes between the two threads, big-endian. Numbers that may be large are
 * doubles, as they are in both threads; a text is its length (32 bits) and its bytes; several are their number before that.
 *
 *   jobs      number of scripts, each: sha, source, whether it is a function (8 bits), its name
 *             number of jobs, each: place of its script, keys, arguments, whether it only reads (8 bits), names of the
 *             stored keys, for each of them what it holds, time, seed, settings
 *   outcome   reply (reply-wire.ts); number of results, each what is stored; NOTHING_NEXT in place of their number: none
 *   held      0 unchanged, 1 nothing, or 2 and flags (8 bits each); expiry; value; kind (8 bits), tags, as the flags say
 *
 * Both sides are ours: nothing is checked.
 */
import type { Code, Job, JobSettings } from '../commands/scripts/api.ts'
import type { Held } from '../commands/step.ts'

const FIRST_BYTES = 512
const NOTHING_NEXT = 0xffffffff
const UNCHANGED = 0
const NOTHING = 1
const VALUE = 2
const HAS_KIND = 1
const HAS_TAGS = 2

export class JobWriter {
  /** Of its own memory: that of the pool cannot be handed to another thread. */
  private bytes = Buffer.allocUnsafeSlow(FIRST_BYTES)
  private length = 0

  /** @param form the first byte */
  constructor(form: number) {
    this.byte(form)
  }

  jobs(jobs: readonly Job[]): Buffer {
    const codes: Code[] = []
    const places = jobs.map(({ code }) => {
      const known = codes.findIndex((one) => one.sha === code.sha && one.functionName === code.functionName)
      return known === -1 ? codes.push(code) - 1 : known
    })
    this.number(codes.length)
    for (const code of codes) this.code(code)
    this.number(jobs.length)
    for (const [i, job] of jobs.entries()) this.job(job, places[i]!)
    return this.written
  }

  /** @param reply in its own form */
  stepped(reply: Buffer, next: readonly (Held | null | undefined)[] | undefined): Buffer {
    this.text(reply)
    this.number(next?.length ?? NOTHING_NEXT)
    for (const held of next ?? []) this.held(held)
    return this.written
  }

  private get written(): Buffer {
    return this.bytes.subarray(0, this.length)
  }

  private code({ sha, source, functionName }: Code): void {
    this.text(Buffer.from(sha, 'latin1'))
    this.text(source)
    this.byte(functionName === null ? 0 : 1)
    this.text(Buffer.from(functionName ?? ''))
  }

  private job({ keys, args, readOnly, stored, held, nowMs, seed, settings }: Job, code: number): void {
    this.number(code)
    this.texts(keys)
    this.texts(args)
    this.byte(readOnly ? 1 : 0)
    this.texts(stored)
    for (const one of held) this.held(one)
    this.double(nowMs)
    this.double(seed)
    this.double(settings.database)
    this.double(settings.databases)
    this.double(settings.defaultTtlMs)
    this.double(settings.maxValueBytes)
    this.double(settings.maxKeyBytes)
    this.double(settings.maxCommandBytes)
    this.double(settings.maxReplyBytes)
  }

  private held(held: Held | null | undefined): void {
    if (!held) {
      this.byte(held === null ? NOTHING : UNCHANGED)
      return
    }
    const { value, expiresAtMs, kind, tags } = held
    this.byte(VALUE)
    this.byte((kind === undefined ? 0 : HAS_KIND) | (tags ? HAS_TAGS : 0))
    this.double(expiresAtMs)
    this.text(value)
    if (kind !== undefined) this.byte(kind)
    if (tags) this.text(tags)
  }

  private texts(texts: readonly Buffer[]): void {
    this.number(texts.length)
    for (const text of texts) this.text(text)
  }

  private text(text: Buffer): void {
    this.room(4 + text.length)
    this.length = this.bytes.writeUInt32BE(text.length, this.length)
    this.bytes.set(text, this.length)
    this.length += text.length
  }

  private number(value: number): void {
    this.room(4)
    this.length = this.bytes.writeUInt32BE(value, this.length)
  }

  private double(value: number): void {
    this.room(8)
    this.length = this.bytes.writeDoubleBE(value, this.length)
  }

  private byte(value: number): void {
    this.room(1)
    this.bytes[this.length++] = value
  }

  private room(bytes: number): void {
    if (this.length + bytes <= this.bytes.length) return
    const grown = Buffer.allocUnsafeSlow(Math.max(this.length + bytes, 2 * this.bytes.length))
    this.bytes.copy(grown, 0, 0, this.length)
    this.bytes = grown
  }
}

/** Texts are views of the bytes. */
export class JobReader {
  private readonly bytes: Buffer
  private at = 0

  /** @param bytes behind the first one */
  constructor(bytes: Buffer) {
    this.bytes = bytes
  }

  jobs(): Job[] {
    const codes = this.many(() => this.code())
    return this.many(() => this.job(codes[this.number()]!))
  }

  stepped(): { readonly reply: Buffer; readonly next: (Held | null | undefined)[] | null } {
    const reply = this.text()
    const count = this.number()
    return { reply, next: count === NOTHING_NEXT ? null : this.all(count, () => this.held()) }
  }

  private code(): Code {
    const sha = this.text().toString('latin1')
    const source = this.text()
    const isFunction = this.byte() === 1
    const name = this.text().toString()
    return { sha, source, functionName: isFunction ? name : null }
  }

  private job(code: Code): Job {
    const keys = this.texts()
    const args = this.texts()
    const readOnly = this.byte() === 1
    const stored = this.texts()
    const held = this.all(stored.length, () => this.held() ?? null)
    const nowMs = this.double()
    const seed = this.double()
    return { code, keys, args, readOnly, stored, held, nowMs, seed, settings: this.settings() }
  }

  private settings(): JobSettings {
    return {
      database: this.double(),
      databases: this.double(),
      defaultTtlMs: this.double(),
      maxValueBytes: this.double(),
      maxKeyBytes: this.double(),
      maxCommandBytes: this.double(),
      maxReplyBytes: this.double(),
    }
  }

  private held(): Held | null | undefined {
    const form = this.byte()
    if (form !== VALUE) return form === NOTHING ? null : undefined
    const flags = this.byte()
    const expiresAtMs = this.double()
    const value = this.text()
    if (flags === 0) return { value, expiresAtMs }
    return {
      value,
      expiresAtMs,
      ...((flags & HAS_KIND) !== 0 && { kind: this.byte() }),
      ...((flags & HAS_TAGS) !== 0 && { tags: this.text() }),
    }
  }

  private texts(): Buffer[] {
    return this.many(() => this.text())
  }

  private many<T>(read: () => T): T[] {
    return this.all(this.number(), read)
  }

  private all<T>(count: number, read: () => T): T[] {
    const items: T[] = []
    for (let i = 0; i < count; i++) items.push(read())
    return items
  }

  private text(): Buffer {
    const from = this.at + 4
    this.at = from + this.bytes.readUInt32BE(this.at)
    return this.bytes.subarray(from, this.at)
  }

  private number(): number {
    this.at += 4
    return this.bytes.readUInt32BE(this.at - 4)
  }

  private double(): number {
    this.at += 8
    return this.bytes.readDoubleBE(this.at - 8)
  }

  private byte(): number {
    return this.bytes[this.at++]!
  }
}
