/**
 * Tags of values: names under which all values that carry them are gone at once.
 *
 * Each tag is a key of its own, in a database that no client can select. It holds its generation, 12 bytes that are made
 * once and never again. A value carries, for each of its tags, the generation that the tag had when the value was written,
 * and is a value only as long as each of them is what the tag holds. To invalidate a tag is to delete its key: whatever it
 * holds afterwards is another generation. So it costs one write, however many values there are, and a tag that is lost
 * takes its values with it, never the other way round.
 *
 * They follow the value in its record:
 *
 *   for each: 1 length of the name, the name as in its key (`database:tag`), 12 generation
 *   1 how many, 2 bytes of all of this
 */
import { VERSION_BYTES } from './clock.ts'
import { clientKey, TAGS_DATABASE, databasePrefix } from './keys.ts'

export const GENERATION_BYTES = VERSION_BYTES
/** Of a tag, by clients. */
export const MAX_TAG_BYTES = 128
/** Of a value, whatever is set: what reading it may cost. */
export const MOST_TAGS = 64

const END_BYTES = 3

export interface Tag {
  /** The name of the key that holds its generation. */
  readonly key: Buffer
  readonly generation: Buffer
}

/** The key that holds the generation of a tag of this database. */
export function tagKey(database: number, name: Buffer): Buffer {
  return Buffer.concat([databasePrefix(TAGS_DATABASE), Buffer.from(`${database}:`), name])
}

/** What clients call the tag that this key is of. */
export function tagName(key: Buffer): Buffer {
  const name = clientKey(key)!.key
  return name.subarray(name.indexOf(':') + 1)
}

/** @param tags MOST_TAGS at most */
export function encodeTags(tags: readonly Tag[]): Buffer {
  const parts: Buffer[] = []
  for (const { key, generation } of tags) {
    const name = key.subarray(databasePrefix(TAGS_DATABASE).length)
    parts.push(Buffer.from([name.length]), name, generation)
  }
  const end = Buffer.alloc(END_BYTES)
  end[0] = tags.length
  end.writeUInt16BE(
    parts.reduce((sum, part) => sum + part.length, END_BYTES),
    1,
  )
  return Buffer.concat([...parts, end])
}

/** Null: they are damaged. */
export function decodeTags(bytes: Buffer): readonly Tag[] | null {
  const tags: Tag[] = []
  const endAt = bytes.length - END_BYTES
  let at = 0
  while (at < endAt) {
    const nameEnd = at + 1 + bytes[at]!
    const next = nameEnd + GENERATION_BYTES
    if (next > endAt) return null
    const key = Buffer.concat([databasePrefix(TAGS_DATABASE), bytes.subarray(at + 1, nameEnd)])
    tags.push({ key, generation: bytes.subarray(nameEnd, next) })
    at = next
  }
  return endAt >= 0 && tags.length > 0 && tags.length <= MOST_TAGS && tags.length === bytes[endAt]
    ? tags
    : null
}

/** The bytes of a tagged value that say how many of them are tags. */
export const TAGS_END = { from: -END_BYTES, to: -1 }

/**
 * How many bytes at the end of a tagged record are tags; all that follow `from`, if they are damaged.
 *
 * @param most how many follow it, if these are only the last ones
 */
export function tagBytesIn(bytes: Buffer, from: number, most = bytes.length - from): number {
  const length = most < END_BYTES ? most : bytes.readUInt16BE(bytes.length - 2)
  return length < END_BYTES || length > most ? most : length
}
