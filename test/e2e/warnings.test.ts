// What the log, /status and /readyz say of nodes that are set up so that data can be lost, or that nothing can be written.
import { expect } from 'chai'
import { startRedis, type RedisServer } from '../../scripts/redis-server.ts'
import { RawResp } from '../support/raw-resp.ts'
import { RondoUnderTest, until } from '../support/rondo-under-test.ts'

describe('nodes that are not set up well', function () {
  this.timeout(20_000)
  let servers: RedisServer[] = []
  let under: RondoUnderTest | null = null
  const start = async (...args: string[][]) => {
    servers = await Promise.all(args.map((each) => startRedis({ args: each })))
    under = await RondoUnderTest.start(servers)
    return under
  }
  const lines = () => under!.log.map((line) => JSON.parse(line) as { level: number; msg: string })
  afterEach(async () => {
    await under?.stop()
    under = null
    await Promise.all(servers.map((server) => server.stop()))
  })

  it('evict keys: each node is named with what its policy means, once', async () => {
    const memory = ['--maxmemory', '50mb', '--maxmemory-policy']
    const rondo = await start(
      [...memory, 'allkeys-lru'],
      [...memory, 'volatile-ttl'],
      [...memory, 'noeviction'],
      ['--maxmemory', '0', '--maxmemory-policy', 'allkeys-lfu'],
    )
    const probes = new Set<unknown>()
    await until('some probes', () => probes.add(rondo.members[0]!.report).size > 3)
    const found = lines().filter(({ msg }) => msg.includes('maxmemory-policy'))
    expect(found.map(({ level, msg }) => [level, /node (\S+)/.exec(msg)![1]]).sort()).to.deep.equal([
      [30, 'redis-2'],
      [40, 'redis-1'],
    ])
    expect(found.find(({ level }) => level === 40)!.msg).to.include('counts as wiped')
  })

  it('forbid scripts everywhere: /readyz and /status say that no write works, and why', async () => {
    const rondo = await start([], [], [])
    for (const server of servers) await rondo.client(server).call('ACL', 'SETUSER', 'default', '-@scripting')
    await until('it is noticed', () => rondo.members.every(({ unwritable }) => unwritable !== null))
    const ready = await fetch(`${rondo.url}/readyz`)
    expect(ready.status).to.equal(503)
    const { error } = (await ready.json()) as { error: string }
    expect(error).to.equal('No node accepts writes (no-permission); /status says why.')
    expect(await rondo.status(servers[0]!)).to.include({ unwritable: 'no-permission' })
    const page = await (await fetch(`${rondo.url}/`)).text()
    expect(page).to.include("'no-permission': 'not allowed")
  })

  it('are down: the reasons are sentences', async () => {
    const rondo = await start([], [])
    await servers[0]!.kill()
    await rondo.event('node-state', ({ to }) => to === 'down', 0)
    for (const { msg } of lines().filter(({ msg }) => msg.startsWith('node redis-1'))) {
      expect(msg).not.to.match(/connect ECONN|read ECONN|enableOfflineQueue|Error:/)
    }
    expect((await rondo.status(servers[0]!)).error).to.equal(
      'nothing accepts connections at its address (ECONNREFUSED)',
    )
  })

  it('lose their marker again and again: their keys are not taken for those of another program', async () => {
    const rondo = await start([], [], [])
    const writer = await RawResp.open(rondo.respPort)
    for (let i = 0; i < 100; i++) expect(await writer.ask('SET', `key:${i}`, 'v')).to.equal('+OK\r\n')
    writer.close()
    const node = rondo.client(servers[0]!)
    const claims = () =>
      rondo.events.flatMap(({ event }) =>
        event.kind === 'node-had-keys' ? [`${event.node}: ${event.keys}`] : [],
      )
    const loseMarker = async () => {
      const sinceMs = performance.now()
      await node.del('__rondo:node')
      await rondo.put('key:0', 'v') // notices it
      await rondo.event('node-completeness', ({ node, to }) => node === 'redis-1' && to === 'clean', sinceMs)
      return claims()
    }
    expect(await loseMarker()).to.deep.equal([])
    for (let i = 0; i < 40; i++) await node.set(`foreign:${i}`, 'v')
    expect(await loseMarker()).to.deep.equal(['redis-1: 40'])
    expect(await loseMarker(), 'again').to.deep.equal(['redis-1: 40'])
  })
})
