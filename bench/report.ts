/** Figures of a run as a table, ratios and JSON. */
import type { Op } from './dataset.ts'
import type { Measure } from './load.ts'
import type { TargetName } from './targets.ts'

/** All rounds of one target and operation. */
export interface Series {
  readonly target: TargetName
  readonly label: string
  readonly op: Op
  readonly rounds: readonly Measure[]
}

export interface Ratio {
  readonly name: string
  readonly aim: number
  /** The median of the rounds' ratios: neighbours in time, so that a slow minute of the machine hits both. */
  readonly value: number
  readonly rounds: readonly number[]
  /** How many times as much CPU per request the other used: hardly moves when the machine is busy with other things. */
  readonly byCpu: number
}

/** What is aimed at: how many times as many requests a second as the other. */
const AIMS: readonly { op: Op; over: TargetName; aim: number }[] = [
  { op: 'GET', over: 'express', aim: 6 },
  { op: 'PUT', over: 'express', aim: 5 },
  { op: 'GET', over: 'webdis', aim: 1.5 },
]

export function ratiosOf(series: readonly Series[]): Ratio[] {
  return AIMS.flatMap(({ op, over, aim }) => {
    const ours = series.find((one) => one.target === 'rondo' && one.op === op)
    const theirs = series.find((one) => one.target === over && one.op === op)
    if (!ours || !theirs) return []
    const rounds = ours.rounds.map((mine, i) => mine.requestsPerSecond / theirs.rounds[i]!.requestsPerSecond)
    const byCpu = median(
      ours.rounds.map((mine, i) => theirs.rounds[i]!.cpuMicrosPerRequest / mine.cpuMicrosPerRequest),
    )
    return [{ name: `${op} rondo/${over}`, aim, value: median(rounds), rounds, byCpu }]
  })
}

/** The medians of all rounds; errors are added up. */
export function medianOf({ rounds }: Series): Measure {
  const of = (pick: (measure: Measure) => number) => median(rounds.map(pick))
  return {
    requests: rounds.reduce((sum, one) => sum + one.requests, 0),
    requestsPerSecond: of((one) => one.requestsPerSecond),
    p50Ms: of((one) => one.p50Ms),
    p95Ms: of((one) => one.p95Ms),
    p99Ms: of((one) => one.p99Ms),
    errors: rounds.reduce((sum, one) => sum + one.errors, 0),
    cpuMicrosPerRequest: of((one) => one.cpuMicrosPerRequest),
    coordinatorCores: of((one) => one.coordinatorCores),
    generatorCores: of((one) => one.generatorCores),
    nodesCores: of((one) => one.nodesCores),
  }
}

export function tableOf(series: readonly Series[]): string {
  const head = [
    'target',
    'op',
    'requests/s',
    'p50 ms',
    'p95 ms',
    'p99 ms',
    'CPU µs/req',
    'errors',
    'CPU %',
    'load gen. %',
    'Redis %',
  ]
  const rows = series.map((one) => {
    const m = medianOf(one)
    const percent = (cores: number) => (100 * cores).toFixed(0)
    return [
      one.label,
      one.op,
      m.requestsPerSecond.toFixed(0),
      m.p50Ms.toFixed(2),
      m.p95Ms.toFixed(2),
      m.p99Ms.toFixed(2),
      m.cpuMicrosPerRequest.toFixed(1),
      String(m.errors),
      percent(m.coordinatorCores),
      percent(m.generatorCores),
      percent(m.nodesCores),
    ]
  })
  return align([head, ...rows], 2)
}

export function ratioTableOf(ratios: readonly Ratio[]): string {
  const rows = ratios.map(({ name, aim, value, rounds, byCpu }) => [
    name,
    `${value.toFixed(2)}×`,
    `${aim}×`,
    value >= aim ? 'reached' : 'below',
    rounds.map((round) => round.toFixed(2)).join(' '),
    `${byCpu.toFixed(2)}×`,
  ])
  return align([['ratio', 'median', 'aim', '', 'round by round', 'by CPU/req'], ...rows], 1)
}

/** What a reader must know before believing the figures. */
export function warningsOf(series: readonly Series[], generator: string): string[] {
  const limited = series.filter((one) => {
    const { generatorCores, coordinatorCores } = medianOf(one)
    return generatorCores > 0.9 && coordinatorCores < 0.85
  })
  const starved = series.filter((one) => !limited.includes(one) && medianOf(one).coordinatorCores < 0.85)
  const names = (list: readonly Series[]) => list.map(({ label, op }) => `${label} ${op}`).join(', ')
  const warnings: string[] = []
  if (limited.length > 0) {
    warnings.push(
      `${generator} used a whole core while the coordinator had CPU to spare: these could do more: ${names(limited)}.`,
    )
  }
  if (starved.length > 0) {
    warnings.push(
      `The coordinator had less than 85 % of a core in ${names(starved)}: the load generator, the Redis servers or ` +
        'other programs took the rest. The CPU per request then says more than the requests per second.',
    )
  }
  return warnings
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}

/** @param left how many columns, from the first, stand to the left */
export function align(rows: readonly (readonly string[])[], left: number): string {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)))
  return rows
    .map((row) =>
      row
        .map((cell, column) =>
          column < left ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!),
        )
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}
