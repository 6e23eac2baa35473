/** A bounded part of the simulation, for every run of the tests; `npm run simulate` does more. */
import { expect } from 'chai'
import { Counters } from './coverage.ts'
import { printRun } from './print.ts'
import { makeSchedule } from './make-schedule.ts'
import { shrink } from './shrink.ts'
import { simulate } from './simulate.ts'

/** The first seeds, and some that meet what is rare. */
const SEEDS = [...firstSeeds(60), 86, 90, 131, 155]
const RUNS_BEYOND = 15
const RUNS_OF_CHANGES = 70
const RUNS_OF_TAGS = 20
const SEEDS_OF_TYPES = [...firstSeeds(30), 63, 69]
const RUNS_IN_PARTS = 10

/** What a run of this many seeds must have met, or it has shown nothing. */
const MET = [
  ...[
    'cut',
    'reset',
    'slow',
    'pause',
    'crash',
    'wipe',
    'flush',
    'swap',
    'refuse',
    'clock',
    'wall',
    'stall',
    'kill',
  ].map((kind) => `fault: ${kind}`),
  'timeouts',
  'calls lost in flight',
  'carried out after its connection was given up',
  'batches of several calls',
  'batches under a foreign marker',
  'refused: out-of-memory',
  'refused: read-only',
  'event: node-completeness filling',
  'event: node-completeness refused',
  'event: fill finished',
  'nodes filled',
  'data lost again at the end of a fill',
  'records settled past a promise',
  'event: hints-delivered',
  'event: marker-mismatch',
  'quorum read begun again',
  'quorum read settled in two rounds',
  'quorum write retried after stale',
  'quorum update begun again',
  'accept for updates together',
  'storeAll for a transaction that waited',
  'store of ReadRound Applied',
  'store of ReadRound Stale',
  'store of QuorumAttempt Stale',
  'prepare of UpdateAttempt Refused',
  'accept of UpdateAttempt Stale',
  'unclean: get of ReadRound Record',
  'unclean: store of QuorumAttempt Applied',
  'storeAll of TransactionAttempt Stale',
  'quorum write unknown',
  'unknown, and a node was filled meanwhile',
  'quorum incr unknown',
  'quorum move unknown',
  'quorum total ok',
  'quorum push ok',
  'quorum push unknown',
  'quorum pop ok',
  'quorum elements ok',
  'quorum set-field ok',
  'quorum drop-field ok',
  'quorum fields ok',
]

/** The same where members change. */
const MET_IN_CHANGES = [
  'phase: both',
  'phase: switched',
  'phase: stable',
  'change: join 1 begun',
  'change: leave 1 begun',
  'change: join 1 leave 1 begun',
  'change: join 1 leave 2 begun',
  'change: join 2 leave 2 begun',
  'change: replicas begun',
  'change: cancel begun',
  'change: cancelled',
  'change: ended',
  'change: emptied before it joins again',
  'fault: replace',
  'change: replace begun',
  'nodes filled',
  'while home replicas change: get of ReadRound',
  'while home replicas change: store of QuorumAttempt',
  'while home replicas change: accept of UpdateAttempt',
  'while home replicas change: storeAll of TransactionAttempt',
  'under another epoch: store of QuorumAttempt',
  'under another epoch: store of Attempt',
  'a later epoch: answer to ReadRound',
  'a later epoch: answer to QuorumAttempt',
  'a later epoch: answer to UpdateAttempt',
  'refused: other-epoch',
  'undisturbed at one',
  'brought at one',
  'read at one after a change that was slept through',
  'change: cancelled against a step that some had accepted',
]

/** The same with collections. */
const MET_WITH_TYPES = [
  'quorum push ok',
  'quorum push unknown',
  'quorum pop ok',
  'quorum pop unknown',
  'quorum wait-pop ok',
  'quorum wait-pop none',
  'quorum wait-lowest ok',
  'quorum wait-deliver ok',
  'quorum unpop ok',
  'quorum append ok',
  'quorum append unknown',
  'quorum deliver ok',
  'quorum deliver unknown',
  'quorum deliver-some ok',
  'quorum acknowledge ok',
  'quorum claim ok',
  'quorum score ok',
  'quorum pop-lowest ok',
  'quorum count-field ok',
  'quorum multi ok',
  'quorum multi unknown',
  'quorum multi-total ok',
  'a client that waits has gone',
  'given back',
  'quorum cached-read ok',
  'read from what a client keeps',
  'told what has changed',
]

const FEW = [
  {
    what: 'members die and are removed',
    profile: 'removals',
    runs: 6,
    met: ['fault: die', 'change: remove 1 begun', 'change: recover begun', 'keys are given up'],
  },
  {
    what: 'Sentinels promote replicas',
    profile: 'failovers',
    runs: 5,
    met: ['fault: failover', 'event: failover', 'nodes filled'],
  },
  {
    what: 'keys are deleted by jobs',
    profile: 'jobs',
    runs: 5,
    met: ['quorum delete-job ok', 'quorum write ok'],
  },
  {
    what: 'coordinators keep hot keys',
    profile: 'near',
    runs: 4,
    met: [
      'near: hit',
      'near: hit by the bytes of a request',
      'near: a value that the node does not hold any more',
      'near: a PONG before invalidations of its turn',
      'fault: tracking',
    ],
  },
] as const

function firstSeeds(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i + 1)
}

describe('simulation', () => {
  it(`keeps its promises in ${SEEDS.length} random runs, which meet every fault and every retry`, async function () {
    this.timeout(60_000)
    const counters = new Counters()
    for (const seed of SEEDS) {
      const result = await simulate(makeSchedule(seed))
      counters.add(result.counters)
      if (result.violations.length > 0) {
        const short = await shrink(result, {}, 200)
        expect.fail(
          `seed ${seed} (npx tsx test/simulation/run.ts --seed ${seed} --trace):\n${printRun(short)}`,
        )
      }
      expect(result.undecided, `undecided histories with seed ${seed}`).to.equal(0)
    }
    expect(MET.filter((what) => !counters.counts.has(what))).to.deep.equal([])
  })

  it(`keeps them in ${RUNS_OF_CHANGES} runs in which members join, leave and are replaced`, async function () {
    this.timeout(120_000)
    const counters = new Counters()
    for (let seed = 1; seed <= RUNS_OF_CHANGES; seed++) {
      const result = await simulate(makeSchedule(seed, { changes: true }))
      counters.add(result.counters)
      const command = `npx tsx test/simulation/run.ts --changes --seed ${seed}`
      expect(result.violations, command).to.deep.equal([])
    }
    expect(MET_IN_CHANGES.filter((what) => !counters.counts.has(what))).to.deep.equal([])
  })

  it(`keeps them in ${RUNS_OF_TAGS} runs in which values have a tag that is invalidated`, async function () {
    this.timeout(60_000)
    const counters = new Counters()
    for (let seed = 1; seed <= RUNS_OF_TAGS; seed++) {
      const result = await simulate(makeSchedule(seed, { tags: true }))
      counters.add(result.counters)
      expect(result.violations, `npx tsx test/simulation/run.ts --tags --seed ${seed}`).to.deep.equal([])
    }
    const met = ['tag-write ok', 'tag-write unknown', 'invalidate ok', 'invalidate unknown']
    expect(met.filter((what) => !counters.counts.has(`quorum ${what}`))).to.deep.equal([])
  })

  it('does not tell a flush as done that others heard of when its floor had passed', async () => {
    const { history, violations } = await simulate(makeSchedule(585, { flushes: true }))
    expect(violations).to.deep.equal([])
    const flushes = history.filter(({ operation }) => operation.kind === 'flush-all')
    expect(flushes.map(({ outcome }) => outcome)).to.include('unknown')
  })

  it(`keeps them in ${SEEDS_OF_TYPES.length} runs with queues, streams, leaderboards, counters and MULTI`, async function () {
    this.timeout(180_000)
    const counters = new Counters()
    for (const seed of SEEDS_OF_TYPES) {
      const result = await simulate(makeSchedule(seed, { types: 'all' }))
      counters.add(result.counters)
      expect(result.violations, `npx tsx test/simulation/run.ts --types --seed ${seed}`).to.deep.equal([])
    }
    expect(MET_WITH_TYPES.filter((what) => !counters.counts.has(what))).to.deep.equal([])
  })

  it(`keeps them in ${RUNS_IN_PARTS} runs in which collections are stored in parts`, async function () {
    this.timeout(120_000)
    const counters = new Counters()
    for (let seed = 1; seed <= RUNS_IN_PARTS; seed++) {
      const result = await simulate(makeSchedule(seed, { parts: true }))
      counters.add(result.counters)
      expect(result.violations, `npx tsx test/simulation/run.ts --parts --seed ${seed}`).to.deep.equal([])
    }
    const met = ['changes of parts', 'a round has removed parts']
    expect(met.filter((what) => !counters.counts.has(what))).to.deep.equal([])
  })

  for (const { what, profile, runs, met } of FEW) {
    it(`keeps them in ${runs} runs in which ${what}`, async function () {
      this.timeout(60_000)
      const counters = new Counters()
      for (let seed = 1; seed <= runs; seed++) {
        const result = await simulate(makeSchedule(seed, { [profile]: true }))
        counters.add(result.counters)
        const command = `npx tsx test/simulation/run.ts --${profile} --seed ${seed}`
        expect(result.violations, command).to.deep.equal([])
      }
      expect(met.filter((one: string) => !counters.counts.has(one))).to.deep.equal([])
    })
  }

  it('neither crashes nor hangs where more replicas lose their data than a quorum can spare', async function () {
    this.timeout(60_000)
    for (let seed = 1; seed <= RUNS_BEYOND; seed++) {
      const result = await simulate(makeSchedule(seed, { beyond: true }))
      expect(result.violations, `seed ${seed} with --beyond`).to.deep.equal([])
    }
  })

  it('runs the same way from the same seed, event by event', async () => {
    for (const seed of [3, 14, 15]) {
      const first = await simulate(makeSchedule(seed))
      const second = await simulate(makeSchedule(seed))
      expect(second.hash).to.equal(first.hash)
      expect(second.events).to.equal(first.events)
    }
    const [one, other] = [await simulate(makeSchedule(3)), await simulate(makeSchedule(4))]
    expect(one.hash).not.to.equal(other.hash)
  })
})
