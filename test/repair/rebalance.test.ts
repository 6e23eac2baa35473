/** Members join and leave while two coordinators use them. */
import { expect } from 'chai'
import type { ChangeRequest } from '../../src/cluster/changes.ts'
import type { Topology } from '../../src/core/topology.ts'
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

  beforeEach(async () => {
    first = await RepairUnderTest.started({ nodes: 4, replicas: 3 })
    second = new RepairUnderTestBeside(first)
    await second.under.start()
    for (const { context } of [first, second]) {
      for (const worker of [new Repairer(context), new Rebalance(context)]) {
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

  it('replaces one that is gone, without it', async () => {
    first.under.nodes[1]!.cut()
    second.under.nodes[1]!.cut()
    await first.time.advance(5000)
    await change({ leave: ['node-2'], join: [joining('node-5')] })
    await ended()
    await everyKeyIs((key) => `${key} v1`)
  })
})
