/** GET /api/v1/keys: pages of keys, by pattern and cursor. */
import type { KeyStore } from '../../coordinator/api.ts'
import { RondoError } from '../../core/errors.ts'
import type { Exchange } from './exchange.ts'
import { databaseFromQuery, keyToText, parseKeyEncoding } from './key-path.ts'

export interface ListOptions {
  readonly store: KeyStore
  readonly maxBatchKeys: number
  readonly maxKeyBytes: number
  readonly databases: number
}

const DEFAULT_PAGE_KEYS = 100

export async function listKeys(
  exchange: Exchange,
  { store, maxBatchKeys, maxKeyBytes, databases }: ListOptions,
): Promise<void> {
  const query = exchange.query(['match', 'cursor', 'count', 'db', 'keyEncoding'])
  const encoding = parseKeyEncoding(query.keyEncoding)
  const database = databaseFromQuery(query.db, databases)
  const { count: countText = String(Math.min(DEFAULT_PAGE_KEYS, maxBatchKeys)) } = query
  const count = /^\d{1,9}$/.test(countText) ? Number(countText) : 0
  if (count < 1 || count > maxBatchKeys) {
    throw new RondoError('BAD_REQUEST', `count is a whole number from 1 to ${maxBatchKeys} (MAX_BATCH_KEYS).`)
  }
  const match = query.match === undefined ? null : Buffer.from(query.match)
  if (match && match.length > maxKeyBytes) {
    throw new RondoError('BAD_REQUEST', `match has more than ${maxKeyBytes} bytes (MAX_KEY_BYTES).`)
  }
  const isWanted = () => exchange.isWanted
  const { keys, cursor } = await store.list({ database, match, cursor: query.cursor ?? '0', count, isWanted })
  const shown = encoding === 'utf8' ? keys.filter(isText) : keys
  const hidden = keys.length - shown.length
  exchange.json(200, {
    keys: shown.map((key) => keyToText(key, encoding)),
    cursor,
    // JSON cannot represent them: the client can list again with keyEncoding=base64url.
    ...(hidden > 0 ? { binaryKeys: hidden } : {}),
  })
}

function isText(key: Buffer): boolean {
  return Buffer.from(key.toString('utf8'), 'utf8').equals(key)
}
