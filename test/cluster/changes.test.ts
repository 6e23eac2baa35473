/** A change that was proposed may be decided by another coordinator, which found it begun: whoever asked for it is told so. */
import { expect } from 'chai'
import { Changes, UnderWay } from '../../src/cluster/changes.ts'
import type { Membership } from '../../src/cluster/membership.ts'
import { advance, founded, type Layout, type Topology } from '../../src/core/topology.ts'

const layout: Layout = {
  members: ['a', 'b', 'c'].map((id, i) => ({
    ...{ id, url: `redis://10.0.0.${i + 1}:6379`, weight: 1, zone: null, ordinal: i + 1, life: 1 },
  })),
  replicas: 3,
  vnodes: 10,
}

describe('a change that was proposed, and not decided by who asked', () => {
  const first = founded('c', layout)
  const from: Topology = { ...first, epoch: 5, since: 5 }

  /** @param found what is there when it is tried again, for what was proposed */
  function changes(found: (proposed: Topology) => Topology): Changes {
    let proposed: Topology | null = null
    const change: Membership['change'] = (step) => {
      const wanted = step(proposed ? found(proposed) : from)
      if (proposed) return Promise.resolve(wanted)
      proposed = wanted
      return Promise.resolve(null)
    }
    return new Changes({
      membership: { topology: from, change } as Membership,
      members: () => [],
      memberOf: () => expect.fail('no node joins'),
      checkAddress: () => Promise.resolve(),
      primaryOf: () => Promise.resolve(null),
      randomId: () => 'random',
    })
  }
  const weight = (of: Changes, id: string) => of.request({ weights: new Map([[id, 2]]) })

  it('has begun, where another coordinator decided it', async () => {
    const begun = await weight(
      changes((proposed) => proposed),
      'a',
    )
    expect(begun.next!.members.map(({ weight }) => weight)).to.deep.equal([2, 1, 1])
  })

  it('has begun, where others have also driven it further', async () => {
    const one = changes((proposed) => advance(advance(proposed)))
    expect((await weight(one, 'a')).epoch).to.equal(8)
  })

  it('has not, where another change was decided instead', async () => {
    const other = await weight(
      changes((proposed) => proposed),
      'b',
    )
    const refused = await weight(
      changes(() => other),
      'a',
    ).catch((error: unknown) => error)
    expect(refused).to.be.instanceOf(UnderWay)
  })
})
