/** Real servers, some of them members, and three coordinators as processes of their own; and how members are changed. */
import { setTimeout as delay } from 'node:timers/promises'
import { Redis } from 'ioredis'
import { HEAD_WITH_PROMISE_BYTES, KIND_NOTHING, StoredRecord } from '../../src/core/codec.ts'
import { leaseKey } from '../../src/core/keys.ts'
import { RunningCoordinator, type Answer } from '../support/coordinators.ts'
import { startRedisCluster, type RedisServer } from '../../scripts/redis-server.ts'
import { Clients } from './clients.ts'

export const COPIES = 3
const COORDINATORS = 3
const ENV = { REPLICATION_FACTOR: String(COPIES) }
const LOOK_EVERY_MS = 20
const ENDS_WITHIN_MS = 60_000
/** A change of many keys on a busy machine. */
const CHANGED_WITHIN_MS = 1_800_000
const ASKED_FOR_MS = 60_000
const ASK_AGAIN_MS = 100
const PAGE = '500'

/** Of `GET /rebalance`. */
export interface Report {
  readonly since: number
  readonly epoch: number
  readonly seconds: number
  readonly checked: number
  readonly moved: number
  readonly bytes: number
  readonly missing: number
  readonly divergent: number
  readonly leftovers: { readonly copies: number; readonly bytes: number } | null
}

export interface Begun {
  readonly epoch: number
  readonly waitFor: number
}

export class ExerciseCluster {
  readonly servers: readonly RedisServer[]
  /** Servers by number, as they are when no change is under way. */
  readonly members = new Set<number>()
  private readonly running: (RunningCoordinator | null)[] = []
  private readonly clients: (Clients | null)[] = []
  /** By their names in leases. */
  private readonly names: (string | null)[] = []
  private readonly aside = new Map<number, { readonly one: RunningCoordinator; readonly clients: Clients }>()
  private readonly direct: Redis[]

  private constructor(servers: readonly RedisServer[]) {
    this.servers = servers
    this.direct = servers.map(({ port }) => {
      const redis = new Redis({
        port,
        maxRetriesPerRequest: null,
        commandTimeout: 2000,
        retryStrategy: () => 50,
      })
      redis.on('error', () => undefined) // a server that is killed comes back
      return redis
    })
  }

  static async start(members: number, spares: number): Promise<ExerciseCluster> {
    const cluster = new ExerciseCluster(await startRedisCluster(members + spares))
    for (let i = 0; i < members; i++) cluster.members.add(i)
    try {
      for (let i = 0; i < COORDINATORS; i++) await cluster.startCoordinator(i)
    } catch (error) {
      await cluster.stop()
      throw error
    }
    return cluster
  }

  async stop(): Promise<void> {
    for (const i of [...this.aside.keys()]) this.takeBack(i)
    for (const clients of this.clients) clients?.close()
    for (const redis of this.direct) redis.disconnect()
    await Promise.all(this.running.flatMap((one) => (one ? [one.stop()] : [])))
    await Promise.all(this.servers.map((server) => server.stop()))
  }

  idOf(server: number): string {
    return `redis-${server + 1}`
  }

  /** Straight to a server. */
  server(i: number): Redis {
    return this.direct[i]!
  }

  /** How many keys of any kind each of these servers holds. */
  sizes(servers: readonly number[]): Promise<number[]> {
    return this.answered('sizes', () => Promise.all(servers.map((i) => this.direct[i]!.dbsize())))
  }

  // ---- coordinators

  async startCoordinator(i: number): Promise<void> {
    const places = [...this.members].map((server) => ({
      id: this.idOf(server),
      url: this.servers[server]!.url,
    }))
    const one = await RunningCoordinator.over(places, ENV)
    this.running[i] = one
    await this.until(`coordinator ${i} serves`, async () => (await one.call('GET', '/readyz')).status === 200)
    const { coordinators } = await one.cluster()
    this.names[i] = (coordinators as { id: string; isSelf: boolean }[]).find(({ isSelf }) => isSelf)!.id
    this.clients[i] = await Clients.to(one)
  }

  /** SIGKILL. */
  async killCoordinator(i: number): Promise<void> {
    const one = this.running[i]!
    this.running[i] = null
    this.clients[i]!.close()
    this.clients[i] = null
    await one.stop()
  }

  /** It is paused: nobody asks it until it is taken back. Its clients' connections stay open. */
  setAside(i: number): void {
    this.aside.set(i, { one: this.running[i]!, clients: this.clients[i]! })
    this.running[i] = null
    this.clients[i] = null
  }

  takeBack(i: number): void {
    const { one, clients } = this.aside.get(i)!
    this.aside.delete(i)
    this.running[i] = one
    this.clients[i] = clients
  }

  coordinator(i: number): RunningCoordinator | null {
    return this.running[i] ?? null
  }

  get up(): readonly number[] {
    return this.running.flatMap((one, i) => (one ? [i] : []))
  }

  /** This one's, or that of the next one that is up; null = none is. */
  clientsOf(i: number): Clients | null {
    for (let more = 0; more < COORDINATORS; more++) {
      const clients = this.clients[(i + more) % COORDINATORS]
      if (clients) return clients
    }
    return null
  }

  /** Who holds a lease on filling a node, or on the change: each lease by its name and place. */
  async leases(): Promise<ReadonlyMap<string, number>> {
    const held = new Map<string, number>()
    for (const lease of ['fill', 'rebalance']) {
      // A node that is paused or down names nobody.
      const holders = await Promise.all(
        this.direct.map((redis) => redis.get(leaseKey(lease)).catch(() => null)),
      )
      for (const [server, holder] of holders.entries()) {
        const at = this.names.indexOf(holder)
        if (holder !== null && this.running[at]) held.set(`${lease} ${server}`, at)
      }
    }
    return held
  }

  /** Who works: who fills a node, or else drives the change; null = nobody whom we know. */
  async driver(): Promise<number | null> {
    return [...(await this.leases()).values()][0] ?? null
  }

  // ---- changes

  /** Asks until it is accepted: members that are not clean or reachable for the moment make it wait. */
  async change(kind: 'join' | 'leave', server: number, at = this.up[0]!): Promise<Begun> {
    const id = this.idOf(server)
    const limitMs = performance.now() + ASKED_FOR_MS
    for (;;) {
      const one = this.running[at] ?? this.running[this.up[0]!]!
      const answer = await (kind === 'join'
        ? one.call('POST', '/members/join?adopt=drop', { id, url: this.servers[server]!.url })
        : one.call('POST', `/members/${id}/leave`, {}))
      if (answer.status === 202) {
        if (kind === 'join') this.members.add(server)
        else this.members.delete(server)
        return { epoch: Number(answer.json.epoch), waitFor: Number(answer.json.waitFor) }
      }
      if (performance.now() > limitMs) throw new Error(`${kind} ${id}: ${JSON.stringify(answer)}`)
      await delay(ASK_AGAIN_MS)
    }
  }

  /** All coordinators that are up have its last epoch. */
  async ended({ waitFor }: Begun): Promise<void> {
    const what = `the change has ended (epoch ${waitFor})`
    await this.until(what, () => this.hasEnded(waitFor), CHANGED_WITHIN_MS)
  }

  async hasEnded(waitFor: number): Promise<boolean> {
    for (const { epoch, phase } of await Promise.all(this.up.map((i) => this.clusterAt(i)))) {
      if (phase !== 'stable' || epoch < waitFor) return false
    }
    return true
  }

  async clusterAt(i: number): Promise<{ epoch: number; phase: string }> {
    const { epoch, phase } = (await this.running[i]!.cluster()) as { epoch: number; phase: string }
    return { epoch, phase }
  }

  /** With what was dropped afterwards: once the first round has ended. */
  async report({ waitFor }: Begun): Promise<Report> {
    let found: Report | null = null
    await this.until(
      `the report of epoch ${waitFor} is whole`,
      async () => {
        const { json } = await this.ask('GET', '/rebalance')
        found = json.report as Report | null
        return found?.epoch === waitFor && found.leftovers !== null
      },
      CHANGED_WITHIN_MS,
    )
    return found!
  }

  ask(method: string, path: string, body?: unknown): Promise<Answer> {
    return this.running[this.up[0]!]!.call(method, path, body)
  }

  async until(what: string, isSo: () => Promise<boolean>, limitMs = ENDS_WITHIN_MS): Promise<void> {
    const endMs = performance.now() + limitMs
    // A coordinator or server that has just been killed does not answer.
    let last = ''
    const failed = (error: Error) => {
      last = error.message
      return false
    }
    while (!(await isSo().catch(failed))) {
      if (performance.now() > endMs) throw new Error(`not within ${limitMs} ms: ${what} ${last}`)
      await delay(LOOK_EVERY_MS)
    }
  }

  /** A busy machine may not answer in the time that is enough to tell that a server is down. */
  private async answered<T>(what: string, ask: () => Promise<T>): Promise<T> {
    let answer: T | undefined
    await this.until(what, async () => {
      answer = await ask()
      return true
    })
    return answer!
  }

  // ---- what the nodes hold

  /** Keys of clients of which a server holds a record; not those on which something was only promised, which end by themselves. */
  private async keysOn(server: number): Promise<ReadonlySet<string>> {
    const redis = this.direct[server]!
    const keys = new Set<string>()
    let cursor = '0'
    do {
      const [next, page] = await redis.scan(cursor, 'COUNT', PAGE)
      const own = page.filter((key) => !key.startsWith('__rondo:'))
      const heads = await Promise.all(
        own.map((key) => redis.getrangeBuffer(key, 0, HEAD_WITH_PROMISE_BYTES - 1)),
      )
      own.forEach((key, i) => {
        const head = heads[i]!
        if (head.length > 0 && new StoredRecord(head).kind !== KIND_NOTHING) keys.add(key)
      })
      cursor = next
    } while (cursor !== '0')
    return keys
  }

  /** Compares all copies, and drops those that nobody looks for: rounds until one leaves out no member. */
  async repair(): Promise<void> {
    let seen = ''
    await this.until(
      'a whole round of repairs',
      async () => {
        const { state, lastRound } = (await this.ask('GET', '/repair')).json as {
          state: string
          lastRound: { startedAt: string; result: string } | null
        }
        const isNew = lastRound !== null && lastRound.startedAt !== seen
        if (state === 'idle' && isNew && seen !== '' && lastRound.result === 'complete') return true
        if (state === 'idle' && (isNew || seen === '')) {
          const { status } = await this.ask('POST', '/repair')
          if (status < 300) seen = lastRound?.startedAt ?? 'never'
        }
        return false
      },
      CHANGED_WITHIN_MS,
    )
  }

  /** Keys of which other than so many members hold a copy. */
  async wrongCopies(): Promise<string[]> {
    const copies = await this.copies()
    return [...copies].filter(([, count]) => count !== COPIES).map(([key, count]) => `${key}: ${count}`)
  }

  /** How many members hold each key. */
  private async copies(): Promise<Map<string, number>> {
    const copies = new Map<string, number>()
    for (const server of this.members) {
      const keys = await this.answered(`keys on server ${server}`, () => this.keysOn(server))
      for (const key of keys) copies.set(key, (copies.get(key) ?? 0) + 1)
    }
    return copies
  }
}
