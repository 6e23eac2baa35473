/** What chance brings together too rarely: a foreign node at one address, while the others tell nothing or seem wrong. */
import { expect } from 'chai'
import { makeSchedule } from './make-schedule.ts'
import { FOREIGN_SERVER, type Fault, type Schedule } from './schedule.ts'
import { simulate } from './simulate.ts'

const cut = (server: number): Fault => {
  return { kind: 'cut', at: 50, forMs: 900, coordinator: 0, server, direction: 'both' }
}
const foreign: Fault = { kind: 'swap', at: 50, forMs: 900, server: 0, other: FOREIGN_SERVER }
const kill: Fault = { kind: 'kill', at: 60, forMs: 40, coordinator: 0 }

function scheduleOf(seed: number, faults: readonly Fault[]): Schedule {
  const { operations } = makeSchedule(seed)
  return {
    seed,
    servers: 3,
    replicas: 3,
    coordinators: 3,
    durable: false,
    healAt: 2000,
    operations,
    faults,
    beyond: false,
  }
}

describe('a coordinator that begins while it reaches only a node of another cluster', () => {
  it('serves its own again once it reaches those', async function () {
    this.timeout(20_000)
    for (let seed = 1; seed <= 10; seed++) {
      const { violations, counters } = await simulate(scheduleOf(seed, [foreign, cut(1), cut(2), kill]))
      // While it knows of nobody else, it takes that one for its own, and writes to it.
      const others = violations.filter((what) => !what.includes('a Redis of somebody else was written to'))
      expect(others, `seed ${seed}`).to.deep.equal([])
      expect(counters.counts.get('event: cluster-left'), `seed ${seed}`).to.equal(1)
    }
  })
})

describe('a node of another cluster, while the other addresses are exchanged', () => {
  const exchanged: Fault = { kind: 'swap', at: 20, forMs: 200, server: 1, other: 2 }

  it('is not taken for their own by coordinators that run or begin then: not a byte is written to it', async function () {
    this.timeout(20_000)
    for (let seed = 1; seed <= 10; seed++) {
      const { violations, counters } = await simulate(scheduleOf(seed, [exchanged, foreign, kill]))
      expect(violations, `seed ${seed}`).to.deep.equal([])
      expect(counters.counts.get('fault: swap'), `seed ${seed}`).to.equal(2)
      expect(counters.counts.get('event: cluster-left'), `seed ${seed}`).to.equal(undefined)
    }
  })
})
