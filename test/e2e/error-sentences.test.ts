/** What a node refuses is told in sentences, to clients and in the log: not as an Error of the program. */
import { expect } from 'chai'
import { type RedisServer, startRedis } from '../../scripts/redis-server.ts'
import { RawResp } from '../support/raw-resp.ts'
import { RondoUnderTest } from '../support/rondo-under-test.ts'

describe('an error of a node', () => {
  let server: RedisServer
  let under: RondoUnderTest
  let client: RawResp
  before(async () => {
    server = await startRedis()
    under = await RondoUnderTest.start([server])
    client = await RawResp.open(under.respPort)
  })
  after(async () => {
    client.close()
    await under.stop()
    await server.stop()
  })

  it('is quoted to a client whose SCAN it fails, over both protocols, and in the log', async () => {
    await under.client(server).call('ACL', 'SETUSER', 'default', '-scan')
    const told = await client.ask('SCAN', '0')
    expect(told).to.match(
      /^-NOREPLICAS Node redis-1 cannot be listed: the node answered "(NOPERM|ERR) [^"]+"\. Try again/,
    )
    const { error } = (await (await fetch(`${under.url}/api/v1/keys`)).json()) as { error: string }
    expect(error).to.match(
      /^Node redis-1 cannot be listed: the node answered "(NOPERM|ERR) [^"]+"\. Try again/,
    )
    expect(under.log.join('')).to.include('cannot be listed')
    expect(under.log.join('')).to.not.match(/\b(Reply|Node)?Error: |NodeCallFailed|ioredis/)
  })
})
