// What coordinators log when nodes are restarted, added and removed as planned, and when nodes really lose data.
import { expect } from 'chai'
import { startRedisCluster, type RedisServer } from '../../scripts/redis-server.ts'
import { leaseKey } from '../../src/core/keys.ts'
import { SteadyLoad } from '../support/steady-load.ts'
import { RondoUnderTest, until } from '../support/rondo-under-test.ts'

const KEYS = 200

describe('planned restarts, growth and loss', function () {
  this.timeout(60_000)
  let servers: RedisServer[] = []
  let running: RondoUnderTest[] = []

  const start = async (on: readonly RedisServer[], env: Record<string, string> = {}) => {
    const under = await RondoUnderTest.start(on, env)
    running.push(under)
    return under
  }
  const stop = async (under: RondoUnderTest) => {
    running = running.filter((one) => one !== under)
    await under.stop()
  }
  const told = (under: RondoUnderTest, kind: string) =>
    under.events.filter(({ event }) => event.kind === kind).map(({ event }) => event)
  const errors = (under: RondoUnderTest) =>
    under.log
      .map((line) => JSON.parse(line) as { level: number; msg: string })
      .filter(({ level }) => level >= 50)
      .map(({ msg }) => msg)
  const settled = (under: RondoUnderTest) =>
    until(
      'all are clean and have caught up',
      () => under.members.every(({ completeness, behind }) => completeness === 'clean' && !behind),
      30_000,
    )
  const fill = async (under: RondoUnderTest) => {
    for (let i = 0; i < KEYS; i++) expect((await under.put(`key:${i}`, `v${i}`)).result).to.equal('ok')
    await under.rondo.coordinator.drain(2000)
  }
  const allThere = async (under: RondoUnderTest) => {
    for (let i = 0; i < KEYS; i++) expect((await under.get(`key:${i}`)).result, `key:${i}`).to.equal(`v${i}`)
  }

  afterEach(async () => {
    await Promise.all(running.map((under) => under.stop()))
    await Promise.all(servers.map((server) => server.stop()))
    servers = []
    running = []
  })

  it('a restart of a node under load is no loss to any of three coordinators; one says who noticed it first', async () => {
    servers = await startRedisCluster(3, { args: ['--appendonly', 'yes'] })
    const all = [await start(servers), await start(servers), await start(servers)]
    await fill(all[0]!)
    const loads = all.map((under) => new SteadyLoad(under))
    await until('there is load', () => loads.every(({ done }) => done.length > 200))
    for (const server of [servers[0]!, servers[1]!]) {
      await server.restart()
      for (const under of all) await settled(under)
    }
    for (const load of loads) await load.stop()
    for (const under of all) {
      expect(told(under, 'marker-mismatch')).to.deep.equal([])
      expect(errors(under).filter((msg) => !msg.startsWith('request'))).to.deep.equal([])
      expect(under.log.filter((line) => /wiped|swapped/.test(line))).to.deep.equal([])
    }
  })

  it('a restart of a node that keeps nothing on disk is an error, once, also where no request meets it', async () => {
    servers = await startRedisCluster(3)
    const all = [await start(servers), await start(servers)]
    await fill(all[0]!)
    await servers[0]!.restart()
    await until('it was noticed', () => all.some((under) => told(under, 'marker-mismatch').length > 0))
    for (const under of all) await settled(under)
    for (const under of all) {
      const lines = errors(under).filter((msg) => msg.includes('wiped'))
      expect(lines.length).to.be.at.most(1)
      for (const line of lines) expect(line).to.match(/^node redis-1 does not hold its marker/)
    }
  })

  it('a node that is flushed is an error, once, for the coordinator that notices it first', async () => {
    servers = await startRedisCluster(3)
    const [one, other] = [await start(servers), await start(servers)]
    await fill(one)
    await one.client(servers[0]!).flushall()
    const load = new SteadyLoad(one)
    await one.event('marker-mismatch', ({ node }) => node === 'redis-1', 0)
    await settled(one)
    await settled(other)
    await load.stop()
    expect(errors(one).filter((msg) => msg.includes('wiped'))).to.have.length(1)
  })

  it('nodes that are added are told once, without an error, and are no possible loss of data', async () => {
    servers = await startRedisCluster(5)
    const first = await start(servers.slice(0, 3))
    await fill(first)
    await stop(first)
    const grown = await start(servers)
    await settled(grown)
    expect(told(grown, 'data-loss-possible')).to.deep.equal([])
    expect(errors(grown)).to.deep.equal([])
    const lines = grown.log.filter((line) => line.includes('redis-4, redis-5'))
    expect(lines).to.have.length(1)
    await allThere(grown)
    await stop(grown)
    const again = await start(servers)
    await settled(again)
    expect(told(again, 'members-differ')).to.deep.equal([])
    expect(errors(again)).to.deep.equal([])
    await allThere(again)
  })

  it('nodes that lose their data are a possible loss, also where others were added', async () => {
    servers = await startRedisCluster(4)
    const first = await start(servers.slice(0, 3))
    await fill(first)
    await stop(first)
    const grown = await start(servers)
    await settled(grown)
    for (const server of servers.slice(0, 2)) await grown.client(server).flushall()
    await grown.event('data-loss-possible', () => true, 0)
  })

  it('an added node that loses its data later, with another one, is a possible loss', async () => {
    servers = await startRedisCluster(4)
    const first = await start(servers.slice(0, 3))
    await fill(first)
    await stop(first)
    const grown = await start(servers)
    await settled(grown)
    await fill(grown)
    for (const server of servers.slice(2)) await grown.client(server).flushall()
    await grown.event('data-loss-possible', () => true, 0)
  })

  it('a removed node is a warning that says what to do, and the next repair brings the copies back', async () => {
    servers = await startRedisCluster(4)
    const first = await start(servers)
    await fill(first)
    await stop(first)
    const shrunk = await start(servers.slice(0, 3))
    await settled(shrunk)
    expect(errors(shrunk)).to.deep.equal([])
    const [event] = told(shrunk, 'members-differ')
    expect(event).to.deep.include({ missing: ['redis-4'], added: [] })
    expect(shrunk.log.find((line) => line.includes('redis-4'))).to.include('POST /repair')
    // As half a minute later: no round starts before, in case a coordinator still runs on the former nodes.
    for (const server of servers) await shrunk.client(server).del(leaseKey('ring'))
    await until('a repair starts', async () => {
      return (await fetch(`${shrunk.url}/repair`, { method: 'POST' })).status === 202
    })
    await shrunk.event('anti-entropy', ({ result }) => result === 'complete', 0)
    for (let i = 0; i < KEYS; i++) {
      for (const server of servers.slice(0, 3)) {
        expect(await shrunk.client(server).exists(`key:${i}`)).to.equal(1)
      }
    }
  })
})
