/**
 * Delete jobs (servers/delete-jobs.ts), one runner at each coordinator. A job is an operation of its own in the history of every
 * key with its prefix: it takes away what is there once, unless that was written after the job had been confirmed.
 */
import { RondoError } from '../../src/core/errors.ts'
import { DeleteJobs, type JobRequest } from '../../src/servers/delete-jobs.ts'
import { CONNECT_TIMEOUT_MS, NODE_TIMEOUT_MS } from './link.ts'
import type { Running, World } from './world.ts'

const LOOK_MS = 150
const CLOCK_ERROR_MS = NODE_TIMEOUT_MS + CONNECT_TIMEOUT_MS
const LATE_MS = 2000
const KEYS_PER_SECOND = 100

export const PREFIX = 'q'

export class Jobs {
  private readonly world: World
  private readonly runners = new WeakMap<Running, DeleteJobs>()

  constructor(world: World) {
    this.world = world
  }

  /**
   * Makes one.
   *
   * @param made when it was confirmed @returns when it is done, whoever runs it. Rejects with the coordinator's error
   */
  async run(running: Running, made: () => void): Promise<void> {
    const request: JobRequest = { database: 0, by: 'prefix', pattern: Buffer.from(PREFIX), level: 'quorum' }
    const { id } = await this.runnerOf(running).create(request)
    made()
    for (let looks = 0; ; looks++) {
      await new Promise<void>((resolve) => void this.world.scheduler.after(LOOK_MS, resolve))
      const alive = this.world.coordinators.filter(({ host }) => host.alive)
      const asked = alive[looks % Math.max(1, alive.length)]
      if (!asked) continue
      if (await this.isDone(asked, id)) return
    }
  }

  private async isDone(running: Running, id: string): Promise<boolean> {
    try {
      const asked = new Promise<string>((resolve, reject) => {
        const late = new RondoError('UNAVAILABLE', 'It does not answer.')
        this.world.scheduler.after(LATE_MS, () => reject(late)) // its process may have died
        running.host.enter(() => {
          this.runnerOf(running)
            .get(id)
            .then(({ state }) => resolve(state), reject)
        })
      })
      return (await asked) === 'done'
    } catch (error) {
      if (error instanceof RondoError) return false
      throw error
    }
  }

  private runnerOf(running: Running): DeleteJobs {
    let runner = this.runners.get(running)
    if (runner) return runner
    const { coordinator: store, host: timers, index } = running
    const emit = () => this.world.counters.count('event of a delete job')
    const owner = `c${index} ${timers.monotonicMs()}`
    const limits = { keysPerSecond: KEYS_PER_SECOND, maxKeyBytes: 1024, clockErrorMs: CLOCK_ERROR_MS }
    runner = new DeleteJobs({ ...limits, store, timers, emit, owner })
    this.runners.set(running, runner)
    return runner
  }
}
