/**
 * Writes the records of a snapshot, each by a conditional update at `quorum`, under a new version.
 *
 *   the key holds                                       then
 *   a value that is as new as the saved one, or newer   it is kept
 *   a value of unknown age (Rondo did not write it)     it is kept
 *   an older value                                      it becomes the saved one
 *   nothing: deleted, flushed, expired or never there   it becomes the saved one
 *   nothing, since after the restore began              it is kept so
 *
 * A new version, not the saved one: that may be below the floor of a flush, below a delete that the nodes remember, or so old
 * that a repair takes it for forgotten; and the value would not be seen, or not stay. So a restored value counts as written
 * now. That the key is as it was looked at is checked by the update, so that no write of a client is lost.
 *
 * So do its tags: it gets the generations that they have now, and is gone with the next invalidation.
 */
import type { KeyStore, Modified, Modify } from '../coordinator/api.ts'
import { taggingOf, updateKey, type CallOptions } from '../coordinator/promises.ts'
import { compareVersions, type Version } from '../core/clock.ts'
import type { StoredRecord } from '../core/codec.ts'
import { RondoError } from '../core/errors.ts'
import { PARTS_DATABASE, storedKey, TAGS_DATABASE } from '../core/keys.ts'
import { isRoot } from '../core/large-root.ts'
import { isPartKey, partNamed, rootOf } from '../core/part-keys.ts'
import { tagName } from '../core/tags.ts'
import { TOO_LONG, type SnapshotFile } from './file-reader.ts'
import {
  DamagedSnapshot,
  parseRecord,
  MOST_TAGS_BYTES,
  RECORD_FRAME_BYTES,
  type SavedRecord,
} from './format.ts'
import type { Counts } from './job.ts'
import { inTurns, patiently, type PatienceOptions } from './patience.ts'

export interface RestoreLimits {
  readonly databases: number
  readonly maxKeyBytes: number
  readonly maxValueBytes: number
}

export interface RestoreOptions extends PatienceOptions, RestoreLimits {
  readonly store: KeyStore
  readonly requester: CallOptions['requester']
  /** `restored`, `kept`, `expired` and `failed` are counted. */
  readonly counts: Counts
  readonly failures: Counts
}

type Outcome = 'restored' | 'kept' | 'expired'

const KEEP: Modified = { kind: 'keep' }
const MOST_AT_ONCE = 64
/** Somebody waits for it: it takes half of the time. */
const RESTS = 1
const BATCH_BYTES = 4 * 1024 * 1024

/** @throws RondoError, or what the file has failed with; all that was restored until then stays */
export async function restoreRecords(file: SnapshotFile, options: RestoreOptions): Promise<void> {
  const { store, signal } = options
  const beganAt = store.newVersion()
  let batch: SavedRecord[] = []
  let bytes = 0
  const broken = new Set<string>()
  const flush = async () => {
    const write = () =>
      Promise.all(
        batch.map(async (record) => {
          const stored = storedKey(record.database, record.key)
          const isStored = await restoreOne(options, record, beganAt)
          if (!isStored && isPartKey(stored)) broken.add(rootOf(stored).toString('latin1'))
        }),
      )
    await inTurns(store, options, RESTS, write)
    batch = []
    bytes = 0
  }
  for await (const line of file.records(mostLineBytes(options), signal)) {
    const record = recordIn(line, options)
    if (!record) continue
    if (isRoot(record.kind, record.value)) {
      // It comes after its parts, and is stored after them.
      await flush()
      if (broken.delete(storedKey(record.database, record.key).toString('latin1'))) {
        countFailure(options, 'SNAPSHOT_DAMAGED')
        continue
      }
    }
    batch.push(record)
    bytes += record.value.length
    if (batch.length >= MOST_AT_ONCE || bytes >= BATCH_BYTES) await flush()
  }
  if (batch.length > 0) await flush()
}

/** Of one that can be stored; in base64. */
function mostLineBytes({ maxKeyBytes, maxValueBytes }: RestoreLimits): number {
  return RECORD_FRAME_BYTES + MOST_TAGS_BYTES + Math.ceil(((maxKeyBytes + maxValueBytes) * 4) / 3)
}

/** Null: it cannot be restored here, which is counted. */
function recordIn(line: string | typeof TOO_LONG, options: RestoreOptions): SavedRecord | null {
  if (line === TOO_LONG) return countFailure(options, 'VALUE_TOO_LARGE')
  let record: SavedRecord
  try {
    record = parseRecord(line)
  } catch (error) {
    if (!(error instanceof DamagedSnapshot)) throw error
    return countFailure(options, 'SNAPSHOT_DAMAGED')
  }
  const { store, databases } = options
  if (record.database === PARTS_DATABASE) {
    const isPart = partNamed(storedKey(record.database, record.key)) !== null
    return isPart ? record : countFailure(options, 'SNAPSHOT_DAMAGED')
  }
  // A tag, or the list of delete jobs: earlier releases have saved them.
  if (record.database === TAGS_DATABASE) return null
  if (record.database >= databases) return countFailure(options, 'NO_SUCH_DATABASE')
  const names = record.tags?.map((tag) => tagName(tag)) ?? []
  const refused =
    store.checkKey(record.key) ?? store.checkValue(record.value.length) ?? store.checkTags(names)
  return refused ? countFailure(options, refused.code) : record
}

function countFailure({ counts, failures }: RestoreOptions, code: string): null {
  counts.failed = (counts.failed ?? 0) + 1
  failures[code] = (failures[code] ?? 0) + 1
  return null
}

/** @returns whether what was saved, or something newer, is there now */
async function restoreOne(options: RestoreOptions, record: SavedRecord, beganAt: Version): Promise<boolean> {
  const { counts } = options
  /** An attempt before may have stored it. */
  let mayBeOurs = false
  try {
    const outcome = await patiently(
      options,
      () => write(options, record, beganAt, mayBeOurs),
      ({ details }) => (mayBeOurs ||= details.outcome === 'unknown'),
    )
    if (record.database !== PARTS_DATABASE) counts[outcome] = (counts[outcome] ?? 0) + 1
    return true
  } catch (error) {
    if (!(error instanceof RondoError) || error.code === 'UNAVAILABLE') throw error
    if (error.code === 'QUORUM_NOT_MET' || error.code === 'OVERLOADED') throw error
    countFailure(options, error.code)
    return false
  }
}

async function write(
  { store, requester }: RestoreOptions,
  { database, key, kind, value, version, expiresAtMs, tags: tagKeys }: SavedRecord,
  beganAt: Version,
  mayBeOurs: boolean,
): Promise<Outcome> {
  const stored = storedKey(database, key)
  let outcome: Outcome = 'restored'
  let tags: Buffer | undefined
  const modify: Modify = (current) => {
    outcome = 'kept'
    if (store.isLive(current)) {
      if (mayBeOurs && current.kind === kind && current.value.equals(value)) outcome = 'restored'
      // Nobody knows how old a value is that Rondo did not write.
      if (current.isForeign || isLater(current, version) || isLater(current, beganAt)) return KEEP
    } else if (isLater(current, beganAt) || store.isFlushed(stored, beganAt)) return KEEP
    if (expiresAtMs !== 0 && expiresAtMs <= store.nowMs()) {
      outcome = 'expired'
      return KEEP
    }
    outcome = 'restored'
    return { kind: 'write', record: { kind, value, expiresAtMs, tags } }
  }
  if (expiresAtMs !== 0 && expiresAtMs <= store.nowMs()) return 'expired'
  const asked: CallOptions = { requester, level: 'quorum' }
  if (tagKeys) tags = await taggingOf(store, tagKeys, expiresAtMs, asked)
  await updateKey(store, stored, modify, asked, value.length)
  return outcome
}

/** Or the same. */
function isLater(current: StoredRecord | null, version: Version): boolean {
  return current !== null && compareVersions(current.version, version) >= 0
}
