/** Sends one record as JSON, in turns if its value is long. */
import { versionText } from '../../core/clock.ts'
import type { StoredRecord } from '../../core/codec.ts'
import { JSON_TYPE, type Exchange } from './exchange.ts'
import { isLong, objectAround } from './json-text.ts'
import type { Work } from './turns.ts'
import { ttlSeconds, valueToJson } from './value.ts'

/** @param key as shown in the response */
export async function sendRecord(
  exchange: Exchange,
  key: string,
  record: StoredRecord,
  nowMs: number,
  work: Work,
): Promise<void> {
  const ttl = ttlSeconds(record.expiresAtMs, nowMs)
  const version = versionText(record.version)
  if (!isLong(record.value)) {
    exchange.json(200, { key, ...valueToJson(record.value), ttl, version })
    return
  }
  const after = `,"ttl":${ttl},"version":"${version}"`
  const pieces = await objectAround(`"key":${JSON.stringify(key)},`, record.value, after, work)
  await exchange.sendPieces(200, ['Content-Type', JSON_TYPE], pieces)
}
