/**
 * Snapshots of the cluster: taking, restoring, listing and deleting them.
 *
 *   POST /snapshots ─▶ claim ─▶ 202        one in the whole cluster at a time (claim.ts)
 *                        └────▶ job        take.ts ─▶ file-writer.ts, or file-reader.ts ─▶ restore.ts
 */
import { randomBytes } from 'node:crypto'
import { setMaxListeners } from 'node:events'
import type { KeyStore, Requester } from '../coordinator/api.ts'
import type { TimerHandle, Timers } from '../core/clock.ts'
import { RondoError } from '../core/errors.ts'
import type { Emit } from '../core/events.ts'
import { sentenceOf } from '../core/sentence.ts'
import { Claim, RENEW_MS } from './claim.ts'
import type { SnapshotFile } from './file-reader.ts'
import { nameTaken, writeSnapshot } from './file-writer.ts'
import { damaged, SnapshotFolder, type ListedSnapshot } from './folder.ts'
import { DamagedSnapshot } from './format.ts'
import type { Job } from './job.ts'
import { checkName, checkNewName, defaultName, savedName, type Writer } from './names.ts'
import { restoreRecords, type RestoreLimits } from './restore.ts'
import { Schedule } from './schedule.ts'
import { BeginAgain, linesOf } from './take.ts'

export interface SnapshotsOptions {
  readonly store: KeyStore
  readonly folder: string
  /** 0 = only when asked. */
  readonly intervalMs: number
  /** Of the schedule's. */
  readonly keep: number
  readonly limits: RestoreLimits
  readonly writer: Writer
  /** The coordinator, for people. */
  readonly self: () => string
  readonly timers: Timers
  readonly clock: { wallMs(): number; monotonicMs(): number }
  readonly emit: Emit
}

export interface SnapshotList {
  readonly snapshots: readonly ListedSnapshot[]
  /** Beside those that are listed. */
  readonly more: number
  /** The one that runs, or the last one; null = there was none for a day. */
  readonly job: Job | null
}

interface Running {
  readonly job: Job
  readonly abort: AbortController
  ended: Promise<void>
  /** Why it has not finished; null = it has, or still runs. */
  failure: RondoError | null
}

/** How often a snapshot begins again, because the members change, before it fails. */
const MOST_BEGINNINGS = 5
const NOTHING_YET = { keys: 0, bytes: 0, skipped: 0, belowQuorum: 0 }
const STOPPING = new RondoError('UNAVAILABLE', 'The process is stopping.')

export class Snapshots {
  private readonly options: SnapshotsOptions
  private readonly folder: SnapshotFolder
  private readonly requester: Requester = {
    waiting: 0,
    begunAtMs: 0,
    gone: false,
    noneWaits: () => undefined,
  }
  private readonly claim: Claim
  private running: Running | null = null
  private readonly schedule: Schedule
  private ready: Promise<void> = Promise.resolve()
  private isStopped = false

  constructor(options: SnapshotsOptions) {
    this.options = options
    this.folder = new SnapshotFolder(options.folder, options.writer)
    this.claim = new Claim(options.store, this.requester)
    this.schedule = new Schedule({
      ...options,
      folder: this.folder,
      take: async (name, isDue) => {
        const { job, ended } = await this.beginTaking(name, isDue)
        await ended
        return job.state
      },
    })
  }

  /** Returns at once: a folder that cannot be used does not keep clients from their keys. */
  start(): void {
    this.ready = this.prepare()
    this.schedule.start()
  }

  /** Stops what runs here. */
  async stop(): Promise<void> {
    this.isStopped = true
    this.running?.abort.abort(STOPPING)
    await this.ready
    await this.schedule.stop()
    await this.running?.ended
  }

  /** @throws RondoError */
  async list(): Promise<SnapshotList> {
    const { snapshots, more } = await this.folder.list()
    // Without nodes there are still files.
    return { snapshots, more, job: this.running?.job ?? (await this.claim.current().catch(() => null)) }
  }

  /** Begins one. @param name null = after the time @throws RondoError */
  async take(name: string | null): Promise<Job> {
    const named = name === null ? defaultName(this.options.store.nowMs()) : checkNewName(name)
    await this.folder.prepare()
    return (await this.beginTaking(named)).job
  }

  /** Begins to restore one. @throws RondoError */
  async restore(name: string): Promise<Job> {
    return (await this.beginRestoring(name)).job
  }

  /** Takes one that replaces the one of the last call, and waits for it. @throws RondoError */
  async save(): Promise<void> {
    await this.folder.prepare()
    await finished(await this.beginTaking(savedName(this.options.store.nowMs())))
    // The newest is there: one that stays beside it does no harm, and goes next time.
    for (const name of (await this.folder.saved()).slice(0, -1))
      await this.folder.remove(name).catch(() => null)
  }

  /** Restores the one that save() has taken last, and waits for it. @throws RondoError */
  async load(): Promise<void> {
    const name = (await this.folder.saved()).at(-1)
    if (name === undefined) {
      throw new RondoError(
        'SNAPSHOT_NOT_FOUND',
        'Nothing was saved: POST /save puts a snapshot into SNAPSHOT_DIR.',
      )
    }
    const running = await this.beginRestoring(name)
    await finished(running)
    const { failed } = running.job.counts
    if (failed)
      throw new RondoError('UNAVAILABLE', `${failed} keys could not be restored: GET /snapshots says why.`)
  }

  /** @throws RondoError */
  async remove(name: string): Promise<void> {
    await this.folder.remove(checkName(name))
  }

  /** Stops the one that runs, at whichever coordinator. @throws RondoError */
  async cancel(): Promise<Job> {
    const job = await this.claim.cancel()
    if (!job) throw new RondoError('CONFLICT', 'No snapshot is being taken or restored.')
    if (this.running?.job.id === job.id) this.running.abort.abort(cancelled())
    return job
  }

  private async prepare(): Promise<void> {
    try {
      await this.folder.prepare()
      const files = await this.folder.removeLeftovers(this.options.clock.wallMs())
      if (files > 0) this.options.emit({ kind: 'snapshot-leftovers', path: this.folder.path, files })
    } catch (error) {
      this.options.emit({ kind: 'snapshot-folder', path: this.folder.path, why: sentenceOf(error) })
    }
  }

  private newJob(kind: Job['kind'], name: string, counts: Job['counts']): Job {
    return {
      id: randomBytes(8).toString('hex'),
      ...{ kind, name, counts, failures: {}, by: this.options.self() },
      startedAtMs: Math.floor(this.options.store.nowMs()),
      state: 'running',
      finishedAtMs: null,
      phase: kind === 'snapshot' ? 'writing' : 'verifying',
      error: null,
    }
  }

  /**
   * @param isDue asked when no other can begin any more
   * @throws RondoError CONFLICT if one runs, here or elsewhere
   */
  private async begin(
    job: Job,
    work: (running: Running) => Promise<void>,
    isDue?: () => Promise<boolean>,
  ): Promise<Running> {
    await this.ready
    if (this.isStopped) throw STOPPING
    const other = await this.claim.take(job)
    if (other) throw isBusy(other)
    if (isDue && !(await this.isStill(isDue, job))) throw notDue()
    if (this.isStopped) {
      await this.end(job, STOPPING)
      throw STOPPING
    }
    const running: Running = { job, abort: new AbortController(), ended: Promise.resolve(), failure: null }
    // Each of a batch may wait.
    setMaxListeners(0, running.abort.signal)
    this.running = running
    this.options.emit({ kind: 'snapshot-started', what: job.kind, name: job.name })
    running.ended = this.run(running, work)
    return running
  }

  private async isStill(isDue: () => Promise<boolean>, job: Job): Promise<boolean> {
    const due = await isDue().catch(() => false)
    if (!due) await this.claim.giveUp(job).catch(() => undefined) // it ends by itself
    return due
  }

  /** Never rejects. */
  private async run(running: Running, work: (running: Running) => Promise<void>): Promise<void> {
    const { job, abort } = running
    const renewing = this.renew(running)
    let error: unknown = null
    try {
      await work(running)
    } catch (failure) {
      error = abort.signal.aborted ? abort.signal.reason : failure
    }
    if (error !== null) running.failure = failureOf(error)
    job.finishedAtMs = Math.floor(this.options.store.nowMs())
    job.state = error === null ? 'finished' : abort.signal.aborted ? 'cancelled' : 'failed'
    renewing.stop()
    await renewing.ended
    await this.end(job, error)
    this.running = null
    this.tell(job)
  }

  private async end(job: Job, error: unknown): Promise<void> {
    if (error !== null) job.error = `${sentenceOf(error)}.`
    if (job.state === 'running') job.state = 'cancelled'
    job.finishedAtMs ??= Math.floor(this.options.store.nowMs())
    // If it cannot be told, it ends by itself.
    await this.claim.end(job).catch(() => undefined)
  }

  private tell({ kind: what, name, state, error, counts, startedAtMs, finishedAtMs }: Job): void {
    const ms = finishedAtMs! - startedAtMs
    if (state === 'finished')
      this.options.emit({ kind: 'snapshot-finished', what, name, counts: { ...counts }, ms })
    else
      this.options.emit({
        kind: 'snapshot-failed',
        what,
        name,
        cancelled: state === 'cancelled',
        why: error!,
      })
  }

  /** Keeps the claim, and tells how far it is. */
  private renew({ job, abort }: Running): { stop(): void; readonly ended: Promise<void> } {
    const { timers } = this.options
    let [timer, isOver]: [TimerHandle | null, boolean] = [null, false]
    let renewal = Promise.resolve()
    const once = async () => {
      // A failed one is tried again in time.
      const outcome = await this.claim.renew(job).catch(() => 'held' as const)
      if (outcome === 'cancelled') abort.abort(cancelled())
      if (outcome === 'lost') abort.abort(lost())
      if (!isOver) next()
    }
    const next = () => {
      timer = timers.setTimeout(() => void (renewal = once()), RENEW_MS)
    }
    next()
    return {
      stop: () => {
        isOver = true
        if (timer) timers.clearTimeout(timer)
      },
      get ended() {
        return renewal
      },
    }
  }

  private async beginTaking(name: string, isDue?: () => Promise<boolean>): Promise<Running> {
    if (await this.folder.has(name)) throw nameTaken(name)
    const job = this.newJob('snapshot', name, { ...NOTHING_YET })
    return this.begin(job, (running) => this.runTaking(running), isDue)
  }

  private async beginRestoring(name: string): Promise<Running> {
    const file = await this.folder.open(checkName(name))
    try {
      const { keys, bytes } = file.end
      const counts = { keys, bytes, verifiedBytes: 0, restored: 0, kept: 0, expired: 0, failed: 0 }
      const job = this.newJob('restore', name, counts)
      return await this.begin(job, (running) => this.runRestore(running, file).finally(() => file.close()))
    } catch (error) {
      await file.close()
      throw error
    }
  }

  private async runTaking({ job, abort: { signal } }: Running): Promise<void> {
    const { store, timers, clock, writer } = this.options
    const { counts, name } = job
    for (let beginnings = 1; ; beginnings++) {
      Object.assign(counts, NOTHING_YET)
      const { cluster, epoch, replicas, members } = store.clusterView()
      const header = { name, takenAtMs: job.startedAtMs, cluster, epoch, replicas, nodes: members.length }
      const { requester } = this
      const monotonicMs = () => clock.monotonicMs()
      const lines = linesOf({ store, requester, counts, signal, timers, monotonicMs })
      const onBytes = (bytes: number) => void (counts.bytes = bytes)
      try {
        const folder = this.folder.path
        const { fileBytes } = await writeSnapshot({ folder, writer, header, lines, signal, onBytes })
        counts.bytes = fileBytes
        return
      } catch (error) {
        if (!(error instanceof BeginAgain) || beginnings === MOST_BEGINNINGS) throw error
      }
    }
  }

  private async runRestore({ job, abort: { signal } }: Running, file: SnapshotFile): Promise<void> {
    const { store, timers, clock, limits } = this.options
    const { counts, failures } = job
    try {
      await file.verify(signal, (verified) => (counts.verifiedBytes = verified))
      job.phase = 'restoring'
      const { requester } = this
      const monotonicMs = () => clock.monotonicMs()
      await restoreRecords(file, {
        ...limits,
        store,
        requester,
        counts,
        failures,
        signal,
        timers,
        monotonicMs,
      })
    } catch (error) {
      throw error instanceof DamagedSnapshot ? damaged(job.name, error) : error
    }
  }
}

/** @throws RondoError */
async function finished(running: Running): Promise<void> {
  await running.ended
  if (running.failure) throw running.failure
}

function failureOf(error: unknown): RondoError {
  return error instanceof RondoError ? error : new RondoError('UNAVAILABLE', `${sentenceOf(error)}.`)
}

function isBusy({ kind, name, by }: Job): RondoError {
  const doing = kind === 'snapshot' ? 'taken' : 'restored'
  return new RondoError(
    'CONFLICT',
    `Snapshot ${name} is being ${doing} by ${by}, and one at a time may be: wait, or cancel it (POST /snapshots/cancel).`,
  )
}

/** Another coordinator has taken it since this one looked. */
function notDue(): RondoError {
  return new RondoError('CONFLICT', 'No snapshot is due.')
}

function cancelled(): RondoError {
  return new RondoError('CONFLICT', 'It was cancelled.')
}

function lost(): RondoError {
  return new RondoError(
    'CONFLICT',
    'This coordinator could not tell the nodes for a while that it goes on, and another one has begun.',
  )
}
