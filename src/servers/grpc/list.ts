/** List: all keys as a stream of pages. The next page is asked for when the client has taken the last one. */
import { RondoError } from '../../core/errors.ts'
import type { GrpcCall } from './call.ts'
import type { GrpcServerOptions } from './options.ts'

export interface ListRequest {
  readonly match: Buffer
  readonly count: number
  readonly cursor: string
}

interface Page {
  readonly keys: readonly Buffer[]
  readonly cursor: string
}

const DEFAULT_PAGE_KEYS = 100

/** @param send a page; resolves once the client has taken it */
export async function list(
  call: GrpcCall,
  request: ListRequest,
  { store, maxBatchKeys, maxKeyBytes }: GrpcServerOptions,
  send: (page: Page) => Promise<void>,
): Promise<void> {
  const { database } = call
  const count = request.count === 0 ? Math.min(DEFAULT_PAGE_KEYS, maxBatchKeys) : request.count
  if (count > maxBatchKeys) {
    throw new RondoError('BAD_REQUEST', `count is a whole number from 1 to ${maxBatchKeys} (MAX_BATCH_KEYS).`)
  }
  if (request.match.length > maxKeyBytes) {
    throw new RondoError('BAD_REQUEST', `match has more than ${maxKeyBytes} bytes (MAX_KEY_BYTES).`)
  }
  const match = request.match.length > 0 ? request.match : null
  const isWanted = () => !call.gone
  let cursor = request.cursor === '' ? '0' : request.cursor
  do {
    const page = await store.list({ database, match, cursor, count, isWanted })
    cursor = page.cursor
    // A page may be empty because few keys match. The last one says that it is.
    if (page.keys.length > 0 || cursor === '0') await send({ keys: page.keys, cursor })
    call.checkWanted()
  } while (cursor !== '0')
}
