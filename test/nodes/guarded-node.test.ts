// What a driver of somebody else may do wrong without harm to the process, and to who asks.
import { expect } from 'chai'
import { describeNodeContract, type GetCall, type Node } from '../../src/library/node-contract/index.ts'
import { GuardedNode } from '../../src/nodes/guarded-node.ts'
import { MapNode, MapServer } from '../support/map-node.ts'
import { factoryOf, mapNode, OPTIONS } from '../support/map-nodes.ts'
import { get } from '../support/node-calls.ts'
import { call } from '../support/raw-http.ts'
import { RawResp } from '../support/raw-resp.ts'
import { realClock, realTimers } from '../support/real-time.ts'
import { type RunningRondo, startRondo } from '../support/rondo.ts'

const GUARD = { timers: realTimers, nodeTimeoutMs: 2000 }

describeNodeContract(
  'a guarded node',
  factoryOf((server) => new GuardedNode(mapNode(server), GUARD)),
  {
    ...{ describe, it, beforeEach, afterEach },
  },
)

describe('a guarded node', () => {
  const bytes = Buffer.from('bytes')
  const fence = { marker: bytes, runId: '', clean: true, epoch: 1 }
  const withGet = (fault: (done: GetCall, node: Node) => void, nodeTimeoutMs = 2000) => {
    const inner = new MapNode(new MapServer(realClock), OPTIONS)
    inner.get = (_key, done) => fault(done, inner)
    return new GuardedNode(inner, { timers: realTimers, nodeTimeoutMs })
  }

  it('hears of a driver that throws as a failure with an unknown outcome', async () => {
    const node = withGet(() => {
      throw new Error('a bug')
    })
    const { failure } = (await get(node, 'k')) as { failure: object }
    expect(failure).to.include({ kind: 'unknown', reason: 'error' })
    expect(failure).to.have.property('message').that.contains('node map').and.contains('a bug')
    const inner = new MapNode(new MapServer(realClock), OPTIONS)
    inner.probe = () => {
      throw new Error('another bug')
    }
    const said = await new GuardedNode(inner, GUARD).probe().then(String, (error: Error) => error.message)
    expect(said).to.equal('another bug')
  })

  it('hears the first of several answers, after its call has returned, from itself', async () => {
    const told: unknown[] = []
    const node = withGet((done, inner) => {
      done.onRecord(inner, bytes, fence)
      done.onRecord(inner, null, fence)
      done.onFailure(inner, { kind: 'refused', reason: 'error', message: '' })
      throw new Error('a bug')
    })
    await new Promise<void>((resolve) => {
      let hasReturned = false
      node.get(bytes, {
        onRecord: (from, found) => (told.push(from === node, found, hasReturned), resolve()),
        onFailure: () => told.push('failed'),
      })
      hasReturned = true
    })
    await new Promise((resolve) => setImmediate(resolve))
    expect(told).to.deep.equal([true, bytes, true])
  })

  it('gives a call up that is not answered in time, and does not hear its answer afterwards', async () => {
    let answer = () => undefined as void
    const node = withGet((done, inner) => (answer = () => done.onRecord(inner, bytes, fence)), 20)
    const result = await get(node, 'k')
    expect(result).to.have.property('failure').that.includes({ kind: 'unknown', reason: 'timeout' })
    answer() // get() throws if it is heard twice
    const inner = new MapNode(new MapServer(realClock), OPTIONS)
    inner.probe = () => new Promise(() => undefined)
    const late = new GuardedNode(inner, { timers: realTimers, nodeTimeoutMs: 5 })
    const said = await late.probe().then(String, (error: Error) => error.message)
    expect(said).to.equal('node map did not answer in time')
  })
})

describe('Rondo over drivers with faults', () => {
  let running: RunningRondo
  let inner: MapNode[]
  /** A driver that passes its calls on to another one, whose answers name that one. */
  const wrapped = (node: MapNode): Node =>
    new Proxy(node, {
      get: (target, name) => {
        const value: unknown = Reflect.get(target, name)
        return typeof value === 'function' ? (value.bind(target) as unknown) : value
      },
    })
  beforeEach(async () => {
    inner = []
    running = await startRondo(
      { NODE_TIMEOUT_MS: '100' },
      {
        nodes: (settings) =>
          ['a', 'b', 'c'].map((id) => {
            const node = new MapNode(new MapServer(realClock), { ...settings, id })
            inner.push(node)
            return { node: wrapped(node) }
          }),
      },
    )
  })
  afterEach(() => running.stop())

  const http = (method: string, query: string, body?: object) =>
    call(running.ports.socket, method, `/api/v1/keys/k${query}`, body ? { body } : {})

  for (const level of ['one', 'quorum', 'all']) {
    it(`serves from drivers that pass on to others, at ${level}`, async () => {
      const query = `?consistency=${level}`
      expect((await http('PUT', query, { value: '1' })).status).to.equal(200)
      const added = await call(running.ports.socket, 'POST', `/api/v1/keys/k/incr${query}`, { body: {} })
      expect(added.json()).to.include({ value: '2' })
      expect((await http('GET', query)).json()).to.include({ value: '2' })
    })
  }

  it('answers with an error where all drivers throw, and goes on', async () => {
    await http('PUT', '', { value: 'v' })
    const works = inner.map((node) => node.get.bind(node))
    for (const node of inner) {
      node.get = () => {
        throw new Error('a bug')
      }
    }
    for (const query of ['', '?consistency=quorum']) expect((await http('GET', query)).status).to.equal(503)
    const redis = await RawResp.open(running.rondo.respServer.port)
    expect(await redis.ask('GET', 'k')).to.match(/^-NOREPLICAS/)
    expect(await redis.ask('PING')).to.equal('+PONG\r\n')
    redis.close()
    inner.forEach((node, i) => (node.get = works[i]!))
    expect((await http('GET', '')).json()).to.include({ value: 'v' })
  })

  it('serves from the others where one does not answer', async () => {
    await http('PUT', '?consistency=all', { value: 'v' })
    const [home] = running.rondo.cluster.placement.replicaSetOf(Buffer.from('k')).homes
    inner.find(({ id }) => id === home!.id)!.get = () => undefined
    for (const query of ['', '?consistency=quorum']) {
      expect((await http('GET', query)).json(), query).to.include({ value: 'v' })
    }
  })
})
