// FLUSHALL and FLUSHDB as one change that all coordinators agree on: with real servers and processes.
import { expect } from 'chai'
import { Redis } from 'ioredis'
import { setTimeout as delay } from 'node:timers/promises'
import { VersionClock } from '../../src/core/clock.ts'
import { KIND_VALUE, newRecord } from '../../src/core/codec.ts'
import { startRedisCluster, type RedisServer } from '../../scripts/redis-server.ts'
import { RunningCoordinator } from '../support/coordinators.ts'

const MANY = 50_000
const LEVELS = ['one', 'quorum'] as const

describe('FLUSHALL, with real servers', function () {
  this.timeout(120_000)
  let servers: RedisServer[]
  let one: RunningCoordinator
  let other: RunningCoordinator
  const clients: Redis[] = []

  beforeEach(async () => {
    servers = await startRedisCluster(3)
    const places = servers.map(({ url }, i) => ({ id: `redis-${i + 1}`, url }))
    // A busy machine must not make it fall back to single deletes.
    const env = { LOG_LEVEL: 'info', REQUEST_TIMEOUT_MS: '10000' }
    ;[one, other] = await Promise.all([
      RunningCoordinator.over(places, env),
      RunningCoordinator.over(places, env),
    ])
    await Promise.all([one.ready(), other.ready()])
  })
  afterEach(async () => {
    for (const client of clients.splice(0)) client.disconnect()
    await Promise.all([one.stop(), other.stop()])
    await Promise.all(servers.map((server) => server.stop()))
  })

  async function client(of: RunningCoordinator, level = 'one', db = 0): Promise<Redis> {
    const redis = new Redis({ port: of.resp, maxRetriesPerRequest: 0, enableReadyCheck: false, db })
    clients.push(redis)
    await redis.call('RONDO', 'CONSISTENCY', level)
    return redis
  }

  async function fill(redis: Redis, keys: number, value = 'old'): Promise<void> {
    for (let from = 0; from < keys; from += 1000) {
      const names = Array.from({ length: Math.min(1000, keys - from) }, (_, i) => `key:${from + i}`)
      await redis.mset(...names.flatMap((name) => [name, value]))
    }
  }

  /** As a coordinator stores them, each on all three, but faster. */
  async function fillAll(keys: number): Promise<void> {
    const versions = new VersionClock(() => Date.now(), 1)
    const { head, value } = newRecord(KIND_VALUE, versions, 0, Buffer.from('old'))
    const bytes = Buffer.concat([head, value])
    for (const { port } of servers) {
      const redis = new Redis(port)
      for (let from = 0; from < keys; from += 2000) {
        await redis.mset(...Array.from({ length: 2000 }, (_, i) => [`key:${from + i}`, bytes]).flat())
      }
      redis.disconnect()
    }
  }

  /** All that a client may ask says that nothing is there. */
  async function expectNothing(redis: Redis, sample: readonly string[]): Promise<void> {
    expect(await redis.mget(...sample)).to.deep.equal(sample.map(() => null))
    expect(await redis.exists(...sample)).to.equal(0)
    expect(await redis.ttl(sample[0]!)).to.equal(-2)
    expect(await redis.strlen(sample[0]!)).to.equal(0)
    expect(await redis.keys('*')).to.deep.equal([])
    expect((await redis.scan(0))[1]).to.deep.equal([])
    expect(await redis.randomkey()).to.equal(null)
    expect(await redis.dbsize()).to.equal(0)
  }

  const sample = Array.from({ length: 500 }, (_, i) => `key:${i}`)
  const epoch = async () => Number((await one.cluster()).epoch)

  it(`answers without looking at any of ${MANY} keys, which are gone for every coordinator`, async () => {
    const [here, there] = [await client(one), await client(other)]
    await fillAll(MANY)
    expect(await there.get(`key:${MANY - 1}`)).to.equal('old')
    // Deleting them one by one takes fifteen seconds on a fast machine.
    const began = performance.now()
    expect(await there.flushall()).to.equal('OK')
    expect(performance.now() - began).to.be.below(5000)
    for (const redis of [here, there, await client(one, 'quorum'), await client(other, 'all')]) {
      await expectNothing(redis, sample)
    }
    expect(await there.set('key:0', 'new', 'NX')).to.equal('OK')
    expect(await here.incr('key:1')).to.equal(1)
    expect(await here.append('key:2', 'a')).to.equal(1)
    expect(await there.set('key:3', 'x', 'XX')).to.equal(null)
    expect(await there.set('key:4', 'x', 'GET')).to.equal(null)
    expect(await here.mget('key:0', 'key:1', 'key:2', 'key:3', 'key:4')).to.deep.equal([
      'new',
      '1',
      'a',
      null,
      'x',
    ])
    expect(await epoch()).to.be.above(1)
  })

  for (const level of LEVELS) {
    it(`a node that was away meanwhile serves none of what it still holds, at ${level}`, async () => {
      const [here, there] = [await client(one, level), await client(other, level)]
      expect(await here.flushall('ASYNC')).to.equal('OK')
      await fill(here, 2000)
      const away = servers[2]!
      await away.pause()
      await there.set('while:away', '1').catch(() => undefined)
      expect(await there.flushall('SYNC')).to.equal('OK')
      expect(await there.set('after', '1')).to.equal('OK')
      away.resume()
      await one.allClean()
      await other.allClean()
      for (let i = 0; i < 20; i++) {
        for (const redis of [here, there]) {
          expect(await redis.mget(...sample)).to.deep.equal(sample.map(() => null))
          expect(await redis.keys('*')).to.deep.equal(['after'])
        }
        await delay(100)
      }
    })

    it(`beside writers, deletes what was acknowledged before, and nothing that began after it, at ${level}`, async () => {
      const writers = await Promise.all(
        Array.from({ length: 8 }, (_, i) => client(i % 2 ? one : other, level)),
      )
      const flusher = await client(one, level)
      // Acknowledged between two flushes, or under way during one; by the number of flushes that had ended or begun.
      const acknowledged = new Map<string, string[]>()
      const errors: string[] = []
      let flushes = 0
      let isFlushing = false
      let isOver = false
      const moment = () => `${isFlushing ? 'during' : 'after'} ${flushes}`
      const write = async (redis: Redis, writer: number) => {
        for (let i = 0; !isOver; i++) {
          const began = moment()
          const key = `w:${writer}:${i}`
          const failed = await redis.set(key, '1').then(
            () => null,
            (error: Error) => error.message,
          )
          if (failed !== null) errors.push(failed)
          if (moment() !== began) continue
          acknowledged.set(began, [...(acknowledged.get(began) ?? []), key])
        }
      }
      const foundOf = async (redis: Redis, keys: readonly string[]) => {
        const found = await redis.mget(...keys)
        return keys.filter((_, i) => found[i] !== null)
      }
      const writing = writers.map((redis, i) => write(redis, i))
      try {
        for (; flushes < 5;) {
          while ((acknowledged.get(moment())?.length ?? 0) < 20) await delay(20)
          const kept = [...acknowledged.get(moment())!]
          expect(await foundOf(flusher, kept)).to.deep.equal(kept)
          const last = moment()
          isFlushing = true
          expect(await flusher.flushall()).to.equal('OK')
          isFlushing = false
          flushes++
          const gone = acknowledged.get(last)!
          for (const redis of [await client(one, level), await client(other, level)]) {
            expect(await foundOf(redis, gone)).to.deep.equal([])
          }
        }
      } finally {
        isOver = true
        await Promise.all(writing)
      }
      // Under way while the nodes were told, one after the other.
      for (const error of errors) expect(error).to.include('All keys were deleted while it was written')
    })
  }

  it('of one database leaves the others, touches what is watched, and gives back the memory', async () => {
    const [zero, three] = [await client(one), await client(other, 'one', 3)]
    const watching = await client(other, 'one', 3)
    await zero.set('a', 'zero')
    await three.set('a', 'three')
    await watching.watch('a')
    expect(await three.flushdb()).to.equal('OK')
    expect(await watching.multi().set('a', '1').exec()).to.equal(null)
    expect(await three.get('a')).to.equal(null)
    expect(await zero.get('a')).to.equal('zero')
    expect(await zero.flushdb()).to.equal('OK')
    expect(await zero.get('a')).to.equal(null)
    for (const { port } of servers) {
      const raw = new Redis(port)
      clients.push(raw)
      await one.until(async () => (await raw.exists('a', '__rondo:db3:a')) === 0)
    }
  })
})
