/**
 * The Redis protocol server side by side with nutcracker (twemproxy, C) and with a plain Redis, under redis-benchmark: turn
 * by turn, 50 connections, values of 100 bytes, keys drawn at random, four nodes behind each proxy.
 *
 * The peers do not do the same work: nutcracker writes one copy without a version and notices no fault that this run could
 * show. Rondo runs as it is shipped: versions, markers, health, deadlines and metrics on.
 *
 * redis-benchmark takes whatever comes back for an answer: so what was stored is read back through each target afterwards,
 * and counted on its nodes.
 */
import { Redis } from 'ioredis'
import type { RedisServer } from '../scripts/redis-server.ts'
import { CONNECTIONS, onPath } from './load.ts'
import { align, median } from './report.ts'
import {
  clientOf,
  endTargets,
  PEER,
  redisBenchmark,
  startNutcracker,
  startPlain,
  startRondo,
  type RespRound,
  type RespTarget,
} from './resp-targets.ts'

const VALUE_BYTES = 100
/** redis-benchmark names its keys key:000000000000 and on. */
const KEYS = 100_000
const CHECKED_KEYS = 500
const WARM_UP_REQUESTS = 40_000

export interface RespPlan {
  readonly seconds: number
  readonly rounds: number
}

interface Phase {
  readonly target: RespTarget
  readonly op: 'GET' | 'SET'
  readonly pipeline: number
  requests: number
  readonly rounds: RespRound[]
}

/** What is aimed at, against nutcracker. */
const AIMS = [
  { label: 'Rondo N=3', op: 'GET', pipeline: 16, aim: 1.2 },
  { label: 'Rondo N=3', op: 'GET', pipeline: 1, aim: 0.85 },
  { label: 'Rondo N=1', op: 'SET', pipeline: 16, aim: 0.5 },
  { label: 'Rondo N=1', op: 'SET', pipeline: 1, aim: 0.5 },
  { label: 'Rondo N=3', op: 'SET', pipeline: 16, aim: 0.28 },
  { label: 'Rondo N=3', op: 'SET', pipeline: 1, aim: 0.28 },
] as const

/** The part of the report, or a line that says why there is none. */
export async function measureResp(plan: RespPlan, say: (line: string) => void): Promise<string> {
  if (onPath('redis-benchmark') === null) {
    return 'redis-benchmark is not on PATH: the Redis protocol server was left out (Debian: apt-get install redis-tools).'
  }
  const targets: RespTarget[] = []
  try {
    say('starting the Redis protocol targets')
    targets.push(await startRondo(3), await startRondo(1), ...(await startNutcracker()), await startPlain())
    const phases = phasesOf(targets)
    for (const phase of phases) {
      say(`warming up ${phase.target.label} ${phase.op} P${phase.pipeline}`)
      const { perSecond } = await load(phase, WARM_UP_REQUESTS)
      phase.requests = Math.max(WARM_UP_REQUESTS, Math.round(perSecond * plan.seconds))
    }
    for (let round = 1; round <= plan.rounds; round++) {
      for (const phase of phases) {
        const measured = await load(phase, phase.requests)
        phase.rounds.push(measured)
        say(
          `round ${round}/${plan.rounds}  ${phase.target.label} ${phase.op} P${phase.pipeline}  ` +
            `${measured.perSecond.toFixed(0)}/s  ${measured.cpuMicros.toFixed(2)} µs`,
        )
      }
    }
    for (const target of targets) await verify(target)
    return report(plan, phases)
  } finally {
    await endTargets(targets)
  }
}

function phasesOf(targets: readonly RespTarget[]): Phase[] {
  // Writes first: reads then find all keys.
  const loads = (['SET', 'GET'] as const).flatMap((op) => [16, 1].map((pipeline) => ({ op, pipeline })))
  return loads.flatMap(({ op, pipeline }) =>
    targets
      .filter(({ label }) => op === 'SET' || label !== 'Rondo N=1')
      .map((target) => ({ target, op, pipeline, requests: 0, rounds: [] })),
  )
}

function load({ target, op, pipeline }: Phase, requests: number): Promise<RespRound> {
  const args = ['-t', op.toLowerCase(), '-d', String(VALUE_BYTES)]
  return redisBenchmark(target, requests, { pipeline, range: KEYS, args })
}

/** What was stored must be there, whole, and in as many copies as were promised. */
async function verify({ label, port, nodes, copies }: RespTarget): Promise<void> {
  const client = clientOf(port)
  try {
    let found = 0
    for (let i = 0; i < CHECKED_KEYS; i++) {
      const value = await client.get(`key:${String(i * 7).padStart(12, '0')}`)
      if (value === null) continue
      found++
      if (value.length !== VALUE_BYTES)
        throw new Error(`${label} gave ${value.length} bytes instead of ${VALUE_BYTES}`)
    }
    if (found < CHECKED_KEYS / 4)
      throw new Error(`${label} holds only ${found} of ${CHECKED_KEYS} keys looked for`)
    const counts = await Promise.all(nodes.map(keysIn))
    const held = counts.reduce((sum, count) => sum + count, 0)
    if (held < copies * KEYS * 0.25) throw new Error(`${label} holds ${held} copies on its nodes: too few`)
  } finally {
    client.disconnect()
  }
}

async function keysIn({ port }: RedisServer): Promise<number> {
  const client = new Redis({ port, host: '127.0.0.1' })
  try {
    return await client.dbsize()
  } finally {
    client.disconnect()
  }
}

function report({ rounds, seconds }: RespPlan, phases: readonly Phase[]): string {
  const of = (phase: Phase, pick: (round: RespRound) => number) => median(phase.rounds.map(pick))
  const rows = phases.map((phase) => [
    phase.target.label,
    `${phase.op} P${phase.pipeline}`,
    of(phase, (round) => round.perSecond).toFixed(0),
    of(phase, (round) => round.p50Ms).toFixed(2),
    of(phase, (round) => round.p99Ms).toFixed(2),
    of(phase, (round) => round.cpuMicros).toFixed(2),
  ])
  const table = align([['target', 'op', 'requests/s', 'p50 ms', 'p99 ms', 'CPU µs/req'], ...rows], 2)
  const ratios = AIMS.flatMap(({ label, op, pipeline, aim }) => {
    const find = (name: string) =>
      phases.find((phase) => phase.target.label === name && phase.op === op && phase.pipeline === pipeline)
    const ours = find(label)
    const theirs = find(PEER)
    if (!ours || !theirs) return []
    const ratio = (pick: (round: RespRound) => number) =>
      ours.rounds.map((mine, i) => pick(mine) / pick(theirs.rounds[i]!))
    const values = ratio((round) => round.perSecond)
    const byCpu = 1 / median(ratio((round) => round.cpuMicros))
    return [
      [
        `${op} P${pipeline} ${label}/${PEER}`,
        `${median(values).toFixed(2)}×`,
        `${aim}×`,
        median(values) >= aim ? 'reached' : 'below',
        values.map((value) => value.toFixed(2)).join(' '),
        `${byCpu.toFixed(2)}×`,
      ],
    ]
  })
  const setting =
    `Redis protocol: redis-benchmark, ${CONNECTIONS} connections, values of ${VALUE_BYTES} bytes, ${KEYS} random keys, ` +
    `four nodes; medians of ${rounds} rounds of about ${seconds} s, turn by turn (P16 = a pipeline of 16)`
  const parts = [setting, table]
  if (ratios.length > 0) {
    parts.push(align([['ratio', 'median', 'aim', '', 'round by round', 'by CPU/req'], ...ratios], 1))
  } else parts.push('nutcracker is not on PATH: no ratios (Debian: apt-get install nutcracker).')
  return parts.join('\n\n')
}
