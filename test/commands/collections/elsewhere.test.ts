/** Collections where another type is expected: over HTTP, in SCAN TYPE, and above their limits. */
import { expect } from 'chai'
import { call } from '../../support/raw-http.ts'
import { RawResp } from '../../support/raw-resp.ts'
import { startRondo, type RunningRondo } from '../../support/rondo.ts'

describe('a collection', () => {
  let running: RunningRondo
  let client: RawResp
  before(async () => {
    running = await startRondo()
    client = await RawResp.open(running.rondo.respServer.port)
  })
  after(async () => {
    client.close()
    await running.stop()
  })
  beforeEach(async () => {
    await client.ask('FLUSHALL')
    await client.ask('HSET', 'hash', 'f', '1')
    await client.ask('SET', 'string', 's')
  })
  const http = (method: string, path: string, body?: object) =>
    call(running.ports.socket, method, path, body ? { body } : {})

  it('is refused by reads over HTTP, and kept', async () => {
    for (const [method, path] of [
      ['GET', '/api/v1/keys/hash'],
      ['POST', '/api/v1/keys/hash/incr'],
      ['POST', '/api/v1/keys/hash/expire'],
      ['POST', '/api/v1/keys/hash/getdel'],
    ] as const) {
      const answer = await http(
        method,
        path,
        method === 'POST' ? { ...(path.endsWith('expire') && { ttl: 9 }) } : undefined,
      )
      expect(answer.status, path).to.equal(409)
      expect(answer.json(), path).to.include({ code: 'WRONG_TYPE' })
    }
    expect(await client.ask('HGET', 'hash', 'f')).to.equal('$1\r\n1\r\n')
    expect(await client.ask('TTL', 'hash')).to.equal(':-1\r\n')
  })

  it('is replaced and deleted as a string is', async () => {
    expect((await http('PUT', '/api/v1/keys/hash', { value: 'v' })).status).to.equal(200)
    expect(await client.ask('GET', 'hash')).to.equal('$1\r\nv\r\n')
  })

  it('is found by SCAN with its type, and by no other', async () => {
    const found = async (type: string) =>
      /hash|string/.exec(await client.ask('SCAN', '0', 'COUNT', '1000', 'TYPE', type))?.[0]
    expect(await found('hash')).to.equal('hash')
    expect(await found('string')).to.equal('string')
    expect(await found('list')).to.equal(undefined)
  })
})
