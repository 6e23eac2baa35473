/**
 * Delete jobs: all keys of a database with a prefix, or that match a pattern, are deleted in the background.
 *
 *   create ──▶ a version is stamped, and the job stored ──▶ page of keys ──▶ each is deleted, if what is held under it is older
 *                                                              ▲                                │
 *                                                              └── its progress is stored ◀─────┘  every second
 *
 * - What is written after the job was confirmed stays, whichever coordinator wrote it: a delete is a tombstone of just the version
 *   that was stamped (Coordinator.remove), and it is confirmed only when the time of every coordinator is past that.
 * - One job at a time runs in the whole cluster. Its coordinator holds a lease, which stands in the job. If it is gone, another
 *   one goes on at the last page that was stored: one that starts, or that is asked about jobs. Safety does not rest on the lease:
 *   two that run the same job delete the same.
 * - A page of which a key could not be deleted, or that could not be listed, is tried again until the job is cancelled.
 * - Memory: one page of names.
 *
 * A coordinator that knows of no unfinished job asks the nodes nothing.
 */
import { randomBytes } from 'node:crypto'
import type { KeyStore, Modify, Requester } from '../coordinator/api.ts'
import { readRecord, removeOlder, updateKey, type CallOptions } from '../coordinator/promises.ts'
import { LONGEST_LEAP_MS, parseVersion, versionText, type Timers } from '../core/clock.ts'
import { KIND_VALUE, type StoredRecord } from '../core/codec.ts'
import type { ConsistencyLevel } from '../core/consistency.ts'
import { RondoError } from '../core/errors.ts'
import type { Emit } from '../core/events.ts'
import { storedKey } from '../core/keys.ts'
import { sentenceOf } from '../core/sentence.ts'
import {
  encodeJobs,
  isEnded,
  JOBS_KEY,
  LEASE_MS,
  nextFor,
  parseJobs,
  viewOf,
  withChanged,
  withNew,
  type Job,
  type JobView,
} from './delete-job-list.ts'

export interface DeleteJobsOptions {
  readonly store: KeyStore
  readonly timers: Timers
  readonly emit: Emit
  /** Of this coordinator. */
  readonly owner: string
  /** How many keys are deleted in a second at most. */
  readonly keysPerSecond: number
  readonly maxKeyBytes: number
  /** By how much the cluster times of two coordinators may differ: half of the longest round trip to a node, twice. */
  readonly clockErrorMs: number
}

export interface JobRequest {
  readonly database: number
  readonly by: 'prefix' | 'match'
  readonly pattern: Buffer
  readonly level: ConsistencyLevel
}

const PAGE_KEYS = 256
/** Of a second: no wait is longer. */
const PIECES_A_SECOND = 10
const MOST_AT_ONCE = 64
const SAVE_EVERY_MS = 1000
/** Of a change of the list whose outcome is unknown. */
const MOST_TRIES = 3
/** Until another coordinator's job, or a node that failed, is looked at again. */
const AGAIN_MS = 1000
/** So often, where the list of jobs itself cannot be read. Then it waits until it is asked. */
const MOST_FAILURES = 30

export class DeleteJobs {
  private readonly options: DeleteJobsOptions
  private stopped = false
  private running: Promise<void> | null = null
  private askedAgain = false
  /** Ends the present wait. */
  private wake: () => void = () => undefined

  constructor(options: DeleteJobsOptions) {
    this.options = options
  }

  /** Goes on with what is left, if there is something. */
  start(): void {
    if (this.stopped) return
    if (this.running) {
      this.askedAgain = true
      return
    }
    this.running = this.run().finally(() => {
      this.running = null
      if (!this.askedAgain) return
      this.askedAgain = false
      this.start()
    })
  }

  /** Resolves when what was begun has ended; another coordinator goes on, if it is asked. */
  async stop(): Promise<void> {
    this.stopped = true
    this.wake()
    await this.running
  }

  /** @throws RondoError BAD_REQUEST, CONFLICT */
  async create(request: JobRequest): Promise<JobView> {
    const { store } = this.options
    this.check(request)
    const job: Job = {
      id: randomBytes(8).toString('hex'),
      ...{ database: request.database, by: request.by, level: request.level },
      pattern: request.pattern.toString('base64'),
      before: versionText(store.newVersion()),
      ...{ state: 'waiting', cursor: '0', checked: 0, deleted: 0, kept: 0 },
      ...{
        createdAtMs: this.nowMs,
        startedAtMs: null,
        endedAtMs: null,
        owner: null,
        leaseUntilMs: 0,
        why: null,
      },
    }
    await this.change((jobs) => withNew(jobs, job))
    this.start()
    await this.isPast()
    return this.view(job)
  }

  /** From then on every coordinator makes versions above the one that was stamped: what it writes stays. */
  private isPast(): Promise<void> {
    const { timers, clockErrorMs } = this.options
    return new Promise((resolve) => void timers.setTimeout(resolve, clockErrorMs + LONGEST_LEAP_MS))
  }

  async list(): Promise<readonly JobView[]> {
    const jobs = await this.read()
    if (jobs.some((job) => !isEnded(job))) this.start()
    return jobs.map((job) => this.view(job))
  }

  /** @throws RondoError JOB_NOT_FOUND */
  async get(id: string): Promise<JobView> {
    const found = (await this.list()).find((job) => job.id === id)
    if (!found) throw notFound(id)
    return found
  }

  /** No effect on one that has ended. @throws RondoError JOB_NOT_FOUND */
  async cancel(id: string): Promise<JobView> {
    const endedAtMs = this.nowMs
    const jobs = await this.changeOne(id, (job) =>
      isEnded(job) ? job : { ...job, state: 'cancelled', owner: null, endedAtMs, why: null },
    )
    this.start()
    const found = jobs?.find((job) => job.id === id)
    if (!found) throw notFound(id)
    return this.view(found)
  }

  private check({ pattern, by }: JobRequest): void {
    const { maxKeyBytes } = this.options
    if (pattern.length === 0) {
      throw new RondoError('BAD_REQUEST', `The ${by} is empty. FLUSHDB deletes all keys of a database.`)
    }
    if (pattern.length <= maxKeyBytes) return
    const sentence = `The ${by} has ${pattern.length} bytes; at most ${maxKeyBytes} are allowed (MAX_KEY_BYTES).`
    throw new RondoError('BAD_REQUEST', sentence)
  }

  // ---- in the background

  private async run(): Promise<void> {
    for (let failures = 0; !this.stopped && failures < MOST_FAILURES;) {
      try {
        const jobs = await this.read()
        if (jobs.every(isEnded)) return
        const next = nextFor(jobs, this.options.owner, this.nowMs)
        const claimed = next && (await this.claim(next))
        if (claimed) await this.runJob(claimed)
        else await this.pause(AGAIN_MS)
        failures = 0
      } catch (error) {
        if (!(error instanceof RondoError)) throw error
        failures++
        await this.pause(AGAIN_MS)
      }
    }
  }

  /** Null: another coordinator was faster. */
  private async claim({ id }: Job): Promise<Job | null> {
    const { owner } = this.options
    const jobs = await this.change((now) => {
      if (nextFor(now, owner, this.nowMs)?.id !== id) return null
      return withChanged(now, id, (job) => ({
        ...job,
        ...{
          state: 'running',
          owner,
          leaseUntilMs: this.nowMs + LEASE_MS,
          startedAtMs: job.startedAtMs ?? this.nowMs,
        },
      }))
    })
    const claimed = jobs?.find((job) => job.id === id)
    return claimed?.owner === owner ? claimed : null
  }

  private async runJob(claimed: Job): Promise<void> {
    const { emit } = this.options
    const told = (job: Job, state: 'running' | 'done') =>
      emit({ kind: 'delete-job', id: job.id, ...countsOf(job), state })
    let savedAtMs = this.nowMs
    told(claimed, 'running')
    /** False: the job is not ours any more. */
    const save = async (job: Job, isDue: boolean): Promise<boolean> => {
      if (!isDue && this.nowMs - savedAtMs < SAVE_EVERY_MS) return true
      savedAtMs = this.nowMs
      return this.save(job)
    }
    for (let job = claimed; !isEnded(job);) {
      const next = await this.page(job, (now) => save(now, false))
      if (!next || this.stopped) {
        if (next) await this.save({ ...next, cursor: job.cursor, owner: null })
        return
      }
      if (!(await save(next, isEnded(next) || next.why !== job.why))) return
      if (isEnded(next)) told(next, 'done')
      else if (next.why !== null) await this.pause(AGAIN_MS)
      job = next
    }
  }

  /**
   * One page further; at the same place, if a key of it could not be deleted.
   *
   * @param progress called now and then, so that the lease lasts; false = the job is not ours any more, and the result is null
   */
  private async page(job: Job, progress: (job: Job) => Promise<boolean>): Promise<Job | null> {
    const { store, keysPerSecond } = this.options
    const { database, cursor } = job
    try {
      const page = await store.list({
        ...{ database, match: matchOf(job), cursor, count: Math.min(PAGE_KEYS, keysPerSecond) },
        isWanted: () => !this.stopped,
      })
      let now = job
      for (const keys of this.piecesOf(page.keys)) {
        const beganAtMs = this.nowMs
        const { deleted, kept, failure } = await this.deleteAll(job, keys)
        const checked = now.checked + deleted + kept
        now = { ...now, checked, deleted: now.deleted + deleted, kept: now.kept + kept, why: failure }
        if (failure || this.stopped) return now
        await this.pause((keys.length * 1000) / keysPerSecond - (this.nowMs - beganAtMs))
        if (!(await progress(now))) return null
      }
      const isOver = page.cursor === '0'
      const over = isOver ? ({ state: 'done', endedAtMs: this.nowMs, owner: null } as const) : null
      return { ...now, cursor: page.cursor, why: null, ...over }
    } catch (error) {
      if (!(error instanceof RondoError)) throw error
      return { ...job, why: error.message }
    }
  }

  private *piecesOf(keys: readonly Buffer[]): Generator<readonly Buffer[]> {
    const most = Math.floor(this.options.keysPerSecond / PIECES_A_SECOND)
    const piece = Math.max(1, Math.min(MOST_AT_ONCE, most))
    for (let at = 0; at < keys.length; at += piece) yield keys.slice(at, at + piece)
  }

  private async deleteAll({ database, before, level }: Job, keys: readonly Buffer[]) {
    const { store } = this.options
    const version = parseVersion(before)!
    const options: CallOptions = { requester: nobody(), level }
    const removals = keys.map((key) => removeOlder(store, storedKey(database, key), version, options))
    const settled = await Promise.allSettled(removals)
    const done = settled.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []))
    const failed = settled.find((one) => one.status === 'rejected')
    const deleted = done.filter(Boolean).length
    return { deleted, kept: done.length - deleted, failure: failed ? sentenceOf(failed.reason) : null }
  }

  /** @returns false if the job is another coordinator's by now, was cancelled, or is gone */
  private async save(job: Job): Promise<boolean> {
    const { owner } = this.options
    let isOurs = false
    try {
      await this.changeOne(job.id, (now) => {
        isOurs = now.owner === owner && !isEnded(now)
        return isOurs ? { ...job, leaseUntilMs: this.nowMs + LEASE_MS } : now
      })
      return isOurs
    } catch (error) {
      if (!(error instanceof RondoError)) throw error
      return true // it is tried again with the next page
    }
  }

  // ---- the list

  private async read(): Promise<readonly Job[]> {
    const { store } = this.options
    const record = await readRecord(store, JOBS_KEY, { requester: nobody(), level: 'quorum' })
    return parseJobs(store.isLive(record) ? record.value : null)
  }

  private changeOne(id: string, change: (job: Job) => Job): Promise<readonly Job[] | null> {
    return this.change((jobs) => withChanged(jobs, id, change))
  }

  /** @param change null = nothing is changed @throws RondoError what `change` throws, too */
  private async change(
    change: (jobs: readonly Job[]) => readonly Job[] | null,
  ): Promise<readonly Job[] | null> {
    const { store } = this.options
    let made: readonly Job[] | null = null
    const modify: Modify = (current: StoredRecord | null) => {
      try {
        made = change(parseJobs(store.isLive(current) ? current.value : null))
      } catch (error) {
        if (error instanceof RondoError) return { kind: 'refuse', error }
        throw error
      }
      if (!made) return { kind: 'keep' }
      return { kind: 'write', record: { kind: KIND_VALUE, value: encodeJobs(made), expiresAtMs: 0 } }
    }
    /** Where a later try certainly does nothing, this one may still have done it. */
    let unknown: unknown = null
    for (let tries = 1; ; tries++) {
      try {
        await updateKey(store, JOBS_KEY, modify, { requester: nobody(), level: 'quorum' })
        return made
      } catch (error) {
        // Other coordinators change it, too. All changes may be made twice.
        const isUnknown = error instanceof RondoError && error.details.outcome === 'unknown'
        if (isUnknown) unknown ??= error
        if (!isUnknown || tries === MOST_TRIES) throw unknown ?? error
      }
    }
  }

  private view(job: Job): JobView {
    const { store } = this.options
    return viewOf(job, store.nodes.length, this.nowMs)
  }

  private get nowMs(): number {
    return Math.ceil(this.options.store.nowMs())
  }

  private pause(ms: number): Promise<void> {
    if (ms <= 0 || this.stopped) return Promise.resolve()
    const { timers } = this.options
    return new Promise((resolve) => {
      const timer = timers.setTimeout(resolve, ms)
      this.wake = () => {
        timers.clearTimeout(timer)
        resolve()
      }
    })
  }
}

function countsOf({ database, deleted, kept }: Job) {
  return { database, deleted, kept }
}

/** The pattern of the listing. */
function matchOf({ by, pattern }: Job): Buffer {
  const bytes = Buffer.from(pattern, 'base64')
  if (by === 'match') return bytes
  const escaped = bytes.toString('latin1').replace(/[*?[\]\\^]/g, '\\$&')
  return Buffer.from(`${escaped}*`, 'latin1')
}

function notFound(id: string): RondoError {
  return new RondoError('JOB_NOT_FOUND', `There is no delete job "${id.slice(0, 64)}".`)
}

/** Its operations are nobody's connection. */
function nobody(): Requester {
  return { waiting: 0, begunAtMs: 0, gone: false, noneWaits: () => undefined }
}
