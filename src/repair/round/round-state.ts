/**
 * State of the anti-entropy rounds, stored in the nodes: the worker writes it every few seconds, so that every
 * coordinator can show the progress, knows when the next round is due, and detects a dead worker.
 *
 * A record under an internal key on every member; the newest wins. Nothing relies on it: if it is lost, a round starts
 * sooner than necessary.
 */
import type { Cluster } from '../../cluster/cluster.ts'
import { compareVersions } from '../../core/clock.ts'
import { KIND_VALUE, newRecord, type StoredRecord } from '../../core/codec.ts'
import { FAR_END_MS } from '../../core/lifetime.ts'
import { fetchRecord } from './copy.ts'
import type { RoundCounts } from './context.ts'

export const ROUND_STATE_KEY = Buffer.from('__rondo:anti-entropy')

export interface RoundReport extends RoundCounts {
  /** Cluster time. */
  readonly startedAtMs: number
  readonly finishedAtMs: number
  readonly ms: number
  /** complete: every member took part; partial: some did not; stopped: it ended early. */
  readonly result: 'complete' | 'partial' | 'stopped'
  /** Ids of the members that took part from start to end. */
  readonly members: readonly string[]
  /** Members that did not take part, or what stopped the round. */
  readonly why: readonly string[]
  readonly evicting: readonly string[]
  /** As in RoundResult. Reports of earlier releases do not have it. */
  readonly misplaced?: Readonly<Record<string, number>>
}

export interface RoundState extends RoundCounts {
  readonly state: 'idle' | 'running'
  /** Cluster time; null while idle. */
  readonly startedAtMs: number | null
  /** Ids of the members that have evicted keys. */
  readonly evicting: readonly string[]
  readonly lastRound: RoundReport | null
}

export const NO_COUNTS: Readonly<RoundCounts> = {
  checkedKeys: 0,
  rangesCompared: 0,
  rangesDiffering: 0,
  copied: 0,
  movedHome: 0,
  forgotten: 0,
}

/** Resolves when every reachable member has it. */
export async function writeRoundState(cluster: Cluster, state: RoundState): Promise<void> {
  const record = newRecord(KIND_VALUE, cluster.versions, 0, Buffer.from(JSON.stringify(state)))
  await Promise.all(
    cluster.members.map(
      (member) =>
        new Promise<void>((resolve) => {
          const done = () => resolve()
          if (!member.takesValues) done()
          else {
            const call = { onApplied: done, onStale: done, onFailure: done }
            member.node.store(ROUND_STATE_KEY, record, FAR_END_MS, call)
          }
        }),
    ),
  )
}

/** The newest state on any member; null = none. */
export async function readRoundState(cluster: Cluster): Promise<RoundState | null> {
  const held = await Promise.all(
    cluster.members
      .filter((member) => member.node.ready)
      .map((member) => fetchRecord(member.node, ROUND_STATE_KEY, null).catch(() => null)), // other members have it, too
  )
  let newest: StoredRecord | null = null
  for (const record of held) {
    if (record?.versioned && (!newest || compareVersions(record.version, newest.version) > 0)) newest = record
  }
  if (!newest) return null
  cluster.versions.observe(Buffer.from(newest.version))
  return parse(newest.value)
}

/** Null for the format of another release of Rondo. */
function parse(bytes: Buffer): RoundState | null {
  let found: unknown
  try {
    found = JSON.parse(bytes.toString('utf8'))
  } catch {
    return null // unknown format: treat it as absent
  }
  const { state, startedAtMs, lastRound } = found as Partial<RoundState>
  const sound =
    (state === 'running' && typeof startedAtMs === 'number') ||
    (state === 'idle' && (lastRound === null || typeof lastRound?.startedAtMs === 'number'))
  return sound ? (found as RoundState) : null
}
