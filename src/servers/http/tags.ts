/** POST /api/v1/tags/:tag/invalidate, and ?tags= of PUT. */
import type { KeyStore } from '../../coordinator/api.ts'
import type { ConsistencyLevel } from '../../core/consistency.ts'
import { invalidate, tagKeys } from '../tags.ts'
import type { Exchange } from './exchange.ts'
import { databaseFromQuery, keyFromSegment, keyToText, parseKeyEncoding } from './key-path.ts'
import { levelFromQuery } from './value.ts'

export const TAGS_PREFIX = '/api/v1/tags/'
const NONE: readonly Buffer[] = []

export interface TagOptions {
  readonly store: KeyStore
  readonly writeConsistency: ConsistencyLevel
  readonly databases: number
}

export async function invalidateTag(exchange: Exchange, options: TagOptions): Promise<void> {
  const { store, writeConsistency, databases } = options
  const query = exchange.query(['consistency', 'db', 'keyEncoding'])
  const level = levelFromQuery(query.consistency, writeConsistency)
  exchange.level = level
  const encoding = parseKeyEncoding(query.keyEncoding)
  const name = keyFromSegment(exchange.path.slice(TAGS_PREFIX.length, -'/invalidate'.length), encoding)
  const [tag] = tagKeys(store, databaseFromQuery(query.db, databases), [name])
  const onServed: Parameters<typeof invalidate>[2]['onServed'] = (by) => exchange.servedBy(by)
  await invalidate(store, tag!, { requester: exchange.requester, level, onServed })
  exchange.json(200, { message: 'ok', tag: keyToText(name, encoding) })
}

/** The keys of the tags; none if there is no such query. @throws RondoError BAD_REQUEST */
export function tagsFromQuery(
  { store, databases }: Pick<TagOptions, 'store' | 'databases'>,
  text: string | undefined,
  db: string | undefined,
): readonly Buffer[] {
  if (text === undefined) return NONE
  const names = text.split(',').map((name) => Buffer.from(name))
  return tagKeys(store, databaseFromQuery(db, databases), names)
}
