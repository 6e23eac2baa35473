/** The table at the end of `npm run chaos`, and whether every target was reached. */
import {
  CONVERGED_WITHIN_MS,
  failedOperations,
  isDuringChange,
  wasCutOff,
  withOneNodeAtFault,
  type ChaosResult,
} from './chaos.ts'
import { CHANGE_KINDS, type ChangeRun } from './changes.ts'
import { FAULT_KINDS, type Detection } from './faults.ts'
import { faultsDuring } from './verdict.ts'
import { nameOf, type Operation } from './workload.ts'

interface Row {
  readonly what: string
  readonly found: string
  readonly target?: string
  readonly reached?: boolean
}

const MOST_FAILED_PERCENT = 0.1
/** What is on its way at the moment of a new epoch may end as unknown. */
const MOST_FAILED_AT_CHANGE_PERCENT = 1
const KILLED_WITHIN_MS = 100
const PAUSED_WITHIN_MS = 1000

export interface Report {
  readonly text: string
  readonly reached: boolean
}

export function reportOn(
  result: ChaosResult,
  wanted: { seed: number; faults: number; operations: number },
): Report {
  const { history, incidents, verdicts, stuck, convergedAfterMs, complaints } = result
  const count = (what: string) => verdicts.filter((verdict) => verdict.what === what).length
  const lostKeys = new Set(verdicts.filter(({ what }) => what === 'lost').map(({ key }) => key))
  const failed = failedOperations(result)
  const atFault = withOneNodeAtFault(result)
  const failedAtFault = atFault.filter(({ outcome }) => outcome !== 'ok')
  const atChange = history.filter(
    (operation) =>
      faultsDuring(operation, incidents).length === 0 &&
      isDuringChange(operation, result) &&
      !wasCutOff(operation, result),
  )
  const failedAtChange = atChange.filter(({ outcome }) => outcome !== 'ok')
  const calm = history.filter(
    (operation) =>
      faultsDuring(operation, incidents).length === 0 &&
      !isDuringChange(operation, result) &&
      !wasCutOff(operation, result),
  )
  const unknown = history.filter(({ outcome }) => outcome === 'unknown')
  const percent = (100 * failedAtFault.length) / Math.max(1, atFault.length)
  const rows: Row[] = [
    atLeast('faults', incidents.length + result.changes.length, wanted.faults),
    atLeast('operations', history.length, wanted.operations),
    { what: 'keys', found: String(result.keys) },
    {
      what: 'failed, no node at fault',
      found: share(calm.filter(({ outcome }) => outcome !== 'ok').length, calm.length),
    },
    {
      what: 'failed, one node at fault',
      found: share(failedAtFault.length, atFault.length),
      target: `≤ ${MOST_FAILED_PERCENT} %`,
      reached: percent <= MOST_FAILED_PERCENT,
    },
    {
      what: 'failed, members changing, no fault',
      found: share(failedAtChange.length, atChange.length),
      target: `≤ ${MOST_FAILED_AT_CHANGE_PERCENT} %`,
      reached: 100 * failedAtChange.length <= MOST_FAILED_AT_CHANGE_PERCENT * atChange.length,
    },
    { what: 'failed, all', found: share(failed.length, history.length) },
    { what: 'outcome unknown, all', found: share(unknown.length, history.length) },
    none('acknowledged quorum writes lost', lostKeys.size),
    none('stale or backward quorum reads', count('stale')),
    none('keys whose history has no order', count('not linearizable')),
    { what: 'keys of which that is undecided', found: String(count('undecided')) },
    ...collectionRows(result),
    none('stuck requests', stuck.length),
    detection('a killed node noticed', result.detections, 'killed', KILLED_WITHIN_MS),
    detection('a paused node noticed', result.detections, 'paused', PAUSED_WITHIN_MS),
    {
      what: 'replicas equal after the last fault',
      found:
        convergedAfterMs === null
          ? `not in ${CONVERGED_WITHIN_MS} ms: ${result.differences.length} keys differ, ${result.hintsLeft} hints left, not whole or behind: ${result.behind.join(' ') || 'none'}`
          : `${convergedAfterMs.toFixed(0)} ms`,
      target: `≤ ${CONVERGED_WITHIN_MS / 1000} s`,
      reached: convergedAfterMs !== null,
    },
    ...changeRows(result),
    none('other complaints', complaints.length),
    { what: 'longest stall of this process', found: `${result.longestStallMs.toFixed(0)} ms` },
    { what: 'slowest operation', found: `${slowest(history).toFixed(0)} ms` },
    { what: 'the run took', found: `${(result.tookMs / 1000).toFixed(0)} s` },
  ]
  const reached = rows.every((row) => row.reached !== false)
  const text = [
    table(rows),
    '',
    ...FAULT_KINDS.map((kind) => kindLine(kind, result)),
    ...CHANGE_KINDS.map((kind) => changeLine(kind, result)),
    '',
    ...detailsOf(result, failed),
    `seed ${wanted.seed}: ${reached ? 'every target reached' : 'A TARGET WAS MISSED'}`,
  ].join('\n')
  return { text, reached }
}

function collectionRows({ collections }: ChaosResult): Row[] {
  const { lost, twice, pushed, popped, missing, mayHaveTaken, counted, entries, delivered } = collections
  return [
    { what: 'queue', found: `${pushed} pushed, ${popped} popped by clients that wait` },
    { what: 'of pops whose outcome is unknown', found: `${missing} elements missing after ${mayHaveTaken}` },
    { what: 'counters and leaderboard', found: `${counted} acknowledged` },
    { what: 'stream', found: `${entries} entries, ${delivered} delivered` },
    none('elements, counts and entries lost', lost.length),
    none('elements, counts and entries twice', twice.length),
  ]
}

/** After a coordinator was killed another one goes on within so long, and then needs as long as any change. */
const TAKEN_OVER_WITHIN_MS = 10_000

function changeRows(result: ChaosResult): Row[] {
  const { changes, downs, refusals, usedRefused } = result
  if (changes.length === 0) return []
  const count = (outcome: ChangeRun['outcome']) => changes.filter((one) => one.outcome === outcome).length
  const ended = changes.filter(({ outcome }) => outcome === 'ended')
  const slowestMs = Math.max(0, ...ended.map(({ begunMs, endedMs }) => endedMs - begunMs))
  const killed = ended.filter(({ killedMs }) => killedMs !== null)
  const takenOverMs = Math.max(0, ...killed.map(({ killedMs, endedMs }) => endedMs - killedMs!))
  const undisturbedMs = Math.max(
    0,
    ...ended.filter(({ killedMs }) => killedMs === null).map(({ begunMs, endedMs }) => endedMs - begunMs),
  )
  const asked = [...refusals.values()].reduce((sum, times) => sum + times, 0)
  return [
    {
      what: 'changes of members begun',
      found: `${changes.filter(({ begunMs }) => begunMs < Infinity).length} of ${changes.length}`,
    },
    none('changes begun and not ended', count('running')),
    { what: 'given up, refused to the end', found: String(count('refused')) },
    { what: 'not known whether begun', found: String(count('open')) },
    { what: 'requests for a change refused', found: String(asked) },
    { what: 'joins with old data refused', found: String(usedRefused) },
    { what: 'keys moved', found: String(changes.reduce((sum, { keysMoved }) => sum + keysMoved, 0)) },
    { what: 'slowest change', found: `${slowestMs.toFixed(0)} ms` },
    { what: 'coordinators killed', found: `${downs.length}, ${killed.length} during a change that ended` },
    {
      what: 'slowest end after that',
      found: `${takenOverMs.toFixed(0)} ms; slowest change without: ${undisturbedMs.toFixed(0)} ms`,
      target: `≤ ${TAKEN_OVER_WITHIN_MS / 1000} s more`,
      reached: takenOverMs <= TAKEN_OVER_WITHIN_MS + undisturbedMs,
    },
  ]
}

function changeLine(kind: string, { changes }: ChaosResult): string {
  const ended = changes.filter((one) => one.kind === kind && one.outcome === 'ended')
  const tookMs = ended.map(({ begunMs, endedMs }) => endedMs - begunMs).sort((a, b) => a - b)
  const all = changes.filter((one) => one.kind === kind).length
  return `  ${kind.padEnd(26)} ${String(all).padStart(3)}   ${ended.length} ended, after ${middle(tookMs).toFixed(0)} ms, at most ${(tookMs.at(-1) ?? 0).toFixed(0)} ms`
}

function kindLine(kind: string, { incidents, history }: ChaosResult): string {
  const ofKind = incidents.filter((incident) => incident.kind === kind)
  if (ofKind.length === 0) return `  ${kind.padEnd(26)}   0`
  const backMs = ofKind.map(({ wholeAtMs, undoneAtMs }) => wholeAtMs - undoneAtMs).sort((a, b) => a - b)
  const failed = history.filter(
    (operation) => operation.outcome !== 'ok' && faultsDuring(operation, ofKind).length > 0,
  ).length
  return (
    `  ${kind.padEnd(26)} ${String(ofKind.length).padStart(3)}   whole again after ` +
    `${middle(backMs).toFixed(0)} ms, at most ${backMs.at(-1)!.toFixed(0)} ms; ${failed} operations failed`
  )
}

function detailsOf(result: ChaosResult, failed: readonly Operation[]): string[] {
  const { verdicts, stuck, complaints, differences, startedAtMs, incidents, collections } = result
  const reasons = new Map<string, number>()
  for (const operation of failed) {
    const kinds = [
      ...new Set(faultsDuring(operation, incidents).map(({ kind, node }) => `${kind} (${node})`)),
      ...(isDuringChange(operation, result) ? ['a change of members'] : []),
      ...(wasCutOff(operation, result) ? ['the death of its coordinator'] : []),
    ]
    // The rest of the sentence names nodes and numbers.
    const why = `${operation.kind}: ${operation.error?.slice(0, 200)} | during ${kinds.join(' + ') || 'nothing'}`
    reasons.set(why, (reasons.get(why) ?? 0) + 1)
  }
  const mostFirst = [...reasons].sort(([, a], [, b]) => b - a)
  return [
    ...complaints.map((text) => `  ! ${text}`),
    ...collections.lost.map((text) => `  ! lost: ${text}`),
    ...collections.twice.map((text) => `  ! twice: ${text}`),
    ...verdicts.slice(0, 20).map(({ key, what, why }) => `  ! ${key}: ${what}: ${why}`),
    ...stuck.slice(0, 10).map((operation) => {
      const tookMs = (operation.endMs - operation.startMs).toFixed(0)
      return `  ! took ${tookMs} ms, at ${(operation.startMs - startedAtMs).toFixed(0)} ms: ${nameOf(operation)}`
    }),
    ...differences.slice(0, 10).map(({ key, held }) => `  ! ${key} differs: ${held}`),
    ...[...result.refusals].map(([why, times]) => `  ${times} × a change refused: ${why}`),
    ...mostFirst.slice(0, 25).map(([why, times]) => `  ${times} × ${why}`),
    '',
  ]
}

function detection(what: string, all: readonly Detection[], kind: Detection['kind'], withinMs: number): Row {
  const ofKind = all.filter((entry) => entry.kind === kind)
  const seen = ofKind.flatMap(({ afterMs }) => (afterMs === null ? [] : [afterMs])).sort((a, b) => a - b)
  // A fault that was over before the limit says nothing where it was not noticed.
  const missed = ofKind.filter(({ afterMs, lastedMs }) => afterMs === null && lastedMs >= withinMs)
  // What this process lost while it stood still is not the coordinator's.
  const found =
    seen.length === 0
      ? 'never'
      : `median ${middle(seen).toFixed(0)}, 95 % ${seen[Math.floor(0.95 * (seen.length - 1))]!.toFixed(0)}, ` +
        `max ${seen.at(-1)!.toFixed(0)} ms (${seen.length} times)`
  const late = ofKind.filter(({ afterMs, stalledMs }) => afterMs !== null && afterMs - stalledMs > withinMs)
  const reached = missed.length === 0 && late.length === 0
  return { what, found, target: `≤ ${withinMs} ms`, reached }
}

function none(what: string, found: number): Row {
  return { what, found: String(found), target: '0', reached: found === 0 }
}

function atLeast(what: string, found: number, wanted: number): Row {
  return { what, found: String(found), target: `≥ ${wanted}`, reached: found >= wanted }
}

function share(part: number, whole: number): string {
  return `${part} of ${whole} (${((100 * part) / Math.max(1, whole)).toFixed(3)} %)`
}

function middle(sorted: readonly number[]): number {
  return sorted[Math.floor(sorted.length / 2)] ?? 0
}

function slowest(history: readonly Operation[]): number {
  return history.reduce((most, { startMs, endMs }) => Math.max(most, endMs - startMs), 0)
}

function table(rows: readonly Row[]): string {
  const width = (of: (row: Row) => string) => Math.max(...rows.map((row) => of(row).length))
  const what = width((row) => row.what)
  const found = Math.min(
    70,
    width((row) => row.found),
  )
  return rows
    .map((row) => {
      const mark = row.reached === undefined ? '' : row.reached ? 'reached' : 'MISSED'
      return `  ${row.what.padEnd(what)}  ${row.found.padEnd(found)}  ${(row.target ?? '').padEnd(10)}  ${mark}`.trimEnd()
    })
    .join('\n')
}
