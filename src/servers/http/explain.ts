/** GET /api/v1/keys/:key/explain: where a key lives, and what each replica holds. */
import type { KeyStore } from '../../coordinator/api.ts'
import { storedKey } from '../../core/keys.ts'
import type { Exchange } from './exchange.ts'
import { databaseFromQuery, keyFromSegment, keyToText, parseKeyEncoding } from './key-path.ts'
import { KEYS_PREFIX } from './keys.ts'
import { tagsOf } from '../tags.ts'

export async function explain(exchange: Exchange, store: KeyStore, databases: number): Promise<void> {
  const query = exchange.query(['db', 'keyEncoding'])
  const encoding = parseKeyEncoding(query.keyEncoding)
  const db = databaseFromQuery(query.db, databases)
  const segment = exchange.path.slice(KEYS_PREFIX.length, -'/explain'.length)
  const key = keyFromSegment(segment, encoding)
  const unusable = store.checkKey(key)
  if (unusable) throw unusable
  const stored = storedKey(db, key)
  const explanation = await store.explain(stored)
  const tags = await tagsOf(store, stored, { requester: exchange.requester, level: 'one' }).catch(() => null)
  const shown = tags && tags.length > 0 ? { tags: tags.map((tag) => keyToText(tag, encoding)) } : {}
  exchange.json(200, { key: keyToText(key, encoding), db, ...shown, ...explanation })
}
