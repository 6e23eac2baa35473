/** What is written by HTTP is read by the Redis protocol, and the other way round. */
import { expect } from 'chai'
import { Redis } from 'ioredis'
import { startFourNodes, type FourNodes } from './four-nodes.ts'

const BYTES = Buffer.from(Array.from({ length: 256 }, (_, i) => i))

describe('both servers', function () {
  this.timeout(20_000)
  let nodes: FourNodes
  let client: Redis
  const url = (key: string, query = '') => `${nodes.rondo.url}/api/v1/keys/${encodeURIComponent(key)}${query}`
  const json = async (key: string) => (await (await fetch(url(key))).json()) as Record<string, unknown>

  before(async () => {
    nodes = await startFourNodes({ READ_CONSISTENCY: 'quorum', WRITE_CONSISTENCY: 'quorum' })
    client = new Redis(nodes.port, '127.0.0.1')
  })
  after(async () => {
    await client.quit()
    await nodes.stop()
  })

  it('written by HTTP, read by the Redis protocol: bytes, ends, deletes', async () => {
    const binary = { 'content-type': 'application/octet-stream' }
    await fetch(url('a/é', '?ttl=100'), { method: 'PUT', headers: binary, body: BYTES })
    expect(await client.getBuffer('a/é')).to.deep.equal(BYTES)
    expect(await client.pttl('a/é')).to.be.within(95_000, 100_000)
    const text = JSON.stringify({ value: 'héllo', ttl: 0 })
    await fetch(url('a/é'), { method: 'PUT', headers: { 'content-type': 'application/json' }, body: text })
    expect(await client.get('a/é')).to.equal('héllo')
    expect(await client.ttl('a/é')).to.equal(-1)
    const post = { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"by":1}' }
    expect((await fetch(`${url('count')}/incr`, post)).status).to.equal(200)
    expect(await client.incr('count')).to.equal(2)
    expect((await fetch(url('a/é'), { method: 'DELETE' })).status).to.equal(204)
    expect(await client.exists('a/é')).to.equal(0)
  })

  it('written by the Redis protocol, read by HTTP: bytes, ends, deletes', async () => {
    await client.set('b', BYTES, 'PX', 99_500)
    const raw = await fetch(url('b'), { headers: { accept: 'application/octet-stream' } })
    expect(Buffer.from(await raw.arrayBuffer())).to.deep.equal(BYTES)
    expect((await json('b')).ttl).to.be.within(95, 100)
    await client.persist('b')
    await client.setrange('b', 0, 'x')
    expect(await json('b')).to.include({ ttl: 0, encoding: 'base64' })
    await client.multi().set('{t}b', 'one').append('{t}b', ' two').exec()
    expect(await json('{t}b')).to.include({ value: 'one two', ttl: 0 })
    await client.expire('{t}b', 50)
    expect((await json('{t}b')).ttl).to.be.within(45, 50)
    expect(await client.del('b', '{t}b')).to.equal(2)
    expect((await fetch(url('b'))).status).to.equal(404)
  })

  it('a condition on the version at one server sees writes through the other', async () => {
    await client.set('c', '1')
    const tag = (await fetch(url('c'))).headers.get('etag')!
    await client.set('c', '2')
    const late = await fetch(url('c'), {
      method: 'PUT',
      headers: { 'if-match': tag, 'content-type': 'text/plain' },
      body: '3',
    })
    expect(late.status).to.equal(412)
    await client.watch('c')
    await fetch(url('c'), { method: 'PUT', headers: { 'content-type': 'text/plain' }, body: '4' })
    expect(await client.multi().set('c', '5').exec()).to.equal(null)
    expect(await client.get('c')).to.equal('4')
  })
})
