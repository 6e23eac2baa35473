// The stock @upstash/redis and @upstash/ratelimit, with `…/upstash` of a coordinator as their URL.
import { randomBytes } from 'node:crypto'
import { MultiRegionRatelimit, Ratelimit } from '@upstash/ratelimit'
import { Redis, type RedisConfigNodejs } from '@upstash/redis'
import { expect } from 'chai'
import { type RedisServer, startRedis } from '../../../scripts/redis-server.ts'
import { FAIR, FaultProxy, WEATHER } from '../../support/fault-proxy.ts'
import { RawResp } from '../../support/raw-resp.ts'
import { type RunningRondo, startRondo } from '../../support/rondo.ts'

const TOKEN = randomBytes(16).toString('hex')

async function rejectionOf(promise: Promise<unknown>): Promise<Error> {
  try {
    await promise
  } catch (error) {
    return error as Error
  }
  throw new Error('it was fulfilled')
}

describe('@upstash/redis', () => {
  let running: RunningRondo
  before(async () => (running = await startRondo({ COMPAT_APIS: 'upstash', DATA_TOKEN: TOKEN })))
  after(() => running.stop())

  const clientOf = (options: Partial<RedisConfigNodejs> = {}) =>
    new Redis({
      url: `http://127.0.0.1:${running.ports.socket}/upstash`,
      token: TOKEN,
      enableTelemetry: false,
      retry: false,
      ...options,
    })

  for (const responseEncoding of ['base64', false] as const) {
    it(`reads and writes strings and keys (responseEncoding ${responseEncoding})`, async () => {
      const redis = clientOf({ responseEncoding })
      await redis.flushall()
      expect(await redis.ping()).to.equal('PONG')
      expect(await redis.set('k', 'é€😀', { ex: 100 })).to.equal('OK')
      expect(await redis.get('k')).to.equal('é€😀')
      expect(await redis.ttl('k')).to.be.within(99, 100)
      expect(await redis.set('k', 'x', { nx: true })).to.equal(null)
      expect(await redis.set('object', { a: [1, 'two', null] })).to.equal('OK')
      expect(await redis.get('object')).to.deep.equal({ a: [1, 'two', null] })
      expect(await redis.mset({ a: 1, b: 'OK', c: '' })).to.equal('OK')
      expect(await redis.mget('a', 'none', 'b', 'c')).to.deep.equal([1, null, 'OK', ''])
      expect(await redis.incrby('a', 41)).to.equal(42)
      expect(await redis.incrbyfloat('f', 0.5)).to.equal(0.5)
      expect(await redis.append('c', 'tail')).to.equal(4)
      expect(await redis.getrange('c', 1, 2)).to.equal('ai')
      expect(await redis.getdel('c')).to.equal('tail')
      expect(await redis.exists('a', 'c')).to.equal(1)
      expect(await redis.expire('a', 60)).to.equal(1)
      expect(await redis.persist('a')).to.equal(1)
      expect(await redis.type('a')).to.equal('string')
      expect(await redis.setbit('bits', 7, 1)).to.equal(0)
      expect(await redis.bitcount('bits', 0, -1)).to.equal(1)
      expect(await redis.pfadd('visitors', 'a', 'b')).to.equal(1)
      expect(await redis.pfcount('visitors')).to.equal(2)
      expect((await redis.keys('*')).length).to.equal(await redis.dbsize())
      expect(await redis.unlink('a', 'b')).to.equal(2)
      expect(await redis.echo('hello')).to.equal('hello')
      expect((await redis.time()).length).to.equal(2)
    })
  }

  it('scans all keys', async () => {
    const redis = clientOf()
    await redis.mset(Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`scan:${i}`, i])))
    const found = new Set<string>()
    let cursor = '0'
    do {
      const [next, keys] = await redis.scan(cursor, { match: 'scan:*', count: 50 })
      for (const key of keys) found.add(key)
      cursor = next
    } while (cursor !== '0')
    expect(found.size).to.equal(300)
  })

  it('pipelines, by hand and by itself, and runs transactions', async () => {
    const redis = clientOf()
    const pipeline = redis.pipeline().set('p', 1).incr('p').get('none')
    expect(await pipeline.exec()).to.deep.equal(['OK', 2, null])
    const errors = await redis.pipeline().set('text', 'x').incr('text').get('text').exec({ keepErrors: true })
    expect(errors.map(({ error }) => error)).to.deep.equal([
      undefined,
      'ERR value is not an integer or out of range',
      undefined,
    ])
    const automatic = clientOf({ enableAutoPipelining: true })
    const values = await Promise.all(Array.from({ length: 20 }, () => automatic.incr('auto')))
    expect(values).to.deep.equal(Array.from({ length: 20 }, (_, i) => i + 1))
    expect(await redis.multi().set('{m}a', 'x').append('{m}a', 'y').get('{m}b').exec()).to.deep.equal([
      'OK',
      2,
      null,
    ])
  })

  it('gets errors in the words of Redis, and those of a wrong token', async () => {
    const redis = clientOf()
    await redis.set('word', 'x')
    expect((await rejectionOf(redis.incr('word'))).message).to.contain('not an integer')
    expect(await redis.eval('return {KEYS[1], ARGV[1]}', ['k'], ['a'])).to.deep.equal(['k', 'a'])
    expect(await redis.publish('news', 'x')).to.equal(0)
    const wrong = clientOf({ token: 'not-the-token-0123456789' })
    expect((await rejectionOf(wrong.get('k'))).message).to.contain('The token is wrong')
  })
})

describe('@upstash/redis reads what it has written', () => {
  let servers: RedisServer[] = []
  let proxies: FaultProxy[] = []
  const rondos: RunningRondo[] = []
  before(async () => {
    servers = await Promise.all(Array.from({ length: 3 }, () => startRedis()))
    proxies = await Promise.all(servers.map(({ port }) => FaultProxy.start(port)))
    for (const ports of [proxies, servers].map((list) => list.map(({ port }) => port))) {
      const urls = ports.map((port, i) => `r${i}=127.0.0.1:${port}`).join(',')
      rondos.push(await startRondo({ REDIS_URLS: urls, COMPAT_APIS: 'upstash', PING_INTERVAL_SECONDS: '60' }))
    }
  })
  after(async () => {
    for (const proxy of proxies) proxy.close()
    await Promise.all(rondos.map((rondo) => rondo.stop()))
    await Promise.all(servers.map((server) => server.stop()))
  })

  const clientAt = (rondo: number, options: Partial<RedisConfigNodejs> = {}) => {
    const url = `http://127.0.0.1:${rondos[rondo]!.ports.socket}/upstash`
    return new Redis({ url, token: 'none', enableTelemetry: false, retry: false, ...options })
  }
  const firstHomeOf = (key: string) =>
    Number(rondos[1]!.rondo.cluster.placement.replicaSetOf(Buffer.from(key)).homes[0]!.id.slice(1))

  it('through another coordinator, and from the replica that has missed it', async () => {
    const [writer, reader, other] = [clientAt(0), clientAt(1), clientAt(1, { readYourWrites: false })]
    await writer.set('k', 'before')
    await rondos[0]!.rondo.coordinator.drain(2000)
    expect(await other.get('k')).to.equal('before')
    await proxies[firstHomeOf('k')]!.set(WEATHER.cut)
    await writer.set('k', 'after')
    const missed = await RawResp.open(servers[firstHomeOf('k')]!.port)
    expect(await missed.ask('GET', 'k')).to.contain('before') // what a read at `one` asks first
    missed.close()
    reader.readYourWritesSyncToken = writer.readYourWritesSyncToken
    expect(writer.readYourWritesSyncToken).to.equal('quorum')
    expect(await reader.get('k')).to.equal('after')
    await Promise.all(proxies.map((proxy) => proxy.set(FAIR)))
  })

  it('needs a majority for it, and nothing is promised to a client that does not ask', async () => {
    await writerOf({ readYourWrites: false }).set('m', 1)
    for (const i of [0, 1, 2]) if (i !== firstHomeOf('m')) await proxies[i]!.set(WEATHER.cut)
    await writerOf({ readYourWrites: false }).set('m', 2)
    const { message } = await rejectionOf(writerOf({}).set('m', 3))
    expect(message).to.contain('NOREPLICAS')
  })
  const writerOf = (options: Partial<RedisConfigNodejs>) => clientAt(0, options)
})

describe('@upstash/ratelimit', () => {
  let running: RunningRondo
  let redis: Redis
  before(async () => {
    running = await startRondo({ COMPAT_APIS: 'upstash', DATA_TOKEN: TOKEN })
    const url = `http://127.0.0.1:${running.ports.socket}/upstash`
    redis = new Redis({ url, token: TOKEN, enableTelemetry: false, retry: false })
  })
  after(() => running.stop())

  // So long that its end is hardly met: a fixed window ends at a round time.
  const window = '12 h'
  const LIMITERS = {
    fixedWindow: Ratelimit.fixedWindow(2, window),
    slidingWindow: Ratelimit.slidingWindow(2, window),
    tokenBucket: Ratelimit.tokenBucket(2, window, 2),
    cachedFixedWindow: Ratelimit.cachedFixedWindow(2, window),
  }

  for (const [name, limiter] of Object.entries(LIMITERS)) {
    it(`${name}: two of three requests pass`, async () => {
      // The keys of its windows share a replica set by the hash tag of their prefix.
      const limit = new Ratelimit({
        redis,
        limiter,
        prefix: `{${name}}`,
        ephemeralCache: new Map(),
        timeout: 0,
      })
      const passed = []
      for (let i = 0; i < 3; i++) passed.push((await limit.limit('user')).success)
      expect(passed).to.deep.equal([true, true, false])
      expect((await limit.getRemaining('user')).remaining).to.equal(0)
      // It looks for its keys with SCAN, which no script of Rondo can do.
      expect((await rejectionOf(limit.resetUsedTokens('user'))).message).to.contain('not allowed from script')
    })
  }

  it('counts over several regions', async () => {
    const limiter = MultiRegionRatelimit.fixedWindow(2, window)
    const limit = new MultiRegionRatelimit({
      redis: [redis] as never,
      limiter,
      ephemeralCache: false,
      timeout: 0,
    })
    expect((await limit.limit('user')).success).to.equal(true)
  })

  it('refuses from its own cache, and keeps dynamic limits, without a script', async () => {
    const ephemeralCache = new Map([['@upstash/ratelimit:blocked', Date.now() + 60_000]])
    const limiter = LIMITERS.fixedWindow
    const limit = new Ratelimit({ redis, limiter, ephemeralCache, timeout: 0, dynamicLimits: true })
    const { success, reason } = await limit.limit('blocked')
    expect([success, reason]).to.deep.equal([false, 'cacheBlock'])
    await limit.setDynamicLimit({ limit: 7 })
    expect(await limit.getDynamicLimit()).to.deep.equal({ dynamicLimit: 7 })
    await limit.setDynamicLimit({ limit: false })
    expect(await limit.getDynamicLimit()).to.deep.equal({ dynamicLimit: null })
  })
})
