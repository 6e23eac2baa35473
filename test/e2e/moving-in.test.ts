/** Moving in from an existing Redis, by the steps and the shell line of docs/OPERATING.md, on real servers. */
import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { promisify } from 'node:util'
import { expect } from 'chai'
import { type RedisServer, startRedis } from '../../scripts/redis-server.ts'
import { RawResp } from '../support/raw-resp.ts'
import { call } from '../support/raw-http.ts'
import { type RunningRondo, startRondo } from '../support/rondo.ts'

const KEYS = 400
/** In database 1. */
const MORE_KEYS = 40
const run = promisify(execFile)

describe('moving in from an existing Redis', () => {
  let servers: RedisServer[]
  let running: RunningRondo | null = null
  before(async () => (servers = await Promise.all(Array.from({ length: 4 }, () => startRedis()))))
  after(async () => {
    await running?.stop()
    await Promise.all(servers.map((server) => server.stop()))
  })

  const over = async (count: number) => {
    await running?.stop()
    const urls = servers
      .slice(0, count)
      .map(({ port }, i) => `${i === 0 ? 'old' : `new${i}`}=127.0.0.1:${port}`)
    running = await startRondo({ REDIS_URLS: urls.join(',') })
    return running
  }
  const foundInDatabase1 = async (port: number) => {
    const client = await RawResp.open(port)
    await client.ask('SELECT', '1')
    let values = 0
    for (let i = 0; i < MORE_KEYS; i++) {
      const isThere = (await client.ask('GET', `more:${i}`)) === '$3\r\none\r\n'
      if (isThere && Number((await client.ask('TTL', `more:${i}`)).slice(1)) > 900) values++
    }
    client.close()
    return values
  }
  const operating = readFileSync(new URL('../../docs/OPERATING.md', import.meta.url), 'utf8')
  /** Runs the lines of OPERATING.md that begin like this, on other servers. */
  const runLines = (start: RegExp, ...instead: readonly (readonly [server: string, other: string])[]) => {
    const lines = RegExp(`\`\`\`sh\\n\\s*(${start.source}[^\`]*)\\n\\s*\`\`\``).exec(operating)![1]!
    const here = instead.reduce((text, [server, other]) => text.replaceAll(server, other), lines)
    return run('bash', ['-c', here])
  }
  const found = async (port: number) => {
    const client = await RawResp.open(port)
    let values = 0
    let lives = 0
    for (let i = 0; i < KEYS; i++) {
      if ((await client.ask('GET', `app:${i}`)) === `$${`value ${i}`.length}\r\nvalue ${i}\r\n`) values++
      if (Number((await client.ask('TTL', `app:${i}`)).slice(1)) > 900) lives++
    }
    client.close()
    return { values, lives }
  }
  const repair = async ({ ports }: RunningRondo) => {
    const before = (await call(ports.socket, 'GET', '/repair')).json() as {
      lastRound: { startedAt: string } | null
    }
    await call(ports.socket, 'POST', '/repair', { body: {} })
    for (;;) {
      const state = (await call(ports.socket, 'GET', '/repair')).json() as {
        state: string
        lastRound: { startedAt: string; result: string; misplaced: Record<string, number> } | null
      }
      const { lastRound } = state
      if (state.state === 'idle' && lastRound && lastRound.startedAt !== before.lastRound?.startedAt)
        return lastRound
      await new Promise((next) => setTimeout(next, 100))
    }
  }
  const statusOf = async ({ ports }: RunningRondo, id: string) => {
    const nodes = (await call(ports.socket, 'GET', '/status')).json() as Record<
      string,
      { id: string; misplacedKeys: number | null }
    >
    return Object.values(nodes).find((node) => node.id === id)!
  }

  it('an existing Redis beside new nodes is named, with how many keys are not found', async () => {
    const old = await RawResp.open(servers[0]!.port)
    for (let i = 0; i < KEYS; i++) {
      await old.ask('SET', `app:${i}`, `value ${i}`, ...(i % 2 === 0 ? ['EX', '1000'] : []))
    }
    old.close()
    const rondo = await over(4)
    expect(rondo.logText()).to.match(/node old holds 40\d keys that Rondo did not write/)
    expect((await statusOf(rondo, 'old')).misplacedKeys).to.equal(null)
    const { homes } = {
      homes: (key: string) => rondo.rondo.cluster.placement.replicaSetOf(Buffer.from(key)).homes,
    }
    const sets = Array.from({ length: KEYS }, (_, i) => homes(`app:${i}`))
    const elsewhere = sets.filter(([first]) => first!.id !== 'old').length
    expect(elsewhere).to.be.above(sets.filter((set) => !set.some(({ id }) => id === 'old')).length)
    expect((await found(rondo.rondo.respServer.port)).values).to.equal(KEYS - elsewhere)
    const round = await repair(rondo)
    expect(round.misplaced).to.deep.equal({ old: elsewhere, new1: 0, new2: 0, new3: 0 })
    expect((await statusOf(rondo, 'old')).misplacedKeys).to.equal(elsewhere)
    expect(rondo.logText()).to.include(
      `node old holds ${elsewhere} keys that Rondo did not write and looks for on`,
    )
    await Promise.all(servers.map((server) => wipeInternal(server)))
  }).timeout(30_000)

  it('Rondo over the old one alone, each value written once, then the new nodes: nothing is missing', async () => {
    const old = await RawResp.open(servers[0]!.port)
    await old.ask('SELECT', '1')
    for (let i = 0; i < MORE_KEYS; i++) await old.ask('SET', `more:${i}`, 'one', 'EX', '1000')
    old.close()
    const alone = await over(1)
    const { port } = alone.rondo.respServer
    expect(await foundInDatabase1(port), 'before it is copied').to.equal(0)
    await runLines(/redis-cli -h 10\.0\.0\.1 -n 1 --scan /, ['-h 10.0.0.1', `-p ${servers[0]!.port}`])
    expect(await foundInDatabase1(port)).to.equal(MORE_KEYS)
    expect(await found(port)).to.deep.equal({ values: KEYS, lives: KEYS / 2 })
    for (const options of ['', ' -n 1']) {
      await runLines(/redis-cli -p 6390 --scan /, ['-p 6390', `-p ${port}${options}`])
    }
    expect(await found(alone.rondo.respServer.port)).to.deep.equal({ values: KEYS, lives: KEYS / 2 })

    const grown = await over(4)
    // New nodes do not take part until they have received what belongs to them.
    let round = await repair(grown)
    while (round.result !== 'complete') round = await repair(grown)
    expect(round.misplaced).to.deep.equal({ old: 0, new1: 0, new2: 0, new3: 0 })
    expect(await found(grown.rondo.respServer.port)).to.deep.equal({ values: KEYS, lives: KEYS / 2 })
    expect(await foundInDatabase1(grown.rondo.respServer.port)).to.equal(MORE_KEYS)
    const onOld = await RawResp.open(servers[0]!.port)
    const held = Number((await onOld.ask('DBSIZE')).slice(1))
    onOld.close()
    expect(held, 'what does not belong there is gone').to.be.below(KEYS)
  }).timeout(60_000)

  it('values of every type, with their TTL, from a Redis that is no node', async () => {
    await running?.stop()
    running = await startRondo({ REDIS_URLS: '' })
    const { port } = running.rondo.respServer
    const [from, to] = await Promise.all([RawResp.open(servers[0]!.port), RawResp.open(port)])
    await from.ask('FLUSHALL')
    for (const command of OF_EVERY_TYPE) await from.ask(...command)
    await to.ask('SET', 'taken', 'newer')
    const lines = /redis-cli -h 10\.0\.0\.1 --scan /
    const refused = runLines(lines, ['-h 10.0.0.1', `-p ${servers[0]!.port}`], ['-p 6390', `-p ${port}`])
    expect((await refused).stdout.trim()).to.equal('BUSYKEY Target key name already exists.')
    for (const command of READ_ALL) expect(await to.ask(...command)).to.equal(await from.ask(...command))
    expect(Number((await to.ask('TTL', 'a hash')).slice(1))).to.be.within(900, 1000)
    expect(await to.ask('GET', 'taken')).to.equal('$5\r\nnewer\r\n')
    from.close()
    to.close()
  }).timeout(30_000)
})

const OF_EVERY_TYPE = [
  ['SET', 'taken', 'older'],
  ['SET', 'string', 'a "value"\r\n'],
  ['HSET', 'a hash', 'field', '\0 \\', 'other', ''],
  ['EXPIRE', 'a hash', '1000'],
  ['SADD', 'set', '1', '2', '3'],
  ['ZADD', 'sorted', '1.5', 'b', '-inf', 'a'],
  ['RPUSH', 'list', 'x', '', 'y'],
  ['XADD', 'stream', '1-1', 'field', 'value'],
  ['XGROUP', 'CREATE', 'stream', 'group', '0'],
]
const READ_ALL = [
  ['GET', 'string'],
  ['HGETALL', 'a hash'],
  ['SMEMBERS', 'set'],
  ['ZRANGE', 'sorted', '0', '-1', 'WITHSCORES'],
  ['LRANGE', 'list', '0', '-1'],
  ['XRANGE', 'stream', '-', '+'],
  ['XINFO', 'GROUPS', 'stream'],
]

/** As if Rondo had never been there. */
async function wipeInternal({ port }: RedisServer): Promise<void> {
  const client = await RawResp.open(port)
  for (const key of ['node', 'topology', 'synced_at', 'anti-entropy', 'lease:ring', 'lease:anti-entropy']) {
    await client.ask('DEL', `__rondo:${key}`)
  }
  client.close()
}
