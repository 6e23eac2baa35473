import { expect } from 'chai'
import fc from 'fast-check'
import { ClusterTime } from '../../src/cluster/time.ts'
import { VirtualTime } from '../support/virtual-time.ts'

const HOUR_MS = 3_600_000
const PING_MS = 1000

describe('cluster time', () => {
  let clock: VirtualTime
  let time: ClusterTime
  let trueMs: () => number

  beforeEach(async () => {
    clock = new VirtualTime(0)
    await clock.advance(5000)
    trueMs = () => clock.monotonicMs() + 1_000_000_000_000
    clock.stepWall(-HOUR_MS) // our own clock is wrong
    time = new ClusterTime(clock, PING_MS)
  })

  /** A probe of a node whose clock is that far off, with this long a way there and back. */
  const probe = (node: string, offMs = 0, wayMs = 0) => {
    const sentAtMs = clock.monotonicMs()
    time.sample(node, trueMs() + wayMs / 2 + offMs, sentAtMs, sentAtMs + wayMs)
  }

  for (const nonsense of [NaN, Infinity, -Infinity]) {
    it(`is not moved by a clock that says ${nonsense}`, () => {
      time.sample('a', nonsense, 0, 0)
      expect(time.nowMs()).to.equal(clock.wallMs())
      probe('b')
      time.sample('a', nonsense, 0, 0)
      expect(time.nowMs()).to.equal(trueMs())
      expect(time.distance('a')).to.equal(null)
    })
  }

  it('is our own until the first node has answered', () => {
    expect(time.nowMs()).to.equal(clock.wallMs())
  })

  it("is the nodes' from the first answer on; our own clock does not matter any more", async () => {
    probe('a')
    expect(time.nowMs()).to.equal(trueMs())
    clock.stepWall(5 * HOUR_MS)
    expect(time.nowMs()).to.equal(trueMs())
    await clock.advance(1234)
    expect(time.nowMs()).to.equal(trueMs())
  })

  it('does not move for one wrong clock among three or four, ahead or behind', () => {
    for (const others of [
      ['b', 'c'],
      ['b', 'c', 'd'],
    ]) {
      for (const offMs of [-HOUR_MS, HOUR_MS, 1e12]) {
        time = new ClusterTime(clock, PING_MS)
        for (const node of others) probe(node)
        probe('a', offMs)
        expect(time.nowMs()).to.equal(trueMs())
        expect(time.distance('a')).to.deep.equal({ offMs, errorMs: 0 })
        expect(time.distance('b')).to.deep.equal({ offMs: 0, errorMs: 0 })
      }
    }
  })

  it('stays within the right clocks as long as they are more than the wrong ones', () => {
    const clocks = fc.record({
      right: fc.array(fc.double({ min: -5, max: 5, noNaN: true }), { minLength: 2, maxLength: 7 }),
      wrong: fc.array(fc.double({ min: -1e9, max: 1e9, noNaN: true }), { maxLength: 6 }),
    })
    fc.assert(
      fc.property(clocks, ({ right, wrong }) => {
        fc.pre(wrong.length < right.length)
        time = new ClusterTime(clock, PING_MS)
        right.forEach((offMs, i) => probe(`right-${i}`, offMs))
        wrong.forEach((offMs, i) => probe(`wrong-${i}`, offMs))
        const offMs = time.nowMs() - trueMs()
        expect(offMs).to.be.within(Math.min(...right) - 0.01, Math.max(...right) + 0.01)
      }),
    )
  })

  it('knows how well it knows: half of the way there and back', () => {
    probe('a')
    probe('b')
    probe('c', 0, 80)
    expect(time.distance('c')).to.deep.equal({ offMs: 0, errorMs: 40 })
    expect(time.distance('z')).to.equal(null)
  })

  it('takes the newest measurement of each node: a clock that was set right counts again', () => {
    probe('a', HOUR_MS)
    probe('b')
    probe('c')
    probe('a', 0)
    expect(time.distance('a')!.offMs).to.equal(0)
    probe('b', HOUR_MS)
    probe('c', HOUR_MS) // now it is the majority's word
    expect(time.nowMs()).to.equal(trueMs() + HOUR_MS)
  })

  it('forgets a node that is not ours, and goes on when none is left', async () => {
    probe('a', HOUR_MS)
    probe('b')
    probe('c', HOUR_MS)
    time.forget('a')
    expect(time.nowMs()).to.equal(trueMs())
    time.forget('b')
    time.forget('c')
    await clock.advance(10)
    expect(time.nowMs()).to.equal(trueMs() + HOUR_MS)
    expect(time.distance('a')).to.equal(null)
  })

  describe("the latest that another coordinator's can be", () => {
    beforeEach(() => {
      for (const node of ['a', 'b', 'c']) probe(node)
    })

    it('is the same, also while one clock of three is wrong, and after it was set right', () => {
      for (const offMs of [HOUR_MS, 0, -HOUR_MS, 0]) {
        probe('a', offMs)
        expect(time.latestMs).to.equal(trueMs())
      }
    })

    it('is the time of before while others may not have noticed that all clocks were set back', async () => {
      probe('a', -HOUR_MS)
      expect(time.latestMs).to.equal(trueMs())
      probe('b', -HOUR_MS)
      expect(time.nowMs()).to.equal(trueMs() - HOUR_MS)
      const untilMs = trueMs() + 2.5 * PING_MS
      expect(time.latestMs).to.equal(untilMs)
      probe('c', -HOUR_MS)
      await clock.advance(10 * PING_MS)
      for (const node of ['a', 'b', 'c']) probe(node, -HOUR_MS)
      expect(time.latestMs, 'it does not go further').to.equal(untilMs)
      await clock.advance(HOUR_MS)
      expect(time.latestMs).to.equal(time.nowMs()).and.to.be.above(untilMs)
    })

    it('does not believe a wrong clock that was the first to answer', () => {
      const fresh = (time = new ClusterTime(clock, PING_MS))
      probe('a', HOUR_MS)
      probe('b')
      probe('c')
      expect(fresh.latestMs).to.equal(trueMs())
    })
  })
})
