/**
 * The atomic operations on one key: POST /api/v1/keys/:key/incr, /append, /getdel, /expire and /persist. They run the
 * steps of the Redis protocol's INCRBY, APPEND, GETDEL, EXPIRE and PERSIST; this file has the requests and responses.
 */
import { isInt64 } from '../../commands/arguments.ts'
import { refusalIn } from '../../commands/errors.ts'
import { expire, persist } from '../../commands/keys/expiry.ts'
import { nowMs } from '../../commands/run/held.ts'
import { changeKey, type KeyChanged } from '../../commands/run/one-key.ts'
import { areStrings, WRONG_TYPE, type Step, type StepMaker } from '../../commands/step.ts'
import { incrby } from '../../commands/strings/numbers.ts'
import { append, getdel } from '../../commands/strings/values.ts'
import type { KeyStore } from '../../coordinator/api.ts'
import type { StoredRecord } from '../../core/codec.ts'
import { RondoError } from '../../core/errors.ts'
import { storedKey } from '../../core/keys.ts'
import { bodyOf, FLAT, parseObjectInTurns, saysJson, type JsonObject } from './body.ts'
import type { Exchange } from './exchange.ts'
import { databaseFromQuery, keyFromSegment, keyToText, parseKeyEncoding } from './key-path.ts'
import { KEYS_PREFIX, type KeysOptions } from './keys.ts'
import { keyNotFound } from '../values.ts'
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
  const query = exchange.query(['consistency', 'db', 'keyEncoding'])
  const level = levelFromQuery(query.consistency, writeConsistency)
  exchange.level = level
  const encoding = parseKeyEncoding(query.keyEncoding)
  const database = databaseFromQuery(query.db, options.databases)
  const key = keyFromSegment(exchange.path.slice(KEYS_PREFIX.length, -operation.length - 1), encoding)
  const unusable = store.checkKey(key)
  if (unusable) throw unusable
  const limit = maxValueBytes * JSON_BYTES_PER_VALUE_BYTE + BODY_FRAME_BYTES
  const body = await bodyOf(exchange, limit, 'MAX_VALUE_BYTES')
  const work = new Work()
  const object = await objectOf(exchange, body, MEMBERS[operation], work)
  const step = stepOf(operation, storedKey(database, key), object, options)
  const changed = await changeKey(store, step, {
    requester: exchange.requester,
    level,
    onServed: (by) => exchange.servedBy(by),
  })
  const refused = refusalIn(changed.reply)
  if (refused) throw refused
  exchange.lookedUp(operation, changed.lookups)
  const shown = shownOf(operation, changed, store)
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

/**
 * The same step as the Redis protocol's. It finds no fault in its arguments: they are checked here, in the terms of HTTP.
 *
 * @param key its name on the nodes
 * @throws RondoError BAD_REQUEST
 */
function stepOf(operation: Operation, key: Buffer, object: JsonObject, options: KeysOptions): Step {
  const made = (make: StepMaker, ...args: Buffer[]) =>
    make([Buffer.from(operation), key, ...args], nowMs(options.store), {
      ...options,
      database: 0,
      random: noChance,
    })
  switch (operation) {
    case 'incr':
      return made(incrby, Buffer.from(String(integerOf(object.by))))
    case 'append':
      return made(append, valueFromJson(object))
    case 'getdel':
      return made(getdel)
    case 'expire': {
      const ttl = ttlFromJson(object.ttl)
      if (ttl === 0)
        throw new RondoError('BAD_REQUEST', '"ttl" must be at least 1 second; persist removes the expiry.')
      return ofString(made(expire, Buffer.from(String(ttl))))
    }
    case 'persist':
      return ofString(made(persist))
  }
}

/** The response has the value, so a collection is refused. */
function ofString(step: Step): Step {
  if (step.needs !== 'value') return step
  return {
    ...step,
    apply: (held: Parameters<typeof step.apply>[0], now: number) =>
      areStrings(held) ? step.apply(held, now) : WRONG_TYPE,
  }
}

/** INCRBY and the others choose nothing. */
function noChance(): number {
  throw new Error('no operation chooses at random')
}

/** Default 1; above 2^53 a string, because JSON numbers are exact only up to there. */
function integerOf(by: unknown): bigint {
  if (by === undefined) return 1n
  if (typeof by === 'number' && Number.isSafeInteger(by)) return BigInt(by)
  if (typeof by === 'string' && /^-?\d{1,19}$/.test(by) && isInt64(BigInt(by))) return BigInt(by)
  throw new RondoError('BAD_REQUEST', '"by" must be a whole number (as a string beyond 2^53).')
}

/**
 * What getdel has deleted; otherwise what the key holds now.
 * @throws RondoError KEY_NOT_FOUND: only incr and append make a missing key
 */
function shownOf(operation: Operation, { reply, before, after }: KeyChanged, store: KeyStore): StoredRecord {
  if (operation === 'getdel') {
    if (reply !== null) return before!
  } else if (store.isLive(after)) return after
  throw keyNotFound()
}
