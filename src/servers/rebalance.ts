/** How far a change of the members is, and steering it: for the HTTP API and the Redis protocol. */
import { RondoError } from '../core/errors.ts'
import type { Rebalance, RebalanceState } from '../repair/rebalance.ts'

export type Steered = Pick<Rebalance, 'state' | 'pause' | 'resume' | 'throttle'>

const MOST_KEYS_PER_SECOND = 100_000_000

/** Its times as ISO 8601. */
export async function rebalanceView(rebalance: Steered): Promise<Record<string, unknown>> {
  const { report, queue, dropped, ...state } = await rebalance.state()
  const gone = dropped.map(({ id, atMs, what, why }) => ({ id, droppedAt: timeOf(atMs), what, why }))
  return { ...state, report: report && reportView(report), queue, dropped: gone }
}

function reportView(report: NonNullable<RebalanceState['report']>): Record<string, unknown> {
  const { startedAtMs, endedAtMs, since, ...counts } = report
  const seconds = Math.round((endedAtMs - startedAtMs) / 100) / 10
  return { startedAt: timeOf(startedAtMs), endedAt: timeOf(endedAtMs), seconds, since, ...counts }
}

function timeOf(ms: number): string {
  return new Date(ms).toISOString()
}

/** @throws RondoError BAD_REQUEST */
export function keysPerSecondOf(value: unknown): number {
  const isSound = typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
  if (isSound && value <= MOST_KEYS_PER_SECOND) return value
  const sentence = `Keys per second are a whole number up to ${MOST_KEYS_PER_SECOND}; 0 = no limit.`
  throw new RondoError('BAD_REQUEST', sentence)
}
