/** Converts values, TTLs and consistency levels between JSON, queries and internal form. */
import { isUtf8 } from 'node:buffer'
import { isConsistencyLevel, type ConsistencyLevel } from '../../core/consistency.ts'
import { RondoError } from '../../core/errors.ts'
import { decodeBase64 } from './base64.ts'
import { MAX_TTL_SECONDS } from '../values.ts'
import type { JsonObject } from './body.ts'

/** @throws RondoError BAD_REQUEST */
export function valueFromJson(object: JsonObject): Buffer {
  const { value, encoding } = object
  if (typeof value !== 'string') {
    throw new RondoError('BAD_REQUEST', '"value" must be a string; send other data as raw bytes.')
  }
  if (encoding === undefined || encoding === 'utf8') {
    if (!value.isWellFormed()) {
      throw new RondoError('BAD_REQUEST', '"value" holds half of a surrogate pair, which is no text.')
    }
    return Buffer.from(value, 'utf8')
  }
  if (encoding !== 'base64')
    throw new RondoError('BAD_REQUEST', '"encoding" is utf8 (the default) or base64.')
  const bytes = decodeBase64(value, 'base64')
  if (!bytes) throw new RondoError('BAD_REQUEST', '"value" is not valid base64.')
  return bytes
}

/**
 * Seconds; 0 = the default.
 * @throws RondoError BAD_REQUEST
 */
export function ttlFromJson(ttl: unknown): number {
  if (ttl === undefined) return 0
  if (typeof ttl !== 'number' || !Number.isInteger(ttl) || ttl < 0 || ttl > MAX_TTL_SECONDS) throw badTtl()
  return ttl
}

/** @throws RondoError BAD_REQUEST */
export function ttlFromQuery(text: string | undefined): number {
  if (text === undefined) return 0
  if (!/^\d{1,10}$/.test(text) || Number(text) > MAX_TTL_SECONDS) throw badTtl()
  return Number(text)
}

function badTtl(): RondoError {
  return new RondoError(
    'BAD_REQUEST',
    `"ttl" must be a whole number of seconds from 0 (the default TTL) to ${MAX_TTL_SECONDS}.`,
  )
}

/** @throws RondoError BAD_REQUEST */
export function levelFromQuery(text: string | undefined, byDefault: ConsistencyLevel): ConsistencyLevel {
  if (text === undefined) return byDefault
  if (!isConsistencyLevel(text)) throw new RondoError('BAD_REQUEST', 'consistency is one, quorum or all.')
  return text
}

/** A value that is not UTF-8 becomes base64. */
export function valueToJson(value: Buffer): { value: string; encoding?: 'base64' } {
  return isUtf8(value)
    ? { value: value.toString('utf8') }
    : { value: value.toString('base64'), encoding: 'base64' }
}

/** Remaining whole seconds, rounded up; 0 = no expiry. Expiry times are whole milliseconds, also rounded up. */
export function ttlSeconds(expiresAtMs: number, nowMs: number): number {
  return expiresAtMs === 0 ? 0 : Math.max(1, Math.ceil((expiresAtMs - Math.ceil(nowMs)) / 1000))
}
