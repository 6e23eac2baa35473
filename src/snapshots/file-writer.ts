/**
 * Writes one snapshot: into a file of another name, which gets the snapshot's own only when all of it is on the disk. So a
 * process that is killed, or a full disk, leaves no half snapshot under a name.
 */
import { createHash, randomBytes } from 'node:crypto'
import { constants } from 'node:fs'
import { link, open, rename, unlink, type FileHandle } from 'node:fs/promises'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { createGzip, gzipSync } from 'node:zlib'
import { RondoError } from '../core/errors.ts'
import { endLine, headerLine, type End, type Header } from './format.ts'
import { fileOf, partOf, type Writer } from './names.ts'

/** Base64 of random bytes is 3/4 of its length at any level, and texts are a third; a higher level takes twice the time. */
const GZIP = { level: 1, chunkSize: 64 * 1024 }
const PRIVATE_FILE = 0o600

/** Those that this process writes now. */
const beingWritten = new Set<string>()

export function isBeingWritten(path: string): boolean {
  return beingWritten.has(path)
}

export interface Written {
  readonly end: End
  /** Of the file. */
  readonly fileBytes: number
}

/** Some lines, and of what they are. */
export interface SnapshotLines {
  readonly text: string
  readonly keys: number
  /** Of large collections. */
  readonly parts?: number
}

export interface WriteOptions {
  readonly folder: string
  readonly writer: Writer
  readonly header: Header
  /** Of records, each ends with a newline; several may come together. */
  readonly lines: AsyncIterable<SnapshotLines>
  readonly signal: AbortSignal
  /** How many bytes the file has by now. */
  readonly onBytes: (fileBytes: number) => void
}

/** @throws RondoError CONFLICT if there is one of that name; or Error, and then there is nothing */
export async function writeSnapshot(options: WriteOptions): Promise<Written> {
  const { folder, writer, header } = options
  const part = join(folder, partOf(header.name, randomBytes(8).toString('hex'), writer))
  beingWritten.add(part)
  try {
    return await writePart(part, options)
  } catch (error) {
    // Under its own name or not, nothing else is named like this.
    await unlink(part).catch(() => undefined)
    throw error
  } finally {
    beingWritten.delete(part)
  }
}

async function writePart(part: string, options: WriteOptions): Promise<Written> {
  const { folder, header } = options
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW
  const file = await open(part, flags, PRIVATE_FILE)
  let written: Written
  try {
    written = await fill(file, options)
    options.signal.throwIfAborted()
    await file.sync()
  } finally {
    await file.close()
  }
  await giveName(part, join(folder, fileOf(header.name)), header.name)
  await syncFolder(folder)
  return written
}

async function fill(file: FileHandle, { header, lines, signal, onBytes }: WriteOptions): Promise<Written> {
  const hash = createHash('sha256')
  let [keys, parts, bytes, fileBytes] = [0, 0, 0, 0]
  const hashed = (text: string) => {
    const chunk = Buffer.from(text)
    hash.update(chunk)
    bytes += chunk.length
    return chunk
  }
  async function* chunks(): AsyncGenerator<Buffer> {
    yield hashed(headerLine(header))
    for await (const { text, keys: more, parts: beside = 0 } of lines) {
      keys += more
      parts += beside
      yield hashed(text)
    }
  }
  const gzip = createGzip(GZIP)
  async function intoFile(compressed: AsyncIterable<Buffer>): Promise<void> {
    for await (const chunk of compressed) {
      await file.appendFile(chunk)
      fileBytes += chunk.length
      onBytes(fileBytes)
    }
  }
  await pipeline(chunks, gzip, intoFile, { signal })
  const end = { ...header, keys, parts, bytes, sha256: hash.digest('hex') }
  const last = gzipSync(endLine(end))
  await file.appendFile(last)
  return { end, fileBytes: fileBytes + last.length }
}

/** Does not replace one that is there, also if it comes from another cluster in the same moment. */
async function giveName(part: string, path: string, name: string): Promise<void> {
  try {
    await link(part, path)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'EEXIST') throw nameTaken(name)
    // Some shared folders have no hard links; one of the same name has been looked for when the snapshot began.
    if (code !== 'EPERM' && code !== 'ENOTSUP' && code !== 'EOPNOTSUPP' && code !== 'ENOSYS') throw error
    await rename(part, path)
    return
  }
  await unlink(part)
}

export function nameTaken(name: string): RondoError {
  return new RondoError(
    'CONFLICT',
    `There is a snapshot ${name} already: choose another name, or delete that one.`,
  )
}

async function syncFolder(folder: string): Promise<void> {
  const opened = await open(folder, constants.O_RDONLY)
  try {
    await opened.sync()
  } finally {
    await opened.close()
  }
}
