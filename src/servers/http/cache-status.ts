/**
 * What HTTP says of an answer that a cache had a part in: `Cache-Status` (RFC 9211) and `Age` (RFC 9111). Two do: the near
 * cache, in front of the nodes, and read-through, in front of an origin. Without them the nodes are the origin, and there is
 * nothing to say.
 *
 *   rondo; hit                           from the near cache; with an origin: stored in Rondo
 *   rondo; hit; ttl=57                   the same, of a value that ends in 57 s; ttl=-12: served although it ended 12 s ago
 *   rondo; fwd=miss; ttl=60; stored      loaded, and stored
 *   rondo; fwd=stale; …                  loaded instead of an expired value
 *   rondo; fwd=miss; …; collapsed        another request loaded it, here or at another coordinator
 */
import { versionMs } from '../../core/clock.ts'
import type { StoredRecord } from '../../core/codec.ts'
import type { Loading } from '../../loader/api.ts'

const CACHE = 'rondo'

/** @param expiresAtMs 0 = never @param ageMs of what is answered; null = unknown */
export function hitHeaders(expiresAtMs: number, ageMs: number | null, nowMs: number): readonly string[] {
  return headersOf([CACHE, 'hit', ...ttlOf(expiresAtMs, nowMs)], ageMs)
}

/** @param record what was loaded; null = the origin has nothing, or failed */
export function loadedHeaders(
  record: StoredRecord | null,
  loading: Loading,
  nowMs: number,
): readonly string[] {
  const parts = [
    CACHE,
    `fwd=${loading.isStale ? 'stale' : 'miss'}`,
    ...ttlOf(record?.expiresAtMs ?? 0, nowMs),
  ]
  if (loading.isStored) parts.push('stored')
  if (loading.isCollapsed) parts.push('collapsed')
  return headersOf(parts, record && ageOf(record, nowMs))
}

/** Since it was stored; null = it has no version that tells. */
export function ageOf({ isForeign, version }: StoredRecord, nowMs: number): number | null {
  return isForeign ? null : Math.max(0, nowMs - versionMs(version))
}

function ttlOf(expiresAtMs: number, nowMs: number): readonly string[] {
  if (expiresAtMs === 0) return []
  // As the `ttl` of the body: nothing that lives has 0 s left, and nothing that has ended is new.
  const seconds = (expiresAtMs - nowMs) / 1000
  return [`ttl=${seconds > 0 ? Math.ceil(seconds) : Math.floor(seconds)}`]
}

function headersOf(parts: readonly string[], ageMs: number | null): readonly string[] {
  const status = ['Cache-Status', parts.join('; ')]
  return ageMs === null ? status : [...status, 'Age', String(Math.floor(ageMs / 1000))]
}
