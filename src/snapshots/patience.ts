/** Waiting for nodes that cannot be asked for a moment, and making room for clients. */
import type { KeyStore } from '../coordinator/api.ts'
import type { Timers } from '../core/clock.ts'
import { RondoError, type ErrorCode } from '../core/errors.ts'

/** For how long it is tried again what the nodes cannot do now. */
export const PATIENCE_MS = 30_000
const FIRST_PAUSE_MS = 100
const LONGEST_PAUSE_MS = 2000
const CROWDED_PAUSE_MS = 50
const LONGEST_REST_MS = 500
const PASSING: readonly ErrorCode[] = ['UNAVAILABLE', 'QUORUM_NOT_MET', 'OUTCOME_UNKNOWN', 'OVERLOADED']

export interface PatienceOptions {
  readonly timers: Timers
  readonly monotonicMs: () => number
  readonly signal: AbortSignal
}

/** Tries again until it works. @throws what it has failed with at last, or the signal's reason */
export async function patiently<T>(
  { timers, monotonicMs, signal }: PatienceOptions,
  work: () => Promise<T>,
  failed: (error: RondoError) => void = () => undefined,
): Promise<T> {
  const untilMs = monotonicMs() + PATIENCE_MS
  for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(LONGEST_PAUSE_MS, 2 * pauseMs)) {
    signal.throwIfAborted()
    try {
      return await work()
    } catch (error) {
      signal.throwIfAborted()
      if (!(error instanceof RondoError) || !PASSING.includes(error.code)) throw error
      failed(error)
      if (monotonicMs() + pauseMs > untilMs) throw error
    }
    await pause(timers, pauseMs, signal)
  }
}

/**
 * Runs a batch, and then rests for so many times as long as that took: the longer requests make it take, the more time is left
 * to them. Waits while there are so many of them that some would be refused.
 */
export async function inTurns<T>(
  store: KeyStore,
  { timers, monotonicMs, signal }: PatienceOptions,
  rests: number,
  batch: () => Promise<T>,
): Promise<T> {
  while (store.crowded) await pause(timers, CROWDED_PAUSE_MS, signal)
  const beganMs = monotonicMs()
  const result = await batch()
  await pause(timers, Math.min(LONGEST_REST_MS, rests * (monotonicMs() - beganMs)), signal)
  return result
}

/** Ends early, with an error, if the signal says so. */
export function pause(timers: Timers, ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const end = () => {
      timers.clearTimeout(timer)
      signal.removeEventListener('abort', end)
      if (signal.aborted) reject(signal.reason as Error)
      else resolve()
    }
    const timer = timers.setTimeout(end, ms)
    signal.addEventListener('abort', end, { once: true })
    if (signal.aborted) end()
  })
}
