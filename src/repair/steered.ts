/**
 * A merge with a lease. One that belongs to a change of members also keeps to what operators ask for (progress.ts), and
 * writes down in the member how far it is. All of that once a second; what has changed is kept to from the next page on.
 */
import type { Member } from '../cluster/member.ts'
import type { TimerHandle, Timers } from '../core/clock.ts'
import type { RepairContext } from './context.ts'
import type { Note } from './notes.ts'
import { STEERING, type Pass } from './progress.ts'
import { RepairStopped } from './round/copy.ts'
import type { MergeJob } from './round/merge-work.ts'
import { merge, PAGE_KEYS } from './round/merge.ts'
import { Pace } from './round/pace.ts'

const BEAT_MS = 1000

export interface SteeredJob extends MergeJob {
  /** Takes or renews the lease. */
  readonly keepLease: () => Promise<boolean>
}

export interface SteeredOptions {
  readonly context: RepairContext
  readonly jobs: readonly SteeredJob[]
  /** Null = they belong to no change: nothing is noted, and nobody slows them down. */
  readonly note: Note<Pass> | null
  /** The first epoch of the change. */
  readonly since: number
}

/**
 * @returns as `merge`
 * @throws RepairStopped also when it is paused, or another coordinator goes on
 */
export async function mergeSteered(options: SteeredOptions): Promise<ReadonlyMap<Member, unknown>> {
  const { context, jobs, note, since } = options
  const { cluster, clock, timers } = context
  const pace = new Pace(0, clock, timers)
  const notes = note ? await Promise.all(jobs.map((job) => PassNote.begun(context, note, since, job))) : []
  // One lease may be that of all.
  const leases = new Map(jobs.map(({ keepLease, member }) => [keepLease, member]))
  const beat = async () => {
    for (const [keepLease, { node }] of leases) {
      if (!(await keepLease())) throw new RepairStopped(node, 'another coordinator goes on')
    }
    if (!note) return
    const { paused = 0, keysPerSecond = 0 } = (await STEERING.read(cluster)) ?? {}
    if (paused === since) throw new RepairStopped(jobs[0]!.member.node, 'moving keys is paused')
    pace.keysPerSecond = keysPerSecond
    await Promise.all(notes.map((one) => one.write(false)))
  }
  const beats = new Beats(timers, beat)
  let failed: ReadonlyMap<Member, unknown>
  try {
    failed = await merge(context, jobs, async (keysBefore) => {
      await beats.last
      // Each of the members is compared with all of them.
      await pace.spend(keysBefore * jobs.length)
      return pace.piece(PAGE_KEYS)
    })
    await beats.last
  } finally {
    await beats.stop()
  }
  await Promise.all(notes.map((one) => one.write(!failed.has(one.job.member))))
  return failed
}

/** What a member notes of its own pass, from where an earlier one was stopped. */
class PassNote {
  readonly job: MergeJob
  private readonly context: RepairContext
  private readonly note: Note<Pass>
  private readonly since: number
  private readonly begun: Pass | null
  private readonly startedAtMs: number

  private constructor(
    context: RepairContext,
    note: Note<Pass>,
    since: number,
    job: MergeJob,
    begun: Pass | null,
  ) {
    this.context = context
    this.note = note
    this.since = since
    this.job = job
    this.begun = begun
    this.startedAtMs = begun?.startedAtMs ?? context.cluster.time.nowMs()
  }

  static async begun(
    context: RepairContext,
    note: Note<Pass>,
    since: number,
    job: MergeJob,
  ): Promise<PassNote> {
    const earlier = await note.read(context.cluster, [job.member])
    const isSame = earlier?.since === since && !earlier.isDone
    return new PassNote(context, note, since, job, isSame ? earlier : null)
  }

  async write(isDone: boolean): Promise<void> {
    const { cluster } = this.context
    const { member, progress } = this.job
    const { sent = 0, bytes = 0 } = this.begun ?? {}
    const all = { ...progress, sent: sent + progress.sent, bytes: bytes + progress.bytes }
    const times = { startedAtMs: this.startedAtMs, atMs: cluster.time.nowMs() }
    await this.note.write(cluster, { since: this.since, ...times, isDone, ...all }, [member])
  }
}

/** Once a second, also in the middle of a page: one of long values may take longer than the lease. */
class Beats {
  /** Rejects if it has failed: there are no more then. */
  last: Promise<void>
  private readonly timers: Timers
  private readonly beat: () => Promise<void>
  private timer: TimerHandle | null = null
  private stopped = false

  constructor(timers: Timers, beat: () => Promise<void>) {
    this.timers = timers
    this.beat = beat
    this.last = this.begin()
  }

  /** Resolves when the last one has ended. */
  stop(): Promise<void> {
    this.stopped = true
    if (this.timer) this.timers.clearTimeout(this.timer)
    return this.last.catch(() => undefined) // the merge has met it, or has failed by itself
  }

  private begin(): Promise<void> {
    const beating = this.beat()
    void beating.then(
      () => this.wait(),
      () => undefined, // the merge meets it before its next page
    )
    return beating
  }

  private wait(): void {
    if (this.stopped) return
    this.timer = this.timers.setTimeout(() => {
      this.last = this.begin()
    }, BEAT_MS)
  }
}
