/** What keys hold, between the coordinator's records and the steps of commands. */
import type { Coordinator } from '../../coordinator/coordinator.ts'
import { KIND_TOMBSTONE, KIND_VALUE, type PeekedRecord, type StoredRecord } from '../../core/codec.ts'
import type { ConsistencyLevel } from '../../core/consistency.ts'
import type { Need } from '../../core/part.ts'
import type { RondoError } from '../../core/errors.ts'
import type { Connection } from '../../servers/resp/connection/connection.ts'
import type { Held } from '../step.ts'

const EMPTY = Buffer.alloc(0)

/** Reads of the key as much as is needed. */
export function readNeeded(
  connection: Connection,
  key: Buffer,
  need: Need,
  level: ConsistencyLevel,
): Promise<StoredRecord | PeekedRecord | null> {
  const { added, door } = connection
  const { coordinator } = door.options
  const isFollowed = () => connection.added !== added
  return new Promise((read, failed) => {
    const done = { asker: connection, read, failed, isFollowed }
    if (need === 'value') coordinator.read(key, done, level)
    else coordinator.peek(key, need, done, level)
  })
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
