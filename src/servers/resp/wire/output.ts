/**
 * Output buffer for the replies of one turn of the event loop: one chunk, which all connections of the server use in turn.
 * If a socket accepts everything at once, the chunk is reused. An idle connection needs no buffer.
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
  /** Written to all sockets so far. */
  sentBytes = 0

  /** Appends encoded bytes. */
  raw(bytes: Buffer): void {
    if (bytes.length > COPY_LIMIT_BYTES) this.byReference(bytes)
    else {
      this.room(bytes.length)
      this.at += bytes.copy(this.chunk, this.at)
    }
  }

  /** Appends a bulk: `$<length>`, the bytes, and CRLFs. */
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

  /** The same, of a short value that is followed by CRLF already. */
  ended(bytes: Buffer): void {
    const { length } = bytes
    this.room(LENGTH_BYTES + length)
    this.chunk[this.at++] = DOLLAR
    this.decimal(length - 2)
    this.crlf()
    this.chunk.set(bytes, this.at)
    this.at += length
  }

  /** Writes everything since the last call to this socket. */
  sendTo(socket: Socket): void {
    if (this.parts.length === 0) {
      if (this.at === this.from) return
      this.sentBytes += this.at - this.from
      socket.write(this.chunk.subarray(this.from, this.at))
      // The kernel has accepted it all: reuse the chunk.
      if (socket.writableLength === 0) this.at = this.from
      else this.from = this.at
      return
    }
    this.cut()
    socket.cork()
    for (const part of this.parts) {
      this.sentBytes += part.length
      socket.write(part)
    }
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
