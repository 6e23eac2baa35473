/**
 * `npm run exercise`: changes of members with real processes. What is promised is checked and ends it with 1; times are
 * told, and depend on the machine.
 */
import { optionsOf, wholeNumber } from '../support/command-line.ts'
import { CASES, runCase } from './faults.ts'
import { runKills, type KillsResult } from './kills.ts'
import type { Load } from './load.ts'
import { atMost, none, table, type Row } from './print.ts'
import { runResharding, type ReshardingResult } from './resharding.ts'

const USAGE = `npm run exercise -- [options]

Nodes join and leave while clients read and write over HTTP and the Redis protocol, on real servers and three coordinators
with processes of their own. Needs a build (npm run build). Ends with 1 when a target is missed; times are only told.

  --part NAME              resharding, kills or faults; without it all, one after the other
  --keys 50000             resharding
  --operations 200000      resharding: how many at least
  --ops-per-second 1200    resharding: load
  --kills 50               how often the coordinator that works on a change is killed
  --only WORDS             faults: only those cases whose names contain these words, of ${CASES.length}
  --seed N                 draws the same operations, changes and moments again`

const PARTS = ['resharding', 'kills', 'faults'] as const
type Part = (typeof PARTS)[number]

const values = optionsOf(USAGE, {
  part: { type: 'string' },
  keys: { type: 'string', default: '50000' },
  operations: { type: 'string', default: '200000' },
  'ops-per-second': { type: 'string', default: '1200' },
  kills: { type: 'string', default: '50' },
  only: { type: 'string', default: '' },
  seed: { type: 'string', default: String(Math.floor(Math.random() * 2 ** 31)) },
})
if (values.part !== undefined && !PARTS.includes(values.part as Part)) {
  console.error(`--part is one of ${PARTS.join(', ')}, and is "${values.part}".`)
  process.exit(2)
}
const seed = wholeNumber('seed', values.seed)
const onProgress = (line: string) => console.log(`  ${line}`)
const MOST_FAILED_PERCENT = 0.1
const MOST_OF_IDEAL_PERCENT = 10
const CARRIED_ON_WITHIN_S = 10
const MOST_TOLD = 20

console.log(`seed ${seed}`)
const runs: Record<Part, () => Promise<boolean>> = {
  resharding: async () => {
    console.log('\nresharding')
    return printResharding(
      await runResharding({
        keys: wholeNumber('keys', values.keys, 100),
        operations: wholeNumber('operations', values.operations, 1),
        operationsPerSecond: wholeNumber('ops-per-second', values['ops-per-second'], 1),
        seed,
        onProgress,
      }),
    )
  },
  kills: async () => {
    console.log('\nkills')
    const kills = wholeNumber('kills', values.kills, 1)
    return printKills(await runKills({ kills, keys: 2000, operationsPerSecond: 100, seed, onProgress }))
  },
  faults: runFaults,
}
let isReached = true
for (const part of PARTS) {
  if (values.part === undefined || values.part === part) isReached = (await runs[part]()) && isReached
}
console.log(`\nseed ${seed}: ${isReached ? 'every target reached' : 'A TARGET WAS MISSED'}`)
process.exitCode = isReached ? 0 : 1

function printResharding(result: ReshardingResult): boolean {
  const { load, changes, latencies, scans, scansFailed, leftOut, copiesWrong, tookMs } = result
  return print(
    [
      ...loadRows(load),
      { what: 'changes', found: String(changes.length) },
      { what: 'whole SCANs, and failed ones', found: `${scans}, ${scansFailed}` },
      none('keys that stayed and a SCAN left out', leftOut.length),
      none('keys with too many or too few copies', copiesWrong.length),
      ...changes.map(({ kind, id, copies, ideal }) =>
        atMost(
          `share of ${id} (${kind}), away from the ideal`,
          Math.abs(100 * (copies / ideal - 1)),
          MOST_OF_IDEAL_PERCENT,
          ' %',
        ),
      ),
      ...latencies.map(({ level, p99BeforeMs, p99DuringMs, during }) => ({
        what: `p99 at ${level}: before, during (${during})`,
        found: `${p99BeforeMs.toFixed(1)}, ${p99DuringMs.toFixed(1)} ms: ${(p99DuringMs / p99BeforeMs).toFixed(2)} x`,
      })),
      { what: 'the run took', found: `${(tookMs / 1000).toFixed(0)} s` },
    ],
    [
      ...detailsOf(load),
      ...leftOut.slice(0, MOST_TOLD).map((key) => `! SCAN left out ${key}`),
      ...copiesWrong.slice(0, MOST_TOLD).map((key) => `! copies of ${key}`),
      ...changes.map(
        ({ kind, id, report, tookMs: ms, copies }) =>
          `${kind} ${id} in ${(ms / 1000).toFixed(1)} s, ${copies} copies there: ${JSON.stringify(report)}`,
      ),
    ],
  )
}

function printKills({ load, kills, undisturbedMs, copiesWrong }: KillsResult): boolean {
  const carriedOn = kills.map(({ carriedOnMs }) => carriedOnMs / 1000).sort((a, b) => a - b)
  const ended = kills.map(({ endedMs }) => endedMs / 1000).sort((a, b) => a - b)
  const middle = (sorted: readonly number[]) => sorted[Math.floor(sorted.length / 2)]!
  const phases = [...new Set(kills.map(({ phase }) => phase))]
  return print(
    [
      ...loadRows(load),
      {
        what: 'killed, by phase',
        found: phases.map((one) => `${one} ${kills.filter(({ phase }) => phase === one).length}`).join(', '),
      },
      atMost('another one goes on, slowest', carriedOn.at(-1)!, CARRIED_ON_WITHIN_S, ' s'),
      { what: 'another one goes on, median', found: `${middle(carriedOn).toFixed(1)} s` },
      {
        what: 'ended after the kill: median, slowest; undisturbed',
        found: `${middle(ended).toFixed(1)}, ${ended.at(-1)!.toFixed(1)}; ${(undisturbedMs / 1000).toFixed(1)} s`,
      },
      none('keys with too many or too few copies', copiesWrong.length),
    ],
    [...detailsOf(load), ...copiesWrong.slice(0, MOST_TOLD).map((key) => `! copies of ${key}`)],
  )
}

async function runFaults(): Promise<boolean> {
  console.log('\nfaults')
  let areHarmless = true
  for (const one of CASES) {
    const name = `${one.fault.name}, ${one.phase}`
    if (!name.includes(values.only)) continue
    try {
      const { load, copiesWrong, members, expected, tookMs } = await runCase(one, seed)
      const isHarmless = load.bad === 0 && copiesWrong.length === 0 && members.join() === expected.join()
      areHarmless &&= isHarmless
      const { operations, failed, unknown } = load
      const told = `${operations} operations, ${failed} failed, ${unknown} of them unknown, ${(tookMs / 1000).toFixed(1)} s`
      console.log(`  ${isHarmless ? 'reached' : 'MISSED '}  ${name}: ${told}`)
      if (isHarmless) continue
      const copies = copiesWrong.slice(0, MOST_TOLD).map((key) => `copies of ${key}`)
      for (const line of [...load.told, ...copies, `members ${members.join()}`]) console.log(`    ! ${line}`)
    } catch (error) {
      areHarmless = false
      console.log(`  MISSED   ${name}: ${String(error)}`)
    }
  }
  return areHarmless
}

function loadRows({ operations, counts, failed, unknown, olderAtOne }: Load): Row[] {
  return [
    { what: 'operations', found: String(operations) },
    none('wrong values', counts.wrong),
    none('missing values', counts.missing),
    none('resurrected values', counts.resurrected),
    none('existing keys absent at one', counts.absent),
    { what: 'answered seconds after the deadline', found: String(counts.late) },
    { what: 'older values at one', found: String(olderAtOne) },
    atMost('failed operations', (100 * failed) / operations, MOST_FAILED_PERCENT, ' %'),
    { what: 'of those with an unknown outcome', found: `${unknown} of ${failed}` },
  ]
}

function detailsOf({ told, errors }: Load): string[] {
  return [...told.map((what) => `! ${what}`), ...[...errors].map(([why, times]) => `${times} × ${why}`)]
}

function print(rows: readonly Row[], details: readonly string[]): boolean {
  console.log(`\n${table(rows)}\n`)
  for (const line of details) console.log(`  ${line}`)
  return rows.every(({ reached }) => reached !== false)
}
