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

  describe('while members change', () => {
    const nodes = members(5)
    const of = (epoch: number, ids: readonly number[], replicationFactor = 3) => {
      const some = ids.map((id) => nodes[id - 1]!)
      return Placement.of({ epoch, members: some, replicationFactor, vnodesPerNode: 20 })
    }
    const changes: Record<string, readonly [readonly number[], readonly number[], number, number]> = {
      'a node joins': [[1, 2, 3, 4], [1, 2, 3, 4, 5], 3, 3],
      'a node leaves': [[1, 2, 3, 4, 5], [1, 2, 3, 4], 3, 3],
      'two are replaced by one': [[1, 2, 3, 4], [1, 2, 5], 3, 3],
      'N grows': [[1, 2, 3, 4], [1, 2, 3, 4], 2, 3],
      'N is as large as lists are long': [[1, 2, 3, 4, 5], [1, 2, 3, 4], 5, 4],
    }
    for (const [what, [before, after, n, next]] of Object.entries(changes)) {
      it(`${what}: a key has the home replicas of both rings, those of the voting one first`, () => {
        const [voting, other] = [of(1, before, n), of(2, after, next)]
        const joint = Placement.joint({ epoch: 3, since: 1 }, voting, other)
        expect([joint.isJoint, joint.epoch, joint.replicas]).to.deep.equal([true, 3, voting.replicas])
        expect(ids(joint.members)).to.deep.equal(
          ids([...new Set([...voting.members, ...other.members])]).sort(),
        )
        for (const key of KEYS) {
          const [old, latter, set] = [voting, other, joint].map((one) => one.replicaSetOf(key))
          expect(set!.epoch).to.equal(3)
          expect(set!.homes.slice(0, old!.homes.length)).to.deep.equal(old!.homes)
          expect(new Set(set!.homes)).to.deep.equal(new Set([...old!.homes, ...latter!.homes]))
          expect(new Set(set!.preference).size).to.equal(set!.preference.length)
          const changes =
            set!.homes.length > old!.homes.length ||
            old!.homes.length !== latter!.homes.length ||
            old!.homes[0] !== latter!.homes[0]
          expect(set!.isJoint).to.equal(changes)
        }
      })

      it(`${what}: its ranges cover every token once, and share what they say`, () => {
        const joint = Placement.joint({ epoch: 3, since: 1 }, of(1, before, n), of(2, after, next))
        const ranges = [...joint.ranges()]
        expect(ranges.length).to.equal(joint.size)
        ranges.forEach(({ range }, i) => expect(range.start).to.equal(ranges.at(i - 1)!.range.end))
        for (const key of KEYS) {
          const token = tokenOf(key)
          const { range, set } = ranges[joint.rangeIndexAt(token)]!
          const { start, end } = range
          const within = start < end ? start < token && token <= end : start < token || token <= end
          expect(within, `${token} in ${start}–${end}`).to.equal(true)
          expect(joint.replicaSetAt(token).homes).to.deep.equal(set.homes)
        }
      })
    }

    it('joins only where something changes, and shares the sets', () => {
      const [voting, other] = [of(1, [1, 2, 3, 4]), of(2, [1, 2, 3, 4, 5])]
      const joint = Placement.joint({ epoch: 3, since: 1 }, voting, other)
      const sets = KEYS.map((key) => joint.replicaSetOf(key))
      const changed = sets.filter(({ isJoint }) => isJoint).length
      const moved = KEYS.filter((key) => other.replicaSetOf(key).homes.includes(nodes[4]!)).length
      expect(changed)
        .to.equal(moved)
        .and.to.be.within(1, KEYS.length - 1)
      expect(joint.replicaSetOf(KEYS[0]!)).to.equal(sets[0])
    })

    it('has a fingerprint of its own', () => {
      const [voting, other] = [of(1, [1, 2, 3, 4]), of(2, [1, 2, 3, 4, 5])]
      const of3 = [
        voting,
        other,
        Placement.joint({ epoch: 3, since: 1 }, voting, other),
        Placement.joint({ epoch: 4, since: 1 }, other, voting),
      ]
      expect(new Set(of3.map(({ fingerprint }) => fingerprint)).size).to.equal(4)
    })
  })
})
