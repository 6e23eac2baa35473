/**
 * Where replies of one turn of the event loop are written: one chunk, shared by all connections of the server, one after
 * the other. A socket that takes everything at once gives the chunk back; nothing is kept for an idle connection.
 */
import type { Socket } from 'node:net'

const CHUNK_BYTES = 256 * 1024
/** Longer values are sent by reference instead of being copied. */
const COPY_LIMIT_BYTES = 16 * 1024
const LENGTH_BYTES = 24
const DOLLAR = 0x24
const ZERO = 0x30

export class Output {
  private chunk = Buffer.allocUnsafeSlow(CHUNK_BYTES)
  private from = 0
  private at = 0
  private parts: Buffer[] = []

  /** Bytes that are ready to be sent. */
  raw(bytes: Buffer): void {
    if (bytes.length > COPY_LIMIT_BYTES) this.byReference(bytes)
    else {
      this.room(bytes.length)
      this.at += bytes.copy(this.chunk, this.at)
    }
  }

  /** `$<length>`, the bytes, and what belongs around them. */
  bulk(bytes: Buffer): void {
    const { length } = bytes
    this.room(LENGTH_BYTES)
    this.chunk[this.at++] = DOLLAR
    this.decimal(length)
    this.crlf()
    if (length > COPY_LIMIT_BYTES) {
      this.byReference(bytes)
      this.room(2)
    } else {
      this.room(length + 2)
      this.at += bytes.copy(this.chunk, this.at)
    }
    this.crlf()
  }

  /** Everything since the last call goes to this socket. */
  sendTo(socket: Socket): void {
    if (this.parts.length === 0) {
      if (this.at === this.from) return
      socket.write(this.chunk.subarray(this.from, this.at))
      // The kernel has taken it all: the chunk can be filled again.
      if (socket.writableLength === 0) this.at = this.from
      else this.from = this.at
      return
    }
    this.cut()
    socket.cork()
    for (const part of this.parts) socket.write(part)
    socket.uncork()
    this.parts = []
  }

  private decimal(value: number): void {
    const { chunk } = this
    if (value < 10) {
      chunk[this.at++] = ZERO + value
      return
    }
    let digits = value < 100 ? 2 : value < 1000 ? 3 : String(value).length
    const end = this.at + digits
    let rest = value
    while (digits-- > 0) {
      chunk[this.at + digits] = ZERO + (rest % 10)
      rest = Math.floor(rest / 10)
    }
    this.at = end
  }

  private crlf(): void {
    this.chunk[this.at++] = 13
    this.chunk[this.at++] = 10
  }

  private room(bytes: number): void {
    if (this.at + bytes <= CHUNK_BYTES) return
    this.cut()
    this.chunk = Buffer.allocUnsafeSlow(CHUNK_BYTES)
    this.from = 0
    this.at = 0
  }

  private byReference(bytes: Buffer): void {
    this.cut()
    this.parts.push(bytes)
  }

  private cut(): void {
    if (this.at > this.from) this.parts.push(this.chunk.subarray(this.from, this.at))
    this.from = this.at
  }
}
