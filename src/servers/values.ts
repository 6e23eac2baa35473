/** What the servers for string values share: live values, loaded ones, and the errors instead of one. */
import type { KeyStore } from '../coordinator/api.ts'
import { liveWithEnd, readRecord, type CallOptions } from '../coordinator/promises.ts'
import type { StoredRecord } from '../core/codec.ts'
import { RondoError } from '../core/errors.ts'
import { loadRecord, type ReadThrough } from '../loader/api.ts'

/** About a hundred years: more is a mistake, and would eventually overflow the record's header. */
export const MAX_TTL_SECONDS = 3_153_600_000

export interface LoadingStore {
  readonly store: KeyStore
  /** Null: nothing is loaded. */
  readonly loader: ReadThrough | null
}

/** A live value, or one that is loaded, with its end; null = there is none. */
export async function liveOrLoaded(
  { store, loader }: LoadingStore,
  key: Buffer,
  asked: CallOptions,
): Promise<{ readonly record: StoredRecord; readonly expiresAtMs: number } | null> {
  let missed: StoredRecord | null = null
  const live = await liveWithEnd(store, key, async () => (missed = await readRecord(store, key, asked)))
  if (live || loader === null) return live
  const record = await loadRecord(loader, key, missed, asked.level)
  return record && { record, expiresAtMs: record.expiresAtMs }
}

export function keyNotFound(): RondoError {
  return new RondoError('KEY_NOT_FOUND', 'key not found')
}

/** A hash, set, sorted set, list or stream. */
export function notAString(protocol: 'HTTP' | 'gRPC'): RondoError {
  const sentence = `The key holds a collection. ${protocol} reads strings only: use the Redis protocol.`
  return new RondoError('WRONG_TYPE', sentence)
}

/** The answer to a value or an answer that no single request may have. */
export function answerTooLarge(maxBytes: number, setting: string): RondoError {
  const sentence = `The values of this request exceed ${maxBytes} bytes (${setting}): ask for fewer keys.`
  return new RondoError('VALUE_TOO_LARGE', sentence)
}
