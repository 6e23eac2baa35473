// A member's machine is replaced, moves, or is gone for good; and the old one answers again: with real servers.
import { expect } from 'chai'
import { Redis } from 'ioredis'
import { startRedis, type RedisServer } from '../../scripts/redis-server.ts'
import { MembersUnderTest } from '../support/members-under-test.ts'
import type { RunningRondo } from '../support/rondo.ts'
import { until } from '../support/rondo-under-test.ts'

const KEYS = Array.from({ length: 200 }, (_, i) => `key:${i}`)

describe('the place of a member', function () {
  this.timeout(90_000)
  let servers: RedisServer[]
  let nodes: Record<string, RedisServer>
  let under: MembersUnderTest
  const extra: RedisServer[] = []

  beforeEach(() => {
    under = new MembersUnderTest()
    servers = []
  })
  afterEach(async () => {
    await under.stop()
    await Promise.all([...servers, ...extra.splice(0)].map((server) => server.stop()))
  })

  /** @param count of nodes, each key on three of them */
  async function founded(count: number, args: readonly string[] = []): Promise<void> {
    for (let i = 0; i < count; i++) servers.push(await startRedis({ args }))
    nodes = Object.fromEntries(servers.map((server, i) => [`redis-${i + 1}`, server]))
    for (let i = 0; i < 2; i++) await under.started(nodes)
    await until('all are in use', async () =>
      [...(await under.members()).values()].every(({ completeness }) => completeness === 'clean'),
    )
  }
  async function started(): Promise<RedisServer> {
    const server = await startRedis()
    extra.push(server)
    return server
  }
  async function filled(text: string): Promise<void> {
    const client = await under.client('all')
    for (const key of KEYS) await client.set(key, text)
  }
  /** What all coordinators answer, at all levels. */
  async function everyKeyIs(text: string | null): Promise<void> {
    for (const at of under.coordinators) {
      for (const level of ['one', 'quorum'] as const) {
        const client = await under.client(level, at)
        for (const key of KEYS) expect(await client.get(key), `${key} at ${level}`).to.equal(text)
      }
    }
  }
  const logged = (at: RunningRondo = under.coordinators[0]!) => at.logLines().map(({ msg }) => msg)
  /** Whatever the servers are asked for, they hold the text. */
  async function copiesOf(text: string, server: RedisServer): Promise<number> {
    const values = await under.direct(server).mget(KEYS)
    return values.filter((value) => value?.endsWith(text)).length
  }
  async function isDown(id: string): Promise<void> {
    for (const at of under.coordinators) {
      await until(`${id} is down`, async () => (await under.members(at)).get(id)!.health === 'down', 20_000)
    }
  }

  it('goes to another server while clients write, and the old one, which still runs, is not asked', async () => {
    await founded(4)
    await filled('old')
    const next = await started()
    const writing = await under.client('quorum', under.coordinators[1])
    let written = 0
    let isOver = false
    const writes = (async () => {
      for (; !isOver; written++) await writing.set(KEYS[written % KEYS.length]!, 'old')
    })()
    const replaced = await under.call('POST', '/members/redis-2/replace', { url: next.url })
    await under.done(replaced)
    isOver = true
    await writes
    expect(written).to.be.above(50)
    const member = (await under.members()).get('redis-2')!
    expect(member).to.deep.include({ url: next.url, incarnation: 2, completeness: 'clean' })
    await filled('new')
    await everyKeyIs('new')
    expect(await copiesOf('old', servers[1]!), 'the old machine has its data').to.be.above(50)
    expect(await copiesOf('new', servers[1]!)).to.equal(0)
    expect(await copiesOf('new', next)).to.be.above(50)
    expect(logged().join('\n')).to.include(
      `node redis-2 is at ${next.url} now, and what answers at 127.0.0.1:${servers[1]!.port} is not used`,
    )
  })

  it('goes to another server although its own is dead', async () => {
    await founded(4)
    await filled('here')
    await servers[1]!.kill()
    await isDown('redis-2')
    const next = await started()
    await under.done(await under.call('POST', '/members/redis-2/replace', { url: next.url }))
    await everyKeyIs('here')
    expect(await copiesOf('here', next)).to.be.above(50)
  })

  it('with old addresses in REDIS_URLS a coordinator finds the new one, and names the old one', async () => {
    await founded(4)
    await filled('old')
    const next = await started()
    await under.done(await under.call('POST', '/members/redis-2/replace', { url: next.url }))
    await filled('new')
    const late = await under.started(nodes)
    await until('it follows', async () => (await under.members(late)).get('redis-2')!.url === next.url)
    await everyKeyIs('new')
    expect(logged(late).join('\n')).to.include(`node redis-2 is at ${next.url} now`).and.include('REDIS_URLS')
    expect(await copiesOf('new', servers[1]!), 'nothing is written to the old one').to.equal(0)
  })

  it('does not believe the old server at the new address, and says so', async () => {
    await founded(4, ['--appendonly', 'yes', '--appendfsync', 'always'])
    await filled('old')
    const [, old] = servers
    const next = await started()
    await under.done(await under.call('POST', '/members/redis-2/replace', { url: next.url }))
    await filled('new')
    const marker = JSON.parse((await under.direct(old!).get('__rondo:node'))!) as Record<string, unknown>
    expect(marker, 'nobody has marked it as if it had the place').to.include({ state: 'clean', epoch: 1 })
    const { port } = next
    await next.kill()
    await old!.kill()
    const back = await startRedis({
      ...{ port, dir: old!.dir },
      args: ['--appendonly', 'yes', '--appendfsync', 'always'],
    })
    extra.push(back)
    // The coordinator that marks it says why.
    const told = () => under.coordinators.flatMap((at) => logged(at)).join('\n')
    const words = 'it is the server that had this id before another one took its place'
    await until('it answers', () => told().includes(words), 10_000)
    await everyKeyIs('new')
    expect(told()).to.include('If it should not be here, stop it')
    await until('it is filled', async () => (await under.members()).get('redis-2')!.completeness === 'clean')
    await everyKeyIs('new')
    expect(await copiesOf('old', back)).to.equal(0)
  })

  it('is the same server at another address', async () => {
    await founded(3)
    await filled('here')
    const url = `redis://localhost:${servers[1]!.port}`
    await under.done(await under.call('PATCH', '/members/redis-2', { url }))
    expect((await under.members(under.coordinators[1])).get('redis-2')).to.deep.include({
      url,
      incarnation: 1,
    })
    await everyKeyIs('here')
    await filled('then')
    expect(await copiesOf('then', servers[1]!)).to.equal(KEYS.length)
  })

  it('is the same data on another machine, which is brought what it missed', async () => {
    await founded(3, ['--appendonly', 'yes', '--appendfsync', 'always'])
    await filled('old')
    const [, old] = servers
    await old!.kill()
    await isDown('redis-2')
    const client = await under.client('quorum')
    for (const key of KEYS) await client.set(key, 'new')
    const back = await startRedis({ dir: old!.dir, args: ['--appendonly', 'yes', '--appendfsync', 'always'] })
    extra.push(back)
    await under.done(await under.call('PATCH', '/members/redis-2', { url: back.url }))
    await everyKeyIs('new')
    expect(await copiesOf('new', back)).to.equal(KEYS.length)
    const told = under.coordinators.flatMap((at) => logged(at)).join('\n')
    expect(told, 'it may be an older copy').to.include('node redis-2 is filling')
  })

  it('is not taken by what is no member, by a second copy of one, or by one that is in use', async () => {
    await founded(3)
    const other = await started()
    const refusals: [string, string, unknown, number, string][] = [
      ['PATCH', '/members/redis-2', { url: other.url }, 409, 'is not redis-2'],
      ['PATCH', '/members/redis-2', { url: servers[0]!.url }, 409, 'redis-1 is a member already'],
      ['PATCH', '/members/redis-2', { url: 'redis://127.0.0.1:1' }, 503, 'cannot be used'],
      ['PATCH', '/members/redis-2', { url: other.url, weight: 2 }, 400, 'comes alone'],
      ['PATCH', '/members/redis-2', { url: 'redis://169.254.169.254' }, 400, 'metadata'],
      ['PATCH', '/members/nobody', { url: other.url }, 404, 'no member nobody'],
      ['PATCH', '/members/redis-2', { zone: '-' }, 400, 'zone'],
      ['POST', '/members/redis-2/replace', { url: servers[1]!.url }, 409, 'redis-2 is a member already'],
      [
        'POST',
        '/members/redis-2/replace',
        { url: `redis://localhost:${servers[1]!.port}` },
        409,
        'is redis-2',
      ],
      ['POST', '/members/redis-2/replace', {}, 400, 'url'],
      ['POST', '/members/nobody/replace', { url: other.url }, 404, 'no member nobody'],
    ]
    // The data of redis-2, beside redis-2.
    const copy = await started()
    const marker = await under.direct(servers[1]!).getBuffer('__rondo:node')
    await under.direct(copy).set('__rondo:node', marker!)
    refusals.push(['PATCH', '/members/redis-2', { url: copy.url }, 409, 'stop the old one first'])
    for (const [method, path, body, status, why] of refusals) {
      const answered = await under.call(method, path, body)
      expect(answered.status, `${method} ${path} ${JSON.stringify(answered.json)}`).to.equal(status)
      expect(answered.json.error).to.include(why)
    }
    expect((await under.call('GET', '/cluster')).json.epoch).to.equal(1)
  })

  it('has another zone, and another weight', async () => {
    await founded(3)
    await under.done(await under.call('PATCH', '/members/redis-2', { zone: 'b', weight: 2 }))
    expect((await under.members()).get('redis-2')).to.deep.include({ zone: 'b', weight: 2 })
    await under.done(await under.call('PATCH', '/members/redis-2', { zone: null }))
    expect((await under.members()).get('redis-2')).to.deep.include({ zone: null, weight: 2 })
  })

  it('is given up with its data only if that is said, and what others hold goes on', async () => {
    await founded(6)
    await filled('here')
    for (const i of [0, 1]) await servers[i]!.kill()
    for (const id of ['redis-1', 'redis-2']) await isDown(id)
    const both = { leave: ['redis-1', 'redis-2'] }
    const refused = await under.call('POST', '/topology/changes', both)
    expect(refused.status).to.equal(409)
    expect(refused.json.error)
      .to.match(/Of \d+\.\d % of the keys \(\d+ ranges\) fewer than 2 copies would be left/)
      .and.include('of 0.0 % (0 ranges) none would be left')
      .and.include('force=data-loss')
    const forced = await under.call('POST', '/topology/changes?force=data-loss', both)
    expect(forced.status, JSON.stringify(forced.json)).to.equal(202)
    expect((await under.call('POST', '/rebalance/cancel', {})).json.error).to.include('cannot be undone')
    await under.done(forced)
    // One copy of each was left, of what all had.
    await everyKeyIs('here')
    await filled('new')
    for (const server of servers.slice(2)) expect(await copiesOf('new', server)).to.be.above(50)
  })

  it('cannot be given up with a majority of all members, which is said', async () => {
    await founded(3)
    for (const i of [0, 1]) await servers[i]!.kill()
    for (const id of ['redis-1', 'redis-2']) await isDown(id)
    for (const force of ['', '?force=data-loss']) {
      const answered = await under.call('POST', `/topology/changes${force}`, {
        leave: ['redis-1', 'redis-2'],
      })
      expect(answered.status).to.equal(409)
      expect(answered.json.error)
        .to.include('without a majority (2)')
        .and.include('Bring back at least 1 of them')
    }
    const answered = await under.call('DELETE', '/members/redis-1?force=maybe')
    expect(answered.status).to.equal(400)
    expect(answered.json.error).to.include('data-loss')
  })

  it('is lost: a member that was removed comes back with its old data, and nothing of that is seen', async () => {
    await founded(4, ['--appendonly', 'yes', '--appendfsync', 'always'])
    await filled('old')
    const [, removed] = servers
    await removed!.kill()
    await isDown('redis-2')
    await under.done(await under.call('DELETE', '/members/redis-2'))
    const client = await under.client('quorum')
    for (const key of KEYS.slice(0, 100)) await client.set(key, 'new')
    for (const key of KEYS.slice(100)) await client.del(key)
    await removed!.restart()
    // A coordinator that still names it, and one that is led to the others by it alone.
    const late = await under.started(nodes)
    const led = await under.started({ 'redis-2': removed!, 'redis-3': servers[2]! })
    for (const at of [late, led]) {
      await until('it follows', async () => !(await under.members(at)).has('redis-2'))
      expect(logged(at).join('\n'))
        .to.include(`node redis-2 at 127.0.0.1:${removed!.port} is no member of the cluster any more`)
        .and.include('take it out of REDIS_URLS, and empty it (FLUSHALL) before it joins again')
    }
    for (const at of under.coordinators) {
      for (const level of ['one', 'quorum'] as const) {
        const reading: Redis = await under.client(level, at)
        for (const [i, key] of KEYS.entries()) {
          expect(await reading.get(key), `${key} at ${level}`).to.equal(i < 100 ? 'new' : null)
        }
      }
    }
    expect(await copiesOf('old', removed!)).to.be.above(50)
    const again = { url: removed!.url, id: 'redis-2' }
    expect((await under.call('POST', '/members/join', again)).json.error).to.include('what it holds is old')
    await under.done(await under.call('POST', '/members/join?adopt=drop', again))
    expect((await under.members()).get('redis-2')!.incarnation).to.be.above(1)
  })

  it('is taken by another server under the same id, while the removed one still runs', async () => {
    await founded(4)
    await filled('old')
    await under.done(await under.call('POST', '/members/redis-2/leave', {}))
    const next = await started()
    await under.done(await under.call('POST', '/members/join', { url: next.url, id: 'redis-2' }))
    await filled('new')
    const late = await under.started(nodes)
    await until('it follows', async () => (await under.members(late)).get('redis-2')?.url === next.url)
    await everyKeyIs('new')
    expect(await copiesOf('new', servers[1]!), 'nothing is written to the old one').to.equal(0)
  })
})
