/** A node that was taken out of REDIS_URLS, and is put back with its old data, as docs/OPERATING.md tells of it. */
import { expect } from 'chai'
import { type RedisServer, startRedisCluster } from '../../scripts/redis-server.ts'
import { RondoUnderTest, until } from '../support/rondo-under-test.ts'

const KEYS = 60

describe('a node that is put back with its old data', function () {
  this.timeout(150_000)
  let servers: RedisServer[]
  let under: RondoUnderTest | null = null
  before(async () => (servers = await startRedisCluster(4)))
  after(async () => {
    await under?.stop()
    await Promise.all(servers.map((server) => server.stop()))
  })

  const over = async (count: number) => {
    await under?.stop()
    under = await RondoUnderTest.start(servers.slice(0, count))
    await until('all nodes are clean', () =>
      under!.members.every(({ completeness, takesValues }) => completeness === 'clean' && takesValues),
    )
    return under
  }
  const round = async (one: RondoUnderTest) => {
    const { url } = one
    // As if the coordinator with the other nodes had been gone for half a minute.
    await Promise.all(servers.map((server) => one.client(server).del('__rondo:lease:ring')))
    await until('the round begins', async () => (await fetch(`${url}/repair`, { method: 'POST' })).ok)
    await until('the round is complete', async () => {
      const { state, lastRound } = (await (await fetch(`${url}/repair`)).json()) as {
        state: string
        lastRound: { result: string } | null
      }
      return state === 'idle' && lastRound?.result === 'complete'
    })
  }
  const values = async ({ get }: { get: (key: string) => Promise<{ result: string }> }) => {
    const found = await Promise.all(Array.from({ length: KEYS }, (_, i) => get(`key:${i}`)))
    return new Set(found.map(({ result }) => result))
  }

  it('is named in the log with what to do; after that no old value is left', async () => {
    const all = await over(4)
    for (let i = 0; i < KEYS; i++) expect((await all.put(`key:${i}`, 'old')).result).to.equal('ok')
    await round(all)

    const without = await over(3)
    for (let i = 0; i < KEYS; i++) expect((await without.put(`key:${i}`, 'new')).result).to.equal('ok')
    await round(without)

    const again = await over(4)
    const get = (key: string) => again.get(key)
    await again.event('node-older', ({ node }) => node === 'redis-4', 0)
    expect([...(await values({ get }))].sort(), 'what it brings back').to.deep.equal(['new', 'old'])
    expect(again.log.join('')).to.include('run FLUSHALL on it; in any case run POST /repair')
    expect(again.events.filter(({ event }) => event.kind === 'node-older')).to.have.length(1)

    const sinceMs = performance.now()
    await again.client(servers[3]!).flushall()
    await again.event('node-completeness', ({ node, to }) => node === 'redis-4' && to === 'clean', sinceMs)
    expect([...(await values({ get }))]).to.deep.equal(['new'])
  })
})
