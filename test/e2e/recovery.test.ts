// A majority of the members is gone for good: the others go on when the operator says so, and those stay out.
import { expect } from 'chai'
import { startRedisCluster, type RedisServer } from '../../scripts/redis-server.ts'
import { MembersUnderTest } from '../support/members-under-test.ts'
import { until } from '../support/rondo-under-test.ts'

const KEYS = Array.from({ length: 200 }, (_, i) => `key:${i}`)
const SURVIVORS = ['redis-4', 'redis-5']

describe('a majority of the members is gone for good', function () {
  this.timeout(120_000)
  let servers: RedisServer[]
  let under: MembersUnderTest
  const named = () => Object.fromEntries(servers.slice(0, 5).map((server, i) => [`redis-${i + 1}`, server]))

  beforeEach(async () => {
    servers = await startRedisCluster(6, { args: ['--appendonly', 'yes', '--appendfsync', 'always'] })
    under = new MembersUnderTest()
    for (let i = 0; i < 2; i++) await under.started(named())
    await until('all are in use', async () =>
      [...(await under.members()).values()].every(({ completeness }) => completeness === 'clean'),
    )
    const redis = await under.client('all')
    for (const key of KEYS) await redis.set(key, 'before')
  })
  afterEach(async () => {
    await under.stop()
    await Promise.all(servers.map((server) => server.stop()))
  })

  async function killMajority(): Promise<void> {
    for (const server of servers.slice(0, 3)) await server.kill()
    for (const at of under.coordinators) {
      await until('they are down', async () =>
        [...(await under.members(at)).values()].slice(0, 3).every(({ health }) => health === 'down'),
      )
    }
  }
  const recover = (survivors: readonly string[], query = '?force=data-loss') =>
    under.call('POST', `/topology/recover${query}`, { survivors })
  const ids = async (at = under.coordinators[0]!) => [...(await under.members(at)).keys()]

  it('goes on with those that are named, and keeps out those that come back', async () => {
    const early = await recover(SURVIVORS)
    expect([early.status, early.json.error]).to.satisfy(
      ([status, why]: [number, string]) =>
        status === 409 && why.startsWith('redis-1, redis-2, redis-3 can be used'),
    )
    await killMajority()
    const removed = await under.call('DELETE', '/members/redis-1?force=data-loss')
    expect([removed.status, removed.json.code]).to.deep.equal([503, 'UNAVAILABLE'])
    const all = { leave: ['redis-1', 'redis-2', 'redis-3'] }
    const refused = await under.call('POST', '/topology/changes?force=data-loss', all)
    expect(refused.json.error).to.include('POST /topology/recover')
    const unsaid = await recover(SURVIVORS, '')
    expect(unsaid.status).to.equal(409)
    expect(unsaid.json.error).to.match(/^Of \d+\.\d % of the keys .* force=data-loss\.$/)
    expect((await recover(['redis-4'])).json.error).to.match(/^redis-5 can be used/)
    expect((await recover(['redis-1', ...SURVIVORS])).json.error).to.match(
      /^All members that are named must be clean/,
    )

    await under.done(await recover(SURVIVORS))
    for (const at of under.coordinators) {
      expect(await ids(at)).to.deep.equal(SURVIVORS)
      expect((await under.call('GET', '/cluster', undefined, at)).json.generation).to.equal(2)
    }
    const redis = await under.client('quorum')
    let kept = 0
    for (const key of KEYS) if ((await redis.get(key)) === 'before') kept++
    // Two of five members hold a copy of nine in ten keys.
    expect(kept).to.be.above(KEYS.length / 2)
    for (const key of KEYS) await redis.set(key, 'after')

    for (const server of servers.slice(0, 3)) await server.restart()
    const late = await under.started(named())
    for (const at of [...under.coordinators, late]) {
      await until('the members are known', async () => String(await ids(at)) === String(SURVIVORS))
      for (const level of ['one', 'quorum'] as const) {
        const client = await under.client(level, at)
        for (const key of KEYS) expect(await client.get(key), `${key} at ${level}`).to.equal('after')
      }
    }
    const back = { url: servers[0]!.url, id: 'redis-1' }
    const old = await under.call('POST', '/members/join', back)
    expect([old.status, old.json.code]).to.deep.equal([409, 'CONFLICT'])
    expect(old.json.error).to.include('was node redis-1 of this cluster, and what it holds is old')
    await under.done(await under.call('POST', '/members/join?adopt=drop', back))
    for (const key of KEYS) expect(await redis.get(key), key).to.equal('after')
  })

  it('goes on also in the middle of a change, without those that joined', async () => {
    await under.call('POST', '/rebalance/throttle', { keysPerSecond: 10 })
    const begun = await under.call('POST', '/members/join', { url: servers[5]!.url, id: 'redis-6' })
    expect(begun.status, JSON.stringify(begun.json)).to.equal(202)
    await killMajority()
    await under.call('POST', '/rebalance/throttle', { keysPerSecond: 0 })
    await under.done(await recover(SURVIVORS))
    expect(await ids()).to.deep.equal(SURVIVORS)
    const redis = await under.client('quorum')
    for (const key of KEYS) await redis.set(key, 'after')
    for (const key of KEYS) expect(await redis.get(key), key).to.equal('after')
  })
})
