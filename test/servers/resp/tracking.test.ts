// CLIENT TRACKING on one coordinator: replies and messages next to a real Redis.
import { expect } from 'chai'
import type { RondoOptions } from '../../../src/app/rondo.ts'
import { CachingClient } from '../../support/caching-client.ts'
import { MapNode, MapServer } from '../../support/map-node.ts'
import { RawResp } from '../../support/raw-resp.ts'
import { realClock, realTimers } from '../../support/real-time.ts'
import type { ChangeEvents, Subscription } from '../../../src/nodes/node.ts'
import { type RedisServer, startRedis } from '../../../scripts/redis-server.ts'
import { type RunningRondo, startRondo } from '../../support/rondo.ts'

const READS_GIVEN = `"return redis.call('get',KEYS[1])"`

/**
 * Each runs on a connection of its own; `@` = on another one, `#` = on a third one. ID, OTHER and THIRD are the ids of these.
 * A key is told once for each change by Redis, and once or more by Rondo, so what is told is compared as a set.
 */
const LIKE_REDIS: readonly (readonly string[])[] = [
  [
    'CLIENT TRACKING',
    'CLIENT TRACKING maybe',
    'CLIENT TRACKING on x',
    'CLIENT TRACKING off',
    'CLIENT TRACKING ON OPTIN OPTOUT',
  ],
  [
    'CLIENT TRACKING on REDIRECT',
    'CLIENT TRACKING on REDIRECT x',
    'CLIENT TRACKING on REDIRECT 99999',
    'CLIENT TRACKING off x',
  ],
  [
    'CLIENT TRACKING on PREFIX',
    'CLIENT TRACKING on PREFIX a',
    'CLIENT TRACKING on BCAST PREFIX',
    'CLIENT TRACKING on BCAST OPTIN',
  ],
  [
    'CLIENT TRACKING on REDIRECT OTHER REDIRECT OTHER',
    'CLIENT TRACKING on REDIRECT 0 REDIRECT 0',
    'CLIENT GETREDIR',
    'CLIENT TRACKINGINFO',
  ],
  [
    'CLIENT TRACKING on',
    'CLIENT TRACKING on BCAST',
    'CLIENT TRACKING on OPTIN',
    'CLIENT TRACKING on OPTOUT',
    'CLIENT TRACKINGINFO',
  ],
  [
    'CLIENT TRACKING on BCAST PREFIX a PREFIX ab',
    'CLIENT TRACKING on BCAST PREFIX ab PREFIX b PREFIX a',
    'CLIENT TRACKINGINFO',
  ],
  [
    'CLIENT TRACKING on BCAST PREFIX a',
    'CLIENT TRACKING on BCAST PREFIX ab',
    'CLIENT TRACKING on BCAST PREFIX b',
    'CLIENT TRACKINGINFO',
    'CLIENT TRACKING on',
    'CLIENT TRACKING off',
    'CLIENT TRACKINGINFO',
  ],
  [
    'CLIENT CACHING',
    'CLIENT CACHING yes',
    'CLIENT TRACKING on',
    'CLIENT CACHING yes',
    'CLIENT CACHING no',
    'CLIENT CACHING x',
  ],
  [
    'CLIENT TRACKING on OPTIN',
    'CLIENT CACHING no',
    'CLIENT CACHING yes',
    'CLIENT TRACKINGINFO',
    'CLIENT GETREDIR',
    'GET k',
    'CLIENT TRACKINGINFO',
  ],
  [
    'CLIENT TRACKING on OPTOUT NOLOOP',
    'CLIENT CACHING yes',
    'CLIENT CACHING no',
    'CLIENT TRACKINGINFO',
    'PING',
    'CLIENT TRACKINGINFO',
  ],
  [
    'CLIENT TRACKINGINFO',
    'CLIENT TRACKINGINFO x',
    'CLIENT GETREDIR',
    'CLIENT GETREDIR x',
    'CLIENT TRACKING on REDIRECT OTHER',
    'CLIENT GETREDIR',
    'RESET',
    'CLIENT GETREDIR',
  ],
  // What is told.
  [
    'CLIENT TRACKING on',
    'GET a',
    'CLIENT TRACKING on OPTOUT',
    '@SET a 1',
    'GET b',
    'CLIENT TRACKING on NOLOOP',
    'SET b 1',
    'GET c',
    'CLIENT TRACKING on',
    'SET c 1',
    'CLIENT TRACKINGINFO',
  ],
  [
    'CLIENT TRACKING on BCAST PREFIX k',
    'CLIENT TRACKING on BCAST PREFIX a',
    'CLIENT TRACKING on BCAST PREFIX c PREFIX cc PREFIX b PREFIX ba',
    'CLIENT TRACKING on BCAST PREFIX b PREFIX kk',
    '@SET k 1',
    '@SET a 1',
    '@SET b 1',
  ],
  [
    'CLIENT TRACKING on',
    `EVAL "return redis.call('GET', KEYS[1])" 1 a`,
    '@SET a 1',
    `EVAL_RO "return redis.call('EXISTS', KEYS[1])" 1 b`,
    '@SET b 1',
    `MULTI; EVAL "return redis.call('STRLEN', KEYS[1])" 1 c; EXEC`,
    '@SET c 1',
  ],
  [
    'CLIENT TRACKING on OPTIN',
    `EVAL "return redis.call('GET', KEYS[1])" 1 a`,
    '@SET a 1',
    'CLIENT CACHING yes',
    `EVAL "return redis.call('GET', KEYS[1])" 1 b`,
    '@SET b 1',
  ],
  [
    'CLIENT TRACKING on',
    'GET k',
    '@SET k 1',
    'GET k',
    'SET k 2',
    'GET k',
    '@DEL k',
    '@SET k 3',
    'GET k',
    'CLIENT TRACKING off',
    '@SET k 4',
  ],
  [
    'CLIENT TRACKING on',
    'MGET a b c',
    '@MSET a 1 b 2',
    'STRLEN a',
    'EXISTS b',
    'TYPE c',
    'TTL a',
    'PTTL b',
    '@DEL a',
    '@EXPIRE b 100',
    '@APPEND c x',
  ],
  [
    'CLIENT TRACKING on',
    'HGETALL h',
    'SMEMBERS s',
    'LRANGE l 0 -1',
    'ZRANGE z 0 -1',
    '@HSET h a 1',
    '@SADD s a',
    '@RPUSH l a',
    '@ZADD z 1 a',
    'OBJECT ENCODING h',
    '@HDEL h a',
  ],
  ['CLIENT TRACKING on', 'SET k 1', 'INCR n', 'GETEX k', 'GETDEL k', '@SET k 2', '@SET n 5'],
  [
    'CLIENT TRACKING on OPTIN',
    'GET k',
    '@SET k 1',
    'CLIENT CACHING yes',
    'GET k',
    'GET k2',
    '@SET k 2',
    '@SET k2 1',
  ],
  [
    'CLIENT TRACKING on OPTOUT',
    'GET k',
    'CLIENT CACHING no',
    'GET k2',
    'GET k3',
    '@SET k 1',
    '@SET k2 1',
    '@SET k3 1',
  ],
  [
    'CLIENT TRACKING on OPTIN',
    'CLIENT CACHING yes',
    'MULTI; GET {t}k; GET {t}k2; EXEC',
    'GET k3',
    '@SET {t}k 1',
    '@SET {t}k2 1',
    '@SET k3 1',
  ],
  [
    'CLIENT TRACKING on',
    'MULTI; GET {t}k; SET {t}k2 1; EXEC',
    '@SET {t}k 1',
    '@SET {t}k2 1',
    '@FLUSHALL',
    'GET k',
    '@FLUSHDB',
  ],
  [
    'CLIENT TRACKING on NOLOOP',
    'GET k',
    'SET k 1',
    'GET k2',
    '@SET k2 1',
    'GET k3',
    'MULTI; SET {k3}x 1; SET k3 2; EXEC',
  ],
  ['CLIENT TRACKING on BCAST', '@SET k 1', 'GET k', '@SET k2 1', '@MSET a 1 b 2', '@FLUSHALL', 'SET own 1'],
  [
    'CLIENT TRACKING on BCAST PREFIX u: PREFIX p:',
    '@SET u:1 x',
    '@SET p:1 x',
    '@SET k 1',
    'SELECT 1',
    'SET u:2 x',
    '@FLUSHALL',
  ],
  ['SELECT 3', 'CLIENT TRACKING on', 'GET k', '@SELECT 3', '@SET k 1', '@SELECT 0'],
  ['CLIENT REPLY OFF', 'CLIENT TRACKING on', 'GET k', '@SET k 1', 'CLIENT REPLY ON'],
  ['CLIENT TRACKING on', 'GET k', 'RESET', '@SET k 1', 'PING'],
  // What scripts read.
  [
    'CLIENT TRACKING on',
    `EVAL ${READS_GIVEN} 1 k`,
    '@SET k 1',
    `EVAL_RO ${READS_GIVEN} 1 k`,
    '@SET k 2',
    `MULTI; EVAL ${READS_GIVEN} 1 k; EXEC`,
    '@DEL k',
  ],
  [
    'CLIENT TRACKING on OPTIN',
    `EVAL ${READS_GIVEN} 1 k`,
    '@SET k 1',
    'CLIENT CACHING yes',
    `EVAL ${READS_GIVEN} 1 k`,
    `EVAL ${READS_GIVEN} 1 k2`,
    '@SET k 2',
    '@SET k2 2',
    'CLIENT CACHING yes',
    `MULTI; EVAL ${READS_GIVEN} 1 {t}k; EVAL ${READS_GIVEN} 1 {t}k2; EXEC`,
    '@SET {t}k 1',
    '@SET {t}k2 1',
  ],
  // Redirected.
  [
    '#SUBSCRIBE __redis__:invalidate',
    'CLIENT TRACKING on REDIRECT THIRD',
    'GET k',
    '@SET k 1',
    'GET k',
    '@FLUSHALL',
    'GET a',
    '@SET a 1',
  ],
  ['CLIENT TRACKING on REDIRECT THIRD', 'GET k', '@SET k 1', '#SUBSCRIBE other', 'GET k', '@SET k 2'],
  ['#HELLO 3', 'CLIENT TRACKING on REDIRECT THIRD', 'GET k', '@SET k 1', '@FLUSHALL'],
  [
    '#SUBSCRIBE __redis__:invalidate',
    'CLIENT TRACKING on REDIRECT THIRD BCAST',
    '@SET k 1',
    '@PUBLISH __redis__:invalidate x',
    '@FLUSHALL',
  ],
  [
    'CLIENT TRACKING on REDIRECT THIRD',
    'GET k',
    '#QUIT',
    '@SET k 1',
    'CLIENT TRACKINGINFO',
    'GET k',
    '@SET k 2',
    'CLIENT GETREDIR',
  ],
]

const KEYS = [
  'k',
  'k2',
  'k3',
  'a',
  'b',
  'c',
  'h',
  's',
  'l',
  'z',
  'n',
  'own',
  'u:1',
  'p:1',
  '{t}k',
  '{t}k2',
  '{k3}x',
]
const isPush = (text: string) =>
  /^>2\r\n\$(10|21)\r\n(invalidate|tracking-redir-broken)/.test(text) || text.includes('__redis__:invalidate')

/** Of several keys one message each. Redis sends null in the protocol of the one that redirects. */
function eachOf(push: string): string[] {
  const [, head, rest] = /^([^]*(?:invalidate)\r\n)\*\d+\r\n([^]*)$/.exec(push) ?? []
  if (head === undefined) return [push.replace(/(_|\$-1)\r\n$/, 'null')]
  return (rest!.match(/\$\d+\r\n.*?\r\n/g) ?? []).map((key) => head + key)
}

/** Tells of changes when the test says so. */
class TellingNode extends MapNode {
  onGet = () => undefined as void
  private to: ChangeEvents | null = null

  changes(to: ChangeEvents): Subscription {
    this.to = to
    setImmediate(() => to.opened())
    return { close: () => (this.to = null) }
  }

  tell(key: string): void {
    this.to?.changed([Buffer.from(key)])
  }

  override get(...args: Parameters<MapNode['get']>): void {
    super.get(...args)
    if (args[0].toString() === 'k') this.onGet()
  }
}

describe('client tracking', function () {
  this.timeout(20_000)
  let redis: RedisServer
  let running: RunningRondo
  before(async () => (redis = await startRedis()))
  after(() => redis.stop())
  beforeEach(async () => (running = await startRondo({ ALLOW_DANGEROUS_COMMANDS: 'true' })))
  afterEach(() => running.stop())

  /** The replies, line by line, and what each connection was told, each once. */
  async function said(port: number, protocol: number, lines: readonly string[]) {
    const all = [await RawResp.open(port), await RawResp.open(port), await RawResp.open(port)]
    const [client, other, third] = all as [RawResp, RawResp, RawResp]
    // Unknown to Redis. Here all replicas have its writes when it is answered, and none tells of them later.
    await other.ask('RONDO', 'CONSISTENCY', 'all')
    await other.ask('DEL', ...KEYS)
    await other.ask('PING')
    await client.ask('HELLO', String(protocol))
    const ids: string[] = []
    for (const one of all) ids.push((await one.ask('CLIENT', 'ID')).slice(1).trim())
    const told = new Set<string>()
    const named = (text: string) =>
      text.replace(
        new RegExp(`\\b(${ids.join('|')})\\b`, 'g'),
        (id) => ['ID', 'OTHER', 'THIRD'][ids.indexOf(id)]!,
      )
    /** Up to the reply to an ECHO: whatever has to come is there by then. */
    const upTo = async (from: RawResp, mark: string) => {
      let text = ''
      from.send(`UNSUBSCRIBE ${mark}\r\n`)
      for (let reply = ''; !reply.includes(mark);) {
        reply = await from.reply().catch(() => mark)
        if (isPush(reply)) for (const one of eachOf(reply)) told.add(named(`${all.indexOf(from)} ${one}`))
        else if (!reply.includes(mark)) text += named(reply)
      }
      return text
    }
    const replies: string[] = []
    for (const [i, line] of lines.entries()) {
      const from = line.startsWith('@') ? other : line.startsWith('#') ? third : client
      const sent = line
        .replace(/^[@#]/, '')
        .replace(/OTHER|THIRD/g, (name) => ids[['ID', 'OTHER', 'THIRD'].indexOf(name)]!)
      from.send(`${sent.replaceAll('; ', '\r\n')}\r\n`)
      replies.push(`${line}: ${await upTo(from, `mark${i}`)}`)
      if (line.startsWith('#QUIT')) await third.rest()
    }
    await upTo(client, 'the-end')
    await upTo(third, 'the-end')
    for (const one of all) one.close()
    return { replies, told: [...told].sort() }
  }

  it('shows in CLIENT INFO and LIST who tracks, and where it is told', async () => {
    for (const port of [redis.port, running.rondo.respServer.port]) {
      const [client, other] = [await RawResp.open(port), await RawResp.open(port)]
      const id = (await other.ask('CLIENT', 'ID')).slice(1).trim()
      const shown = async () =>
        /flags=\S+|redir=\S+/g[Symbol.match](
          (await client.ask('CLIENT', 'INFO')).replace(`redir=${id}`, 'redir=ID'),
        )
      const fields = [await shown()]
      await client.ask('CLIENT', 'TRACKING', 'on')
      fields.push(await shown())
      await client.ask('CLIENT', 'TRACKING', 'off')
      await client.ask('CLIENT', 'TRACKING', 'on', 'BCAST', 'REDIRECT', id)
      fields.push(await shown())
      other.socket.end()
      await other.rest()
      while (!(await shown())?.[0].includes('R')) await client.ask('SET', 'k', 'v')
      fields.push(await shown())
      expect(fields.map((one) => one!.join())).to.deep.equal([
        'flags=N,redir=-1',
        'flags=t,redir=0',
        'flags=tB,redir=ID',
        'flags=tRB,redir=ID',
      ])
      client.close()
    }
  })

  it('tells of a write before its writer is answered, and of a change during a read behind its reply', async () => {
    const node = new TellingNode(new MapServer(realClock), {
      graceMs: 60_000,
      clock: realClock,
      timers: realTimers,
      id: 'own',
    })
    const own = await startRondo({ REPLICATION_FACTOR: '1' }, { nodes: () => [{ node }] })
    const client = await CachingClient.open(own.rondo.respServer.port)
    const other = await RawResp.open(own.rondo.respServer.port)
    await client.ask('GET', 'k')
    // The node does not tell by itself.
    await other.ask('SET', 'k', 'v')
    await client.ask('PING')
    expect(client.told).to.deep.equal(['k'])
    node.onGet = () => node.tell('k')
    expect(await client.read('GET', 'k')).to.equal('$1\r\nv\r\n')
    await client.drops('k')
    client.close()
    other.close()
    await own.stop()
  })

  it('tells of keys that a script has named by itself, as Redis 7.2 does', async () => {
    const { port } = running.rondo.respServer
    const client = await CachingClient.open(port)
    const other = await RawResp.open(port)
    for (const form of ['alone', 'alone', 'in MULTI'] as const) {
      if (form === 'in MULTI') await client.ask('MULTI')
      await client.ask('EVAL', 'return redis.call("get", "{s}k")', '0')
      if (form === 'in MULTI') await client.ask('EXEC')
      await other.ask('SET', '{s}k', form)
      await client.isTold('{s}k')
    }
    client.close()
    other.close()
  })

  it('lets nothing be kept of nodes that do not tell which keys change', async () => {
    const nodes: RondoOptions['nodes'] = (settings) => {
      const node = new MapNode(new MapServer(realClock), { ...settings, id: 'own' })
      return [{ node }]
    }
    const own = await startRondo({ REPLICATION_FACTOR: '1', LOG_LEVEL: 'warn' }, { nodes })
    const client = await CachingClient.open(own.rondo.respServer.port)
    for (const key of ['k', 'l']) {
      await client.read('GET', key)
      await client.isTold(key)
    }
    expect(own.logText()).to.include('does not tell which keys change')
    client.close()
    await own.stop()
  })

  it('tells a client also while it waits for a long command', async () => {
    const { port } = running.rondo.respServer
    const other = await RawResp.open(port)
    await other.ask('RONDO', 'FILL', 'filled', '30')
    const client = await RawResp.open(port)
    await client.ask('HELLO', '3')
    await client.ask('CLIENT', 'TRACKING', 'on')
    await other.ask('SET', 'k', 'old')
    await client.ask('GET', 'k')
    const told = client.reply()
    client.send('RONDO FILL filled 30\r\n')
    await other.ask('SET', 'k', 'new')
    expect(await told).to.equal('>2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n')
    client.close()
    other.close()
  })

  for (const protocol of [2, 3]) {
    it(`answers and tells as Redis does (RESP${protocol})`, async () => {
      const flushes = (lines: readonly string[]) => lines.some((line) => line.startsWith('@FLUSH'))
      for (const lines of [...LIKE_REDIS].sort((a, b) => Number(flushes(a)) - Number(flushes(b)))) {
        const expected = await said(redis.port, protocol, lines)
        const found = await said(running.rondo.respServer.port, protocol, lines)
        // What was flushed is removed from the nodes later, and told once more then.
        const others = flushes(lines) ? found.told.filter((one) => !expected.told.includes(one)) : []
        const told = found.told.filter((one) => !others.includes(one))
        expect({ ...found, told }, lines.join(', ')).to.deep.equal(expected)
      }
    })
  }
})
