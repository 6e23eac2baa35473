/** What keys hold, between the coordinator's records and the steps of commands. */
import type { Coordinator } from '../../coordinator/coordinator.ts'
import { KIND_TOMBSTONE, KIND_VALUE, type StoredRecord } from '../../core/codec.ts'
import type { ConsistencyLevel } from '../../core/consistency.ts'
import type { RondoError } from '../../core/errors.ts'
import type { Connection } from './connection.ts'
import type { Held } from './step.ts'

const EMPTY = Buffer.alloc(0)

export function readRecord(
  connection: Connection,
  key: Buffer,
  level: ConsistencyLevel,
): Promise<StoredRecord | null> {
  const { added, door } = connection
  const isFollowed = () => connection.added !== added
  return new Promise((read, failed) => {
    door.options.coordinator.read(key, { asker: connection, read, failed, isFollowed }, level)
  })
}

/** What a user sees of a record. */
export function heldIn(record: StoredRecord | null, nowMs: number): Held | null {
  return record?.isLive(nowMs) ? { value: record.value, expiresAtMs: record.expiresAtMs } : null
}

/** What is stored for it; null = a delete. */
export function recordOf(next: Held | null): { kind: number; value: Buffer; expiresAtMs: number } {
  return next ? { kind: KIND_VALUE, ...next } : { kind: KIND_TOMBSTONE, value: EMPTY, expiresAtMs: 0 }
}

/** Null, or why this cannot be stored. */
export function tooLarge({ door }: Connection, next: Held | null | undefined): RondoError | null {
  return next ? door.options.coordinator.checkValue(next.value.length) : null
}

/** Cluster time, whole milliseconds. */
export function nowMs(coordinator: Coordinator): number {
  return Math.ceil(coordinator.nowMs())
}
