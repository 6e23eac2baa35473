/**
 * While clients are served, a merge rests after each page of a source for as long as the work on it took: half of the time
 * is theirs (docs/decisions/0066). Otherwise it does not hold back.
 */
import type { RepairContext } from '../context.ts'

const MAX_REST_MS = 250

/** Rejects as the work does. */
export async function besideClients(
  { clock, timers, isServing }: Pick<RepairContext, 'clock' | 'timers' | 'isServing'>,
  work: () => Promise<void>,
): Promise<void> {
  const fromMs = clock.monotonicMs()
  await work()
  if (!isServing()) return
  const restMs = Math.min(MAX_REST_MS, clock.monotonicMs() - fromMs)
  await new Promise<void>((rested) => timers.setTimeout(rested, restMs))
}
