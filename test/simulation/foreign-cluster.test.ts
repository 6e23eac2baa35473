/** What chance brings together too rarely: a coordinator that starts anew, and then reaches nobody but a foreign node. */
import { expect } from 'chai'
import { makeSchedule } from './make-schedule.ts'
import { FOREIGN_SERVER, type Fault, type Schedule } from './schedule.ts'
import { simulate } from './simulate.ts'

const cut = (server: number): Fault => {
  return { kind: 'cut', at: 50, forMs: 900, coordinator: 0, server, direction: 'both' }
}
const FAULTS: readonly Fault[] = [
  { kind: 'swap', at: 50, forMs: 900, server: 0, other: FOREIGN_SERVER },
  cut(1),
  cut(2),
  { kind: 'kill', at: 60, forMs: 40, coordinator: 0 },
]

describe('a coordinator that begins while it reaches only a node of another cluster', () => {
  it('serves its own again once it reaches those', async function () {
    this.timeout(20_000)
    for (let seed = 1; seed <= 10; seed++) {
      const { operations } = makeSchedule(seed)
      const schedule: Schedule = {
        seed,
        servers: 3,
        replicas: 3,
        coordinators: 3,
        durable: false,
        healAt: 2000,
        operations,
        faults: FAULTS,
        beyond: false,
      }
      const { violations, counters } = await simulate(schedule)
      // While it knows of nobody else, it takes that one for its own, and writes to it.
      const others = violations.filter((what) => !what.includes('a Redis of somebody else was written to'))
      expect(others, `seed ${seed}`).to.deep.equal([])
      expect(counters.counts.get('event: cluster-left'), `seed ${seed}`).to.equal(1)
    }
  })
})
