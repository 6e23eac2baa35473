/**
 * The keys API on the hot path: PUT, GET, HEAD and DELETE of /api/v1/keys/:key.
 *
 * One function, mounted in front of Express (server.ts) and inside it (app.ts), so that supertest and users of
 * createApp() get what the network gets. It uses nothing of Express: that is where most of the time would go.
 */
import type { Coordinator } from '../../coordinator/coordinator.ts'
import type { ReadDone } from '../../coordinator/read.ts'
import type { WriteDone } from '../../coordinator/write.ts'
import { versionText, type Version } from '../../core/clock.ts'
import type { StoredRecord } from '../../core/codec.ts'
import type { ConsistencyLevel } from '../../core/consistency.ts'
import { RondoError } from '../../core/errors.ts'
import { parseObject, readBody, saysJson } from './body.ts'
import { JSON_TYPE, type Exchange } from './exchange.ts'
import { keyFromSegment, keyToText, parseKeyEncoding, type KeyEncoding } from './key-path.ts'
import { levelFromQuery, ttlFromJson, ttlFromQuery, ttlSeconds, valueFromJson, valueToJson } from './value.ts'

export const KEYS_PREFIX = '/api/v1/keys/'
const KEY_ROUTE = '/api/v1/keys/:key'
const KEY_METHODS = 'GET, HEAD, PUT, DELETE'

export interface KeysOptions {
  readonly coordinator: Coordinator
  readonly readConsistency: ConsistencyLevel
  readonly writeConsistency: ConsistencyLevel
  /** Milliseconds, 0 = none. */
  readonly defaultTtlMs: number
  readonly maxValueBytes: number
}

/** A JSON string may spell one byte of a value in six (`\u0001`). */
const JSON_BYTES_PER_VALUE_BYTE = 6
const JSON_FRAME_BYTES = 1024

/** Whether this path names one key, and nothing below it. */
export function isKeyPath(path: string): boolean {
  return path.startsWith(KEYS_PREFIX) && !path.includes('/', KEYS_PREFIX.length)
}

export class KeysHandler {
  private readonly options: KeysOptions

  constructor(options: KeysOptions) {
    this.options = options
  }

  /** Call for paths that isKeyPath() takes, after the guard. */
  handle(exchange: Exchange): void {
    exchange.route = KEY_ROUTE
    try {
      switch (exchange.req.method) {
        case 'GET':
        case 'HEAD':
          this.get(exchange)
          return
        case 'PUT':
          this.put(exchange)
          return
        case 'DELETE':
          this.remove(exchange)
          return
        default:
          exchange.fail(methodNotAllowed(exchange.req.method, KEY_METHODS), {
            headers: ['Allow', KEY_METHODS],
          })
      }
    } catch (error) {
      exchange.fail(error, { close: hasUnreadBody(exchange) })
    }
  }

  private get(exchange: Exchange): void {
    const query = exchange.query(['consistency', 'keyEncoding'])
    levelFromQuery(query.consistency, this.options.readConsistency)
    const encoding = parseKeyEncoding(query.keyEncoding)
    const key = this.keyOf(exchange, encoding)
    this.options.coordinator.read(key, new GetAnswer(this.options.coordinator, exchange, key, encoding))
  }

  private put(exchange: Exchange): void {
    refuseConditions(exchange)
    const isJson = saysJson(exchange.req)
    const query = exchange.query(['consistency', 'keyEncoding', 'ttl'])
    if (isJson && query.ttl !== undefined) {
      throw new RondoError('BAD_REQUEST', 'With a JSON body the ttl stands in the body, not in the query.')
    }
    levelFromQuery(query.consistency, this.options.writeConsistency)
    const key = this.keyOf(exchange, parseKeyEncoding(query.keyEncoding))
    const queryTtl = ttlFromQuery(query.ttl)
    const { maxValueBytes } = this.options
    const limit = isJson ? maxValueBytes * JSON_BYTES_PER_VALUE_BYTE + JSON_FRAME_BYTES : maxValueBytes
    readBody(exchange.req, limit, 'MAX_VALUE_BYTES', (error, body) => {
      try {
        if (error) throw error
        if (!isJson) {
          this.write(exchange, key, body, queryTtl)
          return
        }
        const object = parseObject(body, ['value', 'ttl', 'encoding'])
        this.write(exchange, key, valueFromJson(object), ttlFromJson(object.ttl))
      } catch (thrown) {
        exchange.fail(thrown, { close: error !== null })
      }
    })
  }

  private write(exchange: Exchange, key: Buffer, value: Buffer, ttl: number): void {
    const { coordinator, defaultTtlMs } = this.options
    const tooLarge = coordinator.checkValue(value.length)
    if (tooLarge) throw tooLarge
    const lifeMs = ttl > 0 ? ttl * 1000 : defaultTtlMs
    const expiresAtMs = lifeMs > 0 ? Math.ceil(coordinator.nowMs()) + lifeMs : 0
    coordinator.write(key, value, expiresAtMs, new PutAnswer(exchange))
  }

  private remove(exchange: Exchange): void {
    refuseConditions(exchange)
    const query = exchange.query(['consistency', 'keyEncoding'])
    levelFromQuery(query.consistency, this.options.writeConsistency)
    const key = this.keyOf(exchange, parseKeyEncoding(query.keyEncoding))
    this.options.coordinator.remove(key, new DeleteAnswer(exchange))
  }

  private keyOf(exchange: Exchange, encoding: KeyEncoding): Buffer {
    const segment = exchange.path.slice(KEYS_PREFIX.length)
    if (segment === '') throw new RondoError('BAD_REQUEST', `Name a key: ${KEYS_PREFIX}<key>.`)
    const key = keyFromSegment(segment, encoding)
    const unusable = this.options.coordinator.checkKey(key)
    if (unusable) throw unusable
    return key
  }
}

class GetAnswer implements ReadDone {
  private readonly coordinator: Coordinator
  private readonly exchange: Exchange
  private readonly key: Buffer
  private readonly encoding: KeyEncoding

  constructor(coordinator: Coordinator, exchange: Exchange, key: Buffer, encoding: KeyEncoding) {
    this.coordinator = coordinator
    this.exchange = exchange
    this.key = key
    this.encoding = encoding
  }

  read(record: StoredRecord | null): void {
    const { coordinator, exchange } = this
    if (!coordinator.isLive(record)) {
      exchange.fail(keyNotFound())
      return
    }
    const raw = acceptsRaw(exchange)
    if (record.versioned || raw) {
      this.answer(record, record.expiresAtMs, raw)
      return
    }
    // A value that Rondo did not write keeps its own TTL, which only its node knows.
    coordinator.expiresAtMs(this.key, record).then(
      (expiresAtMs) => this.answer(record, expiresAtMs, raw),
      (error: unknown) => exchange.fail(error),
    )
  }

  failed(error: RondoError): void {
    this.exchange.fail(error)
  }

  private answer(record: StoredRecord, expiresAtMs: number, raw: boolean): void {
    const version = versionText(record.version)
    if (raw) {
      this.exchange.send(
        200,
        ['Content-Type', 'application/octet-stream', 'ETag', `"${version}"`],
        record.value,
      )
      return
    }
    const { value, encoding } = valueToJson(record.value)
    const ttl = ttlSeconds(expiresAtMs, this.coordinator.nowMs())
    const marked = encoding ? `,"encoding":"${encoding}"` : ''
    const body =
      `{"value":${JSON.stringify(value)}${marked},"key":${JSON.stringify(keyToText(this.key, this.encoding))},` +
      `"ttl":${ttl},"version":"${version}"}`
    this.exchange.send(200, ['Content-Type', JSON_TYPE, 'ETag', `"${version}"`], body)
  }
}

class PutAnswer implements WriteDone {
  private readonly exchange: Exchange

  constructor(exchange: Exchange) {
    this.exchange = exchange
  }

  written(version: Version): void {
    const text = versionText(version)
    const body = `{"message":"ok","version":"${text}"}`
    this.exchange.send(200, ['Content-Type', JSON_TYPE, 'ETag', `"${text}"`], body)
  }

  failed(error: RondoError): void {
    this.exchange.fail(error)
  }
}

class DeleteAnswer implements WriteDone {
  private readonly exchange: Exchange

  constructor(exchange: Exchange) {
    this.exchange = exchange
  }

  written(): void {
    this.exchange.sendEmpty(204, [])
  }

  failed(error: RondoError): void {
    this.exchange.fail(error)
  }
}

export function keyNotFound(): RondoError {
  return new RondoError('KEY_NOT_FOUND', 'key not found')
}

export function methodNotAllowed(method: string | undefined, allowed: string): RondoError {
  return new RondoError(
    'METHOD_NOT_ALLOWED',
    `${method ?? 'This method'} is not allowed here; allowed: ${allowed}.`,
  )
}

function acceptsRaw(exchange: Exchange): boolean {
  const accept = exchange.req.headers.accept
  return accept !== undefined && /^\s*application\/octet-stream\b/i.test(accept)
}

/** To take a conditional write for an unconditional one would lose data. */
function refuseConditions(exchange: Exchange): void {
  const { headers } = exchange.req
  if (headers['if-match'] === undefined && headers['if-none-match'] === undefined) return
  throw new RondoError('BAD_REQUEST', 'Conditional writes (If-Match, If-None-Match) are not offered.', {
    outcome: 'not-applied',
  })
}

/** After an early refusal the rest of the body is not read: the connection cannot serve on. */
function hasUnreadBody(exchange: Exchange): boolean {
  const { headers } = exchange.req
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0
}
