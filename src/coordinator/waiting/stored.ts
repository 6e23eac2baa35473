/** Which changes may have something for clients that wait. */
import { KIND_SORTED_SET, KIND_STREAM, kindOf, type NewRecord, type StoredRecord } from '../../core/codec.ts'
import type { CoordinatorContext } from '../context.ts'

/**
 * The record was stored, or may have been, over what was read.
 *
 * A list or a sorted set that has become shorter has nothing new: whoever waits waits until it was empty, and is tried again
 * and again while it is not.
 */
export function tellWaiters(
  { waiters }: CoordinatorContext,
  key: Buffer,
  record: NewRecord,
  before: StoredRecord | null,
): void {
  const kind = kindOf(record)
  if (kind < KIND_SORTED_SET || kind > KIND_STREAM) {
    if (before?.kind === KIND_STREAM) waiters.stored(key)
    return
  }
  const isShorter = before?.kind === kind && before.value.length > record.value.length
  if (isShorter && kind !== KIND_STREAM && before.expiresAtMs === 0) return
  waiters.stored(key)
}
