/**
 * Reads one snapshot, a little at a time. It is opened once: what was checked is what is restored, also if the file is
 * replaced or deleted meanwhile.
 */
import { createHash } from 'node:crypto'
import { constants } from 'node:fs'
import { open, type FileHandle } from 'node:fs/promises'
import { pipeline } from 'node:stream/promises'
import { createGunzip, gunzipSync } from 'node:zlib'
import { DamagedSnapshot, MOST_FRAME_BYTES, parseEnd, parseHeader, type End } from './format.ts'

/** How a gzip member begins; the last one is found by it. */
const MEMBER = Buffer.from([0x1f, 0x8b, 0x08])
/** Longer than a last line can be, which hardly gets shorter by being compressed. */
const TAIL_BYTES = 2 * MOST_FRAME_BYTES
const READ_BYTES = 64 * 1024
const CHUNK_BYTES = 256 * 1024
const NEWLINE = 0x0a

/** A line that was skipped, because it is too long. */
export const TOO_LONG = Symbol('too long')

export class SnapshotFile {
  readonly fileBytes: number
  readonly end: End
  private readonly handle: FileHandle

  private constructor(handle: FileHandle, fileBytes: number, end: End) {
    this.handle = handle
    this.fileBytes = fileBytes
    this.end = end
  }

  /**
   * Reads its last line; nothing else is known to be right.
   *
   * @throws DamagedSnapshot, or the error of the file system
   */
  static async open(path: string): Promise<SnapshotFile> {
    // Not to wait for somebody who writes into a pipe of this name.
    const handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
    try {
      const found = await handle.stat()
      if (!found.isFile()) throw new DamagedSnapshot('it is not a file')
      return new SnapshotFile(handle, found.size, await endIn(handle, found.size))
    } catch (error) {
      await handle.close()
      throw error
    }
  }

  /**
   * Reads all of it, and compares it with what its last line says.
   *
   * @param onBytes is told how many bytes were looked at, not compressed
   * @throws DamagedSnapshot, or the error of the file system
   */
  async verify(signal: AbortSignal, onBytes: (bytes: number) => void): Promise<void> {
    const { end } = this
    const hash = createHash('sha256')
    const last: Buffer[] = []
    let [bytes, newlines] = [0, 0]
    for await (const chunk of this.chunks(signal)) {
      const own = chunk.subarray(0, Math.max(0, end.bytes - bytes))
      hash.update(own)
      for (let at = own.indexOf(NEWLINE); at >= 0; at = own.indexOf(NEWLINE, at + 1)) newlines++
      if (own.length < chunk.length) last.push(chunk.subarray(own.length))
      bytes += chunk.length
      if (bytes - end.bytes > MOST_FRAME_BYTES) throw new DamagedSnapshot('it goes on behind its end')
      onBytes(Math.min(bytes, end.bytes))
    }
    if (hash.digest('hex') !== end.sha256) throw new DamagedSnapshot('its checksum does not match')
    if (newlines !== end.keys + end.parts + 1)
      throw new DamagedSnapshot('it has another number of records than it says')
    const found = parseEnd(Buffer.concat(last).toString())
    if (found.sha256 !== end.sha256) throw new DamagedSnapshot('it has two ends')
  }

  /**
   * The lines of its records.
   *
   * @param mostBytes longer ones are skipped: TOO_LONG
   * @throws DamagedSnapshot, or the error of the file system
   */
  async *records(mostBytes: number, signal: AbortSignal): AsyncGenerator<string | typeof TOO_LONG> {
    let [left, isFirst] = [this.end.bytes, true]
    const line = new LineParts(mostBytes)
    for await (const chunk of this.chunks(signal)) {
      const own = chunk.subarray(0, left)
      left -= own.length
      for (let from = 0; from < own.length;) {
        const at = own.indexOf(NEWLINE, from)
        line.add(own.subarray(from, at < 0 ? own.length : at))
        from = at < 0 ? own.length : at + 1
        if (at < 0) break
        const whole = line.take()
        if (!isFirst) yield whole
        else if (whole === TOO_LONG) throw new DamagedSnapshot('its first line is too long')
        else parseHeader(whole)
        isFirst = false
      }
      if (left === 0) return
    }
    throw new DamagedSnapshot('it has changed since it was checked')
  }

  close(): Promise<void> {
    return this.handle.close()
  }

  private async *chunks(signal: AbortSignal): AsyncGenerator<Buffer> {
    const gunzip = createGunzip({ chunkSize: CHUNK_BYTES })
    const piped = pipeline(this.compressed(), gunzip, { signal })
    piped.catch(() => undefined) // it is thrown where the chunks are read
    try {
      for await (const chunk of gunzip) yield chunk as Buffer
    } catch (error) {
      signal.throwIfAborted()
      throw isOfGzip(error) ? new DamagedSnapshot('it cannot be decompressed') : error
    } finally {
      gunzip.destroy()
      // Nothing is read any more when the file is closed.
      await piped.catch(() => undefined)
    }
  }

  private async *compressed(): AsyncGenerator<Buffer> {
    for (let at = 0; ;) {
      const { bytesRead, buffer } = await this.handle.read(Buffer.allocUnsafe(READ_BYTES), 0, READ_BYTES, at)
      if (bytesRead === 0) return
      at += bytesRead
      yield buffer.subarray(0, bytesRead)
    }
  }
}

/** A line that comes in pieces. */
class LineParts {
  private readonly mostBytes: number
  private parts: Buffer[] = []
  private bytes = 0

  constructor(mostBytes: number) {
    this.mostBytes = mostBytes
  }

  add(part: Buffer): void {
    this.bytes += part.length
    if (this.bytes > this.mostBytes) this.parts = []
    else this.parts.push(part)
  }

  take(): string | typeof TOO_LONG {
    const { parts, bytes } = this
    this.parts = []
    this.bytes = 0
    if (bytes > this.mostBytes) return TOO_LONG
    return (parts.length === 1 ? parts[0]! : Buffer.concat(parts, bytes)).toString('latin1')
  }
}

async function endIn(handle: FileHandle, size: number): Promise<End> {
  const tail = Buffer.alloc(Math.min(size, TAIL_BYTES))
  const { bytesRead } = await handle.read(tail, 0, tail.length, size - tail.length)
  const read = tail.subarray(0, bytesRead)
  // What looks like the beginning of a member may stand in one by chance.
  for (let at = read.lastIndexOf(MEMBER); at >= 0; at = at === 0 ? -1 : read.lastIndexOf(MEMBER, at - 1)) {
    const line = lineIn(read.subarray(at))
    if (line !== null) return parseEnd(line)
  }
  throw new DamagedSnapshot('it has no end: it was cut, or is not a snapshot')
}

function lineIn(member: Buffer): string | null {
  try {
    return gunzipSync(member, { maxOutputLength: MOST_FRAME_BYTES }).toString()
  } catch {
    return null
  }
}

/** An error of zlib has one of its codes. */
function isOfGzip(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException).code ?? ''
  return code.startsWith('Z_')
}
