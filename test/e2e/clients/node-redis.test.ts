/** node-redis, the last version and the one before, does its ordinary work against Rondo as against a Redis. */
import { expect } from 'chai'
import * as redis5 from 'redis-5'
import * as redis6 from 'redis-6'
import { startFourNodes, type FourNodes } from './four-nodes.ts'

const message = (promise: Promise<unknown>) =>
  promise.then(
    () => 'no error',
    (reason: Error) => reason.message,
  )

describe('node-redis', function () {
  this.timeout(20_000)
  let nodes: FourNodes

  before(async () => {
    nodes = await startFourNodes()
  })
  after(() => nodes.stop())

  const versions = [
    // Only their types differ, in what is not used here.
    { version: 5, createClient: redis5.createClient, cacheOf: () => new redis5.BasicClientSideCache() },
    {
      version: 6,
      createClient: redis6.createClient as unknown as typeof redis5.createClient,
      cacheOf: () => new redis6.BasicClientSideCache() as unknown as redis5.BasicClientSideCache,
    },
  ]
  for (const { version, createClient } of versions) {
    for (const RESP of [2, 3] as const) {
      describe(`${version} with RESP${RESP}`, () => {
        const connect = () => createClient({ url: `redis://127.0.0.1:${nodes.port}`, RESP }).connect()
        let client: Awaited<ReturnType<typeof connect>>
        before(async () => {
          client = await connect()
        })
        after(() => client.close())

        it('keeps values and ends', async () => {
          expect(await client.set('text', 'héllo', { expiration: { type: 'EX', value: 100 } })).to.equal('OK')
          expect(await client.get('text')).to.equal('héllo')
          expect(await client.ttl('text')).to.be.within(99, 100)
          expect(await client.persist('text')).to.equal(1)
          expect(await client.set('text', 'other', { condition: 'NX' })).to.equal(null)
          expect(await client.getDel('text')).to.equal('héllo')
          expect(await client.exists('text')).to.equal(0)
        })

        it('answers what is asked in one turn in its order', async () => {
          await client.del('count')
          const counts = await Promise.all(Array.from({ length: 300 }, () => client.incr('count')))
          expect(counts).to.deep.equal(Array.from({ length: 300 }, (_, i) => i + 1))
        })

        it('carries out a transaction over one hash tag as one, unless a watched key has changed', async () => {
          const replies = await client.multi().set('{t}a', '1').incr('{t}b').get('{t}a').exec()
          expect(replies).to.deep.equal(['OK', 1, '1'])
          const other = await connect()
          await client.watch('{t}a')
          await other.set('{t}a', 'theirs')
          expect(await message(client.multi().set('{t}a', 'mine').exec())).to.match(/watched keys/)
          expect(await client.get('{t}a')).to.equal('theirs')
          await other.close()
          expect(await client.del(['{t}a', '{t}b'])).to.equal(2)
        })

        it('finds every key once with a scan', async () => {
          const written = Array.from({ length: 200 }, (_, i) => `scan:${i}`)
          await client.mSet(written.map((key) => [key, 'x'] as [string, string]))
          const found: string[] = []
          for await (const keys of client.scanIterator({ MATCH: 'scan:*', COUNT: 50 })) found.push(...keys)
          expect(found.sort()).to.deep.equal(written.sort())
          expect(await client.unlink(written)).to.equal(200)
        })

        it('keeps hashes, sets and lists', async () => {
          expect(await client.hSet('hash', { name: 'Ada', born: 1815 })).to.equal(2)
          expect({ ...(await client.hGetAll('hash')) }).to.deep.equal({ name: 'Ada', born: '1815' })
          expect(await client.sAdd('set', ['a', 'b', 'a'])).to.equal(2)
          expect(await client.sMembers('set')).to.have.members(['a', 'b'])
          expect(await client.rPush('list', ['a', 'b', 'a'])).to.equal(3)
          expect(await client.lRange('list', 0, -1)).to.deep.equal(['a', 'b', 'a'])
          expect(await client.del(['hash', 'set', 'list'])).to.equal(3)
        })

        it('rejects with the words of Redis', async () => {
          await client.set('text', 'x')
          expect(await message(client.incr('text'))).to.equal('ERR value is not an integer or out of range')
          const script = 'return redis.call("incr", KEYS[1])'
          expect(await message(client.eval(script, { keys: ['text'] }))).to.match(
            /^ERR value is not an integer/,
          )
          await client.del('text')
        })
      })
    }
  }

  for (const { version, createClient, cacheOf } of versions) {
    it(`${version} keeps what it has read (clientSideCache) until that changes or ends`, async () => {
      const url = `redis://127.0.0.1:${nodes.port}`
      const cache = cacheOf()
      const client = await createClient({ url, RESP: 3, clientSideCache: cache }).connect()
      const other = await createClient({ url, RESP: 3 }).connect()
      const kept = async (read: () => Promise<unknown>) => {
        // The nodes may tell of a write for some milliseconds.
        for (let { hitCount } = cache.stats(); cache.stats().hitCount === hitCount;) await read()
        return read()
      }
      const changes = async (read: () => Promise<unknown>, to: unknown) => {
        while (JSON.stringify(await read()) !== JSON.stringify(to)) await client.ping()
      }
      await other.set('kept', 'old')
      expect(await kept(() => client.get('kept'))).to.equal('old')
      await other.set('kept', 'new')
      await changes(() => client.get('kept'), 'new')
      await other.hSet('kept:h', 'f', '1')
      expect(await kept(() => client.hGet('kept:h', 'f'))).to.equal('1')
      await other.hSet('kept:h', 'f', '2')
      await changes(() => client.hGet('kept:h', 'f'), '2')
      await other.set('kept', 'short', { expiration: { type: 'PX', value: 300 } })
      await changes(() => client.get('kept'), 'short')
      expect(await kept(() => client.get('kept'))).to.equal('short')
      await changes(() => client.get('kept'), null)
      await Promise.all([client.close(), other.close()])
    })
  }

  for (const RESP of [2, 3] as const) {
    it(`6 with RESP${RESP} compares, deletes and sets together in one step, as Redis 8.4 does`, async () => {
      const client = await redis6.createClient({ url: `redis://127.0.0.1:${nodes.port}`, RESP }).connect()
      // A lock: taken, extended and returned by its holder only.
      const expiration = { type: 'PX', value: 30_000 } as const
      expect(await client.set('lock', 'me', { condition: 'NX', expiration })).to.equal('OK')
      expect(await client.set('lock', 'you', { condition: 'NX', expiration })).to.equal(null)
      const extend = (holder: string) =>
        client.set('lock', holder, { condition: 'IFEQ', matchValue: holder, expiration })
      expect([await extend('you'), await extend('me')]).to.deep.equal([null, 'OK'])
      expect(await client.delEx('lock', { condition: 'IFEQ', matchValue: 'you' })).to.equal(0)
      expect(await client.delEx('lock', { condition: 'IFEQ', matchValue: 'me' })).to.equal(1)

      await client.set('text', 'old')
      expect(await client.set('text', 'x', { condition: 'IFNE', matchValue: 'old' })).to.equal(null)
      expect(await client.set('text', 'new', { condition: 'IFNE', matchValue: 'x', GET: true })).to.equal(
        'old',
      )
      const digest = await client.digest('text')
      expect(digest).to.match(/^[0-9a-f]{16}$/)
      expect(await client.set('text', 'x', { condition: 'IFDNE', matchValue: digest })).to.equal(null)
      expect(await client.set('text', 'newer', { condition: 'IFDEQ', matchValue: digest })).to.equal('OK')
      expect(await client.delEx('text', { condition: 'IFDEQ', matchValue: digest })).to.equal(0)
      expect(await client.delEx('text', { condition: 'IFDNE', matchValue: digest })).to.equal(1)

      const pairs = { '{m}a': '1', '{m}b': '2' }
      const seconds = { type: 'EX', value: 100 } as const
      expect(await client.mSetEx(pairs, { mode: 'NX', expiration: seconds })).to.equal(1)
      expect(await client.mSetEx(pairs, { mode: 'NX' })).to.equal(0)
      expect(await client.mSetEx({ ...pairs, '{m}c': '3' }, { mode: 'XX' })).to.equal(0)
      expect(await client.mGet(['{m}a', '{m}b', '{m}c'])).to.deep.equal(['1', '2', null])
      expect(await client.ttl('{m}a')).to.be.within(99, 100)
      expect(await client.sendCommand(['DELIFEQ', '{m}a', '1'])).to.equal(1)
      expect(await client.del('{m}b')).to.equal(1)
      await client.close()
    })
  }
})
