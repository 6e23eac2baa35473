/** GET /api/v1/keys/:key/explain: where a key lives, and what each replica holds. */
import type { KeyStore } from '../../coordinator/api.ts'
import type { Exchange } from './exchange.ts'
import { keyFromSegment, keyToText, parseKeyEncoding } from './key-path.ts'
import { KEYS_PREFIX } from './keys.ts'

export async function explain(exchange: Exchange, store: KeyStore): Promise<void> {
  const encoding = parseKeyEncoding(exchange.query(['keyEncoding']).keyEncoding)
  const segment = exchange.path.slice(KEYS_PREFIX.length, -'/explain'.length)
  const key = keyFromSegment(segment, encoding)
  const unusable = store.checkKey(key)
  if (unusable) throw unusable
  const explanation = await store.explain(key)
  exchange.json(200, { key: keyToText(key, encoding), ...explanation })
}
