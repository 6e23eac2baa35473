/**
 * Three small dialects over raw values. All of them are off unless COMPAT_APIS names them.
 *
 *   ringg           GET, PUT, DELETE /cache/:key
 *   lru             GET /get?key=, POST /set?key=, with the value as the body or as ?value=; with `lru-get` also GET /set
 *   cache-cluster   GET, PUT, DELETE /_cache?key=
 */
import { RondoError } from '../../../core/errors.ts'
import type { GuardOptions } from '../guard.ts'
import { bodyOf } from '../body.ts'
import { textFromSegment } from '../key-path.ts'
import type { KeysOptions } from '../keys.ts'
import type { Exchange } from '../exchange.ts'
import { checked, checkIntended, keyNamed, removeValue, sendValue, storeBody, storeValue } from './compat.ts'

export const RINGG_PREFIX = '/cache/'

type LruOptions = KeysOptions & Pick<GuardOptions, 'tokens'>
type Handler = (exchange: Exchange, options: KeysOptions) => Promise<void>

function keyOfPath(exchange: Exchange, options: KeysOptions): Buffer {
  return checked(textFromSegment(exchange.path.slice(RINGG_PREFIX.length)), options)
}

export const ringg: Readonly<Record<'GET' | 'PUT' | 'DELETE', Handler>> = {
  GET: (exchange, options) => {
    exchange.query([])
    return sendValue(exchange, keyOfPath(exchange, options), options)
  },
  PUT: (exchange, options) => {
    const { ttl } = exchange.query(['ttl'])
    return storeBody(exchange, keyOfPath(exchange, options), ttl, options)
  },
  DELETE: (exchange, options) => {
    exchange.query([])
    return removeValue(exchange, keyOfPath(exchange, options), options)
  },
}

export const cacheCluster: typeof ringg = {
  GET: (exchange, options) => sendValue(exchange, keyNamed(exchange.query(['key']).key, options), options),
  PUT: (exchange, options) => {
    const { key, ttl } = exchange.query(['key', 'ttl'])
    return storeBody(exchange, keyNamed(key, options), ttl, options)
  },
  DELETE: (exchange, options) =>
    removeValue(exchange, keyNamed(exchange.query(['key']).key, options), options),
}

export const lruGet: Handler = cacheCluster.GET

/** POST /set. */
export async function lruSet(exchange: Exchange, options: LruOptions): Promise<void> {
  checkIntended(exchange, options)
  const body = await bodyOf(exchange, options.maxValueBytes, 'MAX_VALUE_BYTES')
  const { key, ttl, value } = exchange.query(['key', 'ttl', 'value'])
  const stored = value === undefined ? body : Buffer.from(value)
  await storeValue(exchange, keyNamed(key, options), stored, ttl, options)
}

/** GET /set: only with a token, so that no link alone can change a key. */
export function lruSetByGet(exchange: Exchange, options: LruOptions): Promise<void> {
  if (options.tokens.data.length === 0) {
    throw new RondoError('FORBIDDEN', 'A GET that changes a key needs DATA_TOKEN to be set: use POST.')
  }
  const { key, ttl, value } = exchange.query(['key', 'ttl', 'value'])
  if (value === undefined) throw new RondoError('BAD_REQUEST', 'Name a value: ?value=….')
  return storeValue(exchange, keyNamed(key, options), Buffer.from(value), ttl, options)
}
