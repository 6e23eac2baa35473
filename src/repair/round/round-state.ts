/**
 * What is known of the rounds of anti-entropy, kept in the nodes: whoever works writes it there every few seconds, so
 * that every coordinator can tell how far it is, knows when the next round is due, and notices a worker that has died.
 *
 * A record like any other, under an internal key on every member: the newest wins. Nothing relies on it: where it is
 * lost, a round begins sooner than it had to.
 */
import type { Cluster } from '../../cluster/cluster.ts'
import { compareVersions } from '../../core/clock.ts'
import { KIND_VALUE, newRecord, type StoredRecord } from '../../core/codec.ts'
import { FAR_END_MS } from '../../core/lifetime.ts'
import { fetchRecord } from './copy.ts'
import type { RoundCounts } from './round.ts'

export const ROUND_STATE_KEY = Buffer.from('__rondo:anti-entropy')

export interface RoundReport extends RoundCounts {
  /** Cluster time. */
  readonly startedAtMs: number
  readonly finishedAtMs: number
  readonly ms: number
  /** complete: every member took part; partial: some did not; stopped: it ended early. */
  readonly result: 'complete' | 'partial' | 'stopped'
  /** Ids of the members that took part from beginning to end. */
  readonly members: readonly string[]
  /** Who did not, or what stopped it. */
  readonly why: readonly string[]
  readonly evicting: readonly string[]
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
}

/** Resolves when every member that can be reached has it. */
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

/** The newest that any member holds; null = none. */
export async function readRoundState(cluster: Cluster): Promise<RoundState | null> {
  const held = await Promise.all(
    cluster.members
      .filter((member) => member.node.ready)
      .map((member) => fetchRecord(member.node, ROUND_STATE_KEY, null).catch(() => null)), // others have it, too
  )
  let newest: StoredRecord | null = null
  for (const record of held) {
    if (record?.versioned && (!newest || compareVersions(record.version, newest.version) > 0)) newest = record
  }
  if (!newest) return null
  cluster.versions.observe(Buffer.from(newest.version))
  return parse(newest.value)
}

/** Null for what another release of Rondo wrote. */
function parse(bytes: Buffer): RoundState | null {
  let found: unknown
  try {
    found = JSON.parse(bytes.toString('utf8'))
  } catch {
    return null // not ours to read: as if there were none
  }
  const { state, startedAtMs, lastRound } = found as Partial<RoundState>
  const sound =
    (state === 'running' && typeof startedAtMs === 'number') ||
    (state === 'idle' && (lastRound === null || typeof lastRound?.startedAtMs === 'number'))
  return sound ? (found as RoundState) : null
}
