/** Members join and leave while two coordinators use them. */
import { expect } from 'chai'
import { VERSION_ZERO } from '../../src/core/clock.ts'
import type { RondoError } from '../../src/core/errors.ts'
import type { ChangeRequest } from '../../src/cluster/changes.ts'
import type { Topology } from '../../src/core/topology.ts'
import { AntiEntropy } from '../../src/repair/round/anti-entropy.ts'
import { Rebalance } from '../../src/repair/rebalance.ts'
import { Repairer } from '../../src/repair/repairer.ts'
import { RepairUnderTest, RepairUnderTestBeside } from './repair-under-test.ts'

const KEYS = Array.from({ length: 200 }, (_, i) => `key:${i}`)
const joining = (id: string) => ({ id, url: `redis://${id}:6379`, weight: 1, zone: null })

describe('a change of members', function () {
  this.timeout(60_000)
  let first: RepairUnderTest
  let second: RepairUnderTestBeside
  const running: { stop(): Promise<void> }[] = []
  /** Of the first coordinator, and of the second. */
  let rebalances: Rebalance[]

  beforeEach(async () => {
    rebalances = []
    first = await RepairUnderTest.started({ nodes: 4, replicas: 3 })
    second = new RepairUnderTestBeside(first)
    await second.under.start()
    for (const { context } of [first, second]) {
      const rounds = new AntiEntropy(context, { intervalMs: 0, keysPerSecond: 0, random: () => 0 })
      const rebalance = new Rebalance(context, rounds)
      rebalances.push(rebalance)
      for (const worker of [new Repairer(context), rebalance]) {
        worker.start()
        running.push(worker)
      }
    }
    for (const key of KEYS) expect((await first.under.put(key, `${key} v1`)).result).to.equal('ok')
  })
  afterEach(async () => {
    for (const worker of running.splice(0)) await first.until(worker.stop())
    await first.under.cluster.stop()
    await second.under.cluster.stop()
  })

  const topologyOf = ({ under }: RepairUnderTest): Topology => under.cluster.topology!
  const change = (asked: Partial<ChangeRequest>) => first.until(first.under.cluster.changes.request(asked))
  const ended = async () => {
    for (let i = 0; i < 6000; i++) {
      await first.time.advance(10)
      if ([first, second].every((one) => topologyOf(one).phase === 'stable' && topologyOf(one).epoch > 1))
        return
    }
    throw new Error(`it has not ended: ${JSON.stringify([topologyOf(first), topologyOf(second)])}`)
  }
  const everyKeyIs = async (text: (key: string) => string) => {
    for (const { under } of [first, second]) {
      for (const key of KEYS) expect((await under.get(key)).result, key).to.equal(text(key))
    }
    for (const key of KEYS) expect(await second.read(key), `${key} at quorum`).to.equal(text(key))
  }

  it('brings a node that joins what it gains, and all coordinators to the same epoch', async () => {
    const begun = await change({ join: [joining('node-5')] })
    expect([begun.epoch, begun.phase]).to.deep.equal([2, 'both'])
    await ended()
    for (const { under } of [first, second]) {
      expect(under.cluster.members.map(({ id }) => id))
        .to.include('node-5')
        .and.have.length(5)
      expect(under.cluster.placement.epoch).to.equal(4)
    }
    await everyKeyIs((key) => `${key} v1`)
    const { placement } = first.under.cluster
    const gained = KEYS.filter((key) =>
      placement.replicaSetOf(Buffer.from(key)).homes.some(({ id }) => id === 'node-5'),
    )
    const joined = first.under.nodes.find(({ id }) => id === 'node-5')!
    expect(gained.length).to.be.above(20)
    for (const key of gained) expect(joined.holds(key), key).to.equal(`${key} v1`)
  })

  it('goes on under writes through both, at any moment', async () => {
    await change({ join: [joining('node-5')] })
    let version = 1
    while (topologyOf(first).phase !== 'stable' || topologyOf(second).phase !== 'stable') {
      version++
      const writer = version % 2 === 0 ? first : second
      await first.time.advance(20)
      for (const key of KEYS)
        expect((await writer.under.put(key, `${key} v${version}`)).result, key).to.equal('ok')
    }
    expect(version).to.be.above(2)
    await everyKeyIs((key) => `${key} v${version}`)
  })

  it('lets a node leave', async () => {
    await change({ leave: ['node-2'] })
    await ended()
    for (const { under } of [first, second]) {
      expect(under.cluster.members.map(({ id }) => id)).to.deep.equal(['node-1', 'node-3', 'node-4'])
    }
    await everyKeyIs((key) => `${key} v1`)
  })

  it('brings home what one that has left had missed, though all coordinators are new since', async () => {
    await change({ leave: ['node-2'] })
    await ended()
    await first.time.advance(1000)
    for (const worker of running.splice(0)) await first.until(worker.stop())
    await first.under.cluster.stop()
    await second.under.cluster.stop()
    const { storage } = first.under.nodes[0]!.memory
    const [key] = KEYS
    const held = first.under.nodes[0]!.held(key!)
    storage
      .hintsFor('node-2')
      .note({ key: Buffer.from(key!), version: Buffer.from(held?.version ?? VERSION_ZERO) }, 10)
    first.under.nodes.splice(1, 1) // the configuration does not name it any more
    const third = new RepairUnderTestBeside(first)
    await third.under.start()
    const repairer = new Repairer(third.context)
    repairer.start()
    running.push(repairer)
    await first.time.advance(30_000)
    expect(storage.hintsFor('node-2').size).to.equal(0)
  })

  it('undoes itself when nodes that join are away for ten seconds and cost writes', async () => {
    await change({ join: [joining('node-5'), joining('node-6')] })
    await first.time.advance(500)
    for (const { under } of [first, second]) {
      for (const id of ['node-5', 'node-6']) under.nodes.find((node) => node.id === id)!.cut()
    }
    await first.time.advance(5000)
    expect(topologyOf(first).phase, 'after five seconds').to.equal('both')
    await first.time.advance(10_000)
    for (const one of [first, second]) {
      expect([topologyOf(one).phase, topologyOf(one).epoch]).to.deep.equal(['stable', 3])
      expect(one.under.cluster.members).to.have.length(4)
    }
    for (const key of KEYS) expect((await first.under.put(key, `${key} v2`)).result).to.equal('ok')
    await everyKeyIs((key) => `${key} v2`)
    const { dropped } = await first.until(rebalances[1]!.state())
    expect(dropped.map(({ what, why }) => `${what}: ${why}`)).to.deep.equal([
      'epoch 2 (join node-5, node-6): node-5, node-6 took no writes for 10 s, and writes of some keys could not be acknowledged because of that.',
    ])
  })

  it('waits for a node that joins and is away, as long as it costs no write', async () => {
    await change({ join: [joining('node-5')] })
    await first.time.advance(500)
    const cut = [first, second].map(({ under }) => under.nodes.find(({ id }) => id === 'node-5')!)
    for (const node of cut) node.cut()
    await first.time.advance(30_000)
    expect(topologyOf(first).phase).to.equal('both')
    for (const key of KEYS) expect((await first.under.put(key, `${key} v2`)).result).to.equal('ok')
    for (const node of cut) node.heal()
    await ended()
    await everyKeyIs((key) => `${key} v2`)
    expect(first.under.cluster.members).to.have.length(5)
  })

  it('replaces one that is gone, without it', async () => {
    first.under.nodes[1]!.cut()
    second.under.nodes[1]!.cut()
    await first.time.advance(5000)
    await change({ leave: ['node-2'], join: [joining('node-5')] })
    await ended()
    await everyKeyIs((key) => `${key} v1`)
  })

  it('ends in a report that every coordinator has, and gives back what is left where keys have moved away', async () => {
    const held = () =>
      first.under.nodes.slice(0, 4).map((node) => KEYS.filter((key) => node.holds(key) !== '(absent)'))
    const before = held().flat().length
    await change({ join: [joining('node-5')] })
    await ended()
    await first.time.advance(30_000)
    const [report, another] = await Promise.all(
      rebalances.map((one) => first.until(one.state()).then((state) => state.report)),
    )
    expect(another).to.deep.equal(report)
    const joined = first.under.nodes.find(({ id }) => id === 'node-5')!
    const moved = KEYS.filter((key) => joined.holds(key) !== '(absent)')
    const bytes = moved.reduce((sum, key) => sum + Buffer.byteLength(key) + joined.held(key)!.bytes.length, 0)
    expect(report).to.deep.include({
      since: 2,
      epoch: 4,
      moved: moved.length,
      bytes,
      missing: 0,
      divergent: 0,
    })
    // Each copy is looked at twice; of the second time they are one more.
    expect(report!.checked).to.be.at.least(2 * before)
    expect(report!.endedAtMs).to.be.above(report!.startedAtMs)
    expect(before - held().flat().length).to.equal(moved.length)
    expect(report!.leftovers!.copies).to.equal(moved.length)
    expect(report!.leftovers!.bytes).to.be.at.least(bytes)
  })

  it('gives back what is left also if a member was away from the round that does so', async () => {
    const nodesOf = (id: string) =>
      [first, second].map(({ under }) => under.nodes.find((node) => node.id === id)!)
    const held = () => first.under.nodes.slice(0, 4).flatMap((node) => KEYS.filter((key) => node.held(key)))
    const before = held().length
    await change({ join: [joining('node-5')] })
    while (topologyOf(first).phase !== 'switched') await first.time.advance(10)
    for (const node of nodesOf('node-2')) node.cut()
    await ended()
    await first.time.advance(5000)
    const joined = first.under.nodes.find(({ id }) => id === 'node-5')!
    const moved = KEYS.filter((key) => joined.held(key))
    expect(before - held().length).to.be.below(moved.length)
    for (const node of nodesOf('node-2')) node.heal()
    await first.time.advance(60_000)
    expect(before - held().length).to.equal(moved.length)
  })

  it('gives back what is left with a promise on it, which an update without an effect leaves behind', async () => {
    const held = () => first.under.nodes.slice(0, 4).flatMap((node) => KEYS.filter((key) => node.held(key)))
    const before = held().length
    const keep = (key: string) =>
      new Promise<void>((resolve, reject) => {
        const done = { updated: () => resolve(), failed: reject }
        first.under.coordinator.update(Buffer.from(key), () => ({ kind: 'keep' }), done, 'quorum')
      })
    await change({ join: [joining('node-5')] })
    const kept: Promise<void>[] = []
    while (topologyOf(first).phase !== 'stable') {
      if (topologyOf(first).phase === 'switched') for (const key of KEYS) kept.push(keep(key))
      await first.time.advance(10)
    }
    await first.until(Promise.all(kept))
    const joined = first.under.nodes.find(({ id }) => id === 'node-5')!
    const moved = KEYS.filter((key) => joined.held(key))
    const left = first.under.nodes.slice(0, 4).flatMap((node) => moved.map((key) => node.held(key)))
    expect(left.filter((record) => record?.promise)).to.not.be.empty
    await first.time.advance(30_000)
    expect(before - held().length).to.equal(moved.length)
    await everyKeyIs((key) => `${key} v1`)
  })

  it('is gone on with by another coordinator within ten seconds after the one that works is gone', async () => {
    const works = ({ under }: RepairUnderTest) =>
      under.cluster.members.some(({ filling }) => filling !== null)
    await first.until(rebalances[1]!.throttle(20))
    await change({ join: [joining('node-5')] })
    while (!works(first) && !works(second)) await first.time.advance(10)
    const [gone, other] = works(first) ? [first, second] : [second, first]
    await first.time.advance(3000)
    for (const node of gone.under.nodes) node.cut()
    let ms = 0
    for (; !works(other); ms += 10) await first.time.advance(10)
    expect(ms).to.be.within(2000, 7000)
  })

  it('tells how far it is, from any coordinator', async () => {
    await first.until(rebalances[1]!.throttle(20))
    await change({ join: [joining('node-5')] })
    await first.time.advance(12_000)
    const state = await first.until(rebalances[1]!.state())
    expect(state).to.deep.include({
      state: 'running',
      phase: 'both',
      epoch: 2,
      receiving: ['node-5'],
      keysPerSecond: 20,
    })
    expect(state.keys.checked).to.be.within(20, 400)
    expect(state.keys.expected).to.be.above(state.keys.checked)
    expect(state.rate).to.be.within(1, 40)
    const left = (state.keys.expected - state.keys.checked) / state.rate!
    expect(state.secondsLeft).to.be.closeTo(left, 1)
    await first.until(rebalances[0]!.throttle(0))
    await ended()
    await everyKeyIs((key) => `${key} v1`)
  })

  it('moves nothing while it is paused, and serves all', async () => {
    await change({ join: [joining('node-5')] })
    await first.until(rebalances[0]!.pause())
    await first.time.advance(60_000)
    const paused = await first.until(rebalances[1]!.state())
    expect(paused).to.deep.include({ state: 'paused', phase: 'both', rate: null, secondsLeft: null })
    for (const key of KEYS) expect((await first.under.put(key, `${key} v2`)).result, key).to.equal('ok')
    await everyKeyIs((key) => `${key} v2`)
    await first.until(rebalances[0]!.resume())
    await ended()
    await everyKeyIs((key) => `${key} v2`)
  })

  it('is not paused again by what was asked for an earlier one', async () => {
    await change({ join: [joining('node-5')] })
    await first.until(rebalances[0]!.pause())
    await first.until(first.under.cluster.changes.cancel())
    await ended()
    for (const steer of [() => rebalances[0]!.pause(), () => rebalances[0]!.resume()]) {
      const refused = await first.until(steer().catch((error: RondoError) => error.code))
      expect(refused).to.equal('CONFLICT')
    }
    await change({ leave: ['node-2'] })
    await ended()
    await everyKeyIs((key) => `${key} v1`)
  })
})
