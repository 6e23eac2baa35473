/**
 * The lines of a snapshot. Final: others read these files, later releases too.
 *
 *   {"rondo":"snapshot","format":1,"name":"nightly","takenAtMs":…,"cluster":"…","epoch":3,"replicas":2,"nodes":3}
 *   {"db":0,"key":"dXNlcjox","type":"string","value":"QWRh","version":"0198…","expiresAtMs":0}
 *   …
 *   {"end":true,"keys":1,"bytes":310,"sha256":"…", and all of the first line again}
 *
 * Keys and values are base64, and so are the tags of a value, as `"tags":[…]` behind its expiry: each is the number of its
 * database, a colon, and its name. The value of a string is itself; that of a collection is what nodes store
 * (commands/collections/entries.ts, commands/streams/stored.ts). The value of a large collection is its root; its parts are
 * lines before it, of database 9998 and with the names that they have there (core/part-keys.ts), and are not counted among
 * the keys: the last line has `"parts":…` then. Times are cluster time in milliseconds since 1970;
 * expiresAtMs 0 = never.
 *
 * The file is two gzip members, which tools read as one text: the first has everything but the last line, and its bytes and
 * SHA-256 stand in that line. So a file that is cut has no end, and the end is found without reading what is before it.
 */
import {
  DamagedCollection,
  Entries,
  HASH_SHAPE,
  PLAIN_SHAPE,
  SORTED_SET_SHAPE,
} from '../commands/collections/entries.ts'
import { checkStream } from '../commands/streams/stored.ts'
import { kindNamed, typeName } from '../commands/type-names.ts'
import { parseVersion, versionText, type Version } from '../core/clock.ts'
import { holdsValue, KIND_HASH, KIND_LIST, KIND_SET, KIND_SORTED_SET, KIND_STREAM } from '../core/codec.ts'
import { DamagedRoot, isRoot, partsNamedIn } from '../core/large-root.ts'
import { databasePrefix, TAGS_DATABASE } from '../core/keys.ts'
import { MAX_TAG_BYTES, MOST_TAGS } from '../core/tags.ts'

export const FORMAT = 1
const TAGS_PREFIX = databasePrefix(TAGS_DATABASE)
/** The first line and the last. */
export const MOST_FRAME_BYTES = 2048
/** Of a line, beside key and value. */
export const RECORD_FRAME_BYTES = 256
/** Of a line, those of its tags. */
export const MOST_TAGS_BYTES = 2 * MOST_TAGS * (MAX_TAG_BYTES + 8)

export interface Header {
  readonly name: string
  readonly takenAtMs: number
  /** Null = the members had not agreed on one yet. */
  readonly cluster: string | null
  readonly epoch: number
  readonly replicas: number
  readonly nodes: number
}

export interface End extends Header {
  readonly keys: number
  /** Of large collections: lines beside those of the keys. */
  readonly parts: number
  /** Of everything before the last line, not compressed. */
  readonly bytes: number
  readonly sha256: string
}

export interface SavedRecord {
  readonly database: number
  readonly key: Buffer
  readonly kind: number
  readonly value: Buffer
  readonly version: Version
  /** 0 = never. */
  readonly expiresAtMs: number
  /** The keys of its tags (core/tags.ts); not there = it has none. */
  readonly tags?: readonly Buffer[]
}

/** It is no snapshot, or not what was written. */
export class DamagedSnapshot extends Error {}

const SHAPES = new Map([
  [KIND_HASH, HASH_SHAPE],
  [KIND_SET, PLAIN_SHAPE],
  [KIND_LIST, PLAIN_SHAPE],
  [KIND_SORTED_SET, SORTED_SET_SHAPE],
])

export function headerLine(header: Header): string {
  return `${JSON.stringify({ rondo: 'snapshot', format: FORMAT, ...header })}\n`
}

export function endLine({ keys, parts, bytes, sha256, ...header }: End): string {
  return `${JSON.stringify({ end: true, keys, ...(parts > 0 && { parts }), bytes, sha256, rondo: 'snapshot', format: FORMAT, ...header })}\n`
}

/** Null: of a kind that clients cannot see. */
export function recordLine(record: SavedRecord): string | null {
  const { database, key, kind, value, version, expiresAtMs, tags } = record
  if (!holdsValue(kind)) return null
  const tagged = tags ? `,"tags":${JSON.stringify(tags.map((tag) => tagText(tag)))}` : ''
  return (
    `{"db":${database},"key":"${key.toString('base64')}","type":"${typeName(kind)}","value":"${value.toString('base64')}",` +
    `"version":"${versionText(version)}","expiresAtMs":${expiresAtMs}${tagged}}\n`
  )
}

/** The last line. @throws DamagedSnapshot */
export function parseEnd(line: string): End {
  const end = objectIn(line)
  checkFormat(end)
  const { keys, parts = 0, bytes, sha256 } = end
  if (
    end.end !== true ||
    !isCount(keys) ||
    !isCount(parts) ||
    !isCount(bytes) ||
    !/^[0-9a-f]{64}$/.test(textOf(sha256))
  ) {
    throw new DamagedSnapshot('its last line is not the end of a snapshot')
  }
  return { ...headerOf(end), keys, parts, bytes, sha256: textOf(sha256) }
}

/** @throws DamagedSnapshot */
export function parseHeader(line: string): Header {
  const header = objectIn(line)
  checkFormat(header)
  return headerOf(header)
}

/** @throws DamagedSnapshot */
export function parseRecord(line: string): SavedRecord {
  const { db, key, type, value, version, expiresAtMs, tags } = objectIn(line)
  const kind = kindNamed(textOf(type))
  const parsed = parseVersion(textOf(version))
  if (!isCount(db) || typeof key !== 'string' || typeof value !== 'string' || kind === null || !parsed)
    throw new DamagedSnapshot('a line is not a record')
  if (!isCount(expiresAtMs) || expiresAtMs >= 2 ** 48)
    throw new DamagedSnapshot('a record has no time of expiry')
  const bytes = Buffer.from(value, 'base64')
  checkCollection(kind, bytes)
  return {
    ...{ database: db, key: Buffer.from(key, 'base64'), kind, value: bytes, version: parsed, expiresAtMs },
    ...(tags !== undefined && { tags: tagsIn(tags) }),
  }
}

function tagText(key: Buffer): string {
  return key.subarray(TAGS_PREFIX.length).toString('base64')
}

/** @throws DamagedSnapshot */
function tagsIn(tags: unknown): Buffer[] {
  const isList = Array.isArray(tags) && tags.length > 0 && tags.length <= MOST_TAGS
  const texts: readonly unknown[] = isList ? tags : [null]
  return texts.map((text) => {
    const name = Buffer.from(textOf(text), 'base64')
    // Of one that has no name, or no database, nobody could say what it is.
    if (!/^\d{1,4}:./s.test(name.toString('latin1')))
      throw new DamagedSnapshot('a record has a tag that is none')
    return Buffer.concat([TAGS_PREFIX, name])
  })
}

/** Commands would refuse it each time, and nobody would know why. */
function checkCollection(kind: number, value: Buffer): void {
  const shape = SHAPES.get(kind)
  if (!shape && kind !== KIND_STREAM) return
  try {
    if (isRoot(kind, value) && (partsNamedIn(kind, value).size > 0 || kind === KIND_STREAM)) return
    if (!shape) return checkStream(value)
    if (Entries.of(value, shape).length > 0) return
  } catch (error) {
    // What a length names may lie behind the end.
    const isDamaged = error instanceof DamagedCollection || error instanceof DamagedRoot
    if (!isDamaged && !(error instanceof RangeError)) throw error
  }
  throw new DamagedSnapshot('a collection is damaged')
}

function checkFormat({ rondo, format }: Record<string, unknown>): void {
  if (rondo !== 'snapshot') throw new DamagedSnapshot('it is not a snapshot of Rondo')
  if (format !== FORMAT) {
    const shown = isCount(format) ? format : 'of another kind'
    throw new DamagedSnapshot(
      `its format is ${shown}, and this release reads format ${FORMAT}: use the release that wrote it`,
    )
  }
}

function headerOf({ name, takenAtMs, cluster, epoch, replicas, nodes }: Record<string, unknown>): Header {
  if (!isCount(takenAtMs) || takenAtMs >= 2 ** 48 || !isCount(epoch) || !isCount(replicas) || !isCount(nodes))
    throw new DamagedSnapshot('it does not say when it was taken, and of what')
  const known = typeof cluster === 'string' ? cluster : null
  return { name: textOf(name), takenAtMs, cluster: known, epoch, replicas, nodes }
}

function objectIn(line: string): Record<string, unknown> {
  try {
    const parsed: unknown = JSON.parse(line)
    if (typeof parsed === 'object' && parsed !== null && !Array.isArray(parsed))
      return parsed as Record<string, unknown>
  } catch {
    // As below; the error may quote what stands there.
  }
  throw new DamagedSnapshot('a line is not JSON')
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : ''
}
