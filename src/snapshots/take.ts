/**
 * Reads every live record once, as lines of a snapshot.
 *
 * The listing (coordinator/listing) names each key once, although N nodes hold it, and each is read at `quorum`: so what is
 * written is the newest acknowledged value of the key at some moment during the snapshot, another one for each key. What is
 * written, deleted or expires meanwhile may be in it or not.
 *
 * A large collection is saved in its parts, and its root after them: they are as of one moment.
 *
 * Tags are saved with the values that have them, and not as the keys that they are too.
 *
 * When the members change or all keys are deleted, the listing begins again, and so does the snapshot.
 */
import type { KeyStore } from '../coordinator/api.ts'
import { liveWithEnd, readRecord, type CallOptions } from '../coordinator/promises.ts'
import { RondoError } from '../core/errors.ts'
import { clientKey, TAGS_DATABASE } from '../core/keys.ts'
import { isRoot, namedKeysIn } from '../core/large-root.ts'
import { decodeTags } from '../core/tags.ts'
import { recordLine, type SavedRecord } from './format.ts'
import type { SnapshotLines } from './file-writer.ts'
import type { Counts } from './job.ts'
import { inTurns, patiently, type PatienceOptions } from './patience.ts'

export interface TakeOptions extends PatienceOptions {
  readonly store: KeyStore
  readonly requester: CallOptions['requester']
  /** `keys`, `skipped` and `belowQuorum` are counted. */
  readonly counts: Counts
}

/** The keys are listed from the beginning: what was read so far is not needed. */
export class BeginAgain extends Error {}

const PAGE = 500
const FIRST_BATCH = 4
const MOST_AT_ONCE = 64
/** A collection that changes faster than it can be read is left out. */
const MOST_TRIES = 5
/** Of the values that are read at once, as far as their size can be known. */
const BATCH_BYTES = 4 * 1024 * 1024
/** A snapshot has time: with 3 it takes a quarter of it. */
const RESTS = 3
/** How much the size of the largest value counts that was read some time ago. */
const FADING = 0.95

export async function* linesOf(options: TakeOptions): AsyncGenerator<SnapshotLines> {
  const { store, signal, counts } = options
  let [cursor, atOnce, largest] = ['0', FIRST_BATCH, 1]
  do {
    const from = cursor
    const page = await patiently(options, () => {
      if (from === '0') refuseIncomplete(store)
      const isWanted = () => !signal.aborted
      return store.list({ database: null, match: null, cursor: from, count: PAGE, isWanted })
    })
    if (page.restarted) throw new BeginAgain('the members have changed, or all keys were deleted')
    const keys = page.keys.filter((key) => clientKey(key)!.database !== TAGS_DATABASE)
    for (let i = 0; i < keys.length;) {
      const batch = keys.slice(i, i + atOnce)
      i += batch.length
      const records = await inTurns(store, options, RESTS, () =>
        Promise.all(batch.map((key) => patiently(options, () => read(options, key)))),
      )
      let text = ''
      let lines = 0
      for (const [j, found] of records.entries()) {
        const record =
          found && isRoot(found.kind, found.value) ? yield* withItsParts(options, batch[j]!, found) : found
        const line = record && recordLine(record)
        if (!line) continue
        text += line
        lines++
        largest = Math.max(largest, record.value.length)
      }
      counts.keys = (counts.keys ?? 0) + lines
      if (lines > 0) yield { text, keys: lines }
      atOnce = Math.max(1, Math.min(MOST_AT_ONCE, 2 * atOnce, Math.floor(BATCH_BYTES / largest)))
      largest *= FADING
    }
    cursor = page.cursor
  } while (cursor !== '0')
}

/**
 * The lines of the parts of a large collection, each a record of its own, and then its root, whose line comes after them:
 * possibly another one than was found, if the collection has changed since.
 */
async function* withItsParts(
  options: TakeOptions,
  key: Buffer,
  found: SavedRecord | null,
): AsyncGenerator<SnapshotLines, SavedRecord | null> {
  let root = found
  for (let tries = 0; tries < MOST_TRIES; tries++) {
    if (!root || !isRoot(root.kind, root.value)) return root
    const parts = [...(namedKeysIn(key, root) ?? [])].map((name) => Buffer.from(name, 'latin1'))
    let missing = parts.length
    for (let i = 0; i < parts.length; i += MOST_AT_ONCE) {
      const some = parts.slice(i, i + MOST_AT_ONCE)
      const records = await inTurns(options.store, options, RESTS, () =>
        Promise.all(some.map((part) => patiently(options, () => read(options, part)))),
      )
      const lines = records.flatMap((record) => (record ? [recordLine(record)!] : []))
      missing -= lines.length
      yield { text: lines.join(''), keys: 0, parts: lines.length }
      if (lines.length < some.length) break
    }
    if (missing === 0) return root
    root = await patiently(options, () => read(options, key))
  }
  options.counts.skipped = (options.counts.skipped ?? 0) + 1
  return null
}

/** Where no copy of a key is on a sound node, the listing may miss it. @throws RondoError UNAVAILABLE */
function refuseIncomplete({ nodes, replicas }: KeyStore): void {
  const unsound = nodes.filter(
    ({ completeness, behind, node, health }) =>
      completeness !== 'clean' || behind || !node.ready || health.state === 'down',
  )
  if (unsound.length < replicas) return
  const names = unsound.map(({ id }) => id).join(', ')
  throw new RondoError(
    'UNAVAILABLE',
    `The snapshot could miss keys: ${names} cannot be read, or are being repaired. Try again; /status shows them.`,
  )
}

/** Null: there is nothing to be saved. */
async function read(options: TakeOptions, key: Buffer): Promise<SavedRecord | null> {
  const { store, counts } = options
  try {
    return await readAt(options, key, 'quorum')
  } catch (error) {
    if (!(error instanceof RondoError)) throw error
    if (error.code === 'WRONG_TYPE') {
      counts.skipped = (counts.skipped ?? 0) + 1
      return null
    }
    if (error.code !== 'QUORUM_NOT_MET' || !store.ready) throw error
    // While a node is down this may be all that there is.
    const record = await readAt(options, key, 'one')
    counts.belowQuorum = (counts.belowQuorum ?? 0) + 1
    return record
  }
}

async function readAt(
  { store, requester }: TakeOptions,
  stored: Buffer,
  level: CallOptions['level'],
): Promise<SavedRecord | null> {
  const live = await liveWithEnd(store, stored, () => readRecord(store, stored, { requester, level }))
  if (!live) return null
  const { record, expiresAtMs } = live
  const { database, key } = clientKey(stored)!
  const { kind, value, version } = record
  const tags = record.tags && decodeTags(record.tags)?.map((tag) => tag.key)
  return { ...{ database, key, kind, value, version, expiresAtMs }, ...(tags && { tags }) }
}
