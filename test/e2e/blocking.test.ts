// Commands that wait for an element, through several coordinators over real servers.
import { setTimeout as delay } from 'node:timers/promises'
import { expect } from 'chai'
import { Redis } from 'ioredis'
import { startRedisCluster, type RedisServer } from '../../scripts/redis-server.ts'
import { RawResp } from '../support/raw-resp.ts'
import { RondoUnderTest, until } from '../support/rondo-under-test.ts'

describe('commands that wait for an element, through several coordinators', function () {
  this.timeout(30_000)
  let servers: RedisServer[] = []
  let coordinators: RondoUnderTest[] = []
  let clients: Redis[] = []

  async function start(nodes: number, env: Record<string, string> = {}): Promise<void> {
    servers = await startRedisCluster(nodes)
    coordinators = [await RondoUnderTest.start(servers, env), await RondoUnderTest.start(servers, env)]
    const knowAll = () => coordinators.every(({ rondo }) => rondo.cluster.coordinators.length === 2)
    await until('the coordinators know of each other', knowAll)
  }
  afterEach(async () => {
    for (const client of clients) client.disconnect()
    clients = []
    await Promise.all(coordinators.map((coordinator) => coordinator.stop()))
    await Promise.all(servers.map((server) => server.stop()))
  })
  const connect = (at: number) => {
    const client = new Redis(coordinators[at]!.respPort, '127.0.0.1')
    clients.push(client)
    return client
  }
  const waiters = (at: number) => coordinators[at]!.rondo.coordinator.waiters
  const areBlocked = (at: number, count: number) =>
    until(`${count} wait at ${at}`, () => waiters(at).blocked === count)
  /** Nobody looks by itself any more: what comes was told. */
  const stopLooking = (at: number) => {
    Object.assign(waiters(at), { lookAtSome: () => undefined, nextLook: () => ({}) })
  }

  it('wakes those that wait at another one by a message, each element once, and leaves nothing behind', async () => {
    await start(3)
    const pusher = connect(1)
    await pusher.lpush('other', 'x') // it asks who waits
    const taken: string[] = []
    const workers = Array.from({ length: 4 }, () => connect(0))
    stopLooking(0)
    const working = workers.map(async (worker) => {
      for (;;) {
        const found = await worker.brpop('{jobs}a', 'b', 'jobs', 0)
        if (found![1] === 'end') return
        taken.push(found![1])
      }
    })
    await areBlocked(0, 4)
    for (let i = 0; i < 60; i++) {
      await pusher.lpush(['{jobs}a', 'b', 'jobs'][i % 3]!, `${i}`)
      if (i % 10 === 0) await areBlocked(0, 4)
    }
    await until('all are taken', () => taken.length === 60)
    expect(new Set(taken).size).to.equal(60)
    await pusher.lpush('jobs', 'end', 'end', 'end', 'end')
    await Promise.all(working)
    expect(await pusher.exists('{jobs}a', 'b', 'jobs')).to.equal(0)
  })

  it('wakes at both, first come, first served at each, at quorum too', async () => {
    await start(3, { WRITE_CONSISTENCY: 'quorum', READ_CONSISTENCY: 'quorum' })
    const order: string[] = []
    for (const name of ['first', 'second', 'third']) {
      void connect(0)
        .blpop('q', 0)
        .then((found) => order.push(`${name} ${found![1]}`))
      await until('it waits', () => waiters(0).blocked === { first: 1, second: 2, third: 3 }[name])
    }
    const elsewhere = connect(1).blpop('q', 0)
    await areBlocked(1, 1)
    stopLooking(0)
    stopLooking(1)
    const pusher = connect(1)
    await pusher.rpush('q', '1', '2', '3', '4')
    const [, other] = (await elsewhere)!
    await until('all have got one', () => order.length === 3)
    const rest = ['1', '2', '3', '4'].filter((element) => element !== other)
    expect(order).to.deep.equal([`first ${rest[0]}`, `second ${rest[1]}`, `third ${rest[2]}`])
  })

  it('goes on waiting while the nodes are away, and when a coordinator stops ends with an error', async () => {
    await start(1)
    const waiting = connect(0).blpop('q', 0)
    const raw = await RawResp.open(coordinators[0]!.respPort)
    raw.send('BLPOP other 0\r\n')
    await areBlocked(0, 2)
    await servers[0]!.kill()
    await delay(1500)
    await servers[0]!.restart({ wipe: false })
    const pusher = connect(1)
    await until('it can be pushed again', () =>
      pusher.rpush('q', 'x').then(
        () => true,
        () => false,
      ),
    )
    expect(await waiting).to.deep.equal(['q', 'x'])
    await coordinators[0]!.stop()
    expect(await raw.reply()).to.equal(
      '-UNBLOCKED this coordinator is shutting down: wait at another one\r\n',
    )
  })
})
