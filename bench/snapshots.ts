/**
 * What taking and restoring a snapshot of the cluster takes: time, CPU, and the memory of the coordinator.
 *
 *     npm run build && npx tsx bench/snapshots.ts 1000000
 *
 * It starts three Redis with two copies of each key, and stores that many keys with values of 90 bytes. A coordinator takes a
 * snapshot; then all keys are deleted, and a fresh coordinator restores it. Nobody else asks for anything meanwhile. The memory
 * is told for each fifth of the keys, so that one sees whether it grows with them. A million keys need 1 GB of memory, and
 * take five to ten minutes.
 */
import { readFileSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { startRedisCluster } from '../scripts/redis-server.ts'
import { helpIfAsked, numberAt } from './arguments.ts'
import { cpuSeconds, httpOf, start, temporaryFolder, type Child } from './processes.ts'

const NODES = 3
const COPIES = 2
const VALUE_BYTES = 90
const KEYS_PER_BATCH = 1000
const BATCHES_AT_ONCE = 4
const LOOK_MS = 250
const PARTS = 5
const KIB = 1024
const MAIN = new URL('../dist/main.js', import.meta.url).pathname

interface Job {
  readonly state: string
  readonly error: string | null
  readonly keys: number
  readonly restored?: number
  readonly kept?: number
  readonly failed?: number
  readonly phase: string
}

helpIfAsked(import.meta.url)
const count = numberAt(0, 'The number of keys', 1_000_000)
const servers = await startRedisCluster(NODES)
const folder = join(temporaryFolder(), 'snapshots')
await mkdir(folder)

try {
  await using(async (coordinator, url) => {
    await fill(url)
    await report('taken', coordinator, url, '/snapshots', { name: 'all' })
  })
  await using(async (coordinator, url) => {
    await post(`${url}/api/v1/command`, { command: ['FLUSHALL'] })
    await report('restored', coordinator, url, '/snapshots/all/restore')
  })
} finally {
  await Promise.all(servers.map((server) => server.stop()))
}

async function using(work: (coordinator: Child, url: string) => Promise<void>): Promise<void> {
  const coordinator = start(process.execPath, [MAIN], {
    env: {
      REDIS_URLS: servers.map(({ url }, i) => `redis-${i + 1}=${url}`).join(','),
      REPLICATION_FACTOR: String(COPIES),
      SNAPSHOT_DIR: folder,
      ...{ NODE_ENV: 'production', PORT: '0', RESP_PORT: 'off' },
    },
  })
  try {
    const url = await httpOf(coordinator)
    while (!(await fetch(`${url}/readyz`)).ok) await delay(LOOK_MS)
    await work(coordinator, url)
  } finally {
    await coordinator.end()
  }
}

async function fill(url: string): Promise<void> {
  let next = 0
  const lane = async () => {
    while (next < count) {
      const first = next
      next = Math.min(count, first + KEYS_PER_BATCH)
      const items = Array.from({ length: next - first }, (_, i) => ({
        key: `bench:key:${first + i}`,
        value: `value:${first + i}:`.padEnd(VALUE_BYTES, 'abcdefghijklmnopqrstuvwxyz0123456789'),
      }))
      await post(`${url}/api/v1/mset`, { items })
    }
  }
  await Promise.all(Array.from({ length: BATCHES_AT_ONCE }, lane))
}

async function report(what: string, { pid }: Child, url: string, path: string, body?: object): Promise<void> {
  const [cpuBefore, startedAtMs] = [cpuSeconds(pid), performance.now()]
  const before = residentMib(pid)
  await post(`${url}${path}`, body)
  const most = new Array<number>(PARTS).fill(0)
  let job: Job
  do {
    await delay(LOOK_MS)
    const answer = (await (await fetch(`${url}/snapshots`)).json()) as { job: Job }
    ;({ job } = answer)
    const done = job.restored === undefined ? job.keys : job.restored + (job.kept ?? 0)
    const part = Math.min(PARTS - 1, Math.floor((PARTS * done) / count))
    most[part] = Math.max(most[part]!, residentMib(pid))
  } while (job.state === 'running')
  if (job.state !== 'finished' || job.failed)
    throw new Error(`it ${job.state}: ${job.error ?? `${job.failed} failed`}`)
  const seconds = (performance.now() - startedAtMs) / 1000
  const keys = job.restored ?? job.keys
  const cpu = ((cpuSeconds(pid) - cpuBefore) * 1e6) / keys
  process.stdout.write(
    `${keys} keys ${what} in ${seconds.toFixed(0)} s: ${Math.round(keys / seconds)} a second, ` +
      `${cpu.toFixed(0)} µs of the coordinator's CPU each; MiB of memory: ${before} before, ${most.join(', ')}\n`,
  )
}

async function post(url: string, body?: object): Promise<void> {
  const json = { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }
  const answer = await fetch(url, { method: 'POST', ...(body && json) })
  const text = await answer.text()
  if (!answer.ok) throw new Error(`${url} answered ${answer.status}: ${text}`)
}

function residentMib(pid: number): number {
  const [, kib] = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? []
  return Math.round(Number(kib) / KIB)
}
