/**
 * Scripts and libraries as they are stored in the cluster, under keys that no client can name (core/keys.ts): placed, copied,
 * moved and repaired as any other.
 *
 *   a script    one key for each, with a tag (core/tags.ts): SCRIPT FLUSH invalidates that
 *   libraries   the value of one key, which FUNCTION LOAD and the like change at `quorum`
 */
import { createHash } from 'node:crypto'
import { z } from 'zod'
import type { Asker, Library } from '../commands/scripts/api.ts'
import { readRecord, removeKey, taggingOf, updateKey } from '../coordinator/promises.ts'
import { KIND_VALUE, type StoredRecord } from '../core/codec.ts'
import type { ConsistencyLevel } from '../core/consistency.ts'
import { RondoError } from '../core/errors.ts'
import { databasePrefix, TAGS_DATABASE } from '../core/keys.ts'
import { tagKey } from '../core/tags.ts'

const SCRIPTS_TAG = tagKey(TAGS_DATABASE, Buffer.from('scripts'))
const LIBRARIES_KEY = Buffer.concat([databasePrefix(TAGS_DATABASE), Buffer.from('libraries')])
const LEVEL = 'quorum'

export function shaOf(source: Buffer): string {
  return createHash('sha1').update(source).digest('hex')
}

function scriptKey(sha: string): Buffer {
  return Buffer.concat([databasePrefix(TAGS_DATABASE), Buffer.from(`script:${sha}`)])
}

/**
 * Reads as a majority of the replicas has it. Whoever asks at `one` goes on while too few of them can be asked: as the first
 * one has it.
 */
export async function unlessTooFew<T>(
  asked: ConsistencyLevel,
  read: (level: ConsistencyLevel) => Promise<T>,
): Promise<T> {
  try {
    return await read(LEVEL)
  } catch (error) {
    const areTooFew = error instanceof RondoError && error.code === 'QUORUM_NOT_MET'
    if (asked !== 'one' || !areTooFew) throw error
    return read('one')
  }
}

/** Null: there is none. */
export async function readScript(asker: Asker, sha: string, level: ConsistencyLevel): Promise<Buffer | null> {
  const { store } = asker
  const record = await readRecord(store, scriptKey(sha), { requester: asker, level })
  if (!store.isLive(record)) return null
  return shaOf(record.value) === sha ? record.value : null
}

/** @throws RondoError */
export async function storeScript(asker: Asker, sha: string, source: Buffer): Promise<void> {
  const { store } = asker
  const tooLarge = store.checkValue(source.length)
  if (tooLarge) throw tooLarge
  const options = { requester: asker, level: LEVEL } as const
  const tags = await taggingOf(store, [SCRIPTS_TAG], 0, options)
  await new Promise<void>((resolve, failed: (error: RondoError) => void) => {
    store.write(
      scriptKey(sha),
      source,
      0,
      { requester: asker, written: () => resolve(), failed },
      LEVEL,
      tags,
    )
  })
}

export async function dropScripts(asker: Asker): Promise<void> {
  await removeKey(asker.store, SCRIPTS_TAG, { requester: asker, level: LEVEL })
}

// ---- libraries

const LIBRARIES = z.array(
  z.object({
    name: z.string(),
    engine: z.string(),
    functions: z.array(
      z.object({ name: z.string(), description: z.string().nullable(), flags: z.array(z.string()) }),
    ),
    /** Base64. */
    source: z.string(),
  }),
)

/** What was parsed last: megabytes of libraries take long, and are the same most of the time. */
let parsed: { readonly bytes: Buffer; readonly libraries: readonly Library[] } | null = null

function parseLibraries(bytes: Buffer | null): readonly Library[] {
  if (!bytes) return []
  if (!parsed?.bytes.equals(bytes)) parsed = { bytes: Buffer.from(bytes), libraries: librariesIn(bytes) }
  return parsed.libraries
}

/** @returns none, if what is stored cannot be understood: it is of another release */
function librariesIn(bytes: Buffer): readonly Library[] {
  try {
    const found = LIBRARIES.safeParse(JSON.parse(bytes.toString('utf8'))).data ?? []
    return found.map((one) => {
      const source = Buffer.from(one.source, 'base64')
      return { ...one, source, sha: shaOf(source) }
    })
  } catch {
    return []
  }
}

function encodeLibraries(all: readonly Library[]): Buffer {
  const plain = all.map(({ name, engine, functions, source }) => {
    return { name, engine, functions, source: source.toString('base64') }
  })
  return Buffer.from(JSON.stringify(plain))
}

export async function readLibraries(
  asker: Asker,
  level: ConsistencyLevel = LEVEL,
): Promise<readonly Library[]> {
  const { store } = asker
  const record = await readRecord(store, LIBRARIES_KEY, { requester: asker, level })
  return parseLibraries(valueOf(store, record))
}

/** @param change pure; what it throws is thrown @returns those that are stored now */
export async function updateLibraries(
  asker: Asker,
  change: (all: readonly Library[]) => readonly Library[],
): Promise<readonly Library[]> {
  const { store } = asker
  let thrown: Error | null = null
  const { after } = await updateKey(
    store,
    LIBRARIES_KEY,
    (current) => {
      thrown = null
      try {
        const value = encodeLibraries(change(parseLibraries(valueOf(store, current))))
        const error = store.checkValue(value.length)
        if (error) return { kind: 'refuse', error }
        return { kind: 'write', record: { kind: KIND_VALUE, value, expiresAtMs: 0 } }
      } catch (error) {
        thrown = error instanceof Error ? error : new Error(String(error))
        return { kind: 'keep' }
      }
    },
    { requester: asker, level: LEVEL },
  )
  const failure = thrown as Error | null
  if (failure) throw failure
  return parseLibraries(valueOf(store, after))
}

function valueOf(store: Asker['store'], record: StoredRecord | null): Buffer | null {
  return store.isLive(record) ? record.value : null
}
