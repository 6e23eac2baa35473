/** The atomic operations on one key: POST /api/v1/keys/:key/incr, /append, /getdel, /expire and /persist. */
import { append, expireAt, increment, live, take } from '../../commands/modify.ts'
import type { Modify } from '../../coordinator/api.ts'
import { updateKey, type Updated } from '../../coordinator/promises.ts'
import type { StoredRecord } from '../../core/codec.ts'
import { RondoError } from '../../core/errors.ts'
import { bodyOf, FLAT, parseObjectInTurns, saysJson, type JsonObject } from './body.ts'
import type { Exchange } from './exchange.ts'
import { keyFromSegment, keyToText, parseKeyEncoding } from './key-path.ts'
import { keyNotFound, KEYS_PREFIX, type KeysOptions } from './keys.ts'
import { sendRecord } from './record.ts'
import { Work } from './turns.ts'
import { levelFromQuery, ttlFromJson, valueFromJson } from './value.ts'

export const OPERATIONS = ['incr', 'append', 'getdel', 'expire', 'persist'] as const
export type Operation = (typeof OPERATIONS)[number]

/** Members of each operation's body; optional where the operation has a default. */
const MEMBERS: Record<Operation, readonly string[]> = {
  incr: ['by'],
  append: ['value', 'encoding'],
  getdel: [],
  expire: ['ttl'],
  persist: [],
}

const BODY_FRAME_BYTES = 1024
const JSON_BYTES_PER_VALUE_BYTE = 6

export async function handleOperation(
  exchange: Exchange,
  operation: Operation,
  options: KeysOptions,
): Promise<void> {
  const { store, writeConsistency, maxValueBytes } = options
  const query = exchange.query(['consistency', 'keyEncoding'])
  const level = levelFromQuery(query.consistency, writeConsistency)
  const encoding = parseKeyEncoding(query.keyEncoding)
  const key = keyFromSegment(exchange.path.slice(KEYS_PREFIX.length, -operation.length - 1), encoding)
  const unusable = store.checkKey(key)
  if (unusable) throw unusable
  const limit = maxValueBytes * JSON_BYTES_PER_VALUE_BYTE + BODY_FRAME_BYTES
  const body = await bodyOf(exchange, limit, 'MAX_VALUE_BYTES')
  const work = new Work()
  const object = await objectOf(exchange, body, MEMBERS[operation], work)
  const modify = modifierOf(operation, object, options)
  const updated = await updateKey(store, key, modify, { asker: exchange.asker, level })
  const shown = shownOf(operation, updated, store.nowMs())
  await sendRecord(exchange, keyToText(key, encoding), shown, store.nowMs(), work)
}

function objectOf(
  exchange: Exchange,
  body: Buffer,
  members: readonly string[],
  work: Work,
): Promise<JsonObject> {
  if (!saysJson(exchange.req)) {
    // This also stops cross-site posts of browsers: JSON needs a CORS preflight.
    throw new RondoError(
      'BAD_REQUEST',
      'Send JSON, and say so: Content-Type: application/json (a body of {} will do).',
    )
  }
  return parseObjectInTurns(body.length === 0 ? Buffer.from('{}') : body, members, FLAT, work)
}

/** @throws RondoError BAD_REQUEST */
function modifierOf(operation: Operation, object: JsonObject, options: KeysOptions): Modify {
  const { store, maxValueBytes } = options
  const nowMs = () => store.nowMs()
  switch (operation) {
    case 'incr':
      return making(increment.bind(null, integerOf(object.by)), options)
    case 'append':
      return making(append.bind(null, valueFromJson(object), maxValueBytes), options)
    case 'getdel':
      return take(nowMs)
    case 'expire': {
      const ttl = ttlFromJson(object.ttl)
      if (ttl === 0)
        throw new RondoError('BAD_REQUEST', '"ttl" must be at least 1 second; persist removes the expiry.')
      return expireAt(Math.ceil(nowMs()) + ttl * 1000, nowMs)
    }
    case 'persist':
      return expireAt(0, nowMs)
  }
}

/** An operation that creates a missing key, with the expiry that PUT would give it. */
function making(modifyAt: (nowMs: () => number) => Modify, { store, defaultTtlMs }: KeysOptions): Modify {
  return (current) => {
    const nowMs = store.nowMs()
    const modified = modifyAt(() => nowMs)(current)
    if (modified.kind !== 'write' || defaultTtlMs === 0 || live(current, nowMs)) return modified
    return { kind: 'write', record: { ...modified.record, expiresAtMs: Math.ceil(nowMs) + defaultTtlMs } }
  }
}

/** Default 1; above 2^53 a string, because JSON numbers are exact only up to there. */
function integerOf(by: unknown): bigint {
  if (by === undefined) return 1n
  if (typeof by === 'number' && Number.isSafeInteger(by)) return BigInt(by)
  if (typeof by === 'string' && /^-?\d{1,19}$/.test(by)) return BigInt(by)
  throw new RondoError('BAD_REQUEST', '"by" must be a whole number (as a string beyond 2^53).')
}

function shownOf(operation: Operation, { before, after }: Updated, nowMs: number): StoredRecord {
  // A missing key is an error, except for incr and append, which create it.
  const shown = operation === 'getdel' ? live(before, nowMs) : after
  if (!shown || (operation !== 'getdel' && !shown.isLive(nowMs))) throw keyNotFound()
  return shown
}
