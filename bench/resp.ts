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
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { setTimeout as delay } from 'node:timers/promises'
import { Redis } from 'ioredis'
import { freePort, startRedisCluster, type RedisServer } from '../scripts/redis-server.ts'
import { CONNECTIONS, onPath } from './load.ts'
import { cpuSeconds, portSaidBy, start, temporaryFolder, type Child } from './processes.ts'
import { align, median } from './report.ts'

const NODES = 4
const VALUE_BYTES = 100
/** redis-benchmark names its keys key:000000000000 and on. */
const KEYS = 100_000
const CHECKED_KEYS = 500
const WARM_UP_REQUESTS = 40_000
const SETTLE_MS = 250
const OVERTIME_MS = 60_000

export interface RespPlan {
  readonly seconds: number
  readonly rounds: number
}

interface Target {
  readonly label: string
  readonly copies: number
  readonly port: number
  readonly proxy: Child | null
  readonly nodes: readonly RedisServer[]
}

interface Round {
  readonly perSecond: number
  readonly p50Ms: number
  readonly p99Ms: number
  /** Of the proxy. */
  readonly cpuMicros: number
}

interface Phase {
  readonly target: Target
  readonly op: 'GET' | 'SET'
  readonly pipeline: number
  requests: number
  readonly rounds: Round[]
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
const PEER = 'nutcracker'

/** The part of the report, or a line that says why there is none. */
export async function measureResp(plan: RespPlan, say: (line: string) => void): Promise<string> {
  if (onPath('redis-benchmark') === null) {
    return 'redis-benchmark is not on PATH: the Redis protocol server was left out (Debian: apt-get install redis-tools).'
  }
  const targets: Target[] = []
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
    await Promise.all(
      targets.map(async ({ proxy, nodes }) => {
        await proxy?.end()
        await Promise.all(nodes.map((node) => node.stop()))
      }),
    )
  }
}

function phasesOf(targets: readonly Target[]): Phase[] {
  // Writes first: reads then find all keys.
  const loads = (['SET', 'GET'] as const).flatMap((op) => [16, 1].map((pipeline) => ({ op, pipeline })))
  return loads.flatMap(({ op, pipeline }) =>
    targets
      .filter(({ label }) => op === 'SET' || label !== 'Rondo N=1')
      .map((target) => ({ target, op, pipeline, requests: 0, rounds: [] })),
  )
}

async function startRondo(copies: number): Promise<Target> {
  const nodes = await startRedisCluster(NODES)
  const proxy = start(process.execPath, [fileURLToPath(new URL('../dist/main.js', import.meta.url))], {
    env: {
      NODE_ENV: 'production',
      REDIS_URLS: nodes.map(({ port }, i) => `redis-${i + 1}=127.0.0.1:${port}`).join(','),
      REPLICATION_FACTOR: String(copies),
      PORT: '0',
      RESP_PORT: '0',
    },
  })
  const port = await portSaidBy(proxy, /redis-cli -p (\d+)/)
  return { label: `Rondo N=${copies}`, copies, port, proxy, nodes }
}

async function startNutcracker(): Promise<Target[]> {
  const program = onPath(PEER)
  if (program === null) return []
  const nodes = await startRedisCluster(NODES)
  const port = await freePort()
  const servers = nodes.map((node) => `    - 127.0.0.1:${node.port}:1\n`).join('')
  const file = join(temporaryFolder(), 'nutcracker.yml')
  await writeFile(
    file,
    `bench:\n  listen: 127.0.0.1:${port}\n  hash: murmur\n  distribution: ketama\n  redis: true\n` +
      `  auto_eject_hosts: false\n  preconnect: true\n  servers:\n${servers}`,
  )
  const stats = await freePort()
  const folder = temporaryFolder()
  const proxy = start(program, [
    `--conf-file=${file}`,
    `--stats-port=${stats}`,
    '--stats-addr=127.0.0.1',
    `--output=${join(folder, 'nutcracker.log')}`,
    `--pid-file=${join(folder, 'nutcracker.pid')}`,
  ])
  await delay(500) // it says nothing when it listens; load() fails if it does not
  return [{ label: PEER, copies: 1, port, proxy, nodes }]
}

async function startPlain(): Promise<Target> {
  const nodes = await startRedisCluster(1)
  return { label: 'one Redis', copies: 1, port: nodes[0]!.port, proxy: null, nodes }
}

async function load({ target, op, pipeline }: Phase, requests: number): Promise<Round> {
  const { proxy, nodes, port } = target
  const pid = proxy?.pid ?? nodes[0]!.pid!
  const before = cpuSeconds(pid)
  const child = start('redis-benchmark', [
    ...['-p', String(port), '-t', op.toLowerCase(), '-n', String(requests), '-P', String(pipeline)],
    ...['-c', String(CONNECTIONS), '-d', String(VALUE_BYTES), '-r', String(KEYS), '--csv'],
  ])
  const overtime = setTimeout(() => void child.end(), OVERTIME_MS)
  const text = await child.finished.finally(() => clearTimeout(overtime))
  const cpu = cpuSeconds(pid) - before
  await delay(SETTLE_MS)
  const line = text.split('\n').findLast((candidate) => candidate.startsWith(`"${op}"`))
  if (line === undefined) throw new Error(`redis-benchmark gave no result for ${target.label}:\n${text}`)
  // "test","rps","avg_latency_ms","min_latency_ms","p50_latency_ms","p95_latency_ms","p99_latency_ms","max_latency_ms"
  const [, perSecond, , , p50Ms, , p99Ms] = line.replaceAll('"', '').split(',').map(Number)
  return { perSecond: perSecond!, p50Ms: p50Ms!, p99Ms: p99Ms!, cpuMicros: (cpu * 1e6) / requests }
}

/** What was stored must be there, whole, and in as many copies as were promised. */
async function verify({ label, port, nodes, copies }: Target): Promise<void> {
  const client = new Redis({
    port,
    host: '127.0.0.1',
    disableClientInfo: true,
    enableReadyCheck: false,
    protocol: 2,
  })
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
  const of = (phase: Phase, pick: (round: Round) => number) => median(phase.rounds.map(pick))
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
    const ratio = (pick: (round: Round) => number) =>
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
