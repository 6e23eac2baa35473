/** Keyv and cache-manager keep an application's cache in Rondo. */
import KeyvRedis from '@keyv/redis'
import { createCache } from 'cache-manager'
import { expect } from 'chai'
import { Keyv } from 'keyv'
import { RondoUnderTest } from '../../support/rondo-under-test.ts'
import { startFourNodes, type FourNodes } from './four-nodes.ts'

describe('caches in the Redis protocol', function () {
  this.timeout(20_000)
  let nodes: FourNodes
  const opened: Keyv[] = []
  const keyv = (namespace: string, port = nodes.port) => {
    const store = new KeyvRedis(`redis://127.0.0.1:${port}`, {
      throwOnErrors: true,
      throwOnConnectError: true,
    })
    const opening = new Keyv({ store, throwOnErrors: true, namespace })
    opened.push(opening)
    return opening
  }

  before(async () => {
    nodes = await startFourNodes()
  })
  after(async () => {
    for (const one of opened) await one.disconnect()
    await nodes.stop()
  })

  it('keyv: values, ends, several at once, and each namespace by itself', async () => {
    // It stores several values in a transaction: with the namespace as a hash tag, they are on the same replicas.
    const [users, posts] = [keyv('{users}'), keyv('posts')]
    expect(await users.set('a', { name: 'Ada', tags: ['x', 'é'] }, 60_000)).to.equal(true)
    await posts.set('a', 'a post')
    expect(await users.get('a')).to.deep.equal({ name: 'Ada', tags: ['x', 'é'] })
    expect(await users.has('a')).to.equal(true)
    expect(await users.get('b')).to.equal(undefined)
    const many = Array.from({ length: 50 }, (_, i) => ({ key: `many:${i}`, value: i }))
    await users.setMany(many)
    expect(await users.get(many.map(({ key }) => key))).to.deep.equal(many.map(({ value }) => value))
    expect(await users.delete(['many:0', 'many:1'])).to.equal(true)
    expect(await users.get(['many:0', 'many:1', 'many:2'])).to.deep.equal([undefined, undefined, 2])
    const found: string[] = []
    for await (const [key] of users.iterator!(undefined)) found.push(String(key))
    expect(found).to.have.length(49)
    await users.clear()
    expect(await users.has('a')).to.equal(false)
    expect(await posts.get('a')).to.equal('a post')
  })

  it('keyv: several values in a namespace without a hash tag, which RESP_CROSS_SET_MULTI can refuse', async () => {
    const many = Array.from({ length: 50 }, (_, i) => ({ key: `many:${i}`, value: i }))
    const users = keyv('plain')
    await users.setMany(many)
    expect(await users.get(many.map(({ key }) => key))).to.deep.equal(many.map(({ value }) => value))
    const strict = await RondoUnderTest.start(nodes.rondo.servers, { RESP_CROSS_SET_MULTI: 'refuse' })
    const refused = keyv('other', strict.respPort)
    expect(await refused.setMany(many).catch((error: Error) => error.message)).to.match(
      /^CROSSSLOT .*\(RESP_CROSS_SET_MULTI is refuse\)$/,
    )
    await refused.disconnect()
    opened.splice(opened.indexOf(refused), 1)
    await strict.stop()
  })

  it('cache-manager: a value is worked out once, and found by another cache until it ends', async () => {
    const [cache, other] = [
      createCache({ stores: [keyv('cache')] }),
      createCache({ stores: [keyv('cache')] }),
    ]
    let worked = 0
    const work = () => Promise.resolve({ answer: 42, worked: ++worked })
    expect(await cache.wrap('question', work, 60_000)).to.deep.equal({ answer: 42, worked: 1 })
    expect(await other.wrap('question', work, 60_000)).to.deep.equal({ answer: 42, worked: 1 })
    expect(await other.ttl('question')).to.be.a('number')
    await cache.del('question')
    expect(await other.get('question')).to.equal(undefined)
    const items = [
      { key: 'm:1', value: 'one' },
      { key: 'm:2', value: 'two', ttl: 60_000 },
    ]
    await cache.mset(items)
    expect(await other.mget(['m:1', 'm:2', 'm:3'])).to.deep.equal(['one', 'two', undefined])
    await cache.mdel(['m:1', 'm:2'])
    expect(await other.mget(['m:1', 'm:2'])).to.deep.equal([undefined, undefined])
  })
})
