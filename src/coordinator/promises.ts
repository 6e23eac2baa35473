/**
 * The port's calls (api.ts) as promises, for everything but the hot paths: a promise and its callbacks cost more than a
 * completion object. Each call starts at once, in the same turn; a failure rejects with its RondoError.
 */
import type {
  ClientCall,
  Requester,
  KeyStore,
  Modify,
  ModifyAll,
  ModifyAllSlowly,
  ReadDone,
  ServedBy,
  TransactDone,
  UpdateDone,
  WriteDone,
} from './api.ts'
import { compareVersions, type Version } from '../core/clock.ts'
import type { PeekedRecord, RecordHead, StoredRecord } from '../core/codec.ts'
import type { ConsistencyLevel } from '../core/consistency.ts'
import type { Part } from '../core/part.ts'

export interface CallOptions {
  /** The connection that asks, with which the operation waits for room at its nodes. */
  readonly requester: Requester
  readonly level: ConsistencyLevel
  /** Where many requests share a connection: the one that asks. */
  readonly call?: ClientCall | undefined
  /** Of a transaction: see TransactDone. */
  readonly isPutOff?: boolean
  /** Called before the promise is settled, if the answer is that of nodes. */
  readonly onServed?: (by: ServedBy) => void
}

export interface ReadOptions extends CallOptions {
  /** See ReadDone. */
  readonly isFollowed?: () => boolean
}

/** Records before and after an update. The same if nothing changed; possibly tombstones or expired; null = nothing. */
export interface Updated {
  readonly before: StoredRecord | null
  readonly after: StoredRecord | null
}

const notFollowed = () => false

/** @returns null = nothing is stored */
export function readRecord(
  store: KeyStore,
  key: Buffer,
  { requester, level, call, onServed, isFollowed = notFollowed }: ReadOptions,
): Promise<StoredRecord | null> {
  return new Promise((resolve, failed) => {
    const read: ReadDone['read'] = (record, by) => {
      if (by) onServed?.(by)
      resolve(record)
    }
    const done: ReadDone = { requester, call, isFollowed, read, failed }
    store.read(key, done, level)
  })
}

/** @returns null = nothing is stored */
export function peekRecord(
  store: KeyStore,
  key: Buffer,
  part: Part,
  { requester, level, call, isFollowed = notFollowed }: ReadOptions,
): Promise<PeekedRecord | null> {
  return new Promise((read, failed) => {
    const done: ReadDone<PeekedRecord> = { requester, call, isFollowed, read, failed }
    store.peek(key, part, done, level)
  })
}

/**
 * A live value and when it expires (cluster time, 0 = never); null = there is none.
 *
 * @param read called again if the value, which Rondo did not write, is gone by the time its end is asked for: it has
 * expired, or was replaced
 */
export async function liveWithEnd<R extends RecordHead>(
  store: Pick<KeyStore, 'isLive' | 'expiresAtMs'>,
  key: Buffer,
  read: () => Promise<R | null>,
): Promise<{ readonly record: R; readonly expiresAtMs: number } | null> {
  for (let tries = 0; tries < 2; tries++) {
    const record = await read()
    if (!store.isLive(record)) return null
    const expiresAtMs = await store.expiresAtMs(key, record)
    if (expiresAtMs !== null) return { record, expiresAtMs }
  }
  return null
}

/** @param expiresAtMs cluster time, 0 = never */
export function writeValue(
  store: KeyStore,
  key: Buffer,
  value: Buffer,
  expiresAtMs: number,
  { requester, level, call, onServed }: CallOptions,
): Promise<Version> {
  return new Promise((resolve, failed) => {
    const written = telling(resolve, onServed)
    store.write(key, value, expiresAtMs, { requester, call, written, failed }, level)
  })
}

/** @param keys of the tags @returns what a value is stored with (KeyStore.tagging) */
export function taggingOf(
  store: KeyStore,
  keys: readonly Buffer[],
  expiresAtMs: number,
  { requester, level }: CallOptions,
): Promise<Buffer> {
  return new Promise((tagging, failed) => {
    store.tagging(keys, expiresAtMs, { requester, tagging, failed }, level)
  })
}

/** @returns the version of the tombstone */
export function removeKey(
  store: KeyStore,
  key: Buffer,
  { requester, level, call, onServed }: CallOptions,
): Promise<Version> {
  return new Promise((resolve, failed) => {
    store.remove(key, { requester, call, written: telling(resolve, onServed), failed }, level)
  })
}

function telling(
  resolve: (version: Version) => void,
  onServed: CallOptions['onServed'],
): WriteDone['written'] {
  return (version, by) => {
    if (by) onServed?.(by)
    resolve(version)
  }
}

/** Deletes what is older than this version. @returns whether it has */
export function removeOlder(
  store: KeyStore,
  key: Buffer,
  before: Version,
  { requester, level, call }: CallOptions,
): Promise<boolean> {
  return new Promise((resolve, failed) => {
    const written = (held: Version) => resolve(compareVersions(held, before) <= 0)
    store.remove(key, { requester, call, written, failed }, level, before)
  })
}

export function updateKey(
  store: KeyStore,
  key: Buffer,
  modify: Modify,
  { requester, level, call, onServed }: CallOptions,
  leastBytes?: number,
): Promise<Updated> {
  return new Promise((resolve, failed) => {
    const updated: UpdateDone['updated'] = (before, after, by) => {
      if (by) onServed?.(by)
      resolve({ before, after })
    }
    store.update(key, modify, { requester, call, updated, failed }, level, leastBytes)
  })
}

/** Records before and after a transaction, by key. */
export interface Transacted {
  readonly before: readonly (StoredRecord | null)[]
  readonly after: readonly (StoredRecord | null)[]
}

export function transactKeys(
  store: KeyStore,
  keys: readonly Buffer[],
  modify: ModifyAll,
  { requester, level, call }: CallOptions,
): Promise<Transacted> {
  return new Promise((resolve, failed) => {
    const transacted: TransactDone['transacted'] = (before, after) => resolve({ before, after })
    const done: TransactDone = { requester, call, transacted, failed }
    store.transact(keys, modify, done, level)
  })
}

export function transactKeysSlowly(
  store: KeyStore,
  keys: readonly Buffer[],
  modify: ModifyAllSlowly,
  { requester, level, call, isPutOff = false }: CallOptions,
): Promise<Transacted> {
  return new Promise((resolve, failed) => {
    const transacted: TransactDone['transacted'] = (before, after) => resolve({ before, after })
    const done: TransactDone = { requester, call, isPutOff, transacted, failed }
    store.transactSlowly(keys, modify, done, level)
  })
}
