/** mget, mset and mdelete: many keys in one request, each with its own result. */
import type { KeyStore, ServedBy } from '../../coordinator/api.ts'
import { removeKey, writeValue, type CallOptions } from '../../coordinator/promises.ts'
import { HIT, MISS } from '../../commands/run/lookups.ts'
import { versionText } from '../../core/clock.ts'
import { KIND_VALUE } from '../../core/codec.ts'
import { asRondoError, RondoError } from '../../core/errors.ts'
import { storedKey } from '../../core/keys.ts'
import { ARGUMENT_BYTES } from '../ledger.ts'
import { bodyOf, checkObject, parseObjectInTurns, saysJson } from './body.ts'
import { JSON_TYPE, type Exchange } from './exchange.ts'
import { isLong, objectAround, Pieces } from './json-text.ts'
import { databaseFromQuery, keyFromText, parseKeyEncoding, type KeyEncoding } from './key-path.ts'
import type { KeysOptions } from './keys.ts'
import { answerTooLarge, keyNotFound, liveOrLoaded, notAString } from '../values.ts'
import { Work } from './turns.ts'
import { levelFromQuery, ttlFromJson, ttlSeconds, valueFromJson, valueToJson } from './value.ts'

export interface BatchOptions extends KeysOptions {
  readonly maxBatchKeys: number
  readonly maxBatchBytes: number
}

export type BatchCall = 'mget' | 'mset' | 'mdelete'

/** Keys read at once: limits how much of a large response is in memory before its size is known. */
const WINDOW = 64
const WINDOW_BYTES = 1024 * 1024
/** Base64 needs 1.4 bytes for one of a value; text that JSON escapes needs up to six. */
const MOST_TEXT_PER_VALUE = 2

/** A value in a response is held as it was read, as text, and as JSON. */
const HELD_TIMES = 3

type Result = Record<string, unknown>

interface Item {
  /** As it was sent. */
  readonly key: string
  /** Its name on the nodes. */
  readonly bytes: Buffer
  /** It is too long to be stored: there is no value under it. */
  readonly isTooLong: boolean
  readonly value: Buffer
  readonly ttl: number
}

export async function handleBatch(exchange: Exchange, call: BatchCall, options: BatchOptions): Promise<void> {
  const query = exchange.query(['consistency', 'db', 'keyEncoding'])
  const byDefault = call === 'mget' ? options.readConsistency : options.writeConsistency
  const level = levelFromQuery(query.consistency, byDefault)
  exchange.level = level
  const naming = {
    encoding: parseKeyEncoding(query.keyEncoding),
    database: databaseFromQuery(query.db, options.databases),
  }
  if (!saysJson(exchange.req)) {
    throw new RondoError('BAD_REQUEST', 'Send JSON, and say so: Content-Type: application/json.')
  }
  const body = await bodyOf(exchange, options.maxBatchBytes, 'MAX_BATCH_BYTES')
  // Check everything before writing anything: an error in the last item leaves the first unwritten.
  const work = new Work()
  const parse = call === 'mset' ? parseItems : parseKeys
  const items = await parse(body, naming, options, work)
  // Count it again, for the parsed copy.
  const refused = exchange.hold(body.length + items.length * ARGUMENT_BYTES)
  if (refused) throw refused
  const onServed = (by: ServedBy) => exchange.servedBy(by)
  const asked = { requester: exchange.requester, level, onServed }
  const doOne =
    call === 'mget'
      ? reader(options, asked, exchange, work)
      : (call === 'mset' ? writer : remover)(options, asked)
  const answer = new Pieces()
  answer.push('{"results":[')
  for (let at = 0; at < items.length;) {
    if (call === 'mget') exchange.checkWanted()
    const window = windowAt(items, at)
    const results = await Promise.all(window.map(doOne))
    results.forEach((result, i) => {
      if (at + i > 0) answer.push(',')
      answer.push(Array.isArray(result) ? result : JSON.stringify(result))
    })
    at += window.length
  }
  answer.push(']}')
  answer.flush()
  await exchange.sendPieces(200, ['Content-Type', JSON_TYPE], answer.all)
}

/** The next keys to read at once, limited in number and in bytes of values. */
function windowAt(items: readonly Item[], from: number): Item[] {
  let bytes = 0
  let end = from
  while (end < items.length && end - from < WINDOW && bytes < WINDOW_BYTES)
    bytes += items[end++]!.value.length
  return items.slice(from, end)
}

async function parseKeys(body: Buffer, naming: Naming, options: BatchOptions, work: Work): Promise<Item[]> {
  const shape = { depth: 2, entries: options.maxBatchKeys }
  const { keys } = await parseObjectInTurns(body, ['keys'], shape, work)
  return checkList(keys, '"keys"', options).map((key) => ({
    ...parseKey(key, naming, options.store),
    value: Buffer.alloc(0),
    ttl: 0,
  }))
}

async function parseItems(body: Buffer, naming: Naming, options: BatchOptions, work: Work): Promise<Item[]> {
  const shape = { depth: 3, entries: options.maxBatchKeys }
  const { items } = await parseObjectInTurns(body, ['items'], shape, work)
  const parsed: Item[] = []
  for (const [i, entry] of checkList(items, '"items"', options).entries()) {
    const object = checkObject(entry, ['key', 'value', 'ttl', 'encoding'], `Item ${i}`)
    const value = valueFromJson(object)
    const tooLarge = options.store.checkValue(value.length)
    if (tooLarge) throw tooLarge
    const named = parseKey(object.key, naming, options.store, { isStored: true })
    parsed.push({
      ...named,
      value,
      ttl: ttlFromJson(object.ttl),
    })
    const turn = work.spend(value.length)
    if (turn) await turn
  }
  return parsed
}

function checkList(list: unknown, name: string, { maxBatchKeys }: BatchOptions): unknown[] {
  if (!Array.isArray(list)) throw new RondoError('BAD_REQUEST', `${name} must be an array.`)
  if (list.length > maxBatchKeys) {
    const sentence = `${name} has ${list.length} entries; at most ${maxBatchKeys} are allowed (MAX_BATCH_KEYS).`
    throw new RondoError('BAD_REQUEST', sentence)
  }
  return list
}

/** How the keys of a request are to be read. */
interface Naming {
  readonly encoding: KeyEncoding
  readonly database: number
}

function parseKey(
  key: unknown,
  { encoding, database }: Naming,
  store: KeyStore,
  { isStored = false } = {},
): Pick<Item, 'key' | 'bytes' | 'isTooLong'> {
  if (typeof key !== 'string' || key === '')
    throw new RondoError('BAD_REQUEST', 'Every key must be a string, not empty.')
  const bytes = keyFromText(key, encoding)
  const unusable = store.checkKey(bytes)
  const isTooLong = unusable?.code === 'KEY_TOO_LONG'
  if (unusable && (isStored || !isTooLong)) throw unusable
  return { key, bytes: storedKey(database, bytes), isTooLong }
}

function reader(
  options: BatchOptions,
  asked: CallOptions,
  exchange: Exchange,
  work: Work,
): (item: Item) => Promise<Result | Buffer[]> {
  const { store, loader, maxBatchBytes } = options
  let valueBytes = 0
  let textBytes = 0
  return async ({ key, bytes, isTooLong }) => {
    try {
      if (valueBytes > maxBatchBytes) throw answerTooLarge(maxBatchBytes, 'MAX_BATCH_BYTES')
      const live = isTooLong ? null : await liveOrLoaded({ store, loader }, bytes, asked)
      exchange.lookedUp('mget', live ? HIT : MISS)
      if (!live) return { key, ...errorOf(keyNotFound()) }
      const { record } = live
      if (record.kind !== KIND_VALUE) return { key, ...errorOf(notAString('HTTP')) }
      valueBytes += record.value.length
      if (valueBytes > maxBatchBytes) throw answerTooLarge(maxBatchBytes, 'MAX_BATCH_BYTES')
      const refused = exchange.hold(record.value.length * HELD_TIMES)
      if (refused) throw refused
      const ttl = ttlSeconds(live.expiresAtMs, store.nowMs())
      const version = versionText(record.version)
      if (!isLong(record.value)) {
        await work.spend(record.value.length)
        return { key, ...valueToJson(record.value), ttl, version }
      }
      const after = `,"ttl":${ttl},"version":"${version}"`
      const pieces = await objectAround(`"key":${JSON.stringify(key)},`, record.value, after, work)
      textBytes += pieces.reduce((sum, piece) => sum + piece.length, 0)
      if (textBytes > MOST_TEXT_PER_VALUE * maxBatchBytes)
        throw answerTooLarge(maxBatchBytes, 'MAX_BATCH_BYTES')
      return pieces
    } catch (error) {
      return { key, ...errorOf(error) }
    }
  }
}

function writer({ store, defaultTtlMs }: BatchOptions, asked: CallOptions): (item: Item) => Promise<Result> {
  return async ({ key, bytes, value, ttl }) => {
    const lifeMs = ttl > 0 ? ttl * 1000 : defaultTtlMs
    const expiresAtMs = lifeMs > 0 ? Math.ceil(store.nowMs()) + lifeMs : 0
    try {
      const version = await writeValue(store, bytes, value, expiresAtMs, asked)
      return { key, message: 'ok', version: versionText(version) }
    } catch (error) {
      return { key, ...errorOf(error) }
    }
  }
}

function remover({ store }: BatchOptions, asked: CallOptions): (item: Item) => Promise<Result> {
  return async ({ key, bytes, isTooLong }) => {
    try {
      if (!isTooLong) await removeKey(store, bytes, asked)
      return { key, message: 'ok' }
    } catch (error) {
      return { key, ...errorOf(error) }
    }
  }
}

function errorOf(thrown: unknown): Result {
  const { code, message, details } = asRondoError(thrown)
  return { code, error: message, ...details }
}
