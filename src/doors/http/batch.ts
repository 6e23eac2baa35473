/** mget, mset and mdelete: many keys in one request, each with its own result. */
import type { Asker } from '../../coordinator/asker.ts'
import type { Coordinator } from '../../coordinator/coordinator.ts'
import type { WriteDone } from '../../coordinator/write.ts'
import { versionText } from '../../core/clock.ts'
import type { StoredRecord } from '../../core/codec.ts'
import type { ConsistencyLevel } from '../../core/consistency.ts'
import { RondoError } from '../../core/errors.ts'
import { checkObject, parseObject, readBody, saysJson } from './body.ts'
import { asRondoError, type Exchange } from './exchange.ts'
import { keyFromText, parseKeyEncoding, type KeyEncoding } from './key-path.ts'
import { keyNotFound, type KeysOptions } from './keys.ts'
import { levelFromQuery, ttlFromJson, ttlSeconds, valueFromJson, valueToJson } from './value.ts'

export interface BatchOptions extends KeysOptions {
  readonly maxBatchKeys: number
  readonly maxBatchBytes: number
}

export type BatchCall = 'mget' | 'mset' | 'mdelete'

/** Keys asked for at once: bounds how much of a large answer is in memory before its size is known. */
const WINDOW = 64

type Result = Record<string, unknown>

interface Item {
  /** As it was sent. */
  readonly key: string
  readonly bytes: Buffer
  readonly value: Buffer
  readonly ttl: number
}

export async function handleBatch(exchange: Exchange, call: BatchCall, options: BatchOptions): Promise<void> {
  const query = exchange.query(['consistency', 'keyEncoding'])
  const byDefault = call === 'mget' ? options.readConsistency : options.writeConsistency
  const level = levelFromQuery(query.consistency, byDefault)
  const encoding = parseKeyEncoding(query.keyEncoding)
  if (!saysJson(exchange.req)) {
    throw new RondoError('BAD_REQUEST', 'Send JSON, and say so: Content-Type: application/json.')
  }
  const body = await new Promise<Buffer>((resolve, reject) => {
    readBody(exchange, options.maxBatchBytes, 'MAX_BATCH_BYTES', (error, bytes) =>
      error ? reject(error) : resolve(bytes),
    )
  })
  // Everything is checked before anything is done: a mistake in the last item leaves the first unwritten.
  const items = call === 'mset' ? parseItems(body, encoding, options) : parseKeys(body, encoding, options)
  const does = call === 'mget' ? reader : call === 'mset' ? writer : remover
  const work = does(options, level, exchange.asker)
  const results: Result[] = []
  for (let at = 0; at < items.length; at += WINDOW) {
    results.push(...(await Promise.all(items.slice(at, at + WINDOW).map(work))))
  }
  exchange.json(200, { results })
}

function parseKeys(body: Buffer, encoding: KeyEncoding, options: BatchOptions): Item[] {
  const { keys } = parseObject(body, ['keys'])
  return checkList(keys, '"keys"', options).map((key) => ({
    ...parseKey(key, encoding, options.coordinator),
    value: Buffer.alloc(0),
    ttl: 0,
  }))
}

function parseItems(body: Buffer, encoding: KeyEncoding, options: BatchOptions): Item[] {
  const { items } = parseObject(body, ['items'])
  return checkList(items, '"items"', options).map((entry, i) => {
    const object = checkObject(entry, ['key', 'value', 'ttl', 'encoding'], `Item ${i}`)
    const value = valueFromJson(object)
    const tooLarge = options.coordinator.checkValue(value.length)
    if (tooLarge) throw tooLarge
    return { ...parseKey(object.key, encoding, options.coordinator), value, ttl: ttlFromJson(object.ttl) }
  })
}

function checkList(list: unknown, name: string, { maxBatchKeys }: BatchOptions): unknown[] {
  if (!Array.isArray(list)) throw new RondoError('BAD_REQUEST', `${name} must be an array.`)
  if (list.length > maxBatchKeys) {
    const sentence = `${name} has ${list.length} entries; at most ${maxBatchKeys} are allowed (MAX_BATCH_KEYS).`
    throw new RondoError('BAD_REQUEST', sentence)
  }
  return list
}

function parseKey(
  key: unknown,
  encoding: KeyEncoding,
  coordinator: Coordinator,
): { key: string; bytes: Buffer } {
  if (typeof key !== 'string' || key === '')
    throw new RondoError('BAD_REQUEST', 'Every key must be a string, not empty.')
  const bytes = keyFromText(key, encoding)
  const unusable = coordinator.checkKey(bytes)
  if (unusable) throw unusable
  return { key, bytes }
}

function reader(
  options: BatchOptions,
  level: ConsistencyLevel,
  asker: Asker,
): (item: Item) => Promise<Result> {
  const { coordinator } = options
  let answerBytes = 0
  return async ({ key, bytes }) => {
    try {
      if (answerBytes > options.maxBatchBytes) throw answerTooLarge(options)
      const record = await readKey(coordinator, bytes, level, asker)
      if (!coordinator.isLive(record)) return { key, ...errorOf(keyNotFound()) }
      answerBytes += record.value.length
      if (answerBytes > options.maxBatchBytes) throw answerTooLarge(options)
      const ttl = ttlSeconds(await coordinator.expiresAtMs(bytes, record), coordinator.nowMs())
      return { key, ...valueToJson(record.value), ttl, version: versionText(record.version) }
    } catch (error) {
      return { key, ...errorOf(error) }
    }
  }
}

function answerTooLarge({ maxBatchBytes }: BatchOptions): RondoError {
  const sentence = `The values of this request exceed ${maxBatchBytes} bytes (MAX_BATCH_BYTES): ask for fewer keys.`
  return new RondoError('VALUE_TOO_LARGE', sentence)
}

function writer(
  { coordinator, defaultTtlMs }: BatchOptions,
  level: ConsistencyLevel,
  asker: Asker,
): (item: Item) => Promise<Result> {
  return ({ key, bytes, value, ttl }) => {
    const lifeMs = ttl > 0 ? ttl * 1000 : defaultTtlMs
    const expiresAtMs = lifeMs > 0 ? Math.ceil(coordinator.nowMs()) + lifeMs : 0
    return new Promise((resolve) => {
      const done: WriteDone = {
        asker,
        written: (version) => resolve({ key, message: 'ok', version: versionText(version) }),
        failed: (error) => resolve({ key, ...errorOf(error) }),
      }
      coordinator.write(bytes, value, expiresAtMs, done, level)
    })
  }
}

function remover(
  { coordinator }: BatchOptions,
  level: ConsistencyLevel,
  asker: Asker,
): (item: Item) => Promise<Result> {
  return ({ key, bytes }) =>
    new Promise((resolve) => {
      const done: WriteDone = {
        asker,
        written: () => resolve({ key, message: 'ok' }),
        failed: (error) => resolve({ key, ...errorOf(error) }),
      }
      coordinator.remove(bytes, done, level)
    })
}

function readKey(
  coordinator: Coordinator,
  key: Buffer,
  level: ConsistencyLevel,
  asker: Asker,
): Promise<StoredRecord | null> {
  return new Promise((resolve, reject) => {
    coordinator.read(key, { asker, read: resolve, failed: reject }, level)
  })
}

function errorOf(thrown: unknown): Result {
  const { code, message, details } = asRondoError(thrown)
  return { code, error: message, ...details }
}
