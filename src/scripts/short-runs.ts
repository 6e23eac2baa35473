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
import type { Budget } from '../commands/scripts/overlay.ts'
import type { Timers } from '../core/clock.ts'
import { meteredEngine, type MeteredEngine } from './engine.ts'
import { runJob, type Engine, type Outcome } from './job.ts'

/** In steps of lua/metered.ts, about half a millisecond; a rate limiter takes 600. */
const FUEL = 20_000
/** Once for each instance: about three milliseconds, and what sources of so many bytes take. */
const FUEL_TO_COMPILE = 120_000
const MOST_SOURCE_BYTES = 6 * 1024
/** What its commands may cost besides, in steps as well (Overlay). */
const COMMAND_STEPS = 20_000
/** Of values and arguments. */
const MOST_BYTES = 16 * 1024
const MOST_ARGUMENTS = 1000
const TRUSTED = 20
const ATONED = 1000
const MOST_SCRIPTS = 5000

/** Of all of them in one turn of the event loop: about five milliseconds. Steps, because a busy machine stops the clock of none. */
const FUEL_A_TURN = 200_000
/** To begin a run, and to end it. */
const STEPS_A_RUN = 400
/** For the instance of Lua that takes the place of one that was dropped. */
const STEPS_AN_INSTANCE = 20_000

/**
 * Between reading and storing. What they read may arrive in one turn: if it were much more than this, the last of them would
 * find FUEL_A_TURN used up, and have to begin again.
 */
const MOST_UNDER_WAY = 64

export class ShortRuns {
  private readonly timers: Pick<Timers, 'endOfTurn'>
  /** In this turn. */
  private used = 0
  private isTurn = false
  private underWay = 0
  private readonly waiting: (() => void)[] = []
  private metered: MeteredEngine | null = null
  /** How often each has been short since it last was not, by the name of its code. */
  private readonly short = new LRUCache<string, number>({ max: MOST_SCRIPTS })

  constructor(timers: Pick<Timers, 'endOfTurn'>) {
    this.timers = timers
  }

  begin(module: WebAssembly.Module): void {
    this.metered = meteredEngine(module, { toRun: FUEL, toCompile: FUEL_TO_COMPILE })
  }

  /** A run in the other thread has ended. */
  learn(code: Code, outcome: Outcome): void {
    if (!('reply' in outcome) || outcome.isShort === undefined) return
    const name = nameOf(code)
    const times = this.short.get(name) ?? 0
    this.short.set(name, outcome.isShort ? times + 1 : Math.min(times, 0))
  }

  /** Resolves when there is room for one more under way; null = there is. */
  enter(): Promise<void> | null {
    if (this.underWay < MOST_UNDER_WAY) {
      this.underWay++
      return null
    }
    return new Promise((enter) => this.waiting.push(enter))
  }

  leave(): void {
    const next = this.waiting.shift()
    if (next) next()
    else this.underWay--
  }

  isShort(code: Code): boolean {
    if (this.metered === null || code.source.length > MOST_SOURCE_BYTES) return false
    return (this.short.get(nameOf(code)) ?? 0) >= TRUSTED
  }

  /** Runs it if it is known to be short. @returns null = it has to run in the other thread */
  outcomeOf(job: Job): Outcome | null {
    if (!this.metered || this.used >= FUEL_A_TURN || !this.isShort(job.code) || !isSmall(job)) return null
    this.beginTurn()
    const { engine, used } = this.metered
    const budget = { steps: COMMAND_STEPS }
    const outcome = this.tried(engine, job, budget)
    this.used += STEPS_A_RUN + used() + COMMAND_STEPS - Math.max(budget.steps, 0)
    if (!outcome) this.used += STEPS_AN_INSTANCE
    return outcome
  }

  private tried(engine: Engine, job: Job, budget: Budget): Outcome | null {
    try {
      return runJob(engine, job, budget)
    } catch {
      // OutOfFuel, NotShort, or a fault of our own, which the other thread will tell.
      this.short.set(nameOf(job.code), -ATONED)
      return null
    }
  }

  private beginTurn(): void {
    if (this.isTurn) return
    this.isTurn = true
    this.timers.endOfTurn(() => {
      this.isTurn = false
      this.used = 0
    })
  }
}

function nameOf({ sha, functionName }: Code): string {
  return functionName === null ? sha : `${sha} ${functionName}`
}

function isSmall({ keys, args, held }: Job): boolean {
  if (args.length + keys.length > MOST_ARGUMENTS) return false
  let bytes = 0
  for (const one of held) bytes += one?.value.length ?? 0
  for (const arg of args) bytes += arg.length
  for (const key of keys) bytes += key.length
  return bytes <= MOST_BYTES
}
