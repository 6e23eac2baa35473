import { expect } from 'chai'
import { type RedisServer, startRedis } from '../../scripts/redis-server.ts'
import { RawResp } from '../support/raw-resp.ts'
import { RondoUnderTest } from '../support/rondo-under-test.ts'

describe('collections that another program stored', () => {
  let servers: RedisServer[]
  let under: RondoUnderTest
  before(async () => {
    servers = await Promise.all([startRedis(), startRedis(), startRedis()])
    under = await RondoUnderTest.start(servers)
  })
  after(async () => {
    await under.stop()
    await Promise.all(servers.map((server) => server.stop()))
  })
  it('thin', async () => {
    const key = under.keysAt(servers[0]!, 0, 1)[0]!
    const client = under.client(servers[0]!)
    await client.hset(key, 'f', 'v')
    await client.expire(key, 1000)
    const resp = await RawResp.open(under.respPort)
    for (const command of [['HGETALL', key], ['TYPE', key], ['TTL', key], ['HSET', key, 'g', 'w'], ['HGETALL', key], ['TTL', key]])
      console.log(command, JSON.stringify(await resp.ask(...command)), await client.type(key))
    resp.close()
  })
})
