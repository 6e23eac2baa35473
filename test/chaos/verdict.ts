/**
 * What the history says.
 *
 * Versions grow with every write, so two things can be told of each operation by itself: what it saw or wrote is not
 * older than what any operation on the key that had ended before it began saw or wrote ("stale or backward"), and the
 * last reads are not older than any acknowledged write ("lost"). Beside that, each key's whole history must have an
 * order that explains it (linearizable), which also says whether what was read is what was written.
 */
import { compareVersions } from '../../src/core/clock.ts'
import { StoredRecord } from '../../src/core/codec.ts'
import { checkLinearizable, type HistoryEntry } from '../simulation/linearizable.ts'
import type { ChaosCluster } from './cluster.ts'
import type { Incident } from './faults.ts'
import { isDelete, nameOf, type Operation } from './workload.ts'

export interface KeyVerdict {
  readonly key: string
  readonly what: 'lost' | 'stale' | 'not linearizable' | 'undecided'
  readonly why: string
}

/** @param finalFrom the position in the history at which the last reads begin */
export function judgeHistory(history: readonly Operation[], finalFrom: number): KeyVerdict[] {
  const verdicts: KeyVerdict[] = []
  const last = new Set(history.slice(finalFrom))
  for (const [key, ofKey] of byKey(history)) {
    verdicts.push(...backwards(key, ofKey, last))
    const verdict = checkLinearizable(ofKey.filter(({ outcome }) => outcome !== 'none').map(entryOf), 0)
    if (verdict === 'violated') {
      verdicts.push({
        key,
        what: 'not linearizable',
        why: 'no order of its operations explains what they told',
      })
    } else if (verdict === 'undecided') {
      verdicts.push({ key, what: 'undecided', why: 'the search was given up' })
    }
  }
  return verdicts
}

export function byKey(history: readonly Operation[]): Map<string, Operation[]> {
  const keys = new Map<string, Operation[]>()
  for (const operation of history) {
    const ofKey = keys.get(operation.key)
    if (ofKey) ofKey.push(operation)
    else keys.set(operation.key, [operation])
  }
  return keys
}

/** Operations that tell of an older version than one that had been told before they began. */
function backwards(key: string, ofKey: readonly Operation[], last: ReadonlySet<Operation>): KeyVerdict[] {
  const verdicts: KeyVerdict[] = []
  const told = ofKey.filter(({ outcome, version }) => outcome === 'ok' && version !== null)
  const ends = [...told].sort((a, b) => a.end - b.end)
  let newest: Operation | null = null
  let next = 0
  for (const operation of ofKey.filter(({ outcome }) => outcome === 'ok')) {
    while (next < ends.length && ends[next]!.end < operation.start) {
      const ended = ends[next++]!
      if (!newest || compareVersions(ended.version!, newest.version!) > 0) newest = ended
    }
    if (!newest) continue
    if (operation.version === null) {
      // A tombstone goes in the end; whether a value may have is for the search to tell.
      if (operation.kind !== 'read' || isDelete(newest.kind) || newest.result === null) continue
      if (ofKey.some((other) => isDelete(other.kind) && other.outcome !== 'none')) continue
    } else if (compareVersions(operation.version, newest.version!) >= 0) continue
    const what = last.has(operation) ? 'lost' : 'stale'
    verdicts.push({ key, what, why: `${nameOf(operation)}\n      after ${nameOf(newest)}` })
  }
  return verdicts
}

function entryOf(operation: Operation): HistoryEntry {
  const { kind, value, expected, start, end, startMs, endMs, result, outcome } = operation
  const known = outcome === 'ok'
  return {
    kind,
    value,
    expected,
    start,
    end: known ? end : Infinity,
    known,
    result,
    expiresAtMs: 0,
    startMs,
    endMs: known ? endMs : Infinity,
  }
}

/** How many nodes were at fault during an operation; with the kinds, for telling. */
export function faultsDuring(operation: Operation, incidents: readonly Incident[]): Incident[] {
  const { startMs, endMs } = operation
  return incidents.filter(({ fromMs, wholeAtMs }) => fromMs <= endMs && wholeAtMs >= startMs)
}

export interface Difference {
  readonly key: string
  readonly held: string
}

/** Keys whose home replicas do not hold the same live record. */
export async function differences(cluster: ChaosCluster, keys: readonly string[]): Promise<Difference[]> {
  const held = await cluster.rawRecords(keys)
  const found: Difference[] = []
  keys.forEach((key, i) => {
    const homes = cluster.homesOf(key)
    const seen = homes.map((id) => liveText(held.get(id)![i] ?? null))
    if (seen.some((text) => text !== seen[0])) {
      found.push({ key, held: homes.map((id, at) => `${id}: ${seen[at]}`).join(', ') })
    }
  })
  return found
}

function liveText(bytes: Buffer | null): string {
  const record = bytes && new StoredRecord(bytes)
  if (!record?.isLive(0)) return 'nothing'
  return `${Buffer.from(record.version).toString('hex')} ${record.value.toString('latin1')}`
}
