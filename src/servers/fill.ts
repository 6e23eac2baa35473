/**
 * Fill leases for clients that load by themselves: RONDO FILL and GET ?fill= ask for one, RONDO FILLED and PUT ?fill= store
 * what was loaded.
 *
 * The token that a client gets is the lease in hexadecimal. It is no secret: a fill that names it stores nothing but what a
 * plain write of the same client could, and less often.
 */
import type { KeyStore, Requester } from '../coordinator/api.ts'
import { readRecord } from '../coordinator/promises.ts'
import { VERSION_BYTES } from '../core/clock.ts'
import { KIND_VALUE, type StoredRecord } from '../core/codec.ts'
import { strongerOf, type ConsistencyLevel } from '../core/consistency.ts'
import { RondoError } from '../core/errors.ts'
import { NONCE_BYTES, type Asked, type Fills, type Lease } from '../loader/fills.ts'

export interface FillStore {
  readonly store: KeyStore
  readonly fills: Fills
}

/**
 * `hit`: the value. `absent`: the origin is known to have none. `load`: it is the client's to load, by the token. `stale`: the
 * value has expired, and another loads it. `wait`: another still loads it; ask again.
 */
export interface FillAnswer {
  readonly status: 'hit' | 'absent' | 'load' | 'stale' | 'wait'
  /** Stale beside `load`, if there is one. */
  readonly record: StoredRecord | null
  readonly token: string | null
}

export interface FillRequest {
  readonly requester: Requester
  readonly level: ConsistencyLevel
  readonly writeLevel: ConsistencyLevel
  readonly timeoutMs: number
}

export const DEFAULT_FILL_MS = 5000
const MOST_FILL_MS = 60_000
const EPOCH_BYTES = 6
const TOKEN = new RegExp(`^[0-9a-f]{${2 * (NONCE_BYTES + VERSION_BYTES + EPOCH_BYTES)}}$`)

/**
 * @param key its name on the nodes
 * @param timeoutMs how long the client may load, or waits for another that does
 * @param writeLevel of the deletes that its fill may not pass
 * @throws RondoError
 */
export async function askToFill(
  { store, fills }: FillStore,
  key: Buffer,
  { requester, level, writeLevel, timeoutMs }: FillRequest,
): Promise<FillAnswer> {
  const record = await readRecord(store, key, { requester, level })
  if (store.isLive(record)) return hit(record)
  if (fills.isKnownAbsent(record)) return { status: 'absent', record: null, token: null }
  const stale = fills.staleOf(record)
  const times = { leaseMs: timeoutMs, waitMs: timeoutMs }
  const asked = await fills.ask(key, record, { level, ...times, onlyLease: stale !== null })
  switch (asked.kind) {
    case 'found':
      return asked.record.kind === KIND_VALUE
        ? hit(asked.record)
        : { status: 'absent', record: null, token: null }
    case 'lease':
      return leased({ store, fills }, key, asked, { requester, level, writeLevel, timeoutMs })
    case 'failed':
      if (stale) return { status: 'stale', record: stale, token: null }
      throw new RondoError('LOAD_FAILED', asked.why)
    case 'late':
      return { status: stale ? 'stale' : 'wait', record: stale, token: null }
  }
}

async function leased(
  { store, fills }: FillStore,
  key: Buffer,
  { lease, stale }: Extract<Asked, { kind: 'lease' }>,
  { requester, level, writeLevel, timeoutMs }: FillRequest,
): Promise<FillAnswer> {
  try {
    // Whoever has gone meanwhile will not load it.
    const marked = requester.gone
      ? null
      : await fills.mark(key, lease, timeoutMs, strongerOf(level, writeLevel))
    if (marked) return { status: 'load', record: stale, token: tokenOf(marked) }
  } catch (error) {
    await fills.giveUp(key, lease).catch(() => undefined)
    throw error
  }
  await fills.giveUp(key, lease)
  const record = await readRecord(store, key, { requester, level })
  return store.isLive(record) ? hit(record) : { status: 'wait', record: null, token: null }
}

/** @returns null if something newer was written meanwhile, or the key was deleted */
export async function storeFill(
  { store, fills }: FillStore,
  key: Buffer,
  lease: Lease,
  value: Buffer,
  expiresAtMs: number,
  level: ConsistencyLevel,
  tags?: Buffer,
): Promise<StoredRecord | null> {
  const tooLarge = store.checkValue(value.length)
  if (tooLarge) throw tooLarge
  const staleMs = expiresAtMs > 0 ? fills.staleMs : 0
  return fills.fill(key, lease, { kind: KIND_VALUE, value, expiresAtMs, staleMs, tags }, level)
}

/** Seconds as in a command or query; null = not a time that a client can wait. */
export function fillMsOf(text: string): number | null {
  const ms = /^\d{1,6}(\.\d{1,9})?$/.test(text) ? Math.round(Number(text) * 1000) : 0
  return ms >= 1 && ms <= MOST_FILL_MS ? ms : null
}

export const FILL_MS_MUST_BE = 'a number of seconds from 0.001 to 60'

export function tokenOf({ nonce, seen, epoch }: Lease): string {
  const epochBytes = Buffer.alloc(EPOCH_BYTES)
  epochBytes.writeUIntBE(epoch, 0, EPOCH_BYTES)
  return Buffer.concat([nonce, seen, epochBytes]).toString('hex')
}

/** Null = it is no token. */
export function leaseOf(token: string): Lease | null {
  if (!TOKEN.test(token)) return null
  const bytes = Buffer.from(token, 'hex')
  const seenEnd = NONCE_BYTES + VERSION_BYTES
  return {
    nonce: bytes.subarray(0, NONCE_BYTES),
    seen: bytes.subarray(NONCE_BYTES, seenEnd),
    epoch: bytes.readUIntBE(seenEnd, EPOCH_BYTES),
  }
}

/** @throws RondoError WRONG_TYPE */
function hit(record: StoredRecord): FillAnswer {
  if (record.kind !== KIND_VALUE)
    throw new RondoError('WRONG_TYPE', 'The key holds a collection, which nobody fills.')
  return { status: 'hit', record, token: null }
}
