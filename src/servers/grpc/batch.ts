/**
 * Methods on many keys. Everything is checked before anything is read or written; after that each key has a result of its own, as
 * over HTTP (mget, mset, mdelete).
 */
import { HIT, MISS } from '../../commands/run/lookups.ts'
import { removeKey, type CallOptions } from '../../coordinator/promises.ts'
import { asRondoError, RondoError } from '../../core/errors.ts'
import { storedKey } from '../../core/keys.ts'
import { ARGUMENT_BYTES } from '../ledger.ts'
import { answerTooLarge, keyNotFound } from '../values.ts'
import type { GrpcCall } from './call.ts'
import { checkSet, find, set, unusableKey, type Run, type SetRequest } from './methods.ts'
import type { CallHost, GrpcServerOptions } from './options.ts'

interface KeysRequest {
  readonly keys: readonly Buffer[]
}

interface ItemsRequest {
  readonly items: readonly SetRequest[]
}

interface Result {
  readonly key: Buffer
}

/** At most so many keys at once, and about so many bytes of values. */
const WINDOW = 64
const WINDOW_BYTES = 256 * 1024
/** Of a result, beside its key and its value. */
const RESULT_BYTES = 64

export const ofManyKeys: Readonly<Record<string, Run>> = {
  async BatchGet(call: GrpcCall, { keys }: KeysRequest, host) {
    checkCount(keys, '"keys"', host.options)
    const database = begin(call, keys, host.options, false)
    const get = reader(call, host, database, call.asked(host.options.readConsistency))
    return { results: await inWindows(keys, get, () => call.checkWanted(), lengthOf) }
  },

  async BatchSet(call: GrpcCall, { items }: ItemsRequest, { options }) {
    checkCount(items, '"items"', options)
    for (const item of items) checkSet(item, options)
    const keys = items.map(({ key }) => key)
    const database = begin(call, keys, options, true)
    const asked = call.asked(options.writeConsistency)
    const write = (item: SetRequest) =>
      resultOf(item.key, async () => ({
        stored: { version: await set(storedKey(database, item.key), item, options, asked) },
      }))
    return { results: await inWindows(items, write, undefined, ({ value }) => value.length) }
  },

  async BatchDelete(call: GrpcCall, { keys }: KeysRequest, { options }) {
    checkCount(keys, '"keys"', options)
    const database = begin(call, keys, options, false)
    const asked = call.asked(options.writeConsistency)
    const remove = (key: Buffer) =>
      resultOf(key, async () => {
        if (!isTooLong(key, options)) await removeKey(options.store, storedKey(database, key), asked)
        return { deleted: {} }
      })
    return { results: await inWindows(keys, remove, undefined, lengthOf) }
  },
}

function lengthOf(key: Buffer): number {
  return key.length
}

function checkCount(list: readonly unknown[], name: string, { maxBatchKeys }: GrpcServerOptions): void {
  if (list.length <= maxBatchKeys) return
  const sentence = `${name} has ${list.length} entries; at most ${maxBatchKeys} are allowed (MAX_BATCH_KEYS).`
  throw new RondoError('BAD_REQUEST', sentence)
}

/** Checks the keys, and counts their memory. @returns the database */
function begin(
  call: GrpcCall,
  keys: readonly Buffer[],
  { store }: GrpcServerOptions,
  isStored: boolean,
): number {
  const { database } = call
  for (const key of keys) {
    const unusable = unusableKey(key, store)
    // No key is as long, so it holds nothing.
    if (unusable && (isStored || unusable.code !== 'KEY_TOO_LONG')) throw unusable
  }
  call.hold(keys.length * ARGUMENT_BYTES)
  return database
}

function isTooLong(key: Buffer, { store }: GrpcServerOptions): boolean {
  return store.checkKey(key) !== null
}

function reader(
  call: GrpcCall,
  host: CallHost,
  database: number,
  asked: CallOptions,
): (key: Buffer) => Promise<Result> {
  const { options } = host
  const { maxBatchBytes, grpcMaxSendBytes } = options
  let valueBytes = 0
  let answerBytes = 0
  const checkRoom = () => {
    if (valueBytes > maxBatchBytes) throw answerTooLarge(maxBatchBytes, 'MAX_BATCH_BYTES')
    if (answerBytes > grpcMaxSendBytes) throw answerTooLarge(grpcMaxSendBytes, 'GRPC_MAX_SEND_BYTES')
  }
  return (key) =>
    resultOf(key, async () => {
      checkRoom()
      const found = isTooLong(key, options) ? null : await find(storedKey(database, key), options, asked)
      host.lookedUp('batchget', found === null ? MISS : HIT)
      if (found === null) throw keyNotFound()
      if (found instanceof RondoError) throw found
      valueBytes += found.value.length
      answerBytes += found.value.length + key.length + RESULT_BYTES
      checkRoom()
      call.hold(found.value.length)
      return { found }
    })
}

async function resultOf(key: Buffer, run: () => Promise<object>): Promise<Result> {
  try {
    return { key, ...(await run()) }
  } catch (thrown) {
    const { code, message, details } = asRondoError(thrown)
    const { outcome = '', acked = 0, required = 0 } = details
    return { key, error: { code, message, outcome, acked, required } } as Result
  }
}

/** @param checkWanted throws if nobody waits for the results */
async function inWindows<T>(
  items: readonly T[],
  run: (item: T) => Promise<Result>,
  checkWanted: (() => void) | undefined,
  bytesOf: (item: T) => number,
): Promise<Result[]> {
  const results: Result[] = []
  while (results.length < items.length) {
    checkWanted?.()
    let bytes = 0
    let end = results.length
    while (end < items.length && end - results.length < WINDOW && bytes < WINDOW_BYTES) {
      bytes += bytesOf(items[end++]!)
    }
    results.push(...(await Promise.all(items.slice(results.length, end).map(run))))
  }
  return results
}
