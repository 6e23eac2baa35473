/** What servers and commands see of loading. */
import type { StoredRecord } from '../core/codec.ts'
import type { ConsistencyLevel } from '../core/consistency.ts'
import type { RondoError } from '../core/errors.ts'

/** How the origin was asked. */
export interface Loading {
  /** Because what there was had expired. */
  readonly isStale: boolean
  /** What it has answered is kept. */
  readonly isStored: boolean
  /** Together with another request, here or at another coordinator. */
  readonly isCollapsed: boolean
}

/** Exactly one of its methods is called, once. */
export interface LoadDone {
  /**
   * @param record live, or stale: expired a short while ago; null = the origin has nothing either
   * @param loading null = the origin was not asked for it, or its answer not waited for
   */
  loaded(record: StoredRecord | null, loading: Loading | null): void
  failed(error: RondoError, loading: Loading): void
}

export interface ReadThrough {
  /**
   * For a read that found nothing live.
   *
   * @param key its name on the nodes @param missed what the read found
   */
  load(key: Buffer, missed: StoredRecord | null, level: ConsistencyLevel, done: LoadDone): void
}

export interface LoadOptions {
  /** Of the key. */
  readonly database: number
  /** Aborted when nobody waits for the result any more: it took too long, or the process stops. */
  readonly signal: AbortSignal
}

/** Bytes, or text; null = there is no such value. */
export type Loaded = Uint8Array | string | null

/** Where values come from. May be called for several keys at once, for one key once at a time. */
export type LoadFunction = (
  key: Buffer,
  options: LoadOptions,
) => Promise<Loaded | { readonly value: Loaded; readonly ttlMs: number }>

/** Loading failed; the message is a sentence for clients. */
export class LoadFailure extends Error {}

/** The same call as a promise. @throws RondoError */
export function loadRecord(
  loader: ReadThrough,
  key: Buffer,
  missed: StoredRecord | null,
  level: ConsistencyLevel,
): Promise<StoredRecord | null> {
  return new Promise((loaded, failed) => loader.load(key, missed, level, { loaded, failed }))
}
