/**
 * The hot path of the keys API: PUT, GET, HEAD and DELETE of /api/v1/keys/:key.
 *
 * It runs before Express, both in our own server and in createApp(): most of the time would be spent in Express.
 */
import type { Requester, KeyStore, ReadDone, ServedBy, UpdateDone, WriteDone } from '../../coordinator/api.ts'
import { HIT, MISS } from '../../commands/run/lookups.ts'
import { liveWithEnd, readRecord, taggingOf } from '../../coordinator/promises.ts'
import { versionText, type Version } from '../../core/clock.ts'
import { KIND_VALUE, type StoredRecord } from '../../core/codec.ts'
import type { ConsistencyLevel } from '../../core/consistency.ts'
import { RondoError } from '../../core/errors.ts'
import type { LoadDone, Loading, ReadThrough } from '../../loader/api.ts'
import type { Fills, Lease } from '../../loader/fills.ts'
import { tagsFromQuery } from './tags.ts'
import { askToFill, FILL_MS_MUST_BE, fillMsOf, leaseOf, storeFill } from '../fill.ts'
import { storedKey } from '../../core/keys.ts'
import { keyNotFound, notAString } from '../values.ts'
import {
  FLAT,
  LONG_JSON_BYTES,
  parseObject,
  parseObjectInTurns,
  readBody,
  saysJson,
  type JsonObject,
} from './body.ts'
import { ageOf, hitHeaders, loadedHeaders } from './cache-status.ts'
import { conditionOf, deleteIf, putIf, type Condition } from './condition.ts'
import { JSON_TYPE, type Exchange } from './exchange.ts'
import { isLong, objectAround } from './json-text.ts'
import {
  databaseFromQuery,
  keyFromSegment,
  keyToText,
  parseKeyEncoding,
  type KeyEncoding,
} from './key-path.ts'
import { Work } from './turns.ts'
import { levelFromQuery, ttlFromJson, ttlFromQuery, ttlSeconds, valueFromJson, valueToJson } from './value.ts'

export const KEYS_PREFIX = '/api/v1/keys/'

export interface KeysOptions {
  readonly store: KeyStore
  /** Null: nothing is loaded. */
  readonly loader: ReadThrough | null
  /** See StepLimits. */
  readonly loads?: boolean
  readonly fills: Fills
  readonly readConsistency: ConsistencyLevel
  readonly writeConsistency: ConsistencyLevel
  /** Milliseconds, 0 = none. */
  readonly defaultTtlMs: number
  readonly maxValueBytes: number
  readonly databases: number
}

/** A JSON string may need six bytes for one byte of a value (`\u0001`). */
const JSON_BYTES_PER_VALUE_BYTE = 6
const JSON_FRAME_BYTES = 1024
/** The right to load a key, in the answer to GET ?fill=. */
const FILL_HEADER = 'Rondo-Fill'
const NONE: readonly string[] = []
const CONDITIONS = ['if-match', 'if-none-match', 'if-modified-since', 'if-unmodified-since', 'if-range']
const PUT_MEMBERS = ['value', 'ttl', 'encoding']

export class KeysHandler {
  private readonly options: KeysOptions

  constructor(options: KeysOptions) {
    this.options = options
  }

  get(exchange: Exchange): void {
    const query = exchange.query(['consistency', 'db', 'fill', 'keyEncoding'])
    const level = levelFromQuery(query.consistency, this.options.readConsistency)
    const encoding = parseKeyEncoding(query.keyEncoding)
    const { key, stored } = this.keyOf(exchange, encoding, query.db)
    const { store, loader } = this.options
    exchange.level = level
    const loads = loader !== null && query.fill === undefined && isPlainGet(exchange) ? loader : null
    const answer = new GetAnswer(
      { store, loader: loads, hasOrigin: loader !== null },
      exchange,
      { key, stored },
      encoding,
      level,
    )
    if (query.fill === undefined || exchange.req.method === 'HEAD') store.read(stored, answer, level)
    else this.askToFill(query.fill, stored, answer).catch((error: unknown) => exchange.fail(error))
  }

  private async askToFill(seconds: string, stored: Buffer, answer: GetAnswer): Promise<void> {
    const timeoutMs = fillMsOf(seconds)
    if (timeoutMs === null) throw new RondoError('BAD_REQUEST', `"fill" must be ${FILL_MS_MUST_BE}.`)
    const { requester, level } = answer
    const asked = { requester, level, writeLevel: this.options.writeConsistency, timeoutMs }
    const { status, record, token } = await askToFill(this.options, stored, asked)
    if (status === 'wait') {
      throw new RondoError('CONFLICT', 'Another client still loads this key: ask again, or load it yourself.')
    }
    answer.filled(record, token === null ? [] : [FILL_HEADER, token])
  }

  put(exchange: Exchange): void {
    const condition = conditionOf(exchange.req)
    const isJson = saysJson(exchange.req)
    const query = exchange.query(['consistency', 'db', 'fill', 'keyEncoding', 'tags', 'ttl'])
    const lease = leaseFromQuery(query.fill, condition)
    if (isJson && query.ttl !== undefined) {
      throw new RondoError('BAD_REQUEST', 'With a JSON body the ttl stands in the body, not in the query.')
    }
    const level = levelFromQuery(query.consistency, this.options.writeConsistency)
    exchange.level = level
    const { stored: key } = this.keyOf(exchange, parseKeyEncoding(query.keyEncoding), query.db)
    const tags = tagsFromQuery(this.options, query.tags, query.db)
    const queryTtl = ttlFromQuery(query.ttl)
    const { maxValueBytes } = this.options
    const limit = isJson ? maxValueBytes * JSON_BYTES_PER_VALUE_BYTE + JSON_FRAME_BYTES : maxValueBytes
    readBody(exchange, limit, 'MAX_VALUE_BYTES', (error, body) => {
      try {
        if (error) throw error
        if (!isJson) {
          this.write(exchange, key, body, queryTtl, { level, condition, lease, tags })
          return
        }
        const write = (object: JsonObject) => {
          this.write(exchange, key, valueFromJson(object), ttlFromJson(object.ttl), {
            level,
            condition,
            lease,
            tags,
          })
        }
        if (body.length <= LONG_JSON_BYTES) write(parseObject(body, PUT_MEMBERS))
        else {
          const parsed = parseObjectInTurns(body, PUT_MEMBERS, FLAT, new Work())
          parsed.then(write).catch((thrown: unknown) => exchange.fail(thrown))
        }
      } catch (thrown) {
        exchange.fail(thrown)
      }
    })
  }

  private write(exchange: Exchange, key: Buffer, value: Buffer, ttl: number, options: WriteOptions): void {
    const { store, defaultTtlMs } = this.options
    const { tags, level } = options
    const tooLarge = store.checkValue(value.length)
    if (tooLarge) throw tooLarge
    const lifeMs = ttl > 0 ? ttl * 1000 : defaultTtlMs
    const expiresAtMs = lifeMs > 0 ? Math.ceil(store.nowMs()) + lifeMs : 0
    if (tags.length === 0) {
      this.store(exchange, { key, value, expiresAtMs, tags: undefined }, options)
      return
    }
    const { requester } = exchange
    taggingOf(store, tags, expiresAtMs, { requester, level })
      .then((tagging) => this.store(exchange, { key, value, expiresAtMs, tags: tagging }, options))
      .catch((error: unknown) => exchange.fail(error))
  }

  private store(
    exchange: Exchange,
    { key, value, expiresAtMs, tags }: Put,
    { level, condition, lease }: WriteOptions,
  ): void {
    const { store } = this.options
    const answer = new PutAnswer(exchange)
    if (lease) {
      storeFill(this.options, key, lease, value, expiresAtMs, level, tags).then(
        (stored) => (stored ? answer.written(stored.version) : answer.failed(overtaken())),
        (error: unknown) => exchange.fail(error),
      )
    } else if (!condition) store.write(key, value, expiresAtMs, answer, level, tags)
    else
      store.update(
        key,
        putIf(condition, value, expiresAtMs, () => store.nowMs(), tags),
        answer,
        level,
        value.length,
      )
  }

  remove(exchange: Exchange): void {
    const condition = conditionOf(exchange.req)
    const query = exchange.query(['consistency', 'db', 'fill', 'keyEncoding'])
    const lease = leaseFromQuery(query.fill, condition)
    const level = levelFromQuery(query.consistency, this.options.writeConsistency)
    exchange.level = level
    const { stored: key } = this.keyOf(exchange, parseKeyEncoding(query.keyEncoding), query.db)
    const { store, fills } = this.options
    const answer = new DeleteAnswer(exchange)
    if (lease) {
      fills.giveUp(key, lease).then(
        () => exchange.sendEmpty(204, []),
        (error: unknown) => exchange.fail(error),
      )
    } else if (!condition) store.remove(key, answer, level)
    else
      store.update(
        key,
        deleteIf(condition, () => store.nowMs()),
        answer,
        level,
      )
  }

  private keyOf(exchange: Exchange, encoding: KeyEncoding, db: string | undefined): NamedKey {
    const database = databaseFromQuery(db, this.options.databases)
    const segment = exchange.path.slice(KEYS_PREFIX.length)
    if (segment === '') throw new RondoError('BAD_REQUEST', `Name a key: ${KEYS_PREFIX}<key>.`)
    const key = keyFromSegment(segment, encoding)
    const unusable = this.options.store.checkKey(key)
    if (unusable) throw unusable
    return { key, stored: storedKey(database, key) }
  }
}

interface WriteOptions {
  readonly level: ConsistencyLevel
  readonly condition: Condition | null
  readonly lease: Lease | null
  /** The keys of its tags. */
  readonly tags: readonly Buffer[]
}

interface Put {
  readonly key: Buffer
  readonly value: Buffer
  readonly expiresAtMs: number
  /** As they are stored. */
  readonly tags: Buffer | undefined
}

/** A key as the client named it, and its name on the nodes. */
interface NamedKey {
  readonly key: Buffer
  readonly stored: Buffer
}

interface GetSources {
  readonly store: KeyStore
  /** Null: it does not load. */
  readonly loader: ReadThrough | null
  /** Others do. */
  readonly hasOrigin: boolean
}

class GetAnswer implements ReadDone, LoadDone {
  private readonly store: KeyStore
  private readonly loader: ReadThrough | null
  private readonly hasOrigin: boolean
  /** Of the response, beside the usual ones. */
  private headers: readonly string[] = NONE
  /** Until then it is remembered that the origin has nothing, cluster time. */
  private absentUntilMs = 0
  private readonly exchange: Exchange
  private readonly key: Buffer
  private readonly stored: Buffer
  private readonly encoding: KeyEncoding
  readonly level: ConsistencyLevel

  constructor(
    { store, loader, hasOrigin }: GetSources,
    exchange: Exchange,
    { key, stored }: NamedKey,
    encoding: KeyEncoding,
    level: ConsistencyLevel,
  ) {
    this.store = store
    this.loader = loader
    this.hasOrigin = hasOrigin
    this.exchange = exchange
    this.key = key
    this.stored = stored
    this.encoding = encoding
    this.level = level
  }

  get requester(): Requester {
    return this.exchange.requester
  }

  read(record: StoredRecord | null, by?: ServedBy): void {
    const { store, exchange } = this
    exchange.servedBy(by)
    if (!store.isLive(record)) {
      // What is remembered of an origin that has nothing has an end.
      this.absentUntilMs = (record as StoredRecord | null)?.expiresAtMs ?? 0
      if (this.loader) this.loader.load(this.stored, record, this.level, this)
      else this.absent()
      return
    }
    if (record.kind !== KIND_VALUE) {
      this.otherType()
      return
    }
    const nearMs = by !== undefined && 'id' in by ? by.ageMs : undefined
    if (nearMs !== undefined || this.hasOrigin) this.hit(record, nearMs)
    const raw = acceptsRaw(exchange)
    if (!record.isForeign || raw) {
      this.answer(record, record.expiresAtMs, raw)
      return
    }
    // A value that Rondo did not write keeps its own TTL, which only its node knows.
    let found: StoredRecord | null = record
    const read = async () => {
      const next = found ?? (await readRecord(store, this.stored, this))
      found = null
      return next
    }
    liveWithEnd(store, this.stored, read).then(
      (live) => (live ? this.answer(live.record, live.expiresAtMs, raw) : this.absent()),
      (error: unknown) => exchange.fail(error),
    )
  }

  /** With an origin, a value is as old as it was loaded; otherwise, a copy is as old as it was fetched. */
  private hit(record: StoredRecord, nearMs = 0): void {
    const nowMs = this.store.nowMs()
    const ageMs = this.hasOrigin ? ageOf(record, nowMs) : nearMs
    this.headers = hitHeaders(record.expiresAtMs, ageMs, nowMs)
  }

  loaded(record: StoredRecord | null, loading: Loading | null): void {
    const nowMs = this.store.nowMs()
    if (loading) this.headers = loadedHeaders(record, loading, nowMs)
    else if (!record && this.absentUntilMs > nowMs) this.headers = hitHeaders(this.absentUntilMs, null, nowMs)
    this.answerLoaded(record, loading === null)
  }

  /** @param headers to answer as well */
  filled(record: StoredRecord | null, headers: readonly string[]): void {
    this.headers = headers
    this.answerLoaded(record, true)
  }

  private answerLoaded(record: StoredRecord | null, isHeld: boolean): void {
    if (!record) this.absent()
    else if (record.kind !== KIND_VALUE) this.otherType()
    else {
      const nowMs = this.store.nowMs()
      const isStale = record.expiresAtMs > 0 && record.expiresAtMs <= nowMs
      if (isHeld && isStale) {
        this.headers = [...this.headers, ...hitHeaders(record.expiresAtMs, ageOf(record, nowMs), nowMs)]
      }
      this.answer(record, record.expiresAtMs, acceptsRaw(this.exchange))
    }
  }

  private get method(): string {
    return this.exchange.req.method === 'HEAD' ? 'head' : 'get'
  }

  private otherType(): void {
    this.exchange.lookedUp(this.method, HIT)
    this.exchange.fail(notAString('HTTP'))
  }

  private absent(): void {
    this.exchange.lookedUp(this.method, MISS)
    this.exchange.fail(keyNotFound(), { headers: this.headers })
  }

  failed(error: RondoError, by?: ServedBy | Loading): void {
    if (by !== undefined && 'isStored' in by) this.headers = loadedHeaders(null, by, this.store.nowMs())
    else this.exchange.servedBy(by)
    this.exchange.fail(error, { headers: this.headers })
  }

  private answer(record: StoredRecord, expiresAtMs: number, raw: boolean): void {
    this.exchange.lookedUp(this.method, HIT)
    const version = versionText(record.version)
    if (raw) {
      this.exchange.send(
        200,
        ['Content-Type', 'application/octet-stream', 'ETag', `"${version}"`, ...this.headers],
        record.value,
      )
      return
    }
    const ttl = ttlSeconds(expiresAtMs, this.store.nowMs())
    const after = `,"key":${JSON.stringify(keyToText(this.key, this.encoding))},"ttl":${ttl},"version":"${version}"`
    const headers = ['Content-Type', JSON_TYPE, 'ETag', `"${version}"`, ...this.headers]
    if (isLong(record.value)) {
      this.answerInTurns(record.value, after, headers).catch((error: unknown) => this.exchange.fail(error))
      return
    }
    const { value, encoding } = valueToJson(record.value)
    const marked = encoding ? `,"encoding":"${encoding}"` : ''
    this.exchange.send(200, headers, `{"value":${JSON.stringify(value)}${marked}${after}}`)
  }

  private async answerInTurns(value: Buffer, after: string, headers: string[]): Promise<void> {
    const refused = this.exchange.hold(value.length)
    if (refused) throw refused
    await this.exchange.sendPieces(200, headers, await objectAround('', value, after, new Work()))
  }
}

class PutAnswer implements WriteDone, UpdateDone {
  private readonly exchange: Exchange

  constructor(exchange: Exchange) {
    this.exchange = exchange
  }

  get requester(): Requester {
    return this.exchange.requester
  }

  updated(_before: StoredRecord | null, after: StoredRecord | null, by?: ServedBy): void {
    this.written(after!.version, by)
  }

  written(version: Version, by?: ServedBy): void {
    this.exchange.servedBy(by)
    const text = versionText(version)
    const body = `{"message":"ok","version":"${text}"}`
    this.exchange.send(200, ['Content-Type', JSON_TYPE, 'ETag', `"${text}"`], body)
  }

  failed(error: RondoError, by?: ServedBy): void {
    this.exchange.servedBy(by)
    this.exchange.fail(error)
  }
}

class DeleteAnswer implements WriteDone, UpdateDone {
  private readonly exchange: Exchange

  constructor(exchange: Exchange) {
    this.exchange = exchange
  }

  get requester(): Requester {
    return this.exchange.requester
  }

  updated(_before: StoredRecord | null, after: StoredRecord | null, by?: ServedBy): void {
    this.written(after!.version, by)
  }

  written(_version: Version, by?: ServedBy): void {
    this.exchange.servedBy(by)
    this.exchange.sendEmpty(204, [])
  }

  failed(error: RondoError, by?: ServedBy): void {
    this.exchange.servedBy(by)
    this.exchange.fail(error)
  }
}

/** @throws RondoError BAD_REQUEST */
function leaseFromQuery(token: string | undefined, condition: Condition | null): Lease | null {
  if (token === undefined) return null
  const lease = leaseOf(token)
  if (!lease) throw new RondoError('BAD_REQUEST', `"fill" must be what GET has answered as ${FILL_HEADER}.`)
  if (condition) throw new RondoError('BAD_REQUEST', 'Send "fill" or a precondition, not both.')
  return lease
}

function overtaken(): RondoError {
  const sentence = 'Something newer was written under the key, or it was deleted, while it was loaded.'
  return new RondoError('PRECONDITION_FAILED', sentence, { outcome: 'not-applied' })
}

export function methodNotAllowed(method: string | undefined, allowed: string): RondoError {
  return new RondoError(
    'METHOD_NOT_ALLOWED',
    `${method ?? 'This method'} is not allowed here; allowed: ${allowed}.`,
  )
}

/** HEAD only looks, and so does a conditional GET. */
export function isPlainGet({ req }: Exchange): boolean {
  const { headers } = req
  const isConditional = CONDITIONS.some((name) => headers[name] !== undefined)
  return req.method === 'GET' && !isConditional
}

function acceptsRaw(exchange: Exchange): boolean {
  const accept = exchange.req.headers.accept
  return accept !== undefined && /^\s*application\/octet-stream\b/i.test(accept)
}
