/** Encodes values as JSON in pieces: a value of many megabytes is never converted at once. */
import { isUtf8 } from 'node:buffer'
import { SHARE_BYTES, type Work } from './turns.ts'

/** A multiple of three, so that base64 pieces can be concatenated. */
const PIECE_BYTES = 3 * 2 ** 14

/** Whether converting a value to JSON at once would block other clients for too long. */
export function isLong(value: Buffer): boolean {
  return value.length > SHARE_BYTES / 2
}

/**
 * A JSON object with the value and its encoding, as valueToJson() of value.ts returns them.
 *
 * @param before members before it, each followed by a comma
 * @param after members after it, each preceded by a comma
 */
export async function objectAround(
  before: string,
  value: Buffer,
  after: string,
  work: Work,
): Promise<Buffer[]> {
  const encoding = isUtf8(value) ? 'utf8' : 'base64'
  const pieces = [Buffer.from(`{${before}"value":"`)]
  for (let at = 0; at < value.length;) {
    let end = Math.min(at + PIECE_BYTES, value.length)
    if (encoding === 'utf8') while (end < value.length && (value[end]! & 0xc0) === 0x80) end--
    const text = value.toString(encoding, at, end)
    pieces.push(
      encoding === 'utf8' ? Buffer.from(JSON.stringify(text).slice(1, -1)) : Buffer.from(text, 'latin1'),
    )
    await work.spend(end - at)
    at = end
  }
  pieces.push(Buffer.from(`"${encoding === 'utf8' ? '' : ',"encoding":"base64"'}${after}}`))
  return pieces
}

/** Concatenates texts and pieces into buffers of a useful size. */
export class Pieces {
  readonly all: Buffer[] = []
  bytes = 0
  private text = ''

  push(part: string | readonly Buffer[]): void {
    if (typeof part === 'string') {
      this.text += part
      if (this.text.length > PIECE_BYTES) this.flush()
      return
    }
    this.flush()
    for (const piece of part) this.add(piece)
  }

  flush(): void {
    if (this.text !== '') this.add(Buffer.from(this.text))
    this.text = ''
  }

  private add(piece: Buffer): void {
    this.all.push(piece)
    this.bytes += piece.length
  }
}
