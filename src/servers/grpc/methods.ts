/**
 * The methods on keys: of rondo.v1.Cache, and of the CacheService that go-distributed-cache has. Each is a row with its messages,
 * its limits, and a function from a request to an answer.
 */
import { isUtf8 } from 'node:buffer'
import type { PackageDefinition } from '@grpc/proto-loader'
import { HIT, MISS } from '../../commands/run/lookups.ts'
import { peekRecord, removeKey, writeValue, type CallOptions } from '../../coordinator/promises.ts'
import { versionText } from '../../core/clock.ts'
import { KIND_VALUE } from '../../core/codec.ts'
import { RondoError } from '../../core/errors.ts'
import { storedKey } from '../../core/keys.ts'
import { keyNotFound, liveOrLoaded, MAX_TTL_SECONDS, notAString } from '../values.ts'
import type { GrpcCall } from './call.ts'
import { messageOf, type Codec } from './definitions.ts'
import type { CallHost, GrpcServerOptions } from './options.ts'
import { fieldsIn } from './wire.ts'

/** A request that is decoded; the message's own type is the row's. */
export type Message = object

/** Sends no answer itself: what it returns is one. */
export type Run = (call: GrpcCall, request: never, host: CallHost) => Promise<Message>

export interface Method {
  /** `rondo.v1.Cache/Get` */
  readonly name: string
  readonly request: Codec
  readonly response: Codec
  /** More fields than that have no meaning. */
  readonly mostFields: number
  readonly run: Run
}

export interface KeyRequest {
  readonly key: Buffer
}

export interface SetRequest extends KeyRequest {
  readonly value: Buffer
  readonly ttl_ms?: number
}

export interface Found {
  readonly value: Buffer
  readonly ttl_ms: number
  readonly version: string
}

/** Of a message without a list; it leaves room for fields of later versions. */
export const FEW_FIELDS = 64
const MAX_TTL_MS = MAX_TTL_SECONDS * 1000

/** The rows of a service whose methods and messages have usual names. */
export function methodsOf(
  definitions: PackageDefinition,
  service: string,
  runs: Readonly<Record<string, Run>>,
  limits: (name: string) => number = () => FEW_FIELDS,
  messages = service.slice(0, service.lastIndexOf('.')),
): Method[] {
  return Object.entries(runs).map(([name, run]) => ({
    name: `${service}/${name}`,
    request: messageOf(definitions, `${messages}.${name}Request`),
    response: messageOf(definitions, `${messages}.${name}Response`),
    mostFields: limits(name),
    run,
  }))
}

/** @throws RondoError BAD_REQUEST */
export function decode(
  { request, mostFields }: Pick<Method, 'request' | 'mostFields'>,
  bytes: Buffer,
): Message {
  const fields = fieldsIn(bytes, request.shape, mostFields)
  if (fields !== Infinity && fields > mostFields) throw tooManyFields(mostFields)
  try {
    if (fields !== Infinity) return request.deserialize(bytes)
  } catch {
    // nested deeper than the decoder goes
  }
  throw new RondoError('BAD_REQUEST', 'The request is not a message of this method: it cannot be decoded.')
}

function tooManyFields(most: number): RondoError {
  return new RondoError('BAD_REQUEST', `The request has more than ${most} fields (MAX_BATCH_KEYS).`)
}

export const ofOneKey: Readonly<Record<string, Run>> = {
  async Get(call: GrpcCall, { key }: KeyRequest, host) {
    const stored = storedName(key, call, host.options)
    const found = await find(stored, host.options, call.asked(host.options.readConsistency))
    host.lookedUp('get', found === null ? MISS : HIT)
    if (found === null) throw keyNotFound()
    if (found instanceof RondoError) throw found
    call.hold(found.value.length)
    return found
  },

  async Set(call: GrpcCall, request: SetRequest, host) {
    const { options } = host
    const stored = storedName(request.key, call, options)
    checkSet(request, options)
    const version = await set(stored, request, options, call.asked(options.writeConsistency))
    return { version }
  },

  async Delete(call: GrpcCall, { key }: KeyRequest, { options }) {
    const stored = storedName(key, call, options)
    await removeKey(options.store, stored, call.asked(options.writeConsistency))
    return {}
  },

  async Has(call: GrpcCall, { key }: KeyRequest, host) {
    const { store, readConsistency } = host.options
    const stored = storedName(key, call, host.options)
    const found = store.isLive(await peekRecord(store, stored, 'head', call.asked(readConsistency)))
    host.lookedUp('has', found ? HIT : MISS)
    return { found }
  },
}

/** Text is UTF-8, as everywhere in protobuf; the decoder does not check it. */
export const ofSeed: Readonly<Record<string, Run>> = {
  async Get(call: GrpcCall, { key }: KeyRequest, host) {
    checkText(key, 'key')
    const { value } = (await ofOneKey.Get!(call, { key } as never, host)) as Found
    if (isUtf8(value)) return { value }
    const sentence = 'The value is not UTF-8 text, and this service has text only: use rondo.v1.Cache.'
    throw new RondoError('WRONG_TYPE', sentence)
  },

  async Set(call: GrpcCall, { key, value }: SetRequest, host) {
    checkText(key, 'key')
    checkText(value, 'value')
    await ofOneKey.Set!(call, { key, value } as never, host)
    return {}
  },
}

function checkText(bytes: Buffer, what: string): void {
  if (!isUtf8(bytes)) throw new RondoError('BAD_REQUEST', `The ${what} is not valid UTF-8.`)
}

/** Its name on the nodes. @throws RondoError */
function storedName(key: Buffer, call: GrpcCall, { store }: GrpcServerOptions): Buffer {
  const unusable = unusableKey(key, store)
  if (unusable) throw unusable
  return storedKey(call.database, key)
}

/** Null, or the reason why clients cannot use it. */
export function unusableKey(key: Buffer, store: GrpcServerOptions['store']): RondoError | null {
  if (key.length === 0) return new RondoError('BAD_REQUEST', 'Name a key: "key" is empty.')
  return store.checkKey(key)
}

/** The value of a key, null if there is none, or the reason why it has none that could be told. */
export async function find(
  stored: Buffer,
  options: GrpcServerOptions,
  asked: CallOptions,
): Promise<Found | RondoError | null> {
  const live = await liveOrLoaded(options, stored, asked)
  if (!live) return null
  const { record, expiresAtMs } = live
  if (record.kind !== KIND_VALUE) return notAString('gRPC')
  const leftMs = Math.max(1, expiresAtMs - Math.ceil(options.store.nowMs()))
  return {
    value: record.value,
    ttl_ms: expiresAtMs === 0 ? 0 : leftMs,
    version: versionText(record.version),
  }
}

/** @throws RondoError */
export function checkSet({ value, ttl_ms = 0 }: SetRequest, { store }: GrpcServerOptions): void {
  const tooLarge = store.checkValue(value.length)
  if (tooLarge) throw tooLarge
  if (ttl_ms <= MAX_TTL_MS) return
  throw new RondoError(
    'BAD_REQUEST',
    `"ttl_ms" must be a number of milliseconds from 0 (the default TTL) to ${MAX_TTL_MS}.`,
  )
}

/** @returns the version */
export async function set(
  stored: Buffer,
  { value, ttl_ms = 0 }: SetRequest,
  { store, defaultTtlMs }: GrpcServerOptions,
  asked: CallOptions,
): Promise<string> {
  const lifeMs = ttl_ms > 0 ? ttl_ms : defaultTtlMs
  const expiresAtMs = lifeMs > 0 ? Math.ceil(store.nowMs()) + lifeMs : 0
  return versionText(await writeValue(store, stored, value, expiresAtMs, asked))
}
