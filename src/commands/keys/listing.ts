/**
 * Commands over all keys: SCAN, DBSIZE, RANDOMKEY, and KEYS and FLUSHALL, which need ALLOW_DANGEROUS_COMMANDS. All of them
 * use the coordinator's listing, which returns every key once and no internal one.
 */
import { removeKey } from '../../coordinator/promises.ts'
import type { RondoError } from '../../core/errors.ts'
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
/** Limit for the reply of KEYS. */
const MAX_KEYS_BYTES = 32 * 1024 * 1024

export async function scan(caller: Caller, args: readonly Buffer[]): Promise<Reply> {
  const { store } = caller
  const { cursors } = caller
  const cursor = cursors.toCursor(args[1]!.toString('latin1'))
  if (cursor === null) throw new CommandError('ERR invalid cursor')
  const { match, count, type } = scanOptions(args)
  // There are no others.
  if (type !== null && type !== 'STRING') return ['0', []]
  const page = await store.list({ match, cursor, count })
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

/** All keys, page by page; stops early when nobody waits for it any more. */
async function* pagesOf(caller: Caller, match: Buffer | null = null) {
  const { store } = caller
  let cursor = '0'
  do {
    const page = await store.list({ match, cursor, count: PAGE })
    yield page.keys
    cursor = page.cursor
  } while (cursor !== '0' && !caller.gone)
}

export function randomKey({ store }: Caller): Promise<Reply> {
  return store.randomKey()
}

export function countKeys({ store }: Caller): Promise<Reply> {
  return store.countKeys()
}

export async function keys(caller: Caller, args: readonly Buffer[]): Promise<Reply> {
  checkAllowed(caller, 'KEYS', 'use SCAN')
  const found: Buffer[] = []
  let bytes = 0
  for await (const keys of pagesOf(caller, args[1])) {
    for (const key of keys) {
      found.push(key)
      bytes += key.length
    }
    if (bytes > MAX_KEYS_BYTES) {
      throw new CommandError(`ERR KEYS found more than ${MAX_KEYS_BYTES} bytes of keys; use SCAN`)
    }
  }
  return found
}

/** Deletes every key that exists when it starts and is not written meanwhile, or fails with the number that were not deleted. */
export async function flush(caller: Caller, args: readonly Buffer[]): Promise<Reply> {
  checkAllowed(caller, word(args[0]!), 'delete keys by name')
  if (args.length > 2 || (args.length === 2 && !['SYNC', 'ASYNC'].includes(word(args[1]!)))) {
    throw new CommandError(SYNTAX_ERROR)
  }
  let deleted = 0
  const failures: RondoError[] = []
  for await (const keys of pagesOf(caller)) {
    await inSlices(caller, keys.length, (i) => {
      const failed = (error: RondoError) => void failures.push(error)
      return removeKey(caller.store, keys[i]!, writeOptions(caller)).then(() => void deleted++, failed)
    })
  }
  const first = failures[0]
  if (!first) return OK
  const { text } = errorOf(first)
  return new RespError(
    `${text} (${deleted} keys were deleted, ${failures.length} were not, or may not have been)`,
  )
}

/** @throws CommandError */
function checkAllowed(caller: Caller, name: string, instead: string): void {
  if (caller.settings.allowDangerousCommands) return
  throw new CommandError(
    `ERR ${name} is not allowed: it works on all keys of the cluster. Set ALLOW_DANGEROUS_COMMANDS=true to allow it, or ${instead}.`,
  )
}
