/** TOPOLOGY=static: the members are those of the configuration, and a cluster that has changed is not used. */
import { expect } from 'chai'
import { decodeMarker, epochOf } from '../../src/cluster/marker.ts'
import { MARKER_KEY } from '../../src/core/keys.ts'
import { begin, type Layout } from '../../src/core/topology.ts'
import { CoordinatorUnderTest } from '../support/coordinator-under-test.ts'

describe('a coordinator that keeps to its configuration', () => {
  let first: CoordinatorUnderTest
  let under: CoordinatorUnderTest

  beforeEach(async () => {
    first = await CoordinatorUnderTest.started()
    under = new CoordinatorUnderTest({ beside: first, coordinator: 2, isStatic: true })
    await under.start()
  })

  const withoutLast = (layout: Layout): Layout => ({ ...layout, members: layout.members.slice(0, -1) })
  const shrink = () =>
    first.done(first.cluster.membership.change((from) => begin(from, withoutLast(from.layout))))
  const WHY =
    'the cluster has changed its members (epoch 2), which this coordinator does not follow (TOPOLOGY=static): ' +
    'start it with TOPOLOGY=dynamic'

  it('serves a cluster that has not changed', async () => {
    expect((await under.put('key', 'value')).result).to.equal('ok')
    expect((await first.get('key')).result).to.equal('value')
  })

  it('begins no change, and says why', async () => {
    const refused = await under
      .done(under.cluster.changes.request({ leave: ['node-4'] }))
      .catch((error: Error) => error)
    expect(refused).to.have.property('code', 'CONFLICT')
    expect(refused).to.have.property('message').that.includes('TOPOLOGY=static')
    expect(under.cluster.placement.epoch).to.equal(1)
  })

  it('uses no node from the moment when it meets a later epoch, not even one that is not marked yet', async () => {
    const [late] = first.nodes
    late!.swapMarker = () => Promise.reject(new Error('lost'))
    await shrink()
    const marker = decodeMarker(late!.memory.storage.get(MARKER_KEY)!)
    expect(marker && epochOf(marker)).to.equal(1)
    expect(first.cluster.placement.epoch).to.equal(2)
    await under.time.advance(5000)
    for (const { completeness, lastError, node } of under.cluster.members) {
      expect(completeness).to.equal('refused')
      expect(lastError).to.equal(`refused: ${WHY}`)
      expect(node.ready).to.equal(false)
    }
    expect(under.cluster.ready).to.equal(false)
    expect(
      under.told('node-completeness').filter((event) => 'why' in event && event.why === WHY),
    ).to.have.length(4)
    for (const ended of [await under.get('key'), await under.put('key', 'value')]) {
      expect(ended.result).to.equal('UNAVAILABLE')
    }
  })

  it('uses no node when it starts later', async () => {
    await shrink()
    const late = new CoordinatorUnderTest({ beside: first, coordinator: 3, isStatic: true })
    await late.start()
    expect(late.cluster.ready).to.equal(false)
    expect(late.cluster.members.map(({ completeness }) => completeness)).to.deep.equal(
      Array(4).fill('refused'),
    )
  })
})
