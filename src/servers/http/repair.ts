/** GET /repair: the progress of anti-entropy, and the result of the last round. POST /repair: starts a round now. */
import type { AntiEntropy } from '../../repair/round/anti-entropy.ts'
import type { RoundReport, RoundState } from '../../repair/round/round-state.ts'
import { RondoError } from '../../core/errors.ts'
import { bodyOf, parseObject, saysJson } from './body.ts'
import type { Exchange } from './exchange.ts'

const MOST_BODY_BYTES = 1024

type Rounds = Pick<AntiEntropy, 'request' | 'progress'>

export async function getRepair(exchange: Exchange, antiEntropy: Rounds): Promise<void> {
  exchange.query([])
  exchange.json(200, progressOf(await antiEntropy.progress()))
}

export async function startRepair(exchange: Exchange, antiEntropy: Rounds): Promise<void> {
  exchange.query([])
  await checkNothingSent(exchange, 'a repair takes no members')
  exchange.json(202, progressOf(await antiEntropy.request()))
}

/** No body, or an empty object as JSON. @throws RondoError BAD_REQUEST */
export async function checkNothingSent(exchange: Exchange, why: string): Promise<void> {
  const { headers } = exchange.req
  const isEmpty = headers['transfer-encoding'] === undefined && Number(headers['content-length'] ?? 0) === 0
  if (isEmpty && headers['content-type'] === undefined) return
  if (!saysJson(exchange.req)) {
    // This also stops cross-site posts of browsers: a form has a type, and JSON needs a CORS preflight.
    const sentence = 'Send no body, or JSON with Content-Type: application/json.'
    throw new RondoError('BAD_REQUEST', sentence)
  }
  const body = await bodyOf(exchange, MOST_BODY_BYTES, why)
  if (body.length > 0) parseObject(body, [])
}

function progressOf({ startedAtMs, lastRound, ...counts }: RoundState): Record<string, unknown> {
  return {
    ...counts,
    startedAt: startedAtMs === null ? null : timeText(startedAtMs),
    lastRound: lastRound && reportOf(lastRound),
  }
}

function reportOf({ startedAtMs, finishedAtMs, ...report }: RoundReport): Record<string, unknown> {
  return { ...report, startedAt: timeText(startedAtMs), finishedAt: timeText(finishedAtMs) }
}

/** Cluster time, as ISO 8601. */
function timeText(ms: number): string {
  return new Date(ms).toISOString()
}
