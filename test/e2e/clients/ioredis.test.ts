/** ioredis does its ordinary work against Rondo as against a Redis. */
import { expect } from 'chai'
import { Redis } from 'ioredis'
import { startFourNodes, type FourNodes } from './four-nodes.ts'

describe('ioredis', function () {
  this.timeout(20_000)
  let nodes: FourNodes
  let client: Redis

  before(async () => {
    nodes = await startFourNodes()
  })
  after(() => nodes.stop())

  for (const protocol of [2, 3] as const) {
    describe(`with RESP${protocol}`, () => {
      before(() => {
        client = new Redis(nodes.port, '127.0.0.1', { protocol })
      })
      after(() => client.quit())

      it('is ready, and keeps text, bytes and ends', async () => {
        const bytes = Buffer.from([0, 255, 13, 10, 36, 0])
        expect(await client.set('text', 'héllo')).to.equal('OK')
        expect(await client.get('text')).to.equal('héllo')
        await client.set(bytes, bytes, 'EX', 100)
        expect(await client.getBuffer(bytes)).to.deep.equal(bytes)
        expect(await client.ttl(bytes)).to.be.within(99, 100)
        expect(await client.get('nothing')).to.equal(null)
        expect(await client.del('text', bytes, 'nothing')).to.equal(2)
      })

      it('counts, with all answers of a pipeline in their order', async () => {
        await client.del('count')
        const pipeline = client.pipeline()
        for (let i = 0; i < 500; i++) pipeline.incr('count')
        const replies = await pipeline.exec()
        expect(replies!.map(([error, count]) => error ?? count)).to.deep.equal(
          Array.from({ length: 500 }, (_, i) => i + 1),
        )
      })

      it('carries out a transaction over one hash tag as one', async () => {
        const replies = await client.multi().set('{t}a', '1').incrby('{t}b', 5).mget('{t}a', '{t}b').exec()
        expect(replies).to.deep.equal([
          [null, 'OK'],
          [null, 5],
          [null, ['1', '5']],
        ])
        await client.del('{t}a', '{t}b')
      })

      it('is stopped by WATCH when somebody else was faster', async () => {
        const other = new Redis(nodes.port, '127.0.0.1', { protocol })
        await client.watch('{w}a')
        await other.set('{w}a', 'theirs')
        expect(await client.multi().set('{w}a', 'mine').exec()).to.equal(null)
        expect(await client.get('{w}a')).to.equal('theirs')
        await other.quit()
      })

      it('finds every key once with a scan stream', async () => {
        const written = Array.from({ length: 300 }, (_, i) => `scan:${i}`)
        await client.mset(...written.flatMap((key) => [key, 'x']))
        const found: string[] = []
        for await (const keys of client.scanStream({ match: 'scan:*', count: 50 }))
          found.push(...(keys as string[]))
        expect(found.sort()).to.deep.equal(written.sort())
        expect(await client.unlink(...written)).to.equal(300)
      })

      it('keeps hashes, sets and lists', async () => {
        expect(await client.hset('hash', { name: 'Ada', born: 1815 })).to.equal(2)
        expect(await client.hgetall('hash')).to.deep.equal({ name: 'Ada', born: '1815' })
        expect(await client.sadd('set', 'a', 'b', 'a')).to.equal(2)
        expect(await client.smembers('set')).to.have.members(['a', 'b'])
        expect(await client.rpush('list', 'a', 'b', 'a')).to.equal(3)
        expect(await client.lrange('list', 0, -1)).to.deep.equal(['a', 'b', 'a'])
        expect(await client.del('hash', 'set', 'list')).to.equal(3)
      })

      it('rejects with the words of Redis', async () => {
        await client.set('text', 'x')
        const error = (promise: Promise<unknown>) =>
          promise.then(
            () => 'no error',
            (reason: Error) => reason.message,
          )
        expect(await error(client.incr('text'))).to.equal('ERR value is not an integer or out of range')
        expect(await error(client.eval('return redis.call("incr", KEYS[1])', 1, 'text'))).to.match(
          /^ERR value is not an integer/,
        )
        expect(await error(client.select(16))).to.equal('ERR DB index is out of range')
      })

      it('pipelines by itself when it is told to', async () => {
        const automatic = new Redis(nodes.port, '127.0.0.1', { protocol, enableAutoPipelining: true })
        await Promise.all(Array.from({ length: 200 }, (_, i) => automatic.set(`auto:${i}`, i)))
        const values = await Promise.all(Array.from({ length: 200 }, (_, i) => automatic.get(`auto:${i}`)))
        expect(values).to.deep.equal(Array.from({ length: 200 }, (_, i) => String(i)))
        await automatic.quit()
      })
    })
  }
})
