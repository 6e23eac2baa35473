/**
 * A short part of `npm run chaos`: a handful of faults of real redis-server processes under load, what is promised at
 * quorum, and nothing about speed but the deadline. RONDO_SEED=… repeats the faults of a run that failed.
 */
import { expect } from 'chai'
import { seeds } from '../support/random.ts'
import { CONVERGED_WITHIN_MS, runChaos } from './chaos.ts'
import { nameOf } from './workload.ts'

const RUN_MS = 12_000

describe('chaos with real servers', function () {
  this.timeout(RUN_MS + CONVERGED_WITHIN_MS + 30_000)

  for (const seed of seeds(1)) {
    it(`loses nothing, serves nothing stale, keeps its deadline and heals (RONDO_SEED=${seed})`, async () => {
      const result = await runChaos({
        seed,
        faults: 8,
        changesPercent: 0,
        operations: 500,
        operationsPerSecond: 150,
        limitMs: RUN_MS,
      })
      expect(result.complaints).to.deep.equal([])
      expect(result.verdicts.filter(({ what }) => what !== 'undecided')).to.deep.equal([])
      expect(result.collections.lost).to.deep.equal([])
      expect(result.collections.twice).to.deep.equal([])
      expect(result.collections.popped).to.be.above(0)
      expect(result.stuck.map(nameOf)).to.deep.equal([])
      expect(result.differences).to.deep.equal([])
      expect(result.convergedAfterMs, 'converged').to.be.a('number')
      expect(result.incidents).not.to.be.empty
      const ok = result.history.filter(({ outcome }) => outcome === 'ok')
      expect(ok.length).to.be.above(100)
    })
  }
})
