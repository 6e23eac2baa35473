/**
 * What can change in a memory node, as its log tells it. Each change is absolute: it says what is there afterwards, and
 * not what to do with what was there before. So applying one twice does no harm, which is what lets a snapshot be taken
 * while the node goes on changing (journal.ts).
 *
 *   change = kind 1 | fields …     numbers are big-endian; text and keys have their length before them (4 bytes)
 */

/** Whoever is told of changes: the log when they happen, and the node when they are read again. */
export interface Changes {
  /** @param endsAtMs by the clock of this machine, milliseconds since 1970; Infinity = without an end */
  set(name: string, bytes: Buffer, endsAtMs: number): void
  remove(name: string, evicted: boolean): void
  clear(): void
  hint(target: string, name: string, version: Buffer): void
  dropHint(target: string, name: string): void
  note(id: string, text: string, atMs: number): void
}

/** What is only read: told by files about themselves and about runs of the program. */
export interface Story extends Changes {
  about(file: AboutFile): void
  opened(run: AboutRun): void
  /** The node was closed in order: nothing was acknowledged that is not before this. */
  closed(): void
  evictedBefore(keys: number): void
  /** A snapshot is whole. */
  end(entries: number): void
}

export interface AboutFile {
  readonly node: string
  readonly generation: number
}

export interface AboutRun {
  readonly fsync: string
  /** What is before this may lack acknowledged writes, and no marker tells it yet. */
  readonly lost: boolean
}

const SET = 1
const REMOVE = 2
const EVICT = 3
const CLEAR = 4
const HINT = 5
const DROP_HINT = 6
const NOTE = 7
const ABOUT = 8
const OPENED = 9
const CLOSED = 10
const EVICTED_BEFORE = 11
const END = 12

const FIRST_BYTES = 64 * 1024
/** A buffer that had to grow beyond this is not kept. */
const KEPT_BYTES = 1024 * 1024

/** Writes changes, one after the other, into a buffer that grows. */
export class ChangeWriter implements Story {
  bytes = Buffer.allocUnsafeSlow(FIRST_BYTES)
  length = 0

  set(name: string, bytes: Buffer, endsAtMs: number): void {
    this.kind(SET, 17 + name.length + bytes.length)
    this.length = this.bytes.writeDoubleBE(endsAtMs, this.length)
    this.text(name)
    this.length = this.bytes.writeUInt32BE(bytes.length, this.length)
    this.length += bytes.copy(this.bytes, this.length)
  }

  remove(name: string, evicted: boolean): void {
    this.kind(evicted ? EVICT : REMOVE, 5 + name.length)
    this.text(name)
  }

  clear(): void {
    this.kind(CLEAR, 1)
  }

  hint(target: string, name: string, version: Buffer): void {
    this.texts(HINT, target, name, version.toString('latin1'))
  }

  dropHint(target: string, name: string): void {
    this.texts(DROP_HINT, target, name)
  }

  note(id: string, text: string, atMs: number): void {
    this.texts(NOTE, utf8(id), utf8(text), String(atMs))
  }

  about(file: AboutFile): void {
    this.texts(ABOUT, utf8(JSON.stringify(file)))
  }

  opened(run: AboutRun): void {
    this.texts(OPENED, utf8(JSON.stringify(run)))
  }

  closed(): void {
    this.kind(CLOSED, 1)
  }

  evictedBefore(keys: number): void {
    this.texts(EVICTED_BEFORE, String(keys))
  }

  end(entries: number): void {
    this.texts(END, String(entries))
  }

  /** Room for `bytes` more. */
  reserve(bytes: number): void {
    const needed = this.length + bytes
    if (needed <= this.bytes.length) return
    const larger = Buffer.allocUnsafeSlow(Math.max(needed, 2 * this.bytes.length))
    this.bytes.copy(larger, 0, 0, this.length)
    this.bytes = larger
  }

  reset(): void {
    this.length = 0
    if (this.bytes.length > KEPT_BYTES) this.bytes = Buffer.allocUnsafeSlow(FIRST_BYTES)
  }

  private kind(kind: number, bytes: number): void {
    this.reserve(bytes)
    this.bytes[this.length++] = kind
  }

  private texts(kind: number, ...texts: readonly string[]): void {
    this.kind(
      kind,
      texts.reduce((sum, text) => sum + 4 + text.length, 1),
    )
    for (const text of texts) this.text(text)
  }

  private text(text: string): void {
    this.length = this.bytes.writeUInt32BE(text.length, this.length)
    this.length += this.bytes.write(text, this.length, 'latin1')
  }
}

/** Tells what stands in these bytes. @throws Error if they are no changes */
export function tellChanges(bytes: Buffer, to: Story): void {
  const reader = new Reader(bytes)
  while (!reader.isAtEnd) tellOne(reader, to)
}

function tellOne(reader: Reader, to: Story): void {
  const kind = reader.byte()
  switch (kind) {
    case SET: {
      const endsAtMs = reader.double()
      return to.set(reader.text(), Buffer.from(reader.slice()), endsAtMs)
    }
    case REMOVE:
    case EVICT:
      return to.remove(reader.text(), kind === EVICT)
    case CLEAR:
      return to.clear()
    case HINT:
      return to.hint(reader.text(), reader.text(), Buffer.from(reader.slice()))
    case DROP_HINT:
      return to.dropHint(reader.text(), reader.text())
    case NOTE:
      return to.note(reader.utf8(), reader.utf8(), Number(reader.text()))
    case ABOUT:
      return to.about(JSON.parse(reader.utf8()) as AboutFile)
    case OPENED:
      return to.opened(JSON.parse(reader.utf8()) as AboutRun)
    case CLOSED:
      return to.closed()
    case EVICTED_BEFORE:
      return to.evictedBefore(Number(reader.text()))
    case END:
      return to.end(Number(reader.text()))
    default:
      throw new Error(`no change is of kind ${kind}`)
  }
}

class Reader {
  private readonly bytes: Buffer
  private at = 0

  constructor(bytes: Buffer) {
    this.bytes = bytes
  }

  get isAtEnd(): boolean {
    return this.at >= this.bytes.length
  }

  byte(): number {
    return this.bytes.readUInt8(this.at++)
  }

  double(): number {
    this.at += 8
    return this.bytes.readDoubleBE(this.at - 8)
  }

  slice(): Buffer {
    const length = this.bytes.readUInt32BE(this.at)
    const from = this.at + 4
    if (from + length > this.bytes.length) throw new Error('a change is longer than its frame')
    this.at = from + length
    return this.bytes.subarray(from, this.at)
  }

  text(): string {
    return this.slice().toString('latin1')
  }

  utf8(): string {
    return this.slice().toString('utf8')
  }
}

/** Texts are written as latin1: one character for each byte. */
function utf8(text: string): string {
  return Buffer.from(text, 'utf8').toString('latin1')
}
