/**
 * `npm run bench -- --wal`: what it costs to keep memory nodes on disk, for each DATA_FSYNC beside a Redis with the same
 * `appendfsync`.
 *
 *   npm run bench -- --wal                       about four minutes
 *   npm run bench -- --wal --rounds 5 --seconds 4
 *
 * SET under redis-benchmark, 50 connections, values of 100 bytes, keys drawn at random. Three targets for each policy, turn by
 * turn: one memory node with one copy, which does the same work as the Redis; four memory nodes with three copies, as
 * shipped, which write everything three times; and the Redis. `off` is nothing on disk. All write to the folder for
 * temporary files: TMPDIR chooses another disk.
 */
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { setTimeout as delay } from 'node:timers/promises'
import { startRedis, type RedisServer } from '../scripts/redis-server.ts'
import { CONNECTIONS } from './load.ts'
import { cpuSeconds, portSaidBy, start, temporaryFolder, type Child } from './processes.ts'
import { align, median } from './report.ts'

const POLICIES = ['off', 'no', 'everysec', 'always'] as const
type Policy = (typeof POLICIES)[number]
const PIPELINES = [1, 16] as const
const VALUE_BYTES = 100
const KEYS = 100_000
const WARM_UP_REQUESTS = 5000
const SETTLE_MS = 250
const MAIN = new URL('../dist/main.js', import.meta.url).pathname

interface Target {
  readonly label: string
  readonly port: number
  readonly pid: number
  end(): Promise<void>
}

interface Round {
  readonly perSecond: number
  readonly p50Ms: number
  readonly p99Ms: number
  readonly cpuMicros: number
}

interface Phase {
  readonly policy: Policy
  readonly pipeline: number
  readonly target: Target
  requests: number
  readonly rounds: Round[]
}

export async function measureWal(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args,
    options: {
      wal: { type: 'boolean' },
      seconds: { type: 'string', default: '2' },
      rounds: { type: 'string', default: '3' },
    },
  })
  const [seconds, rounds] = [Number(values.seconds), Number(values.rounds)]
  if (!(seconds >= 1 && seconds <= 60) || !(Number.isInteger(rounds) && rounds >= 1 && rounds <= 50))
    throw new Error('--seconds is from 1 to 60, and --rounds a whole number from 1 to 50')
  const text: string[][] = []
  for (const policy of POLICIES) {
    process.stderr.write(`DATA_FSYNC=${policy}\n`)
    text.push(...(await measurePolicy(policy, seconds, rounds)))
  }
  const head = [
    'fsync',
    'op',
    'target',
    'stores/s',
    'p50 ms',
    'p99 ms',
    'CPU µs/req',
    'to Redis',
    'round by round',
  ]
  process.stdout.write(
    `SET by redis-benchmark, ${CONNECTIONS} connections, values of ${VALUE_BYTES} bytes, ${KEYS} random keys; medians of ` +
      `${rounds} rounds of about ${seconds} s, turn by turn\n\n${align([head, ...text], 3)}\n`,
  )
}

async function measurePolicy(policy: Policy, seconds: number, rounds: number): Promise<string[][]> {
  const targets: Target[] = []
  try {
    targets.push(await startRondo(policy, 1), await startRondo(policy, 3), await startPlain(policy))
    const phases = PIPELINES.flatMap((pipeline) =>
      targets.map((target): Phase => ({ policy, pipeline, target, requests: WARM_UP_REQUESTS, rounds: [] })),
    )
    for (const phase of phases) {
      const { perSecond } = await load(phase)
      phase.requests = Math.max(WARM_UP_REQUESTS, Math.round(perSecond * seconds))
    }
    for (let round = 0; round < rounds; round++) {
      for (const phase of phases) phase.rounds.push(await load(phase))
    }
    return phases.map((phase) => rowOf(phase, phases))
  } finally {
    await Promise.all(targets.map((target) => target.end()))
  }
}

function rowOf({ policy, pipeline, target, rounds }: Phase, phases: readonly Phase[]): string[] {
  const redis = phases.find((one) => one.pipeline === pipeline && one.target.label === 'Redis')!
  const ratios = rounds.map(({ perSecond }, i) => perSecond / redis.rounds[i]!.perSecond)
  const of = (pick: (round: Round) => number, digits: number) => median(rounds.map(pick)).toFixed(digits)
  return [
    ...[policy, `SET P${pipeline}`, target.label],
    ...[of((one) => one.perSecond, 0), of((one) => one.p50Ms, 2), of((one) => one.p99Ms, 2)],
    of((one) => one.cpuMicros, 1),
    ...(target === redis.target
      ? ['', '']
      : [`${median(ratios).toFixed(2)}×`, ratios.map((one) => one.toFixed(2)).join(' ')]),
  ]
}

async function startRondo(policy: Policy, copies: number): Promise<Target> {
  const nodes = copies === 1 ? 1 : 4
  const folder = join(temporaryFolder(), `${policy}-${copies}`)
  const child: Child = start(process.execPath, [MAIN], {
    env: {
      ...{ NODE_ENV: 'production', PORT: '0', RESP_PORT: '0' },
      ...{ MEMORY_NODES: String(nodes), REPLICATION_FACTOR: String(copies), MEMORY_NODE_MAX_BYTES: '256MiB' },
      ...(policy !== 'off' && { DATA_DIR: folder, DATA_FSYNC: policy }),
    },
  })
  const port = await portSaidBy(child, /redis-cli -p (\d+)/)
  const label = copies === 1 ? 'Rondo, one copy' : 'Rondo, three copies'
  return { label, port, pid: child.pid, end: () => child.end() }
}

async function startPlain(policy: Policy): Promise<Target> {
  const args = policy === 'off' ? [] : ['--appendonly', 'yes', '--appendfsync', policy]
  const redis: RedisServer = await startRedis({ args })
  return { label: 'Redis', port: redis.port, pid: redis.pid!, end: () => redis.stop() }
}

async function load({ target, pipeline, requests }: Phase): Promise<Round> {
  const before = cpuSeconds(target.pid)
  const child = start('redis-benchmark', [
    ...['-p', String(target.port), '-t', 'set', '-n', String(requests), '-P', String(pipeline)],
    ...['-c', String(CONNECTIONS), '-d', String(VALUE_BYTES), '-r', String(KEYS), '--csv'],
  ])
  const text = await child.finished
  const cpu = cpuSeconds(target.pid) - before
  await delay(SETTLE_MS)
  const line = text.split('\n').findLast((candidate) => candidate.startsWith('"SET"'))
  if (line === undefined) throw new Error(`redis-benchmark gave no result for ${target.label}:\n${text}`)
  const [, perSecond, , , p50Ms, , p99Ms] = line.replaceAll('"', '').split(',').map(Number)
  return { perSecond: perSecond!, p50Ms: p50Ms!, p99Ms: p99Ms!, cpuMicros: (cpu * 1e6) / requests }
}
