/** The simulation as a command: many runs, of which the first failing one is made short and printed, or one run. */
import { optionsOf, wholeNumber } from '../support/command-line.ts'
import { Counters } from './coverage.ts'
import { printRun } from './print.ts'
import { makeSchedule } from './make-schedule.ts'
import { shrink } from './shrink.ts'
import { simulate, type RunOptions, type RunResult } from './simulate.ts'

const USAGE = `npm run simulate -- [options]

Runs simulated clusters with random faults on a virtual clock, and checks every promise. Ends with 1 when one is broken.

  --seeds 200     how many runs
  --from 1        the first seed
  --seed 7        one run, printed; with --trace all of its events
  --beyond        more replicas than a quorum can spare may lose data: looks for crashes and stuck requests only
  --changes       members join and leave
  --removals      members die, and are removed
  --failovers     Sentinels make other servers the primaries of members
  --jobs          keys are deleted by their prefix, in the background
  --flushes       all keys are deleted, some times
  --parts         collections are stored in parts
  --near          coordinators have a near cache
  --tags          values have a tag, which is invalidated
  --types         queues with clients that wait, streams, leaderboards, counters and MULTI in every run, not in every fourth
  --plain         in none
  --converge      after healing all replicas must become equal, and every node clean
  --all           goes on after a failure, and names all failing seeds
  --ignore 7,9    leaves out these seeds
  --counters      tells what happened how often
  --no-shrink     prints a failing run as it is`

const values = optionsOf(USAGE, {
  seeds: { type: 'string', default: '200' },
  from: { type: 'string', default: '1' },
  seed: { type: 'string' },
  trace: { type: 'boolean', default: false },
  beyond: { type: 'boolean', default: false },
  changes: { type: 'boolean', default: false },
  removals: { type: 'boolean', default: false },
  failovers: { type: 'boolean', default: false },
  jobs: { type: 'boolean', default: false },
  flushes: { type: 'boolean', default: false },
  parts: { type: 'boolean', default: false },
  near: { type: 'boolean', default: false },
  tags: { type: 'boolean', default: false },
  types: { type: 'boolean', default: false },
  plain: { type: 'boolean', default: false },
  converge: { type: 'boolean', default: false },
  all: { type: 'boolean', default: false },
  ignore: { type: 'string', default: '' },
  counters: { type: 'boolean', default: false },
  'no-shrink': { type: 'boolean', default: false },
})

const ignored = new Set(values.ignore.split(',').filter(Boolean).map(Number))
const MOST_TOLD = 25
const { beyond, changes, removals, failovers, jobs, flushes, tags, parts, near } = values
const types = values.types
  ? 'all'
  : values.plain || changes || removals || failovers || parts || near
    ? undefined
    : 'some'
const profile = {
  beyond,
  changes,
  removals,
  failovers,
  jobs,
  flushes,
  tags,
  parts,
  near,
  ...(types && ({ types } as const)),
}
const options: RunOptions = values.converge ? { expect: { converge: true } } : {}

process.exitCode =
  values.seed === undefined
    ? await many(wholeNumber('from', values.from), wholeNumber('seeds', values.seeds, 1))
    : await one(wholeNumber('seed', values.seed))

async function one(seed: number): Promise<number> {
  const result = await simulate(makeSchedule(seed, profile), { ...options, tracing: values.trace })
  if (result.trace) console.log(result.trace.join('\n'))
  console.log(printRun(result))
  console.log(`hash ${result.hash}, ${result.events} events`)
  return result.violations.length > 0 ? 1 : 0
}

async function many(from: number, count: number): Promise<number> {
  const startedAt = performance.now()
  const counters = new Counters()
  let undecided = 0
  let toldAt = startedAt
  const failed: RunResult[] = []
  let seed = from
  for (; seed < from + count && (values.all || failed.length === 0); seed++) {
    if (ignored.has(seed)) continue
    const result = await simulate(makeSchedule(seed, profile), options)
    counters.add(result.counters)
    undecided += result.undecided
    if (result.violations.length > 0) {
      failed.push(result)
      if (failed.length <= MOST_TOLD) console.log(`seed ${seed}: ${result.violations[0]?.slice(0, 300)}`)
    }
    if (performance.now() - toldAt > 5000) {
      toldAt = performance.now()
      console.log(`… ${seed - from + 1} of ${count}, ${failed.length} failed`)
    }
  }
  const seconds = (performance.now() - startedAt) / 1000
  const runs = seed - from
  if (values.counters) {
    console.log(
      [...counters.counts]
        .sort()
        .map(([what, n]) => `${String(n).padStart(9)}  ${what}`)
        .join('\n'),
    )
  }
  if (failed[0]) {
    const result = values['no-shrink'] ? failed[0] : await shrink(failed[0], options)
    console.log(`\n${printRun(result)}\n`)
  }
  console.log(
    `${runs} runs in ${seconds.toFixed(1)} s, ${failed.length} failed, ${undecided} histories undecided`,
  )
  return failed.length > 0 ? 1 : 0
}
