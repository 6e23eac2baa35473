/**
 * Commands over all keys: SCAN, DBSIZE, RANDOMKEY, and the dangerous ones, KEYS and FLUSHALL, which only
 * ALLOW_DANGEROUS_COMMANDS allows. All of them walk the cluster with the coordinator's listing, which tells every key
 * once and no internal one.
 */
import { randomInt } from 'node:crypto'
import type { RondoError } from '../../core/errors.ts'
import { integerArgument, word } from '../arguments.ts'
import type { Connection } from '../../servers/resp/connection/connection.ts'
import { errorOf } from '../errors.ts'
import { OK, RespError, type Reply } from '../reply.ts'
import { overall, overallOutside, type SessionCommand } from '../../servers/resp/session/session-command.ts'
import { inSlices } from '../run/slices.ts'
import { CommandError, SYNTAX_ERROR } from '../step.ts'

const DEFAULT_COUNT = 10
const MAX_COUNT = 1000
/** Keys looked at with one call of the listing. */
const PAGE = 1000
const RANDOM_PAGE = 100
/** What KEYS may answer. */
const MAX_KEYS_BYTES = 32 * 1024 * 1024

async function scan(connection: Connection, args: readonly Buffer[]): Promise<Reply> {
  const { coordinator } = connection.door.options
  const { cursors } = connection.door
  const cursor = cursors.toCursor(args[1]!.toString('latin1'))
  if (cursor === null) throw new CommandError('ERR invalid cursor')
  const { match, count, type } = scanOptions(args)
  // There are no others.
  if (type !== null && type !== 'STRING') return ['0', []]
  const page = await coordinator.list({ match, cursor, count })
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

/** All keys, a page at a time; it ends early when nobody waits for it any more. */
async function* pagesOf(connection: Connection, match: Buffer | null = null) {
  const { coordinator } = connection.door.options
  let cursor = '0'
  do {
    const page = await coordinator.list({ match, cursor, count: PAGE })
    yield page.keys
    cursor = page.cursor
  } while (cursor !== '0' && !connection.socket.destroyed)
}

/** A key of a page somewhere: any key may come, but not each as often as the others. */
async function randomKey(connection: Connection): Promise<Reply> {
  const { coordinator } = connection.door.options
  const first = await coordinator.list({ match: null, cursor: '0', count: RANDOM_PAGE })
  const { members } = coordinator.cluster
  // The same listing, but from somewhere else on; what it knows of the nodes stays.
  const begun = /^\d+-\d+(.*)$/.exec(first.cursor)
  let cursor = begun ? `${randomInt(members.length)}-${randomInt(2 ** 32)}${begun[1]}` : '0'
  while (cursor !== '0') {
    const page = await coordinator.list({ match: null, cursor, count: RANDOM_PAGE })
    if (page.keys.length > 0) return anyOf(page.keys)
    cursor = page.cursor
  }
  return first.keys.length > 0 ? anyOf(first.keys) : null
}

function anyOf(keys: readonly Buffer[]): Buffer {
  return keys[randomInt(keys.length)]!
}

async function keys(connection: Connection, args: readonly Buffer[]): Promise<Reply> {
  checkAllowed(connection, 'KEYS', 'use SCAN')
  const found: Buffer[] = []
  let bytes = 0
  for await (const keys of pagesOf(connection, args[1])) {
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

/** Every key that is there when it begins, and is not written meanwhile, is deleted; or an error tells how many were not. */
async function flush(connection: Connection, args: readonly Buffer[]): Promise<Reply> {
  checkAllowed(connection, word(args[0]!), 'delete keys by name')
  if (args.length > 2 || (args.length === 2 && !['SYNC', 'ASYNC'].includes(word(args[1]!)))) {
    throw new CommandError(SYNTAX_ERROR)
  }
  let deleted = 0
  const failures: RondoError[] = []
  for await (const keys of pagesOf(connection)) {
    await inSlices(connection, keys.length, async (i) => {
      const failure = await removal(connection, keys[i]!)
      if (failure) failures.push(failure)
      else deleted++
    })
  }
  const first = failures[0]
  if (!first) return OK
  const { text } = errorOf(first)
  return new RespError(
    `${text} (${deleted} keys were deleted, ${failures.length} were not, or may not have been)`,
  )
}

function removal(connection: Connection, key: Buffer): Promise<RondoError | null> {
  const { coordinator } = connection.door.options
  return new Promise((resolve) => {
    coordinator.remove(key, { written: () => resolve(null), failed: resolve }, connection.writeLevel)
  })
}

/** @throws CommandError */
function checkAllowed(connection: Connection, name: string, instead: string): void {
  if (connection.door.options.allowDangerousCommands) return
  throw new CommandError(
    `ERR ${name} is not allowed: it works on all keys of the cluster. Set ALLOW_DANGEROUS_COMMANDS=true to allow it, or ${instead}.`,
  )
}

export const LISTING_COMMANDS: readonly SessionCommand[] = [
  overall('scan', -2, scan),
  overall('dbsize', 1, ({ door }) => door.options.coordinator.countKeys()),
  overall('randomkey', 1, randomKey),
  overall('keys', 2, keys),
  overallOutside('flushall', -1, flush),
  overallOutside('flushdb', -1, flush),
]
