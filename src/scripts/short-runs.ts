/**
 * Short scripts run in the thread that has the keys: to wake another one and to be woken by it costs several times as much
 * as such a script.
 *
 * Nothing that a script does may hold up this thread. So it comes here only after it has been short in its own thread
 * (runner.ts) often enough, and every run has a budget that holds inside C functions as well (lua/metered.ts): of steps, of
 * added memory, and of what its commands work on (Overlay). A run that uses it up is ended within a millisecond, whatever
 * the script does. It has changed nothing by then, and is made again in the other thread, where all of that script are
 * from then on until they have been short for much longer.
 *
 *   new ──TRUSTED times short──▶ here ──over its budget──▶ in the thread again, ATONED times at least
 *
 * What holds for scripts in general is unchanged: such a run has the same result in either thread.
 */
import { LRUCache } from 'lru-cache'
import type { Code, Job } from '../commands/scripts/api.ts'
import { meteredEngine } from './engine.ts'
import { runJob, type Engine, type Outcome } from './job.ts'

/** In steps of lua/metered.ts, about half a millisecond; a rate limiter takes 600. */
const FUEL = 20_000
/** Of values and arguments. */
const MOST_BYTES = 16 * 1024
const TRUSTED = 20
const ATONED = 1000
const MOST_SCRIPTS = 5000

export class ShortRuns {
  private engine: Engine | null = null
  /** How often each has been short since it last was not, by the name of its code. */
  private readonly short = new LRUCache<string, number>({ max: MOST_SCRIPTS })

  begin(module: WebAssembly.Module): void {
    this.engine = meteredEngine(module, FUEL)
  }

  /** A run in the other thread has ended. */
  learn(code: Code, outcome: Outcome): void {
    if (!('reply' in outcome) || outcome.isShort === undefined) return
    const name = nameOf(code)
    const times = this.short.get(name) ?? 0
    this.short.set(name, outcome.isShort ? times + 1 : Math.min(times, 0))
  }

  /** Runs it if it is known to be short. @returns null = it has to run in the other thread */
  outcomeOf(job: Job): Outcome | null {
    if (!this.engine) return null
    const name = nameOf(job.code)
    if ((this.short.get(name) ?? 0) < TRUSTED || !isSmall(job)) return null
    try {
      return runJob(this.engine, job, true)
    } catch {
      // OutOfFuel, NotShort, or a fault of our own, which the other thread will tell.
      this.short.set(name, -ATONED)
      return null
    }
  }
}

function nameOf({ sha, functionName }: Code): string {
  return functionName === null ? sha : `${sha} ${functionName}`
}

function isSmall({ keys, args, held }: Job): boolean {
  let bytes = 0
  for (const one of held) bytes += one?.value.length ?? 0
  for (const arg of args) bytes += arg.length
  for (const key of keys) bytes += key.length
  return bytes <= MOST_BYTES
}
