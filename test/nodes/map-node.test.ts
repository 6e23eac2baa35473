// A driver of somebody else: it keeps the contract, under a test runner and without one, and Rondo runs on it.
import { expect } from 'chai'
import { describeNodeContract, runNodeContract, type GetCall } from '../../src/library/node-contract/index.ts'
import { loadConfig } from '../../src/config/config.ts'
import { Rondo, type RondoOptions } from '../../src/app/rondo.ts'
import { MapNode, MapServer } from '../support/map-node.ts'
import { factoryOf, mapNode, OPTIONS, type Make } from '../support/map-nodes.ts'
import { call } from '../support/raw-http.ts'
import { realClock } from '../support/real-time.ts'
import { startRondo } from '../support/rondo.ts'

describeNodeContract('a driver over a Map', factoryOf(mapNode), { describe, it, beforeEach, afterEach })

describe('the contract without a test runner', () => {
  it('runs every case', async () => {
    let cases = 0
    const count = { describe: (_name: string, define: () => void) => define(), it: () => cases++ }
    const ignored = () => undefined
    describeNodeContract('', factoryOf(mapNode), { ...count, beforeEach: ignored, afterEach: ignored })
    const results = await runNodeContract('a driver over a Map', factoryOf(mapNode))
    expect(results.filter(({ error }) => error !== null)).to.deep.equal([])
    expect(results.length).to.equal(cases)
    expect(new Set(results.map(({ name }) => name)).size).to.be.above(100)
  })

  /** A driver with one fault, and the case that finds it. */
  const FAULTS: readonly (readonly [what: string, make: Make, foundBy: RegExp])[] = [
    [
      'forgets what is newer',
      (server) => {
        const node = new MapNode(server, OPTIONS)
        const store = node.store.bind(node)
        node.store = (key, record, lifeMs, done, condition) => {
          server.delete(key)
          store(key, record, lifeMs, done, condition)
        }
        return node
      },
      /lets the newer write win/,
    ],
    [
      'answers under any marker',
      (server) => {
        const node = new MapNode(server, OPTIONS)
        Object.assign(node, { follow: () => (node as unknown as { fence: unknown }).fence })
        return node
      },
      /marker/,
    ],
    [
      'answers before the call has returned',
      (server) => {
        const node = new MapNode(server, OPTIONS)
        node.get = (key: Buffer, done: GetCall) =>
          done.onRecord(node, server.get(key), { marker: key, runId: '', clean: true, epoch: 1 })
        return node
      },
      /tells an absent key from a failure/,
    ],
  ]
  for (const [what, make, foundBy] of FAULTS) {
    it(`finds a driver that ${what}`, async () => {
      const results = await runNodeContract('a driver with a fault', factoryOf(make))
      const found = results.filter(({ error }) => error !== null).map(({ name }) => name)
      expect(found.join('\n')).to.match(foundBy)
    })
  }
})

describe('Rondo over a driver of the embedding program', () => {
  const serversOf = (count: number) => Array.from({ length: count }, () => new MapServer(realClock))
  const over =
    (servers: MapServer[]): NonNullable<RondoOptions['nodes']> =>
    (settings) =>
      servers.map((server, i) => ({ node: new MapNode(server, { ...settings, id: `m${i}` }) }))

  it('serves values, from any coordinator, also while a server is new, and repairs it', async () => {
    const servers = serversOf(3)
    const options = { nodes: over(servers) }
    const [one, other] = [await startRondo({}, options), await startRondo({}, options)]
    try {
      const body = { value: 'Ada' }
      const path = '/api/v1/keys/user:1'
      const put = await call(one.ports.socket, 'PUT', `${path}?consistency=all`, { body })
      expect(put.status, put.text).to.equal(200)
      const got = await call(other.ports.socket, 'GET', `${path}?consistency=quorum`)
      expect(got.json()).to.include({ value: 'Ada' })
      expect(servers.map((server) => server.get(Buffer.from('user:1')) !== null)).to.deep.equal([
        true,
        true,
        true,
      ])
      servers[0]!.restart()
      const still = await call(other.ports.socket, 'GET', `${path}?consistency=quorum`)
      expect(still.json()).to.include({ value: 'Ada' })
    } finally {
      await Promise.all([one.stop(), other.stop()])
    }
  })

  it('lets a node leave, and none join', async () => {
    const running = await startRondo({}, { nodes: over(serversOf(3)) })
    try {
      const { socket } = running.ports
      const body = { url: 'redis://127.0.0.1:1', id: 'x' }
      const joined = await call(socket, 'POST', '/members/join', { body })
      expect([joined.status, joined.json().error]).to.deep.equal([
        409,
        'Node x cannot join: the nodes of this program have no others beside them.',
      ])
      expect((await call(socket, 'POST', '/members/m0/leave', { body: {} })).status).to.equal(202)
    } finally {
      await running.stop()
    }
  })

  it('refuses nodes that it cannot place', () => {
    const [node] = over(serversOf(1))({ ...OPTIONS } as never)
    const loaded = loadConfig({})
    if (!loaded.ok) throw new Error(loaded.problems.join('\n'))
    const made = (nodes: unknown) => () =>
      new Rondo(loaded.config, { nodes: nodes as NonNullable<RondoOptions['nodes']> })
    expect(made(() => [])).to.throw('at least one node')
    expect(made(() => [node, node])).to.throw('Two nodes have the id m0')
    expect(made(() => [{ ...node, weight: 0 }])).to.throw('The weight of node m0')
    expect(made(() => [{ ...node, weight: NaN }])).to.throw('The weight of node m0')
    expect(made(() => [{ ...node, zone: 'a b' }])).to.throw('The zone of node m0')
    expect(made(() => [{ node: { id: 'a b' } }])).to.throw('not "a b"')
    expect(made(() => [{}])).to.throw('not undefined')
  })
  it('refuses DATA_DIR, which would be ignored, before any node is made', () => {
    const loaded = loadConfig({ DATA_DIR: '/tmp/rondo-not-used' })
    if (!loaded.ok) throw new Error(loaded.problems.join('\n'))
    const nodes = () => expect.fail('a node was made')
    expect(() => new Rondo(loaded.config, { nodes })).to.throw(
      /^DATA_DIR is set, and so is the option `nodes`: .* nothing of yours would be written there\. Remove one/,
    )
  })
})
