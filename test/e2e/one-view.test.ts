// All coordinators have the same members, whatever their REDIS_URLS say: with real servers and processes.
import { expect } from 'chai'
import { Redis } from 'ioredis'
import { startRedisCluster, type RedisServer } from '../../scripts/redis-server.ts'
import { FAIR, FaultProxy, WEATHER, type Weather } from '../support/fault-proxy.ts'
import { RunningCoordinator, type Answer } from '../support/coordinators.ts'

const error = ({ json }: Answer) => String(json.error)

describe('one view of the cluster, with real servers', function () {
  this.timeout(60_000)
  let servers: RedisServer[]
  const running: RunningCoordinator[] = []

  beforeEach(async () => {
    servers = await startRedisCluster(7)
  })
  afterEach(async () => {
    await Promise.all(running.splice(0).map((one) => one.stop()))
    await Promise.all(servers.map((server) => server.stop()))
  })

  const idOf = (i: number) => `redis-${i + 1}`
  const place = (i: number) => ({ id: idOf(i), url: servers[i]!.url })
  /** @param nodes which of the servers its REDIS_URLS name */
  async function over(nodes: readonly number[], env?: Record<string, string>): Promise<RunningCoordinator> {
    const one = await RunningCoordinator.over(nodes.map(place), env)
    running.push(one)
    return one
  }
  const started = async (nodes: readonly number[], env?: Record<string, string>) =>
    (await over(nodes, env)).ready()
  async function stop(one: RunningCoordinator): Promise<void> {
    running.splice(running.indexOf(one), 1)
    await one.stop()
  }

  it('a cluster whose REDIS_URLS were changed before is taken over as it is: nodes had been added and removed', async () => {
    const early = await started([0, 1, 2, 3])
    const values = Array.from({ length: 200 }, (_, i) => [`key:${i}`, String(i)] as const)
    await early.with(async (redis) => {
      for (const [key, value] of values) await redis.set(key, value)
    })
    await stop(early)
    // One node more, then one less: each was restarted with, and brought up to date.
    const grown = await started([0, 1, 2, 3, 4, 5])
    await grown.allClean()
    // In order: of one that is only gone, nobody knows for a while whether it still has these nodes.
    grown.program.signal('SIGTERM')
    await grown.program.ended
    await stop(grown)
    const now = await started([0, 1, 2, 4, 5])
    await now.call('POST', '/repair')
    await now.until(async () => (await now.call('GET', '/repair')).json.state !== 'running')
    const other = await started([0, 1, 2, 4, 5])
    const joined = await now.call('POST', '/members/join', place(6))
    expect(joined, JSON.stringify(joined.json)).to.deep.include({ status: 202 })
    for (const one of [now, other]) {
      await one.ended(joined)
      expect(await one.members()).to.deep.equal([0, 1, 2, 4, 5, 6].map(idOf))
    }
    await other.with(async (redis) => {
      for (const [key, value] of values) expect(await redis.get(key), key).to.equal(value)
    })
    // And the next change begins with what that one has written down.
    const left = await other.call('POST', `/members/${idOf(1)}/leave`, {})
    expect(left, JSON.stringify(left.json)).to.deep.include({ status: 202 })
    await now.ended(left)
    expect(await now.members()).to.deep.equal([0, 2, 4, 5, 6].map(idOf))
  })

  it('coordinators with different REDIS_URLS are named, and begin no change until they agree', async () => {
    const one = await started([0, 1, 2])
    const wide = await started([0, 1, 2, 3])
    await wide.allClean()
    const refused = await one.call('POST', '/members/join', place(4))
    expect(refused.status).to.equal(409)
    const { port } = new URL(wide.http)
    expect(error(refused)).to.match(new RegExp(`oordinator \\S+:${port} has other nodes`))
    expect(error(refused)).to.include(
      'there redis-1, redis-2, redis-3, redis-4; here redis-1, redis-2, redis-3',
    )
    expect((await wide.call('POST', '/members/join', place(4))).status).to.equal(409)

    one.program.signal('SIGTERM')
    await one.program.ended
    await stop(one)
    const begun = await wide.call('POST', '/members/join', place(4))
    expect(begun, JSON.stringify(begun.json)).to.deep.include({ status: 202 })
    await wide.ended(begun)
    expect(await wide.members()).to.deep.equal([0, 1, 2, 3, 4].map(idOf))
    const { coordinators } = await wide.cluster()
    expect(coordinators).to.have.length(1)
    expect((coordinators as object[])[0]).to.deep.include({ epoch: 4, state: 'alive', isSelf: true })
  })

  /** Milliseconds from the answer until all coordinators have its epoch, and the same checksum in it. */
  async function agreedAfter(answer: Answer): Promise<number> {
    const since = performance.now()
    await Promise.all(
      running.map((one) =>
        one.until(async () => Number((await one.cluster()).epoch) >= Number(answer.json.epoch)),
      ),
    )
    return performance.now() - since
  }
  async function expectAgreement(): Promise<void> {
    const look = () => Promise.all(running.map((one) => one.cluster()))
    // The last step may have been decided a moment ago.
    await running[0]!.until(async () => new Set((await look()).map(({ epoch }) => epoch)).size === 1)
    const views = await look()
    const [first] = views
    for (const view of views) {
      const { epoch, checksum, phase, members } = view
      expect({ epoch, checksum, phase }).to.deep.equal({
        epoch: first!.epoch,
        checksum: first!.checksum,
        phase: 'stable',
      })
      expect((members as { id: string }[]).map(({ id }) => id)).to.deep.equal(await running[0]!.members())
    }
  }

  it('three coordinators agree at once by announcement, though they ping every ten seconds', async () => {
    const env = { PING_INTERVAL_SECONDS: '10' }
    const one = await started([0, 1, 2], env)
    await Promise.all([started([0, 1, 2], env), started([0, 1, 2], env)])
    const took: number[] = []
    for (const [how, i] of [
      ['join', 3],
      ['join', 4],
      ['leave', 3],
    ] as const) {
      const answer = await (how === 'join'
        ? one.call('POST', '/members/join', place(i))
        : one.call('POST', `/members/${idOf(i)}/leave`, {}))
      expect(answer, JSON.stringify(answer.json)).to.deep.include({ status: 202 })
      took.push(await agreedAfter(answer))
      for (const each of running) await each.ended(answer)
    }
    for (const ms of took) expect(ms, took.join(', ')).to.be.below(1000)
    await expectAgreement()
  })

  it('and within two ping intervals where the nodes forbid announcements', async () => {
    for (const { port } of servers) {
      const redis = new Redis({ port })
      await redis.call('ACL', 'SETUSER', 'default', 'resetchannels')
      redis.disconnect()
    }
    const env = { PING_INTERVAL_SECONDS: '2' }
    const one = await started([0, 1, 2], env)
    await Promise.all([started([0, 1, 2], env), started([0, 1, 2], env)])
    const answer = await one.call('POST', '/members/join', place(3))
    expect(answer, JSON.stringify(answer.json)).to.deep.include({ status: 202 })
    expect(await agreedAfter(answer)).to.be.below(4000)
    for (const each of running) await each.ended(answer)
    await one.program.logged('does not announce changes of members')
    await expectAgreement()
  })

  const written = (one: RunningCoordinator) =>
    one.with(async (redis) => {
      for (let i = 0; i < 50; i++) await redis.set(`key:${i}`, String(i))
    })
  const expectRead = (one: RunningCoordinator) =>
    one.with(async (redis) => {
      for (let i = 0; i < 50; i++) expect(await redis.get(`key:${i}`)).to.equal(String(i))
    })

  it('a coordinator that is given one node finds the others: before the first change, and from a node that has left', async () => {
    const one = await started([0, 1, 2, 3])
    await written(one)
    const early = await started([2])
    expect(await early.members()).to.deep.equal([0, 1, 2, 3].map(idOf))
    await expectRead(early)

    const left = await early.call('POST', `/members/${idOf(1)}/leave`, {})
    expect(left, JSON.stringify(left.json)).to.deep.include({ status: 202 })
    for (const each of running) await each.ended(left)
    const late = await started([1])
    await late.until(async () => (await late.members()).join() === [0, 2, 3].map(idOf).join())
    await expectRead(late)
    await expectAgreement()
  })

  it('one node alone does not do before the first change where REDIS_URLS were changed since the cluster was founded', async () => {
    await stop(await started([0, 1, 2]))
    const one = await started([0, 1, 2, 3])
    await one.allClean()
    const part = await over([0])
    await part.until(async () => {
      const { json } = await part.call('GET', '/status')
      const [{ error: why }] = Object.values(json) as [{ error: string | null }]
      return why?.includes('REDIS_URLS has to name all nodes') === true
    })
    expect((await part.call('GET', '/readyz')).status).to.equal(503)
  })

  it('nodes that it finds are used with the password that all of REDIS_URLS share, or it says which is missing', async () => {
    const one = await started([0, 1, 2])
    const second = new Redis({ port: servers[1]!.port })
    await second.call('CONFIG', 'SET', 'requirepass', 'secret-of-two')
    second.disconnect()
    await stop(one)
    const part = await over([0])
    await part.until(async () => {
      const { json } = await part.call('GET', '/status')
      const [node] = (Object.values(json) as { id: string; error: string | null }[]).filter(
        ({ id }) => id === idOf(1),
      )
      return node?.error?.includes('REDIS_URLS does not name it') === true
    })
    expect(part.program.stderr).to.not.include('secret-of-two')
  })

  it('a coordinator that keeps to its REDIS_URLS refuses changes, and after one of another says why it serves nothing', async () => {
    const one = await started([0, 1, 2])
    const fixed = await started([0, 1, 2], { TOPOLOGY: 'static' })
    const refused = await fixed.call('POST', '/members/join', place(3))
    expect(refused.status).to.equal(409)
    expect(error(refused)).to.include('TOPOLOGY=static')
    await fixed.with((redis) => redis.set('key', 'value'))

    await one.ended(await one.call('POST', '/members/join', place(3)))
    await fixed.program.logged('does not follow (TOPOLOGY=static)')
    await fixed.until(async () => error(await fixed.call('GET', '/readyz')).includes('TOPOLOGY=static'))
    const { json } = await fixed.call('GET', '/status')
    for (const node of Object.values(json) as { completeness: string; error: string }[]) {
      expect(node.completeness).to.equal('refused')
      expect(node.error).to.include('TOPOLOGY=static')
    }
    await fixed.with(async (redis) => {
      const written = await redis.set('key', 'other').catch((failed: Error) => failed.message)
      expect(written).to.match(/^NOREPLICAS/)
    })
    await one.with(async (redis) => expect(await redis.get('key')).to.equal('value'))
  })

  it('a coordinator that is told its cluster founds none where all nodes were wiped', async () => {
    const one = await started([0, 1, 2])
    const clusterId = String((await one.cluster()).cluster)
    await stop(one)
    await Promise.all([0, 1, 2].map((i) => servers[i]!.restart({ wipe: true })))
    const waiting = await over([0, 1, 2], { CLUSTER_ID: clusterId })
    await waiting.program.logged('nothing is founded')
    expect((await waiting.call('GET', '/readyz')).status).to.equal(503)
    expect((await waiting.cluster()).cluster).to.equal(null)
    const free = await started([0, 1, 2])
    expect((await free.cluster()).cluster).to.not.equal(clusterId)
  })

  describe('three coordinators', () => {
    const QUORUM = { READ_CONSISTENCY: 'quorum', WRITE_CONSISTENCY: 'quorum' }
    const proxies: FaultProxy[] = []
    afterEach(() => {
      for (const proxy of proxies.splice(0)) proxy.close()
    })

    /** Its way to these nodes can be cut. */
    async function behindProxies(nodes: readonly number[]): Promise<RunningCoordinator> {
      const places = await Promise.all(
        nodes.map(async (i) => {
          const proxy = await FaultProxy.start(servers[i]!.port)
          proxies.push(proxy)
          return { id: idOf(i), url: `redis://127.0.0.1:${proxy.port}` }
        }),
      )
      const one = await RunningCoordinator.over(places, QUORUM)
      running.push(one)
      return one.ready()
    }
    const weather = (how: Weather) => Promise.all(proxies.map((proxy) => proxy.set(how)))
    /** A whole change by the first one, from which the last one is left out. */
    async function changed(how: 'join' | 'leave', i: number): Promise<void> {
      const [one, two] = running
      const answer = await (how === 'join'
        ? one!.call('POST', '/members/join', place(i))
        : one!.call('POST', `/members/${idOf(i)}/leave`, {}))
      expect(answer, JSON.stringify(answer.json)).to.deep.include({ status: 202 })
      await Promise.all([one!.ended(answer), two!.ended(answer)])
    }
    async function setAll(value: string): Promise<void> {
      await running[0]!.with(async (redis) => {
        for (let i = 0; i < 100; i++) await redis.set(`key:${i}`, value)
      })
    }
    async function expectAll(one: RunningCoordinator, value: string): Promise<void> {
      await one.with(async (redis) => {
        for (let i = 0; i < 100; i++) expect(await redis.get(`key:${i}`), `key:${i}`).to.equal(value)
      })
    }

    it('begin one of three changes that are asked for at once, let the others wait, and agree', async () => {
      for (let i = 0; i < 3; i++) await started([0, 1, 2], QUORUM)
      const answers = await Promise.all(
        running.map((one, i) => one.call('POST', '/members/join', place(3 + i))),
      )
      expect(
        answers.map(({ status }) => status),
        JSON.stringify(answers),
      ).to.deep.equal([202, 202, 202])
      const begun = answers.filter(({ json }) => json.queued === undefined)
      expect(begun, JSON.stringify(answers)).to.have.length(1)
      for (const one of running) {
        await one.until(async () => (await one.members()).length === 6)
        await one.ended(begun[0]!)
      }
      await expectAgreement()
    })

    it('agree again after a network cut, during which the one that was cut off acknowledged nothing', async () => {
      for (let i = 0; i < 2; i++) await started([0, 1, 2], QUORUM)
      const far = await behindProxies([0, 1, 2])
      await setAll('before')
      await weather(WEATHER.partition)
      await changed('join', 3)
      await changed('leave', 1)
      await setAll('after')
      const late = await far.with((redis) =>
        redis.set('cut off', 'lost').catch((failed: Error) => failed.message),
      )
      expect(late).to.match(/^(NOREPLICAS|UNKNOWN)/)

      const { epoch } = await running[0]!.cluster()
      const sinceMs = performance.now()
      await weather(FAIR)
      await far.until(async () => (await far.cluster()).epoch === epoch)
      // Two ping intervals of a second, and the longest wait until a node that is down is tried again.
      expect(performance.now() - sinceMs).to.be.below(3000)
      await expectAgreement()
      for (const one of running) await expectAll(one, 'after')
    })

    it('one that was stopped for several epochs wakes up with traffic: nothing of it counts wrongly', async () => {
      for (let i = 0; i < 3; i++) await started([0, 1, 2], QUORUM)
      const paused = running[2]!
      await setAll('before')
      const redis = new Redis({ port: paused.resp, maxRetriesPerRequest: 0 })
      await redis.ping()
      paused.program.signal('SIGSTOP')
      const sent = Array.from({ length: 200 }, (_, i) => {
        return redis.set(`late:${i}`, String(i)).catch((failed: Error) => failed.message)
      })
      await changed('join', 3)
      await changed('join', 4)
      await changed('leave', 0)
      await setAll('after')

      paused.program.signal('SIGCONT')
      await expectAll(paused, 'after')
      const outcomes = await Promise.all(sent)
      redis.disconnect()
      for (const outcome of outcomes) expect(outcome).to.match(/^(OK$|UNKNOWN|NOREPLICAS)/)
      await paused.until(async () => (await paused.cluster()).epoch === (await running[0]!.cluster()).epoch)
      await expectAgreement()
      await running[0]!.with(async (other) => {
        for (const [i, outcome] of outcomes.entries()) {
          if (outcome === 'OK') expect(await other.get(`late:${i}`), `late:${i}`).to.equal(String(i))
        }
      })
    })
  })
})
