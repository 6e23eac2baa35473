import { expect } from 'chai'
import { decodeMarker, encodeMarker } from '../../src/cluster/marker.ts'
import { MARKER_KEY } from '../../src/core/keys.ts'
import { MemoryStorage } from '../../src/nodes/memory/memory-storage.ts'
import { READ_COMPARED, READ_FIRST, READ_LATER, READ_NEVER } from '../../src/core/plan.ts'
import { CoordinatorUnderTest, PING_INTERVAL_MS } from '../support/coordinator-under-test.ts'
import { NODE_TIMEOUT_MS, type FaultyNode } from '../support/faulty-node.ts'

describe('the cluster', () => {
  let under: CoordinatorUnderTest
  let node: FaultyNode

  beforeEach(async () => {
    under = await CoordinatorUnderTest.started()
    node = under.nodes[0]!
  })
  afterEach(() => under.cluster.stop())

  const member = () => under.member(node)
  const state = () => member().health.state
  const rank = () => member().readRank
  const completeness = () => member().completeness
  const transitions = () =>
    under.events.flatMap((event) =>
      event.kind === 'node-state' && event.node === node.id ? [`${event.from} → ${event.to}`] : [],
    )
  const markerOf = (which: FaultyNode) => decodeMarker(which.memory.storage.get(MARKER_KEY)!)!

  it('looks at every node at once at the start, and then every ping interval', async () => {
    expect(under.nodes.map((each) => under.member(each).health.state)).to.deep.equal(Array(4).fill('up'))
    const before = node.probes
    await under.time.advance(PING_INTERVAL_MS * 3)
    expect(node.probes - before).to.equal(3)
  })

  it('knows at once that a node is gone when its connection breaks and nobody listens', async () => {
    node.cut()
    expect(rank()).to.equal(READ_NEVER)
    expect(member().takesValues).to.equal(false)
    await under.time.settle()
    expect(state()).to.equal('down')
    expect(transitions()).to.deep.equal(['suspect → up', 'up → suspect', 'suspect → down'])
  })

  it('notices a silent node without traffic within one interval and three attempts', async () => {
    node.answerAfterMs = Infinity
    await under.time.advance(PING_INTERVAL_MS + 3 * (NODE_TIMEOUT_MS + 200))
    expect(state()).to.equal('down')
  })

  it('uses a node again within two ping intervals of its return, whatever it was doing when it came back', async () => {
    for (let awayMs = 100; awayMs < 3000; awayMs += 137) {
      node.cut()
      await under.time.advance(awayMs)
      expect(member().takesValues).to.equal(false)
      node.heal()
      const backAtMs = under.time.monotonicMs()
      while (!member().takesValues) await under.time.advance(10)
      // Even if the ping interval were one second, as short as it can be set.
      expect(under.time.monotonicMs() - backAtMs, `away for ${awayMs} ms`).to.be.below(2000)
    }
  })

  it('asks a node that was away last, for it may have missed writes', async () => {
    node.cut()
    await under.time.advance(500)
    node.heal()
    await under.time.advance(2000)
    expect(state()).to.equal('up')
    expect(rank()).to.equal(READ_COMPARED)
    expect(member().completeness).to.equal('clean')
    expect(under.told('node-behind')).to.have.length(1)
  })

  it('does not mind a hiccup during which nothing was missed', async () => {
    node.memory.shut('hiccup')
    node.listener!.onBroken(node, { kind: 'unknown', reason: 'closed', message: 'hiccup' })
    expect(state()).to.equal('suspect')
    await under.time.settle()
    expect(state()).to.equal('up')
    expect(rank()).to.equal(READ_FIRST)
  })

  it('asks a node that answers data but not pings later than the others, and shuts it when it is down', async () => {
    const probe = node.probe.bind(node)
    node.probe = () => Promise.reject(new Error('no ping'))
    await under.time.advance(PING_INTERVAL_MS)
    expect(state()).to.equal('suspect')
    expect(rank()).to.equal(READ_LATER)
    expect(member().takesValues).to.equal(true)
    await under.time.advance(1000)
    expect(state()).to.equal('down')
    expect(node.ready).to.equal(false)
    node.probe = probe
  })

  it('tells every transition once', async () => {
    node.cut()
    await under.time.advance(10_000)
    node.heal()
    await under.time.advance(10_000)
    expect(transitions()).to.deep.equal(['suspect → up', 'up → suspect', 'suspect → down', 'down → up'])
  })

  it('tries all nodes every 100 ms when most of them look down: it may be its own network', async () => {
    for (const each of under.nodes.slice(0, 3)) each.cut()
    await under.time.advance(5000)
    const before = node.probes
    await under.time.advance(1000)
    expect(node.probes - before).to.be.within(9, 11)
    under.nodes[1]!.heal()
    await under.time.advance(2000)
    const later = node.probes
    await under.time.advance(3000)
    expect(node.probes - later).to.be.within(2, 4)
  })

  describe('when a node restarts', () => {
    it('fills it, under a fresh token, although it has kept its data', async () => {
      const before = markerOf(node)
      node.restart()
      await under.time.advance(3000)
      const after = markerOf(node)
      expect(after).to.include({ cluster: before.cluster, id: node.id, state: 'filling' })
      expect(after.token).not.to.equal(before.token)
      expect(after.runId).not.to.equal(before.runId)
      expect(member().completeness).to.equal('filling')
      expect(rank()).to.equal(READ_COMPARED)
      expect(member().takesValues).to.equal(true)
    })

    it('keeps it clean where appendfsync always lets nothing be lost', async () => {
      const probe = node.probe.bind(node)
      node.probe = async () => ({ ...(await probe()), durable: true })
      const before = markerOf(node)
      node.restart()
      await under.time.advance(3000)
      expect(markerOf(node)).to.deep.equal({ ...before, runId: markerOf(node).runId })
      expect(markerOf(node).runId).not.to.equal(before.runId)
      expect(member().completeness).to.equal('clean')
    })
  })

  it('notices FLUSHALL on an idle connection with the next ping', async () => {
    node.flush()
    await under.time.advance(PING_INTERVAL_MS)
    expect(member().completeness).to.equal('filling')
    expect(markerOf(node).state).to.equal('filling')
    expect(node.ready).to.equal(true)
  })

  describe('tells a loss from an orderly change by another coordinator', () => {
    const lossesTold = () => under.told('marker-mismatch')
    const reasons = () => under.events.flatMap((event) => ('why' in event ? [String(event.why)] : []))

    it('a node that comes back empty was wiped, though no call has met it', async () => {
      node.wipe()
      await under.time.advance(3000)
      expect(lossesTold()).to.deep.equal([{ kind: 'marker-mismatch', node: node.id }])
    })

    it('says so once, as long as it cannot be marked again', async () => {
      node.swapMarker = () => Promise.reject(new Error('OOM'))
      node.flush()
      await under.time.advance(5 * PING_INTERVAL_MS)
      expect(lossesTold()).to.have.length(1)
    })

    it('a node that comes back with its data was not', async () => {
      node.restart()
      await under.time.advance(3000)
      expect(lossesTold()).to.deep.equal([])
    })

    it('nor was one whose marker another coordinator has changed, when a write meets that', async () => {
      const marker = { ...markerOf(node), token: 'by-another-one', state: 'filling' as const }
      node.memory.storage.set(MARKER_KEY, encodeMarker(marker), Infinity)
      for (let i = 0; i < 20; i++) await under.put(`k${i}`, 'v')
      await under.time.advance(3000)
      expect(lossesTold()).to.deep.equal([])
      expect(under.told('node-behind')).to.have.length(1)
      expect(reasons().filter((why) => /wiped|swapped|restored/.test(why))).to.deep.equal([])
    })
  })

  describe('when another node answers at the address', () => {
    const swapIn = (marker: Buffer) => {
      node.restart()
      node.memory.storage.clear()
      node.memory.storage.set(MARKER_KEY, marker, Infinity)
      node.memory.storage.set(Buffer.from('theirs'), Buffer.from('x'), Infinity)
    }
    const other = (change: object) => encodeMarker({ ...markerOf(node), ...change })

    for (const [what, make] of [
      ["another cluster's", () => other({ cluster: 'elsewhere' })],
      ['another member', () => other({ id: 'node-2' })],
      ['of something else altogether', () => Buffer.from('{"hello":"world"}')],
    ] as const) {
      it(`refuses a node ${what}, and writes nothing to it`, async () => {
        const marker = make()
        swapIn(marker)
        for (let i = 0; i < 20; i++) {
          await under.put(`k${i}`, 'v')
          await under.time.advance(500)
        }
        expect(member().completeness).to.equal('refused')
        expect(member().lastError).to.match(/^refused: /)
        expect(node.ready).to.equal(false)
        const { entries } = node.memory.storage.page(0, 100)
        expect(entries.map(({ key }) => key.toString()).sort()).to.deep.equal(['__rondo:node', 'theirs'])
        expect(node.memory.storage.get(MARKER_KEY)).to.deep.equal(marker)
      })
    }

    it('does not let its clock count', async () => {
      node.clockOffMs = 3_600_000
      under.nodes[1]!.clockOffMs = 3_600_000
      under.nodes[2]!.cut()
      swapIn(other({ cluster: 'elsewhere' }))
      await under.time.advance(4 * PING_INTERVAL_MS)
      under.cluster.time.forget('node-3')
      // Left are node-2, an hour ahead, and node-4: the lower middle.
      expect(under.coordinator.nowMs()).to.be.closeTo(under.time.wallMs(), 1)
    })

    it('takes the right one back', async () => {
      const mine = node.memory.storage.get(MARKER_KEY)!
      swapIn(other({ cluster: 'elsewhere' }))
      await under.time.advance(5000)
      swapIn(mine)
      await under.time.advance(5000)
      expect(member().completeness).to.equal('filling')
      expect(state()).to.equal('up')
      expect(member().takesValues).to.equal(true)
    })
  })

  describe('when an address leads to a fresh node for a while, and back to the old one', () => {
    /** What is at the address now, to be brought back with the same process later. */
    const keep = () => {
      const { storage } = node.memory
      const runs = (node.memory as unknown as { options: { runId: string } }).options
      return { storage, run: runs.runId }
    }
    const lead = async ({ storage, run }: ReturnType<typeof keep>) => {
      node.cut()
      Object.assign(node.memory, { storage })
      Object.assign((node.memory as unknown as { options: object }).options, { runId: run })
      node.heal()
      await under.time.advance(3000)
    }

    it('fills the old one, which has missed what the fresh one took', async () => {
      const old = keep()
      const before = markerOf(node)
      await lead({
        storage: new MemoryStorage({ maxBytes: 1 << 26, maxEntries: 0 }, under.time),
        run: 'fresh',
      })
      expect(completeness()).to.equal('filling')
      await lead(old)
      expect(markerOf(node)).to.include({ state: 'filling', runId: before.runId })
      expect(markerOf(node).token).to.not.equal(before.token)
      expect(completeness()).to.equal('filling')
    })
  })

  describe('when it starts while it reaches only a node of another cluster', () => {
    let late: CoordinatorUnderTest
    let foreign: Buffer
    const swapped = (...nodes: FaultyNode[]) => swappedTo('elsewhere', ...nodes)
    const swappedTo = (cluster: string, ...nodes: FaultyNode[]) => {
      for (const each of nodes) {
        each.memory.storage.set(
          MARKER_KEY,
          encodeMarker({ ...markerOf(each), cluster, runId: `${each.id}-run` }),
          Infinity,
        )
      }
      foreign = nodes[0]!.memory.storage.get(MARKER_KEY)!
    }
    const startLate = async (reached: number) => {
      await under.cluster.stop()
      late = new CoordinatorUnderTest({ beside: under, coordinator: 2 })
      for (const each of late.nodes.slice(reached)) each.cut()
      for (const each of late.nodes.slice(reached)) each.reachable = false
      await late.start()
    }
    const states = () => late.cluster.members.map((each) => each.completeness)
    afterEach(() => late.cluster.stop())

    it('serves with it, and leaves it for its own as soon as more nodes are of another one', async () => {
      swapped(node)
      await startLate(1)
      expect(late.cluster.id).to.equal('elsewhere')
      expect(states()[0]).to.equal('clean')
      for (const each of late.nodes) each.heal()
      await late.time.advance(3000)
      expect(late.cluster.id).to.equal(under.cluster.id)
      expect(states()).to.deep.equal(['refused', 'clean', 'clean', 'clean'])
      expect(late.nodes[0]!.ready).to.equal(false)
      expect(await late.put('k', 'v')).to.include({ result: 'ok' })
      expect(late.told('cluster-left')).to.have.length(1)
      expect(late.told('cluster-left')[0]).to.include({ cluster: 'elsewhere', other: under.cluster.id })
      expect(node.memory.storage.get(MARKER_KEY)).to.deep.equal(foreign)
    })

    it('also when the right node is back by then', async () => {
      const mine = node.memory.storage.get(MARKER_KEY)!
      swapped(node)
      await startLate(1)
      node.memory.storage.set(MARKER_KEY, mine, Infinity)
      for (const each of late.nodes) each.heal()
      await late.time.advance(3000)
      expect(late.cluster.id).to.equal(under.cluster.id)
      expect(states()).to.deep.equal(['clean', 'clean', 'clean', 'clean'])
    })

    for (const name of ['a-cluster', 'z-cluster']) {
      it(`stays where it is while two halves are equally large (${name})`, async () => {
        swappedTo(name, ...under.nodes.slice(0, 2))
        await startLate(1)
        for (const each of late.nodes) each.heal()
        await late.time.advance(60_000)
        expect(late.cluster.id).to.equal(name)
        expect(states()).to.deep.equal(['clean', 'clean', 'refused', 'refused'])
        expect(late.told('cluster-known')).to.have.length(1)
        expect(late.told('cluster-left')).to.deep.equal([])
      })
    }

    for (const name of ['a-cluster', 'z-cluster']) {
      it(`uses none of them while it cannot tell which are its own (${name})`, async () => {
        swappedTo(name, node)
        const before = node.memory.storage.page(0, 100).entries.map(({ key }) => String(key))
        await startLate(2)
        await late.time.advance(60_000)
        expect(late.cluster.id).to.equal(null)
        expect(late.nodes.some(({ ready }) => ready)).to.equal(false)
        expect(late.told('clusters-tied')).to.deep.equal([
          { kind: 'clusters-tied', clusters: [name, under.cluster.id].sort(), each: 1 },
        ])
        expect(await late.put('k', 'v')).to.include({ result: 'UNAVAILABLE' })
        expect(node.memory.storage.page(0, 100).entries.map(({ key }) => String(key))).to.deep.equal(before)

        late.nodes[2]!.heal()
        await late.time.advance(3000)
        expect(late.cluster.id).to.equal(under.cluster.id)
        expect(states().slice(0, 3)).to.deep.equal(['refused', 'clean', 'clean'])
        expect(late.told('cluster-left')).to.deep.equal([])
      })
    }

    it('does not leave its own for one node less than it has', async () => {
      await startLate(4)
      swapped(node)
      await late.time.advance(3 * PING_INTERVAL_MS)
      expect(late.cluster.id).to.equal(under.cluster.id)
      expect(states()).to.deep.equal(['refused', 'clean', 'clean', 'clean'])
    })

    /** The addresses of all but the first lead to one another. */
    const exchanged = () => {
      const [, ...nodes] = under.nodes
      const markers = nodes.map((each) => encodeMarker(markerOf(each)))
      nodes.forEach((each, i) =>
        each.memory.storage.set(MARKER_KEY, markers[(i + 1) % nodes.length]!, Infinity),
      )
    }

    it('does not take a foreign one for its own because the addresses of the others were exchanged', async () => {
      exchanged()
      swapped(node)
      await startLate(4)
      expect(late.cluster.id).to.equal(under.cluster.id)
      expect(states()).to.deep.equal(['refused', 'refused', 'refused', 'refused'])
      expect(await late.put('k', 'v')).to.include({ result: 'UNAVAILABLE' })
      expect(node.holds('k')).to.equal('(absent)')
      expect(node.memory.storage.get(MARKER_KEY)).to.deep.equal(foreign)
    })

    it('takes the one member that is in its place, whatever strangers are at the other addresses', async () => {
      for (const each of under.nodes.slice(1)) {
        const marker = { ...markerOf(each), cluster: 'elsewhere', id: `their-${each.id}` }
        each.memory.storage.set(MARKER_KEY, encodeMarker(marker), Infinity)
      }
      await startLate(4)
      expect(late.cluster.id).to.equal(under.cluster.id)
      expect(states()).to.deep.equal(['clean', 'refused', 'refused', 'refused'])
    })

    it('does not leave its own because their addresses were exchanged, and writes nothing to the foreign one', async () => {
      await startLate(4)
      exchanged()
      await late.time.advance(2 * PING_INTERVAL_MS)
      expect(states()).to.deep.equal(['clean', 'refused', 'refused', 'refused'])
      swapped(node)
      const held = () =>
        node.memory.storage.page(0, 100).entries.map(({ key, bytes }) => [String(key), String(bytes)])
      const before = held()
      await late.time.advance(3 * PING_INTERVAL_MS)
      await late.put('k', 'v')
      expect(late.cluster.id).to.equal(under.cluster.id)
      expect(states()[0]).to.equal('refused')
      expect(late.told('cluster-left')).to.deep.equal([])
      expect(held()).to.deep.equal(before)
    })
  })

  it('reports a clock that is far from the others once, and when it is right again', async () => {
    node.clockOffMs = -5000
    await under.time.advance(3 * PING_INTERVAL_MS)
    node.clockOffMs = 0
    await under.time.advance(3 * PING_INTERVAL_MS)
    expect(
      under.told('node-clock').map((event) => 'far' in event && [event.far, Math.round(event.offMs)]),
    ).to.deep.equal([
      [true, -5000],
      [false, 0],
    ])
  })

  it('dates nothing by its own clock', async () => {
    const before = under.coordinator.nowMs()
    under.time.stepWall(86_400_000)
    for (const each of under.nodes) each.clockOffMs = -86_400_000 // the nodes' clocks have not moved
    await under.time.advance(2 * PING_INTERVAL_MS)
    expect(under.coordinator.nowMs()).to.be.closeTo(before + 2 * PING_INTERVAL_MS, 1)
  })

  it('tells once that a node has begun to evict', async () => {
    const probe = node.probe.bind(node)
    let evictedKeys = 0
    node.probe = async () => ({ ...(await probe()), evictedKeys, evictionPolicy: 'volatile-lru' })
    await under.time.advance(PING_INTERVAL_MS)
    for (evictedKeys = 1; evictedKeys < 5; evictedKeys++) await under.time.advance(PING_INTERVAL_MS)
    expect(under.told('node-evicting')).to.deep.equal([
      { kind: 'node-evicting', node: node.id, policy: 'volatile-lru', evictedKeys: 1 },
    ])
  })

  it('is quiet and does nothing after it was stopped', async () => {
    const before = under.events.length
    node.answerAfterMs = 100
    await under.time.advance(PING_INTERVAL_MS) // a probe is on its way
    await under.cluster.stop()
    node.cut()
    await under.time.advance(60_000)
    expect(under.events).to.have.length(before)
    expect(under.time.pendingTimers).to.equal(0)
  })
})
