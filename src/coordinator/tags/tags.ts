/**
 * The tags of values (core/tags.ts): what a value is stored with, and whether its tags are still what they were then.
 *
 *   write   read each tag ──▶ its generation, or a new one is stored ──▶ the value is written with them
 *   read    the value, tagged ──▶ read each tag, at the level of the read ──▶ all as in the value: it is one
 *                                                                        ──▶ otherwise it is as good as deleted
 *
 * Why a read at `quorum` never sees a value whose tag was invalidated before: the value has the generation that the tag had
 * when it was written. The deletion of the tag's key is on a majority, the read asks a majority after that, and no later
 * generation is the same. The other way round, what is seen was a value at the moment at which the tag was read, and at
 * every earlier one since it was written.
 *
 * Only tagged values cost anything here. The lookups of one turn of the event loop share their reads: an MGET of a thousand
 * values with the same tag reads it once.
 *
 * Not promised: an update that reads a tagged value and stores one without tags (SET XX, SET GET) takes effect before an
 * invalidation or after it, and may be seen to do so only after one that came in between.
 */
import { compareVersions, type Version } from '../../core/clock.ts'
import { asDeleted, KIND_TOMBSTONE, KIND_VALUE, type Stamp, type StoredRecord } from '../../core/codec.ts'
import type { ConsistencyLevel } from '../../core/consistency.ts'
import { RondoError } from '../../core/errors.ts'
import { decodeTags, encodeTags, GENERATION_BYTES, type Tag } from '../../core/tags.ts'
import type { TaggingDone } from '../api.ts'
import type { TagJudge } from '../context.ts'
import type { ReadDone } from '../read/read.ts'
import type { Modified, Modify, UpdateDone } from '../update/update.ts'

export interface TagsOptions {
  read(key: Buffer, done: ReadDone, level: ConsistencyLevel): void
  update(key: Buffer, modify: Modify, done: UpdateDone, level: ConsistencyLevel): void
  isLive(record: StoredRecord | null): record is StoredRecord
  readonly nowMs: () => number
  readonly versions: Stamp
  readonly requestTimeoutMs: number
}

type Look = (record: StoredRecord | null, error: RondoError | null) => void

/** A tag is kept for so much longer than the values that have needed it so far, or twice as long: it is seldom lengthened. */
const SPARE_MS = 3_600_000
/** Of so many tags it is known how long they are kept. */
const MOST_ENDS = 4096
/** Values whose memory is given back at the same time. More that are read meanwhile wait for their next read. */
const MOST_DROPS = 64
const KEEP: Modified = { kind: 'keep' }
const GONE: Modified = {
  kind: 'write',
  record: { kind: KIND_TOMBSTONE, value: Buffer.alloc(0), expiresAtMs: 0 },
}

export class Tags implements TagJudge {
  private readonly options: TagsOptions
  /** Lookups of this turn, by level and key. */
  private readonly turn = new Map<string, { key: Buffer; level: ConsistencyLevel; looks: Look[] }>()
  /** Until when tags are kept, by key, as far as it was read: cluster time, 0 = for ever. */
  private readonly ends = new Map<string, number>()
  /** Keys of values that are being deleted. */
  private readonly dropping = new Set<string>()

  constructor(options: TagsOptions) {
    this.options = options
  }

  judge(
    record: StoredRecord,
    level: ConsistencyLevel,
    judged: (shown: StoredRecord) => void,
    failed: (error: RondoError) => void,
  ): void {
    const tags = decodeTags(record.tags!)
    if (!tags) {
      judged(asDeleted(record))
      return
    }
    let missing = tags.length
    let failure: RondoError | null = null
    let isOver = false
    for (const { key, generation } of tags) {
      this.look(key, level, (held, error) => {
        missing--
        failure ??= error
        if (isOver) return
        const isGone = !error && !this.generationIn(held)?.equals(generation)
        if (!isGone && missing > 0) return
        isOver = true
        if (isGone) judged(asDeleted(record))
        else if (failure) failed(failure)
        else judged(record)
      })
    }
  }

  tagging(keys: readonly Buffer[], expiresAtMs: number, done: TaggingDone, level: ConsistencyLevel): void {
    const { requester } = done
    const tags: Tag[] = []
    let missing = keys.length
    let isOver = false
    const fail = (error: RondoError) => {
      if (isOver) return
      isOver = true
      // Whatever became of the tags: no value was written.
      const code = error.code === 'OUTCOME_UNKNOWN' ? 'UNAVAILABLE' : error.code
      const sentence = `The tags of the value could not be read or made: ${error.message}`
      done.failed(new RondoError(code, sentence, { outcome: 'not-applied' }))
    }
    keys.forEach((key, i) => {
      const has = (generation: Buffer) => {
        tags[i] = { key, generation: Buffer.from(generation) }
        if (--missing === 0 && !isOver) done.tagging(encodeTags(tags))
      }
      this.look(key, level, (held, error) => {
        if (error) {
          fail(error)
          return
        }
        const generation = this.generationIn(held)
        if (generation && isEnough(held!.expiresAtMs, expiresAtMs)) {
          has(generation)
          return
        }
        this.ensure(key, expiresAtMs, level, {
          ...(requester && { requester }),
          updated: (_, after) => has(after!.value),
          failed: fail,
        })
      })
    })
  }

  /**
   * Makes a tag, or lengthens it. At `quorum`, also for a write at `one`: as long as a replica lacks the tag, it has the value for
   * gone. Where that cannot be done, at the level of the write. Several coordinators may do it at the same moment, and then none
   * may know whose was confirmed: it is looked at again, which cannot make it twice.
   */
  private ensure(key: Buffer, expiresAtMs: number, level: ConsistencyLevel, done: UpdateDone): void {
    const fresh = Buffer.alloc(GENERATION_BYTES)
    this.options.versions.stamp(fresh, 0)
    const modify: Modify = (current) => this.lasting(current, expiresAtMs, fresh)
    const { nowMs, requestTimeoutMs } = this.options
    const untilMs = nowMs() + requestTimeoutMs
    const attempt = (at: ConsistencyLevel, giveUp: UpdateDone['failed']) => {
      const updated: UpdateDone['updated'] = (before, after) => {
        this.noteEnd(key, after)
        done.updated(before, after)
      }
      const failed = (error: RondoError) => {
        if (error.details.outcome === 'unknown' && nowMs() < untilMs) attempt(at, giveUp)
        else giveUp(error)
      }
      this.options.update(key, modify, { ...done, updated, failed }, at)
    }
    const failed = (error: RondoError) => done.failed(error)
    if (level === 'one') attempt('quorum', () => attempt('one', failed))
    else attempt(level, failed)
  }

  lengthen(tags: Buffer, expiresAtMs: number): void {
    for (const { key } of decodeTags(tags) ?? []) {
      const end = this.ends.get(key.toString('latin1'))
      if (end !== undefined && isEnough(end, expiresAtMs)) continue
      const modify: Modify = (current) =>
        this.generationIn(current) ? this.lasting(current, expiresAtMs, null) : KEEP
      // If it fails, the value is gone earlier than it would expire.
      const done: UpdateDone = {
        updated: (_before, after) => this.noteEnd(key, after),
        failed: () => undefined,
      }
      this.options.update(key, modify, done, 'quorum')
    }
  }

  /** At `quorum`, whatever the level of the read: at `one` it could overtake a write at `quorum`, which nobody has asked for. */
  drop(key: Buffer, { version }: StoredRecord): void {
    const name = key.toString('latin1')
    if (this.dropping.has(name) || this.dropping.size >= MOST_DROPS) return
    this.dropping.add(name)
    const gone: Version = Buffer.from(version)
    const modify: Modify = (current) =>
      // Judged at this level: at `one` a replica may have lacked the tag.
      current?.kind === KIND_TOMBSTONE && compareVersions(current.version, gone) === 0 ? GONE : KEEP
    const ended = () => void this.dropping.delete(name)
    this.options.update(Buffer.from(key), modify, { updated: ended, failed: ended }, 'quorum')
  }

  /** Keeps the generation of a tag that is there, for long enough; @param fresh for one that is not */
  private lasting(current: StoredRecord | null, expiresAtMs: number, fresh: Buffer | null): Modified {
    const held = this.generationIn(current)
    if (held && isEnough(current!.expiresAtMs, expiresAtMs)) return KEEP
    const value = Buffer.from(held ?? fresh!)
    const nowMs = Math.ceil(this.options.nowMs())
    const endMs = expiresAtMs === 0 ? 0 : expiresAtMs + Math.max(SPARE_MS, expiresAtMs - nowMs)
    return { kind: 'write', record: { kind: KIND_VALUE, value, expiresAtMs: endMs } }
  }

  private generationIn(held: StoredRecord | null): Buffer | null {
    if (!this.options.isLive(held) || held.valueLength !== GENERATION_BYTES) return null
    return held.value
  }

  /** Reads a tag, at the end of this turn. */
  private look(key: Buffer, level: ConsistencyLevel, look: Look): void {
    const name = level + key.toString('latin1')
    const same = this.turn.get(name)
    if (same) {
      same.looks.push(look)
      return
    }
    if (this.turn.size === 0) queueMicrotask(() => this.readTurn())
    this.turn.set(name, { key, level, looks: [look] })
  }

  private readTurn(): void {
    const wanted = [...this.turn.values()]
    this.turn.clear()
    for (const { key, level, looks } of wanted) {
      const done: ReadDone = {
        read: (record) => {
          this.noteEnd(key, record)
          for (const look of looks) look(record, null)
        },
        failed: (error) => {
          for (const look of looks) look(null, error)
        },
      }
      this.options.read(key, done, level)
    }
  }

  private noteEnd(key: Buffer, held: StoredRecord | null): void {
    const name = key.toString('latin1')
    if (!this.generationIn(held)) {
      this.ends.delete(name)
      return
    }
    if (this.ends.size >= MOST_ENDS) this.ends.clear()
    this.ends.set(name, held!.expiresAtMs)
  }
}

/** Whether a tag that is kept until then is kept as long as a value that expires then; 0 = never. */
function isEnough(tagEndMs: number, valueEndMs: number): boolean {
  return tagEndMs === 0 || (valueEndMs !== 0 && valueEndMs <= tagEndMs)
}
