// A change of members that is asked for during another one, over HTTP, with real servers and two coordinators.
import { expect } from 'chai'
import { startRedisCluster, type RedisServer } from '../../scripts/redis-server.ts'
import { MembersUnderTest, type MemberShown } from '../support/members-under-test.ts'
import { until } from '../support/rondo-under-test.ts'

describe('changes of members that wait', function () {
  this.timeout(90_000)
  let servers: RedisServer[]
  let under: MembersUnderTest

  beforeEach(async () => {
    servers = await startRedisCluster(6)
    under = new MembersUnderTest()
    const nodes = Object.fromEntries(servers.slice(0, 4).map((server, i) => [`redis-${i + 1}`, server]))
    for (let i = 0; i < 2; i++) await under.started(nodes)
    await until('all are in use', async () =>
      [...(await under.members()).values()].every(({ completeness }) => completeness === 'clean'),
    )
    await under.call('POST', '/rebalance/throttle', { keysPerSecond: 200 })
    const redis = await under.client('quorum')
    for (let i = 0; i < 500; i++) await redis.set(`key:${i}`, String(i))
  })
  afterEach(async () => {
    await under.stop()
    await Promise.all(servers.map((server) => server.stop()))
  })

  const join = (i: number) => ({ url: servers[i]!.url, id: `redis-${i + 1}` })
  const ids = async (at = under.coordinators[0]!) => [...(await under.members(at)).keys()]

  it('begin when the first has ended, though the coordinator that was asked is gone by then', async () => {
    const [first, second] = under.coordinators
    const begun = await under.call('POST', '/members/join', join(4), second)
    expect(begun.json).to.deep.equal({ epoch: 2, phase: 'both', waitFor: 4 })
    const joins = await under.call('POST', '/members/join', join(5), first)
    expect(joins.status, JSON.stringify(joins.json)).to.equal(202)
    const { queued } = joins.json
    expect(joins.json).to.deep.equal({ epoch: 2, phase: 'both', queued, place: 1, beginsAfter: 4 })
    const leaves = await under.call('POST', '/members/redis-1/leave', {}, first)
    expect(leaves.json).to.deep.include({ place: 2, beginsAfter: 4 })
    const refused = await under.call('POST', '/members/redis-2/leave?queue=no', {}, first)
    expect([refused.status, refused.json.code]).to.deep.equal([409, 'CONFLICT'])
    for (const path of ['/rebalance', '/cluster', '/members']) {
      const { queue } = (await under.call('GET', path, undefined, first)).json as { queue: { id: string }[] }
      expect(
        queue.map(({ id }) => id),
        path,
      ).to.deep.equal([queued, leaves.json.queued])
    }
    await first!.stop()
    under.coordinators.shift()
    await under.call('POST', '/rebalance/throttle', { keysPerSecond: 0 })
    await until(
      'both have ended',
      async () => {
        const { epoch, phase, members, queue } = (await under.call('GET', '/cluster')).json
        const isClean = (members as MemberShown[]).every(({ completeness }) => completeness === 'clean')
        return epoch === 7 && phase === 'stable' && isClean && (queue as unknown[]).length === 0
      },
      40_000,
    )
    expect(await ids()).to.deep.equal([2, 3, 4, 5, 6].map((i) => `redis-${i}`))
    const redis = await under.client('quorum')
    for (let i = 0; i < 500; i++) expect(await redis.get(`key:${i}`)).to.equal(String(i))
  })

  it('are dropped when the node that was to join is in use by then, and the report says so', async () => {
    await under.call('POST', '/members/join', join(4))
    const { queued } = (await under.call('POST', '/members/join', join(5))).json
    const leaves = await under.call('POST', '/members/redis-1/leave', {})
    expect(leaves.status).to.equal(202)
    await under.direct(servers[5]!).set('somebody', 'else')
    await under.call('POST', '/rebalance/throttle', { keysPerSecond: 0 })
    await until('the other one has begun and ended', async () => !(await ids()).includes('redis-1'), 40_000)
    expect(await ids()).to.deep.equal([2, 3, 4, 5].map((i) => `redis-${i}`))
    const { dropped } = (await under.call('GET', '/rebalance')).json as { dropped: Record<string, string>[] }
    expect(dropped).to.have.length(1)
    expect(dropped[0]).to.deep.include({ id: queued, what: `${String(queued)} (join ["redis-6"])` })
    expect(dropped[0]!.why).to.match(/^Node redis-6 at .* holds 1 keys/)
    expect(under.coordinators.map((one) => one.logText()).join('')).to.match(
      /the change of members \w+ .*, which had waited for its turn, was dropped: Node redis-6/,
    )
  })

  it('are taken back', async () => {
    await under.call('POST', '/members/join', join(4))
    const { queued } = (await under.call('POST', '/members/redis-1/leave', {})).json
    await under.call('POST', '/members/redis-2/leave', {})
    const one = await under.call('DELETE', `/topology/changes?id=${String(queued)}`)
    expect([one.status, (one.json.queue as unknown[]).length]).to.deep.equal([202, 1])
    const again = await under.call('DELETE', `/topology/changes?id=${String(queued)}`)
    expect([again.status, again.json.code]).to.deep.equal([409, 'CONFLICT'])
    const all = await under.call('DELETE', '/topology/changes')
    expect([all.status, all.json.queue]).to.deep.equal([202, []])
  })
})
