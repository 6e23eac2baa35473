/**
 * What a coordinator is asked before a node loses its data, and begins with only after the node was filled again: until
 * then it has waited for room at its nodes (coordinator/admission).
 *
 *   c1   move ──▶ s0 …   incr waits for room   ····· stalled ·····   reply of s0: incr begins; s2 has another marker,
 *                                                                    s0 and s1 confirm it
 *   c0              s2 flushed ──▶ filling ──▶ filled from s0, s1 ──▶ clean
 *
 * So s2 is clean and lacks it, as any replica that misses a write: it gets a hint, and reads at quorum find the others.
 */
import { expect } from 'chai'
import type { Fault, Operation, Schedule } from './schedule.ts'
import { REQUEST_TIMEOUT_MS } from './world.ts'
import { simulate } from './simulate.ts'

const operation = { level: 'quorum', ttlMs: 0 } as const
const operations: Operation[] = [
  { ...operation, at: 38, client: 1, coordinator: 1, key: '{accounts}a', kind: 'move', value: 1 },
  { ...operation, at: 38, client: 2, coordinator: 1, key: 'q1', kind: 'incr', value: 0 },
  { ...operation, at: 70, client: 3, coordinator: 0, key: 'q2', kind: 'write', value: 1000 },
]
const faults: Fault[] = [
  { kind: 'cut', at: 37, forMs: 100, coordinator: 1, server: 0, direction: 'from' },
  { kind: 'stall', at: 39, forMs: 2700, coordinator: 1 },
  { kind: 'flush', at: 60, server: 2 },
]
const schedule: Omit<Schedule, 'seed'> = {
  servers: 3,
  replicas: 3,
  coordinators: 2,
  durable: false,
  healAt: 3400,
  operations,
  faults,
  beyond: false,
}

describe('an update that waits for room while a node is filled', () => {
  it('is confirmed by a majority without that node, and loses nothing', async () => {
    let late = 0
    for (let seed = 1; seed <= 10; seed++) {
      const { violations, history, counters } = await simulate(
        { ...schedule, seed },
        { expect: { converge: true } },
      )
      expect(violations, `seed ${seed}`).to.deep.equal([])
      expect(counters.counts.get('nodes filled'), `seed ${seed}`).to.equal(1)
      const update = history.find(({ operation: { client } }) => client === 2)!
      // In some runs it waits for too long, and is refused without effect.
      expect(update.outcome, `seed ${seed}`).to.be.oneOf(['ok', 'none'])
      if (update.outcome === 'none') continue
      expect(update.admittedMs - update.startMs, `seed ${seed}`).to.be.above(2 * REQUEST_TIMEOUT_MS)
      late++
    }
    expect(late, 'runs in which it began late').to.be.above(5)
  })
})
