/**
 * Counters of the coordinator's events. Each has a series of 0 for every value of its labels before the first event: what
 * Prometheus computes from a counter (`increase`, `rate`) does not see the first event of a series that begins with it.
 */
import { Counter, Gauge, type Registry } from 'prom-client'
import type { NodeState, RondoEvent } from '../core/events.ts'

type SnapshotEnd = Extract<RondoEvent, { kind: 'snapshot-finished' | 'snapshot-failed' }>
type RoundEnd = Extract<RondoEvent, { kind: 'anti-entropy' }>

const STATES: readonly NodeState[] = ['up', 'suspect', 'down']
const ROUND_RESULTS: readonly RoundEnd['result'][] = ['complete', 'partial', 'stopped']
/** What a command or a repair is of is in the log: a label has few values. */
const BACKGROUND = ['anti-entropy', 'command', 'draining', 'repair', 'other'] as const

/**
 * @param nodes the ids of the members, as of now
 * @returns counts an event
 */
export function registerEventMetrics(
  registry: Registry,
  nodes: () => readonly string[],
): (event: RondoEvent) => void {
  /** @param all the values of its labels, as of now */
  const counter = <Label extends string>(
    name: string,
    help: string,
    all: () => Record<Label, string>[],
    ...labelNames: Label[]
  ) =>
    new Counter({
      name: `rondo_${name}_total`,
      help,
      labelNames,
      registers: [registry],
      collect() {
        for (const labels of all()) this.inc(labels as Partial<Record<Label, string>>, 0)
      },
    })
  const eachNode = () => nodes().map((node) => ({ node }))
  const transitions = counter(
    'node_transitions',
    'Changes of a node from one health state to another.',
    () => nodes().flatMap((node) => STATES.map((to) => ({ node, to }))),
    'node',
    'to',
  )
  const mismatches = counter(
    'node_marker_mismatches',
    'Times that a node had lost its marker, or had a foreign one: wiped, flushed, restored or swapped.',
    eachNode,
    'node',
  )
  const dataLoss = counter(
    'data_loss_possible',
    'Times a node was rebuilt from incomplete replicas: acknowledged writes may be lost.',
    eachNode,
    'node',
  )
  const backgroundFailures = counter(
    'background_failures',
    'Background work that failed.',
    () => BACKGROUND.map((what) => ({ what })),
    'what',
  )
  const flushed = counter(
    'flushed_records',
    'Records removed from a node, by this coordinator, because their keys had been flushed.',
    eachNode,
    'node',
  )
  const lost = new Counter({
    name: 'rondo_collections_lost_total',
    help: 'Large collections that were deleted because parts of them were on no replica.',
    registers: [registry],
  })
  const countRound = registerRepairMetrics(registry)
  const countSnapshot = registerSnapshotMetrics(registry)

  return (event) => {
    if (event.kind === 'node-state') transitions.inc({ node: event.node, to: event.to })
    if (event.kind === 'marker-mismatch') mismatches.inc({ node: event.node })
    if (event.kind === 'data-loss-possible') dataLoss.inc({ node: event.node })
    if (event.kind === 'flushed') flushed.inc({ node: event.node }, event.more)
    if (event.kind === 'collection-lost') lost.inc(event.times)
    if (event.kind === 'background-failed') backgroundFailures.inc({ what: kindOf(event.what) })
    if (event.kind === 'anti-entropy') countRound(event)
    if (event.kind === 'snapshot-finished' || event.kind === 'snapshot-failed') countSnapshot(event)
  }
}

/** `repair of redis-1` → `repair` */
function kindOf(what: string): (typeof BACKGROUND)[number] {
  return BACKGROUND.find((kind) => what === kind || what.startsWith(`${kind} `)) ?? 'other'
}

/** @returns counts a round that has ended */
function registerRepairMetrics(registry: Registry): (event: RoundEnd) => void {
  const registers = [registry]
  const rounds = new Counter({
    name: 'rondo_repair_rounds_total',
    help: 'Rounds of anti-entropy: complete, partial (a node took no part) or stopped.',
    labelNames: ['result'] as const,
    registers,
  })
  for (const result of ROUND_RESULTS) rounds.inc({ result }, 0)
  const counter = (name: string, help: string) =>
    new Counter({ name: `rondo_repair_${name}_total`, help, registers })
  const counters = {
    checkedKeys: counter('checked_keys', 'Copies that rounds of anti-entropy checked.'),
    rangesCompared: counter('ranges_compared', 'Token ranges compared.'),
    rangesDiffering: counter('ranges_differing', 'Token ranges in which copies differed.'),
    copied: counter('copied_records', 'Records sent to nodes that lacked them or held older ones.'),
    movedHome: counter('moved_home_records', 'Copies of fallback replicas that were moved home and dropped.'),
    forgotten: counter(
      'forgotten_records',
      'Copies of fallback replicas dropped as older than deletes are remembered.',
    ),
    removedParts: counter(
      'removed_parts',
      'Copies of parts of large collections removed because no collection needed them.',
    ),
  }
  const seconds = counter('seconds', 'Time that rounds of anti-entropy took.')
  return (event) => {
    rounds.inc({ result: event.result })
    for (const name of Object.keys(counters) as (keyof typeof counters)[]) counters[name].inc(event[name])
    seconds.inc(event.ms / 1000)
  }
}

/** @returns counts a snapshot that was taken or restored, or was not */
function registerSnapshotMetrics(registry: Registry): (event: SnapshotEnd) => void {
  const registers = [registry]
  const ends = new Counter({
    name: 'rondo_snapshots_total',
    help: 'Snapshots taken and restored by this coordinator: finished, failed or cancelled.',
    labelNames: ['what', 'result'] as const,
    registers,
  })
  for (const what of ['snapshot', 'restore'])
    for (const result of ['finished', 'failed', 'cancelled']) ends.inc({ what, result }, 0)
  const keys = new Gauge({
    name: 'rondo_snapshot_last_keys',
    help: 'Keys in the last snapshot that this coordinator has taken.',
    registers,
  })
  const at = new Gauge({
    name: 'rondo_snapshot_last_timestamp_seconds',
    help: 'When this coordinator has finished its last snapshot; 0 = it has taken none.',
    registers,
    aggregator: 'max',
  })
  return (event) => {
    const { what } = event
    if (event.kind === 'snapshot-failed') {
      ends.inc({ what, result: event.cancelled ? 'cancelled' : 'failed' })
      return
    }
    ends.inc({ what, result: 'finished' })
    if (what !== 'snapshot') return
    keys.set(event.counts.keys ?? 0)
    at.setToCurrentTime()
  }
}
