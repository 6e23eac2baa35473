/**
 * The coordinator: everything a door may ask for. Stateless but for what it knows of its nodes' health.
 *
 * Hot calls take a completion object (ReadDone, WriteDone) and allocate one operation; promises live at the doors. Keys
 * and values are bytes from the door to the node.
 */
import type { Cluster } from '../cluster/cluster.ts'
import type { Member } from '../cluster/member.ts'
import type { Clock, Timers } from '../core/clock.ts'
import { KIND_TOMBSTONE, KIND_VALUE, newRecord, StoredRecord } from '../core/codec.ts'
import { Deadlines } from '../core/deadlines.ts'
import type { Emit } from '../core/events.ts'
import { isReserved } from '../core/keys.ts'
import { ownLifeMs } from '../core/lifetime.ts'
import { READ_NEVER } from '../core/plan.ts'
import { tokenOf } from '../core/token.ts'
import { RondoError } from '../core/errors.ts'
import { Background } from './background.ts'
import type { CoordinatorContext } from './context.ts'
import { explain, type Explanation } from './explain.ts'
import { listKeys, type KeyPage } from './listing.ts'
import { ReadOne, type ReadDone } from './read.ts'
import { WriteOne, type WriteDone } from './write.ts'

export interface CoordinatorOptions {
  readonly replicationFactor: number
  /** 0 = as many as there are. */
  readonly maxTries: number
  readonly requestTimeoutMs: number
  readonly graceMs: number
  readonly maxKeyBytes: number
  readonly maxValueBytes: number
  readonly clock: Clock
  readonly timers: Timers
  readonly emit: Emit
}

export class Coordinator {
  readonly cluster: Cluster
  private readonly options: CoordinatorOptions
  private readonly context: CoordinatorContext

  constructor(cluster: Cluster, options: CoordinatorOptions) {
    this.cluster = cluster
    this.options = options
    this.context = {
      cluster,
      background: new Background(options.timers, options.emit),
      deadlines: new Deadlines(options.requestTimeoutMs, options),
      replicas: Math.min(options.replicationFactor, cluster.members.length),
      maxTries: options.maxTries > 0 ? options.maxTries : Infinity,
      graceMs: options.graceMs,
      requestTimeoutMs: options.requestTimeoutMs,
    }
  }

  /** How many home replicas a key has. */
  get replicas(): number {
    return this.context.replicas
  }

  /** Cluster time, milliseconds since 1970. */
  nowMs(): number {
    return this.cluster.time.nowMs()
  }

  /** Null, or why this key cannot be used. */
  checkKey(key: Buffer): RondoError | null {
    const { maxKeyBytes } = this.options
    if (key.length > maxKeyBytes) {
      return new RondoError(
        'KEY_TOO_LONG',
        `The key has ${key.length} bytes; at most ${maxKeyBytes} are allowed (MAX_KEY_BYTES).`,
      )
    }
    if (isReserved(key)) {
      return new RondoError('KEY_RESERVED', 'Keys that begin with "__rondo:" are kept for Rondo itself.')
    }
    return null
  }

  /** Null, or why this value cannot be stored. */
  checkValue(bytes: number): RondoError | null {
    const { maxValueBytes } = this.options
    if (bytes <= maxValueBytes) return null
    return new RondoError(
      'VALUE_TOO_LARGE',
      `The value has ${bytes} bytes; at most ${maxValueBytes} are allowed (MAX_VALUE_BYTES).`,
    )
  }

  /** Reads the key's record. The key has passed checkKey. */
  read(key: Buffer, done: ReadDone): void {
    new ReadOne(this.context, key, this.preferenceList(key), done).start()
  }

  /**
   * Stores a value. Key and value have passed checkKey and checkValue.
   *
   * @param expiresAtMs cluster time, 0 = never
   */
  write(key: Buffer, value: Buffer, expiresAtMs: number, done: WriteDone): void {
    const { versions, time } = this.cluster
    const make = () => ({
      record: newRecord(KIND_VALUE, versions, expiresAtMs, value),
      lifeMs: ownLifeMs(KIND_VALUE, expiresAtMs, time.nowMs()),
    })
    new WriteOne(this.context, key, this.preferenceList(key), make, done).start()
  }

  /** Deletes a key: writes a tombstone, which beats every older value a replica may still hold. */
  remove(key: Buffer, done: WriteDone): void {
    const make = () => ({
      record: newRecord(KIND_TOMBSTONE, this.cluster.versions, 0),
      lifeMs: ownLifeMs(KIND_TOMBSTONE, 0, 0),
    })
    new WriteOne(this.context, key, this.preferenceList(key), make, done).start()
  }

  /** Whether a user sees a value in this record now. */
  isLive(record: StoredRecord | null): record is StoredRecord {
    return record?.isLive(this.nowMs()) ?? false
  }

  /** When a record that is live expires, cluster time; 0 = never. Asks a node for a value that Rondo did not write. */
  async expiresAtMs(key: Buffer, record: StoredRecord): Promise<number> {
    if (record.versioned) return record.expiresAtMs
    const holder = this.preferenceList(key).find((member) => member.readRank !== READ_NEVER)
    const lifeMs = holder ? await holder.node.lifeMs(key) : -1
    return lifeMs < 0 ? 0 : this.nowMs() + lifeMs
  }

  list(request: { match: Buffer | null; cursor: string; count: number }): Promise<KeyPage> {
    return listKeys(this.context, request)
  }

  explain(key: Buffer): Promise<Explanation> {
    return explain(this.context, key, this.preferenceList(key))
  }

  /** Waits for replication that is still on its way; tells how much was not done in time. */
  drain(limitMs: number): Promise<number> {
    return this.context.background.drain(limitMs)
  }

  private preferenceList(key: Buffer): readonly Member[] {
    return this.cluster.ring.preferenceListAt(tokenOf(key))
  }
}
