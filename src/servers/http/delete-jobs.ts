/** Delete jobs: POST and GET /api/v1/delete-jobs, GET and DELETE /api/v1/delete-jobs/:id. */
import type { DeleteJobs } from '../delete-jobs.ts'
import type { ConsistencyLevel } from '../../core/consistency.ts'
import { RondoError } from '../../core/errors.ts'
import { bodyOf, parseObject, saysJson, type JsonObject } from './body.ts'
import type { Exchange } from './exchange.ts'
import { databaseFromQuery, keyFromText, parseKeyEncoding } from './key-path.ts'
import { levelFromQuery } from './value.ts'

export const JOBS_PREFIX = '/api/v1/delete-jobs/'

export interface DeleteJobOptions {
  readonly deleteJobs: Pick<DeleteJobs, 'create' | 'list' | 'get' | 'cancel'>
  readonly writeConsistency: ConsistencyLevel
  readonly databases: number
  readonly maxKeyBytes: number
}

const BODY_FRAME_BYTES = 1024
const JSON_BYTES_PER_BYTE = 6

export async function createJob(exchange: Exchange, options: DeleteJobOptions): Promise<void> {
  const query = exchange.query(['consistency', 'db', 'keyEncoding'])
  const level = levelFromQuery(query.consistency, options.writeConsistency)
  const database = databaseFromQuery(query.db, options.databases)
  const encoding = parseKeyEncoding(query.keyEncoding)
  const { prefix, match } = await objectOf(exchange, options)
  const [by, text] = prefix === undefined ? (['match', match] as const) : (['prefix', prefix] as const)
  if ((prefix !== undefined && match !== undefined) || typeof text !== 'string') {
    throw new RondoError('BAD_REQUEST', 'Send {"prefix":"user:1:"} or {"match":"user:*:cart"}.')
  }
  const pattern = keyFromText(text, encoding)
  exchange.json(202, await options.deleteJobs.create({ database, by, pattern, level }))
}

export async function listJobs(exchange: Exchange, { deleteJobs }: DeleteJobOptions): Promise<void> {
  exchange.query([])
  exchange.json(200, { jobs: await deleteJobs.list() })
}

export async function getJob(exchange: Exchange, { deleteJobs }: DeleteJobOptions): Promise<void> {
  exchange.query([])
  exchange.json(200, await deleteJobs.get(idFrom(exchange)))
}

export async function cancelJob(exchange: Exchange, { deleteJobs }: DeleteJobOptions): Promise<void> {
  exchange.query([])
  exchange.json(200, await deleteJobs.cancel(idFrom(exchange)))
}

function idFrom({ path }: Exchange): string {
  return path.slice(JOBS_PREFIX.length)
}

/** @throws RondoError BAD_REQUEST */
async function objectOf(exchange: Exchange, { maxKeyBytes }: DeleteJobOptions): Promise<JsonObject> {
  const limit = maxKeyBytes * JSON_BYTES_PER_BYTE + BODY_FRAME_BYTES
  const body = await bodyOf(exchange, limit, 'MAX_KEY_BYTES')
  if (!saysJson(exchange.req)) {
    // This also stops cross-site posts of browsers: JSON needs a CORS preflight.
    throw new RondoError('BAD_REQUEST', 'Send JSON, and say so: Content-Type: application/json.')
  }
  return parseObject(body, ['prefix', 'match'])
}
