/** Coordinators in this process over real Redis servers whose set changes, asked over HTTP. */
import { expect } from 'chai'
import { Redis } from 'ioredis'
import type { RedisServer } from '../../scripts/redis-server.ts'
import type { RondoOptions } from '../../src/app/rondo.ts'
import { startRondo, type RunningRondo } from './rondo.ts'
import { until } from './rondo-under-test.ts'

export interface Answered {
  readonly status: number
  readonly json: Record<string, unknown>
}

export interface MemberShown {
  readonly id: string
  readonly url: string
  readonly weight: number
  readonly zone: string | null
  readonly incarnation: number
  readonly health: string
  readonly completeness: string
}

export class MembersUnderTest {
  readonly coordinators: RunningRondo[] = []
  private readonly clients: Redis[] = []

  /** @param nodes by id, those of REDIS_URLS */
  async started(
    nodes: Readonly<Record<string, RedisServer>>,
    env: Record<string, string> = {},
    options: RondoOptions = {},
  ) {
    const REDIS_URLS = Object.entries(nodes)
      .map(([id, { url }]) => `${id}=${url}`)
      .join()
    const settings = { REDIS_URLS, REPLICATION_FACTOR: '3', PING_INTERVAL_SECONDS: '1', ...env }
    const running = await startRondo(settings, options)
    this.coordinators.push(running)
    return running
  }

  async stop(): Promise<void> {
    for (const client of this.clients.splice(0)) client.disconnect()
    await Promise.all(this.coordinators.splice(0).map((running) => running.stop()))
  }

  async call(method: string, path: string, body?: unknown, at = this.coordinators[0]!): Promise<Answered> {
    const response = await fetch(`http://127.0.0.1:${at.ports.socket}${path}`, {
      method,
      headers: { 'Content-Type': 'application/json' },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    })
    return { status: response.status, json: (await response.json()) as Record<string, unknown> }
  }

  /** It has begun, and ends: all coordinators have its epoch, and every member is clean. */
  async done(answered: Answered): Promise<void> {
    expect(answered.status, JSON.stringify(answered.json)).to.equal(202)
    const { waitFor } = answered.json
    for (const at of this.coordinators) {
      await until(
        `epoch ${String(waitFor)}`,
        async () => {
          const { epoch, phase, members } = (await this.call('GET', '/cluster', undefined, at)).json
          const isClean = (members as MemberShown[]).every(({ completeness }) => completeness === 'clean')
          return Number(epoch) >= Number(waitFor) && phase === 'stable' && isClean
        },
        30_000,
      )
    }
  }

  async members(at = this.coordinators[0]!): Promise<Map<string, MemberShown>> {
    const { json } = await this.call('GET', '/members', undefined, at)
    return new Map((json.members as MemberShown[]).map((member) => [member.id, member]))
  }

  /** A connection over the Redis protocol, at a level. */
  async client(level: 'one' | 'quorum' | 'all', at = this.coordinators[0]!): Promise<Redis> {
    const redis = this.direct(at.rondo.respServer)
    await redis.call('RONDO', 'CONSISTENCY', level)
    return redis
  }

  /** Straight to a server. */
  direct({ port }: Pick<RedisServer, 'port'>): Redis {
    const redis = new Redis({ port, maxRetriesPerRequest: 0, retryStrategy: () => null })
    redis.on('error', () => undefined) // calls fail by themselves; a server that is stopped has none
    this.clients.push(redis)
    return redis
  }
}
