/** One cold key, three coordinators over real servers, a thousand clients: how often the origin is called. */
import { createServer, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect } from 'chai'
import { startRedisCluster, type RedisServer } from '../../scripts/redis-server.ts'
import { RunningCoordinator } from '../support/coordinators.ts'
import { RawResp } from '../support/raw-resp.ts'
import { until } from '../support/rondo-under-test.ts'

const CLIENTS = 1000
const PIPELINED = 50

describe('loading through three coordinators', function () {
  this.timeout(60_000)
  let servers: RedisServer[]
  let coordinators: RunningCoordinator[]
  let origin: Server
  let waiting: ServerResponse[]
  let calls: string[]
  const clients: RawResp[] = []

  before(async () => {
    origin = createServer((req, res) => {
      calls.push(req.url!)
      waiting.push(res)
    })
    await new Promise<void>((resolve) => origin.listen(0, '127.0.0.1', resolve))
    servers = await startRedisCluster(3)
    const places = servers.map(({ url }, i) => ({ id: `redis-${i + 1}`, url }))
    const env = {
      LOADER_URL: `http://127.0.0.1:${(origin.address() as AddressInfo).port}/items/{key}`,
      LOADER_ALLOW: '127.0.0.1',
      LOADER_TIMEOUT_MS: '20000',
      REQUEST_TIMEOUT_MS: '5000',
    }
    coordinators = []
    for (let i = 0; i < 3; i++) coordinators.push(await (await RunningCoordinator.over(places, env)).ready())
  })
  beforeEach(() => {
    waiting = []
    calls = []
  })
  after(async () => {
    for (const client of clients) client.socket.destroy()
    await Promise.all(coordinators.map((one) => one.stop()))
    await Promise.all(servers.map((server) => server.stop()))
    origin.closeAllConnections()
    origin.close()
  })

  /** Until so many reads wait at these coordinators. */
  function allWait(at: readonly RunningCoordinator[]): Promise<void> {
    return until('all reads wait', async () => {
      const texts = await Promise.all(at.map(async ({ http }) => (await fetch(`${http}/metrics`)).text()))
      const counts = texts.map((text) => Number(/^rondo_loads_waiting (\d+)/m.exec(text)![1]))
      return counts.reduce((sum, count) => sum + count, 0) === CLIENTS
    })
  }

  /** Half of them over the Redis protocol in pipelines, half over HTTP. */
  async function ask(key: string, { resp, http }: RunningCoordinator, times: number): Promise<string[]> {
    const half = Math.floor(times / 2)
    // A connection has only so many commands at work.
    const pipelines = Array.from({ length: Math.ceil(half / PIPELINED) }, async (_, i) => {
      const client = await RawResp.open(resp)
      clients.push(client)
      const count = Math.min(PIPELINED, half - i * PIPELINED)
      client.send(`GET ${key}\r\n`.repeat(count))
      return (await client.replies(count)).map((reply) => reply.split('\r\n')[1]!)
    })
    const overHttp = Array.from({ length: times - half }, async () => {
      const response = await fetch(`${http}/api/v1/keys/${key}`)
      return ((await response.json()) as { value: string }).value
    })
    return (await Promise.all([...pipelines, Promise.all(overHttp)])).flat()
  }

  it('calls the origin once for 1,000 concurrent GETs of a cold key', async () => {
    const asked = coordinators.map((one, i) => ask('cold', one, Math.floor((CLIENTS + i) / 3)))
    await until('the origin is called', () => waiting.length > 0)
    await allWait(coordinators)
    waiting[0]!.end('value')
    const answers = (await Promise.all(asked)).flat()
    expect(answers).to.have.length(CLIENTS)
    expect(new Set(answers)).to.deep.equal(new Set(['value']))
    expect(calls).to.deep.equal(['/items/cold'])
  })

  it('calls it at most twice when the coordinator that loads is killed, and answers all others', async () => {
    const killed = coordinators.pop()!
    const lost = ask('other', killed, 10).catch(() => [])
    await until('the origin is called', () => waiting.length > 0)
    const asked = coordinators.map((one) => ask('other', one, CLIENTS / 2))
    await allWait(coordinators)
    await killed.stop()
    await until('another coordinator calls it', () => waiting.length > 1)
    waiting[1]!.end('value')
    const answers = (await Promise.all(asked)).flat()
    expect(answers).to.have.length(CLIENTS)
    expect(new Set(answers)).to.deep.equal(new Set(['value']))
    expect(calls).to.deep.equal(['/items/other', '/items/other'])
    await lost
  })
})
