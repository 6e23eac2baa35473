/**
 * State of the anti-entropy rounds, stored in the nodes: the worker writes it every few seconds, so that every
 * coordinator can show the progress, knows when the next round is due, and detects a dead worker.
 *
 * A record under an internal key on every member; the newest wins. Nothing relies on it: if it is lost, a round starts
 * sooner than necessary.
 */
import { z } from 'zod'
import { Note } from '../notes.ts'
import type { RoundCounts } from './context.ts'

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
  freedBytes: 0,
  removedParts: 0,
}

const count = z.number()
const counts = z.object({
  checkedKeys: count,
  rangesCompared: count,
  rangesDiffering: count,
  copied: count,
  movedHome: count,
  forgotten: count,
  // Earlier releases do not count them.
  freedBytes: count.default(0),
  removedParts: count.default(0),
})
const names = z.array(z.string())
const report = counts.extend({
  startedAtMs: count,
  finishedAtMs: count,
  ms: count,
  result: z.enum(['complete', 'partial', 'stopped']),
  members: names,
  why: names,
  evicting: names,
  misplaced: z.record(z.string(), count).default({}),
})

export const ROUND_STATE = new Note<RoundState>(
  'anti-entropy',
  counts.extend({
    state: z.enum(['idle', 'running']),
    startedAtMs: count.nullable(),
    evicting: names,
    lastRound: report.nullable(),
  }),
)
