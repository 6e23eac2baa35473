/**
 * How clients reach one coordinator: a connection over the Redis protocol for each level, one for SCAN, behind whose pages no
 * other reply has to wait, and HTTP.
 */
import { Redis } from 'ioredis'
import type { RunningCoordinator } from '../support/coordinators.ts'
import type { Level } from './steps.ts'

export interface HttpAnswer {
  readonly status: number
  readonly json: Record<string, unknown>
}

const ANSWERS_WITHIN_MS = 10_000

export class Clients {
  private readonly url: string
  private readonly connections: ReadonlyMap<Level, Redis>
  readonly scanning: Redis

  private constructor(url: string, connections: ReadonlyMap<Level, Redis>, scanning: Redis) {
    this.url = url
    this.connections = connections
    this.scanning = scanning
  }

  static async to({ http, resp }: RunningCoordinator): Promise<Clients> {
    const connections = new Map<Level, Redis>()
    for (const level of ['one', 'quorum', 'all'] as const)
      connections.set(level, await connected(resp, level))
    return new Clients(http, connections, await connected(resp, 'quorum'))
  }

  redis(level: Level): Redis {
    return this.connections.get(level)!
  }

  /** @throws Error for every status but success, and for what `also` does not name */
  async http(
    method: string,
    key: string,
    level: Level,
    body?: unknown,
    path = '',
    also: readonly number[] = [],
  ): Promise<HttpAnswer> {
    const url = `${this.url}/api/v1/keys/${encodeURIComponent(key)}${path}?consistency=${level}`
    const response = await fetch(url, {
      method,
      headers: { 'Content-Type': 'application/json' },
      signal: AbortSignal.timeout(ANSWERS_WITHIN_MS),
      ...(body !== undefined && { body: JSON.stringify(body) }),
    })
    const text = await response.text()
    if (!response.ok && !also.includes(response.status)) throw new Error(`${response.status} ${text}`)
    return {
      status: response.status,
      json: text === '' ? {} : (JSON.parse(text) as Record<string, unknown>),
    }
  }

  async httpGet(key: string, level: Level): Promise<string | null> {
    const { status, json } = await this.http('GET', key, level, undefined, '', [404])
    return status === 404 ? null : String(json.value)
  }

  close(): void {
    for (const redis of [...this.connections.values(), this.scanning]) redis.disconnect()
  }
}

async function connected(port: number, level: Level): Promise<Redis> {
  const redis = new Redis({
    port,
    maxRetriesPerRequest: 0,
    enableReadyCheck: false,
    retryStrategy: () => null,
  })
  redis.on('error', () => undefined) // each call fails by itself
  await redis.call('RONDO', 'CONSISTENCY', level)
  return redis
}
