/**
 * Delete jobs as data: a list of them is the value of one key, beside the tags (core/tags.ts), which no client can name. It is
 * copied, moved and repaired as any other, and changed by updates at `quorum`. FLUSHALL removes it, with all that was to be
 * deleted.
 */
import { z } from 'zod'
import { CONSISTENCY_LEVELS } from '../core/consistency.ts'
import { RondoError } from '../core/errors.ts'
import { databasePrefix, TAGS_DATABASE } from '../core/keys.ts'

export const JOBS_KEY = Buffer.concat([databasePrefix(TAGS_DATABASE), Buffer.from('delete-jobs')])

/** Kept, those that have ended too. */
export const MAX_JOBS = 32

/** For which a coordinator that runs a job is taken to be alive. */
export const LEASE_MS = 10_000

const count = z.number().int().nonnegative()

const JOB = z.object({
  id: z.string().regex(/^[0-9a-f]{16}$/),
  database: count,
  by: z.enum(['prefix', 'match']),
  /** Base64. */
  pattern: z.string(),
  level: z.enum(CONSISTENCY_LEVELS),
  /** In hex: only what has no later version is deleted. */
  before: z.string().regex(/^[0-9a-f]{24}$/),
  state: z.enum(['waiting', 'running', 'done', 'cancelled']),
  /** Of the listing; '0' = it has not begun, or has ended. */
  cursor: z.string(),
  /** Keys that were looked at, and what became of them. */
  checked: count,
  deleted: count,
  kept: count,
  createdAtMs: z.number(),
  startedAtMs: z.number().nullable(),
  endedAtMs: z.number().nullable(),
  /** The coordinator that runs it, until when it is known to (cluster time). */
  owner: z.string().nullable(),
  leaseUntilMs: z.number(),
  /** Why it does not get on; null = it does. */
  why: z.string().nullable(),
})

export type Job = z.infer<typeof JOB>

const JOBS = z.array(JOB).max(MAX_JOBS)

/** @returns none, if what is stored cannot be understood: it is of another release */
export function parseJobs(bytes: Buffer | null): readonly Job[] {
  if (!bytes) return []
  try {
    return JOBS.safeParse(JSON.parse(bytes.toString('utf8'))).data ?? []
  } catch {
    return []
  }
}

export function encodeJobs(jobs: readonly Job[]): Buffer {
  return Buffer.from(JSON.stringify(jobs))
}

export function isEnded({ state }: Job): boolean {
  return state === 'done' || state === 'cancelled'
}

/** Those that have ended make room, the oldest first. @throws RondoError CONFLICT */
export function withNew(jobs: readonly Job[], job: Job): readonly Job[] {
  if (jobs.some(({ id }) => id === job.id)) return jobs // it was applied, and nobody knew
  const all = [...jobs, job]
  if (all.length <= MAX_JOBS) return all
  const oldest = jobs.find(isEnded)
  if (oldest) return all.filter((one) => one !== oldest)
  throw new RondoError(
    'CONFLICT',
    `${MAX_JOBS} delete jobs have not ended yet: wait for one, or cancel it.`,
    {
      outcome: 'not-applied',
    },
  )
}

/** @returns null if there is none of this id */
export function withChanged(
  jobs: readonly Job[],
  id: string,
  change: (job: Job) => Job,
): readonly Job[] | null {
  return jobs.some((job) => job.id === id) ? jobs.map((job) => (job.id === id ? change(job) : job)) : null
}

/** One job at a time in the whole cluster, in their order: the next one, if this coordinator may run it now. */
export function nextFor(jobs: readonly Job[], owner: string, nowMs: number): Job | null {
  const next = jobs.find((job) => !isEnded(job))
  if (!next) return null
  return next.owner === null || next.owner === owner || !isLeased(next, nowMs) ? next : null
}

/** One that lasts longer than any is given is from before the cluster time was set back. */
function isLeased({ leaseUntilMs }: Job, nowMs: number): boolean {
  return leaseUntilMs > nowMs && leaseUntilMs - nowMs < 2 * LEASE_MS
}

/** What a user is told. */
export interface JobView {
  readonly id: string
  readonly state: Job['state']
  readonly db: number
  readonly prefix?: string
  readonly match?: string
  /** `base64url`, where the pattern is no text. */
  readonly keyEncoding?: string
  readonly consistency: string
  readonly checked: number
  readonly deleted: number
  /** Written after the job was made. */
  readonly kept: number
  readonly keysPerSecond: number
  /** Null = not known yet, or nothing is left. */
  readonly secondsLeft: number | null
  readonly createdAt: string
  readonly startedAt: string | null
  readonly endedAt: string | null
  readonly why: string | null
}

export function viewOf(job: Job, nodes: number, nowMs: number): JobView {
  const bytes = Buffer.from(job.pattern, 'base64')
  const isText = Buffer.from(bytes.toString('utf8')).equals(bytes)
  const pattern = isText ? bytes.toString('utf8') : bytes.toString('base64url')
  const seconds = job.startedAtMs === null ? 0 : ((job.endedAtMs ?? nowMs) - job.startedAtMs) / 1000
  const share = shareOf(job.cursor, nodes)
  const isKnown = !isEnded(job) && share > 0 && seconds > 0
  return {
    id: job.id,
    state: job.state,
    db: job.database,
    [job.by]: pattern,
    ...(!isText && { keyEncoding: 'base64url' }),
    consistency: job.level,
    checked: job.checked,
    deleted: job.deleted,
    kept: job.kept,
    keysPerSecond: seconds > 0 ? Math.round(job.checked / seconds) : 0,
    secondsLeft: isKnown ? Math.ceil((seconds * (1 - share)) / share) : null,
    createdAt: timeOf(job.createdAtMs)!,
    startedAt: timeOf(job.startedAtMs),
    endedAt: timeOf(job.endedAtMs),
    why: job.why,
  }
}

/** How many of the nodes have been listed, as a share (coordinator/listing/listing.ts). */
function shareOf(cursor: string, nodes: number): number {
  const [, place] = /^\d+:(\d+)-/.exec(cursor) ?? []
  return place === undefined ? 0 : Math.min(Number(place) / nodes, 1)
}

function timeOf(ms: number | null): string | null {
  return ms === null ? null : new Date(ms).toISOString()
}
