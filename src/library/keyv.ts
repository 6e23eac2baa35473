/**
 * A store for Keyv (https://keyv.org) in the process of the coordinator: `new Keyv({ store: new KeyvRondo(rondo) })`.
 *
 *   Keyv                        here                        the cluster
 *   set('a', 1, 60_000)   →     set('keyv:a', '{"value":1,…}', 60000)   →   key `keyv:a`, with its TTL
 *
 * Keyv puts its namespace in front of each key, and makes texts of values. Here they are ordinary keys with string values:
 * every other client of the cluster sees them, and those of Keyv with other adapters too.
 *
 * - A key that cannot be read is an error, never `undefined`. Keyv emits it, or throws it with `throwOnErrors`.
 * - clear() deletes what was there when it began; what is set meanwhile stays. It needs a namespace: without one it would
 *   delete every key of the database, also those of others, and does so only with `clearsDatabase`.
 * - Keyv itself is not imported: this is what it asks of a store.
 *
 * It does not load (`loader`), and ends nothing: the program stops its Rondo.
 */
import { isUtf8 } from 'node:buffer'
import { EventEmitter } from 'node:events'
import type { Config } from '../config/config.ts'
import type { KeyStore, Requester } from '../coordinator/api.ts'
import {
  peekRecord,
  readRecord,
  removeOlder,
  updateKey,
  writeValue,
  type CallOptions,
} from '../coordinator/promises.ts'
import { KIND_TOMBSTONE, KIND_VALUE, type StoredRecord } from '../core/codec.ts'
import type { ConsistencyLevel } from '../core/consistency.ts'
import { RondoError } from '../core/errors.ts'
import { storedKey } from '../core/keys.ts'

/** Of a Rondo (`createApp`): the store, and what it has by default. */
export interface KeyvHost {
  readonly coordinator: KeyStore
  readonly config: Pick<
    Config,
    'readConsistency' | 'writeConsistency' | 'defaultTtlMs' | 'databases' | 'maxBatchKeys'
  >
}

export interface KeyvRondoOptions {
  /** By default 0. */
  readonly database?: number
  /** Of reads and writes; by default the configured levels. */
  readonly consistency?: ConsistencyLevel
  /** The whole database is Keyv's: clear() without a namespace deletes all of it. */
  readonly clearsDatabase?: boolean
}

export interface KeyvEntry {
  readonly key: string
  readonly value: string
  /** Milliseconds; none or 0 = DEFAULT_TTL_SECONDS. */
  readonly ttl?: number | undefined
}

const AT_ONCE = 64
const PAGE_KEYS = 500
const TOMBSTONE = { kind: KIND_TOMBSTONE, value: Buffer.alloc(0), expiresAtMs: 0 }
/** What has a meaning in a glob. */
const SPECIAL = /[\\*?[\]^]/g

export class KeyvRondo extends EventEmitter {
  /** Keyv sets it to its own. */
  namespace: string | undefined
  /** Keyv iterates over stores of the dialects that it knows. */
  readonly opts = { dialect: 'redis', url: '' }
  private readonly store: KeyStore
  private readonly config: KeyvHost['config']
  private readonly database: number
  private readonly clearsDatabase: boolean
  private readonly reads: CallOptions
  private readonly writes: CallOptions

  /** @throws RangeError for a database that there is not */
  constructor({ coordinator, config }: KeyvHost, options: KeyvRondoOptions = {}) {
    super()
    const { database = 0, consistency, clearsDatabase = false } = options
    if (!Number.isInteger(database) || database < 0 || database >= config.databases) {
      throw new RangeError(`There are databases 0 to ${config.databases - 1} (DATABASES), not ${database}.`)
    }
    this.store = coordinator
    this.config = config
    this.database = database
    this.clearsDatabase = clearsDatabase
    const requester = new ProcessRequester()
    this.reads = { requester, level: consistency ?? config.readConsistency }
    this.writes = { requester, level: consistency ?? config.writeConsistency }
  }

  async get(key: string): Promise<string | undefined> {
    const record = await readRecord(this.store, this.nameOf(key), this.reads)
    return this.store.isLive(record) ? textOf(record) : undefined
  }

  getMany(keys: readonly string[]): Promise<(string | undefined)[]> {
    return inParallel(keys, (key) => this.get(key))
  }

  async set(key: string, value: string, ttl?: number): Promise<boolean> {
    const name = this.nameOf(key)
    const bytes = bytesOf(value, 'value')
    const tooLarge = this.store.checkValue(bytes.length)
    if (tooLarge) throw tooLarge
    await writeValue(this.store, name, bytes, this.endOf(ttl), this.writes)
    return true
  }

  /** @returns for each entry whether it is stored; what went wrong with others is emitted as `error` */
  setMany(entries: readonly KeyvEntry[]): Promise<boolean[]> {
    return inParallel(entries, async ({ key, value, ttl }) => {
      try {
        return await this.set(key, value, ttl)
      } catch (error) {
        this.emit('error', error)
        return false
      }
    })
  }

  /** @returns whether there was a value */
  async delete(key: string): Promise<boolean> {
    const modify = (current: StoredRecord | null) =>
      this.store.isLive(current)
        ? ({ kind: 'write', record: TOMBSTONE } as const)
        : ({ kind: 'keep' } as const)
    const { before, after } = await updateKey(this.store, this.nameOf(key), modify, this.writes)
    return before !== after && this.store.isLive(before)
  }

  /** @returns whether there was a value under one of them */
  async deleteMany(keys: readonly string[]): Promise<boolean> {
    return (await inParallel(keys, (key) => this.delete(key))).some(Boolean)
  }

  async has(key: string): Promise<boolean> {
    return this.store.isLive(await peekRecord(this.store, this.nameOf(key), 'head', this.reads))
  }

  hasMany(keys: readonly string[]): Promise<boolean[]> {
    return inParallel(keys, (key) => this.has(key))
  }

  /** Deletes the keys of the namespace. @throws Error without one, unless the database is Keyv's */
  async clear(): Promise<void> {
    if (!this.namespace && !this.clearsDatabase) {
      throw new Error(
        `Without a namespace clear() would delete every key of database ${this.database}: give Keyv a namespace, ` +
          'or KeyvRondo the option `clearsDatabase`.',
      )
    }
    const before = this.store.newVersion()
    for await (const keys of this.pages(this.namespace)) {
      await inParallel(keys, (key) => removeOlder(this.store, key, before, this.writes))
    }
  }

  /** Keys as they are stored, namespace included, and their values. What is no text is left out: Keyv has not stored it. */
  async *iterator(
    namespace: string | undefined = this.namespace,
  ): AsyncGenerator<[key: string, value: string], void> {
    const prefixBytes = storedKey(this.database, Buffer.alloc(0)).length
    for await (const names of this.pages(namespace)) {
      const records = await inParallel(names, (name) => readRecord(this.store, name, this.reads))
      for (const [i, record] of records.entries()) {
        if (!isUtf8(names[i]!) || !this.store.isLive(record) || !isText(record)) continue
        yield [names[i]!.toString('utf8', prefixBytes), textOf(record)]
      }
    }
  }

  /** The names on the nodes of all keys of a namespace, page by page. */
  private async *pages(namespace: string | undefined): AsyncGenerator<Buffer[], void> {
    const match = namespace ? Buffer.from(`${namespace.replaceAll(SPECIAL, String.raw`\$&`)}:*`) : null
    const count = Math.min(PAGE_KEYS, this.config.maxBatchKeys)
    let cursor = '0'
    do {
      const page = await this.store.list({ database: this.database, match, cursor, count })
      yield page.keys.map((key) => storedKey(this.database, key))
      cursor = page.cursor
    } while (cursor !== '0')
  }

  /** @throws RondoError, TypeError */
  private nameOf(key: string): Buffer {
    const bytes = bytesOf(key, 'key')
    const unusable = this.store.checkKey(bytes)
    if (unusable) throw unusable
    return storedKey(this.database, bytes)
  }

  /** Cluster time, 0 = never. @throws RangeError */
  private endOf(ttl: number | undefined): number {
    if (ttl !== undefined && !(Number.isFinite(ttl) && ttl >= 0)) {
      throw new RangeError(`A TTL is a number of milliseconds, not ${ttl}.`)
    }
    const lifeMs = ttl ? Math.ceil(ttl) : this.config.defaultTtlMs
    return lifeMs > 0 ? Math.ceil(this.store.nowMs()) + lifeMs : 0
  }
}

/** The program itself, as whoever asks. */
class ProcessRequester implements Requester {
  waiting = 0
  begunAtMs = 0
  readonly gone = false

  noneWaits(): void {
    // its operations do not wait for each other
  }
}

/** @throws TypeError */
function bytesOf(text: unknown, what: 'key' | 'value'): Buffer {
  if (typeof text !== 'string') {
    throw new TypeError(`A ${what} must be a text: Keyv's serializer makes one of every value.`)
  }
  if (!text.isWellFormed())
    throw new TypeError(`The ${what} holds half of a surrogate pair, which is no text.`)
  return Buffer.from(text, 'utf8')
}

function isText({ kind, value }: StoredRecord): boolean {
  return kind === KIND_VALUE && isUtf8(value)
}

/** @throws RondoError WRONG_TYPE for what Keyv cannot have stored */
function textOf(record: StoredRecord): string {
  if (isText(record)) return record.value.toString('utf8')
  const what =
    record.kind === KIND_VALUE ? 'bytes that are no text' : 'a hash, set, sorted set, list or stream'
  throw new RondoError('WRONG_TYPE', `The key holds ${what}.`)
}

/** At most AT_ONCE at the same time. Rejects with the first failure, and begins nothing after it. */
async function inParallel<T, R>(items: readonly T[], run: (item: T) => Promise<R>): Promise<R[]> {
  const results = new Array<R>(items.length)
  let next = 0
  let failed = false
  const work = async () => {
    while (next < items.length && !failed) {
      const place = next++
      try {
        results[place] = await run(items[place]!)
      } catch (error) {
        failed = true
        throw error
      }
    }
  }
  await Promise.all(Array.from({ length: Math.min(AT_ONCE, items.length) }, work))
  return results
}
