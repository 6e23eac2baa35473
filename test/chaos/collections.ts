/**
 * Beside the values: a queue with clients that wait, counters in a hash, a leaderboard, and a stream with a group of consumers,
 * by real clients of the Redis protocol, over sockets. What is judged at the end:
 *
 *   lost   an element that was acknowledged, and that nobody got, not even at the end; an entry that was never delivered; a
 *          count below what was acknowledged
 *   twice  an element that was handed out twice; an entry that was delivered as new twice, or at all after its XACK; a count
 *          above everything that was asked for
 *
 * Of a BLPOP whose connection was lost, or whose outcome is unknown, nobody can say whether it took an element: so many may be
 * missing.
 */
import { Redis } from 'ioredis'
import type { Random } from '../support/random.ts'
import type { ClientsOf } from './workload.ts'

const QUEUE = 'chaos:jobs'
const COUNTERS = 'chaos:counters'
const BOARD = 'chaos:board'
const LOG = 'chaos:log'
const GROUP = 'workers'
const NAMES = ['a', 'b', 'c']
const PAUSE_MS = 200
const DOWN_MS = 50
const COMMAND_MS = 4000
const WAIT_SECONDS = 1
/** One in so many waits ends because the client goes away. */
const LEAVES_ONE_IN = 8
const IDLE_MS = 2000
const TRIES_AT_LAST = 50

export interface RespClientsOf extends ClientsOf {
  respPortOf(coordinator: number): number
}

export interface CollectionsVerdict {
  readonly lost: readonly string[]
  readonly twice: readonly string[]
  readonly pushed: number
  readonly popped: number
  /** Pops that may have taken an element that nobody got. */
  readonly mayHaveTaken: number
  /** How many elements are missing for which one of these may be the reason. */
  readonly missing: number
  readonly counted: number
  readonly entries: number
  readonly delivered: number
}

interface Counted {
  acked: number
  asked: number
  readonly results: Set<string>
}

type Entry = readonly [id: string, fields: readonly string[]]

export class Collections {
  private readonly cluster: RespClientsOf
  private readonly random: Random
  private readonly clients = new Set<Redis>()
  private running: Promise<void>[] = []
  private stopping = false
  private lastNumber = 0

  private readonly pushed = new Set<string>()
  private readonly popped: string[] = []
  private mayHaveTaken = 0
  private readonly counters = new Map<string, Counted>()
  private readonly added = new Map<string, string>()
  private readonly delivered = new Map<string, number>()
  private readonly acknowledged = new Set<string>()
  private readonly twice: string[] = []

  constructor(cluster: RespClientsOf, random: Random) {
    this.cluster = cluster
    this.random = random
  }

  async start(): Promise<void> {
    await this.patiently((client) => client.xgroup('CREATE', LOG, GROUP, '0', 'MKSTREAM'))
    for (const coordinator of this.cluster.rondos.keys()) {
      const turns = [
        (client: Redis) => this.produce(client),
        (client: Redis) => this.pop(client),
        (client: Redis) => this.pop(client),
        (client: Redis) => this.work(client, `worker-${coordinator}`),
      ]
      this.running.push(...turns.map((turn) => this.loop(coordinator, turn)))
    }
  }

  async stop(): Promise<void> {
    this.stopping = true
    await Promise.all(this.running)
  }

  /** Takes what is left, and says what became of everything. */
  async judge(): Promise<CollectionsVerdict> {
    const left = await this.patiently((client) => client.lrange(QUEUE, 0, -1))
    const got = [...this.popped, ...left]
    const missing = [...this.pushed].filter((element) => !got.includes(element))
    const lost = missing.length > this.mayHaveTaken ? missing.map((element) => `element ${element}`) : []
    const twice = [...this.twice, ...repeated(got).map((element) => `element ${element}`)]
    await this.judgeCounters(lost, twice)
    const entries = await this.judgeStream(lost)
    for (const client of this.clients) client.disconnect()
    return {
      ...{ lost, twice, missing: missing.length, mayHaveTaken: this.mayHaveTaken },
      pushed: this.pushed.size,
      popped: this.popped.length,
      counted: [...this.counters.values()].reduce((sum, { acked }) => sum + acked, 0),
      ...{ entries, delivered: this.delivered.size },
    }
  }

  private async judgeCounters(lost: string[], twice: string[]): Promise<void> {
    const fields = await this.patiently((client) => client.hgetall(COUNTERS))
    for (const [name, { acked, asked }] of this.counters) {
      const [where, member] = name.split(' ') as [string, string]
      const score = await this.patiently((client) => client.zscore(BOARD, member))
      const found = Number(where === COUNTERS ? fields[member] : score)
      if (!(found >= acked)) lost.push(`${name} is ${found}, of ${acked} that were acknowledged`)
      if (found > asked) twice.push(`${name} is ${found}, of ${asked} that were asked for`)
    }
  }

  private async judgeStream(lost: string[]): Promise<number> {
    for (let found = 1; found > 0;) {
      found = await this.patiently((client) => this.read(client, 'last', false))
    }
    // What was delivered to a client that did not hear of it.
    for (let claimed = 1; claimed > 0;) {
      claimed = await this.patiently((client) => this.claim(client, 'last', 0))
    }
    const entries = await this.patiently((client) => client.xrange(LOG, '-', '+'))
    const there = new Map(entries.map(([id, fields]) => [fields[1]!, id]))
    for (const [number, id] of this.added) {
      if (there.get(number) !== id) lost.push(`entry ${id}, which is ${number}`)
      else if (!this.delivered.has(id)) lost.push(`entry ${id}, which was delivered to nobody`)
    }
    return entries.length
  }

  // ---- the clients

  private async loop(coordinator: number, turn: (client: Redis) => Promise<unknown>): Promise<void> {
    let client: Redis | null = null
    while (!this.stopping) {
      if (!this.cluster.isUp(coordinator)) {
        await pause(DOWN_MS)
        continue
      }
      client ??= this.open(coordinator)
      try {
        await client.ping() // what fails before anything was sent has taken nothing
        await turn(client)
      } catch {
        this.close(client)
        client = null
        await pause(DOWN_MS)
      }
    }
    if (client) this.close(client)
  }

  private open(coordinator: number): Redis {
    const client = new Redis({
      host: '127.0.0.1',
      port: this.cluster.respPortOf(coordinator),
      retryStrategy: null,
      autoResendUnfulfilledCommands: false,
      maxRetriesPerRequest: 0,
      commandTimeout: COMMAND_MS,
    })
    client.on('error', () => undefined) // each command says so as well
    this.clients.add(client)
    return client
  }

  private close(client: Redis): void {
    client.disconnect()
    this.clients.delete(client)
  }

  private async produce(client: Redis): Promise<void> {
    await pause(PAUSE_MS * (0.5 + this.random.next()))
    const number = String(++this.lastNumber)
    const name = this.random.pick(NAMES)
    switch (this.random.below(5)) {
      case 0:
      case 1:
        await client.rpush(QUEUE, number)
        this.pushed.add(number)
        return
      case 2:
        return this.count(`${COUNTERS} ${name}`, () => client.hincrby(COUNTERS, name, 1))
      case 3:
        return this.count(`${BOARD} ${name}`, () => client.zincrby(BOARD, 1, name))
      default:
        this.added.set(number, (await client.xadd(LOG, '*', 'number', number))!)
    }
  }

  private async count(name: string, run: () => Promise<number | string>): Promise<void> {
    let counted = this.counters.get(name)
    if (!counted) this.counters.set(name, (counted = { acked: 0, asked: 0, results: new Set() }))
    counted.asked++
    try {
      const result = String(await run())
      counted.acked++
      if (counted.results.has(result)) this.twice.push(`${name} was told to be ${result} twice`)
      counted.results.add(result)
    } catch (error) {
      if (hadNoEffect(error)) counted.asked--
      throw error
    }
  }

  private async pop(client: Redis): Promise<void> {
    if (this.random.below(LEAVES_ONE_IN) === 0)
      setTimeout(() => client.disconnect(), 1000 * WAIT_SECONDS * this.random.next())
    try {
      const got = await client.blpop(QUEUE, WAIT_SECONDS)
      if (got) this.popped.push(got[1])
    } catch (error) {
      if (!hadNoEffect(error)) this.mayHaveTaken++
      throw error
    }
  }

  private async work(client: Redis, consumer: string): Promise<void> {
    await this.read(client, consumer, true)
    if (this.random.chance(0.2)) await this.claim(client, consumer, IDLE_MS)
  }

  /** @returns how many entries */
  private async read(client: Redis, consumer: string, waits: boolean): Promise<number> {
    const wanted = ['GROUP', GROUP, consumer, 'COUNT', '5', ...(waits ? ['BLOCK', '500'] : [])]
    // In protocol 3 names and entries by turns; there is one.
    const found = (await client.call('XREADGROUP', ...wanted, 'STREAMS', LOG, '>')) as
      readonly [string, readonly Entry[]] | null
    const entries = found?.[1] ?? []
    for (const [id] of entries) {
      if (this.delivered.has(id)) this.twice.push(`entry ${id} was delivered as new twice`)
      this.delivered.set(id, 1)
    }
    await this.acknowledge(client, entries)
    return entries.length
  }

  /** @returns how many entries */
  private async claim(client: Redis, consumer: string, idleMs: number): Promise<number> {
    const before = new Set(this.acknowledged)
    const [, entries] = (await client.xautoclaim(LOG, GROUP, consumer, idleMs, '0')) as [string, Entry[]]
    for (const [id] of entries) {
      if (before.has(id)) this.twice.push(`entry ${id} was delivered after it had been acknowledged`)
      // Whoever it was delivered to first was not told.
      this.delivered.set(id, 1)
    }
    await this.acknowledge(client, entries)
    return entries.length
  }

  private async acknowledge(client: Redis, entries: readonly Entry[]): Promise<void> {
    for (const [id] of entries) {
      if ((await client.xack(LOG, GROUP, id)) === 1) this.acknowledged.add(id)
    }
  }

  /** Over any coordinator, until it succeeds. */
  private async patiently<T>(run: (client: Redis) => Promise<T>): Promise<T> {
    for (let tries = 1; ; tries++) {
      const coordinator = tries % this.cluster.rondos.length
      const client = this.open(coordinator)
      try {
        return await run(client)
      } catch (error) {
        if (String(error).includes('BUSYGROUP')) return undefined as T
        if (tries === TRIES_AT_LAST) throw error
        await pause(100)
      } finally {
        this.close(client)
      }
    }
  }
}

/** A refusal that says so; anything else may have had one. */
function hadNoEffect(error: unknown): boolean {
  return String(error).includes('not applied')
}

function repeated(all: readonly string[]): string[] {
  return all.filter((one, i) => all.indexOf(one) !== i)
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
