/** GET /hotkeys: the keys with the most operations, and the largest values, as this coordinator knows them. */
import { isUtf8 } from 'node:buffer'
import type { KeyStore } from '../../coordinator/api.ts'
import { usageView } from '../hot-keys.ts'
import type { Exchange } from './exchange.ts'
import { keyToText, parseKeyEncoding, type KeyEncoding } from './key-path.ts'

export function hotKeys(exchange: Exchange, store: KeyStore): void {
  const asked = parseKeyEncoding(exchange.query(['keyEncoding']).keyEncoding)
  const { hot, big, ...totals } = usageView(store)
  const shown = <Of extends { readonly key: Buffer }>({ key, ...rest }: Of) => ({
    ...nameOf(key, asked),
    ...rest,
  })
  exchange.json(200, { ...totals, hot: hot.map(shown), big: big.map(shown) })
}

/** A name that is no text is told in the other encoding, and says so. */
function nameOf(
  key: Buffer,
  asked: KeyEncoding,
): { readonly key: string; readonly keyEncoding?: KeyEncoding } {
  if (asked === 'base64url' || isUtf8(key)) return { key: keyToText(key, asked) }
  return { key: keyToText(key, 'base64url'), keyEncoding: 'base64url' }
}
