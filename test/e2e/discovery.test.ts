// Servers that a DNS name leads to join by themselves: with real servers, two coordinators, and a name that the test sets.
import { expect } from 'chai'
import { startRedis, startRedisCluster, type RedisServer } from '../../scripts/redis-server.ts'
import { MembersUnderTest } from '../support/members-under-test.ts'
import { until } from '../support/rondo-under-test.ts'

describe('servers that a DNS name leads to', function () {
  this.timeout(90_000)
  const servers: RedisServer[] = []
  const under = new MembersUnderTest()

  afterEach(async () => {
    await under.stop()
    await Promise.all(servers.splice(0).map((server) => server.stop()))
  })

  it('join by themselves, once, and hold their keys; an address where none may be is told of', async () => {
    servers.push(...(await startRedisCluster(3)))
    const spare = await startRedis()
    servers.push(spare)
    let leadsTo: string[] = []
    const lookup = (host: string) => Promise.resolve(host === 'redis.cache' ? leadsTo : [])
    const nodes = Object.fromEntries(servers.slice(0, 3).map((server, i) => [`redis-${i + 1}`, server]))
    const env = { DISCOVERY_URL: `redis://redis.cache:${spare.port}`, DISCOVERY_DELAY_SECONDS: '1' }
    for (let i = 0; i < 2; i++) await under.started(nodes, env, { lookup })
    await until('all are in use', async () =>
      [...(await under.members()).values()].every(({ completeness }) => completeness === 'clean'),
    )
    const redis = await under.client('quorum')
    for (let i = 0; i < 100; i++) await redis.set(`key:${i}`, String(i))
    leadsTo = ['127.0.0.1', '169.254.169.254', '::1']
    const id = `127.0.0.1:${spare.port}`
    await until(
      'it has joined, by both coordinators',
      async () => {
        const all = await Promise.all(under.coordinators.map((at) => under.members(at)))
        const { epoch, phase } = (await under.call('GET', '/cluster')).json
        const isClean = all.every((members) => members.get(id)?.completeness === 'clean')
        return isClean && epoch === 4 && phase === 'stable'
      },
      40_000,
    )
    expect(await under.direct(spare).dbsize()).to.be.greaterThan(10)
    for (let i = 0; i < 100; i++) expect(await redis.get(`key:${i}`)).to.equal(String(i))
    const logged = under.coordinators.flatMap((at) => at.logLines().map(({ msg }) => msg))
    const joins = `${id}, which redis.cache:${spare.port} leads to, joins the cluster`
    expect(logged.filter((line) => line === joins)).to.have.length(1)
    expect(logged.join('\n')).to.match(/169\.254\.169\.254:\d+, which .* has not joined.*metadata address/)
    expect(logged.join('\n'), 'the other address of the same server').to.not.include('[::1]')
  })
})
