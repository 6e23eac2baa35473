/** Members whose primaries Sentinels decide about, with real Sentinels: failovers in the middle of writes. */
import { expect } from 'chai'
import { Redis } from 'ioredis'
import type { RedisServer } from '../../scripts/redis-server.ts'
import { startRondo, type RunningRondo } from '../support/rondo.ts'
import { until } from '../support/rondo-under-test.ts'
import { WatchedServices, type SentinelOptions } from '../support/sentinels.ts'
import { knowsNoTls, tlsFile } from '../support/tls-files.ts'

const SERVICES = ['cart', 'users', 'pages']
const CLIENTS = 4
const KEYS_OF_CLIENT = 60

/** What a key may hold: more than one value after an error that leaves it open. */
type Possible = ReadonlySet<string | null>

/** Clients with keys of their own, which they read through one coordinator and write through the other. */
class Load {
  writes = 0
  readonly wrong: string[] = []
  readonly errors: string[] = []
  private readonly redis: readonly Redis[]
  private readonly held = new Map<string, Possible>()
  private readonly clients: Promise<void>[]
  private isStopped = false

  constructor(redis: readonly Redis[]) {
    this.redis = redis
    this.clients = Array.from({ length: CLIENTS }, (_, client) => this.run(client))
  }

  /** Of no effect once it has ended. */
  end(): Promise<unknown> {
    this.isStopped = true
    return Promise.all(this.clients)
  }

  /** Ends it, then reads every key through every coordinator. */
  async stop(): Promise<void> {
    await this.end()
    for (const redis of this.redis) for (const key of this.held.keys()) await this.read(redis, key)
  }

  private async run(client: number): Promise<void> {
    for (let i = 0; !this.isStopped; i++) {
      const key = `load:${client}:${i % KEYS_OF_CLIENT}`
      await this.write(this.redis[i % this.redis.length]!, key, i)
      await this.read(this.redis[(i + 1) % this.redis.length]!, key)
    }
  }

  private async write(redis: Redis, key: string, i: number): Promise<void> {
    const before: Possible = this.held.get(key) ?? new Set([null])
    const isDelete = i % 7 === 6
    const next = isDelete ? null : `${key}=${i}`
    this.held.set(key, new Set([...before, next]))
    try {
      await (isDelete ? redis.del(key) : redis.set(key, next!))
      this.held.set(key, new Set([next]))
      this.writes++
    } catch (error) {
      this.errors.push((error as Error).message)
    }
  }

  private async read(redis: Redis, key: string): Promise<void> {
    const possible = this.held.get(key)!
    const found = await redis.get(key).catch((error: Error) => error)
    if (found instanceof Error) this.errors.push(found.message)
    else if (possible.has(found)) this.held.set(key, new Set([found]))
    else this.wrong.push(`${key} is ${found} instead of ${[...possible].join(' or ')}`)
  }
}

interface Shown {
  readonly id: string
  readonly incarnation: number
  readonly health: string
  readonly completeness: string
}

describe('members behind Sentinels', function () {
  this.timeout(120_000)
  let watched: WatchedServices
  let coordinators: RunningRondo[] = []
  let clients: Redis[] = []
  let load: Load | null = null

  afterEach(async () => {
    // Where a test has failed it still runs, and would for ever without its connections.
    await load?.end()
    load = null
    for (const client of clients) client.disconnect()
    await Promise.all(coordinators.map((running) => running.stop()))
    await watched?.stop()
    coordinators = []
    clients = []
  })

  async function started(options: SentinelOptions = {}, env: Record<string, string> = {}): Promise<void> {
    watched = await WatchedServices.start(SERVICES, options)
    for (let i = 0; i < 2; i++) {
      const REDIS_URLS = SERVICES.map((name) => watched.url(name)).join()
      coordinators.push(await startRondo({ REDIS_URLS, PING_INTERVAL_SECONDS: '1', ...env }))
    }
    await allClean()
    for (const { rondo } of coordinators) {
      const redis = new Redis({
        port: rondo.respServer.port,
        maxRetriesPerRequest: 0,
        retryStrategy: () => null,
      })
      await redis.call('RONDO', 'CONSISTENCY', 'quorum')
      clients.push(redis)
    }
  }
  async function members(at: RunningRondo): Promise<Map<string, Shown>> {
    const answer = await fetch(`http://127.0.0.1:${at.ports.socket}/members`)
    const { members } = (await answer.json()) as { members: Shown[] }
    return new Map(members.map((member) => [member.id, member]))
  }
  async function allClean(): Promise<void> {
    for (const at of coordinators) {
      await until(
        'all members are clean',
        async () =>
          [...(await members(at)).values()].every(({ health, completeness }) => {
            return health === 'alive' && completeness === 'clean'
          }),
        30_000,
      )
    }
  }
  async function inLife(id: string, life: number): Promise<void> {
    for (const at of coordinators) {
      await until(
        `${id} is in life ${life}`,
        async () => (await members(at)).get(id)!.incarnation >= life,
        30_000,
      )
    }
    await allClean()
  }
  const logs = () =>
    coordinators
      .map((at) =>
        at
          .logLines()
          .map(({ msg }) => msg)
          .join('\n'),
      )
      .join('\n\n')
  const primary = async (name: string) => (await watched.primaryOf(name))!

  /** Lets something happen to a primary under load, and waits until the members have followed. */
  async function throughFailover(
    happen: (server: RedisServer) => unknown,
    afterwards: (server: RedisServer) => unknown = () => undefined,
  ): Promise<void> {
    const running = (load = new Load(clients))
    await until('there is something to lose', () => running.writes > 500, 20_000)
    const former = await primary('cart')
    await happen(former)
    const writesThen = running.writes
    await watched.failedOver('cart', former)
    expect(running.writes, 'writes went on meanwhile').to.be.above(writesThen)
    await inLife('cart', 2)
    await afterwards(former)
    const writesAfter = running.writes
    await until('it goes on', () => running.writes > writesAfter + 500, 20_000)
    await running.stop()
    expect(running.wrong, logs()).to.deep.equal([])
    expect(logs()).to.match(
      /the primary of node cart is 127\.0\.0\.1:\d+ from now on; what \S+ holds does not count/,
    )
  }

  it('lose nothing when a primary is killed', async () => {
    await started()
    await throughFailover((server) => server.kill())
  })

  it('lose nothing when a primary hangs, and wakes up as one', async () => {
    await started()
    await throughFailover(
      (server) => server.pause(),
      async (server) => {
        server.resume()
        const isReplica = async () => {
          // Sentinels cut the connections of a server that they demote: it is asked again.
          const answer = watched.ask(server, 'INFO', 'replication').catch((error: Error) => error.message)
          return (await answer).includes('role:slave')
        }
        await until('the Sentinels have demoted it', isReplica, 30_000)
      },
    )
  })

  it('lose nothing when a Sentinel is told to fail over, with passwords and TLS everywhere', async function () {
    const everything = { password: 'of-the-servers', sentinelPassword: 'of-the-sentinels', tls: true }
    const env = { SENTINEL_PASSWORD: 'of-the-sentinels', NODE_TLS_CA_FILE: tlsFile('ca') }
    try {
      await started(everything, env)
    } catch (error) {
      if (!knowsNoTls(error)) throw error
      this.skip()
    }
    await throughFailover(async () => {
      expect(await watched.ask(watched.sentinels[0]!, 'SENTINEL', 'FAILOVER', 'cart')).to.equal('+OK\r\n')
    })
    expect(logs()).to.not.include('of-the-')
  })
})
