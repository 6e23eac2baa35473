/** Bytes of very many short pieces, copied: a Buffer of each would take more memory than what it holds. */
const LEAST_CHUNK_BYTES = 1024
const MOST_CHUNK_BYTES = 64 * 1024
/** Below that, a loop is faster than a call. */
const SHORT_BYTES = 32

export class ByteChunks {
  private readonly full: Buffer[] = []
  private chunk = Buffer.alloc(0)
  private filled = 0
  private nextBytes = LEAST_CHUNK_BYTES

  add(piece: Buffer): void {
    if (piece.length > this.chunk.length - this.filled) {
      this.close()
      if (piece.length > LEAST_CHUNK_BYTES) {
        this.full.push(piece)
        return
      }
      this.chunk = Buffer.allocUnsafeSlow(this.nextBytes)
      this.nextBytes = Math.min(2 * this.nextBytes, MOST_CHUNK_BYTES)
    }
    this.filled += copied(piece, 0, piece.length, this.chunk, this.filled)
  }

  /** All of them, from the first to the last. */
  all(): Buffer[] {
    this.close()
    return this.full
  }

  private close(): void {
    if (this.filled > 0) this.full.push(this.chunk.subarray(0, this.filled))
    this.chunk = this.chunk.subarray(this.filled)
    this.filled = 0
  }
}

/** @returns how many bytes */
export function copied(source: Buffer, from: number, end: number, target: Buffer, to: number): number {
  if (end - from > SHORT_BYTES) return source.copy(target, to, from, end)
  for (let at = from; at < end; at++) target[to + at - from] = source[at]!
  return end - from
}
