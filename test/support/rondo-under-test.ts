/** A real coordinator over real redis-server processes, in this process. */
import { Writable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import { Redis } from 'ioredis'
import { pino } from 'pino'
import type { Member } from '../../src/cluster/member.ts'
import { loadConfig } from '../../src/config/config.ts'
import type { StoredRecord } from '../../src/core/codec.ts'
import { KIND_TOMBSTONE } from '../../src/core/codec.ts'
import type { RondoError } from '../../src/core/errors.ts'
import type { RondoEvent } from '../../src/core/events.ts'
import { Rondo } from '../../src/app/rondo.ts'
import type { RedisServer } from '../../scripts/redis-server.ts'

export const PING_INTERVAL_MS = 1000
export const REQUEST_TIMEOUT_MS = 1000

export interface Ended {
  /** A value, `(deleted)`, `(absent)`, `ok` for a write; or the code of an error. */
  readonly result: string
  readonly error: RondoError | null
  readonly startedAtMs: number
  readonly tookMs: number
}

export interface TimedEvent {
  readonly atMs: number
  readonly event: RondoEvent
}

export class RondoUnderTest {
  readonly servers: readonly RedisServer[]
  readonly rondo: Rondo
  readonly events: TimedEvent[] = []
  /** Every line logged, as it would be printed. */
  readonly log: string[] = []
  url = ''
  respPort = 0
  private readonly clients: Redis[] = []

  private constructor(servers: readonly RedisServer[], env: Record<string, string>) {
    this.servers = servers
    const loaded = loadConfig({
      REDIS_URLS: servers.map((server, i) => `redis-${i + 1}=${server.url}`).join(','),
      PING_INTERVAL_SECONDS: '1',
      PORT: '0',
      RESP_PORT: '0',
      LOG_REQUESTS: 'all',
      ...env,
    })
    if (!loaded.ok) throw new Error(loaded.problems.join('\n'))
    const lines = new Writable({
      write: (chunk: Buffer, _encoding, done) => {
        const line = chunk.toString()
        const { event } = JSON.parse(line) as { event?: RondoEvent }
        if (event) this.events.push({ atMs: performance.now(), event })
        this.log.push(line)
        done()
      },
    })
    this.rondo = new Rondo(loaded.config, { log: pino({ level: 'debug' }, lines) })
  }

  /** Started, with its HTTP server open. */
  static async start(
    servers: readonly RedisServer[],
    env: Record<string, string> = {},
  ): Promise<RondoUnderTest> {
    const under = new RondoUnderTest(servers, env)
    await under.rondo.start()
    const { http, resp } = await under.rondo.listen()
    under.url = `http://127.0.0.1:${http.port}`
    under.respPort = resp!.port
    return under
  }

  async stop(): Promise<void> {
    for (const client of this.clients) client.disconnect()
    await this.rondo.stop()
  }

  // ---- who is who

  get members(): readonly Member[] {
    return this.rondo.cluster.members
  }

  member(server: RedisServer): Member {
    return this.members[this.servers.indexOf(server)]!
  }

  /** The servers in the order of the key's preference list: home replicas, then fallback replicas. */
  serversOf(key: string): RedisServer[] {
    const list = this.rondo.cluster.placement.replicaSetOf(Buffer.from(key)).preference
    return list.map((member) => this.servers[this.members.indexOf(member)]!)
  }

  /** The first keys `prefix0`, `prefix1`, … that have this server at that place of their preference list. */
  keysAt(server: RedisServer, place: number, count: number, prefix = 'key:'): string[] {
    const keys: string[] = []
    for (let i = 0; keys.length < count; i++) {
      if (this.serversOf(`${prefix}${i}`)[place] === server) keys.push(`${prefix}${i}`)
    }
    return keys
  }

  /** A plain client of the server itself. */
  client(server: RedisServer): Redis {
    const client = new Redis(server.port, '127.0.0.1', {
      retryStrategy: () => 20,
      maxRetriesPerRequest: null,
    })
    client.on('error', () => undefined) // the server is killed now and then; the client comes back by itself
    this.clients.push(client)
    return client
  }

  // ---- requests

  get(key: string): Promise<Ended> {
    return timed((end) =>
      this.rondo.coordinator.read(Buffer.from(key), {
        read: (record) => end(this.seen(record), null),
        failed: (error) => end(error.code, error),
      }),
    )
  }

  put(key: string, value: string): Promise<Ended> {
    return timed((end) =>
      this.rondo.coordinator.write(Buffer.from(key), Buffer.from(value), 0, {
        written: () => end('ok', null),
        failed: (error) => end(error.code, error),
      }),
    )
  }

  del(key: string): Promise<Ended> {
    return timed((end) =>
      this.rondo.coordinator.remove(Buffer.from(key), {
        written: () => end('ok', null),
        failed: (error) => end(error.code, error),
      }),
    )
  }

  async list(): Promise<string[]> {
    const keys: string[] = []
    let cursor = '0'
    do {
      const page = await this.rondo.coordinator.list({ database: 0, match: null, cursor, count: 100 })
      keys.push(...page.keys.map(String))
      cursor = page.cursor
    } while (cursor !== '0')
    return keys.sort()
  }

  async status(server: RedisServer): Promise<Record<string, unknown>> {
    const all = (await (await fetch(`${this.url}/status`)).json()) as Record<string, Record<string, unknown>>
    return all[`127.0.0.1:${server.port}`]!
  }

  private seen(record: StoredRecord | null): string {
    if (!record) return '(absent)'
    if (record.isLive(this.rondo.coordinator.nowMs())) return record.value.toString()
    return record.kind === KIND_TOMBSTONE ? '(deleted)' : '(expired)'
  }

  // ---- waiting

  /** When the first event of this kind about this server came, from now on or since `sinceMs`. */
  async event<K extends RondoEvent['kind']>(
    kind: K,
    matches: (event: Extract<RondoEvent, { kind: K }>) => boolean,
    sinceMs = performance.now(),
  ): Promise<number> {
    let found: TimedEvent | undefined
    await until(`an event ${kind}`, () => {
      found = this.events.find(({ atMs, event }) => {
        return atMs >= sinceMs && event.kind === kind && matches(event as Extract<RondoEvent, { kind: K }>)
      })
      return found !== undefined
    })
    return found!.atMs
  }

  /** Until the server is in use again. */
  used(server: RedisServer, limitMs?: number): Promise<void> {
    return until(`${server.url} is in use`, () => this.member(server).takesValues, limitMs)
  }
}

export async function until(
  what: string,
  condition: () => boolean | Promise<boolean>,
  limitMs = 8000,
): Promise<void> {
  const endMs = performance.now() + limitMs
  while (!(await condition())) {
    if (performance.now() > endMs) throw new Error(`${what} did not come true within ${limitMs} ms`)
    await delay(2)
  }
}

function timed(start: (end: (result: string, error: RondoError | null) => void) => void): Promise<Ended> {
  const startedAtMs = performance.now()
  return new Promise((resolve) => {
    start((result, error) => resolve({ result, error, startedAtMs, tookMs: performance.now() - startedAtMs }))
  })
}
