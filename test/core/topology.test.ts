import { expect } from 'chai'
import fc from 'fast-check'
import {
  advance,
  begin,
  cancel,
  encodeTopology,
  founded,
  isPartOf,
  lossWithout,
  membersOf,
  move,
  parseTopology,
  placementOf,
  shapeOf,
  replace,
  stands,
  StepRefused,
  sumOf,
  votingLayout,
  type Layout,
  type Topology,
  type TopologyMember,
  failOver,
} from '../../src/core/topology.ts'

const KEYS = Array.from({ length: 300 }, (_, i) => Buffer.from(`key:${i}`))
const member = (n: number, more: Partial<TopologyMember> = {}): TopologyMember => {
  return { id: `n${n}`, url: `redis://10.0.0.${n}:6379`, weight: 1, zone: null, ordinal: n, life: 1, ...more }
}
const layout = (ns: readonly number[], replicas = 3): Layout => {
  return { members: ns.map((n) => member(n)), replicas, vnodes: 20 }
}
const nodes = new Map<string, { id: string }>()
const nodeOf = ({ id }: TopologyMember) => {
  if (!nodes.has(id)) nodes.set(id, { id })
  return nodes.get(id)!
}
const idsOf = (all: readonly { id: string }[]) => all.map(({ id }) => id).sort()
const homesOf = (topology: Topology, key: Buffer) =>
  idsOf(placementOf(topology, nodeOf).replicaSetOf(key).homes)

describe('the topology', () => {
  const old = founded('c', layout([1, 2, 3, 4]))
  const both = begin(old, layout([1, 2, 3, 4, 5]))
  const switched = advance(both)
  const done = advance(switched)

  describe('steps', () => {
    it('are one epoch each, from the old layout over both to the new one', () => {
      const all = [old, both, switched, done]
      expect(all.map(({ epoch, phase }) => [epoch, phase])).to.deep.equal([
        [1, 'stable'],
        [2, 'both'],
        [3, 'switched'],
        [4, 'stable'],
      ])
      expect(all.map((one) => votingLayout(one).members.length)).to.deep.equal([4, 4, 5, 5])
      expect(all.map((one) => membersOf(one).length)).to.deep.equal([4, 5, 5, 5])
      expect(done.layout).to.deep.equal(layout([1, 2, 3, 4, 5]))
    })

    it('say since when, and by whom, ranges were gained', () => {
      const all = [old, both, switched, done, cancel(both)]
      expect(all.map(({ since }) => since)).to.deep.equal([1, 2, 2, 2, 1])
      expect(all.map(({ gained }) => gained)).to.deep.equal([[], ['n5'], ['n5'], ['n5'], []])
      const next = begin(done, layout([2, 3, 4, 5]))
      expect([next.sinceBefore, next.gainedBefore]).to.deep.equal([2, ['n5']])
      expect(next.gained).to.include.members(['n2', 'n3', 'n4'])
      expect(cancel(next)).to.include({ since: 2, epoch: 6, phase: 'stable' })
    })

    it('put another server in the place of a member, whose keys do not move', () => {
      const next = replace(done, 'n3', 'redis://new:1')
      expect(next).to.deep.include({
        epoch: done.epoch + 1,
        phase: 'stable',
        next: null,
        since: done.epoch + 1,
      })
      expect(next.gained).to.deep.equal(['n3'])
      const [before, after] = [done, next].map(({ layout }) => layout.members.find(({ id }) => id === 'n3'))
      expect(after).to.deep.equal({ ...before, url: 'redis://new:1', life: next.epoch, isGiven: true })
      for (const key of KEYS) expect(homesOf(next, key)).to.deep.equal(homesOf(done, key))
    })

    it('make the server a new life that Sentinels have promoted, and forget it with another address', () => {
      const next = failOver(done, 'n3', '10.0.0.2:6379')
      expect([next.phase, next.since, next.gained]).to.deep.equal(['stable', next.epoch, ['n3']])
      const memberOf = ({ layout }: Topology) => layout.members.find(({ id }) => id === 'n3')
      expect(memberOf(next)).to.deep.equal({ ...memberOf(done), primary: '10.0.0.2:6379', life: next.epoch })
      expect(parseTopology(encodeTopology(next))).to.deep.equal({ kind: 'topology', topology: next })
      expect(sumOf(next)).to.not.equal(sumOf(failOver(done, 'n3', '10.0.0.1:6379')))
      for (const key of KEYS) expect(homesOf(next, key)).to.deep.equal(homesOf(done, key))
      expect(memberOf(replace(next, 'n3', 'redis://new:1'))).to.not.have.property('primary')
      expect(() => failOver(both, 'n3', '10.0.0.2:6379')).to.throw('another change is under way')
    })

    it('give a member another address, with nothing to bring to the same server', () => {
      const moved = move(done, 'n3', 'redis://new:1')
      expect(moved).to.deep.include({ epoch: done.epoch + 1, since: done.since, gained: done.gained })
      expect(moved.layout.members.find(({ id }) => id === 'n3')).to.deep.include({ life: 1, isGiven: true })
      expect(move(done, 'n3', 'redis://new:1', false)).to.deep.include({ since: moved.epoch, gained: ['n3'] })
    })

    it('let what is left vote where members are gone with a majority, and nowhere else', () => {
      const gone = ['n1', 'n2']
      const next = begin(old, layout([3, 4, 5, 6]), gone)
      let survivors = 0
      for (const key of KEYS) {
        const homes = homesOf(old, key)
        const left = homes.filter((id) => !gone.includes(id))
        const set = placementOf(next, nodeOf).replicaSetOf(key)
        const voters = idsOf(set.homes.slice(0, set.voters))
        expect(voters).to.deep.equal(left.length === 1 ? left : homes)
        if (left.length === 1) survivors++
        // Then they have all that is left, and the others of the new set are brought it.
        for (const [place, { id }] of set.homes.entries()) {
          if (set.isJoint && !homes.includes(id)) expect(set.isGainedBy(place)).to.equal(true)
        }
      }
      expect(survivors).to.be.above(0)
      const loss = lossWithout(old, gone)
      expect(loss.share).to.be.closeTo(survivors / KEYS.length, 0.15)
      expect(loss).to.deep.include({ goneRanges: 0, goneShare: 0 })
      expect(lossWithout(old, ['n1'])).to.deep.include({ ranges: 0, share: 0 })
      expect(lossWithout(old, ['n1', 'n2', 'n3', 'n4']).goneShare).to.be.closeTo(1, 1e-9)
      expect(() => cancel(next)).to.throw(StepRefused, /cannot be undone/)
      expect(advance(advance(next)).layout.lost).to.equal(undefined)
    })

    it('lets the next in the order vote where nothing is left', () => {
      const gone = ['n1', 'n2', 'n3']
      const placement = placementOf(begin(old, layout([4, 5, 6, 7]), gone), nodeOf)
      for (const set of placement.replicaSets()) {
        const voters = idsOf(set.homes.slice(0, set.voters))
        expect(voters.length).to.be.above(0)
        expect(voters.every((id) => gone.includes(id))).to.equal(false)
      }
    })

    it('that are not allowed are refused', () => {
      for (const [step, why] of [
        [() => begin(both, layout([1])), /another change is under way/],
        [() => begin(old, old.layout), /would change nothing/],
        [() => advance(old), /no change is under way/],
        [() => cancel(old), /no change is under way/],
        [() => cancel(switched), /make the opposite change/],
        [() => replace(both, 'n1', 'redis://new:1'), /another change is under way/],
        [() => move(switched, 'n1', 'redis://new:1'), /another change is under way/],
      ] as const)
        expect(step).to.throw(StepRefused, why)
    })

    it('have placements in which neighbours share a majority that votes in one and holds in the other', () => {
      const some = fc.uniqueArray(fc.integer({ min: 1, max: 6 }), { minLength: 1, maxLength: 6 })
      fc.assert(
        fc.property(
          some,
          some,
          fc.integer({ min: 1, max: 3 }),
          fc.integer({ min: 1, max: 3 }),
          (a, b, n, m) => {
            const from = founded('c', layout(a, n))
            const to = layout(b, m)
            fc.pre(JSON.stringify(from.layout) !== JSON.stringify(to))
            const steps = [from, begin(from, to)]
            steps.push(advance(steps[1]!), advance(advance(steps[1]!)))
            for (const [i, step] of steps.slice(1).entries()) {
              const [before, after] = [placementOf(steps[i]!, nodeOf), placementOf(step, nodeOf)]
              for (const key of KEYS.slice(0, 30)) {
                const [one, two] = [before.replicaSetOf(key), after.replicaSetOf(key)]
                // Every set that votes before or after is whole in the homes of both: it was written to all the time.
                const voters = [...one.homes.slice(0, one.voters), ...two.homes.slice(0, two.voters)]
                const areThere = voters.every((node) => one.homes.includes(node) || two.homes.includes(node))
                expect(areThere).to.equal(true)
                const isVotersSame =
                  idsOf(one.homes.slice(0, one.voters)).join() ===
                  idsOf(two.homes.slice(0, two.voters)).join()
                if (!isVotersSame) expect(one.isJoint && two.isJoint).to.equal(true)
              }
            }
          },
        ),
        { numRuns: 60 },
      )
    })

    it('may change a weight, a zone or N alone', () => {
      const base = layout([1, 2, 3, 4])
      const heavier = { ...base, members: [member(1, { weight: 3 }), ...base.members.slice(1)] }
      expect(begin(old, heavier).gained).to.include('n1')
      const share = (topology: Topology) =>
        KEYS.filter((key) => placementOf(topology, nodeOf).replicaSetOf(key).homes[0]!.id === 'n1').length
      const after = advance(advance(begin(old, heavier)))
      expect(share(after)).to.be.greaterThan(1.5 * share(old))
      const more = advance(advance(begin(old, { ...base, replicas: 4 })))
      for (const key of KEYS) expect(homesOf(more, key)).to.deep.equal(['n1', 'n2', 'n3', 'n4'])
      const zoned = { ...base, members: base.members.map((one, i) => ({ ...one, zone: `z${i % 2}` })) }
      expect(advance(advance(begin(old, zoned))).layout).to.deep.equal(zoned)
    })
  })

  describe('stands', () => {
    it('once a majority of each set that voted an epoch ago is marked', () => {
      expect(stands(old, () => true)).to.equal(true)
      for (const topology of [old, both, switched, done])
        expect(stands(topology, () => false)).to.equal(false)
      // Of four nodes and three copies each pair is a majority of some set, so at most one may be missing.
      expect(stands(old, (id) => id !== 'n1')).to.equal(true)
      expect(stands(old, (id) => !['n1', 'n2'].includes(id))).to.equal(false)
    })

    it('whatever those say that did not vote', () => {
      expect(stands(both, (id) => id !== 'n5')).to.equal(true)
      expect(stands(switched, (id) => id !== 'n5')).to.equal(true)
      expect(stands(both, (id) => id === 'n5')).to.equal(false)
    })

    it('by the sets that the change concerns', () => {
      const wide = begin(founded('c', layout([1, 2, 3, 4, 5, 6], 1)), layout([2, 3, 4, 5, 6], 1))
      // With one copy only the ranges of n1 move, and n1 alone voted for them.
      expect(stands(wide, (id) => id === 'n1')).to.equal(true)
      expect(stands(wide, (id) => id !== 'n1')).to.equal(false)
    })
  })

  describe('a layout', () => {
    const at = (ns: readonly number[]): Layout => {
      const { members, ...rest } = layout(ns)
      return { ...rest, members: members.map((one) => ({ ...one, url: `redis://${one.id}` })) }
    }

    it('stands for the whole where it names less than half of it, and nothing else', () => {
      const all = at([1, 2, 3, 4, 5])
      expect([[1], [2, 5]].map((ns) => isPartOf(at(ns), all))).to.deep.equal([true, true])
      expect([[1, 2, 3], [1, 6], [6]].map((ns) => isPartOf(at(ns), all))).to.deep.equal([false, false, false])
      expect(isPartOf(at([1, 2]), at([1, 2, 3, 4]))).to.equal(false)
      const [first, ...rest] = all.members
      expect(isPartOf(at([2]), { ...all, members: [{ ...first!, url: null }, ...rest] })).to.equal(false)
    })

    it('has the same shape wherever its members can be reached, and another one with other weights or settings', () => {
      const one = at([1, 2, 3])
      expect(shapeOf({ ...one, members: [...layout([1, 2, 3]).members].reverse() })).to.equal(shapeOf(one))
      const [first, ...rest] = one.members
      const others = [
        at([1, 2]),
        { ...one, replicas: 2 },
        { ...one, vnodes: one.vnodes + 1 },
        { ...one, members: [{ ...first!, weight: 2 }, ...rest] },
        { ...one, members: [{ ...first!, zone: 'z' }, ...rest] },
      ]
      for (const other of others) expect(shapeOf(other)).to.not.equal(shapeOf(one))
    })
  })

  describe('on the nodes', () => {
    it('is what it was', () => {
      for (const topology of [old, both, switched, done, cancel(both)]) {
        expect(parseTopology(encodeTopology(topology))).to.deep.equal({ kind: 'topology', topology })
      }
    })

    it('of a release without changes has ids only', () => {
      const bytes = Buffer.from(JSON.stringify({ cluster: 'c', epoch: 1, members: ['a', 'b'] }))
      expect(parseTopology(bytes)).to.deep.equal({ kind: 'ids', cluster: 'c', ids: ['a', 'b'] })
    })

    it('is nothing else', () => {
      const json = JSON.parse(encodeTopology(both).toString()) as Record<string, unknown>
      const wrong: unknown[] = [
        'x',
        null,
        [],
        {},
        { ...json, version: 3 },
        { ...json, extra: 1 },
        { ...json, next: null },
        { ...json, phase: 'stable' },
        { ...json, epoch: 0 },
        { ...json, layout: { ...both.layout, members: [] } },
        { ...json, layout: { ...both.layout, members: [member(1), member(1)] } },
        { ...json, layout: { ...both.layout, members: [member(1, { weight: 0 })] } },
        { ...json, layout: { ...both.layout, members: [member(1, { id: '' })] } },
        { cluster: 'c', epoch: 2, members: ['a'] },
        { cluster: 'c', epoch: 1, members: [] },
      ]
      for (const one of wrong)
        expect(parseTopology(Buffer.from(JSON.stringify(one))), String(one)).to.equal(null)
      expect(parseTopology(Buffer.from('{'))).to.equal(null)
    })

    it('has a sum of all that decides where keys are', () => {
      const sums = [
        old,
        both,
        switched,
        done,
        cancel(both),
        { ...old, cluster: 'd' },
        { ...old, generation: 2 },
      ].map(sumOf)
      expect(new Set(sums).size).to.equal(sums.length)
      expect(sumOf({ ...old, gained: ['n1'] })).to.equal(sumOf(old))
    })
  })
})
