// What is checked of a node before it becomes a member, and what becomes of its data: with real servers.
import { createHash } from 'node:crypto'
import { expect } from 'chai'
import { startRedis, startRedisCluster, type RedisServer } from '../../scripts/redis-server.ts'
import { MembersUnderTest } from '../support/members-under-test.ts'
import { ScriptedServer, type Answer } from '../support/scripted-server.ts'
import { until } from '../support/rondo-under-test.ts'

const TIME_REPLY = '*2\r\n$10\r\n1700000000\r\n$1\r\n0\r\n'

/** What is said of a Redis Cluster, and what to do. */
const NO_CLUSTER = [
  'runs in cluster mode',
  'start plain Redis servers (cluster-enabled no), give larger ones more weight',
  'write what the Cluster holds through Rondo (docs/OPERATING.md, From a Redis Cluster)',
]

/** A server that says so of itself in INFO; everything else about it is right. */
function saying(info: string): (command: string[]) => Answer {
  const text = `run_id:${'a'.repeat(40)}\r\n${info}`
  return ([name, , script]) => {
    if (name === 'TIME') return TIME_REPLY
    if (name === 'GETRANGE') return '$0\r\n\r\n'
    if (name === 'INFO') return `$${Buffer.byteLength(text)}\r\n${text}\r\n`
    if (name === 'SCRIPT') return `$40\r\n${createHash('sha1').update(script!, 'latin1').digest('hex')}\r\n`
    return '$-1\r\n'
  }
}

describe('a node that is to join', function () {
  this.timeout(60_000)
  let members: RedisServer[]
  let epoch = 1
  const others: { stop(): Promise<unknown> }[] = []
  const under = new MembersUnderTest()

  before(async () => {
    members = await startRedisCluster(3)
    await under.started(Object.fromEntries(members.map((server, i) => [`redis-${i + 1}`, server])))
    await until('all are in use', async () =>
      [...(await under.members()).values()].every(({ completeness }) => completeness === 'clean'),
    )
  })
  afterEach(() => Promise.all(others.splice(0).map((server) => server.stop())))
  after(async () => {
    await under.stop()
    await Promise.all(members.map((server) => server.stop()))
  })

  async function started(args: readonly string[] = []): Promise<RedisServer> {
    const server = await startRedis({ args })
    others.push(server)
    return server
  }
  async function scripted(answer: (command: string[]) => Answer): Promise<ScriptedServer> {
    const server = await ScriptedServer.start(answer)
    others.push(server)
    return server
  }
  async function refused(url: string, status: number, ...words: string[]): Promise<void> {
    const answered = await under.call('POST', '/members/join', { url, id: 'new' })
    expect(answered.status, JSON.stringify(answered.json)).to.equal(status)
    for (const word of words) expect(answered.json.error).to.include(word)
    expect((await under.call('GET', '/cluster')).json.epoch).to.equal(epoch)
  }
  const urlOf = ({ port }: { port: number }) => `redis://127.0.0.1:${port}`

  describe('is refused by its address, and no connection is made', () => {
    const NOWHERE: [string, string][] = [
      ['file:///etc/passwd', 'scheme'],
      ['http://127.0.0.1:1', 'scheme'],
      ['redis://127.0.0.1:0', 'port'],
      ['redis://127.0.0.1:65536', 'port'],
      ['redis://169.254.169.254', 'cloud metadata'],
      ['redis://[::ffff:169.254.169.254]:80', 'cloud metadata'],
      ['redis://[fd00:ec2::254]', 'cloud metadata'],
      ['redis://100.100.100.200', 'cloud metadata'],
      ['redis://[fe80::1]', 'link-local'],
      ['redis://0.0.0.0', 'unspecified'],
      ['redis://[::]', 'unspecified'],
      ['redis://224.0.0.1', 'multicast'],
      ['redis://255.255.255.255', 'multicast'],
      ['redis://2130706433', 'host'],
      ['redis://nowhere.invalid', 'leads to no address'],
      ['redis://127.0.0.1:1?zone=a', 'beside the url'],
    ]
    for (const [url, word] of NOWHERE) {
      it(url, async () => {
        const answered = await under.call('POST', '/members/join', { url })
        expect(answered.status, JSON.stringify(answered.json)).to.equal(400)
        expect(answered.json.error).to.include(word)
      })
    }

    it('this coordinator, by any name of its own', async () => {
      const { rondo, ports } = under.coordinators[0]!
      for (const port of [ports.socket, rondo.respServer.port]) {
        for (const host of ['127.0.0.1', 'localhost']) {
          await refused(`redis://${host}:${port}`, 400, 'is this coordinator itself')
        }
      }
    })

    it('with a password, which is neither shown, nor logged, nor kept', async () => {
      const server = await started()
      await refused(`redis://user:geheim@127.0.0.1:${server.port}`, 400, 'no user and no password')
      const shown = JSON.stringify([await under.call('GET', '/cluster'), under.coordinators[0]!.logText()])
      expect(shown).to.not.include('geheim')
    })
  })

  describe('is refused by what it is', () => {
    it('nothing that answers', () => refused('redis://127.0.0.1:1', 503, 'cannot be used'))

    it('a Redis Cluster', async () => {
      const server = await started(['--cluster-enabled', 'yes'])
      await refused(urlOf(server), 409, ...NO_CLUSTER)
    })

    it('a Redis Cluster in REDIS_URLS, while the others are used', async () => {
      const cluster = await started(['--cluster-enabled', 'yes'])
      const other = new MembersUnderTest()
      others.push(other)
      const nodes = { 'redis-1': await started(), 'redis-2': await started(), sharded: cluster }
      const running = await other.started(nodes)
      const status = (await other.call('GET', '/status')).json as Record<string, { error: string | null }>
      for (const word of NO_CLUSTER) expect(status[`127.0.0.1:${cluster.port}`]?.error).to.include(word)
      await until('it is told in the log', () =>
        running.logLines().some(({ msg }) => NO_CLUSTER.every((word) => msg.includes(word))),
      )
      expect(await other.direct(cluster).dbsize(), 'nothing was written to it').to.equal(0)
      const written = await (await other.client('one')).set('key', 'value')
      expect(written).to.equal('OK')
    })

    it('a Sentinel', async () => {
      const server = await scripted(saying('redis_version:7.0.15\r\nredis_mode:sentinel\r\n'))
      await refused(urlOf(server), 409, 'sentinel mode', 'give the address of the Redis that it watches')
    })

    it('one that is too old', async () => {
      for (const version of ['5.0.14', '6.0.20']) {
        const server = await scripted(saying(`redis_version:${version}\r\nrole:master\r\n`))
        await refused(urlOf(server), 409, `runs redis ${version}; Rondo needs Redis 6.2 or newer`)
      }
    })

    it('a replica', async () => {
      const server = await started(['--replicaof', '127.0.0.1', String((await started()).port)])
      await refused(urlOf(server), 409, 'is a replica of another server', 'REPLICAOF NO ONE')
    })

    it('one that is loading its data', async () => {
      const server = await scripted(() => '-LOADING Redis is loading the dataset in memory\r\n')
      await refused(urlOf(server), 503, 'LOADING', 'try again')
    })

    it('one that cannot write', async () => {
      const server = await started()
      await under.direct(server).config('SET', 'min-replicas-to-write', '1')
      await refused(urlOf(server), 503, 'NOREPLICAS')
    })

    it('one whose user lacks a command', async () => {
      const server = await started(['--rename-command', 'PTTL', ''])
      await refused(urlOf(server), 409, 'forbids commands that Rondo needs: PTTL', 'ACL SETUSER')
    })

    it('a member under another address', async () => {
      await refused(`redis://localhost:${members[0]!.port}`, 409, 'is redis-1, at 127.0.0.1', 'counts once')
    })

    it('one that joins twice in one change, under two addresses', async () => {
      const { port } = await started()
      const join = ['127.0.0.1', 'localhost'].map((host, i) => ({
        id: `new-${i}`,
        url: `redis://${host}:${port}`,
      }))
      const answered = await under.call('POST', '/topology/changes', { join })
      expect(answered.status, JSON.stringify(answered.json)).to.equal(409)
      expect(answered.json.error).to.match(
        /^Node new-1 at localhost:\d+ is new-0, at 127\.0\.0\.1:\d+: .*counts once/,
      )
      expect((await under.call('GET', '/cluster')).json.epoch).to.equal(epoch)
    })

    it('one with a marker of another cluster, of this one, or of nobody', async () => {
      const server = await started()
      const redis = under.direct(server)
      const marker = JSON.parse((await under.direct(members[0]!).get('__rondo:node'))!) as object
      await redis.set('__rondo:node', JSON.stringify({ ...marker, cluster: 'other', id: 'o-1' }))
      await refused(urlOf(server), 409, 'belongs to cluster other, or did, as node o-1', 'FLUSHALL')
      await redis.set('__rondo:node', JSON.stringify({ ...marker, run_id: 'x' }))
      await refused(
        urlOf(server),
        409,
        'holds the data of redis-1, which is a member',
        'PATCH /members/redis-1',
      )
      await redis.set('__rondo:node', JSON.stringify({ ...marker, id: 'redis-9' }))
      await refused(urlOf(server), 409, 'was node redis-9 of this cluster', 'adopt=drop')
      await redis.set('__rondo:node', 'mine')
      await refused(urlOf(server), 409, 'that Rondo did not write')
      expect(await redis.dbsize(), 'nothing was written there').to.equal(1)
    })

    it('one with data', async () => {
      const server = await started()
      await under.direct(server).set('somebody', 'else')
      await refused(urlOf(server), 409, 'holds 1 keys', 'adopt=drop', 'Moving in')
    })

    it('by an adoption that there is not', async () => {
      for (const [adopt, word] of [
        ['keep', 'Write it through Rondo first'],
        ['maybe', 'The only value of adopt is drop'],
      ]) {
        const answered = await under.call('POST', `/members/join?adopt=${adopt}`, {
          url: 'redis://127.0.0.1:1',
        })
        expect(answered.status).to.equal(400)
        expect(answered.json.error).to.include(word)
      }
    })
  })

  describe('with data', () => {
    let server: RedisServer
    const joining = () => ({ url: server.url, id: 'redis-4' })
    beforeEach(async () => (server = await started()))
    afterEach(async () => {
      const left = await under.call('POST', '/members/redis-4/leave', {})
      await under.done(left)
      epoch = Number(left.json.waitFor)
    })

    it('is emptied by adopt=drop, in all its databases', async () => {
      const redis = under.direct(server)
      for (let i = 0; i < 500; i++) await redis.set(`old:${i}`, 'x')
      await redis.select(3)
      await redis.set('other', 'database')
      await under.done(await under.call('POST', '/members/join?adopt=drop', joining()))
      const client = await under.client('quorum')
      for (let i = 0; i < 500; i += 50) expect(await client.get(`old:${i}`)).to.equal(null)
      expect(await redis.dbsize()).to.equal(0)
    })

    it('that it had as a former member, is only ever dropped', async () => {
      await under.done(await under.call('POST', '/members/join', joining()))
      await under.done(await under.call('POST', '/members/redis-4/leave', {}))
      const answered = await under.call('POST', '/members/join', joining())
      expect(answered.status).to.equal(409)
      expect(answered.json.error).to.include('was node redis-4 of this cluster')
      await under.done(await under.call('POST', '/members/join?adopt=drop', joining()))
    })
  })
})
