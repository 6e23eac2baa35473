/**
 * `npm run chaos`: real redis-server processes that are killed, paused, wiped, swapped and cut off under load, while the
 * members change, and a table of what became of the promises.
 *
 * The seed draws the faults and what the clients do; when exactly things happen is up to the machine, so the same seed
 * brings the same faults, not the same interleavings. Exit code 1 when a target was missed.
 */
import { writeFileSync } from 'node:fs'
import { optionsOf, wholeNumber } from '../support/command-line.ts'
import { runChaos, type ChaosResult } from './chaos.ts'
import { reportOn } from './report.ts'

const USAGE = `npm run chaos -- [options]

Kills, pauses, wipes, swaps and cuts off real redis-server processes under load, while members join, leave and are
replaced. Ends with 1 when a target is missed.

  --faults 200            how many faults, within about eight minutes
  --changes 20            how many of them, in percent, are changes of members (with coordinators killed); 0 = none
  --seed N                draws the same faults and client operations again
  --ops-per-second 150    load
  --operations 10000      how many operations at least
  --dump FILE             writes everything that happened, in order of time`

const values = optionsOf(USAGE, {
  faults: { type: 'string', default: '200' },
  changes: { type: 'string', default: '20' },
  seed: { type: 'string', default: String(Math.floor(Math.random() * 2 ** 31)) },
  'ops-per-second': { type: 'string', default: '150' },
  operations: { type: 'string', default: '10000' },
  dump: { type: 'string' },
})
const seed = wholeNumber('seed', values.seed)
const faults = wholeNumber('faults', values.faults, 1)
const operations = wholeNumber('operations', values.operations, 1)
/** No fault begins after this; what is left of eight minutes is for the end. */
const LIMIT_MS = 6.25 * 60_000

console.log(`seed ${seed}: ${faults} faults`)
const result = await runChaos({
  seed,
  faults,
  changesPercent: wholeNumber('changes', values.changes, 0),
  operations,
  operationsPerSecond: wholeNumber('ops-per-second', values['ops-per-second'], 1),
  limitMs: LIMIT_MS,
  onProgress: (line) => console.log(`  ${line}`),
})
if (values.dump !== undefined) writeFileSync(values.dump, dumpOf(result))
const report = reportOn(result, { seed, faults, operations })
console.log(`\n${report.text}`)
process.exitCode = report.reached ? 0 : 1

/** One line per thing that happened, in order of time. */
function dumpOf({ startedAtMs, history, incidents, changes, downs, log }: ChaosResult): string {
  const lines: (readonly [number, string])[] = [
    ...log.map(({ atMs, coordinator, text }) => [atMs, `coordinator ${coordinator}: ${text}`] as const),
    ...incidents.flatMap(({ kind, node, coordinators, fromMs, undoneAtMs, wholeAtMs }) => [
      [fromMs, `FAULT ${kind} of ${node} for ${coordinators.join()}`] as const,
      [undoneAtMs, `UNDONE ${kind} of ${node}`] as const,
      [wholeAtMs, `WHOLE ${node} after ${kind}`] as const,
    ]),
    ...changes.flatMap(({ kind, id, fromMs, begunMs, endedMs, waitFor, outcome }) => [
      [fromMs, `CHANGE ${kind} ${id}`] as const,
      [begunMs, `BEGUN ${kind} ${id}, until epoch ${waitFor}`] as const,
      [endedMs, `OVER ${kind} ${id}: ${outcome}`] as const,
    ]),
    ...downs.flatMap(({ coordinator, fromMs, untilMs }) => [
      [fromMs, `KILLED coordinator ${coordinator}`] as const,
      [untilMs, `BACK coordinator ${coordinator}`] as const,
    ]),
    ...history.flatMap((op) => {
      const id = `${op.start} c${op.coordinator} client ${op.client} ${op.kind} ${op.key}`
      const version = op.version?.toString('hex') ?? '-'
      return [
        [op.startMs, `> ${id} value ${op.value} expected ${op.expected}`] as const,
        [op.endMs, `< ${id} ${op.outcome} ${op.result} ${version} ${op.error ?? ''}`] as const,
      ]
    }),
  ]
  return lines
    .sort(([a], [b]) => a - b)
    .map(([atMs, text]) => `${(atMs - startedAtMs).toFixed(2)} ${text}`)
    .join('\n')
}
