import { expect } from 'chai'
import { TOPOLOGY_KEY } from '../../src/core/keys.ts'
import { Placement } from '../../src/core/placement.ts'
import { CoordinatorUnderTest } from '../support/coordinator-under-test.ts'
import { record } from '../support/node-calls.ts'

describe('the view of the cluster', () => {
  let under: CoordinatorUnderTest
  beforeEach(async () => (under = await CoordinatorUnderTest.started()))
  afterEach(() => under.cluster.stop())

  const view = () => under.coordinator.clusterView()
  const ids = ['node-1', 'node-2', 'node-3', 'node-4']

  it('has what the members have agreed on', () => {
    const { members, ...rest } = view()
    expect(rest).to.include({
      cluster: under.cluster.id,
      generation: 1,
      epoch: 1,
      phase: 'stable',
      replicas: 3,
    })
    expect(rest.checksum).to.match(/^[0-9a-f]{32}$/)
    expect(members).to.deep.equal(
      ids.map((id) => ({
        id,
        url: `redis://${id}:6379`,
        weight: 1,
        zone: null,
        state: 'member',
        incarnation: 1,
        health: 'alive',
        others: { alive: 0, suspect: [], down: [] },
        completeness: 'clean',
        isRegistered: true,
      })),
    )
  })

  it('has the shares: all primaries are all keys, and so are all copies, whatever the weights', async () => {
    const heavy = new CoordinatorUnderTest({ beside: under, coordinator: 2 })
    await heavy.start()
    const [first, ...others] = heavy.cluster.members
    heavy.cluster.place(
      Placement.of({
        epoch: 2,
        members: [first!, ...others],
        replicationFactor: 2,
        vnodesPerNode: 200,
        shapeOf: (member) => ({ weight: member === first ? 3 : 1 }),
      }),
    )
    const { shares } = heavy.coordinator.clusterView()
    const sum = (of: 'primary' | 'copies') => Object.values(shares).reduce((all, share) => all + share[of], 0)
    expect([sum('primary'), sum('copies')].map((all) => Math.round(all * 1e9) / 1e9)).to.deep.equal([1, 1])
    expect(shares[first!.id]!.primary).to.be.within(0.4, 0.6)
    await heavy.cluster.stop()
  })

  it('tells nodes that only REDIS_URLS name from those that only the register names', async () => {
    const { head, value } = record(
      5,
      JSON.stringify({ cluster: under.cluster.id, epoch: 1, members: [...ids.slice(1), 'gone'] }),
    )
    for (const node of under.nodes)
      node.memory.storage.set(TOPOLOGY_KEY, Buffer.concat([head, value]), Infinity)
    await under.time.advance(3100)
    const told = view().members.map(({ id, health, isRegistered }) => [id, health, isRegistered])
    expect(told).to.deep.equal([
      ['gone', 'unknown', true],
      ['node-1', 'alive', false],
      ['node-2', 'alive', true],
      ['node-3', 'alive', true],
      ['node-4', 'alive', true],
    ])
  })

  it('is there before the members have agreed', () => {
    const early = new CoordinatorUnderTest({ coordinator: 3 })
    const { cluster, generation, phase, checksum, members } = early.coordinator.clusterView()
    expect([cluster, generation, phase, checksum]).to.deep.equal([null, null, null, null])
    expect(members.map(({ health }) => health)).to.deep.equal(ids.map(() => 'suspect'))
  })
})
