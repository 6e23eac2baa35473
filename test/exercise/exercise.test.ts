/**
 * Short parts of `npm run exercise`: members join and leave under load, the coordinator that works is killed, and something
 * else goes wrong, drawn anew in each run. Nothing about speed. RONDO_SEED=… repeats what was drawn.
 */
import { expect } from 'chai'
import { seeded, seeds } from '../support/random.ts'
import { CASES, runCase } from './faults.ts'
import { runKills } from './kills.ts'
import type { Load } from './load.ts'
import { runResharding } from './resharding.ts'

/** Nothing about how long it took: the machine may be busy. */
function expectNothingLost({ counts, told }: Load): void {
  const nothing = { missing: 0, resurrected: 0, wrong: 0, absent: 0 }
  expect(counts, told.join('\n')).to.deep.include(nothing)
}

describe('changes of members, exercised', function () {
  this.timeout(300_000)
  const [seed] = seeds(1)

  it(`lose nothing, and move no more than they must (RONDO_SEED=${seed})`, async () => {
    const result = await runResharding({
      keys: 2000,
      operations: 1500,
      operationsPerSecond: 250,
      seed: seed!,
    })
    expectNothingLost(result.load)
    expect(result.leftOut).to.deep.equal([])
    expect(result.copiesWrong).to.deep.equal([])
    expect(result.scans).to.be.above(0)
    expect(result.changes).to.have.length.at.least(2)
    for (const { report } of result.changes) expect(report.moved).to.be.above(0)
  })

  it(`are carried on by another coordinator (RONDO_SEED=${seed})`, async () => {
    const result = await runKills({ kills: 1, keys: 500, operationsPerSecond: 100, seed: seed! })
    expectNothingLost(result.load)
    expect(result.copiesWrong).to.deep.equal([])
  })

  const drawn = seeded(seed!).pick(CASES)
  it(`${drawn.fault.name}, ${drawn.phase}: nothing is lost, and it ends (RONDO_SEED=${seed})`, async () => {
    const { load, copiesWrong, members, expected } = await runCase(drawn, seed!)
    expectNothingLost(load)
    expect(copiesWrong).to.deep.equal([])
    expect(members).to.deep.equal(expected)
  })
})
