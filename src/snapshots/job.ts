/** A snapshot that is taken, or restored: who does it, and how far it is. */

export type JobState = 'running' | 'finished' | 'failed' | 'cancelled'

/** Of a snapshot: `keys`, `bytes`, …; of a restore: `restored`, `kept`, …. */
export type Counts = Record<string, number>

export interface Job {
  readonly id: string
  readonly kind: 'snapshot' | 'restore'
  readonly name: string
  /** The coordinator. */
  readonly by: string
  readonly startedAtMs: number
  state: JobState
  finishedAtMs: number | null
  /** What it does now, or did last. */
  phase: string
  readonly counts: Counts
  /** How many records could not be restored, by the code of the error. */
  readonly failures: Counts
  error: string | null
}

const STATES: readonly unknown[] = ['running', 'finished', 'failed', 'cancelled'] satisfies JobState[]
const MOST_COUNTS = 32

export function encodeJob(job: Job, isCancelled: boolean): Buffer {
  return Buffer.from(JSON.stringify({ ...job, isCancelled }))
}

/** Null: it is none. @param bytes as a node has them */
export function decodeJob(bytes: Buffer): { job: Job; isCancelled: boolean } | null {
  let parsed: unknown
  try {
    parsed = JSON.parse(bytes.toString())
  } catch {
    return null
  }
  if (typeof parsed !== 'object' || parsed === null) return null
  const {
    id,
    kind,
    name,
    by,
    startedAtMs,
    state,
    finishedAtMs,
    phase,
    counts,
    failures,
    error,
    isCancelled,
  } = parsed as Record<string, unknown>
  if (![id, name, by, phase].every((text) => typeof text === 'string')) return null
  if (!isTime(startedAtMs) || !STATES.includes(state) || (kind !== 'snapshot' && kind !== 'restore'))
    return null
  return {
    job: {
      ...({ id, name, by, phase } as { id: string; name: string; by: string; phase: string }),
      kind,
      startedAtMs,
      state: state as JobState,
      finishedAtMs: isTime(finishedAtMs) ? finishedAtMs : null,
      counts: countsIn(counts),
      failures: countsIn(failures),
      error: typeof error === 'string' ? error : null,
    },
    isCancelled: isCancelled === true,
  }
}

/** As clients see it. */
export function viewOf(job: Job): Record<string, unknown> {
  const { id, kind, name, state, phase, by, startedAtMs, finishedAtMs, error, counts, failures } = job
  return {
    ...{ id, kind, name, state, phase, by },
    startedAt: timeText(startedAtMs),
    finishedAt: finishedAtMs === null ? null : timeText(finishedAtMs),
    error,
    ...counts,
    ...(kind === 'restore' && { failures }),
  }
}

/** Cluster time, as ISO 8601. */
export function timeText(ms: number): string {
  return new Date(Math.floor(ms)).toISOString()
}

function countsIn(value: unknown): Counts {
  if (typeof value !== 'object' || value === null) return {}
  const counts = Object.entries(value).filter(
    (entry): entry is [string, number] => typeof entry[1] === 'number',
  )
  return Object.fromEntries<number>(counts.slice(0, MOST_COUNTS))
}

/** Within what a Date can show. */
function isTime(value: unknown): value is number {
  return typeof value === 'number' && value >= 0 && value < 2 ** 48
}
