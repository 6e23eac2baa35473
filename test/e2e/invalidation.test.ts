/** Tags through two coordinators over real servers, of which one fails. */
import { expect } from 'chai'
import { startRedisCluster, type RedisServer } from '../../scripts/redis-server.ts'
import { RunningCoordinator } from '../support/coordinators.ts'
import { RawResp } from '../support/raw-resp.ts'

describe('invalidation through two coordinators', function () {
  this.timeout(60_000)
  let servers: RedisServer[]
  let coordinators: RunningCoordinator[]
  let clients: RawResp[]

  before(async () => {
    servers = await startRedisCluster(3)
    const places = servers.map(({ url }, i) => ({ id: `redis-${i + 1}`, url }))
    const env = { READ_CONSISTENCY: 'quorum', WRITE_CONSISTENCY: 'quorum', DELETE_JOB_KEYS_PER_SECOND: '100' }
    coordinators = []
    for (let i = 0; i < 2; i++) coordinators.push(await (await RunningCoordinator.over(places, env)).ready())
    clients = await Promise.all(coordinators.map(({ resp }) => RawResp.open(resp)))
  })
  after(async () => {
    for (const client of clients) client.socket.destroy()
    await Promise.all(coordinators.map((one) => one.stop()))
    await Promise.all(servers.map((server) => server.stop()))
  })

  const put = async (at: number, key: string, tags: string) => {
    const url = `${coordinators[at]!.http}/api/v1/keys/${key}?tags=${tags}`
    const headers = { 'Content-Type': 'application/octet-stream' }
    const answer = await fetch(url, { method: 'PUT', headers, body: 'value' })
    expect(answer.status, await answer.text()).to.equal(200)
  }
  const invalidate = async (at: number, tag: string) =>
    expect(await clients[at]!.ask('RONDO', 'INVALIDATE', tag)).to.equal('+OK\r\n')
  const counted = async (at: number, keys: readonly string[]) =>
    Number((await clients[at]!.ask('EXISTS', ...keys)).slice(1))

  it('lets hundreds of values go at once, and no others', async () => {
    const keys = Array.from({ length: 300 }, (_, i) => `page:${i}`)
    await Promise.all(keys.map((key, i) => put(i % 2, key, i % 3 === 0 ? 'all,third' : 'all')))
    expect([await counted(0, keys), await counted(1, keys)]).to.deep.equal([300, 300])
    const { json } = await coordinators[0]!.call('GET', '/api/v1/keys/page:0/explain')
    expect(json.tags).to.deep.equal(['all', 'third'])
    const replicas = json.replicas as { holds: { valueBytes: number } }[]
    expect(replicas.map(({ holds }) => holds.valueBytes)).to.deep.equal([5, 5, 5])
    await invalidate(1, 'third')
    expect([await counted(0, keys), await counted(1, keys)]).to.deep.equal([200, 200])
    await invalidate(0, 'all')
    expect([await counted(0, keys), await counted(1, keys)]).to.deep.equal([0, 0])
  })

  it('shows no value from before an invalidation at quorum, while one of three servers is away', async () => {
    const [first] = servers
    let isOver = false
    let rounds = 0
    /** While it fails, a request may: then it is made again. */
    const asked = async (at: number, isAnswer: RegExp, ...args: string[]) => {
      for (;;) {
        const reply = await clients[at]!.ask(...args)
        if (isAnswer.test(reply)) return reply.trimEnd()
      }
    }
    const turns = async () => {
      for (; rounds < 60 || !isOver; rounds++) {
        const at = rounds % 2
        await asked(at, /^\+OK/, 'SET', 'turn', 'value')
        await asked(at, /^:1/, 'RONDO', 'TAG', 'turn', 'turns')
        expect(await asked(1 - at, /^:/, 'EXISTS', 'turn')).to.equal(':1')
        await asked(1 - at, /^\+OK/, 'RONDO', 'INVALIDATE', 'turns')
        expect(await asked(at, /^:/, 'EXISTS', 'turn')).to.equal(':0')
      }
    }
    const faults = async () => {
      await first!.kill()
      await first!.restart()
      isOver = true
    }
    await Promise.all([turns(), faults()])
    expect(rounds).to.be.at.least(60)
  })

  it('goes on with a delete job where its coordinator has ended', async () => {
    const [first, second] = coordinators
    const keys = Array.from({ length: 150 }, (_, i) => `job:${i}`)
    await clients[0]!.ask('MSET', ...keys.flatMap((key) => [key, 'value']), 'other', 'value')
    const { status, json } = await first!.call('POST', '/api/v1/delete-jobs', { prefix: 'job:' })
    expect(status).to.equal(202)
    const job = async () => (await second!.call('GET', `/api/v1/delete-jobs/${String(json.id)}`)).json
    await second!.until(async () => (await job()).state === 'running')
    first!.program.signal('SIGTERM')
    await first!.program.ended
    expect(await job()).to.deep.include({ endedAt: null })
    // It gets on with those that are left, and has nothing to do with what is written now.
    await clients[1]!.ask('SET', 'job:new', 'value')
    await second!.until(async () => (await job()).state === 'done')
    expect(await counted(1, [...keys, 'job:new', 'other'])).to.equal(2)
  })
})
