// Members join, leave and are replaced while clients go on, with real servers and several coordinators.
import { setTimeout as delay } from 'node:timers/promises'
import { expect } from 'chai'
import { Redis } from 'ioredis'
import { startRedisCluster, type RedisServer } from '../../scripts/redis-server.ts'
import { Program } from '../support/program.ts'

const CLIENTS = 6
const KEYS_OF_CLIENT = 300

interface Coordinator {
  readonly program: Program
  readonly http: string
  readonly resp: number
}

interface Answer {
  readonly status: number
  readonly json: Record<string, unknown>
}

/** What a key may hold: more than one value after an error that leaves it open. */
type Possible = Set<string | null>

/** Each client has keys of its own, and knows what they may hold. */
class Load {
  operations = 0
  readonly wrong: string[] = []
  readonly errors: string[] = []
  private readonly clients: Promise<void>[]
  private readonly ports: readonly number[]
  private isStopped = false

  constructor(ports: readonly number[]) {
    this.ports = ports
    this.clients = Array.from({ length: CLIENTS }, (_, i) => this.run(i, i % 2 === 0 ? 'quorum' : 'one'))
  }

  async stop(): Promise<void> {
    this.isStopped = true
    await Promise.all(this.clients)
  }

  private async run(client: number, level: string): Promise<void> {
    const connections = this.ports.map((port) => new Redis({ port, maxRetriesPerRequest: 0 }))
    for (const connection of connections) await connection.call('RONDO', 'CONSISTENCY', level)
    const held = new Map<string, Possible>()
    for (let i = 0; !this.isStopped; i++) {
      const key = `load:${client}:${(i * 7) % KEYS_OF_CLIENT}`
      const possible: Possible = held.get(key) ?? new Set([null])
      this.operations++
      held.set(key, await this.one(connections[i % connections.length]!, key, possible, i))
    }
    for (const connection of connections) connection.disconnect()
  }

  /** One operation; gives what the key may hold then. */
  private async one(redis: Redis, key: string, possible: Possible, i: number): Promise<Possible> {
    const next = this.nextOf(possible, i)
    try {
      const found = await this.send(redis, key, i)
      if (!next.has(found)) {
        this.wrong.push(`${KINDS[i % KINDS.length]} ${key}: ${found} instead of ${[...next].join(' or ')}`)
      }
      return new Set([found])
    } catch (error) {
      this.errors.push((error as Error).message)
      return new Set([...possible, ...next])
    }
  }

  private nextOf(possible: Possible, i: number): Possible {
    switch (KINDS[i % KINDS.length]!) {
      case 'GET':
        return possible
      case 'SET':
        return new Set([String(i)])
      case 'DEL':
        return new Set([null])
      case 'INCR':
        return new Set([...possible].map((value) => String(Number(value ?? 0) + 1)))
    }
  }

  private async send(redis: Redis, key: string, i: number): Promise<string | null> {
    switch (KINDS[i % KINDS.length]!) {
      case 'GET':
        return redis.get(key)
      case 'SET':
        await redis.set(key, String(i))
        return String(i)
      case 'DEL':
        await redis.del(key)
        return null
      case 'INCR':
        return String(await redis.incr(key))
    }
  }
}

const KINDS = ['SET', 'GET', 'INCR', 'GET', 'DEL', 'GET', 'SET', 'GET', 'GET'] as const

describe('changes of members, with real servers', function () {
  this.timeout(90_000)
  let servers: RedisServer[]
  let coordinators: Coordinator[]
  const loads: Load[] = []

  beforeEach(async () => {
    servers = await startRedisCluster(6)
    coordinators = []
    for (let i = 0; i < 2; i++) coordinators.push(await started([0, 1, 2, 3]))
  })
  afterEach(async () => {
    await Promise.all(loads.splice(0).map((load) => load.stop()))
    await Promise.all(coordinators.map(({ program }) => program.stop()))
    await Promise.all(servers.map((server) => server.stop()))
  })

  const idOf = (i: number) => `redis-${i + 1}`
  /** @param nodes which of the servers its REDIS_URLS name */
  async function started(nodes: readonly number[]): Promise<Coordinator> {
    const urls = nodes.map((i) => `${idOf(i)}=${servers[i]!.url}`).join()
    const program = new Program({ REDIS_URLS: urls, REPLICATION_FACTOR: '3', PING_INTERVAL_SECONDS: '1' })
    const port = await program.listening()
    const resp = await program.until(() => /Redis client on localhost:(\d+)/.exec(program.stdout)?.[1])
    const http = `http://127.0.0.1:${port}`
    await program.until(async () => ((await fetch(`${http}/readyz`)).ok ? true : undefined))
    return { program, http, resp: Number(resp) }
  }
  async function call(method: string, path: string, body?: unknown, at = coordinators[0]!): Promise<Answer> {
    const sent = body === undefined ? {} : { body: JSON.stringify(body) }
    const headers = { 'Content-Type': 'application/json' }
    const response = await fetch(`${at.http}${path}`, { method, headers, ...sent })
    return { status: response.status, json: (await response.json()) as Record<string, unknown> }
  }
  const joining = (i: number) => ({ url: servers[i]!.url, id: idOf(i) })
  /** Waits until all coordinators have this epoch, and the change has ended. */
  async function ended({ json }: Answer): Promise<void> {
    for (const at of coordinators) {
      await at.program.until(async () => {
        const { epoch, phase } = (await call('GET', '/cluster', undefined, at)).json
        await delay(50)
        return Number(epoch) >= Number(json.waitFor) && phase === 'stable' ? true : undefined
      })
    }
  }
  const membersAt = async (at: Coordinator) => {
    const { json } = await call('GET', '/members', undefined, at)
    return (json.members as { id: string }[]).map(({ id }) => id)
  }
  function loadStarted(): Load {
    const load = new Load(coordinators.map(({ resp }) => resp))
    loads.push(load)
    return load
  }
  async function servedWell(load: Load): Promise<void> {
    while (load.operations <= 1000) await delay(50)
    await load.stop()
    expect(load.wrong).to.deep.equal([])
    // What was on its way when its nodes went over may be open; nothing else may fail.
    expect(load.errors.filter((error) => !/^(UNKNOWN|NOREPLICAS)/.test(error))).to.deep.equal([])
    expect(load.errors.length, load.errors.join('\n')).to.be.at.most(load.operations / 100)
  }

  it('a node joins, and another leaves, under load: no wrong answer', async () => {
    const load = loadStarted()
    await delay(500)
    const grown = await call('POST', '/members/join', joining(4))
    expect(grown, JSON.stringify(grown.json)).to.deep.include({ status: 202 })
    await ended(grown)
    await ended(await call('POST', `/members/${idOf(1)}/leave`, {}))
    for (const at of coordinators) expect(await membersAt(at)).to.deep.equal([0, 2, 3, 4].map(idOf))
    await servedWell(load)
  })

  it('a node that is gone for good is replaced, under load', async () => {
    await servers[1]!.kill()
    await delay(3000)
    const load = loadStarted()
    const replaced = await call('POST', '/topology/changes', { leave: [idOf(1)], join: [joining(4)] })
    expect(replaced, JSON.stringify(replaced.json)).to.deep.include({ status: 202 })
    await ended(replaced)
    await delay(500)
    await servedWell(load)
  })

  it('another coordinator goes on when the one that was asked is killed', async () => {
    const redis = new Redis({ port: coordinators[1]!.resp })
    for (let i = 0; i < 2000; i++) await redis.set(`key:${i}`, String(i))
    const begun = await call('POST', '/members/join', joining(4))
    const [asked] = coordinators.splice(0, 1)
    await asked!.program.stop()
    await ended(begun)
    for (let i = 0; i < 2000; i += 37) expect(await redis.get(`key:${i}`)).to.equal(String(i))
    redis.disconnect()
  })

  it('a coordinator that is given one member finds the others', async () => {
    await ended(await call('POST', '/members/join', joining(4)))
    const redis = new Redis({ port: coordinators[0]!.resp })
    for (let i = 0; i < 100; i++) await redis.set(`key:${i}`, String(i))
    redis.disconnect()
    const late = await started([4])
    coordinators.push(late)
    await late.program.until(async () => ((await membersAt(late)).length === 5 ? true : undefined))
    const other = new Redis({ port: late.resp })
    for (let i = 0; i < 100; i++) expect(await other.get(`key:${i}`)).to.equal(String(i))
    other.disconnect()
  })

  it('weights and the number of copies change', async () => {
    await ended(await call('PATCH', `/members/${idOf(0)}`, { weight: 2 }))
    await ended(await call('POST', '/topology/changes', { replicas: 2 }))
    const { json } = await call('GET', '/cluster', undefined, coordinators[1])
    expect(json.replicas).to.equal(2)
    expect((json.members as { id: string; weight: number }[])[0]).to.deep.include({ id: idOf(0), weight: 2 })
  })

  it('what cannot be is refused with its reason, and nothing changes', async () => {
    const redis = new Redis(servers[5]!.port)
    await redis.set('somebody', 'else')
    redis.disconnect()
    const refusals: [string, string, unknown, number, string][] = [
      ['POST', '/members/join', joining(5), 409, 'must be empty'],
      ['POST', '/members/join', joining(0), 409, 'is a member already'],
      ['POST', '/members/join', { url: 'redis://169.254.169.254:80' }, 400, 'link-local'],
      ['POST', '/members/join', { url: 'redis://user:secret@h:1' }, 400, 'no user and no password'],
      ['POST', '/members/join', { url: 'redis://127.0.0.1:1' }, 503, 'cannot be used'],
      ['POST', '/members/join', {}, 400, 'names the node'],
      ['POST', '/members/nobody/leave', {}, 404, 'no member nobody'],
      ['DELETE', '/members/nobody', undefined, 404, 'no member nobody'],
      ['PATCH', `/members/${idOf(0)}`, { weight: 0 }, 400, 'weight'],
      ['PATCH', `/members/${idOf(0)}`, { weight: 1 }, 409, 'change nothing'],
      ['POST', '/topology/changes', { leave: [0, 1, 2, 3].map(idOf) }, 409, 'last member'],
      ['POST', '/rebalance/cancel', {}, 409, 'no change is under way'],
    ]
    for (const [method, path, body, status, why] of refusals) {
      const answer = await call(method, path, body)
      expect(answer.status, `${method} ${path} ${JSON.stringify(answer.json)}`).to.equal(status)
      expect(String(answer.json.error).toLowerCase()).to.include(why.toLowerCase())
      expect(JSON.stringify(answer.json)).to.not.include('secret')
    }
    expect((await call('GET', '/cluster')).json.epoch).to.equal(1)
  })

  it('of two changes asked for at once one waits, and both can be undone', async () => {
    const both = await Promise.all([
      call('POST', '/members/join', joining(4), coordinators[0]),
      call('POST', '/members/join', joining(5), coordinators[1]),
    ])
    expect(both.map(({ status }) => status)).to.deep.equal([202, 202])
    const begun = both.filter(({ json }) => json.queued === undefined)
    const waiting = both.find(({ json }) => json.queued !== undefined)
    expect(begun.length, JSON.stringify(both)).to.equal(1)
    const withdrawn = await call('DELETE', `/topology/changes?id=${String(waiting?.json.queued)}`)
    // Each may have gone over already.
    expect([200, 202, 404, 409]).to.include(withdrawn.status)
    const cancelled = await call('POST', '/rebalance/cancel', {})
    // It may have gone over already.
    expect([202, 409]).to.include(cancelled.status)
    if (cancelled.status === 409) await ended(begun[0]!)
    else
      for (const at of coordinators) {
        await at.program.until(async () => ((await membersAt(at)).length === 4 ? true : undefined))
      }
  })
})
