/**
 * Commands over all keys: SCAN, DBSIZE, RANDOMKEY, and KEYS, which ALLOW_DANGEROUS_COMMANDS can refuse. All of them use the
 * coordinator's listing, which returns every key once and no internal one. So does flush.ts.
 */
import type { KeyPage, ListRequest } from '../../coordinator/api.ts'
import { integerArgument, word } from '../arguments.ts'
import type { Caller } from '../model.ts'
import type { Reply } from '../reply.ts'
import { CommandError, SYNTAX_ERROR } from '../step.ts'
import { kindNamed } from '../type-names.ts'

const DEFAULT_COUNT = 10
const MAX_COUNT = 1000
/** Keys per call of the listing. */
const PAGE = 1000
/** DBSIZE counts up to so many keys one by one. */
export const EXACT_KEYS = 50_000
/** Overhead of a key that is held. */
const KEY_BYTES = 96

export async function scan(caller: Caller, args: readonly Buffer[]): Promise<Reply> {
  const { store } = caller
  const { cursors } = caller
  const cursor = cursors.toCursor(args[1]!.toString('latin1'))
  if (cursor === null) throw new CommandError('ERR invalid cursor')
  const { match, count, type } = scanOptions(args)
  const kind = type === null ? null : kindNamed(type)
  // There are no others.
  if (type !== null && kind === null) return ['0', []]
  const page = await store.list({
    database: caller.settings.database,
    match,
    kind,
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
export async function* pagesOf({ store }: Caller, walk: Walk) {
  let next: Promise<KeyPage> | null = store.list({ ...walk, cursor: '0', count: PAGE })
  while (next) {
    const { keys, cursor }: KeyPage = await next
    // The next page is listed while this one is used.
    next = cursor === '0' ? null : store.list({ ...walk, cursor, count: PAGE })
    next?.catch(() => undefined) // if it fails, the await above throws
    yield keys
  }
}

export function randomKey(caller: Caller): Promise<Reply> {
  return caller.store.randomKey(caller.settings.database, () => !caller.unheard)
}

/** DBSIZE. */
export async function countKeys(caller: Caller): Promise<Reply> {
  const { counts } = await caller.store.roughCounts(EXACT_KEYS, () => !caller.unheard)
  return counts.get(caller.settings.database) ?? 0
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

/** @throws CommandError */
export function checkAllowed(caller: Caller, name: string, instead: string): void {
  if (caller.settings.allowDangerousCommands) return
  throw new CommandError(
    `ERR ${name} is not allowed: it works on all keys of the cluster, and ALLOW_DANGEROUS_COMMANDS is false; ${instead}.`,
  )
}
