/** JSON of values in pieces: a value of many megabytes is never turned into text at once. */
import { isUtf8 } from 'node:buffer'
import { SHARE_BYTES, type Work } from './turns.ts'

/** A multiple of three, so that pieces of base64 can stand behind each other. */
const PIECE_BYTES = 3 * 2 ** 14

/** Whether a value is so large that turning it into JSON at once would keep others waiting. */
export function isLong(value: Buffer): boolean {
  return value.length > SHARE_BYTES / 2
}

/**
 * An object with the value and its encoding in the middle, as valueToJson() of value.ts has them.
 *
 * @param before members in front of it, each with a comma behind
 * @param after members behind it, each with a comma in front
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

/** Texts and pieces behind each other, as buffers of a useful size. */
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
