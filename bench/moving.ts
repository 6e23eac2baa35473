/**
 * `npm run bench -- --moving`: how fast keys move to a node that joins, side by side with MIGRATE.
 *
 *   npm run bench -- --moving                    about a minute
 *   npm run bench -- --moving --keys 1000000
 *
 * Four Redis and a coordinator hold the keys three times; a fifth Redis joins. Timed is what the coordinator reports: from
 * the first key that is copied until the new layout stands alone, so with the second look at all that was moved. Then as
 * many keys of the same size are moved with MIGRATE between two of these Redis, as `redis-cli --cluster` does it, in groups
 * of 10 and of 100. MIGRATE moves a key that nobody else writes, from one place to one other; it compares nothing.
 */
import { readFileSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { Redis } from 'ioredis'
import { startRedis, startRedisCluster } from '../scripts/redis-server.ts'
import { VALUE_BYTES } from './dataset.ts'
import { cpuSeconds, httpOf, startCoordinator } from './processes.ts'
import { align } from './report.ts'

const NODES = 4
const KEYS_PER_BATCH = 2000
const MOST_KEYS = 10_000_000
const AIM_KEYS_PER_SECOND = 20_000
const LIMIT_MS = 600_000
const LOOK_MS = 250

interface Report {
  readonly seconds: number
  readonly checked: number
  readonly moved: number
  readonly missing: number
  readonly divergent: number
}

interface Moved {
  readonly report: Report
  /** Seconds of the coordinator, and of all Redis together. */
  readonly cpu: number
  readonly nodesCpu: number
  readonly peakMiB: number
}

export async function measureMoving(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args,
    options: { moving: { type: 'boolean' }, keys: { type: 'string', default: '200000' } },
  })
  const keys = Number(values.keys)
  if (!Number.isInteger(keys) || keys < KEYS_PER_BATCH || keys > MOST_KEYS) {
    throw new Error(`--keys is a whole number from ${KEYS_PER_BATCH} to ${MOST_KEYS}`)
  }
  const ends: (() => Promise<void>)[] = []
  try {
    const nodes = await startRedisCluster(NODES)
    ends.push(...nodes.map((node) => () => node.stop()))
    const joining = await startRedis()
    ends.push(() => joining.stop())
    const coordinator = startCoordinator(nodes.map(({ url }) => url))
    ends.push(() => coordinator.end())
    const api = await httpOf(coordinator)
    await load(api, keys)
    const redisPids = [...nodes, joining].map((node) => node.pid!)
    const moved = await join(api, joining.url, coordinator.pid, redisPids)
    const migrated = await migrateAll(nodes[0]!.url, joining.url, moved.report.moved)
    show(keys, moved, migrated)
  } finally {
    for (const end of ends.reverse()) await end()
  }
}

async function load(api: string, keys: number): Promise<void> {
  for (let at = 0; at < keys; at += KEYS_PER_BATCH) {
    const items = Array.from({ length: KEYS_PER_BATCH }, (_, i) => ({
      key: `bench:moving:${at + i}`,
      value: String(at + i).padEnd(VALUE_BYTES, 'abcdefghijklmnopqrstuvwxyz0123456789'),
    }))
    const halves = [items.slice(0, items.length / 2), items.slice(items.length / 2)]
    for (const half of halves) await write(api, half)
    if ((at / KEYS_PER_BATCH) % 20 === 0) process.stderr.write(`bench: ${at} of ${keys} keys written\n`)
  }
}

/** A cluster is founded once all of its nodes take writes. */
async function write(api: string, items: readonly object[]): Promise<void> {
  for (let tries = 0; ; tries++) {
    const answer = await call(api, 'POST', '/api/v1/mset?consistency=all', { items })
    if (answer.status === 200 && !answer.text.includes('"error"')) return
    if (tries === 100) throw new Error(`keys could not be written: ${answer.text.slice(0, 300)}`)
    await delay(100)
  }
}

async function join(api: string, url: string, pid: number, redisPids: readonly number[]): Promise<Moved> {
  const cpuBefore = cpuSeconds(pid)
  const ofNodes = () => redisPids.reduce((sum, one) => sum + cpuSeconds(one), 0)
  const nodesBefore = ofNodes()
  const begun = await call(api, 'POST', '/members/join', { url, id: 'redis-5' })
  if (begun.status !== 202) throw new Error(`the node could not join: ${begun.text}`)
  const { waitFor } = JSON.parse(begun.text) as { waitFor: number }
  let peakMiB = 0
  for (const until = Date.now() + LIMIT_MS; Date.now() < until;) {
    await delay(LOOK_MS)
    peakMiB = Math.max(peakMiB, memoryMiBOf(pid))
    const { text } = await call(api, 'GET', '/rebalance')
    const { state, epoch, report } = JSON.parse(text) as {
      state: string
      epoch: number
      report: Report | null
    }
    if (state === 'idle' && epoch === waitFor && report) {
      return { report, cpu: cpuSeconds(pid) - cpuBefore, nodesCpu: ofNodes() - nodesBefore, peakMiB }
    }
  }
  throw new Error(`the change has not ended within ${LIMIT_MS / 1000} s`)
}

/** Keys per second, by the size of a group. */
async function migrateAll(from: string, to: string, count: number): Promise<ReadonlyMap<number, number>> {
  const rates = new Map<number, number>()
  const source = new Redis(from)
  const target = new Redis(to)
  try {
    const { host, port } = target.options
    const names: string[] = []
    for (let i = 0; i < count; i++) names.push(`bench:migrated:${i}`)
    for (let at = 0; at < count; at += KEYS_PER_BATCH) {
      const writes = source.pipeline()
      for (const name of names.slice(at, at + KEYS_PER_BATCH)) writes.set(name, 'x'.repeat(VALUE_BYTES))
      await writes.exec()
    }
    for (const group of [10, 100]) {
      const startedAt = performance.now()
      for (let at = 0; at < count; at += group) {
        const keys = names.slice(at, at + group)
        await source.call('MIGRATE', host!, port!, '', '0', '5000', 'COPY', 'REPLACE', 'KEYS', ...keys)
      }
      rates.set(group, (1000 * count) / (performance.now() - startedAt))
    }
  } finally {
    source.disconnect()
    target.disconnect()
  }
  return rates
}

function show(
  keys: number,
  { report: done, cpu, nodesCpu, peakMiB }: Moved,
  migrated: ReadonlyMap<number, number>,
): void {
  const rate = done.moved / done.seconds
  const each = (seconds: number) => ((1e6 * seconds) / done.moved).toFixed(1)
  const rows = [
    ['Rondo, both passes', rate.toFixed(0), '1.00', each(cpu), each(nodesCpu)],
    ...[...migrated].map(([group, other]) => [
      `MIGRATE, ${group} keys a call`,
      other.toFixed(0),
      (rate / other).toFixed(2),
      '',
      '',
    ]),
  ]
  const table = align(
    [['', 'keys moved/s', 'Rondo / this', 'µs of CPU a key: coordinator', 'all Redis'], ...rows],
    1,
  )
  const verdict = `aim at least ${AIM_KEYS_PER_SECOND} keys a second: ${rate >= AIM_KEYS_PER_SECOND ? 'reached' : 'below'}`
  process.stdout.write(
    `\n${keys} keys with values of ${VALUE_BYTES} bytes, N=3 on ${NODES} Redis; a fifth joins and gains ${done.moved} of them ` +
      `in ${done.seconds} s, with ${done.checked} looked at; missing ${done.missing}, divergent ${done.divergent}; ` +
      `at most ${peakMiB.toFixed(0)} MiB in the coordinator\n\n${table}\n\n${verdict}\n`,
  )
}

async function call(
  api: string,
  method: string,
  path: string,
  body?: unknown,
): Promise<{ readonly status: number; readonly text: string }> {
  const answer = await fetch(api + path, {
    method,
    ...(body !== undefined && {
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify(body),
    }),
  })
  return { status: answer.status, text: await answer.text() }
}

function memoryMiBOf(pid: number): number {
  return Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024
}
