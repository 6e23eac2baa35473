/**
 * Commands over all keys: SCAN, DBSIZE, RANDOMKEY, and KEYS and FLUSHALL, which ALLOW_DANGEROUS_COMMANDS can refuse. All of them
 * use the coordinator's listing, which returns every key once and no internal one.
 */
import { removeKey } from '../../coordinator/promises.ts'
import type { KeyPage, ListRequest, Requester } from '../../coordinator/api.ts'
import { RondoError } from '../../core/errors.ts'
import { storedKey } from '../../core/keys.ts'
import { integerArgument, word } from '../arguments.ts'
import type { Caller } from '../model.ts'
import { errorOf } from '../errors.ts'
import { OK, RespError, type Reply } from '../reply.ts'
import { writeOptions } from '../run/held.ts'
import { inSlices } from '../run/slices.ts'
import { CommandError, SYNTAX_ERROR } from '../step.ts'

const DEFAULT_COUNT = 10
const MAX_COUNT = 1000
/** Keys per call of the listing. */
const PAGE = 1000
/** DBSIZE counts up to so many keys one by one. */
export const EXACT_KEYS = 50_000
/** How often a flush reports its progress. */
const REPORT_EVERY_MS = 5000
/** Overhead of a key that is held. */
const KEY_BYTES = 96

export async function scan(caller: Caller, args: readonly Buffer[]): Promise<Reply> {
  const { store } = caller
  const { cursors } = caller
  const cursor = cursors.toCursor(args[1]!.toString('latin1'))
  if (cursor === null) throw new CommandError('ERR invalid cursor')
  const { match, count, type } = scanOptions(args)
  // There are no others.
  if (type !== null && type !== 'STRING') return ['0', []]
  const page = await store.list({
    database: caller.settings.database,
    match,
    cursor,
    count,
    isWanted: () => !caller.unheard,
  })
  return [cursors.toNumber(page.cursor), page.keys]
}

/** @throws CommandError */
function scanOptions(args: readonly Buffer[]): { match: Buffer | null; count: number; type: string | null } {
  let match: Buffer | null = null
  let count = DEFAULT_COUNT
  let type: string | null = null
  for (let i = 2; i < args.length; i += 2) {
    const value = args[i + 1]
    if (value === undefined) throw new CommandError(SYNTAX_ERROR)
    switch (word(args[i]!)) {
      case 'COUNT': {
        const given = integerArgument(value)
        if (given < 1) throw new CommandError(SYNTAX_ERROR)
        count = Math.min(Number(given), MAX_COUNT)
        break
      }
      case 'MATCH':
        match = value
        break
      case 'TYPE':
        type = word(value)
        break
      default:
        throw new CommandError(SYNTAX_ERROR)
    }
  }
  return { match, count, type }
}

type Walk = Pick<ListRequest, 'database' | 'match' | 'isWanted'>

/** All keys, page by page. */
async function* pagesOf({ store }: Caller, walk: Walk) {
  let next: Promise<KeyPage> | null = store.list({ ...walk, cursor: '0', count: PAGE })
  while (next) {
    const { keys, cursor }: KeyPage = await next
    // The next page is listed while this one is used.
    next = cursor === '0' ? null : store.list({ ...walk, cursor, count: PAGE })
    next?.catch(() => undefined) // if it fails, the await above throws
    yield keys
  }
}

export function randomKey({ store, settings }: Caller): Promise<Reply> {
  return store.randomKey(settings.database)
}

/** DBSIZE. */
export async function countKeys({ store, settings }: Caller): Promise<Reply> {
  return (await store.roughCounts(EXACT_KEYS)).counts.get(settings.database) ?? 0
}

export async function keys(caller: Caller, args: readonly Buffer[]): Promise<Reply> {
  checkAllowed(caller, 'KEYS', 'use SCAN')
  const { account } = caller
  const found: Buffer[] = []
  let bytes = 0
  const { maxReplyBytes } = caller.settings
  let heldBytes = 0
  try {
    for await (const keys of pagesOf(caller, {
      database: caller.settings.database,
      match: args[1]!,
      isWanted: () => !caller.unheard,
    })) {
      const pageBytes = keys.reduce((sum, key) => sum + key.length, 0)
      for (const key of keys) found.push(key)
      bytes += pageBytes
      if (bytes > maxReplyBytes) {
        throw new CommandError(
          `ERR KEYS found more than ${maxReplyBytes} bytes of keys (MAX_REPLY_BYTES); use SCAN.`,
        )
      }
      heldBytes += pageBytes + keys.length * KEY_BYTES
      account.add(pageBytes + keys.length * KEY_BYTES)
      if (account.isRefused) throw account.refusal()
    }
    return found
  } finally {
    account.add(-heldBytes)
  }
}

/**
 * FLUSHALL and FLUSHDB: deletes every key that exists when it starts and is not written meanwhile, or fails with the
 * number that were not deleted. As in Redis, it goes on when its client closes the connection.
 */
export async function flush(caller: Caller, args: readonly Buffer[]): Promise<Reply> {
  checkAllowed(caller, word(args[0]!), 'delete keys by name')
  if (args.length > 2 || (args.length === 2 && !['SYNC', 'ASYNC'].includes(word(args[1]!)))) {
    throw new CommandError(SYNTAX_ERROR)
  }
  const database = word(args[0]!) === 'FLUSHDB' ? caller.settings.database : null
  const { deleted, failures, stopped } = await deleteAll(caller, database)
  const first = failures[0] ?? stopped
  if (!first) {
    caller.store.onFlushed(database)
    return OK
  }
  const { text } = errorOf(first)
  const others = stopped
    ? `${failures.length} were not, or may not have been, and the rest was not reached`
    : `${failures.length} were not, or may not have been`
  return new RespError(`${text} (${deleted} keys were deleted, ${others})`)
}

interface Flushed {
  readonly deleted: number
  readonly failures: readonly RondoError[]
  /** Why it ended before the last key: these could not be listed. */
  readonly stopped: RondoError | null
}

async function deleteAll(caller: Caller, database: number | null): Promise<Flushed> {
  const { store } = caller
  const beganAtMs = store.nowMs()
  let reportAtMs = beganAtMs + REPORT_EVERY_MS
  let deleted = 0
  let stopped: RondoError | null = null
  const failures: RondoError[] = []
  const report = (finished: boolean) => {
    const seconds = (store.nowMs() - beganAtMs) / 1000
    const why = stopped?.message ?? null
    caller.onFlush({ database, deleted, failed: failures.length, seconds, finished, stopped: why })
  }
  const options = { ...writeOptions(caller), requester: lasting() }
  try {
    for await (const keys of pagesOf(caller, { database, match: null })) {
      await inSlices(caller, keys.length, (i) => {
        const key = database === null ? keys[i]! : storedKey(database, keys[i]!)
        const failed = (error: RondoError) => void failures.push(error)
        return removeKey(store, key, options).then(() => void deleted++, failed)
      })
      if (store.nowMs() < reportAtMs) continue
      reportAtMs += REPORT_EVERY_MS
      report(false)
    }
  } catch (error) {
    if (!(error instanceof RondoError)) throw error
    stopped = error
  }
  if (stopped || reportAtMs > beganAtMs + REPORT_EVERY_MS) report(true)
  return { deleted, failures, stopped }
}

/** Its operations are not dropped when the client closes the connection. */
function lasting(): Requester {
  return { waiting: 0, begunAtMs: 0, gone: false, noneWaits: () => undefined }
}

/** @throws CommandError */
function checkAllowed(caller: Caller, name: string, instead: string): void {
  if (caller.settings.allowDangerousCommands) return
  throw new CommandError(
    `ERR ${name} is not allowed: it works on all keys of the cluster, and ALLOW_DANGEROUS_COMMANDS is false; ${instead}.`,
  )
}
