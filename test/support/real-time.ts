/** The machine's own time, for tests that talk to real servers. */
import type { Clock, Timers } from '../../src/core/clock.ts'

export const realClock: Clock = {
  monotonicMs: () => performance.now(),
  wallMs: () => Date.now(),
}

export const realTimers: Timers = {
  setTimeout: (run, ms) => setTimeout(run, ms),
  clearTimeout: (handle) => clearTimeout(handle as NodeJS.Timeout),
  endOfTurn: (run) => void setImmediate(run),
}
