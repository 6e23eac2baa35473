/** What the dialects of other systems share: raw values under text keys, in database 0, at the configured levels. */
import type { CompatApi } from '../../../config/compat-apis.ts'
import { removeKey, writeValue } from '../../../coordinator/promises.ts'
import { HIT, MISS } from '../../../commands/run/lookups.ts'
import { RondoError } from '../../../core/errors.ts'
import { bodyOf } from '../body.ts'
import type { Exchange } from '../exchange.ts'
import type { GuardOptions } from '../guard.ts'
import { keyFromText } from '../key-path.ts'
import { isPlainGet, type KeysOptions } from '../keys.ts'
import { keyNotFound, liveOrLoaded } from '../../values.ts'
import { ttlFromQuery } from '../value.ts'

export interface CompatOptions {
  readonly compatApis: readonly CompatApi[]
}

const BYTES = ['Content-Type', 'application/octet-stream']
export const TEXT = ['Content-Type', 'text/plain; charset=utf-8']

/** What a form of any web page can send. */
const SENT_BY_FORMS = /^\s*(application\/x-www-form-urlencoded|multipart\/form-data|text\/plain)\b/i

/**
 * A web page can make a browser post a body of these types to any address without asking first, and an old browser does
 * not say which page it was. No page can send the token, or the header for it.
 *
 * @throws RondoError BAD_REQUEST
 */
export function checkIntended({ req, sentToken }: Exchange, { tokens }: Pick<GuardOptions, 'tokens'>): void {
  const type = req.headers['content-type'] ?? 'text/plain'
  const hasToken = req.headers.authorization !== undefined || (sentToken !== null && tokens.data.length > 0)
  if (hasToken || !SENT_BY_FORMS.test(type)) return
  throw new RondoError(
    'BAD_REQUEST',
    'Send Content-Type: application/json (or application/octet-stream for a value), or the token of the server: any ' +
      'web page can send forms.',
  )
}

/** @throws RondoError if no key has this name */
export function keyNamed(text: string | undefined, { store }: KeysOptions): Buffer {
  if (text === undefined || text === '') throw new RondoError('BAD_REQUEST', 'Name a key: ?key=….')
  return checked(keyFromText(text, 'utf8'), { store })
}

/** @throws RondoError */
export function checked(key: Buffer, { store }: Pick<KeysOptions, 'store'>): Buffer {
  const unusable = store.checkKey(key)
  if (unusable) throw unusable
  return key
}

/** The value's bytes. */
export async function sendValue(exchange: Exchange, key: Buffer, options: KeysOptions): Promise<void> {
  const { readConsistency: level, store, loader } = options
  const loads = isPlainGet(exchange) ? loader : null
  const live = await liveOrLoaded({ store, loader: loads }, key, { requester: exchange.requester, level })
  exchange.lookedUp('get', live ? HIT : MISS)
  if (!live) throw keyNotFound()
  exchange.send(200, [...BYTES], live.record.value)
}

/** @param ttl seconds, as in a query */
export async function storeValue(
  exchange: Exchange,
  key: Buffer,
  value: Buffer,
  ttl: string | undefined,
  options: KeysOptions,
): Promise<void> {
  const { store, writeConsistency: level, defaultTtlMs } = options
  const seconds = ttlFromQuery(ttl)
  const tooLarge = store.checkValue(value.length)
  if (tooLarge) throw tooLarge
  const lifeMs = seconds > 0 ? seconds * 1000 : defaultTtlMs
  const expiresAtMs = lifeMs > 0 ? Math.ceil(store.nowMs()) + lifeMs : 0
  await writeValue(store, key, value, expiresAtMs, { requester: exchange.requester, level })
  exchange.send(200, [...TEXT], 'OK\n')
}

/** The same with the body as the value. */
export async function storeBody(
  exchange: Exchange,
  key: Buffer,
  ttl: string | undefined,
  options: KeysOptions,
): Promise<void> {
  ttlFromQuery(ttl)
  const value = await bodyOf(exchange, options.maxValueBytes, 'MAX_VALUE_BYTES')
  await storeValue(exchange, key, value, ttl, options)
}

/** 204, whether or not there was a value. */
export async function removeValue(exchange: Exchange, key: Buffer, options: KeysOptions): Promise<void> {
  const { store, writeConsistency: level } = options
  await removeKey(store, key, { requester: exchange.requester, level })
  exchange.sendEmpty(204, [])
}
