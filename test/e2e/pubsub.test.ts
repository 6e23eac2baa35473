// Publish and subscribe through several coordinators over real servers: counts, nodes that die, members that come and go.
import { setTimeout as delay } from 'node:timers/promises'
import { expect } from 'chai'
import { Redis } from 'ioredis'
import { createClient } from 'redis'
import { startRedisCluster, type RedisServer } from '../../scripts/redis-server.ts'
import { RondoUnderTest, until } from '../support/rondo-under-test.ts'

describe('publish and subscribe through several coordinators', function () {
  this.timeout(30_000)
  let servers: RedisServer[] = []
  let coordinators: RondoUnderTest[] = []
  let clients: Redis[] = []

  async function start(nodes: number, env: Record<string, string> = {}): Promise<void> {
    servers = await startRedisCluster(nodes)
    coordinators = [await RondoUnderTest.start(servers, env), await RondoUnderTest.start(servers, env)]
  }
  afterEach(async () => {
    for (const client of clients) client.disconnect()
    clients = []
    await Promise.all(coordinators.map((coordinator) => coordinator.stop()))
    await Promise.all(servers.map((server) => server.stop()))
  })
  const connect = (at: number) => {
    const client = new Redis(coordinators[at]!.respPort, '127.0.0.1', { lazyConnect: false })
    clients.push(client)
    return client
  }

  it('counts the subscribers of all, and lists their channels', async () => {
    await start(3)
    const subscribers = [connect(0), connect(1), connect(1)]
    const publisher = connect(0)
    const heard: string[] = []
    for (const [i, one] of subscribers.entries()) {
      one.on('message', (channel, message) => heard.push(`${i} ${channel} ${message}`))
      one.on('pmessage', (pattern, channel, message) => heard.push(`${i} ${pattern} ${channel} ${message}`))
      await one.subscribe('news', `own:${i}`)
    }
    await subscribers[2]!.psubscribe('n*', 'o*')
    await subscribers[1]!.psubscribe('n*')
    expect(await publisher.publish('news', 'hello')).to.equal(5)
    expect(await publisher.publish('own:1', 'hi')).to.equal(2)
    expect(await publisher.publish('nobody', 'x')).to.equal(2)
    expect(await publisher.publish('empty', 'x')).to.equal(0)
    await until('all have heard', () => heard.length === 9)
    expect(heard.filter((one) => one.includes('hello')).sort()).to.deep.equal([
      '0 news hello',
      '1 n* news hello',
      '1 news hello',
      '2 n* news hello',
      '2 news hello',
    ])
    expect((await publisher.pubsub('CHANNELS')).sort()).to.deep.equal(['news', 'own:0', 'own:1', 'own:2'])
    expect(await publisher.pubsub('NUMSUB', 'news', 'own:1', 'none')).to.deep.equal([
      ...['news', 3, 'own:1', 1, 'none', 0],
    ])
    expect(await publisher.pubsub('NUMPAT')).to.equal(2)
    await coordinators[1]!.stop()
    expect(await publisher.publish('news', 'again')).to.equal(1)
    coordinators.pop()
  })

  it('a killed node: messages go on without anything being done, none twice, none out of order', async () => {
    await start(4)
    const [near, far, publisher] = [connect(0), connect(1), connect(0)]
    const heard: Record<string, number[]> = { near: [], far: [] }
    near.on('message', (_channel, message) => heard.near!.push(Number(message)))
    far.on('message', (_channel, message) => heard.far!.push(Number(message)))
    await Promise.all([near.subscribe('c'), far.subscribe('c')])
    let next = 0
    const publish = async () => publisher.publish('c', String(next++))
    for (let i = 0; i < 50; i++) expect(await publish()).to.equal(2)

    const [first] = coordinators[0]!.serversOf('c')
    const atMs = performance.now()
    await first!.kill()
    let counted = 0
    let failed = 0
    while (counted < 50) {
      expect(performance.now() - atMs).to.be.below(5000)
      const count = await publish().catch(() => ((failed += 1), 0))
      counted = count === 2 ? counted + 1 : 0
    }
    if (process.env.RONDO_FIGURES === '1') {
      console.log(
        `      ${(performance.now() - atMs).toFixed(0)} ms until 50 were counted again; ${failed} failed`,
      )
    }
    expect(failed).to.equal(0)

    // The node comes back: nothing is lost on the way. When it takes the channel again: coordinator/channels.test.ts.
    await first!.restart()
    const fromNow = next
    for (let i = 0; i < 100; i++) {
      await publish()
      await delay(5)
    }
    await until(
      'the last has arrived',
      () => heard.far!.at(-1) === next - 1 && heard.near!.at(-1) === next - 1,
    )
    for (const numbers of Object.values(heard)) {
      expect(numbers).to.deep.equal([...new Set(numbers)].sort((a, b) => a - b))
      expect(numbers.filter((number) => number >= fromNow)).to.have.length(next - fromNow)
    }
    // Few if any: those that the node had got, and not passed on.
    expect(next - heard.far!.length).to.be.below(20)
  })

  it('members join and leave: no message is lost', async () => {
    await start(3)
    const extra = (await startRedisCluster(1))[0]!
    try {
      const [far, publisher] = [connect(1), connect(0)]
      const channels = Array.from({ length: 40 }, (_, i) => `c${i}`)
      const heard = new Map<string, number[]>(channels.map((channel) => [channel, []]))
      far.on('message', (channel, message) => heard.get(channel)!.push(Number(message)))
      await far.subscribe(...channels)
      let round = 0
      const counts = new Set<number>()
      const publishAll = async () => {
        for (const count of await Promise.all(
          channels.map((channel) => publisher.publish(channel, String(round))),
        ))
          counts.add(count)
        round++
        await delay(10)
      }
      const call = async (method: string, path: string, body?: unknown) => {
        const response = await fetch(`${coordinators[0]!.url}${path}`, {
          method,
          headers: { 'Content-Type': 'application/json' },
          ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        })
        expect(response.status, await response.text()).to.be.within(200, 299)
      }
      const membersAre = (count: number) =>
        coordinators.every(({ rondo }) => {
          const { placement } = rondo.cluster
          return placement.members.length === count && !placement.isJoint
        })
      await publishAll()
      await call('POST', '/members/join', { id: 'extra', url: extra.url })
      while (!membersAre(4)) await publishAll()
      await call('POST', '/members/redis-1/leave')
      while (!membersAre(3)) await publishAll()
      for (let i = 0; i < 20; i++) await publishAll()
      const all = Array.from({ length: round }, (_, i) => i)
      await until('the last has arrived', () => channels.every((one) => heard.get(one)!.at(-1) === round - 1))
      for (const channel of channels) expect(heard.get(channel), channel).to.deep.equal(all)
      expect(counts).to.deep.equal(new Set([1]))
    } finally {
      for (const client of clients) client.disconnect()
      await Promise.all(coordinators.map((coordinator) => coordinator.stop()))
      coordinators = []
      await extra.stop()
    }
  })

  it('node-redis, in RESP2 and RESP3', async () => {
    await start(2)
    for (const RESP of [2, 3] as const) {
      const url = `redis://127.0.0.1:${coordinators[1]!.respPort}`
      const subscriber = createClient({ url, RESP })
      const publisher = createClient({ url: url.replace(/\d+$/, String(coordinators[0]!.respPort)), RESP })
      await Promise.all([subscriber.connect(), publisher.connect()])
      const heard: string[] = []
      await subscriber.subscribe('a', (message, channel) => void heard.push(`${channel} ${message}`))
      await subscriber.pSubscribe('b*', (message, channel) => void heard.push(`${channel} ${message}`))
      await subscriber.sSubscribe('s', (message, channel) => void heard.push(`${channel} ${message}`))
      expect(await publisher.publish('a', '1')).to.equal(1)
      expect(await publisher.publish('bb', '2')).to.equal(1)
      expect(await publisher.sPublish('s', '3')).to.equal(1)
      await until('all are heard', () => heard.length === 3)
      expect(heard.sort()).to.deep.equal(['a 1', 'bb 2', 's 3'])
      await subscriber.unsubscribe()
      expect(await publisher.publish('a', '4')).to.equal(0)
      await Promise.all([subscriber.close(), publisher.close()])
    }
  })
})
