/** Coordinators as processes of their own, over real servers, and what is asked of them over HTTP. */
import { Redis } from 'ioredis'
import { setTimeout as delay } from 'node:timers/promises'
import { Program } from './program.ts'

export interface Answer {
  readonly status: number
  readonly json: Record<string, unknown>
}

export interface Place {
  readonly id: string
  readonly url: string
}

export class RunningCoordinator {
  readonly program: Program
  readonly http: string
  readonly resp: number

  private constructor(program: Program, port: number, resp: number) {
    this.program = program
    this.http = `http://127.0.0.1:${port}`
    this.resp = resp
  }

  /** Listening; `ready` waits until it serves. */
  static async over(places: readonly Place[], env: Record<string, string> = {}): Promise<RunningCoordinator> {
    const urls = places.map(({ id, url }) => `${id}=${url}`).join()
    const program = new Program({ REDIS_URLS: urls, PING_INTERVAL_SECONDS: '1', ...env })
    const port = await program.listening()
    const resp = await program.until(() => /Redis client on localhost:(\d+)/.exec(program.stdout)?.[1])
    return new RunningCoordinator(program, port, Number(resp))
  }

  async ready(): Promise<this> {
    await this.program.until(async () =>
      (await this.call('GET', '/readyz')).status === 200 ? true : undefined,
    )
    return this
  }

  async call(method: string, path: string, body?: unknown): Promise<Answer> {
    const sent = body === undefined ? {} : { body: JSON.stringify(body) }
    const headers = { 'Content-Type': 'application/json' }
    const response = await fetch(`${this.http}${path}`, { method, headers, ...sent })
    return { status: response.status, json: (await response.json()) as Record<string, unknown> }
  }

  async cluster(): Promise<Record<string, unknown>> {
    return (await this.call('GET', '/cluster')).json
  }

  /** Asks again and again; fails after a while. */
  async until(isSo: () => Promise<boolean>): Promise<void> {
    await this.program.until(async () => ((await isSo()) ? true : undefined))
  }

  /** Resolves once it has this epoch or a later one, and no change is under way. */
  async ended({ json }: Answer): Promise<void> {
    for (;;) {
      const { epoch, phase } = await this.cluster()
      if (Number(epoch) >= Number(json.waitFor) && phase === 'stable') return
      await delay(50)
    }
  }

  async allClean(): Promise<void> {
    await this.until(async () => {
      const members = (await this.call('GET', '/members')).json.members as { completeness: string }[]
      return members.every(({ completeness }) => completeness === 'clean')
    })
  }

  async members(): Promise<string[]> {
    const { json } = await this.call('GET', '/members')
    return (json.members as { id: string }[]).map(({ id }) => id)
  }

  /** With a client of the Redis protocol. */
  async with<T>(work: (redis: Redis) => Promise<T>): Promise<T> {
    const redis = new Redis({ port: this.resp, maxRetriesPerRequest: 0, enableReadyCheck: false })
    try {
      return await work(redis)
    } finally {
      redis.disconnect()
    }
  }

  stop(): Promise<void> {
    return this.program.stop()
  }
}
