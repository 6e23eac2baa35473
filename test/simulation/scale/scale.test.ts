import { expect } from 'chai'
import { changeOf } from './change.ts'
import { Fleet, PING_INTERVAL_MS } from './fleet.ts'
import { imbalance, movedBy } from './rings.ts'

const NODES = 10
const COORDINATORS = 3
const options = { nodes: NODES, coordinators: COORDINATORS, vnodes: 8, seed: 1 }
const SECONDS = (2 * PING_INTERVAL_MS) / 1000

describe('the scale of a cluster', () => {
  it('pings each node once an interval from each coordinator, whatever the number of coordinators', async () => {
    const fleet = new Fleet({ ...options, announces: true })
    await fleet.found()
    const { callsPerSecond, keptBytes } = await fleet.idle(SECONDS)
    const pings = COORDINATORS / (PING_INTERVAL_MS / 1000)
    expect(callsPerSecond.get('probe')).to.equal(pings)
    expect(callsPerSecond.get('checkIn')).to.equal(pings)
    expect(keptBytes.notes / COORDINATORS).to.be.within(100, 1000)
  })

  it('makes a change known to all coordinators at once, and without announcements within an interval', async () => {
    const announced = new Fleet({ ...options, announces: true })
    await announced.found()
    expect((await announced.change()).everywhereMs).to.be.below(100)
    const pinged = new Fleet({ ...options, announces: false })
    await pinged.found()
    expect((await pinged.change()).everywhereMs).to.be.within(100, PING_INTERVAL_MS + 100)
  })

  it('moves no more than a node that joins or leaves holds', () => {
    for (const kind of ['join', 'leave'] as const) {
      const { share, ideal } = movedBy(kind, NODES, 400)
      expect(share / ideal, kind).to.be.within(0.85, 1.15)
    }
  })

  it('spreads keys more evenly with more vnodes, and by weight', () => {
    expect(imbalance(NODES, 400)).to.be.within(1, Math.min(1.15, imbalance(NODES, 10)))
    expect(imbalance(NODES, 400, [1, 2, 4])).to.be.within(1, 1.25)
  })

  it('brings a node that joins what it gains', async () => {
    const { moved, checked, seconds } = await changeOf(4, 300)
    // Three of five nodes hold a key; before, three of four did.
    expect(moved).to.be.within(0.3 * 300, 0.9 * 300)
    expect(checked).to.be.at.least(2 * 3 * 300)
    expect(seconds).to.be.above(1)
  })
})
