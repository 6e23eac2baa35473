/**
 * Snapshots of the cluster: GET and POST /snapshots, POST /snapshots/:name/restore, DELETE /snapshots/:name, and
 * POST /snapshots/cancel.
 */
import { RondoError } from '../../core/errors.ts'
import type { Found, ListedSnapshot } from '../../snapshots/folder.ts'
import { timeText, viewOf, type Job } from '../../snapshots/job.ts'
import type { SnapshotList } from '../../snapshots/snapshots.ts'
import { bodyOf, parseObject, saysJson } from './body.ts'
import type { Exchange } from './exchange.ts'
import { checkNothingSent } from './repair.ts'

export interface SnapshotCalls {
  list(): Promise<SnapshotList>
  take(name: string | null): Promise<Job>
  restore(name: string): Promise<Job>
  remove(name: string): Promise<void>
  cancel(): Promise<Job>
  /** Resolve when it is done: POST /save and /load. */
  save(): Promise<void>
  load(): Promise<void>
}

export interface SnapshotsOptions {
  /** Null = SNAPSHOT_DIR is not set. */
  readonly snapshots: SnapshotCalls | null
}

export const SNAPSHOTS_PREFIX = '/snapshots/'

const MOST_BODY_BYTES = 1024

export async function list(exchange: Exchange, options: SnapshotsOptions): Promise<void> {
  exchange.query([])
  const { snapshots, more, job } = await callsOf(options).list()
  exchange.json(200, { snapshots: snapshots.map(shownOf), more, job: job && viewOf(job) })
}

/** 202: it has begun. */
export async function take(exchange: Exchange, options: SnapshotsOptions): Promise<void> {
  exchange.query([])
  const name = await nameIn(exchange)
  exchange.json(202, { job: viewOf(await callsOf(options).take(name)) })
}

/** 202: it has begun. */
export async function restore(exchange: Exchange, options: SnapshotsOptions): Promise<void> {
  exchange.query([])
  await checkNothingSent(exchange, 'restoring takes no members')
  exchange.json(202, { job: viewOf(await callsOf(options).restore(nameFrom(exchange))) })
}

export async function remove(exchange: Exchange, options: SnapshotsOptions): Promise<void> {
  exchange.query([])
  await checkNothingSent(exchange, 'deleting takes no members')
  const name = nameFrom(exchange)
  await callsOf(options).remove(name)
  exchange.json(200, { deleted: name })
}

/** 202: it is told to stop. */
export async function cancel(exchange: Exchange, options: SnapshotsOptions): Promise<void> {
  exchange.query([])
  await checkNothingSent(exchange, 'cancelling takes no members')
  exchange.json(202, { job: viewOf(await callsOf(options).cancel()) })
}

/** @throws RondoError CONFLICT */
function callsOf({ snapshots }: SnapshotsOptions): SnapshotCalls {
  if (snapshots) return snapshots
  throw new RondoError(
    'CONFLICT',
    'There is no folder for snapshots: set SNAPSHOT_DIR to one, and start this coordinator again.',
  )
}

function nameFrom({ path }: Exchange): string {
  return path.slice(SNAPSHOTS_PREFIX.length).split('/')[0]!
}

/** Null = none was sent. @throws RondoError BAD_REQUEST */
async function nameIn(exchange: Exchange): Promise<string | null> {
  const { headers } = exchange.req
  const isEmpty = headers['transfer-encoding'] === undefined && Number(headers['content-length'] ?? 0) === 0
  if (isEmpty && headers['content-type'] === undefined) return null
  if (!saysJson(exchange.req)) {
    // This also stops cross-site posts of browsers: a form has a type, and JSON needs a CORS preflight.
    throw new RondoError('BAD_REQUEST', 'Send no body, or JSON with Content-Type: application/json.')
  }
  const body = await bodyOf(exchange, MOST_BODY_BYTES, 'a snapshot has a name only')
  const { name } = body.length === 0 ? {} : parseObject(body, ['name'])
  if (name === undefined) return null
  if (typeof name === 'string') return name
  throw new RondoError('BAD_REQUEST', '"name" is a text.')
}

function shownOf({ name, bytes, found }: ListedSnapshot): Record<string, unknown> {
  return { name, bytes, ...foundOf(found) }
}

function foundOf(found: Found): Record<string, unknown> {
  if (found.kind === 'damaged') return { state: 'damaged', error: `${found.why}.` }
  const { takenAtMs, keys, epoch, replicas } = found
  return { state: 'complete', takenAt: timeText(takenAtMs), keys, epoch, replicas }
}
