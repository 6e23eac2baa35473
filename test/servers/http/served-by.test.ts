// Answers of the keys API say which nodes they are of, and at which level.
import { expect } from 'chai'
import type { ConsistencyLevel } from '../../../src/core/consistency.ts'
import { call, type RawAnswer, type Sent } from '../../support/raw-http.ts'
import { RawResp } from '../../support/raw-resp.ts'
import { type RunningRondo, startRondo } from '../../support/rondo.ts'

const KEY = 'user:1'

describe('who served it', () => {
  let running: RunningRondo
  let homes: string[]
  before(async () => {
    running = await startRondo()
    homes = running.rondo.cluster.placement.replicaSetOf(Buffer.from(KEY)).homes.map(({ id }) => id)
  })
  after(() => running.stop())

  const send = (method: string, path: string, sent?: Sent) =>
    call(running.ports.socket, method, `/api/v1/${path}`, sent)
  const nodesIn = ({ headers }: RawAnswer) => headers['rondo-served-by']?.split(', ')
  const body = { value: 'v' }
  /** Every call on one key, with what it needs before. */
  const CALLS: readonly (readonly [method: string, path: string, status: number, sent?: Sent])[] = [
    ['PUT', '', 200, { body }],
    ['PUT', '', 412, { body, headers: { 'If-None-Match': '*' } }],
    ['PUT', '', 200, { body, headers: { 'If-Match': '*' } }],
    ['GET', '', 200],
    ['GET', '', 200, { headers: { Accept: 'application/octet-stream' } }],
    ['HEAD', '', 200],
    ['POST', '/append', 200, { body }],
    ['POST', '/incr', 409, { body: {} }],
    ['POST', '/expire', 200, { body: { ttl: 100 } }],
    ['POST', '/persist', 200, { body: {} }],
    ['POST', '/getdel', 200, { body: {} }],
    ['GET', '', 404],
    ['HEAD', '', 404],
    ['POST', '/getdel', 404, { body: {} }],
    ['DELETE', '', 412, { headers: { 'If-Match': '*' } }],
    ['DELETE', '', 204],
  ]

  for (const level of ['one', 'quorum', 'all'] as const) {
    it(`every call on a key says it, at ${level}`, async () => {
      await running.rondo.coordinator.drain(1000)
      for (const [method, path, status, sent] of CALLS) {
        const answer = await send(method, `keys/${KEY}${path}?consistency=${level}`, sent)
        const what = `${method} ${path} → ${status}`
        expect(answer.status, what).to.equal(status)
        expect(answer.headers['rondo-consistency'], what).to.equal(level)
        expectNodes(nodesIn(answer), level, what)
      }
    })
  }

  function expectNodes(nodes: string[] | undefined, level: ConsistencyLevel, what: string): void {
    expect(nodes, what).to.be.an('array')
    expect(new Set(nodes).size, what).to.equal(nodes!.length)
    expect(homes, what).to.include.members(nodes!)
    if (level === 'one') expect(nodes, what).to.deep.equal([homes[0]])
    else expect(nodes!.length, what).to.be.within(level === 'quorum' ? 2 : 3, 3)
  }

  it('it is the configured level if the request names none', async () => {
    const other = await startRondo({ READ_CONSISTENCY: 'all', WRITE_CONSISTENCY: 'quorum' })
    try {
      const { socket } = other.ports
      const put = await call(socket, 'PUT', '/api/v1/keys/k', { body })
      const got = await call(socket, 'GET', '/api/v1/keys/k')
      expect([put, got].map(({ headers }) => headers['rondo-consistency'])).to.deep.equal(['quorum', 'all'])
    } finally {
      await other.stop()
    }
  })

  it('calls on many keys name each node once', async () => {
    const keys = Array.from({ length: 50 }, (_, i) => `k${i}`)
    const items = keys.map((key) => ({ key, value: 'v' }))
    const all = running.rondo.cluster.members.map(({ id }) => id).sort()
    for (const [path, sent] of [
      ['mset', { items }],
      ['mget', { keys }],
      ['mdelete', { keys }],
    ] as const) {
      const answer = await send('POST', path, { body: sent })
      expect(answer.headers['rondo-consistency']).to.equal('one')
      expect(nodesIn(answer)!.sort(), path).to.deep.equal(all)
    }
  })

  it('what no node has answered names none, and the level where it is known', async () => {
    const tooLong = await send('PUT', `keys/${'x'.repeat(2000)}?consistency=all`, { body })
    expect(tooLong.status).to.equal(414)
    expect(tooLong.headers['rondo-consistency']).to.equal('all')
    expect(tooLong.headers).not.to.have.property('rondo-served-by')
    const unknown = await send('GET', `keys/${KEY}?consistency=maybe`)
    expect(unknown.status).to.equal(400)
    for (const { headers } of [unknown, await call(running.ports.socket, 'GET', '/ping')]) {
      expect(headers).not.to.have.any.keys('rondo-consistency', 'rondo-served-by')
    }
  })

  it('a collection is named by the node that holds it', async () => {
    const client = await RawResp.open(running.rondo.respServer.port)
    await client.ask('RPUSH', KEY, 'x')
    client.close()
    const answer = await send('GET', `keys/${KEY}`)
    expect(answer.status).to.equal(409)
    expect(nodesIn(answer)).to.deep.equal([homes[0]])
  })

  it('ids that are no part of a header do not break it', async () => {
    const { coordinator } = running.rondo
    const read = coordinator.read.bind(coordinator)
    coordinator.read = (_key, done) => done.read(null, { id: 'knoten-ä\r\nX: y' })
    try {
      const answer = await send('GET', 'keys/k')
      expect(answer.headers['rondo-served-by']).to.equal('knoten-???X: y')
    } finally {
      coordinator.read = read
    }
  })
})
