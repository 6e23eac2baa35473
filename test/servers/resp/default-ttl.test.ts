/** DEFAULT_TTL_SECONDS over the Redis protocol: for keys that are made without a time of their own, whatever makes them. */
import { expect } from 'chai'
import { Redis } from 'ioredis'
import { startRondo, type RunningRondo } from '../../support/rondo.ts'

const TTL_SECONDS = 100

describe('the default ttl over the Redis protocol', () => {
  let running: RunningRondo
  let client: Redis

  before(async () => {
    running = await startRondo({ DEFAULT_TTL_SECONDS: String(TTL_SECONDS) })
    client = new Redis({ host: '127.0.0.1', port: running.rondo.respServer.port })
  })
  after(async () => {
    client.disconnect()
    await running.stop()
  })

  const writes: [string, () => Promise<unknown>][] = [
    ['SET', () => client.set('{k}', 'v')],
    ['SET NX', () => client.set('{k}', 'v', 'NX')],
    ['SETNX', () => client.setnx('{k}', 'v')],
    ['GETSET', () => client.getset('{k}', 'v')],
    ['MSET', () => client.mset('{k}', 'v', '{k}2', 'v')],
    ['MSETNX', () => client.msetnx('{k}', 'v', '{k}2', 'v')],
    ['SET in MULTI', () => client.multi().set('{k}', 'v').exec()],
    ['SET KEEPTTL', () => client.set('{k}', 'v', 'KEEPTTL')],
    ['INCR', () => client.incr('{k}')],
    ['DECR', () => client.decr('{k}')],
    ['INCRBY', () => client.incrby('{k}', 5)],
    ['DECRBY', () => client.decrby('{k}', 5)],
    ['INCRBYFLOAT', () => client.incrbyfloat('{k}', 1.5)],
    ['APPEND', () => client.append('{k}', 'v')],
    ['SETRANGE', () => client.setrange('{k}', 3, 'v')],
    ['SETBIT', () => client.setbit('{k}', 3, 1)],
    ['INCR in MULTI', () => client.multi().incr('{k}').exec()],
  ]
  for (const [name, write] of writes) {
    it(`is that of ${name}`, async () => {
      await client.del('{k}', '{k}2')
      await write()
      expect(await client.ttl('{k}')).to.be.within(TTL_SECONDS - 5, TTL_SECONDS)
    })
  }

  it('gives way to a time that is named, to KEEPTTL and to PERSIST', async () => {
    await client.set('k', 'v', 'EX', 1000)
    expect(await client.ttl('k')).to.be.above(TTL_SECONDS)
    await client.set('k', 'w', 'KEEPTTL')
    expect(await client.ttl('k')).to.be.above(TTL_SECONDS)
    await client.persist('k')
    expect(await client.ttl('k')).to.equal(-1)
  })

  it('is nothing to a key that is there: what changes its value leaves its end, or that it has none', async () => {
    const changes: [string, () => Promise<unknown>][] = [
      ['INCR', () => client.incr('k')],
      ['INCRBYFLOAT', () => client.incrbyfloat('k', 1)],
      ['APPEND', () => client.append('k', '0')],
      ['SETRANGE', () => client.setrange('k', 0, '2')],
      ['SETBIT', () => client.setbit('k', 7, 1)],
      ['SET KEEPTTL', () => client.set('k', '5', 'KEEPTTL')],
    ]
    for (const [name, change] of changes) {
      await client.set('k', '1', 'EX', 1000)
      await change()
      expect(await client.ttl('k'), name).to.be.above(TTL_SECONDS)
      await client.persist('k')
      await change()
      expect(await client.ttl('k'), name).to.equal(-1)
    }
  })
})
