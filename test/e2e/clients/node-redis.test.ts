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
    { version: 5, createClient: redis5.createClient },
    { version: 6, createClient: redis6.createClient as unknown as typeof redis5.createClient },
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

        it('rejects with the words of Redis', async () => {
          await client.set('text', 'x')
          expect(await message(client.incr('text'))).to.equal('ERR value is not an integer or out of range')
          expect(await message(client.hSet('h', 'f', 'v'))).to.match(/^ERR unknown command 'HSET'/)
          await client.del('text')
        })
      })
    }
  }
})
