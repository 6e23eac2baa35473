/** What the runs over the Redis protocol measure: Rondo and its peers, each over Redis servers of its own; and their load. */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { setTimeout as delay } from 'node:timers/promises'
import { Redis } from 'ioredis'
import { freePort, startRedisCluster, type RedisServer } from '../scripts/redis-server.ts'
import { CONNECTIONS, onPath } from './load.ts'
import { cpuSeconds, portSaidBy, start, temporaryFolder, type Child } from './processes.ts'

const NODES = 4
const SETTLE_MS = 250
const OVERTIME_MS = 60_000
/** On a busy machine figures get worse, and the run does not fail. */
const PATIENT = { REQUEST_TIMEOUT_MS: '20000', NODE_TIMEOUT_MS: '5000', SCRIPT_TIME_LIMIT_MS: '5000' }
export const PEER = 'nutcracker'

export interface RespTarget {
  readonly label: string
  readonly copies: number
  readonly port: number
  /** Null where clients connect to the one Redis itself. */
  readonly proxy: Child | null
  /** Another coordinator over the same nodes. */
  readonly second: { readonly port: number; readonly proxy: Child } | null
  readonly nodes: readonly RedisServer[]
}

export interface RespRound {
  readonly perSecond: number
  readonly p50Ms: number
  readonly p99Ms: number
  /** Of the proxy; of Redis itself where there is none. */
  readonly cpuMicros: number
  /** Of all nodes together. */
  readonly nodesCpuMicros: number
}

export async function startRondo(copies: number, isPair = false): Promise<RespTarget> {
  const nodes = await startRedisCluster(NODES)
  const startOne = async () => {
    const proxy = start(process.execPath, [fileURLToPath(new URL('../dist/main.js', import.meta.url))], {
      env: {
        NODE_ENV: 'production',
        REDIS_URLS: nodes.map(({ port }, i) => `redis-${i + 1}=127.0.0.1:${port}`).join(','),
        REPLICATION_FACTOR: String(copies),
        PORT: '0',
        RESP_PORT: '0',
        ...(isPair ? PATIENT : {}),
      },
    })
    return { proxy, port: await portSaidBy(proxy, /redis-cli -p (\d+)/) }
  }
  const first = await startOne()
  return { label: `Rondo N=${copies}`, copies, ...first, second: isPair ? await startOne() : null, nodes }
}

/** None where it is not installed. */
export async function startNutcracker(): Promise<RespTarget[]> {
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
  await delay(500) // it says nothing when it listens; the first load fails if it does not
  return [{ label: PEER, copies: 1, port, proxy, second: null, nodes }]
}

export async function startPlain(): Promise<RespTarget> {
  const nodes = await startRedisCluster(1)
  return { label: 'one Redis', copies: 1, port: nodes[0]!.port, proxy: null, second: null, nodes }
}

export async function endTargets(targets: readonly RespTarget[]): Promise<void> {
  await Promise.all(
    targets.map(async ({ proxy, second, nodes }) => {
      await Promise.all([proxy?.end(), second?.proxy.end()])
      await Promise.all(nodes.map((node) => node.stop()))
    }),
  )
}

/** A client that sends nothing of its own, which nutcracker would refuse. */
export function clientOf(port: number): Redis {
  return new Redis({
    port,
    host: '127.0.0.1',
    disableClientInfo: true,
    enableReadyCheck: false,
    protocol: 2,
  })
}

/** CPU time so far of the process that clients talk to, and of its nodes. */
export function cpuOf({ proxy, nodes }: RespTarget): { own: number; nodes: number } {
  const ofNodes = nodes.reduce((sum, { pid }) => sum + cpuSeconds(pid!), 0)
  return { own: proxy ? cpuSeconds(proxy.pid) : ofNodes, nodes: ofNodes }
}

/** redis-benchmark with so many requests; `range` is what `__rand_int__` is drawn from. */
export async function redisBenchmark(
  target: RespTarget,
  requests: number,
  { pipeline, range, args }: { pipeline: number; range: number; args: readonly string[] },
): Promise<RespRound> {
  const before = cpuOf(target)
  const child = start('redis-benchmark', [
    ...['-p', String(target.port), '-n', String(requests), '-P', String(pipeline)],
    ...['-c', String(CONNECTIONS), '-r', String(range), '--csv', ...args],
  ])
  const overtime = setTimeout(() => void child.end(), OVERTIME_MS)
  const text = await child.finished.finally(() => clearTimeout(overtime))
  const after = cpuOf(target)
  await delay(SETTLE_MS)
  // "test","rps","avg_latency_ms","min_latency_ms","p50_latency_ms","p95_latency_ms","p99_latency_ms","max_latency_ms"
  const line = text.trimEnd().split('\n').at(-1) ?? ''
  const [perSecond, , , p50Ms, , p99Ms] = line.replaceAll('"', '').split(',').slice(-7).map(Number)
  if (!line.startsWith('"') || !(perSecond! > 0))
    throw new Error(`redis-benchmark gave no result for ${target.label}:\n${text}`)
  return {
    ...{ perSecond: perSecond!, p50Ms: p50Ms!, p99Ms: p99Ms! },
    cpuMicros: ((after.own - before.own) * 1e6) / requests,
    nodesCpuMicros: ((after.nodes - before.nodes) * 1e6) / requests,
  }
}
