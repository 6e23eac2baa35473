/** Which names clients can give to keys. */
import { RondoError } from './errors.ts'
import { isReserved } from './keys.ts'

/** Null, or the reason why clients cannot use a key of this name. */
export function checkKey(key: Buffer, maxKeyBytes: number): RondoError | null {
  if (key.length > maxKeyBytes) {
    return new RondoError(
      'KEY_TOO_LONG',
      `The key has ${key.length} bytes; at most ${maxKeyBytes} are allowed (MAX_KEY_BYTES).`,
    )
  }
  if (isReserved(key)) {
    return new RondoError('KEY_RESERVED', 'Keys that begin with "__rondo:" are kept for Rondo itself.')
  }
  return null
}
