/** Converts between the coordinator's records and the values that steps use. */
import type { ClientCall, KeyStore } from '../../coordinator/api.ts'
import { peekRecord, readRecord, type CallOptions } from '../../coordinator/promises.ts'
import {
  KIND_TOMBSTONE,
  KIND_VALUE,
  type Content,
  type PeekedRecord,
  type StoredRecord,
} from '../../core/codec.ts'
import type { ConsistencyLevel } from '../../core/consistency.ts'
import type { Need } from '../../core/part.ts'
import type { RondoError } from '../../core/errors.ts'
import type { Caller } from '../model.ts'
import type { Held } from '../step.ts'

const EMPTY = Buffer.alloc(0)

/** Reads only what is needed of the key. */
export function readNeeded(
  caller: Caller,
  key: Buffer,
  need: Need,
  level: ConsistencyLevel,
  call?: ClientCall,
): Promise<StoredRecord | PeekedRecord | null> {
  const { added, store } = caller
  const options = {
    requester: caller,
    level,
    isFollowed: () => caller.added !== added,
    ...(call && { call }),
  }
  return need === 'value' ? readRecord(store, key, options) : peekRecord(store, key, need, options)
}

/** How this caller's changes are made. */
export function writeOptions(caller: Caller): CallOptions {
  return { requester: caller, level: caller.writeLevel }
}

/** The record to store; null = a delete. */
export function recordOf(next: Held | null): Content {
  return next ? contentOf(next) : { kind: KIND_TOMBSTONE, value: EMPTY, expiresAtMs: 0 }
}

function contentOf({ kind = KIND_VALUE, value, expiresAtMs, tags }: Held): Content {
  return tags ? { kind, value, expiresAtMs, tags } : { kind, value, expiresAtMs }
}

/** Null, or the reason why this cannot be stored. */
export function tooLarge(
  store: Pick<KeyStore, 'checkValue'>,
  next: Held | null | undefined,
): RondoError | null {
  return next ? store.checkValue(next.value.length) : null
}

/** Cluster time, whole milliseconds. */
export function nowMs(store: Pick<KeyStore, 'nowMs'>): number {
  return Math.ceil(store.nowMs())
}
