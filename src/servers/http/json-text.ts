/** Encodes values as JSON in pieces: a value of many megabytes is never converted at once. */
import { isUtf8 } from 'node:buffer'
import { StringDecoder } from 'node:string_decoder'
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
  const pieces = [Buffer.from(`{${before}"value":"`), ...(await textPieces(value, encoding, work))]
  pieces.push(Buffer.from(`"${encoding === 'utf8' ? '' : ',"encoding":"base64"'}${after}}`))
  return pieces
}

/** What stands between the quotes of a JSON string. As utf8, bytes that are none become U+FFFD. */
export async function textPieces(value: Buffer, encoding: 'utf8' | 'base64', work: Work): Promise<Buffer[]> {
  const pieces: Buffer[] = []
  // It holds back a character that is not complete yet.
  const decoder = new StringDecoder(encoding)
  for (let at = 0; at < value.length; at += PIECE_BYTES) {
    const piece = value.subarray(at, at + PIECE_BYTES)
    pieces.push(escaped(decoder.write(piece)))
    await work.spend(piece.length)
  }
  pieces.push(escaped(decoder.end()))
  return pieces
}

function escaped(text: string): Buffer {
  return Buffer.from(JSON.stringify(text).slice(1, -1))
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
