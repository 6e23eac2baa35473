// Real Redis servers that evict keys: parts of large collections, and roots, are keys as any other. A collection is read
// whole, or is gone.
import { expect } from 'chai'
import { createClient } from 'redis'
import { startRedisCluster, type RedisServer } from '../../../scripts/redis-server.ts'
import { sizes } from '../../../src/commands/collections/large/sizes.ts'
import { leftovers } from '../../../src/repair/round/leftovers.ts'
import { withSizes } from '../../support/large.ts'
import { call } from '../../support/raw-http.ts'
import { startRondo, type RunningRondo } from '../../support/rondo.ts'

const FIELDS = 400
const PART = '__rondo:db9998:*'

describe('parts that nodes have evicted', function () {
  this.timeout(60_000)
  let servers: RedisServer[]
  let nodes: ReturnType<typeof createClient>[]
  let running: RunningRondo
  let client: ReturnType<typeof createClient>
  before(async () => {
    servers = await startRedisCluster(3)
    nodes = await Promise.all(
      servers.map(async ({ port }) => {
        const node = createClient({ url: `redis://127.0.0.1:${port}` })
        await node.connect()
        return node as ReturnType<typeof createClient>
      }),
    )
  })
  after(async () => {
    for (const node of nodes) node.destroy()
    await Promise.all(servers.map((server) => server.stop()))
  })
  afterEach(async () => {
    client.destroy()
    await running.stop()
    await Promise.all(
      nodes.map(async (node) => {
        await node.configSet({ maxmemory: '0', 'maxmemory-policy': 'noeviction' })
      }),
    )
  })

  async function start(level: string): Promise<void> {
    await Promise.all(nodes.map((node) => node.flushAll()))
    running = await startRondo({
      REDIS_URLS: servers.map(({ port }) => `127.0.0.1:${port}`).join(','),
      READ_CONSISTENCY: level,
      WRITE_CONSISTENCY: level,
      REPAIR_INTERVAL_SECONDS: '0',
    })
    client = createClient({ url: `redis://127.0.0.1:${running.rondo.respServer.port}` })
    await client.connect()
  }

  const fields = (of: string) =>
    Object.fromEntries(Array.from({ length: FIELDS }, (_, i) => [`field ${i}`, `${of} ${i}`.repeat(10)]))

  async function parts(): Promise<string[][]> {
    return Promise.all(nodes.map((node) => node.keys(PART)))
  }

  /** All copies of what is stored are there. */
  async function untilCopied(): Promise<string[]> {
    for (;;) {
      const [one, ...others] = await parts()
      const names = JSON.stringify(one!.sort())
      if (one!.length > 0 && others.every((other) => JSON.stringify(other.sort()) === names)) return one!
    }
  }

  async function repaired(): Promise<void> {
    await call(running.ports.socket, 'POST', '/repair')
    while ((await call(running.ports.socket, 'GET', '/repair')).json().state !== 'idle');
  }

  for (const level of ['one', 'quorum']) {
    it(`are read from the replica that has them, at ${level}, and are there again`, async () => {
      await start(level)
      await client.hSet('hash', fields('a'))
      const names = await untilCopied()
      expect(names.length).to.be.above(2)
      // Each part is left on one replica, and on another one than the next.
      await Promise.all(nodes.map((node, n) => node.del(names.filter((_, i) => i % 3 !== n))))
      expect({ ...(await client.hGetAll('hash')) }).to.deep.equal(fields('a'))
      expect(await client.hGet('hash', 'field 7')).to.equal('a 7'.repeat(10))
      await repaired()
      expect((await untilCopied()).sort()).to.deep.equal(names.sort())
    })

    it(`make a collection that is gone, at ${level}, if no replica has them, and never a smaller one`, async () => {
      await start(level)
      await client.hSet('hash', fields('a'))
      await client.hSet('other', fields('b'))
      const names = (await untilCopied()).filter((name) => name.endsWith(':hash'))
      await Promise.all(nodes.map((node) => node.del(names[0]!)))
      const found = { ...(await client.hGetAll('hash')) }
      expect(Object.keys(found)).to.have.length(0)
      expect(await client.exists('hash')).to.equal(0)
      expect(await client.hLen('hash')).to.equal(0)
      expect({ ...(await client.hGetAll('other')) }).to.deep.equal(fields('b'))
      expect(running.logText()).to.include('parts of large collections were on no replica')
      // It can be made again.
      await client.hSet('hash', fields('c'))
      expect({ ...(await client.hGetAll('hash')) }).to.deep.equal(fields('c'))
    })
  }

  it('are not taken for lost as long as a replica cannot be asked', async () => {
    await start('one')
    await client.hSet('hash', fields('a'))
    const [name] = await untilCopied()
    await nodes[0]!.del(name!)
    await nodes[1]!.del(name!)
    await servers[2]!.pause()
    try {
      const reply = await client.hGetAll('hash').then(
        (found) => Object.keys(found).length,
        (error: Error) => error.message,
      )
      expect(reply).to.be.a('string')
      expect(await client.hLen('hash')).to.equal(FIELDS)
    } finally {
      servers[2]!.resume()
    }
  })

  it('of a collection whose root was evicted are removed by the next round', async () => {
    await start('quorum')
    leftovers.afterMs = -1
    try {
      await client.hSet('hash', fields('a'))
      await untilCopied()
      await Promise.all(nodes.map((node) => node.del('hash')))
      expect(await client.exists('hash')).to.equal(0)
      while ((await parts()).flat().length > 0) await repaired()
    } finally {
      leftovers.afterMs = 120_000
    }
  })

  for (const [level, policy] of [
    ['one', 'allkeys-lru'],
    ['quorum', 'volatile-lru'],
  ] as const) {
    it(`under maxmemory with ${policy}: each collection is whole or gone, at ${level}`, () =>
      withSizes({ ...sizes, largeFrom: 2048, partBytes: 1024 }, async () => {
        await start(level)
        await Promise.all(nodes.map((node) => node.configResetStat()))
        const used = Number(/used_memory:(\d+)/.exec(await nodes[0]!.info('memory'))![1])
        await Promise.all(
          nodes.map((node) =>
            node.configSet({ maxmemory: String(used + 3_000_000), 'maxmemory-policy': policy }),
          ),
        )
        const names = Array.from({ length: 70 }, (_, i) => `hash ${i}`)
        const long = (of: string) =>
          Object.fromEntries(Object.entries(fields(of)).map(([k, v]) => [k, v.repeat(2)]))
        // The marker of a node may be evicted as well: then it is filled first.
        const refused = (error: Error) => expect(error.message).to.match(/^(NOREPLICAS|UNKNOWN|TRYAGAIN) /)
        for (const name of names) await client.hSet(name, long(name)).catch(refused)
        const evicted = await Promise.all(nodes.map((node) => node.info('stats')))
        for (const stats of evicted) expect(Number(/evicted_keys:(\d+)/.exec(stats)![1])).to.be.above(0)
        let whole = 0
        for (const name of names.reverse()) {
          const found = await client.hGetAll(name).catch((error: Error) => void refused(error))
          if (!found || Object.keys(found).length === 0) continue
          whole++
          expect({ ...found }).to.deep.equal(long(name))
        }
        expect(whole).to.be.above(0)
      }))
  }
})
