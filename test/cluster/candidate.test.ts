/** A node that was asked to agree to its own joining, by a coordinator that has stopped since. */
import { expect } from 'chai'
import { VersionClock } from '../../src/core/clock.ts'
import { KIND_VALUE, newRecord, versionOf } from '../../src/core/codec.ts'
import type { RondoError } from '../../src/core/errors.ts'
import { begin, encodeTopology, founded, type Topology } from '../../src/core/topology.ts'
import { CoordinatorUnderTest } from '../support/coordinator-under-test.ts'
import { FaultyNode } from '../support/faulty-node.ts'

const JOIN = [{ id: 'node-5', url: 'redis://node-5:6379', weight: 1, zone: null }]

describe('a node that holds a vote of a round that was not ended', () => {
  let under: CoordinatorUnderTest
  let node: FaultyNode

  beforeEach(async () => {
    under = await CoordinatorUnderTest.started()
    node = new FaultyNode('node-5', under.time)
    under.nodes.push(node)
  })

  /** What another coordinator has left on it. */
  async function vote(topology: Topology | null): Promise<void> {
    const versions = new VersionClock(() => under.time.wallMs(), 9)
    const ballot = newRecord(KIND_VALUE, versions, 0)
    await under.done(node.prepareRegister(versionOf(ballot)))
    if (!topology) return
    await under.done(node.acceptRegister({ head: ballot.head, value: encodeTopology(topology) }))
  }
  const request = () =>
    under.done(
      under.cluster.changes.request({ join: JOIN }).then(
        ({ epoch, phase }) => `${epoch} ${phase}`,
        (error: RondoError) => error.message,
      ),
    )
  const ids = () => under.cluster.members.map(({ id }) => id)

  it('joins, if it has only promised', async () => {
    await vote(null)
    expect(await request()).to.equal('2 both')
    expect(ids()).to.include('node-5')
  })

  it('joins, if it has accepted a change of this cluster', async () => {
    const from = under.cluster.membership.topology!
    const member = { ...JOIN[0]!, ordinal: 5, life: 2, isGiven: true as const }
    await vote(begin(from, { ...from.layout, members: [...from.layout.members, member] }))
    expect(await request()).to.equal('2 both')
    expect(ids()).to.include('node-5')
  })

  it('is refused with keys beside its vote', async () => {
    await vote(null)
    node.memory.storage.set(Buffer.from('key'), Buffer.from('value'), Infinity)
    expect(await request()).to.match(/^Node node-5 .* holds 1 keys/)
    expect(under.cluster.placement.epoch).to.equal(1)
  })

  it('is refused with the vote of another cluster', async () => {
    await vote(founded('another', under.cluster.layout))
    expect(await request()).to.match(/^Node node-5 .* was a node of a cluster/)
    expect(under.cluster.placement.epoch).to.equal(1)
  })
})
