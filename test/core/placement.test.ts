import { expect } from 'chai'
import { Placement } from '../../src/core/placement.ts'
import { LISTED_NODES } from '../../src/core/ring.ts'
import { tokenOf } from '../../src/core/token.ts'

const members = (count: number) => Array.from({ length: count }, (_, i) => ({ id: `n${i + 1}` }))
const placed = (count: number, replicationFactor: number, epoch = 1) => {
  return Placement.of({ epoch, members: members(count), replicationFactor, vnodesPerNode: 20 })
}
const KEYS = Array.from({ length: 200 }, (_, i) => Buffer.from(`key:${i}`))
const ids = (nodes: readonly { id: string }[]) => nodes.map(({ id }) => id)

describe('the placement', () => {
  it('has as many distinct home replicas as are asked for, however many the ring has listed', () => {
    for (const replicas of [1, 3, 7, 8, 9, 12]) {
      const placement = placed(12, replicas)
      expect(placement.replicas).to.equal(replicas)
      for (const { homes } of placement.replicaSets()) expect(new Set(homes).size).to.equal(replicas)
    }
  })

  it('has every member as a home replica if there are fewer than asked for', () => {
    const placement = placed(2, 3)
    expect(placement.replicas).to.equal(2)
    for (const key of KEYS) {
      const { homes, fallbacks } = placement.replicaSetOf(key)
      expect(ids(homes).sort()).to.deep.equal(['n1', 'n2'])
      expect(fallbacks).to.deep.equal([])
    }
  })

  it("splits the ring's preference list, with the same order for every N", () => {
    for (const replicas of [1, 3, LISTED_NODES - 1, LISTED_NODES, 10]) {
      const placement = placed(12, replicas)
      for (const key of KEYS) {
        const { homes, fallbacks, preference, epoch } = placement.replicaSetOf(key)
        expect(epoch).to.equal(1)
        expect([...homes, ...fallbacks]).to.deep.equal(preference)
        const walked = [...placement.ring.walk(key)]
        expect(preference).to.deep.equal(walked.slice(0, preference.length))
        expect(placement.replicaSetAt(tokenOf(key)).homes).to.deep.equal(homes)
      }
    }
  })

  it('lists its replica sets in the order of the ring', () => {
    const placement = placed(5, 3)
    const { ring } = placement
    const sets = [...placement.replicaSets()]
    expect(sets.length).to.equal(ring.size)
    sets.forEach(({ preference }, i) => {
      expect(preference).to.equal(ring.preferenceListAt(ring.vnodeAt(i).token))
    })
  })

  it('shares one set between all keys with the same preference list, and cannot be changed', () => {
    const placement = placed(4, 2)
    const distinct = new Set(KEYS.map((key) => placement.replicaSetOf(key)))
    expect(distinct.size).to.be.at.most(24)
    const set = placement.replicaSetOf(KEYS[0]!)
    expect(() => (set.homes as { id: string }[]).pop()).to.throw(TypeError)
    expect(() => Object.assign(set, { epoch: 2 })).to.throw(TypeError)
    expect(() => Object.assign(placement, { epoch: 2 })).to.throw(TypeError)
  })
})
