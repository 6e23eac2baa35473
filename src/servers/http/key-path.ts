/**
 * Decodes a key from a path: one percent-encoded segment.
 *
 * Nothing is normalized: `.`, `..`, `%2F` and `%00` are ordinary keys. Text keys must be UTF-8; other keys need
 * `?keyEncoding=base64url`.
 */
import { isAscii, isUtf8 } from 'node:buffer'
import { RondoError } from '../../core/errors.ts'
import { decodeBase64 } from './base64.ts'

export type KeyEncoding = 'utf8' | 'base64url'

const PERCENT = 0x25

/** @throws RondoError BAD_REQUEST */
export function parseKeyEncoding(text: string | undefined): KeyEncoding {
  if (text === undefined || text === 'utf8') return 'utf8'
  if (text === 'base64url') return text
  throw new RondoError('BAD_REQUEST', 'keyEncoding is utf8 (the default) or base64url.')
}

/** @throws RondoError BAD_REQUEST */
export function databaseFromQuery(text: string | undefined, databases: number): number {
  if (text === undefined) return 0
  if (/^(?:0|[1-9]\d{0,3})$/.test(text) && Number(text) < databases) return Number(text)
  throw new RondoError(
    'BAD_REQUEST',
    `db is a whole number from 0 to ${databases - 1}, without leading zeros (DATABASES).`,
  )
}

/** @throws RondoError BAD_REQUEST */
export function keyFromSegment(segment: string, encoding: KeyEncoding): Buffer {
  if (encoding === 'base64url') return keyFromText(unescaped(segment).toString('latin1'), encoding)
  return textOf(segment, 'The key is not valid UTF-8; send other bytes with ?keyEncoding=base64url.')
}

/**
 * A part of the path of another system's dialect, which has no encoding for other bytes.
 * @throws RondoError BAD_REQUEST
 */
export function textFromSegment(segment: string): Buffer {
  return textOf(segment, 'The path is not valid UTF-8; send other bytes to /api/v1, in base64.')
}

function textOf(segment: string, refusal: string): Buffer {
  const bytes = unescaped(segment)
  if (!isAscii(bytes) && !isUtf8(bytes)) throw new RondoError('BAD_REQUEST', refusal)
  return bytes
}

function unescaped(segment: string): Buffer {
  const raw = Buffer.from(segment, 'latin1')
  return raw.includes(PERCENT) ? decodePercent(raw) : raw
}

/** @throws RondoError BAD_REQUEST */
export function keyFromText(text: string, encoding: KeyEncoding): Buffer {
  if (encoding === 'base64url') {
    const bytes = decodeBase64(text, encoding)
    if (!bytes) throw new RondoError('BAD_REQUEST', 'The key is not valid base64url.')
    return bytes
  }
  if (!text.isWellFormed()) {
    throw new RondoError('BAD_REQUEST', 'The key holds half of a surrogate pair, which is no text.')
  }
  return Buffer.from(text, 'utf8')
}

export function keyToText(key: Buffer, encoding: KeyEncoding): string {
  return encoding === 'base64url' ? key.toString('base64url') : key.toString('utf8')
}

function decodePercent(raw: Buffer): Buffer {
  const bytes = Buffer.allocUnsafe(raw.length)
  let length = 0
  for (let i = 0; i < raw.length; i++) {
    if (raw[i] !== PERCENT) {
      bytes[length++] = raw[i]!
      continue
    }
    const high = hexDigit(raw[i + 1])
    const low = hexDigit(raw[i + 2])
    if (high < 0 || low < 0) {
      throw new RondoError('BAD_REQUEST', 'There is a malformed % escape in the key; a percent sign is %25.')
    }
    bytes[length++] = high * 16 + low
    i += 2
  }
  return bytes.subarray(0, length)
}

function hexDigit(byte: number | undefined): number {
  if (byte === undefined) return -1
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30
  const letter = byte | 0x20
  return letter >= 0x61 && letter <= 0x66 ? letter - 0x61 + 10 : -1
}
