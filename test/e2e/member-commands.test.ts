// RONDO over the Redis protocol: the same changes of the members as over HTTP, and for whom.
import { expect } from 'chai'
import type { Redis } from 'ioredis'
import { startRedisCluster, type RedisServer } from '../../scripts/redis-server.ts'
import { MembersUnderTest } from '../support/members-under-test.ts'
import { RawResp } from '../support/raw-resp.ts'
import { until } from '../support/rondo-under-test.ts'

const DATA = 'data-token-0123456789abcdef'
const ADMIN = 'admin-token-0123456789abcdef'

describe('changes of members over the Redis protocol', function () {
  this.timeout(90_000)
  let servers: RedisServer[]
  let under: MembersUnderTest
  let redis: Redis

  beforeEach(async () => {
    servers = await startRedisCluster(6)
    under = new MembersUnderTest()
    const nodes = servers.slice(0, 4).map((server, i) => [`redis-${i + 1}`, server] as const)
    const running = await under.started(Object.fromEntries(nodes))
    redis = under.direct(running.rondo.respServer)
    await until('all are in use', async () =>
      [...(await under.members()).values()].every(({ completeness }) => completeness === 'clean'),
    )
  })
  afterEach(async () => {
    await under.stop()
    await Promise.all(servers.map((server) => server.stop()))
  })

  const rondo = (...args: (string | number)[]) => redis.call('RONDO', ...args)
  const fields = (reply: unknown) => {
    const flat = reply as unknown[]
    return Object.fromEntries(flat.flatMap((name, i) => (i % 2 === 0 ? [[String(name), flat[i + 1]]] : [])))
  }
  const members = async () => {
    const all = fields(await rondo('MEMBERS'))
    return new Map(Object.entries(all).map(([id, one]) => [id, fields(one)]))
  }
  /** It has begun: waits until it has ended. */
  async function done(reply: unknown): Promise<void> {
    const { wait_for: waitFor } = fields(reply)
    await until(
      `epoch ${String(waitFor)}`,
      async () => {
        const { epoch, phase } = fields(await rondo('CLUSTER'))
        const isClean = [...(await members()).values()].every(({ completeness }) => completeness === 'clean')
        return Number(epoch) >= Number(waitFor) && phase === 'stable' && isClean
      },
      30_000,
    )
  }
  const refusalOf = (...args: string[]) =>
    rondo(...args).then(
      (reply) => `done: ${JSON.stringify(reply)}`,
      (error: Error) => error.message,
    )

  it('a node joins, is weighed, moves, is replaced, leaves, and another is forgotten', async () => {
    for (let i = 0; i < 100; i++) await redis.set(`key:${i}`, String(i))
    const [, , , , fifth, sixth] = servers
    await under.direct(fifth!).set('somebody', 'else')
    const join = ['JOIN', fifth!.url, 'ID', 'redis-5', 'WEIGHT', '1.5', 'ZONE', 'a']
    expect(await refusalOf(...join)).to.match(/^ERR Node redis-5 at .* holds 1 keys/)
    await done(await rondo(...join, 'ADOPT', 'DROP'))
    expect((await members()).get('redis-5')).to.deep.include({
      ...{ url: fifth!.url, weight: '1.5', zone: 'a', state: 'member', incarnation: 2 },
      ...{ health: 'alive', is_registered: 'yes' },
    })
    await done(await rondo('SET', 'redis-5', 'WEIGHT', '1', 'ZONE', ''))
    expect((await members()).get('redis-5')).to.deep.include({ weight: 1, zone: null })
    const url = `redis://localhost:${fifth!.port}`
    await done(await rondo('MOVE', 'redis-5', url))
    expect((await members()).get('redis-5')).to.deep.include({ url })
    await done(await rondo('REPLACE', 'redis-5', sixth!.url))
    expect((await members()).get('redis-5')).to.deep.include({ url: sixth!.url })
    await done(await rondo('LEAVE', 'redis-4'))
    await servers[2]!.kill()
    await until('it is down', async () => (await members()).get('redis-3')!.health === 'down', 20_000)
    await done(await rondo('FORGET', 'redis-3'))
    expect([...(await members()).keys()]).to.deep.equal(['redis-1', 'redis-2', 'redis-5'])
    for (let i = 0; i < 100; i++) expect(await redis.get(`key:${i}`)).to.equal(String(i))
  })

  it('several things change at once, and a change is undone', async () => {
    const fifth = ['JOIN', servers[4]!.url, 'ID', 'redis-5']
    await done(await rondo('CHANGE', ...fifth, 'LEAVE', 'redis-1', 'REPLICAS', '2'))
    expect(fields(await rondo('CLUSTER'))).to.deep.include({ replicas: 2 })
    expect([...(await members()).keys()]).to.deep.equal(['redis-2', 'redis-3', 'redis-4', 'redis-5'])
    const { epoch } = fields(await rondo('LEAVE', 'redis-5'))
    expect(await refusalOf('LEAVE', 'redis-4', 'QUEUE', 'NO')).to.match(
      new RegExp(
        `^ERR Another change is under way \\(epoch ${Number(epoch)}, both\\): wait until RONDO CLUSTER`,
      ),
    )
    expect(fields(await rondo('REBALANCE'))).to.deep.include({ state: 'running', phase: 'both' })
    expect(fields(await rondo('REBALANCE', 'THROTTLE', '5000'))).to.deep.include({ keys_per_second: 5000 })
    expect(fields(await rondo('REBALANCE', 'PAUSE')).state).to.equal('paused')
    expect(fields(await rondo('REBALANCE', 'RESUME')).state).to.equal('running')
    const { queued, place } = fields(await rondo('LEAVE', 'redis-4'))
    expect(place).to.equal(1)
    expect(await refusalOf('LEAVE', 'redis-4')).to.match(
      /^ERR redis-4 is to leave .*WITHDRAW ALL for what waits/,
    )
    const [waiting] = fields(await rondo('CLUSTER')).queue as unknown[]
    expect(fields(waiting)).to.deep.include({ id: queued, leave: ['redis-4'] })
    const { queue } = fields(await rondo('REBALANCE', 'WITHDRAW', String(queued)))
    expect(queue).to.deep.equal([])
    expect(fields(await rondo('REBALANCE', 'CANCEL'))).to.include.keys('state', 'phase', 'epoch')
    await until('it is undone', async () => fields(await rondo('REBALANCE')).state === 'idle')
    expect([...(await members()).keys()]).to.include('redis-5')
  })

  it('what cannot be is refused with what to do, in words of the Redis protocol', async () => {
    const refusals: [string[], RegExp][] = [
      [['JOIN'], /^ERR wrong number of arguments for 'rondo\|join' command/],
      [['JOIN', 'redis://169.254.169.254'], /^ERR .*metadata/],
      [['JOIN', 'redis://127.0.0.1:1'], /^NOREPLICAS .*cannot be used/],
      [['JOIN', 'redis://127.0.0.1:1', 'WEIGHT', '0'], /^ERR A weight is/],
      [['JOIN', 'redis://127.0.0.1:1', 'WEIGHT'], /^ERR syntax error/],
      [['JOIN', 'redis://127.0.0.1:1', 'ADOPT', 'KEEP'], /^ERR .*cannot be kept/],
      [['JOIN', 'redis://127.0.0.1:1', 'NOW'], /^ERR syntax error: 'NOW'/],
      [['LEAVE', 'nobody'], /^ERR There is no member nobody; RONDO MEMBERS lists them/],
      [['FORGET', 'redis-1', 'FORCE', 'YES'], /^ERR The only force is data-loss/],
      [['REPLACE', 'redis-1', servers[0]!.url], /^ERR redis-1 is a member already/],
      [['MOVE', 'redis-1', servers[5]!.url], /^ERR .*replace it \(RONDO REPLACE redis-1\)/],
      [['SET', 'redis-1', 'ZONE', '-'], /^ERR A zone is/],
      [['SET', 'redis-1', 'WEIGHT', '1'], /^ERR It would change nothing/],
      [['CHANGE', 'REPLICAS', 'x'], /^ERR wrong number of arguments|not an integer/],
      [['CHANGE', 'LEAVE', 'redis-1', 'REPLICAS', 'x'], /^ERR value is not an integer/],
      [['REBALANCE', 'CANCEL'], /^ERR No change is under way/],
      [['REBALANCE', 'PAUSE'], /^ERR No change of the members is under way/],
      [['REBALANCE', 'FASTER'], /^ERR syntax error/],
      [['REBALANCE', 'THROTTLE'], /^ERR syntax error/],
      [['REBALANCE', 'WITHDRAW'], /^ERR syntax error/],
      [['REBALANCE', 'WITHDRAW', 'x'], /^ERR No change x waits/],
      [['LEAVE', 'redis-1', 'QUEUE', 'LATER'], /^ERR Queue is yes, or no/],
      [['REBALANCE', 'THROTTLE', '-1'], /^ERR .*(whole number|integer)/],
    ]
    for (const [args, why] of refusals) expect(await refusalOf(...args), args.join(' ')).to.match(why)
    expect(fields(await rondo('CLUSTER')).epoch).to.equal(1)
  })

  it('the keys are opened by DATA_TOKEN alone, changes by ADMIN_TOKEN alone', async () => {
    const nodes = Object.fromEntries(servers.slice(0, 4).map((server, i) => [`redis-${i + 1}`, server]))
    const { rondo: guarded } = await under.started(nodes, { DATA_TOKEN: DATA, ADMIN_TOKEN: ADMIN })
    const client = await RawResp.open(guarded.respServer.port)
    /** `done`, or the first word of the error. */
    const answerOf = async (...args: string[]) => {
      const reply = await client.ask(...args)
      return reply.startsWith('-') ? reply.slice(1).split(' ')[0] : 'done'
    }
    const change = ['RONDO', 'SET', 'redis-1', 'WEIGHT', '1']
    expect(await answerOf(...change)).to.equal('NOAUTH')
    expect(await answerOf('RONDO', 'MEMBERS')).to.equal('NOAUTH')

    expect(await answerOf('AUTH', DATA)).to.equal('done')
    expect(await client.ask('ACL', 'WHOAMI')).to.include('default')
    expect(await answerOf('GET', 'k')).to.equal('done')
    for (const shown of ['MEMBERS', 'CLUSTER', 'REBALANCE', 'STATUS'])
      expect(await answerOf('RONDO', shown)).to.equal('done')
    for (const name of ['JOIN x', 'LEAVE x', 'FORGET x', 'REPLACE x y', 'MOVE x y', 'SET x WEIGHT 1']) {
      expect(await answerOf('RONDO', ...name.split(' ')), name).to.equal('NOPERM')
    }
    for (const name of ['CHANGE LEAVE x', 'REBALANCE CANCEL']) {
      expect(await answerOf('RONDO', ...name.split(' ')), name).to.equal('NOPERM')
    }

    expect(await answerOf('AUTH', 'admin', DATA)).to.equal('WRONGPASS')
    expect(await answerOf('AUTH', 'admin', ADMIN)).to.equal('done')
    expect(await client.ask('ACL', 'WHOAMI')).to.include('admin')
    expect(await client.ask('CLIENT', 'INFO')).to.include(' user=admin ')
    expect(await answerOf(...change), 'it would change nothing').to.equal('ERR')
    expect(await answerOf('RONDO', 'MEMBERS')).to.equal('done')
    for (const args of [
      ['GET', 'k'],
      ['SET', 'k', 'v'],
      ['KEYS', '*'],
      ['FLUSHALL'],
      ['MULTI'],
      ['SCAN', '0'],
    ]) {
      expect(await answerOf(...args), args[0]).to.equal('NOPERM')
    }
    for (const args of [['CONSISTENCY'], ['EXPLAIN', 'k'], ['DBSIZE']]) {
      expect(await answerOf('RONDO', ...args), args[0]).to.equal('NOPERM')
    }
    expect(await answerOf('RESET')).to.equal('done')
    expect(await answerOf(...change)).to.equal('NOAUTH')
    client.close()
  })
})
