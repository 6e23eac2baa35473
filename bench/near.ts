/**
 * `npm run bench -- --near`: GETs with the near cache, beside the same coordinator without it.
 *
 *   npm run bench -- --near                       about two minutes
 *   npm run bench -- --near --rounds 9 --seconds 4
 *
 * GET under 50 connections, alone and in pipelines of 16; 100,000 keys drawn by Zipf 0.99, values of 100 bytes, three copies
 * on four Redis. Each coordinator has its own Redis servers. Turn by turn, so that a ratio is of the same minute. `writes` is
 * the same while another coordinator stores a key a millisecond, drawn in the same way.
 */
import { parseArgs } from 'node:util'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { Redis } from 'ioredis'
import { startRedisCluster, type RedisServer } from '../scripts/redis-server.ts'
import { CONNECTIONS } from './load.ts'
import { cpuSeconds, portSaidBy, start, type Child } from './processes.ts'
import { align, median } from './report.ts'

const KEYS = 100_000
const VALUE_BYTES = 100
const NODES = 4
const NEAR_BYTES = '64MiB'
const PIPELINES = [1, 16] as const
const FILL_BATCH = 500
const WARM_UP_SECONDS = 4
const SETTLE_MS = 250
const EXPONENT = 0.99
const MAIN = fileURLToPath(new URL('../dist/main.js', import.meta.url))
const ZIPF = fileURLToPath(new URL('./load/zipf.mjs', import.meta.url))

interface Target {
  readonly label: string
  readonly coordinator: Child
  readonly port: number
  readonly metrics: string
  /** Another coordinator over the same nodes. */
  readonly writer: Child
  readonly writerPort: number
  readonly nodes: readonly RedisServer[]
}

interface Round {
  readonly perSecond: number
  readonly p50Ms: number
  readonly p99Ms: number
  readonly cpuMicros: number
  readonly nodesCpuMicros: number
  readonly hitShare: number
}

interface Phase {
  readonly target: Target
  readonly pipeline: number
  readonly writes: boolean
  readonly rounds: Round[]
}

export async function measureNear(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args,
    options: {
      near: { type: 'boolean' },
      seconds: { type: 'string', default: '3' },
      rounds: { type: 'string', default: '5' },
    },
  })
  const [seconds, rounds] = [Number(values.seconds), Number(values.rounds)]
  if (!(seconds >= 1 && seconds <= 60) || !(Number.isInteger(rounds) && rounds >= 1 && rounds <= 50))
    throw new Error('--seconds is from 1 to 60, and --rounds a whole number from 1 to 50')
  const targets: Target[] = []
  try {
    targets.push(await startTarget('without', '0'), await startTarget('with', NEAR_BYTES))
    for (const target of targets) await fill(target)
    const phases = [false, true].flatMap((writes) =>
      PIPELINES.flatMap((pipeline) =>
        targets.map((target): Phase => ({ target, pipeline, writes, rounds: [] })),
      ),
    )
    for (const target of targets)
      await load({ target, pipeline: 16, writes: false, rounds: [] }, WARM_UP_SECONDS)
    for (let round = 1; round <= rounds; round++) {
      process.stderr.write(`round ${round} of ${rounds}\n`)
      for (const phase of phases) phase.rounds.push(await load(phase, seconds))
    }
    process.stdout.write(`${report(phases, seconds, rounds)}\n`)
  } finally {
    await Promise.all(targets.map(end))
  }
}

async function startTarget(label: string, nearBytes: string): Promise<Target> {
  const nodes = await startRedisCluster(NODES)
  const urls = nodes.map(({ port }, i) => `n${i + 1}=127.0.0.1:${port}`).join(',')
  const env = { NODE_ENV: 'production', REDIS_URLS: urls, PORT: '0', RESP_PORT: '0', HOT_KEYS: '0' }
  const coordinator = start(process.execPath, [MAIN], { env: { ...env, NEAR_CACHE_MAX_BYTES: nearBytes } })
  const port = await portSaidBy(coordinator, /redis-cli -p (\d+)/)
  const http = await portSaidBy(coordinator, /listens on http:\/\/[^:]+:(\d+)/)
  const writer = start(process.execPath, [MAIN], { env })
  const writerPort = await portSaidBy(writer, /redis-cli -p (\d+)/)
  return { label, coordinator, port, metrics: `http://127.0.0.1:${http}/metrics`, writer, writerPort, nodes }
}

async function end({ coordinator, writer, nodes }: Target): Promise<void> {
  await Promise.all([coordinator.end(), writer.end()])
  await Promise.all(nodes.map((node) => node.stop()))
}

const keyAt = (rank: number) => `bench:key:${String(rank).padStart(6, '0')}`
const VALUE = 'v'.repeat(VALUE_BYTES)

async function fill({ port }: Target): Promise<void> {
  const client = new Redis(port, '127.0.0.1')
  for (let from = 0; from < KEYS; from += FILL_BATCH) {
    const pipeline = client.pipeline()
    for (let rank = from; rank < Math.min(from + FILL_BATCH, KEYS); rank++) pipeline.set(keyAt(rank), VALUE)
    const failed = (await pipeline.exec())!.find(([error]) => error)
    if (failed) throw failed[0]!
  }
  client.disconnect()
}

async function load({ target, pipeline, writes }: Phase, seconds: number): Promise<Round> {
  const pids = target.nodes.map(({ pid }) => pid!)
  const cpuOfNodes = () => pids.reduce((sum, pid) => sum + cpuSeconds(pid), 0)
  const [cpuBefore, nodesBefore, hitsBefore] = [
    cpuSeconds(target.coordinator.pid),
    cpuOfNodes(),
    await hitsOf(target),
  ]
  const writing = writes ? startWriting(target.writerPort) : null
  const child = start(process.execPath, [
    ZIPF,
    ...[target.port, KEYS, seconds, CONNECTIONS, pipeline, VALUE_BYTES].map(String),
  ])
  const { requests, perSecond, p50Ms, p99Ms } = JSON.parse(await child.finished) as {
    requests: number
    perSecond: number
    p50Ms: number
    p99Ms: number
  }
  await writing?.stop()
  const cpu = cpuSeconds(target.coordinator.pid) - cpuBefore
  const nodesCpu = cpuOfNodes() - nodesBefore
  const hits = (await hitsOf(target)) - hitsBefore
  await delay(SETTLE_MS)
  return {
    ...{ perSecond, p50Ms, p99Ms, hitShare: hits / requests },
    cpuMicros: (cpu * 1e6) / requests,
    nodesCpuMicros: (nodesCpu * 1e6) / requests,
  }
}

async function hitsOf({ metrics }: Target): Promise<number> {
  const text = await (await fetch(metrics)).text()
  return Number(/^rondo_near_hits_total (\d+)/m.exec(text)?.[1] ?? 0)
}

/** A key a millisecond, of which hot ones come as often as they are read. */
function startWriting(port: number): { stop(): Promise<void> } {
  const client = new Redis(port, '127.0.0.1')
  let isOver = false
  const run = async () => {
    while (!isOver) {
      // The inverse of the distribution function, as far as it is worth the trouble here.
      const rank = Math.floor(Math.exp(Math.random() * Math.log(KEYS ** (1 - EXPONENT) * KEYS))) - 1
      await client.set(keyAt(Math.min(rank, KEYS - 1)), VALUE)
      await delay(1)
    }
    client.disconnect()
  }
  const done = run()
  return {
    async stop() {
      isOver = true
      await done
    },
  }
}

function report(phases: readonly Phase[], seconds: number, rounds: number): string {
  const head = [
    ...['op', 'near cache', 'GETs/s', 'p50 ms', 'p99 ms', 'CPU µs/GET', 'nodes µs/GET', 'hits'],
    ...['with/without', 'round by round'],
  ]
  return (
    `GET, ${CONNECTIONS} connections, Zipf ${EXPONENT} over ${KEYS} keys, values of ${VALUE_BYTES} bytes, three copies on ` +
    `${NODES} Redis, NEAR_CACHE_MAX_BYTES=${NEAR_BYTES}; medians of ${rounds} rounds of ${seconds} s, turn by turn\n\n` +
    align([head, ...phases.map((phase) => rowOf(phase, phases))], 2)
  )
}

function rowOf(phase: Phase, phases: readonly Phase[]): string[] {
  const { target, pipeline, writes, rounds } = phase
  const base = phases.find((one) => one.pipeline === pipeline && one.writes === writes)!
  const ratios = rounds.map(({ perSecond }, i) => perSecond / base.rounds[i]!.perSecond)
  const of = (pick: (round: Round) => number, digits: number) => median(rounds.map(pick)).toFixed(digits)
  return [
    ...[`GET P${pipeline}${writes ? ', writes' : ''}`, target.label],
    ...[of((one) => one.perSecond, 0), of((one) => one.p50Ms, 2), of((one) => one.p99Ms, 2)],
    ...[of((one) => one.cpuMicros, 1), of((one) => one.nodesCpuMicros, 1)],
    `${of((one) => 100 * one.hitShare, 0)} %`,
    ...(phase === base
      ? ['', '']
      : [`${median(ratios).toFixed(2)}×`, ratios.map((one) => one.toFixed(2)).join(' ')]),
  ]
}
