/** Tags of values, for all servers: RONDO TAG and INVALIDATE, PUT ?tags= and POST /api/v1/tags/:tag/invalidate. */
import { changeAny, refused, type Step } from '../commands/step.ts'
import { changeKey } from '../commands/run/one-key.ts'
import type { KeyStore } from '../coordinator/api.ts'
import { peekRecord, readRecord, removeKey, taggingOf, type CallOptions } from '../coordinator/promises.ts'
import type { RondoError } from '../core/errors.ts'
import { decodeTags, encodeTags, MOST_TAGS, tagKey, tagName } from '../core/tags.ts'
import type { Reply } from '../commands/reply.ts'

/** The keys of these tags, each once. @throws RondoError */
export function tagKeys(
  store: Pick<KeyStore, 'checkTags'>,
  database: number,
  names: readonly Buffer[],
): readonly Buffer[] {
  const distinct = new Map(names.map((name) => [name.toString('latin1'), name]))
  const unusable = store.checkTags([...distinct.values()])
  if (unusable) throw unusable
  return [...distinct.values()].map((name) => tagKey(database, name))
}

/**
 * Adds tags to the value of a key, whatever its type.
 *
 * @param key its name on the nodes @param tags their keys
 * @returns 1, or 0 if there is no value; or why it cannot have so many
 * @throws RondoError
 */
export async function addTags(
  store: KeyStore,
  key: Buffer,
  tags: readonly Buffer[],
  options: CallOptions,
): Promise<Reply> {
  const seen = await peekRecord(store, key, 'head', options)
  if (!store.isLive(seen)) return 0
  const tagging = await taggingOf(store, tags, seen.expiresAtMs, options)
  return (await changeKey(store, tagStep(store, key, tagging), options)).reply
}

function tagStep(store: KeyStore, key: Buffer, tagging: Buffer): Step {
  return changeAny(key, (held) => {
    if (!held) return { reply: 0 }
    const added = decodeTags(tagging)!
    const kept = (held.tags && decodeTags(held.tags)) ?? []
    const tags = [...kept.filter((tag) => added.every((one) => !one.key.equals(tag.key))), ...added]
    const names = tags.map((tag) => tagName(tag.key))
    const error: RondoError | null = store.checkTags(names)
    if (error && tags.length > Math.min(kept.length, MOST_TAGS)) return refused(`ERR ${error.message}`)
    return { reply: 1, next: [{ ...held, tags: encodeTags(tags) }] }
  })
}

/** The tags of a value; null = there is none. @param key its name on the nodes @throws RondoError */
export async function tagsOf(store: KeyStore, key: Buffer, options: CallOptions): Promise<Buffer[] | null> {
  const record = await readRecord(store, key, options)
  if (!store.isLive(record)) return null
  return ((record.tags && decodeTags(record.tags)) ?? []).map((tag) => tagName(tag.key))
}

/** From now on no value with this tag is there. @param tag its key @throws RondoError */
export async function invalidate(store: KeyStore, tag: Buffer, options: CallOptions): Promise<void> {
  await removeKey(store, tag, options)
}
