import { expect } from 'chai'
import fc from 'fast-check'
import { CONSISTENCY_LEVELS, required } from '../../src/core/consistency.ts'
import { ReplicaSet } from '../../src/core/replica-set.ts'

describe('a replica set', () => {
  it('of one set: a majority votes, and a majority holds', () => {
    const set = ReplicaSet.stable({ epoch: 1, since: 1 }, ['a', 'b', 'c', 'd'], 3)
    expect([set.homes, set.fallbacks, set.voters, set.isJoint]).to.deep.equal([
      ['a', 'b', 'c'],
      ['d'],
      3,
      false,
    ])
    expect([set.isHeld([0], 'quorum'), set.isHeld([0, 2], 'quorum')]).to.deep.equal([false, true])
    expect([set.isHeld([0, 2], 'all'), set.isHeld([0, 1, 2], 'all')]).to.deep.equal([false, true])
  })

  it('of two: lists the voters first, and everybody once', () => {
    const set = ReplicaSet.joint({ epoch: 2, since: 1 }, ['a', 'b', 'c'], ['d', 'c', 'a'], ['e'])
    expect(set.homes).to.deep.equal(['a', 'b', 'c', 'd'])
    expect(set.preference).to.deep.equal(['a', 'b', 'c', 'd', 'e'])
    expect([set.voters, set.isJoint]).to.deep.equal([3, true])
  })

  it('of two: votes are those of the first set, and held is what enough of each hold', () => {
    const NODES = ['a', 'b', 'c', 'd', 'e', 'f']
    const some = fc.uniqueArray(fc.constantFrom(...NODES), { minLength: 1 })
    fc.assert(
      fc.property(
        some,
        some,
        some,
        fc.constantFrom(...CONSISTENCY_LEVELS),
        (voters, others, holders, level) => {
          const set = ReplicaSet.joint({ epoch: 1, since: 1 }, voters, others, [])
          const places = holders.flatMap((node) =>
            set.homes.includes(node) ? [set.homes.indexOf(node)] : [],
          )
          const enough = (nodes: readonly string[]) =>
            nodes.filter((node) => holders.includes(node)).length >= required(level, nodes.length)
          expect(set.hasVotes(places, level)).to.equal(enough(voters))
          expect(set.isHeld(places, level)).to.equal(enough(voters) && enough(others))
        },
      ),
    )
  })

  it('of two: tells which of them too few are of, and how many it has', () => {
    const from = (isReceiving: boolean, places: readonly number[]) =>
      ReplicaSet.joint({ epoch: 1, since: 1 }, ['a', 'b', 'c'], ['a', 'b'], [], isReceiving).lacking(
        places,
        'quorum',
      )
    const after = { set: ['a', 'b'], when: 'after', held: 1, required: 2 }
    expect(from(true, [0, 2])).to.deep.equal(after)
    expect(from(false, [0, 2])).to.deep.equal({ ...after, when: 'before' })
    expect(from(true, [2])).to.deep.equal({ set: ['a', 'b', 'c'], when: 'before', held: 1, required: 2 })
    const stable = ReplicaSet.stable({ epoch: 1, since: 1 }, ['a', 'b', 'c', 'd'], 3)
    expect(stable.lacking([1], 'quorum')).to.deep.equal({
      ...{ set: ['a', 'b', 'c'], when: 'now', held: 1, required: 2 },
    })
  })

  it('does not count a node that is no home replica', () => {
    expect(ReplicaSet.stable({ epoch: 1, since: 1 }, ['a'], 1).hasVotes([-1], 'one')).to.equal(false)
  })

  it('is like another with the same nodes in the same order and parts', () => {
    const set = ReplicaSet.joint({ epoch: 1, since: 1 }, ['a', 'b'], ['b', 'c'], ['d'])
    expect(set.isLike(ReplicaSet.joint({ epoch: 1, since: 1 }, ['a', 'b'], ['b', 'c'], ['e']))).to.equal(true)
    expect(set.isLike(ReplicaSet.joint({ epoch: 1, since: 1 }, ['b', 'a'], ['b', 'c'], ['d']))).to.equal(
      false,
    )
    expect(set.isLike(ReplicaSet.joint({ epoch: 1, since: 1 }, ['a', 'b'], ['a', 'c'], ['d']))).to.equal(
      false,
    )
    expect(set.isLike(ReplicaSet.joint({ epoch: 1, since: 1 }, ['a', 'b', 'c'], ['b', 'c'], ['d']))).to.equal(
      false,
    )
    expect(set.isLike(ReplicaSet.stable({ epoch: 1, since: 1 }, ['a', 'b', 'c'], 3))).to.equal(false)
  })
})
