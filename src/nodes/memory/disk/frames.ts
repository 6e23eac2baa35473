/**
 * The form of the files of a memory node: a head, and frames behind each other.
 *
 *   file  = "RONDOMEM" | kind 1 ('L' log, 'S' snapshot) | format 1 | zeros 6 | frame …
 *   frame = length 4 | CRC-32 of the payload 4 | CRC-32 of the 8 bytes before 4 | payload
 *
 * A frame holds all changes of one or several batches (changes.ts), and is applied whole or not at all. The length has a
 * checksum of its own: so a frame that ends too early is told from one whose length was damaged.
 *
 *   the file ends within a frame       → torn: the process ended while it wrote; nobody was told that it is stored
 *   nothing but zeros behind a frame   → torn: the machine ended before the file system had written the rest
 *   a checksum that does not fit       → damaged: the bytes are not those that were written
 */
import { crc32 } from 'node:zlib'
import { ChangeWriter } from './changes.ts'
import type { DiskFile } from './disk.ts'

export const FILE_HEAD_BYTES = 16
export const FORMAT = 1
const MAGIC = Buffer.from('RONDOMEM', 'latin1')
const FRAME_HEAD_BYTES = 12
const CHUNK_BYTES = 256 * 1024
/** Batches share a frame until it is this long. */
const FRAME_BYTES = 64 * 1024

export type FileKind = 'log' | 'snapshot'
const KIND_BYTE = { log: 0x4c, snapshot: 0x53 } as const

export function fileHead(kind: FileKind): Buffer {
  const head = Buffer.alloc(FILE_HEAD_BYTES)
  MAGIC.copy(head)
  head[8] = KIND_BYTE[kind]
  head[9] = FORMAT
  return head
}

/** Changes on their way to a file, in frames. */
export class FrameWriter extends ChangeWriter {
  /** Where the open frame begins; -1 = none is open. */
  private frameAt = -1

  override reserve(bytes: number): void {
    if (this.frameAt >= 0) return super.reserve(bytes)
    super.reserve(FRAME_HEAD_BYTES + bytes)
    this.frameAt = this.length
    this.length += FRAME_HEAD_BYTES
  }

  /** A batch ends here. The frame may go on with the next one until somebody takes it. */
  endBatch(): void {
    if (this.frameAt >= 0 && this.length - this.frameAt >= FRAME_BYTES) this.seal()
  }

  seal(): void {
    if (this.frameAt < 0) return
    const payload = this.bytes.subarray(this.frameAt + FRAME_HEAD_BYTES, this.length)
    this.bytes.writeUInt32BE(payload.length, this.frameAt)
    this.bytes.writeUInt32BE(crc32(payload), this.frameAt + 4)
    const head = crc32(this.bytes.subarray(this.frameAt, this.frameAt + 8))
    this.bytes.writeUInt32BE(head, this.frameAt + 8)
    this.frameAt = -1
  }

  /** All whole frames. */
  taken(): Buffer {
    this.seal()
    return this.bytes.subarray(0, this.length)
  }

  override reset(): void {
    super.reset()
    this.frameAt = -1
  }
}

export type FileEnd =
  /** All of it could be read. */
  | { readonly kind: 'whole'; readonly at: number }
  | { readonly kind: 'torn'; readonly at: number; readonly bytes: number }
  | { readonly kind: 'damaged'; readonly at: number; readonly why: string }
  /** A later release wrote it. */
  | { readonly kind: 'newer'; readonly format: number }

/**
 * Reads the payloads of a file, one after the other, without holding more of it than a chunk or a frame.
 *
 * @param take throws if it is no payload of such a file
 * @returns how it ends, and where its last whole frame does
 */
export async function readFrames(
  file: DiskFile,
  kind: FileKind,
  take: (payload: Buffer, at: number) => void,
): Promise<FileEnd> {
  const size = await file.size()
  const window = new Window(file, size)
  if (size < FILE_HEAD_BYTES) return { kind: 'torn', at: 0, bytes: size }
  const head = await window.bytes(0, FILE_HEAD_BYTES)
  if (head.every((byte) => byte === 0) && (await window.isZeroFrom(0)))
    return { kind: 'torn', at: 0, bytes: size }
  if (!head.subarray(0, MAGIC.length).equals(MAGIC) || head[8] !== KIND_BYTE[kind])
    return { kind: 'damaged', at: 0, why: `it does not begin as a ${kind} does` }
  if (head[9]! > FORMAT) return { kind: 'newer', format: head[9]! }
  let at = FILE_HEAD_BYTES
  while (at < size) {
    if (at + FRAME_HEAD_BYTES > size) return { kind: 'torn', at, bytes: size - at }
    const frame = await window.bytes(at, FRAME_HEAD_BYTES)
    if (crc32(frame.subarray(0, 8)) !== frame.readUInt32BE(8)) {
      if (await window.isZeroFrom(at)) return { kind: 'torn', at, bytes: size - at }
      return { kind: 'damaged', at, why: 'the head of a frame has another checksum than its bytes' }
    }
    const [length, sum] = [frame.readUInt32BE(0), frame.readUInt32BE(4)]
    const end = at + FRAME_HEAD_BYTES + length
    if (end > size) return { kind: 'torn', at, bytes: size - at }
    const payload = await window.bytes(at + FRAME_HEAD_BYTES, length)
    if (crc32(payload) !== sum)
      return { kind: 'damaged', at, why: 'a frame has another checksum than its bytes' }
    try {
      take(payload, at)
    } catch (error) {
      return { kind: 'damaged', at, why: (error as Error).message }
    }
    at = end
  }
  return { kind: 'whole', at }
}

/** A moving part of a file. */
class Window {
  private readonly file: DiskFile
  private readonly size: number
  private chunk = Buffer.alloc(0)
  private from = 0

  constructor(file: DiskFile, size: number) {
    this.file = file
    this.size = size
  }

  /** Valid until the next call. */
  async bytes(at: number, length: number): Promise<Buffer> {
    if (at < this.from || at + length > this.from + this.chunk.length) {
      const wanted = Math.min(Math.max(length, CHUNK_BYTES), this.size - at)
      const chunk = Buffer.allocUnsafeSlow(wanted)
      const read = await this.file.read(chunk, at)
      this.chunk = chunk.subarray(0, read)
      this.from = at
      if (read < length) throw new Error(`only ${read} of ${length} bytes could be read`)
    }
    return this.chunk.subarray(at - this.from, at - this.from + length)
  }

  async isZeroFrom(from: number): Promise<boolean> {
    for (let at = from; at < this.size; at += CHUNK_BYTES) {
      const part = await this.bytes(at, Math.min(CHUNK_BYTES, this.size - at))
      if (part.some((byte) => byte !== 0)) return false
    }
    return true
  }
}
